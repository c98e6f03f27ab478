"""When bars of two vendors may stand in one series: prices on one basis, each row its own supplier's.

A vendor that stands before another in the chain of an asset's class has the say.  Rows of those behind it are asked for
again once it is back, and become its own; it is extended by them only where their bars say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from marketjobs.domain.assets import AssetClass
from marketjobs.domain.bars import (
    LEAST_RETURNS,
    OVERLAP_BARS,
    RESTATED_BY,
    SPLIT,
    Action,
    Bar,
    StoredBar,
    differing_returns,
    jumped,
    may_be_split,
    restated,
)
from marketjobs.domain.intervals import Interval, stamp_text
from marketjobs.errors import MarketJobsError, Unsupported
from marketjobs.providers.base import Provider, provider_class
from marketjobs.services.held_back import held_back

COINS_DIFFER_BY = 0.02
"""Coins are traded at many places at once, and in coins that stand for a currency."""


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a provider stands among those that supplied bars of an asset: numbers of the ones ``before`` and
    ``behind`` it.  ``differ_by``: closes of two vendors that are no further apart say the same."""

    before: frozenset[int] = frozenset()
    behind: frozenset[int] = frozenset()
    differ_by: float = RESTATED_BY

    @property
    def others(self) -> frozenset[int]:
        return self.before | self.behind


def rank(
    provider: Provider | type[Provider],
    order: Sequence[str],
    asset_class: AssetClass,
    suppliers: Iterable[str],
    numbers: Mapping[str, int],
) -> Rank:
    """``order``: the chain of the asset's class; ``numbers``: of the suppliers, by name.  What people brought is
    nobody's: it is compared as a vendor's own."""
    names = {name for name in suppliers if name != provider.name and _is_vendor(name)}
    own = order.index(provider.name) if provider.name in order else len(order)
    before = {name for name in names if (order.index(name) if name in order else len(order)) < own}
    if provider.name not in order:
        before = names
    differ_by = COINS_DIFFER_BY if asset_class is AssetClass.CRYPTO else RESTATED_BY
    return Rank(
        frozenset(numbers[name] for name in before), frozenset(numbers[name] for name in names - before), differ_by
    )


def _is_vendor(name: str) -> bool:
    try:
        found = provider_class(name)
    except MarketJobsError:
        return False
    return found.needs_network


def contradiction(of: Rank, bars: Sequence[Bar], stored: Sequence[StoredBar]) -> int | None:
    """The stamp of the first final stored bar that an answer contradicts; ``None``: they say the same."""
    if not of.others:
        return restated(bars, stored)
    own = [row for row in stored if row.provider_id not in of.others]
    theirs = [row for row in stored if row.provider_id in of.others]
    stamp = restated(bars, own)
    return stamp if stamp is not None else restated(bars, theirs, by=of.differ_by, adjusted=False)


def refuse_as_traded(provider: Provider, symbol: str, start: int, splits: Iterable[Action]) -> None:
    """Raises Unsupported where prices as traded would be asked for from before a split."""
    if not provider.capabilities.as_traded:
        return
    for split in splits:
        if split.kind == SPLIT and split.ts > start:
            raise Unsupported(
                f"{provider.name} has prices as they were traded, and {symbol} was split"
                f" {split.value:g} for 1 on {stamp_text(split.ts, Interval.DAY_1)}",
                provider=provider.name,
                symbol=symbol,
            )


def refuse_split(provider: Provider, symbol: str, interval: Interval, bars: Sequence[Bar]) -> None:
    """Raises Unsupported where prices as traded make a step that a split may be: nobody else would tell."""
    stamp = may_be_split(bars) if provider.capabilities.as_traded else None
    if stamp is not None:
        raise Unsupported(
            f"{provider.name} has prices as they were traded, and those of {symbol} make a step on"
            f" {stamp_text(stamp, interval)} that may be a split",
            provider=provider.name,
            symbol=symbol,
        )


def refuse_jump(
    provider: Provider,
    symbol: str,
    interval: Interval,
    bars: Sequence[Bar],
    stored: Sequence[StoredBar],
    splits: Iterable[Action],
) -> None:
    """Raises DataRejected for prices a hundred times off the stored ones: another unit, or another thing."""
    found = jumped(bars, stored, splits)
    if found is not None:
        bar, known = found
        raise held_back(
            f"{symbol}: {provider.name} gives {bar.close:g} for {stamp_text(bar.ts, interval)} where {known:g} is"
            " stored: held back (if it is right: --force)"
        )


def refuse_other_series(symbol: str, of: Rank, bars: Sequence[Bar], stored: Iterable[StoredBar]) -> None:
    """Raises DataRejected for a history of something else, as comes of a renaming to a wrong symbol.  What other
    vendors supplied is not compared: each has closes of its own."""
    differing, count = differing_returns(bars, [row for row in stored if row.provider_id not in of.others])
    if count >= LEAST_RETURNS and 2 * differing > count:
        raise held_back(
            f"{symbol} looks like another series than the one stored: {differing} of {count} returns differ; held back"
            f" (if it was renamed by mistake: marketjobs assets rename {symbol} OLD; if it is right: --force)"
        )


def extension(
    provider: Provider,
    symbol: str,
    interval: Interval,
    of: Rank,
    bars: Sequence[Bar],
    stored: Sequence[StoredBar],
    new_splits: Iterable[Action],
) -> list[Bar]:
    """The bars that extend another's series: no final bar of those before, and none adjusted for dividends, of which
    each vendor has its own count.

    Raises:
        Unsupported: they are on another basis, or share too little with the series to tell.
    """

    def refused(why: str) -> Unsupported:
        return Unsupported(f"{provider.name} can't extend {symbol}: {why}", provider=provider.name, symbol=symbol)

    for split in new_splits:
        raise refused(f"a split of {split.value:g} on {stamp_text(split.ts, Interval.DAY_1)} is new")
    stamp = contradiction(of, bars, stored)
    if stamp is not None:
        raise refused(f"its bar of {stamp_text(stamp, interval)} is not what is stored")
    final = {row.ts for row in stored if not row.provisional}
    common = sum(bar.ts in final for bar in bars)
    if bars and common < min(OVERLAP_BARS, max(1, len(final))):
        raise refused(f"{common} bars in common are too few")
    theirs = {row.ts for row in stored if row.provider_id in of.before and not row.provisional}
    return [bar if bar.adj_close is None else bar._replace(adj_close=None) for bar in bars if bar.ts not in theirs]
