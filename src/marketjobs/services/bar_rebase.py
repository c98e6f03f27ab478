"""Stored bars that the vendor does not give, when it puts the rest of a series on another basis.

Minutes and hours that it no longer gives, and what people brought from before its time.  They can't be asked for
again.  Deleting them would destroy good data, leaving them would mix two bases; so they are put on the new one, by
the vendor's own split or dividend, and only where the bars that both hold agree with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from marketjobs.domain.bars import SPLIT, Action, Bar, adjusted_factor, older_factor, rescaled
from marketjobs.domain.intervals import DAY_SECONDS, Interval, stamp_text
from marketjobs.errors import HistoryCut
from marketjobs.services.bar_plan import Plan
from marketjobs.storage import bars
from marketjobs.storage.database import Transaction


@dataclass(frozen=True, slots=True)
class Rebase:
    """Bars before ``end`` are to be multiplied by ``factor`` (their volume divided), their adjusted closes by
    ``adjusted`` (``None``: these are not known any more)."""

    end: int
    factor: float
    adjusted: float | None

    def text(self, interval: Interval) -> str:
        """What a result says of it."""
        before = f"bars before {stamp_text(self.end, interval)}"
        if self.factor != 1.0:
            return f"{before} times {self.factor:g}"
        change = "left out" if self.adjusted is None else f"times {self.adjusted:g}"
        return f"adjusted closes of {before} {change}"


def splits_of(one: Plan, found: Sequence[Action]) -> list[Action]:
    """The asset's splits as they are known with an answer, ascending."""
    known = {(ts, kind): value for (ts, kind), value in one.actions.items() if kind == SPLIT}
    known.update({(action.ts, action.kind): action.value for action in found if action.kind == SPLIT})
    return sorted(Action(ts, kind, value) for (ts, kind), value in known.items())


def speaks_from(tx: Transaction, one: Plan, interval: Interval, provider: str, given: Sequence[Bar], asked: int) -> int:
    """The stamp from which an answer speaks for the series: not for older bars that others brought, where the
    vendor never had any."""
    if not given:
        return asked
    first = given[0].ts
    own = bars.supplied_before(tx, one.asset, interval, provider, first)
    return asked if own else max(asked, first)


def decide(
    tx: Transaction,
    one: Plan,
    interval: Interval,
    provider: str,
    given: Sequence[Bar],
    found: Sequence[Action],
    asked: int,
) -> Rebase | None:
    """What an answer that was asked for from ``asked`` on means for older bars; see :func:`of_the_overlap`."""
    start = speaks_from(tx, one, interval, provider, given, asked)
    return of_the_overlap(tx, one, interval, given, found, start)


def of_the_overlap(
    tx: Transaction, one: Plan, interval: Interval, given: Sequence[Bar], found: Sequence[Action], start: int
) -> Rebase | None:
    """What a restating answer from ``start`` on means for older bars; ``None``: there are none, or they stay.

    Raises:
        HistoryCut: neither the bars that both hold nor a split say what older ones are worth now.
    """
    assert one.series.first is not None
    if one.series.first >= start or not given:
        return None
    stored = bars.stored_bars(tx, one.asset, interval, start, given[-1].ts)
    if not stored:
        return across_a_gap(tx, one, interval, found, start)
    factor = older_factor(given, stored, splits_of(one, found))
    if factor is None:
        raise HistoryCut(
            f"{one.symbol}: the vendor changed its {interval} bars from {stamp_text(start, interval)} on, and no split"
            " says what the older ones, which it no longer gives, are now; the stored ones stay as they are"
        )
    adjusted = factor if interval.is_intraday else adjusted_factor(given, stored)
    return None if factor == adjusted == 1.0 else Rebase(start, factor, adjusted)


def across_a_gap(tx: Transaction, one: Plan, interval: Interval, found: Sequence[Action], start: int) -> Rebase | None:
    """The same where the answer has no bar in common with what is stored: a split counts that came after the
    stored bars, and after they were fetched.

    Raises:
        HistoryCut: they were fetched about when the split came.
    """
    last = one.series.last
    later = [split for split in splits_of(one, found) if last is not None and split.ts > last]
    fetched = bars.fetched_span(tx, one.asset, interval, start)
    if not later or fetched is None:
        return None
    first_fetched, last_fetched = fetched
    for split in later:
        if first_fetched < split.ts + DAY_SECONDS and last_fetched >= split.ts:
            raise HistoryCut(
                f"{one.symbol}: whether its older {interval} bars were fetched before or after the split of"
                f" {split.value:g} can't be told; the stored ones stay as they are"
            )
    factor = 1 / math.prod(split.value for split in later if last_fetched < split.ts)
    return None if factor == 1.0 else Rebase(start, factor, None)


def apply(tx: Transaction, one: Plan, interval: Interval, rebase: Rebase, fetched_at: int) -> int:
    """Rewrite the older bars, each as its supplier's, in the transaction that stores the answer; how many changed."""
    by_supplier: dict[str, list[Bar]] = {}
    for row in bars.read(tx, one.symbol, interval, end=rebase.end):
        by_supplier.setdefault(row.provider, []).append(rescaled(row.bar, rebase.factor, rebase.adjusted))
    return sum(
        bars.upsert(tx, one.asset, interval, older, bars.provider_id(tx, name), fetched_at).changed
        for name, older in by_supplier.items()
    )
