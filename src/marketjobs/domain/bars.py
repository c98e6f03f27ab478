"""Bars: what they are, which of them may be stored, and when they are final."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain, pairwise
from operator import le, lt
from statistics import median
from types import NoneType
from typing import Any, NamedTuple, overload

from marketjobs.domain.assets import AssetFacts
from marketjobs.domain.intervals import DAY_SECONDS, Interval, day_of, next_period, stamp_of
from marketjobs.domain.quotes import jumps
from marketjobs.domain.ranges import Range

FINAL_AFTER_CLOSE_SECONDS = 20 * 60
CLOCK_TOLERANCE_SECONDS = 5 * 60
OVERLAP_BARS = 5
RESTATED_BY = 1e-4
ADJUSTED_BY = 2e-5
"""Vendors compute adjusted closes anew for each answer: they differ in the last digits without a dividend."""
SPLIT_STEP = 1.2
SAME_RETURN = 0.005
LEAST_RETURNS = 19
"""Fewer say nothing about whether two histories are of the same thing."""
COMPARED_BARS = 50
BASIS_TOLERANCE = 1e-3
"""Prices of minutes are rounded to a cent or less before a vendor divides them."""
BASIS_MAJORITY = 0.8
PRICE_TOLERANCE = 1e-6
"""Vendors send prices as 32-bit floats, adjusted one by one: a high may lie an ulp under its close."""


class RawRow(NamedTuple):
    """A vendor's row before any check.  ``stamp``: where it would be stored (epoch seconds, 00:00Z of its
    session for a day or more); ``at``: the instant that the vendor sent; ``None``: the vendor did not say."""

    stamp: int
    at: float
    open: Any
    high: Any
    low: Any
    close: Any
    adj_close: Any
    volume: Any


class ColumnRows(Sequence[RawRow]):
    """Rows that are kept by column, each column as long as the others: half a million of them cost half the memory, and
    none is made before somebody looks at it."""

    __slots__ = ("columns",)

    def __init__(self, columns: Sequence[Sequence[Any]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[RawRow]:
        return map(RawRow._make, zip(*self.columns, strict=True))

    @overload
    def __getitem__(self, index: int) -> RawRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RawRow]: ...
    def __getitem__(self, index: int | slice) -> RawRow | Sequence[RawRow]:
        chosen = [column[index] for column in self.columns]
        return ColumnRows(chosen) if isinstance(index, slice) else RawRow._make(chosen)


class Bar(NamedTuple):
    """A checked bar.  ``ts`` epoch seconds, prices split-adjusted and not dividend-adjusted in the asset's
    currency, ``adj_close`` adjusted for dividends too (``None``: the vendor has none), ``volume`` in units."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    adj_close: float | None
    volume: float | None
    provisional: bool = False


class Action(NamedTuple):
    """A dividend (amount a share, in the bars' basis) or a split (``value`` = new shares for one old)."""

    ts: int
    kind: str
    value: float


DIVIDEND, SPLIT = "dividend", "split"


class Rejected(NamedTuple):
    """A row that broke a rule; its stamp is asked for again."""

    ts: int
    rule: str


class OpenSession(NamedTuple):
    """The newest session that the vendor speaks of: its stamp, and when it closes (epoch seconds)."""

    stamp: int
    closes_at: float


class Hours(NamedTuple):
    """From when to when a session trades (epoch seconds); with pre- and post-market, where they were asked for."""

    opens_at: float
    closes_at: float


@dataclass(frozen=True, slots=True)
class BarQuery:
    """One symbol's bars over a range, as a provider is asked for them: ``symbol`` as the vendor spells it,
    ``currency`` for vendors that quote in any.  ``prepost``: minutes and hours before and after the regular session
    too.  ``whole``: in one answer, however long that is."""

    symbol: str
    interval: Interval
    range: Range
    prepost: bool = False
    currency: str | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class BarAnswer:
    """What a vendor said to a query: rows as sent (any order, unchecked), events, facts.

    The query's range is what the answer speaks for: a provider narrows it to what the vendor gives.
    ``session`` is for bars of a day or more, ``hours`` (the sessions that the vendor names) for shorter ones.
    ``goes_on``: it ends early, so that nobody holds years of minutes in memory; the rest is to be asked for next.
    """

    query: BarQuery
    rows: Sequence[RawRow]
    actions: Sequence[Action] = ()
    facts: AssetFacts = field(default_factory=AssetFacts)
    session: OpenSession | None = None
    hours: Sequence[Hours] = ()
    goes_on: bool = False

    def open_from(self, now: float) -> float:
        """Bars of minutes and hours that begin at this instant or later may still change: those of a session
        until 20 minutes after its close, and any until 20 minutes after its own end (a day after it, where the
        vendor named no session)."""
        after = FINAL_AFTER_CLOSE_SECONDS
        running = [one.opens_at for one in self.hours if one.opens_at <= now < one.closes_at + after]
        return min([now - self.query.interval.seconds - (after if self.hours else DAY_SECONDS), *running])


@dataclass(frozen=True, slots=True)
class Checked:
    """``bars`` ascending by ts, each stamp once; ``rejected`` with the rule that each broke."""

    bars: list[Bar]
    rejected: list[Rejected]

    def rules(self) -> str:
        """Such as ``2 not_positive, 1 future``."""
        counts = Counter(row.rule for row in self.rejected)
        return ", ".join(f"{count} {rule}" for rule, count in counts.most_common())


def check(answer: BarAnswer, now: float) -> Checked:
    """Split an answer's rows into bars that may be stored and rows that break a rule.

    Work is linear but for a sort that is free on ordered rows.
    """
    sound = _plainly_sound(answer, now)
    if sound is not None:
        return Checked(sound, [])
    wanted = answer.query.range
    start, end = wanted.start, wanted.end
    rows, rejected, conflicts = _ordered(answer.rows, wanted)
    bars: list[Bar] = []
    latest = now + CLOCK_TOLERANCE_SECONDS
    may_change = _may_change(answer, now)
    grid = 60 if answer.query.interval.is_intraday else 1
    for row in rows:
        stamp, at, first, high, low, last, adj, volume = row
        inside = start <= stamp < end
        if not inside and at <= latest:
            continue  # the margin that a vendor is asked with; what lies in the future is told all the same
        if stamp in conflicts:
            rejected.append(Rejected(stamp, "conflict"))
        elif stamp % grid:
            rejected.append(Rejected(stamp, "off_grid"))
        elif (
            # Beside a bad one most are plainly sound, and need not be asked rule by rule; a NaN fails every comparison.
            type(first) is type(high) is type(low) is type(last) is type(adj) is float
            and type(volume) is int
            and 0 < low <= first <= high < math.inf
            and low <= last <= high
            and 0 < adj < math.inf
            and volume >= 0
            and at <= latest
        ):
            if inside:
                bars.append(Bar(stamp, first, high, low, last, adj, float(volume), may_change(stamp)))
        elif (rule := broken_rule(row, now)) is not None:
            rejected.append(Rejected(stamp, rule))
        elif inside:
            bars.append(
                Bar(
                    stamp,
                    float(first),
                    float(high),
                    float(low),
                    float(last),
                    None if adj is None else float(adj),
                    None if volume is None else float(volume),
                    may_change(stamp),
                )
            )
    return Checked(bars, rejected)


def _plainly_sound(answer: BarAnswer, now: float) -> list[Bar] | None:
    """All bars of an answer in which no row breaks a rule or lacks a value, which nearly every one is: told by whole
    columns, at a tenth of the price of a look at each row.  ``None``: the rows must be looked at."""
    if not answer.rows:
        return []
    rows = answer.rows
    columns = rows.columns if isinstance(rows, ColumnRows) else zip(*rows, strict=True)
    stamps, at, first, high, low, last, adj, volume = columns
    adjusted, counted = set(map(type, adj)), set(map(type, volume))
    is_sound = (
        set(map(type, chain(first, high, low, last))) == {float}
        and (counted == {int} or (counted == {float} and math.isfinite(sum(volume))))  # coins have parts
        # A NaN fails every comparison, wherever it stands.
        and all(map(lt, stamps, stamps[1:]))
        and all(map(le, low, first))
        and all(map(le, first, high))
        and all(map(le, low, last))
        and all(map(le, last, high))
        and min(low) > 0
        and max(high) < math.inf
        and (adjusted == {NoneType} or (adjusted == {float} and min(adj) > 0 and math.isfinite(sum(adj))))
        and min(volume) >= 0
        and max(at) <= now + CLOCK_TOLERANCE_SECONDS
        and not (answer.query.interval.is_intraday and any(stamp % 60 for stamp in stamps))
    )
    if not is_sound:
        return None
    wanted = answer.query.range
    start, end = bisect_left(stamps, wanted.start), bisect_left(stamps, wanted.end)
    # Later bars are never final before earlier ones.
    open_from = bisect_left(stamps, True, start, end, key=_may_change(answer, now))
    is_open = [False] * (open_from - start) + [True] * (end - open_from)
    kept = slice(start, end)
    figures = (column[kept] for column in (stamps, first, high, low, last, adj))
    return list(map(Bar._make, zip(*figures, map(float, volume[kept]), is_open, strict=True)))


def _ordered(rows: Sequence[RawRow], wanted: Range) -> tuple[Sequence[RawRow], list[Rejected], set[int]]:
    """Rows ascending, each stamp once; those of the range that came twice, and the stamps at which they differ."""
    stamps = [row.stamp for row in rows]
    if stamps == sorted(set(stamps)):
        return rows, [], set()
    rejected: list[Rejected] = []
    by_stamp: dict[int, RawRow] = {}
    conflicts: set[int] = set()
    for row in rows:
        known = by_stamp.setdefault(row.stamp, row)
        if known is not row and row.stamp in wanted:
            rejected.append(Rejected(row.stamp, "duplicate"))
            if known[2:] != row[2:]:
                conflicts.add(row.stamp)
    return [by_stamp[stamp] for stamp in sorted(by_stamp)], rejected, conflicts


def _may_change(answer: BarAnswer, now: float) -> Callable[[int], bool]:
    """Whether the bar of a stamp is provisional, with what is the same for all of an answer worked out once."""
    interval, session = answer.query.interval, answer.session
    if interval.is_intraday:
        open_from = answer.open_from(now)
        return lambda stamp: stamp >= open_from
    if interval is Interval.DAY_1 and session is not None and now >= session.closes_at + FINAL_AFTER_CLOSE_SECONDS:
        return lambda stamp: False
    return lambda stamp: is_provisional(stamp, interval, session, now)


def broken_rule(row: RawRow, now: float) -> str | None:
    """The name of the first rule that a row breaks, or ``None``."""
    prices = (row.open, row.high, row.low, row.close)
    if all(price is None for price in prices):
        return "no_prices"
    if any(price is None for price in prices):
        return "missing_price"
    optional = tuple(value for value in (row.adj_close, row.volume) if value is not None)
    if not all(type(value) is float or type(value) is int for value in prices + optional):
        return "not_a_number"
    try:
        if not all(math.isfinite(value) for value in prices + optional):
            return "not_finite"
    except OverflowError:  # a whole number that no double holds
        return "not_finite"
    if min(prices) <= 0 or (row.adj_close is not None and row.adj_close <= 0):
        return "not_positive"
    if row.volume is not None and row.volume < 0:
        return "negative_volume"
    slack = PRICE_TOLERANCE * row.high
    if row.low > min(row.open, row.close) + slack or row.high < max(row.open, row.close) - slack:
        return "outside_low_high"
    if row.at > now + CLOCK_TOLERANCE_SECONDS:
        return "future"
    return None


def is_provisional(stamp: int, interval: Interval, session: OpenSession | None, now: float) -> bool:
    """May this bar still change because its session (week, month) is not over?

    A day is over 20 minutes after its session's close.  Weeks and months are given a day more than their
    calendar end, which is after the last close in every time zone.
    """
    if interval is Interval.DAY_1:
        if session is None:
            return now < stamp + 2 * DAY_SECONDS
        return stamp >= session.stamp and now < session.closes_at + FINAL_AFTER_CLOSE_SECONDS
    return now < stamp_of(next_period(day_of(stamp), interval)) + DAY_SECONDS


@dataclass(frozen=True, slots=True)
class StoredBar:
    """What is needed of a stored bar to compare it; ``provider_id``: the number of who supplied it."""

    ts: int
    close: float
    adj_close: float | None
    provisional: bool
    provider_id: int = 0


def restated(
    bars: Iterable[Bar], stored: Iterable[StoredBar], *, by: float = RESTATED_BY, adjusted: bool = True
) -> int | None:
    """The stamp of the first final stored bar whose close (by more than a share ``by`` of it), or dividend adjustment
    where that is compared too, the vendor now gives otherwise; ``None``: all is as it was."""
    final = {bar.ts: bar for bar in stored if not bar.provisional}
    for bar in bars if final else ():
        before = final.get(bar.ts)
        if before is None:
            continue
        if abs(bar.close - before.close) > by * before.close:
            return bar.ts
        now, then = (bar.adj_close, before.adj_close) if adjusted else (None, None)
        if now is not None and then is not None and abs(now - then) > ADJUSTED_BY * then:
            return bar.ts
    return None


def may_be_split(bars: Sequence[Bar]) -> int | None:
    """The stamp of the first bar that opens so far from the close before it that a split may lie between (5 for 4 is
    the smallest that is usual); ``None``: there is no such step."""
    for before, bar in pairwise(bars):
        if not before.close / SPLIT_STEP < bar.open < before.close * SPLIT_STEP:
            return bar.ts
    return None


def jumped(bars: Iterable[Bar], stored: Iterable[StoredBar], splits: Iterable[Action]) -> tuple[Bar, float] | None:
    """The first bar that is of something else than what is stored, with the close that says so: that of its own stamp,
    of bars behind the stored ones that before it.  ``None``: there is none, or a split that came later may be why."""
    final = {bar.ts: bar.close for bar in stored if not bar.provisional}
    newest = max(final, default=0)
    last_split = max((split.ts for split in splits), default=0)
    before = final.get(newest)
    for bar in bars:
        known = final.get(bar.ts)
        if bar.ts > newest:
            known, before = before, bar.close
        if last_split <= min(bar.ts, newest) and jumps(bar.close, known):
            return bar, known or 0.0
    return None


def differing_returns(bars: Iterable[Bar], stored: Iterable[StoredBar]) -> tuple[int, int]:
    """How many returns from one bar to the next are others than those of the final stored ones, and of how many.

    A split, another unit or a correction changes some of them; the history of another company has hardly any in
    common.  Minutes are compared by each day's last, because single ones hardly move.  Prices that are rounded, or
    that hardly move, are given their rounding.
    """
    final = {bar.ts: bar.close for bar in stored if not bar.provisional}
    common = {bar.ts // DAY_SECONDS: (bar.close, final[bar.ts]) for bar in bars if bar.ts in final}
    pairs = [common[day] for day in sorted(common)]
    steps = [_price_step(closes) for closes in zip(*pairs, strict=True)]
    differing = 0
    for before, after in pairwise(pairs):
        now, then = (end / begin for begin, end in zip(before, after, strict=True))
        rounding = sum(step / min(ends) for step, ends in zip(steps, zip(before, after, strict=True), strict=True))
        differing += abs(now - then) > (SAME_RETURN + rounding) * then
    return differing, max(0, len(pairs) - 1)


def _price_step(closes: Iterable[float]) -> float:
    """The smallest unit that prices are given in, one at most, as far as six digits show it."""
    return 10.0 ** min(0, *(int(Decimal(f"{close:.6g}").as_tuple().exponent) for close in closes))


def in_unit(bar: Bar, factor: float) -> Bar:
    """The same bar with its prices in another unit of the currency (pence of pounds)."""
    prices = {name: getattr(bar, name) * factor for name in ("open", "high", "low", "close")}
    return bar._replace(**prices, adj_close=None if bar.adj_close is None else bar.adj_close * factor)


def older_factor(given: Sequence[Bar], stored: Sequence[StoredBar], splits: Sequence[Action]) -> float | None:
    """By what stored prices must be multiplied that lie before an answer, to be on its basis.

    The oldest final bars that both hold tell it: 1 when they agree, and else the inverse of the splits since,
    newest first, that explains their ratio.  ``None``: nothing explains it, or there is no such bar.
    """
    final = {bar.ts: bar.close for bar in stored if not bar.provisional}
    ratios = [bar.close / final[bar.ts] for bar in given if bar.ts in final][:COMPARED_BARS]
    if not ratios:
        return None
    seen = median(ratios)
    # A vendor that corrects single bars does so beside a split too.
    if sum(abs(ratio - seen) <= BASIS_TOLERANCE * seen for ratio in ratios) < BASIS_MAJORITY * len(ratios):
        return None
    factor = 1.0
    if abs(seen - factor) <= BASIS_TOLERANCE:
        return factor
    for split in sorted(splits, reverse=True):
        factor /= split.value
        if abs(seen - factor) <= BASIS_TOLERANCE * factor:
            return factor
    return None


def adjusted_factor(given: Sequence[Bar], stored: Sequence[StoredBar]) -> float | None:
    """By what adjusted closes must be multiplied that lie before an answer, to be on its basis; ``None``: the oldest
    bars that both hold do not tell."""
    final = {bar.ts: bar.adj_close for bar in stored if not bar.provisional and bar.adj_close is not None}
    ratios = [bar.adj_close / final[bar.ts] for bar in given if bar.adj_close is not None and bar.ts in final]
    ratios = ratios[:COMPARED_BARS]
    if not ratios:
        return None
    seen = median(ratios)
    if sum(abs(ratio - seen) <= BASIS_TOLERANCE * seen for ratio in ratios) < BASIS_MAJORITY * len(ratios):
        return None
    return 1.0 if abs(seen - 1) <= ADJUSTED_BY else seen


def rescaled(bar: Bar, factor: float, adjusted: float | None) -> Bar:
    """A bar on another split basis: prices times ``factor``, volume divided by it; its adjusted close times
    ``adjusted`` (``None``: it is not known any more)."""
    return bar._replace(
        open=bar.open * factor,
        high=bar.high * factor,
        low=bar.low * factor,
        close=bar.close * factor,
        adj_close=None if bar.adj_close is None or adjusted is None else bar.adj_close * adjusted,
        volume=None if bar.volume is None else bar.volume / factor,
    )
