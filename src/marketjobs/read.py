"""Reading what is stored, for programs and notebooks: `marketjobs.read.bars("AAPL")`, `latest_closes`,
`quotes`, `news`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from math import ceil

from marketjobs import config
from marketjobs.domain.assets import normalise_symbol
from marketjobs.domain.intervals import DAY_SECONDS, Interval, local_midnight, stamp_of
from marketjobs.errors import InvalidInput
from marketjobs.services import quote_cache
from marketjobs.services.bar_plan import zone_of
from marketjobs.services.runtime import Runtime
from marketjobs.services.universe import refuse_unknown
from marketjobs.storage import assets
from marketjobs.storage import bars as stored
from marketjobs.storage import news as stored_news
from marketjobs.storage import quotes as stored_quotes


@dataclass(frozen=True, slots=True)
class Bar:
    """A stored bar.  ``ts`` is aware and UTC: the session's date at 00:00 for a day or more, else the opening
    instant.  Prices are split-adjusted and not dividend-adjusted, in the asset's currency; ``provisional``
    bars may still change."""

    symbol: str
    interval: str
    ts: datetime
    open: float
    high: float
    low: float
    close: float
    adj_close: float | None
    volume: float | None
    provider: str
    provisional: bool
    fetched_at: datetime


@dataclass(frozen=True, slots=True)
class Quote:
    """A stored latest price; `domain.quotes.Quote` says what each value means.  ``at``, the instant that the price is
    of, and ``fetched_at`` are aware and UTC."""

    symbol: str
    name: str | None
    price: float
    at: datetime
    currency: str | None
    change_percent: float | None
    previous_close: float | None
    day_open: float | None
    day_high: float | None
    day_low: float | None
    volume: float | None
    market_cap: float | None
    provider: str
    fetched_at: datetime


@dataclass(frozen=True, slots=True)
class Story:
    """A stored story.  ``published_at`` is aware and UTC: when it was first seen, where ``is_dated`` says that nobody
    gave its date; ``symbols`` are the assets that it is about."""

    title: str
    url: str | None
    summary: str | None
    source: str | None
    published_at: datetime
    is_dated: bool
    symbols: tuple[str, ...]
    provider: str


@cache
def _runtime() -> Runtime:
    return Runtime(config.current())


def bars(
    symbol: str,
    interval: str = "1d",
    start: date | None = None,
    end: date | None = None,
    last: int | None = None,
    *,
    runtime: Runtime | None = None,
) -> list[Bar]:
    """Stored bars of a symbol, ascending by ts; an empty list when the asset is known and has none.

    Args:
        start, end: first and last day, both included; for minutes and hours, days of the exchange's zone.  Or
            instants (aware datetimes): stamps from ``start`` to before ``end``.
        last: only the newest so many.
        runtime: what to read with; ``None``: the settings in force.

    Raises:
        InvalidInput: no symbol or interval looks like that, or a datetime has no zone.
        AssetNotFound: nothing was ever fetched for the symbol.
        AssetRenamed: its asset has another symbol by now.
        StorageError: the store does not answer.
    """
    symbol = normalise_symbol(symbol)
    unit = Interval.of(interval)
    with (runtime or _runtime()).database.read() as tx:
        asset = stored.asset_id(tx, symbol)
        if asset is None:
            refuse_unknown(tx, symbol, "prices")
        name = stored.timezone(tx, asset) if unit.is_intraday else None
        zone = zone_of(name) or UTC
        rows = stored.read(tx, symbol, unit, _from(start, unit, zone), _before(end, unit, zone), last)
    return [
        Bar(
            symbol=symbol,
            interval=unit.value,
            ts=datetime.fromtimestamp(row.bar.ts, UTC),
            open=row.bar.open,
            high=row.bar.high,
            low=row.bar.low,
            close=row.bar.close,
            adj_close=row.bar.adj_close,
            volume=row.bar.volume,
            provider=row.provider,
            provisional=row.bar.provisional,
            fetched_at=datetime.fromtimestamp(row.fetched_at, UTC),
        )
        for row in rows
    ]


def latest_closes(symbols: Iterable[str], interval: str = "1d", *, runtime: Runtime | None = None) -> dict[str, float]:
    """The newest stored close of each symbol, by symbol; those of which nothing is stored are left out.

    Raises:
        InvalidInput: no symbol or interval looks like that.
        StorageError: the store does not answer.
    """
    unit = Interval.of(interval)
    wanted = list(dict.fromkeys(normalise_symbol(one) for one in symbols))
    with (runtime or _runtime()).database.read() as tx:
        return stored.latest_closes(tx, wanted, unit)


def quotes(symbols: Iterable[str], *, runtime: Runtime | None = None) -> dict[str, Quote]:
    """The stored latest price of each symbol, by symbol in their order; assets that have none yet are left out.

    Where there is a cache (``[cache] url``), the database is asked about what that does not have.

    Raises:
        InvalidInput: no symbol looks like that.
        AssetNotFound: nothing was ever fetched for a symbol.
        AssetRenamed: its asset has another symbol by now.
        StorageError: the store does not answer.
    """
    wanted = list(dict.fromkeys(normalise_symbol(one) for one in symbols))
    runtime = runtime or _runtime()
    found = {one.symbol: one for one in quote_cache.read(runtime, wanted)}
    rest = [symbol for symbol in wanted if symbol not in found]
    if rest:
        with runtime.database.read() as tx:
            known = assets.ids(tx, rest)
            for symbol in rest:
                if symbol not in known:
                    refuse_unknown(tx, symbol, "quote", "update-prices")
            found |= {one.symbol: one for one in stored_quotes.read(tx, rest)}
    return {
        symbol: Quote(
            symbol=symbol,
            name=one.name,
            provider=one.provider,
            fetched_at=datetime.fromtimestamp(one.fetched_at, UTC),
            **one.quote._asdict() | {"at": datetime.fromtimestamp(one.quote.at, UTC)},
        )
        for symbol in wanted
        if (one := found.get(symbol)) is not None
    }


def news(symbol: str | None = None, last: int = 20, *, runtime: Runtime | None = None) -> list[Story]:
    """Stored stories, the newest first, at most ``last``; ``symbol``: only those about it.

    Raises:
        InvalidInput: no symbol looks like that.
        AssetNotFound, AssetRenamed: no asset has it.
        StorageError: the store does not answer.
    """
    with (runtime or _runtime()).database.read() as tx:
        asset = None
        if symbol is not None:
            wanted = normalise_symbol(symbol)
            asset = stored.asset_id(tx, wanted)
            if asset is None:
                refuse_unknown(tx, wanted, "news", "fetch-news")
        rows = stored_news.read(tx, asset, last)
    return [
        Story(
            title=row.title,
            url=row.url,
            summary=row.summary,
            source=row.source,
            published_at=datetime.fromtimestamp(row.published_at, UTC),
            is_dated=row.is_dated,
            symbols=row.symbols,
            provider=row.provider,
        )
        for row in rows
    ]


def _from(start: date | None, unit: Interval, zone: tzinfo) -> int | None:
    """The first stamp that a start lets in."""
    if start is None or isinstance(start, datetime):
        return None if start is None else _instant(start)
    return local_midnight(start, zone) if unit.is_intraday else stamp_of(start)


def _before(end: date | None, unit: Interval, zone: tzinfo) -> int | None:
    """The first stamp that an end keeps out."""
    if end is None or isinstance(end, datetime):
        return None if end is None else _instant(end)
    if unit.is_intraday:
        return local_midnight(end + timedelta(days=1), zone)
    return stamp_of(end) + DAY_SECONDS


def _instant(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise InvalidInput(f"{moment.isoformat()} has no time zone: give an aware datetime, or a date")
    return ceil(moment.timestamp())
