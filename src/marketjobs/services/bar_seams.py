"""Where a file's bars lie beside stored ones that it does not hold: nothing says that both are on one basis.

A fetch that overlaps both sides does, so the imported bar at a seam does not count as known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from itertools import pairwise
from typing import NamedTuple

from marketjobs.domain.bars import Bar
from marketjobs.domain.intervals import DAY_SECONDS, Interval, bar_end, local_day
from marketjobs.domain.quotes import JUMP
from marketjobs.domain.ranges import Range
from marketjobs.storage import bars
from marketjobs.storage.database import Transaction

CLOSED_DAYS = 5
"""Longer than a weekend with a holiday on either side: a longer gap in a file is not taken for knowledge."""
FAR = 1.5
"""No usual day changes a price by that factor; another basis often does."""


class _Close(NamedTuple):
    ts: int
    close: float
    in_file: bool
    is_stored: bool


@dataclass(frozen=True, slots=True)
class Seam:
    """An imported bar and the stored one right beside it; ``is_new``: the import brought it just now."""

    imported: int
    imported_close: float
    stored: int
    stored_close: float
    is_new: bool

    @property
    def is_far(self) -> bool:
        ratio = self.imported_close / self.stored_close
        return self.is_new and not 1 / FAR <= ratio <= FAR

    def range(self, interval: Interval) -> Range:
        return Range(self.imported, bar_end(self.imported, interval))

    def text(self, symbol: str, interval: Interval, zone: tzinfo | None) -> str:
        """What a person is told of closes that are far from each other, with the command that compares them."""
        if self.imported < self.stored:
            beside = f"its last close {self.imported_close:g} is far from the next stored one {self.stored_close:g}"
        else:
            beside = f"its first close {self.imported_close:g} is far from the stored one before {self.stored_close:g}"
        day = local_day(self.imported, (interval.is_intraday and zone) or UTC)
        option = "" if interval is Interval.DAY_1 else f" --interval {interval}"
        if not FAR / JUMP < self.imported_close / self.stored_close < JUMP / FAR:
            option += " --force"  # else the vendor's price may be held back as a jump
        command = f"marketjobs fetch-market-data -s {symbol}{option} --start {day}"
        return f"{beside}: another basis? {command} compares them"


def closed_seconds(interval: Interval) -> int:
    """The longest gap between two stamps of a complete series."""
    longest = {Interval.WEEK_1: 7, Interval.MONTH_1: 31, Interval.DAY_5: 7 + CLOSED_DAYS}
    return longest.get(interval, CLOSED_DAYS) * DAY_SECONDS


def seams(tx: Transaction, asset: int, interval: Interval, chunks: Iterable[Sequence[tuple[int, Bar]]]) -> list[Seam]:
    """Ascending; of a file that is not yet written, whose rows come in ``chunks``.  Over a longer gap than a
    complete series has there is none: that gap is asked for anyway."""
    found = []
    for left, right in pairwise(_both(tx, asset, interval, chunks)):
        if left.in_file is right.in_file or right.ts - left.ts > closed_seconds(interval):
            continue
        ours, theirs = (left, right) if left.in_file else (right, left)
        found.append(Seam(ours.ts, ours.close, theirs.ts, theirs.close, not ours.is_stored))
    return found


def _both(
    tx: Transaction, asset: int, interval: Interval, chunks: Iterable[Sequence[tuple[int, Bar]]]
) -> Iterator[_Close]:
    """The closes of the file and of the series around it, one for each stamp, ascending."""
    reach = closed_seconds(interval)
    at = None
    for rows in chunks:
        start = rows[0][1].ts - reach if at is None else at + 1
        at = rows[-1][1].ts
        stored = {one.ts: one for one in bars.stored_bars(tx, asset, interval, start, at)}
        ours = {bar.ts: bar.close for _, bar in rows}
        for ts in sorted(ours.keys() | stored.keys()):
            gives_way = ts not in stored or stored[ts].provisional
            yield _Close(ts, ours[ts] if ts in ours else stored[ts].close, ts in ours, not gives_way)
    if at is not None:
        for one in bars.stored_bars(tx, asset, interval, at + 1, at + reach):
            yield _Close(one.ts, one.close, in_file=False, is_stored=True)
