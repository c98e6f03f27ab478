"""Rate limits as people write them: ``2/s``, ``30/10s``, ``25/d`` in any such time, ``25/day``, ``10000/month`` by the
calendar."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import cache

from marketjobs.errors import InvalidInput

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_PERIODS = {"day": 86_400, "month": 30 * 86_400}
_CALLS = r"([1-9][0-9]{0,6})/"
_SLIDING = re.compile(_CALLS + r"([1-9][0-9]{0,4})?(s|m|min|h|d)")
_CALENDAR = re.compile(_CALLS + r"(day|month)(?:@([A-Za-z][\w+/-]{0,40}))?")
GUARD_SHARE, GUARD_MOST_SECONDS = 0.012, 1.0


@dataclass(frozen=True, slots=True, order=True)
class Rate:
    """At most ``calls`` in any window of ``seconds``; or, with a ``period`` (day, month), in each one that begins at
    midnight in ``zone`` (on the first of the month)."""

    seconds: int
    calls: int
    period: str = ""
    zone: str = ""

    @property
    def guard_seconds(self) -> float:
        """What a window is lengthened by, so that jitter on the way can't squeeze one call more into it."""
        return min(GUARD_SHARE * self.seconds, GUARD_MOST_SECONDS)

    def free_again(self, ts: float) -> float:
        """When a call that left at ``ts`` counts no longer.  One that left within the guard before a reset may have
        come after it, and counts for both periods."""
        if not self.period:
            return ts + self.seconds + self.guard_seconds
        return self._bounds(ts + self.guard_seconds)[1] + self.guard_seconds

    def counts_since(self, now: float) -> float:
        """The instant after which a call left that still counts."""
        if not self.period:
            return now - self.seconds - self.guard_seconds
        return self._bounds(now - self.guard_seconds)[0] - self.guard_seconds

    def _bounds(self, ts: float) -> tuple[float, float]:
        """Begin and end of the period that ``ts`` lies in."""
        zone = _zone(self.zone)
        day = datetime.fromtimestamp(ts, zone).date()
        if self.period == "month":
            first = day.replace(day=1)
            after = (first + timedelta(days=32)).replace(day=1)
        else:
            first, after = day, day + timedelta(days=1)
        begin, end = (datetime.combine(one, time(), zone).timestamp() for one in (first, after))
        return begin, end

    def __str__(self) -> str:
        if self.period:
            return f"{self.calls}/{self.period}" + (f"@{self.zone}" if self.zone else "")
        for unit, seconds in (("d", 86_400), ("h", 3600), ("m", 60)):
            if self.seconds % seconds == 0:
                count = self.seconds // seconds
                return f"{self.calls}/{count if count > 1 else ''}{unit}"
        return f"{self.calls}/{self.seconds if self.seconds > 1 else ''}s"


def parse_rate(text: str) -> Rate:
    """Raises InvalidInput for anything that is not calls, a slash and a window."""
    given = text.strip() if isinstance(text, str) else ""
    if match := _SLIDING.fullmatch(given):
        return Rate(int(match[2] or 1) * _UNITS[match[3]], int(match[1]))
    if match := _CALENDAR.fullmatch(given):
        zone = match[3] or ""
        _zone(zone)
        return Rate(_PERIODS[match[2]], int(match[1]), match[2], zone)
    raise InvalidInput(
        f"{text!r:.40} is no rate: write calls per window, such as 2/s, 30/10s, 2000/h or 25/d; by the calendar"
        " 25/day, 10000/month or 25/day@America/New_York"
    )


def parse_rates(texts: Iterable[str]) -> tuple[Rate, ...]:
    """Ascending by window."""
    return tuple(sorted(parse_rate(text) for text in texts))


@cache
def _zone(name: str) -> tzinfo:
    """UTC where nothing is said.  Raises InvalidInput for a zone that does not exist."""
    if not name:
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise InvalidInput(f"{name!r:.40} is no time zone: write one such as America/New_York") from exc
