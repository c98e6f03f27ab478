"""Which rows may be stored, which are final, and what counts as a restatement."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketjobs.domain import bars as bar_rules
from marketjobs.domain.bars import (
    CLOCK_TOLERANCE_SECONDS,
    Bar,
    BarAnswer,
    BarQuery,
    Checked,
    ColumnRows,
    OpenSession,
    RawRow,
    Rejected,
    StoredBar,
    adjusted_factor,
    broken_rule,
    check,
    differing_returns,
    is_provisional,
    restated,
)
from marketjobs.domain.intervals import DAY_SECONDS, Interval, stamp_of
from marketjobs.domain.ranges import days

MONDAY = date(2026, 3, 2)
FRIDAY = date(2026, 3, 6)
NOW = float(stamp_of(date(2026, 3, 31)))


def row(day: date = MONDAY, **changed: Any) -> RawRow:
    stamp = stamp_of(day)
    good: dict[str, Any] = {
        "stamp": stamp,
        "at": stamp + 14.5 * 3600,
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "adj_close": 10.5,
        "volume": 1000,
    }
    return RawRow(**(good | changed))


def answer(
    rows: Sequence[RawRow], interval: Interval = Interval.DAY_1, session: OpenSession | None = None
) -> BarAnswer:
    query = BarQuery("AAPL", interval, days(MONDAY, FRIDAY))
    return BarAnswer(query, rows, session=session)


# -- rules ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"adj_close": None},
        {"volume": None},
        {"volume": 0},
        {"volume": 10.5},
        {"open": 10, "high": 12, "low": 9, "close": 11},
        {"open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0},
        {"close": 12.0 * (1 + 5e-7)},
        {"low": 9.0, "open": 9.0 * (1 - 5e-7)},
        {"at": NOW + CLOCK_TOLERANCE_SECONDS},
        {"adj_close": 50_000.0},
    ],
)
def test_a_sound_row_breaks_no_rule(changed: dict[str, Any]) -> None:
    assert broken_rule(row(**changed), NOW) is None


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        ("no_prices", {"open": None, "high": None, "low": None, "close": None}),
        ("missing_price", {"open": None}),
        ("missing_price", {"close": None}),
        ("missing_price", {"open": None, "high": None, "low": None}),
        ("not_a_number", {"open": "10.0"}),
        ("not_a_number", {"open": True, "low": True}),
        ("not_a_number", {"volume": "1000"}),
        ("not_a_number", {"adj_close": [1]}),
        ("not_a_number", {"close": {"raw": 11.0}}),
        ("not_finite", {"open": math.nan}),
        ("not_finite", {"high": math.inf}),
        ("not_finite", {"volume": math.inf}),
        ("not_finite", {"adj_close": math.nan}),
        ("not_positive", {"low": 0}),
        ("not_positive", {"low": -9.0}),
        ("not_positive", {"adj_close": 0.0}),
        ("not_positive", {"open": 0, "high": 0, "low": 0, "close": 0}),
        ("negative_volume", {"volume": -1}),
        ("outside_low_high", {"open": 13.0}),
        ("outside_low_high", {"close": 8.0}),
        ("outside_low_high", {"high": 9.0, "low": 12.0}),
        ("outside_low_high", {"close": 12.0 * (1 + 5e-6)}),
        ("future", {"at": NOW + CLOCK_TOLERANCE_SECONDS + 1}),
    ],
)
def test_a_row_that_breaks_a_rule_is_told_by_its_name(rule: str, changed: dict[str, Any]) -> None:
    assert broken_rule(row(**changed), NOW) == rule


@pytest.mark.parametrize("changed", [{"volume": 10**400}, {"open": -(10**400)}, {"adj_close": 10**400}])
def test_a_number_too_large_for_a_double_is_rejected_and_not_a_crash(changed: dict[str, Any]) -> None:
    assert broken_rule(row(**changed), NOW) == "not_finite"


values = st.one_of(
    st.none(),
    st.floats(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**400),
    st.booleans(),
    st.text(max_size=3),
    st.floats(min_value=0.01, max_value=100),
)


@given(st.lists(st.builds(row, st.dates(MONDAY, FRIDAY), open=values, high=values, low=values, close=values,
                          adj_close=values, volume=values, at=st.floats(0, 2 * NOW)), max_size=12))  # fmt: skip
def test_whatever_an_answer_holds_only_sound_bars_come_out(rows: list[RawRow]) -> None:
    checked = check(answer(rows), NOW)
    stamps = [bar.ts for bar in checked.bars]
    assert stamps == sorted(set(stamps))
    assert set(stamps) | {one.ts for one in checked.rejected} == {one.stamp for one in rows}
    assert not set(stamps) & {one.ts for one in checked.rejected if one.rule != "duplicate"}
    for bar in checked.bars:
        numbers = [bar.open, bar.high, bar.low, bar.close]
        assert all(type(value) is float and math.isfinite(value) and value > 0 for value in numbers)
        assert bar.low <= min(numbers) * (1 + 2e-6) and bar.high >= max(numbers) * (1 - 2e-6)
        assert bar.volume is None or bar.volume >= 0
        assert bar.adj_close is None or bar.adj_close > 0


# -- whole answers ----------------------------------------------------------------------------------------


def test_rows_in_any_order_come_out_ascending() -> None:
    in_order = [row(MONDAY + timedelta(days=number)) for number in range(5)]
    checked = check(answer([in_order[number] for number in (3, 0, 4, 1, 2)]), NOW)
    assert [bar.ts for bar in checked.bars] == [one.stamp for one in in_order]
    assert checked.rejected == []


def test_good_rows_are_kept_beside_bad_ones() -> None:
    checked = check(answer([row(), row(MONDAY + timedelta(days=1), close=None), row(FRIDAY)]), NOW)
    assert [bar.ts for bar in checked.bars] == [stamp_of(MONDAY), stamp_of(FRIDAY)]
    assert checked.rejected == [Rejected(stamp_of(MONDAY + timedelta(days=1)), "missing_price")]


def test_the_same_row_twice_is_stored_once_and_counted() -> None:
    checked = check(answer([row(), row(at=NOW - 1)]), NOW)
    assert len(checked.bars) == 1
    assert checked.rejected == [Rejected(stamp_of(MONDAY), "duplicate")]


def test_two_rows_that_disagree_are_both_rejected() -> None:
    checked = check(answer([row(), row(close=11.5)]), NOW)
    assert checked.bars == []
    assert {one.rule for one in checked.rejected} == {"duplicate", "conflict"}
    assert checked.rules() in ("1 duplicate, 1 conflict", "1 conflict, 1 duplicate")


def test_rows_outside_what_was_asked_for_are_left_out_silently() -> None:
    early, late = row(MONDAY - timedelta(days=1)), row(FRIDAY + timedelta(days=1))
    assert check(answer([early, row(), late]), NOW) == Checked(check(answer([row()]), NOW).bars, [])


def test_rules_are_counted_most_frequent_first() -> None:
    bad = [row(MONDAY + timedelta(days=number), close=None) for number in range(3)]
    assert check(answer([*bad, row(FRIDAY, low=-1)]), NOW).rules() == "3 missing_price, 1 not_positive"


def test_what_the_vendor_did_not_say_stays_unsaid() -> None:
    (bar,) = check(answer([row(adj_close=None, volume=None)]), NOW).bars
    assert bar == Bar(stamp_of(MONDAY), 10.0, 12.0, 9.0, 11.0, None, None, False)


# -- provisional ------------------------------------------------------------------------------------------


def new_york(day: date, hour: int, minute: int = 0) -> float:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo("America/New_York")).timestamp()


@pytest.mark.parametrize(
    ("day", "close_utc"),
    [
        (date(2026, 3, 6), 21),  # the Friday before the clocks go forward
        (date(2026, 3, 9), 20),  # the Monday after
        (date(2026, 10, 30), 20),  # the Friday before they go back
        (date(2026, 11, 2), 21),
    ],
)
def test_a_day_is_final_twenty_minutes_after_its_close_whatever_the_clocks_do(day: date, close_utc: int) -> None:
    closes_at = new_york(day, 16)
    assert closes_at == stamp_of(day) + close_utc * 3600
    session = OpenSession(stamp_of(day), closes_at)
    for minutes, provisional in ((-60, True), (0, True), (19, True), (20, False), (600, False)):
        assert is_provisional(stamp_of(day), Interval.DAY_1, session, closes_at + minutes * 60) is provisional
    assert not is_provisional(stamp_of(day) - DAY_SECONDS, Interval.DAY_1, session, closes_at - 3600)
    assert is_provisional(stamp_of(day), Interval.DAY_1, session, closes_at + 20 * 60 - 0.001)


def test_a_session_that_closes_on_the_next_utc_day_is_provisional_until_then() -> None:
    day = date(2026, 3, 9)
    session = OpenSession(stamp_of(day), stamp_of(day) + DAY_SECONDS + 2 * 3600)
    assert is_provisional(stamp_of(day), Interval.DAY_1, session, stamp_of(day) + DAY_SECONDS + 3600)


def test_without_a_session_a_day_is_given_two() -> None:
    stamp = stamp_of(MONDAY)
    assert is_provisional(stamp, Interval.DAY_1, None, stamp + 2 * DAY_SECONDS - 1)
    assert not is_provisional(stamp, Interval.DAY_1, None, stamp + 2 * DAY_SECONDS)


@pytest.mark.parametrize(
    ("interval", "first", "final_from"),
    [
        (Interval.WEEK_1, date(2026, 3, 2), date(2026, 3, 10)),
        (Interval.MONTH_1, date(2026, 2, 1), date(2026, 3, 2)),
        (Interval.MONTH_1, date(2025, 12, 1), date(2026, 1, 2)),
    ],
)
def test_weeks_and_months_are_final_a_day_after_their_end(interval: Interval, first: date, final_from: date) -> None:
    assert is_provisional(stamp_of(first), interval, None, stamp_of(final_from) - 1)
    assert not is_provisional(stamp_of(first), interval, None, stamp_of(final_from))


def test_an_unfinished_day_is_marked_and_those_before_it_are_not() -> None:
    session = OpenSession(stamp_of(FRIDAY), stamp_of(FRIDAY) + 21 * 3600)
    during = stamp_of(FRIDAY) + 15 * 3600.0
    checked = check(answer([row(), row(FRIDAY)], session=session), during)
    assert [bar.provisional for bar in checked.bars] == [False, True]


# -- restatement ------------------------------------------------------------------------------------------


def bar(close: float, ts: int = 0, adj_close: float | None = None) -> Bar:
    return Bar(ts, close, close, close, close, adj_close, 1.0)


def stored(
    close: float = 100.0, ts: int = 0, adj_close: float | None = None, *, provisional: bool = False
) -> StoredBar:
    return StoredBar(ts, close, adj_close, provisional)


@pytest.mark.parametrize(
    ("now_says", "found"),
    [(100.0, None), (100.0099, None), (99.9901, None), (100.0101, 0), (99.9899, 0), (50.0, 0), (400.0, 0)],
)
def test_a_final_close_that_moved_by_more_than_one_in_ten_thousand_is_a_restatement(
    now_says: float, found: int | None
) -> None:
    assert restated([bar(now_says)], [stored()]) == found


@pytest.mark.parametrize(
    ("before", "now_says", "found"),
    [
        (90.0, 90.001, None),
        (90.0, 89.999, None),
        (90.0, 90.01, 0),
        (90.0, 45.0, 0),
        (None, 90.0, None),
        (90.0, None, None),
    ],
)
def test_another_dividend_adjustment_is_a_restatement_and_rounding_is_not(
    before: float | None, now_says: float | None, found: int | None
) -> None:
    assert restated([bar(100.0, adj_close=now_says)], [stored(adj_close=before)]) == found


def test_a_provisional_bar_may_move_as_it_likes() -> None:
    assert restated([bar(50.0, adj_close=1.0)], [stored(adj_close=50.0, provisional=True)]) is None


def test_bars_that_are_not_stored_restate_nothing_and_the_first_that_differs_is_told() -> None:
    before = [stored(ts=ts) for ts in (1, 2, 3)]
    assert restated([bar(1.0, 9)], before) is None
    assert restated([bar(100.0, 1), bar(101.0, 2), bar(102.0, 3)], before) == 2


def adjusted_pair(now: list[float | None], before: list[float | None]) -> tuple[list[Bar], list[StoredBar]]:
    bars = [Bar(number, 1.0, 1.0, 1.0, 1.0, value, None) for number, value in enumerate(now)]
    return bars, [StoredBar(number, 1.0, value, False) for number, value in enumerate(before)]


@pytest.mark.parametrize(
    ("now", "before", "factor"),
    [
        ([9.0, 9.9], [10.0, 11.0], 0.9),
        ([10.0, 11.00001], [10.0, 11.0], 1.0),
        ([9.0, None], [10.0, 11.0], 0.9),
        ([None], [10.0], None),
        ([9.0], [None], None),
        ([9.0, 20.0], [10.0, 10.0], None),  # no one factor explains that
        ([], [], None),
    ],
)
def test_what_older_adjusted_closes_are_worth_after_a_dividend(
    now: list[float | None], before: list[float | None], factor: float | None
) -> None:
    found = adjusted_factor(*adjusted_pair(now, before))
    assert found == (None if factor is None else pytest.approx(factor))


# -- by whole columns --------------------------------------------------------------------------------------

PRICES = st.sampled_from([10.0, 10.5, 11.0])
FIGURES = PRICES | st.sampled_from([0.0, -1.0, 13.0, math.nan, math.inf, None, 11, "11", []])
BEFORE_THE_RANGE = row(MONDAY - timedelta(days=1), open=None)
"""Is dropped whatever it holds, and beside it the others are looked at one by one."""


@given(
    prices=st.lists(st.tuples(PRICES, PRICES) | st.tuples(FIGURES, FIGURES), max_size=5),
    adjusted=st.just(10.0) | st.none() | FIGURES,
    volume=st.sampled_from([0, 5, -1, None, 0.5, -0.5, math.nan, math.inf]),
    backwards=st.booleans(),
    now=st.sampled_from([NOW, float(stamp_of(MONDAY)), stamp_of(MONDAY) + 2.6 * DAY_SECONDS]),
    session=st.none() | st.integers(0, 4),
)
def test_whole_columns_are_judged_as_their_rows_one_by_one(
    prices: list[tuple[Any, Any]],
    adjusted: Any,
    volume: Any,
    backwards: bool,
    now: float,
    session: int | None,
) -> None:
    rows = [
        row(MONDAY + timedelta(days=number), open=first, close=last, low=9.5, adj_close=adjusted, volume=volume)
        for number, (first, last) in enumerate(prices)
    ]
    rows = rows[::-1] if backwards else rows
    stamp = stamp_of(MONDAY) + (session or 0) * DAY_SECONDS
    newest = None if session is None else OpenSession(stamp, stamp + 21 * 3600.0)
    found = check(answer(rows, session=newest), now)
    assert found == check(answer([BEFORE_THE_RANGE, *rows], session=newest), now)
    if rows:
        by_column = ColumnRows(list(zip(*rows, strict=True)))
        assert (by_column[0], list(by_column), list(by_column[1:])) == (rows[0], rows, rows[1:])
        assert check(answer(by_column, session=newest), now) == found


def test_an_answer_without_a_flaw_is_not_looked_at_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(MONDAY + timedelta(days=number)) for number in range(5)]
    monkeypatch.setattr(bar_rules, "_ordered", None)
    assert len(check(answer(rows), NOW).bars) == 5
    assert len(check(answer([one._replace(adj_close=None) for one in rows]), NOW).bars) == 5
    assert len(check(answer([one._replace(volume=0.25) for one in rows]), NOW).bars) == 5


# -- histories of something else ------------------------------------------------------------------------------


def walk(seed: int, count: int = 60, start: float = 100.0, by: float = 0.02) -> list[float]:
    chance = random.Random(seed)
    prices = [start]
    for _ in range(count - 1):
        prices.append(prices[-1] * (1 + chance.gauss(0, by)))
    return prices


def returns(given: Sequence[float], before: Sequence[float], seconds: int = DAY_SECONDS) -> tuple[int, int]:
    bars = [Bar(at * seconds, *[close] * 4, None, None) for at, close in enumerate(given)]
    return differing_returns(bars, [StoredBar(at * seconds, close, None, False) for at, close in enumerate(before)])


PENNIES = [0.35, 0.4, 0.45, 0.4, 0.5, 0.55, 0.5, 0.45, 0.5, 0.4] * 3


@pytest.mark.parametrize(
    ("given", "before", "differing"),
    [
        ([price / 4 for price in walk(1)], walk(1), 0),
        ([price * 50 for price in walk(1)], walk(1), 0),
        ([price / 2 if at < 30 else price for at, price in enumerate(walk(1))], walk(1), 1),
        ([price * 1.1 if at in (5, 9, 40) else price for at, price in enumerate(walk(1))], walk(1), 6),
        ([round(price / 1000, 2) for price in walk(1)], walk(1), 0),
        ([round(price / 100, 4) for price in PENNIES], PENNIES, 0),
        ([round(price / 20, 2) for price in PENNIES], PENNIES, 0),
        ([round(price) for price in walk(1, start=30.0)], walk(1, start=30.0), 0),
        ([struct.unpack("f", struct.pack("f", price))[0] for price in walk(1, start=1e-6)], walk(1, start=1e-6), 0),
        ([5.0] * 60, [5.0] * 60, 0),
        ([5.0] * 60, [1000.0] * 60, 0),
        ([100 * price**0.999 for price in walk(1)], walk(1), 0),
        (walk(1)[:1], walk(1), 0),
        ([], [], 0),
    ],
)
def test_the_same_history_on_another_basis_keeps_its_returns(
    given: list[float], before: list[float], differing: int
) -> None:
    found, count = returns(given, before)
    assert found <= differing
    assert count == max(0, min(len(given), len(before)) - 1)


@pytest.mark.parametrize("seconds", [DAY_SECONDS, 7 * DAY_SECONDS])
@pytest.mark.parametrize("start", [100.0, 3e-5, 40_000.0])
@pytest.mark.parametrize("seed", range(2, 12))
def test_another_history_has_returns_of_its_own(seed: int, start: float, seconds: int) -> None:
    differing, count = returns(walk(seed, start=start), walk(1), seconds)
    assert 2 * differing > count


def test_minutes_are_compared_by_their_days() -> None:
    seconds = 900
    same = walk(1, count=96 * 30, by=0.002)
    assert returns(same, [price / 3 for price in same], seconds) == (0, 29)
    differing, count = returns(walk(2, count=96 * 30, by=0.002), same, seconds)
    assert 2 * differing > count


def test_bars_that_may_change_say_nothing_about_a_history() -> None:
    stored = [StoredBar(at * DAY_SECONDS, price, None, True) for at, price in enumerate(walk(1))]
    bars = [Bar(at * DAY_SECONDS, *[price] * 4, None, None) for at, price in enumerate(walk(2))]
    assert differing_returns(bars, stored) == (0, 0)
