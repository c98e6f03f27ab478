"""From what a person types (a period, a start, an end) to stamps, and which of them are missing.

A range is half open: ``start`` belongs to it, ``end`` does not.  Both are epoch seconds: 00:00Z of days for bars
of a day or more, instants for minutes and hours, whose days are those of the exchange's zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo

from marketjobs.domain.intervals import DAY_SECONDS, Interval, local_day, local_midnight, stamp_of
from marketjobs.errors import InvalidInput

DEFAULT_PERIOD = "1y"
DEFAULT_MINUTES_PERIOD = "1mo"
DEFAULT_ONE_MINUTE_PERIOD = "1wk"
FIRST_DAY = date(1900, 1, 1)
_PERIOD = re.compile(r"([1-9][0-9]{0,3})(d|wk|mo|y)")


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """From ``start`` (included) to ``end`` (excluded), in epoch seconds."""

    start: int
    end: int

    def meets(self, other: Range) -> bool:
        return self.start <= other.end and other.start <= self.end

    def __contains__(self, stamp: int) -> bool:
        return self.start <= stamp < self.end


def parse_day(text: str) -> date:
    """Raises InvalidInput for anything but an existing YYYY-MM-DD from 1900 on."""
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            raise ValueError("not YYYY-MM-DD")
        day = date.fromisoformat(text)
    except (ValueError, TypeError) as exc:
        raise InvalidInput(f"{text!r:.40} is not a date: write it as 2026-01-31") from exc
    if day < FIRST_DAY:
        raise InvalidInput(f"{text} lies before {FIRST_DAY}: no vendor has that")
    return day


def check_period(text: str) -> str:
    """Raises InvalidInput for anything but ``max``, ``ytd`` or a number of d, wk, mo or y."""
    if text not in ("max", "ytd") and not (isinstance(text, str) and _PERIOD.fullmatch(text)):
        raise InvalidInput(f"unknown period {text!r:.40}: a number and d, wk, mo or y (5d 3mo 1y), ytd or max")
    return text


def default_period(interval: Interval) -> str:
    """How far back a series goes when nobody said: what most vendors give of it, and a person can look at."""
    if interval is Interval.MINUTE_1:
        return DEFAULT_ONE_MINUTE_PERIOD
    return DEFAULT_MINUTES_PERIOD if interval.is_intraday else DEFAULT_PERIOD


def period_before(today: date, period: str) -> date:
    """First day of the period that ends with ``today``; months and years by the calendar."""
    if period == "max":
        return FIRST_DAY
    if period == "ytd":
        return today.replace(month=1, day=1)
    match = _PERIOD.fullmatch(period)
    if match is None:
        raise InvalidInput(f"unknown period {period!r:.40}")
    count, unit = int(match[1]), match[2]
    try:
        if unit in ("d", "wk"):
            return max(today - timedelta(days=count * (7 if unit == "wk" else 1)), FIRST_DAY)
        months = today.year * 12 + today.month - 1 - count * (12 if unit == "y" else 1)
        year, month = divmod(months, 12)
        return _last_valid(year, month + 1, today.day)
    except (OverflowError, ValueError):
        return FIRST_DAY


def _last_valid(year: int, month: int, day: int) -> date:
    for candidate in (day, 30, 29, 28):
        try:
            return max(date(year, month, min(day, candidate)), FIRST_DAY)
        except ValueError:
            if year < 1:
                raise
    raise ValueError("no such month")


def merge(ranges: Iterable[Range]) -> list[Range]:
    """Ascending, touching ranges joined."""
    merged: list[Range] = []
    for current in sorted(ranges):
        if current.start >= current.end:
            continue
        if merged and merged[-1].meets(current):
            merged[-1] = Range(merged[-1].start, max(merged[-1].end, current.end))
        else:
            merged.append(current)
    return merged


def subtract(wanted: Range, covered: Iterable[Range]) -> list[Range]:
    """The parts of ``wanted`` that no range of ``covered`` holds, ascending."""
    missing: list[Range] = []
    position = wanted.start
    for known in merge(covered):
        if known.end <= position:
            continue
        if known.start >= wanted.end:
            break
        if known.start > position:
            missing.append(Range(position, known.start))
        position = known.end
    if position < wanted.end:
        missing.append(Range(position, wanted.end))
    return missing


def days(start: date, end: date) -> Range:
    """From ``start`` to ``end``, both included."""
    return Range(stamp_of(start), stamp_of(end) + DAY_SECONDS)


def local_days(start: date, end: date, zone: tzinfo) -> Range:
    """From ``start`` to ``end``, both included, as a zone's calendars have them: 23 to 25 hours each."""
    return Range(local_midnight(start, zone), local_midnight(end + timedelta(days=1), zone))


def whole_local_days(part: Range, zone: tzinfo) -> Range:
    """The days of a zone that a range touches."""
    return local_days(local_day(part.start, zone), local_day(max(part.start, part.end - 1), zone), zone)


def pieces(whole: Range, most_seconds: int) -> list[Range]:
    """The range in parts of at most so many seconds, ascending, without gap or overlap."""
    starts = range(whole.start, whole.end, most_seconds)
    return [Range(start, min(start + most_seconds, whole.end)) for start in starts]


def later_than(ranges: Iterable[Range], earliest: int) -> list[Range]:
    """What of the ranges lies at ``earliest`` or later."""
    return [Range(max(part.start, earliest), part.end) for part in ranges if part.end > earliest]


def stretches(stamps: Iterable[int], longest_gap: int) -> list[Range]:
    """From the first to the last stamp (included) of each part of a series that has no longer gap; ascending."""
    found: list[Range] = []
    for stamp in stamps:
        if found and stamp - found[-1].end <= longest_gap:
            found[-1] = Range(found[-1].start, stamp)
        else:
            found.append(Range(stamp, stamp))
    return found
