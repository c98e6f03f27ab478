"""How long a bar is, and where its stamp lies."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum

from marketjobs.errors import InvalidInput

DAY_SECONDS = 86_400


class Interval(StrEnum):
    """Length of a bar.  ``code`` is what the store keeps: small, and never given a new meaning."""

    MINUTE_1 = "1m"
    MINUTE_2 = "2m"
    MINUTE_5 = "5m"
    MINUTE_15 = "15m"
    MINUTE_30 = "30m"
    MINUTE_60 = "60m"
    MINUTE_90 = "90m"
    HOUR_1 = "1h"
    DAY_1 = "1d"
    DAY_5 = "5d"
    WEEK_1 = "1wk"
    MONTH_1 = "1mo"

    @property
    def code(self) -> int:
        return _CODES[self]

    @property
    def is_intraday(self) -> bool:
        return self.code < _CODES[Interval.DAY_1]

    @property
    def seconds(self) -> int:
        """Length of a bar of minutes or hours; of a day for the longer ones, whose length varies."""
        return _SECONDS.get(self, DAY_SECONDS)

    @classmethod
    def of(cls, text: str) -> Interval:
        """Raises InvalidInput, naming the choices."""
        try:
            return cls(text)
        except ValueError as exc:
            raise InvalidInput(f"unknown interval {text!r:.40}: one of {' '.join(cls)}") from exc

    @classmethod
    def of_code(cls, code: int) -> Interval:
        return _BY_CODE[code]


_CODES = {
    Interval.MINUTE_1: 1,
    Interval.MINUTE_2: 2,
    Interval.MINUTE_5: 3,
    Interval.MINUTE_15: 4,
    Interval.MINUTE_30: 5,
    Interval.MINUTE_60: 6,
    Interval.MINUTE_90: 7,
    Interval.HOUR_1: 8,
    Interval.DAY_1: 20,
    Interval.DAY_5: 21,
    Interval.WEEK_1: 22,
    Interval.MONTH_1: 23,
}
_SECONDS = {
    Interval.MINUTE_1: 60,
    Interval.MINUTE_2: 120,
    Interval.MINUTE_5: 300,
    Interval.MINUTE_15: 900,
    Interval.MINUTE_30: 1800,
    Interval.MINUTE_60: 3600,
    Interval.MINUTE_90: 5400,
    Interval.HOUR_1: 3600,
}
_BY_CODE = {code: interval for interval, code in _CODES.items()}


def stamp_of(day: date) -> int:
    """The stamp of a session: its date at 00:00Z, in epoch seconds."""
    return (day.toordinal() - _EPOCH_ORDINAL) * DAY_SECONDS


def day_of(stamp: int) -> date:
    """The UTC date of a stamp."""
    return date.fromordinal(stamp // DAY_SECONDS + _EPOCH_ORDINAL)


_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


def period_start(day: date, interval: Interval) -> date:
    """First day of the week (Monday) or month that ``day`` lies in; ``day`` itself for daily bars."""
    if interval is Interval.WEEK_1:
        return day - timedelta(days=day.weekday())
    if interval is Interval.MONTH_1:
        return day.replace(day=1)
    return day


def next_period(day: date, interval: Interval) -> date:
    """First day of the period after the one that ``day`` lies in."""
    start = period_start(day, interval)
    if interval is Interval.WEEK_1:
        return start + timedelta(days=7)
    if interval is Interval.MONTH_1:
        return (start + timedelta(days=32)).replace(day=1)
    return start + timedelta(days=1)


def bar_end(stamp: int, interval: Interval) -> int:
    """The earliest stamp that the bar after this one can have."""
    if interval.is_intraday:
        return stamp + interval.seconds
    return stamp_of(next_period(day_of(stamp), interval))


def local_midnight(day: date, zone: tzinfo) -> int:
    """When a day begins in a zone, in epoch seconds; where its midnight is skipped, the instant after it, and
    where it is repeated, the first."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def local_day(instant: float, zone: tzinfo) -> date:
    """The date that a zone's calendars show at an instant."""
    return datetime.fromtimestamp(instant, zone).date()


def stamp_text(stamp: int, interval: Interval) -> str:
    """A bar's stamp as results show it: an ISO instant for minutes and hours, else its ISO date."""
    return iso(stamp) if interval.is_intraday else day_of(stamp).isoformat()


def iso(epoch_seconds: float) -> str:
    """ISO 8601 with Z, whole seconds where there is no fraction, else milliseconds."""
    moment = datetime.fromtimestamp(epoch_seconds, UTC)
    spec = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")
