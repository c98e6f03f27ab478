"""Commands about latest prices: `update-prices quote warm-cache`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import GROUP, INLINE, JSON, PROVIDER, SYMBOLS, TIMEOUT, WAIT, hand_in
from marketjobs.commands.jobs import UTC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketjobs.errors import NotFound
    from marketjobs.read import Quote


def update_prices(
    symbols: SYMBOLS = None,
    group: GROUP = None,
    provider: PROVIDER = None,
    force: Annotated[
        bool, typer.Option("--force", help="Store a price too that is far from what is stored (a jump of 100 times).")
    ] = False,
    wait: WAIT = True,
    timeout: TIMEOUT = None,
    inline: INLINE = False,
    as_json: JSON = False,
) -> None:
    """Latest prices of the named symbols, of a group, or of all active assets."""
    from marketjobs.commands.symbols import chosen

    arguments = {"symbols": chosen(symbols), "group": group, "provider": provider, "force": force}
    hand_in("marketjobs.update_prices", arguments, wait=wait, timeout=timeout, inline=inline, as_json=as_json)


def quote(
    symbols: Annotated[list[str], typer.Argument(metavar="SYM...", help="One or more symbols.")],
    utc: UTC = False,
    as_json: JSON = False,
) -> None:
    """Show the stored latest price of symbols."""
    import time

    from marketjobs.commands import render
    from marketjobs.commands.results import percent
    from marketjobs.commands.symbols import typed
    from marketjobs.domain.assets import normalise_symbols

    wanted = normalise_symbols(typed(symbols))
    found, refused = _stored(wanted)
    if as_json:
        failed = [
            {"symbol": symbol, "cause": error.cause, "message": error.message, "hint": error.hint}
            for symbol, error in refused.items()
        ]
        render.json({"quotes": [quote_json(one) for one in found.values()], "failed": failed})
        raise typer.Exit(3 if failed else 0)
    if found:
        render.table(
            ("symbol", "price ", "change ", "currency", "age", "at", "provider", "name"),
            [
                (
                    one.symbol,
                    price(one.price),
                    percent(one.change_percent),
                    one.currency,
                    render.duration(max(0.0, time.time() - one.at.timestamp())),
                    render.instant(one.at.timestamp(), utc=utc),
                    one.provider,
                    one.name,
                )
                for one in found.values()
            ],
            fold=("name",),
            spare=("at", "name", "provider", "age"),
            paint={"change": render.signed},
        )
    missing = [symbol for symbol in wanted if symbol not in found and symbol not in refused]
    if missing:
        render.note(f"no price yet of {render.some(missing)}", style="yellow")
        render.note(f"  get it: marketjobs update-prices {' '.join(f'-s {one}' for one in missing[:5])}")
    for error in refused.values():
        session.show_error(error.cause, error.message, error.hint)
    raise typer.Exit(3 if refused else 0)


def _stored(wanted: Sequence[str]) -> tuple[dict[str, Quote], dict[str, NotFound]]:
    """Prices, and the refusals of symbols that no asset has.  Raises NotFound where no symbol is one's."""
    from marketjobs import read
    from marketjobs.errors import NotFound

    runtime = session.runtime()
    try:
        return read.quotes(wanted, runtime=runtime), {}
    except NotFound:
        if len(wanted) == 1:
            raise
    found: dict[str, Quote] = {}
    refused: dict[str, NotFound] = {}
    for symbol in wanted:
        try:
            found |= read.quotes([symbol], runtime=runtime)
        except NotFound as exc:
            refused[symbol] = exc
    if len(refused) == len(wanted):
        raise refused[wanted[0]]
    return found, refused


def warm_cache(
    symbols: SYMBOLS = None,
    group: GROUP = None,
    wait: WAIT = True,
    timeout: TIMEOUT = None,
    inline: INLINE = False,
    as_json: JSON = False,
) -> None:
    """Copy stored latest prices (of the named symbols, a group, or all active assets) into the cache."""
    from marketjobs.commands import flow
    from marketjobs.commands.symbols import typed

    code = flow.submit_and_show(
        session.runtime(),
        "marketjobs.warm_cache",
        {"symbols": None if symbols is None else typed(symbols), "group": group},
        wait=wait,
        inline=inline,
        timeout_seconds=timeout,
        as_json=as_json,
    )
    raise typer.Exit(code)


def price(value: float) -> str:
    """Two decimals and more where a unit is worth little; in a pipe all that there is."""
    import sys

    if not sys.stdout.isatty():
        return f"{value:.10g}"
    return f"{value:,.2f}" if value >= 1 else f"{value:.4g}"


def quote_json(one: Quote) -> dict[str, object]:
    from marketjobs.domain.intervals import iso

    return {
        "symbol": one.symbol,
        "name": one.name,
        "price": one.price,
        "currency": one.currency,
        "at": iso(one.at.timestamp()),
        "change_percent": one.change_percent,
        "previous_close": one.previous_close,
        "day_open": one.day_open,
        "day_high": one.day_high,
        "day_low": one.day_low,
        "volume": one.volume,
        "market_cap": one.market_cap,
        "provider": one.provider,
        "fetched_at": iso(one.fetched_at.timestamp()),
    }


def register(app: typer.Typer) -> None:
    app.command("update-prices")(update_prices)
    app.command("quote")(quote)
    app.command("warm-cache")(warm_cache)
