"""Which days a fetch must ask for: what is missing, what was rejected, the tail, and some that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from marketjobs.domain.bars import OVERLAP_BARS
from marketjobs.domain.intervals import DAY_SECONDS, day_of, next_period, stamp_of
from marketjobs.domain.ranges import Range, merge, subtract
from marketjobs.errors import MarketJobsError, ProviderMismatch
from marketjobs.providers.base import Provider, provider_class
from marketjobs.services.bar_request import FetchRequest
from marketjobs.storage import bars
from marketjobs.storage.bars import Series
from marketjobs.storage.database import Transaction

GAP_TRIES = 3
"""A stamp whose row was rejected so often is no longer asked for on purpose."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be asked for one symbol: nothing, when the range is known and lies in the past."""

    symbol: str
    asset: int
    series: Series
    suppliers: tuple[str, ...]
    actions: dict[tuple[int, str], float]
    ranges: tuple[Range, ...]


def today(provider: Provider) -> date:
    return provider.as_of or datetime.now(UTC).date()


def plan_symbol(tx: Transaction, request: FetchRequest, provider: Provider, symbol: str, asset: int | None) -> Plan:
    wanted = request.wanted(today(provider))
    if asset is None:
        return Plan(symbol, 0, Series(None, None, (), ()), (), {}, (wanted,))
    series = bars.series(tx, asset, request.interval, GAP_TRIES)
    known = bars.actions(tx, asset)
    suppliers = bars.suppliers(tx, asset)
    if request.force or (series.first is None and not series.coverage):
        return Plan(symbol, asset, series, suppliers, known, (wanted,))
    return Plan(symbol, asset, series, suppliers, known, tuple(_missing(tx, request, provider, asset, series, wanted)))


def _missing(
    tx: Transaction, request: FetchRequest, provider: Provider, asset: int, series: Series, wanted: Range
) -> list[Range]:
    """What is not covered, what was rejected, and the tail; each overlapping what is stored beside it."""
    interval = request.interval
    missing = subtract(wanted, series.coverage)
    reaches_now = wanted.end > stamp_of(today(provider))
    if reaches_now and not (missing and missing[-1].end == wanted.end):
        missing.append(Range(wanted.end - DAY_SECONDS, wanted.end))
    gaps = [stamp for stamp in series.gaps if stamp in wanted]
    if gaps:
        missing.append(Range(gaps[0], stamp_of(next_period(day_of(gaps[-1]), interval))))
    padded = []
    for part in missing:
        before = bars.overlap_start(tx, asset, interval, part.start, OVERLAP_BARS)
        after = bars.overlap_end(tx, asset, interval, part.end, OVERLAP_BARS)
        padded.append(
            Range(
                part.start if before is None else before,
                part.end if after is None else stamp_of(next_period(day_of(after), interval)),
            )
        )
    return merge(padded)


def refuse_mixture(symbol: str, provider: type[Provider] | Provider, suppliers: Sequence[str]) -> None:
    """Recorded bars have their own basis and period: never beside another provider's."""
    for other in suppliers:
        if other != provider.name and (provider.only_by_name or is_only_by_name(other)):
            raise ProviderMismatch(
                f"{symbol} has bars from {other}: bars of {provider.name} are not mixed with them",
                hint=f"marketjobs assets remove {symbol} --purge",
            )


def is_only_by_name(name: str) -> bool:
    try:
        return provider_class(name).only_by_name
    except MarketJobsError:
        return False  # its plug-in is gone; its bars are like any other's
