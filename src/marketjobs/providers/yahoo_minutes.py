"""What is different about Yahoo's bars of minutes and hours: how far back they go, and which rows are bars.

Source: yfinance 1.7.0 (``scrapers/history.py``, ``utils.py``), yfinance issues 356, 383, 1311, 1389, 1447, 1585,
2706 and 2806, a recorded answer of 2026 (read 2026-11).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from itertools import groupby
from typing import Any

from marketjobs.domain.bars import BarQuery, Hours, RawRow
from marketjobs.domain.intervals import DAY_SECONDS, Interval, local_day
from marketjobs.domain.ranges import Range, later_than, pieces
from marketjobs.errors import RangeUnavailable
from marketjobs.providers.yahoo_values import NAME, number

REACH_DAYS: Mapping[Interval, int] = {
    Interval.MINUTE_1: 30,
    Interval.MINUTE_2: 60,
    Interval.MINUTE_5: 60,
    Interval.MINUTE_15: 60,
    Interval.MINUTE_30: 60,
    Interval.MINUTE_60: 730,
    Interval.MINUTE_90: 60,
    Interval.HOUR_1: 730,
}
"""How many days back Yahoo gives bars of an interval."""
ONE_REQUEST_DAYS = {Interval.MINUTE_1: 8}
"""How many days Yahoo gives in one request, where that is less than all."""
SENT_AS = {Interval.MINUTE_30: Interval.MINUTE_15}
"""Yahoo has answered 30m with bars of an hour; yfinance therefore asks for 15m and puts two together, and so
do we."""
SAME_LENGTH = {"60m": "1h", "1h": "60m"}
"""One thing to Yahoo, which may call it by either name."""
SLACK_SECONDS = 60
"""Between our clock and Yahoo's, and between the decision and the arrival of a request."""
LIVE_TOLERANCE_SECONDS = 60
ROUND_THE_CLOCK_SECONDS = 23 * 3600
"""Yahoo ends a day of a coin or a currency at 23:59, and that minute is traded too."""


def parts(query: BarQuery, now: float) -> list[Range]:
    """The ranges of the requests that a query takes, ascending: as far back as Yahoo goes, each no longer than
    it allows.

    Raises:
        RangeUnavailable: all of it lies further back.
    """
    days, wanted = REACH_DAYS[query.interval], query.range
    earliest = int(now) - days * DAY_SECONDS + SLACK_SECONDS
    end = max(min(wanted.end, int(now) + SLACK_SECONDS), wanted.start + query.interval.seconds)
    given = later_than([Range(wanted.start, end)], earliest)
    if not given:
        raise RangeUnavailable(
            f"yahoo gives {query.interval} bars of the last {days} days only", provider=NAME, symbol=query.symbol
        )
    return pieces(given[0], ONE_REQUEST_DAYS.get(query.interval, days + 1) * DAY_SECONDS)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The trading periods that an answer names, ascending; ``regular`` by the date on which each begins."""

    periods: tuple[Hours, ...]
    regular: dict[date, Hours]
    sessions: tuple[Hours, ...]

    def slot(self, at: float, step: int) -> int:
        """The stamp of the bar that an instant belongs to: bars are counted from the start of their period."""
        index = bisect_right(self.periods, at, key=lambda period: period.opens_at) - 1
        begins = self.periods[index].opens_at if index >= 0 and at < self.periods[index].closes_at else 0
        return int(begins + (at - begins) // step * step)

    def is_regular(self, at: float, step: int, zone: tzinfo) -> bool:
        """Does this bar touch the regular session of its day?  Bars at and after the close are the post-market's
        (Yahoo sends them unasked on half days, and closing auctions)."""
        hours = self.regular.get(local_day(at, zone))
        if hours is None:
            return True
        round_the_clock = hours.closes_at - hours.opens_at >= ROUND_THE_CLOCK_SECONDS
        return at + step > hours.opens_at and (at < hours.closes_at or round_the_clock)


def schedule(meta: Mapping[str, Any], zone: tzinfo, *, prepost: bool) -> Schedule:
    """``tradingPeriods`` are the sessions of the range (lists of lists; with pre- and post-market three of
    those), ``currentTradingPeriod`` is the newest or the next; what can't be read is left out."""
    named = meta.get("tradingPeriods")
    groups = named if isinstance(named, dict) else {"regular": named}
    current = meta.get("currentTradingPeriod")
    current = current if isinstance(current, dict) else {}
    found = {
        kind: sorted({*_periods(groups.get(kind)), *_periods(current.get(kind))}) for kind in ("regular", "pre", "post")
    }
    regular = found["regular"]
    before = {one.closes_at: one.opens_at for one in found["pre"]} if prepost else {}
    after = {one.opens_at: one.closes_at for one in found["post"]} if prepost else {}
    return Schedule(
        periods=tuple(sorted([*regular, *found["pre"], *found["post"]] if prepost else regular)),
        regular={local_day(one.opens_at, zone): one for one in regular},
        sessions=tuple(
            Hours(before.get(one.opens_at, one.opens_at), after.get(one.closes_at, one.closes_at)) for one in regular
        ),
    )


def _periods(group: Any) -> Iterator[Hours]:
    """Of a period, or of lists of them however deep."""
    if isinstance(group, list):
        for one in group:
            yield from _periods(one)
    elif isinstance(group, dict):
        start, end = number(group.get("start")), number(group.get("end"))
        if start is not None and end is not None and 0 <= start < end <= 1 << 40:
            yield Hours(start, end)


def bars(rows: Sequence[RawRow], query: BarQuery, times: Schedule, zone: tzinfo, live_at: float | None) -> list[RawRow]:
    """The rows that are bars, as sent but for the last: a row off the grid is the running bar's last trade.

    A row without any price is left out: nothing was traded in that minute.
    """
    sent_as = SENT_AS.get(query.interval, query.interval)
    found = [row for row in rows if row[2:6] != (None,) * 4]
    if not query.prepost:
        found = [row for row in found if times.is_regular(row.at, sent_as.seconds, zone)]
    if found:
        found[-2:] = _with_running_bar(found[-2:], sent_as.seconds, times, live_at)
    if sent_as is not query.interval:
        step = query.interval.seconds
        ordered = sorted(found, key=lambda row: row.at)
        grouped = groupby(ordered, key=lambda row: times.slot(row.at, step))
        found = [one for slot, group in grouped for one in together(list(group), slot)]
    return found


def _with_running_bar(last: list[RawRow], step: int, times: Schedule, live_at: float | None) -> list[RawRow]:
    """``last``: the last row and the one before, if any.  Yahoo stamps its last row with the last trade while a
    session runs, often beside the row of the same bar."""
    *before, live = last
    slot = times.slot(live.at, step)
    is_trade = live.at % 60 != 0 or (live_at is not None and abs(live.at - live_at) <= LIVE_TOLERANCE_SECONDS)
    if slot == live.at or not is_trade:
        return last
    if before and before[0].stamp == slot:
        return together([before[0], live], slot)
    return [*before, live._replace(stamp=slot)]


def together(rows: Sequence[RawRow], stamp: int) -> list[RawRow]:
    """The one bar that rows of the same bar make; as they are where a figure of theirs, or an instant that
    comes twice, is for the check to refuse."""
    moved = [row._replace(stamp=stamp) for row in rows]
    figures = [number(value) for row in rows for value in row[2:6]]
    volumes = [row.volume for row in rows if row.volume is not None]
    if len(rows) == 1 or len({row.at for row in rows}) < len(rows):
        return moved
    if None in figures or any(number(volume) is None or volume < 0 for volume in volumes):
        return [next(row for row in moved if _is_odd(row))]
    return [
        moved[0]._replace(
            high=max(row.high for row in rows),
            low=min(row.low for row in rows),
            close=rows[-1].close,
            adj_close=rows[-1].adj_close,
            volume=sum(volumes) if volumes else None,
        )
    ]


def _is_odd(row: RawRow) -> bool:
    volume = row.volume
    return any(number(value) is None for value in row[2:6]) or (
        volume is not None and (number(volume) is None or volume < 0)
    )
