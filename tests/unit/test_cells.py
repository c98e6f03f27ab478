"""Columns, numbers and dates as people's tables write them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketjobs.domain import stamps
from marketjobs.domain.cells import BadCell, decimal_evidence, find_columns, plain, read_number
from marketjobs.domain.intervals import Interval, stamp_of
from marketjobs.domain.stamps import StampReader, check_style, order_evidence, style_of, zone_of
from marketjobs.errors import InvalidInput

DAY, WEEK, MONTH, MINUTES = Interval.DAY_1, Interval.WEEK_1, Interval.MONTH_1, Interval.MINUTE_5


# -- columns --


@pytest.mark.parametrize(
    "title", ["Adj Close", "adj_close", "ADJ. CLOSE", " adjClose ", "<ADJ CLOSE>", "\ufeffAdj-Close"]
)
def test_a_column_s_name_without_case_blanks_and_signs(title: str) -> None:
    assert plain(title) == "adjclose"


def test_columns_by_their_meaning() -> None:
    meanings = {"date": ("date", "datetime"), "close": ("close", "last")}
    assert find_columns(["x", "DATETIME", "Last"], meanings, ("date",)) == {"date": 1, "close": 2}
    with pytest.raises(InvalidInput, match="no column for date, close; the first line names 'x', 'y'"):
        find_columns(["x", "y"], meanings, ("date", "close"))
    with pytest.raises(InvalidInput, match="columns 'Close' and 'Last' both mean close"):
        find_columns(["Close", "Last"], meanings, ())


# -- numbers --


@pytest.mark.parametrize(
    ("text", "decimal", "value"),
    [
        ("1.5", ".", 1.5),
        (" 1.5 ", ".", 1.5),
        ("-2", ".", -2.0),
        ("1e3", ".", 1000.0),
        ("1,234", ".", 1234.0),
        ("1,234,567.25", ".", 1234567.25),
        ("1,5", ",", 1.5),
        ("1234,5", ",", 1234.5),
        (",5", ",", 0.5),
        ("1.234,5", ",", 1234.5),
        ("1.234.567", ",", 1234567.0),
        ("7", ",", 7.0),
        ("1,5e3", ",", 1500.0),
    ],
)
def test_numbers(text: str, decimal: str, value: float) -> None:
    assert read_number(text, decimal) == value


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("text", ["", "  ", "-", "null", "NaN", "N/A", "None", "nan"])
def test_nothing_there(text: str, decimal: str) -> None:
    assert read_number(text, decimal) is None


@pytest.mark.parametrize(
    ("text", "decimal"),
    [
        *(
            (text, ".")
            for text in ("1_000", "1,23", "12,34,567", "1.2.3", "$5", "5%", "1 000", "abc", "0x10", "1,234,5")
        ),
        *((text, ",") for text in ("1.5", "12.34.567", "1,2,3", "5 EUR", "1 000,5", "0.500", "1_0")),
    ],
)
def test_no_number(text: str, decimal: str) -> None:
    with pytest.raises(BadCell, match="is no number"):
        read_number(text, decimal)


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("5", None),
        ("1.234", None),
        ("12,345", "?"),
        ("1.2", "."),
        ("0.500", "."),
        ("1234.567", "."),
        ("1,234.5", "."),
        ("1,234,567", "."),
        ("1,2", ","),
        ("0,500", ","),
        ("1234,567", ","),
        ("1.234,5", ","),
        ("1.234.567", ","),
        ("", None),
        ("12a,5", None),
    ],
)
def test_which_decimal_sign_a_cell_proves(text: str, sign: str | None) -> None:
    assert decimal_evidence(text) == sign


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_double_is_read_as_it_was_written(value: float) -> None:
    assert read_number(repr(value)) == value
    assert read_number(repr(value).replace(".", ","), ",") == value


@given(st.integers(-(10**15), 10**15))
def test_thousands_are_read_under_a_known_decimal_sign(value: int) -> None:
    assert read_number(f"{value:,}") == value
    assert read_number(f"{value:,}".replace(",", "."), ",") == value


@given(st.text(max_size=20), st.sampled_from([".", ","]))
def test_any_text_is_a_number_nothing_or_refused(text: str, decimal: str) -> None:
    try:
        value = read_number(text, decimal)
    except BadCell as exc:
        assert str(exc).isprintable() and str(exc).isascii()
        return
    assert value is None or isinstance(value, float)


# -- dates --


def stamp(text: str, style: str | None = None, interval: Interval = DAY, zone: str | None = None) -> int:
    return StampReader(style or style_of(text), interval, None if zone is None else zone_of(zone))(text)


@pytest.mark.parametrize(
    "text",
    [
        *("2026-03-02", "2026/03/02", "2026.03.02", "2026-3-2", "20260302", " 2026-03-02 "),
        *("2026-03-02 00:00:00", "2026-03-02T00:00:00Z", "2026-03-02 00:00:00-05:00", "2026-03-02 00:00:00+09:00"),
        *("02-Mar-2026", "2 Mar 2026", "Mar 2, 2026", "March 2, 2026", "1772409600", "1772409600000"),
    ],
)
def test_days_that_can_mean_one_thing_only(text: str) -> None:
    assert stamp(text) == stamp_of(date(2026, 3, 2))


@pytest.mark.parametrize("text", ["03/04/2026", "3.4.2026", "03-04-2026", "03/04/2026 00:00"])
def test_day_and_month_are_not_guessed(text: str) -> None:
    assert style_of(text) == stamps.NUMERIC
    assert order_evidence(text) is None
    assert stamp(text, "dmy") == stamp_of(date(2026, 4, 3))
    assert stamp(text, "mdy") == stamp_of(date(2026, 3, 4))


def test_what_proves_the_order_of_day_and_month() -> None:
    assert order_evidence("13/04/2026") == "dmy"
    assert order_evidence("04/13/2026") == "mdy"
    with pytest.raises(BadCell, match="'13/04/2026' is no date"):
        stamp("13/04/2026", "mdy")


@pytest.mark.parametrize("text", ["3/4/26", "45293", "yesterday", "", "2026", "2026-W10", "12345678901"])
def test_what_can_t_be_read_without_help(text: str) -> None:
    with pytest.raises(BadCell, match="--date-format"):
        style_of(text)


@pytest.mark.parametrize("text", ["2026-02-30", "2026-13-01", "2026-03-02 25:00", "0000-01-01", "20260230"])
def test_days_that_do_not_exist(text: str) -> None:
    with pytest.raises(BadCell, match="is no date"):
        stamp(text)


def test_stated_patterns() -> None:
    assert stamp("02.03.26", "%d.%m.%y") == stamp_of(date(2026, 3, 2))
    assert stamp("03-02-2026 09:30 AM", "%m-%d-%Y %I:%M %p", MINUTES, "UTC") == stamp_of(date(2026, 3, 2)) + 34_200
    for bad in ("dd/mm/yyyy", "%d/%m", "", "DMY"):
        with pytest.raises(InvalidInput, match="unknown date format"):
            check_style(bad)
    with pytest.raises(BadCell, match="is no date"):
        stamp("2026-03-02", "%d.%m.%y")


def test_an_instant_is_no_day_until_somebody_says_whose() -> None:
    with pytest.raises(InvalidInput, match="is an instant, not a day") as caught:
        stamp("2026-03-01T15:00:00Z")
    assert "--timezone" in str(caught.value.hint)
    assert stamp("2026-03-01T15:00:00Z", zone="Asia/Tokyo") == stamp_of(date(2026, 3, 2))
    assert stamp("1772377200", zone="Asia/Tokyo") == stamp_of(date(2026, 3, 2))
    assert stamp("2026-03-02 16:00:00") == stamp_of(date(2026, 3, 2))  # a wall clock's: the day that is written


def test_weeks_and_months_are_stamped_with_their_first_day() -> None:
    assert stamp("2026-03-06", interval=WEEK) == stamp("2026-03-02", interval=WEEK) == stamp_of(date(2026, 3, 2))
    assert stamp("2026-03-31", interval=MONTH) == stamp_of(date(2026, 3, 1))
    for day in ("2026-03-07", "2026-03-08"):
        with pytest.raises(BadCell, match="it does not say which week is meant"):
            stamp(day, interval=WEEK)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-03-02T14:30:00Z", None),
        ("2026-03-02 09:30:00-05:00", None),
        ("2026-03-02 09:30", "America/New_York"),
        ("20260302 093000", "America/New_York"),
        ("1772461800", None),
        ("1772461800000", None),
        ("2026-03-02 14:30:00.000", "UTC"),
    ],
)
def test_intraday_instants(text: str, zone: str | None) -> None:
    expected = int(datetime(2026, 3, 2, 14, 30, tzinfo=UTC).timestamp())
    assert stamp(text, interval=MINUTES, zone=zone) == expected


def test_intraday_needs_a_time_a_zone_and_a_whole_minute() -> None:
    with pytest.raises(BadCell, match="has no time of day"):
        stamp("2026-03-02", interval=MINUTES)
    with pytest.raises(InvalidInput, match="does not say in which time zone"):
        stamp("2026-03-02 09:30", interval=MINUTES)
    with pytest.raises(BadCell, match="is no whole minute"):
        stamp("2026-03-02T14:30:07Z", interval=MINUTES)
    with pytest.raises(InvalidInput, match="unknown time zone 'Mars/Base'"):
        zone_of("Mars/Base")
    for odd in ("", "..", "/etc/passwd", "America", "a\0b"):
        with pytest.raises(InvalidInput):
            zone_of(odd)


def test_hours_that_summer_time_repeats_or_leaves_out() -> None:
    with pytest.raises(BadCell, match="happened twice in America/New_York"):
        stamp("2026-11-01 01:30", interval=MINUTES, zone="America/New_York")
    with pytest.raises(BadCell, match="never happened in America/New_York"):
        stamp("2026-03-08 02:30", interval=MINUTES, zone="America/New_York")
    first, second = ("2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00")
    assert stamp(second, interval=MINUTES) - stamp(first, interval=MINUTES) == 3600


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2060, 1, 1)), st.sampled_from(["Europe/London", "Australia/Lord_Howe"])
)
def test_a_wall_clock_s_time_is_the_instant_that_the_zone_makes_of_it(moment: datetime, zone: str) -> None:
    moment = moment.replace(second=0, microsecond=0)
    try:
        found = stamp(f"{moment:%Y-%m-%d %H:%M}", interval=MINUTES, zone=zone)
    except BadCell:
        offsets = {moment.replace(tzinfo=ZoneInfo(zone), fold=fold).utcoffset() for fold in (0, 1)}
        assert len(offsets) == 2
        return
    assert found == moment.replace(tzinfo=ZoneInfo(zone)).timestamp()


@given(
    st.text(max_size=30),
    st.sampled_from(["iso", "dmy", "mdy", "epoch", "epoch-ms", "%d %b %y"]),
    st.sampled_from(Interval),
)
def test_any_text_is_a_stamp_or_refused(text: str, style: str, interval: Interval) -> None:
    try:
        assert isinstance(StampReader(style, interval, ZoneInfo("UTC"))(text), int)
    except (BadCell, InvalidInput) as exc:
        assert str(exc).isprintable() and str(exc).isascii()
