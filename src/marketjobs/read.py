"""Reading what is stored, for programs and notebooks: `marketjobs.read.bars("AAPL")`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache

from marketjobs import config
from marketjobs.domain.assets import normalise_symbol
from marketjobs.domain.intervals import Interval, stamp_of
from marketjobs.errors import AssetNotFound
from marketjobs.services.runtime import Runtime
from marketjobs.services.universe import refuse_renamed
from marketjobs.storage import bars as stored


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
        start, end: first and last day, both included.
        last: only the newest so many.
        runtime: what to read with; ``None``: the settings in force.

    Raises:
        InvalidInput: no symbol or interval looks like that.
        AssetNotFound: nothing was ever fetched for the symbol.
        AssetRenamed: its asset has another symbol by now.
        StorageError: the store does not answer.
    """
    symbol = normalise_symbol(symbol)
    unit = Interval.of(interval)
    with (runtime or _runtime()).database.read() as tx:
        if stored.asset_id(tx, symbol) is None:
            refuse_renamed(tx, symbol)
            raise AssetNotFound(f"nothing is stored of {symbol}", hint=f"marketjobs fetch-market-data -s {symbol}")
        rows = stored.read(
            tx,
            symbol,
            unit,
            None if start is None else stamp_of(start),
            None if end is None else stamp_of(end) + 86_400,
            last,
        )
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
