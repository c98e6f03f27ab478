"""Dates and times as people's tables write them, and the stamps of bars that they mean.

Day and month are never guessed: ``03/04/2026`` is read only when the table itself proves the order, or a person
states it.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from marketjobs.domain.cells import BadCell, shown
from marketjobs.domain.intervals import DAY_SECONDS, Interval, period_start, stamp_of
from marketjobs.errors import InvalidInput

ISO, DMY, MDY, NUMERIC, EPOCH, EPOCH_MS = "iso", "dmy", "mdy", "numeric", "epoch", "epoch-ms"
"""How dates are written.  ``numeric``: day and month first, in an order still to be found out."""
STATED = (ISO, DMY, MDY, EPOCH, EPOCH_MS)
NAMED_MONTHS = ("%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%b %d %Y")
REMEMBERED = 100_000

_TIME = (
    r"(?:[T ,]\s*(?P<hour>\d{1,2}):?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,]0*)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2}(?::00)?)?)?"
)
_YMD = re.compile(r"(?P<year>\d{4})(?P<sign>[-/.]?)(?P<month>\d{2})(?P=sign)(?P<day>\d{2})" + _TIME)
_LOOSE_YMD = re.compile(r"(?P<year>\d{4})(?P<sign>[-/.])(?P<month>\d{1,2})(?P=sign)(?P<day>\d{1,2})" + _TIME)
_NUMERIC = re.compile(r"(?P<first>\d{1,2})(?P<sign>[-/.])(?P<second_part>\d{1,2})(?P=sign)(?P<year>\d{4})" + _TIME)
_SECONDS = re.compile(r"\d{9,10}(?:\.0*)?")
_MILLISECONDS = re.compile(r"\d{12,13}(?:\.0*)?")


def style_of(text: str) -> str:
    """How a date is written: one of the words above, or a pattern with a month's name.

    Raises:
        BadCell: in no way that can be read without help.
    """
    text = text.strip()
    if _YMD.fullmatch(text) or _LOOSE_YMD.fullmatch(text):
        return ISO
    if _NUMERIC.fullmatch(text):
        return NUMERIC
    if _SECONDS.fullmatch(text):
        return EPOCH
    if _MILLISECONDS.fullmatch(text):
        return EPOCH_MS
    for pattern in NAMED_MONTHS:
        try:
            datetime.strptime(text, pattern)  # noqa: DTZ007  a date without a zone is what is written there
        except ValueError:
            continue
        return pattern
    raise BadCell(f"{shown(text)} is no date that can be read without --date-format")


def order_evidence(text: str) -> str | None:
    """``dmy`` or ``mdy`` when a numeric date can only be that; ``None``: it may be both."""
    match = _NUMERIC.fullmatch(text.strip())
    if match is None:
        return None
    if int(match["first"]) > 12:
        return DMY
    return MDY if int(match["second_part"]) > 12 else None


def check_style(text: str) -> str:
    """A stated style.  Raises InvalidInput for anything but one of the words, or a pattern with a year in it."""
    if text in STATED or ("%" in text and ("%Y" in text or "%y" in text)):
        return text
    raise InvalidInput(f"unknown date format {shown(text)}: one of {' '.join(STATED)}, or a pattern such as %d.%m.%Y")


class StampReader:
    """Reads the dates of one table, all written in one way.

    Args:
        style: as :func:`style_of` or :func:`check_style` gave it, not ``numeric``.
        zone: where times without an offset belong; for days, whose days they are.
    """

    def __init__(self, style: str, interval: Interval, zone: ZoneInfo | None = None) -> None:
        self.style, self.interval, self.zone = style, interval, zone
        self._known: dict[str, int] = {}
        self._offsets: dict[datetime, int] = {}

    def __call__(self, text: str) -> int:
        """The stamp that a bar with this date is stored at.

        Raises:
            BadCell: it is no such date, or no bar of the interval begins there.
        InvalidInput: no date of the table can be read so, its zone has to be stated.
        """
        stamp = self._known.get(text)
        if stamp is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            stamp = self._known[text] = self._stamp(self._moment(text.strip()), text)
        return stamp

    def _moment(self, text: str) -> date | datetime:
        """A day, or an instant: aware when an offset was written."""
        try:
            if self.style in (EPOCH, EPOCH_MS):
                return self._from_epoch(text)
            if self.style == ISO:
                return self._from_iso(text)
            if self.style in (DMY, MDY):
                match = _NUMERIC.fullmatch(text)
                if match is None:
                    raise BadCell(f"{shown(text)} is not written like the dates before")
                first, second = int(match["first"]), int(match["second_part"])
                month, day = (first, second) if self.style == MDY else (second, first)
                return _built(match, int(match["year"]), month, day)
            moment = datetime.strptime(text, self.style)  # noqa: DTZ007  what is written, zone or not
        except BadCell:
            raise
        except (ValueError, OverflowError) as exc:
            raise BadCell(f"{shown(text)} is no date ({self.style})") from exc
        return moment if "%H" in self.style or "%I" in self.style or moment.tzinfo else moment.date()

    def _from_iso(self, text: str) -> date | datetime:
        if len(text) == 10 and text[4] == text[7] == "-":
            return date.fromisoformat(text)
        match = _YMD.fullmatch(text) or _LOOSE_YMD.fullmatch(text)
        if match is None:
            raise BadCell(f"{shown(text)} is no date such as 2026-01-31")
        return _built(match, int(match["year"]), int(match["month"]), int(match["day"]))

    def _from_epoch(self, text: str) -> date | datetime:
        value = float(text)
        if self.style == EPOCH_MS:
            value /= 1000
        if not value.is_integer():
            raise BadCell(f"{shown(text)} is no whole second")
        moment = datetime.fromtimestamp(value, UTC)
        if not self.interval.is_intraday and self.zone is None and value % DAY_SECONDS == 0:
            return moment.date()
        return moment

    def _stamp(self, moment: date | datetime, text: str) -> int:
        if not self.interval.is_intraday:
            return self._day_stamp(self._session(moment, text), text)
        if not isinstance(moment, datetime):
            raise BadCell(f"{shown(text)} has no time of day, which bars of {self.interval} need")
        if moment.second:
            raise BadCell(f"{shown(text)} is no whole minute, at which bars of {self.interval} begin")
        if moment.tzinfo is not None:
            return int(moment.timestamp())
        if self.zone is None:
            raise InvalidInput(
                f"{shown(text)} does not say in which time zone", hint="say it: --timezone America/New_York, or UTC"
            )
        return int(moment.replace(tzinfo=UTC).timestamp()) - self._offset(moment, text)

    def _session(self, moment: date | datetime, text: str) -> date:
        """The day that a bar of a day or more belongs to: as it is written, or in the zone that was stated."""
        if not isinstance(moment, datetime):
            return moment
        if moment.tzinfo is None or moment.time() == time(0):
            return moment.date()
        if self.zone is None:
            raise InvalidInput(
                f"{shown(text)} is an instant, not a day", hint="say whose day: --timezone America/New_York, or UTC"
            )
        return moment.astimezone(self.zone).date()

    def _day_stamp(self, day: date, text: str) -> int:
        if self.interval is Interval.WEEK_1 and day.weekday() > 4:
            raise BadCell(f"{shown(text)} is a {day:%A}: it does not say which week is meant")
        return stamp_of(period_start(day, self.interval))

    def _offset(self, moment: datetime, text: str) -> int:
        """Seconds east of Greenwich at a wall clock's time; looked up once a quarter of an hour."""
        assert self.zone is not None
        quarter = moment.replace(minute=moment.minute // 15 * 15)
        known = self._offsets.get(quarter)
        if known is not None:
            return known
        early, late = (quarter.replace(tzinfo=self.zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1))
        if early != late:
            what = "happened twice" if early > late else "never happened"
            raise BadCell(f"{shown(text)} {what} in {self.zone.key}, where clocks changed: write it with an offset")
        if len(self._offsets) >= REMEMBERED:
            self._offsets.clear()
        self._offsets[quarter] = seconds = int(early.total_seconds())
        return seconds


def _built(match: re.Match[str], year: int, month: int, day: int) -> date | datetime:
    if match["hour"] is None:
        return date(year, month, day)
    second = int(match["second"] or 0)
    zone = _offset_of(match["zone"])
    return datetime(year, month, day, int(match["hour"]), int(match["minute"]), second, tzinfo=zone)


def _offset_of(text: str | None) -> tzinfo | None:
    if not text:
        return None
    if text[0] not in "+-":
        return UTC
    east = timedelta(hours=int(text[1:3]), minutes=int(text[3:].replace(":", "")[:2]))
    return timezone(-east if text[0] == "-" else east)


def zone_of(name: str) -> ZoneInfo:
    """Raises InvalidInput for a name that no zone has."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:  # OSError: a folder of the zone database
        raise InvalidInput(f"unknown time zone {shown(name)}: such as America/New_York, Europe/London, UTC") from exc
