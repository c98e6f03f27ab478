"""Rate limits as people write them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketjobs.domain.rates import Rate, parse_rate, parse_rates
from marketjobs.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "calls", "seconds"),
    [
        ("2/s", 2, 1),
        ("30/10s", 30, 10),
        ("60/m", 60, 60),
        ("60/min", 60, 60),
        ("300/5m", 300, 300),
        ("2000/h", 2000, 3600),
        ("25/d", 25, 86_400),
        ("1/7d", 1, 7 * 86_400),
        (" 2/s ", 2, 1),
    ],
)
def test_rates_that_vendors_write(text: str, calls: int, seconds: int) -> None:
    assert parse_rate(text) == Rate(seconds, calls)


@pytest.mark.parametrize(
    "text",
    ["", "2", "2/", "/s", "0/s", "2/0s", "-2/s", "2.5/s", "2/S", "2 / s", "2/w", "2/s/s", "\uff12/s", "9" * 5000 + "/s",
     None, 2, ["2/s"]],
)  # fmt: skip
def test_what_is_no_rate_is_refused_with_examples(text: object) -> None:
    with pytest.raises(InvalidInput, match="such as 2/s, 30/10s, 2000/h or 25/d") as caught:
        parse_rate(text)  # type: ignore[arg-type]
    assert len(caught.value.message) < 250


@given(st.integers(1, 9_999_999), st.integers(1, 99_999), st.sampled_from(["s", "m", "h", "d"]))
def test_a_rate_is_shown_as_it_may_be_written(calls: int, count: int, unit: str) -> None:
    rate = parse_rate(f"{calls}/{count}{unit}")
    assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize(
    ("text", "shown"), [("2/1s", "2/s"), ("90/60s", "90/m"), ("5/3600s", "5/h"), ("5/90s", "5/90s"), ("1/24h", "1/d")]
)
def test_a_rate_is_shown_in_its_largest_unit(text: str, shown: str) -> None:
    assert str(parse_rate(text)) == shown


@pytest.mark.parametrize(("seconds", "guard"), [(1, 0.012), (10, 0.12), (60, 0.72), (3600, 1.0), (86_400, 1.0)])
def test_the_guard_is_a_share_of_the_window_and_at_most_a_second(seconds: int, guard: float) -> None:
    assert Rate(seconds, 5).guard_seconds == pytest.approx(guard)


def test_rates_come_shortest_window_first() -> None:
    assert parse_rates(["2000/h", "2/s", "25/d"]) == (Rate(1, 2), Rate(3600, 2000), Rate(86_400, 25))
    assert parse_rates([]) == ()


# -- by the calendar --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("25/day", Rate(86_400, 25, "day")),
        ("10000/month", Rate(30 * 86_400, 10_000, "month")),
        ("25/day@America/New_York", Rate(86_400, 25, "day", "America/New_York")),
        ("5/day@Etc/GMT+8", Rate(86_400, 5, "day", "Etc/GMT+8")),
    ],
)
def test_periods_of_the_calendar(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate
    assert str(rate) == text


@pytest.mark.parametrize("text", ["25/days", "25/week", "25/2day", "25/day@", "25/d@UTC", "/day", "25/day@../../etc"])
def test_what_is_no_period_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InvalidInput, match="25/day, 10000/month or 25/day@America/New_York"):
        parse_rate(text)


def test_a_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'Europe/Atlantis' is no time zone"):
        parse_rate("25/day@Europe/Atlantis")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("rate", "left", "free"),
    [
        ("25/day", "2026-11-20T00:00:00+00:00", "2026-11-21T00:00:01+00:00"),
        ("25/day", "2026-11-20T23:59:58+00:00", "2026-11-21T00:00:01+00:00"),
        ("25/day@America/New_York", "2026-11-20T23:59:58+00:00", "2026-11-21T00:00:01-05:00"),
        ("25/day@America/New_York", "2026-11-21T04:59:58+00:00", "2026-11-21T05:00:01+00:00"),
        # The clocks go back: a day of 25 hours.
        ("25/day@America/New_York", "2026-11-01T00:30:00-04:00", "2026-11-02T00:00:01-05:00"),
        ("10/month", "2026-11-20T12:00:00+00:00", "2026-12-01T00:00:01+00:00"),
        ("10/month", "2026-12-31T12:00:00+00:00", "2027-01-01T00:00:01+00:00"),
        ("10/month@Asia/Tokyo", "2028-02-29T14:00:00+00:00", "2028-03-01T00:00:01+09:00"),
    ],
)
def test_a_call_counts_until_the_reset_and_a_guard(rate: str, left: str, free: str) -> None:
    assert parse_rate(rate).free_again(at(left)) == at(free)


def test_a_call_just_before_a_reset_may_arrive_after_it_and_counts_for_both_days() -> None:
    assert parse_rate("25/day").free_again(at("2026-11-20T23:59:59.5+00:00")) == at("2026-11-22T00:00:01+00:00")


def test_a_sliding_window_ends_its_length_and_a_guard_later() -> None:
    assert parse_rate("25/d").free_again(1000.0) == 1000.0 + 86_400 + 1
    assert parse_rate("25/d").counts_since(1000.0 + 86_401) == 1000.0


@given(
    st.sampled_from(
        ["25/day", "25/day@America/New_York", "25/day@Pacific/Apia", "9/month", "9/month@Asia/Tokyo", "5/m"]
    ),
    st.integers(int(at("2026-01-01T00:00:00+00:00")) * 4, int(at("2028-01-01T00:00:00+00:00")) * 4),
    st.integers(-400_000, 400_000),
)
def test_what_counts_is_what_is_not_free_again(text: str, quarter: int, apart: int) -> None:
    """Both ways of asking give one answer, around every reset of two years."""
    rate, left, now = parse_rate(text), quarter / 4, quarter / 4 + apart
    # A call that left at that very instant counts no longer, as one that is free at this very instant does.
    assert (left > rate.counts_since(now)) is (rate.free_again(left) > now) or left == rate.counts_since(now)


@given(st.integers(0, 10**6), st.integers(0, 86_399))
def test_no_day_has_more_than_its_calls(days: int, second: int) -> None:
    """The N-th call after one lies on a later day, also by a clock that is half a second off."""
    zone = ZoneInfo("America/New_York")
    left = at("2026-01-01T00:00:00+00:00") + days % 900 * 86_400 + second
    free = parse_rate("1/day@America/New_York").free_again(left)
    for off in (-0.5, 0.0, 0.5):
        assert datetime.fromtimestamp(left + off, zone).date() < datetime.fromtimestamp(free + off, zone).date()
    assert datetime.fromtimestamp(free, UTC).second == 1
