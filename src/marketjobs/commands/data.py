"""Commands that read and name what is stored: `prices`, `assets`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import JSON

assets_app = typer.Typer(help="The universe: which assets are kept fresh.", no_args_is_help=True, rich_markup_mode=None)
SYMBOLS = Annotated[list[str], typer.Argument(metavar="SYM...", help="One or more symbols.")]


def prices(
    symbol: Annotated[str, typer.Argument(metavar="SYM", help="A symbol, such as AAPL.")],
    interval: Annotated[str, typer.Option(metavar="I", help="Length of a bar.")] = "1d",
    start: Annotated[str | None, typer.Option(metavar="DAY", help="First day.")] = None,
    end: Annotated[str | None, typer.Option(metavar="DAY", help="Last day, included.")] = None,
    last: Annotated[
        int | None, typer.Option("--last", "-n", min=1, max=2**31 - 1, help="Only the newest so many rows.")
    ] = None,
    chart: Annotated[
        bool | None, typer.Option("--chart/--no-chart", help="A chart of the closes; default: at a terminal.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Show stored bars: a chart and the newest rows at a terminal, all rows in a pipe."""
    import sys

    from marketjobs import read
    from marketjobs.commands import render
    from marketjobs.domain.ranges import parse_day
    from marketjobs.errors import InvalidInput

    first, final = (None if text is None else parse_day(text) for text in (start, end))
    if first and final and first > final:
        raise InvalidInput(f"the start {first} lies after the end {final}")
    rows = read.bars(symbol, interval, first, final, last, runtime=session.runtime())
    if as_json:
        render.json({"symbol": symbol.strip().upper(), "interval": interval, "bars": [_bar_json(row) for row in rows]})
        return
    if not rows:
        render.note(f"no {interval} bars of {symbol.upper()} in that range", style="yellow")
        render.note(f"  get some: marketjobs fetch-market-data -s {symbol.upper()} --interval {interval}")
        return
    terminal = sys.stdout.isatty()
    if chart or (chart is None and terminal):
        _draw(rows)
    if chart and not terminal:
        return
    shown = rows if not terminal or last else rows[-10:]
    render.table(
        ("session", "open ", "high ", "low ", "close ", "adj close ", "volume ", "provider", "note"),
        [
            (
                row.ts.date().isoformat(),
                *(_price(price) for price in (row.open, row.high, row.low, row.close)),
                None if row.adj_close is None else _price(row.adj_close),
                None if row.volume is None else f"{row.volume:.0f}",
                row.provider,
                "provisional" if row.provisional else "",
            )
            for row in shown
        ],
        spare=("provider", "adj close", "note", "open", "volume"),
    )
    if len(shown) < len(rows):
        render.note(
            f"the newest {len(shown)} of {len(rows)} bars; all of them: -n {len(rows)}, --json, or through a pipe"
        )


def _draw(rows: list) -> None:
    from marketjobs.commands import render
    from marketjobs.commands.chart import line_chart

    width, height = max(40, min(render.out().width, 110)), 14
    closes = [row.close for row in rows]
    change = closes[-1] / closes[0] - 1
    title = f"{rows[-1].symbol} {rows[-1].interval} close {closes[-1]:.2f} ({change:+.1%} since {rows[0].ts.date()})"
    render.line(title, style="bold")
    style = "green" if change >= 0 else "red"
    for text in line_chart(closes, [row.ts.date().isoformat() for row in rows], width=width, height=height):
        render.line(text, style=style)


def _price(value: float) -> str:
    """Four decimals in a pipe; at a terminal two, and four significant ones below 1."""
    import sys

    if not sys.stdout.isatty():
        return f"{value:.4f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.4g}"


def _bar_json(row) -> dict[str, object]:
    return {
        "ts": row.ts.isoformat().replace("+00:00", "Z"),
        "open": row.open,
        "high": row.high,
        "low": row.low,
        "close": row.close,
        "adj_close": row.adj_close,
        "volume": row.volume,
        "provider": row.provider,
        "provisional": row.provisional,
        "fetched_at": row.fetched_at.isoformat().replace("+00:00", "Z"),
    }


@assets_app.command("list")
def assets_list(
    active: Annotated[bool, typer.Option("--active", help="Only those that are kept fresh.")] = False,
    as_json: JSON = False,
) -> None:
    """List the assets with the bars that are stored of them."""
    from marketjobs.commands import render
    from marketjobs.domain.intervals import day_of
    from marketjobs.storage import assets, bars

    database = session.runtime().database
    found = assets.listed(database, active_only=active)
    with database.read() as tx:
        series: dict[str, list[tuple[str, int, int]]] = {}
        for symbol, unit, first, final in bars.latest(tx):
            series.setdefault(symbol, []).append((unit, first, final))
    rows: list[dict[str, Any]] = [
        {
            "symbol": one.symbol,
            "name": one.name,
            "asset_class": one.asset_class,
            "currency": one.currency,
            "exchange": one.exchange,
            "status": one.status,
            "series": [
                {"interval": unit, "first": day_of(first).isoformat(), "last": day_of(final).isoformat()}
                for unit, first, final in series.get(one.symbol, [])
            ],
        }
        for one in found
    ]
    if as_json:
        render.json({"assets": rows})
        return
    if not rows:
        render.note("no asset yet")
        render.note("  add one: marketjobs assets add AAPL")
        return
    render.table(
        ("symbol", "name", "class", "currency", "exchange", "status", "bars"),
        [
            (
                row["symbol"],
                row["name"],
                row["asset_class"],
                row["currency"],
                row["exchange"],
                row["status"],
                ", ".join(f"{s['interval']} {s['first']} to {s['last']}" for s in row["series"]) or None,
            )
            for row in rows
        ],
        fold="bars",
        spare=("exchange", "class", "currency", "name"),
    )


@assets_app.command("add")
def assets_add(
    symbols: SYMBOLS,
    asset_class: Annotated[
        str | None,
        typer.Option("--class", metavar="C", help="equity, etf, fund, index, currency, crypto or future."),
    ] = None,
    as_json: JSON = False,
) -> None:
    """Keep these symbols fresh from now on."""
    from marketjobs.commands import render
    from marketjobs.domain.assets import AssetClass, normalise_symbols
    from marketjobs.errors import InvalidInput
    from marketjobs.storage import assets

    wanted = normalise_symbols(symbols)
    try:
        kind = None if asset_class is None else AssetClass(asset_class)
    except ValueError as exc:
        raise InvalidInput(f"unknown class {asset_class!r:.40}: one of {' '.join(AssetClass)}") from exc
    changed = assets.activate(session.runtime().database, wanted, asset_class=kind)
    if as_json:
        render.json({"assets": [{"symbol": one, "added": one in changed} for one in wanted]})
        return
    render.line(f"added {', '.join(changed)}" if changed else "all of them were active already")
    render.note(f"  fetch: marketjobs fetch-market-data {' '.join(f'-s {one}' for one in wanted[:5])}")


@assets_app.command("remove")
def assets_remove(
    symbols: SYMBOLS,
    purge: Annotated[bool, typer.Option("--purge", help="Delete their bars and actions too.")] = False,
    as_json: JSON = False,
) -> None:
    """Stop keeping these symbols fresh; what is stored stays, unless --purge."""
    from marketjobs.commands import render
    from marketjobs.domain.assets import normalise_symbols
    from marketjobs.errors import AssetNotFound
    from marketjobs.storage import assets

    wanted = normalise_symbols(symbols)
    database = session.runtime().database
    known = [one for one in wanted if assets.get(database, one) is not None]
    missing = [one for one in wanted if one not in known]
    if missing:
        raise AssetNotFound(f"no such asset: {', '.join(missing)}; nothing was changed", hint="marketjobs assets list")
    done = assets.purge(database, wanted) if purge else assets.deactivate(database, wanted)
    if as_json:
        render.json({"assets": [{"symbol": one, "purged": purge} for one in done]})
        return
    render.line(f"{'deleted' if purge else 'no longer kept fresh'}: {', '.join(done)}")


def register(app: typer.Typer) -> None:
    app.command("prices")(prices)
    app.add_typer(assets_app, name="assets")
