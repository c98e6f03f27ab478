"""Dates, periods and the arithmetic of ranges."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from marketjobs.domain.intervals import (
    DAY_SECONDS,
    Interval,
    day_of,
    iso,
    next_period,
    period_start,
    stamp_of,
)
from marketjobs.domain.ranges import (
    FIRST_DAY,
    Range,
    check_period,
    days,
    merge,
    parse_day,
    period_before,
    subtract,
)
from marketjobs.errors import InvalidInput
from marketjobs.services.bars import FetchRequest

# -- days -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["2026-01-31", "2024-02-29", "1900-01-01", "9999-12-31"])
def test_days_that_exist(text: str) -> None:
    assert parse_day(text).isoformat() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "today",
        "2026-02-30",
        "2023-02-29",
        "2026-13-01",
        "2026-00-10",
        "2026-1-1",
        "20260131",
        "2026-W05-1",
        "31.01.2026",
        "2026-01-31T00:00",
        "2026-01-31\n",
        " 2026-01-31",
        "\uff12\uff10\uff12\uff16-01-31",
        "2026-01-31'; --",
        "9" * 10_000,
        None,
        20260131,
        ["2026-01-31"],
    ],
)
def test_days_that_do_not_exist_are_refused_with_an_example(text: object) -> None:
    with pytest.raises(InvalidInput, match="write it as 2026-01-31") as caught:
        parse_day(text)  # type: ignore[arg-type]
    assert len(caught.value.message) < 120


@pytest.mark.parametrize("text", ["1899-12-31", "0001-01-01"])
def test_days_that_no_vendor_has_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="before 1900-01-01"):
        parse_day(text)


@time_machine.travel(datetime(2026, 3, 10, 23, 30, tzinfo=UTC), tick=False)
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"start": "2026-03-11"}, "start 2026-03-11 lies in the future"),
        ({"start": "2026-03-01", "end": "2026-03-11"}, "end 2026-03-11 lies in the future"),
        ({"start": "2026-03-05", "end": "2026-03-04"}, "2026-03-05 lies after the end 2026-03-04"),
        ({"end": "2026-03-04"}, "an end needs a start"),
        ({"period": "1y", "start": "2026-03-01"}, "say the same thing twice"),
        ({"start": "1899-12-31"}, "before 1900-01-01"),
        ({"period": "soon"}, "unknown period 'soon'"),
        ({"interval": "3d"}, "unknown interval '3d'"),
        ({"symbol": "AAPL"}, "unknown argument symbol"),
    ],
)
def test_a_request_that_cannot_be_right_says_why(arguments: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        FetchRequest.of({"symbols": ["AAPL"]} | arguments)


@time_machine.travel(datetime(2026, 3, 10, 23, 30, tzinfo=UTC), tick=False)
def test_today_is_no_future_and_one_day_is_a_range() -> None:
    request = FetchRequest.of({"symbols": ["AAPL"], "start": "2026-03-10", "end": "2026-03-10"})
    assert request.wanted(date(2026, 3, 10)) == days(date(2026, 3, 10), date(2026, 3, 10))


# -- periods ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "period", "first"),
    [
        (date(2026, 3, 31), "1mo", date(2026, 2, 28)),
        (date(2024, 3, 31), "1mo", date(2024, 2, 29)),
        (date(2024, 2, 29), "1y", date(2023, 2, 28)),
        (date(2024, 2, 29), "4y", date(2020, 2, 29)),
        (date(2026, 1, 15), "1mo", date(2025, 12, 15)),
        (date(2026, 12, 31), "13mo", date(2025, 11, 30)),
        (date(2026, 3, 10), "5d", date(2026, 3, 5)),
        (date(2026, 3, 10), "2wk", date(2026, 2, 24)),
        (date(2026, 3, 10), "ytd", date(2026, 1, 1)),
        (date(2026, 1, 1), "ytd", date(2026, 1, 1)),
        (date(2026, 3, 10), "max", FIRST_DAY),
        (date(2026, 3, 10), "9999y", FIRST_DAY),
        (date(2026, 3, 10), "9999mo", FIRST_DAY),
    ],
)
def test_a_period_ends_today_and_goes_by_the_calendar(today: date, period: str, first: date) -> None:
    assert check_period(period) == period
    assert period_before(today, period) == first


def test_a_period_of_many_weeks_begins_before_1900() -> None:
    assert period_before(date(2026, 3, 10), "9999wk") == FIRST_DAY


@pytest.mark.parametrize(
    "text", ["", "0d", "1", "d", "1h", "-1d", "1.5y", "1 y", "1Y", "10000d", "1y\n", "\uff11y", "MAX", None, 5, ["1y"]]
)
def test_other_periods_are_refused(text: object) -> None:
    with pytest.raises(InvalidInput, match="unknown period"):
        check_period(text)  # type: ignore[arg-type]


@given(
    st.dates(FIRST_DAY, date(2200, 1, 1)),
    st.integers(1, 9999),
    st.sampled_from(["d", "wk", "mo", "y"]),
)
def test_a_period_never_leaves_the_calendar(today: date, count: int, unit: str) -> None:
    assert FIRST_DAY <= period_before(today, f"{count}{unit}") <= today


# -- ranges against a naive model -------------------------------------------------------------------------

points = st.integers(0, 40)
some_ranges = st.lists(st.builds(Range, points, points), max_size=8)


def held(ranges: list[Range]) -> set[int]:
    return {point for one in ranges for point in range(one.start, one.end)}


@given(some_ranges)
def test_merge_holds_the_same_points_in_the_fewest_ascending_ranges(ranges: list[Range]) -> None:
    merged = merge(ranges)
    assert held(merged) == held(ranges)
    assert all(one.start < one.end for one in merged)
    assert all(a.end < b.start for a, b in pairwise(merged))


@given(st.builds(Range, points, points), some_ranges)
def test_subtract_leaves_exactly_what_is_not_covered(wanted: Range, covered: list[Range]) -> None:
    missing = subtract(wanted, covered)
    assert held(missing) == held([wanted]) - held(covered)
    assert missing == merge(missing)


@given(st.builds(Range, points, points), points)
def test_a_range_contains_its_start_and_not_its_end(one: Range, point: int) -> None:
    assert (point in one) == (point in held([one]))


# -- intervals and stamps ---------------------------------------------------------------------------------


@given(st.dates(date(1, 1, 1), date(9999, 12, 31)))
def test_a_stamp_is_midnight_utc_of_its_day(day: date) -> None:
    stamp = stamp_of(day)
    assert stamp % DAY_SECONDS == 0
    assert stamp == int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    assert day_of(stamp) == day_of(stamp + DAY_SECONDS - 1) == day


@given(st.dates(date(1900, 1, 1), date(2200, 1, 1)), st.sampled_from(list(Interval)))
def test_a_day_lies_in_its_period(day: date, interval: Interval) -> None:
    start, after = period_start(day, interval), next_period(day, interval)
    assert start <= day < after
    assert period_start(after, interval) == after
    if interval is Interval.WEEK_1:
        assert start.weekday() == 0 and (after - start).days == 7
    if interval is Interval.MONTH_1:
        assert start.day == after.day == 1 and 28 <= (after - start).days <= 31


def test_codes_in_stores_never_get_another_meaning() -> None:
    assert {one.value: one.code for one in Interval} == {
        "1m": 1,
        "2m": 2,
        "5m": 3,
        "15m": 4,
        "30m": 5,
        "60m": 6,
        "90m": 7,
        "1h": 8,
        "1d": 20,
        "5d": 21,
        "1wk": 22,
        "1mo": 23,
    }
    assert [Interval.of_code(one.code) for one in Interval] == list(Interval)


def test_minutes_and_hours_are_intraday() -> None:
    assert [one.value for one in Interval if not one.is_intraday] == ["1d", "5d", "1wk", "1mo"]


@pytest.mark.parametrize("text", ["", "1D", "day", "1d ", None, 5, "x" * 10_000])
def test_an_unknown_interval_names_the_choices(text: object) -> None:
    with pytest.raises(InvalidInput, match="1m 2m 5m 15m 30m 60m 90m 1h 1d 5d 1wk 1mo") as caught:
        Interval.of(text)  # type: ignore[arg-type]
    assert len(caught.value.message) < 200


def test_instants_are_iso_with_z() -> None:
    assert iso(0) == "1970-01-01T00:00:00Z"
    assert iso(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
    assert iso(stamp_of(date(2026, 1, 31))) == "2026-01-31T00:00:00Z"
