"""Commands that read what is stored: `prices`, `asset`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import JSON
from marketjobs.commands.jobs import UTC

if TYPE_CHECKING:
    from datetime import datetime

    from marketjobs.domain.intervals import Interval
    from marketjobs.domain.jobs import JsonDict
    from marketjobs.domain.ranges import Range
    from marketjobs.services.universe import AssetView
    from marketjobs.storage.profiles import ReadProfile
    from marketjobs.storage.quotes import ReadQuote

_SIZES = ((1e12, "T"), (1e9, "B"), (1e6, "M"))
NARROWEST_CHART = 40
"""A narrower terminal gets no chart unless it is asked for: its scale and labels would be most of it."""


def prices(
    symbol: Annotated[str, typer.Argument(metavar="SYM", help="A symbol, such as AAPL.")],
    interval: Annotated[str, typer.Option(metavar="I", help="Length of a bar.")] = "1d",
    start: Annotated[
        str | None, typer.Option(metavar="DAY", help="First day, as the exchange's calendar has it.")
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="DAY", help="Last day, included.")] = None,
    last: Annotated[
        int | None, typer.Option("--last", "-n", min=1, max=2**31 - 1, help="Only the newest so many rows.")
    ] = None,
    chart: Annotated[
        bool | None, typer.Option("--chart/--no-chart", help="A chart of the closes; default: at a terminal.")
    ] = None,
    utc: UTC = False,
    as_json: JSON = False,
) -> None:
    """Show stored bars: a chart and the newest rows at a terminal, all rows in a pipe."""
    import sys

    from marketjobs import read
    from marketjobs.commands import render
    from marketjobs.domain.intervals import Interval
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
    intraday = Interval.of(interval).is_intraday
    times = [_time(row.ts, intraday=intraday, utc=utc) for row in rows]
    if chart or (chart is None and terminal and render.out().width >= NARROWEST_CHART):
        _draw(rows, times)
    if chart and not terminal:
        return
    shown = rows if not terminal or last else rows[-10:]
    render.table(
        (
            "time" if intraday else "session",
            "open ",
            "high ",
            "low ",
            "close ",
            "adj close ",
            "volume ",
            "provider",
            "note",
        ),
        [
            (
                time,
                *(_price(price) for price in (row.open, row.high, row.low, row.close)),
                None if row.adj_close is None else _price(row.adj_close),
                None if row.volume is None else f"{row.volume:.0f}",
                row.provider,
                "provisional" if row.provisional else "",
            )
            for row, time in zip(shown, times[-len(shown) :], strict=True)
        ],
        spare=("provider", "adj close", "note", "open", "volume"),
    )
    if len(shown) < len(rows):
        render.note(
            f"the newest {len(shown)} of {len(rows)} bars; all of them: -n {len(rows)}, --json, or through a pipe"
        )


def _draw(rows: list, times: Sequence[str]) -> None:
    from marketjobs.commands import render
    from marketjobs.commands.chart import line_chart

    width, height = max(NARROWEST_CHART, min(render.out().width, 110)), 14
    closes = [row.close for row in rows]
    change = closes[-1] / closes[0] - 1
    title = f"{rows[-1].symbol} {rows[-1].interval} close {closes[-1]:.2f} ({change:+.1%} since {times[0]})"
    render.line(title, style="bold")
    style = "green" if change >= 0 else "red"
    for text in line_chart(closes, times, width=width, height=height):
        render.line(text, style=style)


def _time(moment: datetime, *, intraday: bool, utc: bool) -> str:
    """The session of a day or more; the instant of minutes and hours in the terminal's zone, named, or in UTC."""
    if not intraday:
        return moment.date().isoformat()
    local = moment if utc else moment.astimezone()
    return local.strftime("%Y-%m-%d %H:%M ") + (local.tzname() or "UTC")


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


def asset(
    symbol: Annotated[str, typer.Argument(metavar="SYM", help="A symbol, such as AAPL.")],
    as_json: JSON = False,
) -> None:
    """Show what is stored of an asset: facts, groups, other symbols, bars and what they cover."""
    from marketjobs.commands import render
    from marketjobs.domain.intervals import stamp_text
    from marketjobs.services import universe

    found = universe.view(session.runtime(), symbol)
    one = found.record
    facts = {
        "symbol": one.symbol,
        "name": one.name,
        "asset_class": one.asset_class,
        "currency": one.currency,
        "exchange": one.exchange,
        "timezone": one.timezone,
        "status": one.status,
    }
    if as_json:
        document = facts | {
            "quote": _quote_json(found.quote),
            "profile": _profile_json(found.profile),
            "stories": found.stories,
            "groups": found.groups,
            "aliases": [
                {
                    "provider": alias.provider,
                    "symbol": alias.symbol,
                    "valid_from": _day(alias.valid_from),
                    "valid_to": _day(alias.valid_to),
                }
                for alias in found.aliases
            ],
            "series": [
                {
                    "interval": series.interval.value,
                    "bars": series.count,
                    "first": stamp_text(series.first, series.interval),
                    "last": stamp_text(series.last, series.interval),
                    "covered": [
                        dict(zip(("start", "end"), _ends(part, series.interval), strict=True))
                        for part in series.covered
                    ],
                }
                for series in found.series
            ],
            "actions": found.actions,
        }
        render.json(document)
        return
    former = [f"{alias.symbol} until {_day(alias.valid_to)}" for alias in found.aliases if alias.valid_to is not None]
    vendors = [f"{alias.symbol} at {alias.provider}" for alias in found.aliases if alias.valid_to is None]
    facts |= {
        "groups": ", ".join(found.groups) or None,
        "known as": ", ".join(vendors) or None,
        "before": ", ".join(dict.fromkeys(former)) or None,
        "actions": ", ".join(f"{count} {kind}s" for kind, count in sorted(found.actions.items())) or None,
    }
    facts |= _in_words(found)
    width = max(map(len, facts))
    for name, value in facts.items():
        if value is not None:
            render.line(f"{name.replace('_', ' '):<{width}}  {value}")
    if not found.series:
        render.note(f"no bars yet; get some: marketjobs fetch-market-data -s {one.symbol}")
        return
    render.line("")
    render.table(
        ("interval", "bars ", "first", "last", "covered"),
        [
            (
                series.interval.value,
                series.count,
                stamp_text(series.first, series.interval),
                stamp_text(series.last, series.interval),
                _covered(series.covered, series.interval),
            )
            for series in found.series
        ],
        fold=("covered",),
    )


def _quote_json(found: ReadQuote | None) -> JsonDict | None:
    from marketjobs.domain.intervals import iso

    if found is None:
        return None
    told = found.quote._asdict() | {"at": iso(found.quote.at)}
    return told | {"provider": found.provider, "fetched_at": iso(found.fetched_at)}


def _profile_json(found: ReadProfile | None) -> JsonDict | None:
    from marketjobs.domain.intervals import iso

    if found is None:
        return None
    words = ("sector", "industry", "country", "website", "summary", "employees")
    told = {name: getattr(found.profile, name) for name in words} | {"figures": dict(found.profile.figures)}
    return told | {"provider": found.provider, "fetched_at": iso(found.fetched_at)}


def _in_words(found: AssetView) -> dict[str, str | None]:
    """Price, profile and news, a line each."""
    import textwrap

    from marketjobs.commands import render
    from marketjobs.commands.quotes import price
    from marketjobs.commands.results import percent

    words: dict[str, str | None] = {}
    if found.quote is not None:
        quote = found.quote.quote
        told = [price(quote.price), quote.currency, percent(quote.change_percent)]
        when = f"at {render.instant(quote.at)} by {found.quote.provider}"
        words["price"] = " ".join(one for one in (*told, when) if one)
    if found.profile is not None:
        profile = found.profile.profile
        words |= {name: getattr(profile, name) for name in ("sector", "industry", "country", "website")}
        words["employees"] = None if profile.employees is None else f"{profile.employees:,}"
        shown = [f"{name.replace('_', ' ')} {figure(value)}" for name, value in profile.figures.items()]
        words["figures"] = ", ".join(shown) or None
        words["about"] = textwrap.shorten(profile.summary or "", 400, placeholder=" ...") or None
        words["told by"] = f"{found.profile.provider}, {render.instant(found.profile.fetched_at)}"
    words["news"] = f"{found.stories:,} stories: marketjobs news {found.record.symbol}" if found.stories else None
    return words


def figure(value: float | str) -> str:
    """A figure of a company or a coin, to four digits: 1.403 T (trillions), 2.5 B, 16.2 M, 164,000."""
    if isinstance(value, str):
        return value
    size, unit = next(((size, f" {unit}") for size, unit in _SIZES if abs(value) >= size), (1.0, ""))
    number = value / size
    return (f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}") + unit


def _ends(part: Range, interval: Interval) -> tuple[str, str]:
    """First and last day of a stretch; of minutes and hours the instants from and to."""
    from marketjobs.domain.intervals import stamp_text

    return stamp_text(part.start, interval), stamp_text(part.end - (not interval.is_intraday), interval)


def _covered(parts: Sequence[Range], interval: Interval) -> str:
    """What need not be asked for again: the newest few stretches."""
    shown = [" to ".join(_ends(part, interval)) for part in parts[-3:]]
    return (f"{len(parts) - 3} stretches before, " if len(parts) > 3 else "") + ", ".join(shown)


def _day(stamp: int | None) -> str | None:
    from marketjobs.domain.intervals import day_of

    return None if stamp is None else day_of(stamp).isoformat()


def register(app: typer.Typer) -> None:
    app.command("prices")(prices)
    app.command("asset")(asset)
