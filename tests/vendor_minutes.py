"""Minutes and hours of the vendor in `vendor.py`: paths inside its sessions, in Yahoo's format and by its range rules.

A regular session has a trade in each minute; before and after it one in seven, the others are rows of null, as
Yahoo sends them.  A half day ends at 13:00.  While a session runs the last row is stamped with the last trade.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

MINUTES = {"1m": 1, "2m": 2, "5m": 5, "15m": 15, "30m": 30, "60m": 60, "90m": 90, "1h": 60}
REACH_DAYS = {"1m": 30, "60m": 730, "1h": 730}
ONE_REQUEST_DAYS = {"1m": 8}
DAY = 86_400
REGULAR, HALF_DAY = 390, 210
BEFORE, AFTER = 330, 240


class Minute(NamedTuple):
    """A bar of minutes: when it opens (epoch seconds), prices as 32-bit floats, volume."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: int


class Day(NamedTuple):
    """What a session's minutes are made of."""

    seed: int
    opens_at: int
    open: float
    close: float
    volume: int
    is_half: bool

    @property
    def closes_at(self) -> int:
        return self.opens_at + (HALF_DAY if self.is_half else REGULAR) * 60


def refusal(interval: str, start: int, end: int, now: float) -> str | None:
    """Yahoo's words for a range that it does not give."""
    days = REACH_DAYS.get(interval, 60)
    words = f"{interval} data not available for startTime={start} and endTime={end}."
    if now - start > days * DAY:
        return f"{words} The requested range must be within the last {days} days."
    most = ONE_REQUEST_DAYS.get(interval)
    if most is not None and end - start > most * DAY:
        return f"{words} Only {most} days worth of {interval} granularity data are allowed to be fetched per request."
    return None


def periods(day: Day) -> dict[str, tuple[int, int]]:
    """From when to when, pre-market, regular and post-market."""
    return {
        "pre": (day.opens_at - BEFORE * 60, day.opens_at),
        "regular": (day.opens_at, day.closes_at),
        "post": (day.closes_at, day.closes_at + AFTER * 60),
    }


def bars(day: Day, interval: str, now: float, *, prepost: bool = False) -> list[Minute | int]:
    """A session's bars as they stand at ``now``; an instant alone: a bar without a trade."""
    step, found = MINUTES[interval] * 60, []
    for name, (start, end) in periods(day).items():
        if name != "regular" and not prepost:
            continue
        traded = [one for one in _trades(day, name, start, end) if one.ts <= now]
        for slot in range(start, end, step):
            inside = [one for one in traded if slot <= one.ts < slot + step]
            if inside:
                found.append(_together(slot, inside))
            elif slot + step <= now:
                found.append(slot)
    return found


def _together(slot: int, inside: Sequence[Minute]) -> Minute:
    return Minute(
        slot,
        inside[0].open,
        max(one.high for one in inside),
        min(one.low for one in inside),
        inside[-1].close,
        sum(one.volume for one in inside),
    )


def _trades(day: Day, name: str, start: int, end: int) -> Iterator[Minute]:
    """Prices are proportional to the day's, so that splits and restatements reach them."""
    draw = random.Random(f"{day.seed} {day.opens_at} {name}").random
    count = (end - start) // 60
    first, last = {"pre": (day.open, day.open), "post": (day.close, day.close)}.get(name, (day.open, day.close))
    price = first
    for number in range(count):
        opened = price
        price = first + (last - first) * (number + 1) / count + first * 0.002 * (draw() - 0.5)
        if number == count - 1:
            price = last
        high, low = max(opened, price) * (1 + 0.0005 * draw()), min(opened, price) * (1 - 0.0005 * draw())
        if name == "regular" or number % 7 == 0:
            figures = array("f", (opened, high, low, price)).tolist()
            yield Minute(start + number * 60, *figures, volume=int(day.volume / count * (0.5 + draw())))


def result(
    meta: dict[str, Any], days: Sequence[Day], interval: str, start: int, end: int, now: float, *, prepost: bool
) -> dict[str, Any]:
    """A chart's result without events."""
    rows = [
        one
        for day in days
        for one in bars(day, interval, now, prepost=prepost)
        if start <= (one if isinstance(one, int) else one.ts) < end
    ]
    zone = {key: meta["currentTradingPeriod"]["regular"][key] for key in ("timezone", "gmtoffset")}
    named = {
        name: [[{**zone, "start": periods(day)[name][0], "end": periods(day)[name][1]}] for day in days]
        for name in ("pre", "regular", "post")
    }
    meta = {**meta, "tradingPeriods": named if prepost else named["regular"]}
    columns: dict[str, list[Any]] = {name: [] for name in ("open", "high", "low", "close", "volume")}
    times = []
    for one in rows:
        times.append(one if isinstance(one, int) else one.ts)
        for name, column in columns.items():
            column.append(None if isinstance(one, int) else getattr(one, name))
    running = days[-1] if days else None
    if (
        times
        and running is not None
        and running.opens_at <= now < running.closes_at
        and times[-1] + 60 * MINUTES[interval] > now
    ):
        times[-1] = int(now)
    found: dict[str, Any] = {"meta": meta}
    if times:
        found["timestamp"] = times
    found["indicators"] = {"quote": [columns if times else {}]}
    return found
