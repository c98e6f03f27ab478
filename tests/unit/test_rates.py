"""Rate limits as people write them."""

from __future__ import annotations

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
    assert len(caught.value.message) < 200


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
