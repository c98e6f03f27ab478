"""Which days a fetch must ask for: what is missing, what was rejected, the tail, and some that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from marketjobs.config import ChainsSettings
from marketjobs.domain.bars import OVERLAP_BARS
from marketjobs.domain.intervals import DAY_SECONDS, bar_end, local_day, local_midnight, stamp_of
from marketjobs.domain.ranges import Range, later_than, merge, subtract, whole_local_days
from marketjobs.domain.reports import Asked
from marketjobs.errors import MarketJobsError, ProviderMismatch, RangeUnavailable
from marketjobs.providers.base import Provider, provider_class
from marketjobs.services.bar_basis import Rank, rank
from marketjobs.services.bar_request import FetchRequest
from marketjobs.services.identity import Named
from marketjobs.services.universe import renamings
from marketjobs.storage import bar_state, bars
from marketjobs.storage.bar_state import Known, Series
from marketjobs.storage.database import Transaction

GAP_TRIES = 3
"""A stamp whose row was rejected so often is no longer asked for on purpose."""
ZONES_AHEAD_SECONDS = 14 * 3600
ZONES_BEHIND_SECONDS = 12 * 3600
"""How far a day may begin before and after 00:00Z, somewhere on Earth."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be asked for one symbol: nothing, when the range is known and lies in the past.

    ``rank`` says where the provider stands among the asset's suppliers, ``asked`` who was asked before it.  ``wanted``
    is the whole range, as far back as the vendor goes (``note`` says so where it was cut); ``zone`` is
    the exchange's, ``None`` while no vendor has named it, and then the ranges are wide enough for any.
    """

    named: Named
    asset: int
    series: Series
    suppliers: tuple[str, ...]
    actions: dict[tuple[int, str], float]
    ranges: tuple[Range, ...]
    wanted: Range
    zone: tzinfo | None = UTC
    prepost: bool = False
    note: str = ""
    rank: Rank = field(default_factory=Rank)
    asked: tuple[Asked, ...] = ()
    refusal: MarketJobsError | None = field(default=None, compare=False)

    @property
    def symbol(self) -> str:
        return self.named.symbol


def today(provider: Provider, zone: tzinfo = UTC) -> date:
    return provider.as_of or datetime.now(zone).date()


def zone_of(name: str | None) -> tzinfo | None:
    """The zone of an IANA name; ``None``: there is no name, or none that this machine knows."""
    try:
        return ZoneInfo(name) if name else None
    except (ValueError, OSError):
        return None


def earliest(provider: Provider, request: FetchRequest, zone: tzinfo) -> int | None:
    """The start of the first whole day of which the vendor gives bars; ``None``: it sets no limit."""
    days = provider.capabilities.reach_days.get(request.interval)
    if days is None:
        return None
    cut = local_day(datetime.now(UTC).timestamp() - days * DAY_SECONDS, zone)
    return local_midnight(cut + timedelta(days=1), zone)


def plans(
    tx: Transaction,
    request: FetchRequest,
    provider: Provider,
    wanted: Sequence[Named],
    chains: ChainsSettings,
    done_until: Mapping[str, int] | None = None,
) -> list[Plan]:
    """What to ask a provider for, in the order of the symbols; a plan with a ``refusal`` is for a symbol that was
    renamed, or a range of which the vendor has nothing any more.

    Args:
        done_until: by symbol, up to where this fetch has asked already.
    """
    symbols = [one.symbol for one in wanted]
    known = bar_state.known(tx, symbols, request.interval, GAP_TRIES)
    renamed = renamings(tx, [symbol for symbol in symbols if symbol not in known])
    numbers = bars.provider_ids(tx)
    planned = []
    for one in wanted:
        found = known.get(one.symbol)
        order = chains.of(one.asset_class)
        place = rank(provider, order, one.asset_class, found.suppliers if found else (), numbers)
        planned.append(_plan(tx, request, provider, one, found, place, (done_until or {}).get(one.symbol)))
    return [replace(one, refusal=renamed[one.symbol]) if one.symbol in renamed else one for one in planned]


def _plan(
    tx: Transaction,
    request: FetchRequest,
    provider: Provider,
    named: Named,
    known: Known | None,
    place: Rank,
    done_until: int | None,
) -> Plan:
    zone: tzinfo | None = UTC
    series = known.series if known else Series()
    is_empty = series.first is None and not series.coverage
    if request.interval.is_intraday:
        zone = zone_of(known.timezone if known else None) or (None if is_empty else UTC)
    wanted = request.wanted(today(provider, zone or UTC), zone or UTC)
    coverage = () if request.force or is_empty else series.extended if request.prepost else series.coverage
    missing = subtract(wanted, coverage)
    if done_until is not None:
        missing = later_than(missing, done_until)
    first = earliest(provider, request, zone or UTC)
    given = missing if first is None else later_than(missing, first)
    # A series that has extended hours keeps them: an answer without them would pass for their withdrawal.
    prepost = request.prepost or bool(series.extended)
    one = Plan(
        named,
        known.asset if known else 0,
        series,
        known.suppliers if known else (),
        known.actions if known else {},
        (),
        wanted,
        zone,
        prepost,
        rank=place,
    )
    if given != missing:
        one = _cut(one, request, provider, first)
        if not given and first is not None and wanted.end <= first:
            return one
    if zone is None:
        parts = [Range(part.start - ZONES_AHEAD_SECONDS, part.end + ZONES_BEHIND_SECONDS) for part in given]
    elif is_empty:
        parts = given
    else:
        parts = _padded(tx, request, provider, one, given)
        parts = parts if first is None else later_than(parts, first)
    return replace(one, ranges=tuple(parts))


def _cut(one: Plan, request: FetchRequest, provider: Provider, first: int | None) -> Plan:
    """The plan with words about the part that the vendor no longer gives."""
    assert first is not None
    days = provider.capabilities.reach_days[request.interval]
    limit = f"{provider.name} gives {request.interval} bars of the last {days} days"
    day = local_day(first, one.zone or UTC)
    if one.wanted.end > first:
        return replace(one, note=f"{limit}: asked from {day} on")
    return replace(
        one,
        refusal=RangeUnavailable(f"{limit}: nothing before {day}", provider=provider.name, symbol=one.symbol),
    )


def narrowed(one: Plan, request: FetchRequest, provider: Provider, zone: tzinfo) -> Plan:
    """The plan of a series whose exchange's zone is known by now: its days are that zone's."""
    wanted, first = request.wanted(today(provider, zone), zone), earliest(provider, request, zone)
    given = [wanted] if first is None else later_than([wanted], first)
    return replace(one, zone=zone, wanted=wanted, ranges=tuple(given))


def _padded(
    tx: Transaction, request: FetchRequest, provider: Provider, one: Plan, missing: Sequence[Range]
) -> list[Range]:
    """What is missing, what was rejected, and the tail; each overlapping what is stored beside it."""
    interval, wanted, zone = request.interval, one.wanted, one.zone or UTC
    missing = list(missing)
    now = today(provider, zone)
    reaches_now = wanted.end > (local_midnight(now, zone) if interval.is_intraday else stamp_of(now))
    if reaches_now and not (missing and missing[-1].end == wanted.end):
        missing.append(Range(wanted.end - DAY_SECONDS, wanted.end))
    if one.rank.behind:
        span = bars.supplied_span(tx, one.asset, interval, one.rank.behind, GAP_TRIES)
        if span is not None:
            missing.append(Range(span[0], bar_end(span[1], interval)))
    gaps = [stamp for stamp in one.series.gaps if stamp in wanted]
    if gaps:
        missing.append(Range(gaps[0], bar_end(gaps[-1], interval)))
    padded = []
    for part in missing:
        before = bars.overlap_start(tx, one.asset, interval, part.start, OVERLAP_BARS)
        after = bars.overlap_end(tx, one.asset, interval, part.end, OVERLAP_BARS)
        wide = Range(
            part.start if before is None else before,
            part.end if after is None else bar_end(after, interval),
        )
        # Whole days: no vendor then cuts the first bar of an answer where the request begins.
        padded.append(whole_local_days(wide, zone) if interval.is_intraday else wide)
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
