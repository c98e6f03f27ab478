"""Rules of minutes and hours: days of a zone, ranges in parts, when a bar is final, older bars after a split."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketjobs.domain.bars import (
    SPLIT,
    Action,
    Bar,
    BarAnswer,
    BarQuery,
    Hours,
    RawRow,
    StoredBar,
    check,
    older_factor,
    rescaled,
    restated,
)
from marketjobs.domain.intervals import DAY_SECONDS, Interval, bar_end, local_day, local_midnight, stamp_text
from marketjobs.domain.ranges import Range, default_period, later_than, local_days, merge, pieces, whole_local_days
from marketjobs.errors import InvalidInput, RangeUnavailable
from marketjobs.providers import yahoo_minutes
from marketjobs.services.bar_request import FetchRequest

ZONES = [
    *("America/New_York", "Europe/London", "Asia/Tokyo", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Auckland"),
    *("America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia", "America/St_Johns", "UTC"),
]
zones = st.sampled_from([ZoneInfo(name) for name in ZONES])
days_of_history = st.dates(date(2005, 1, 1), date(2035, 12, 31))
instants = st.integers(1_100_000_000, 2_000_000_000)
NEW_YORK = ZoneInfo("America/New_York")
MINUTES = [interval for interval in Interval if interval.is_intraday]


# Days of a zone


@given(days_of_history, st.integers(0, 40), zones)
def test_days_of_a_zone_meet_without_gap_or_overlap(first: date, count: int, zone: ZoneInfo) -> None:
    days = [local_days(day, day, zone) for day in (first + timedelta(days=n) for n in range(count + 1))]
    assert merge(days) == [local_days(first, first + timedelta(days=count), zone)]
    assert all(before.end == after.start for before, after in pairwise(days))


@given(instants, zones)
def test_an_instant_lies_in_the_day_that_its_zone_shows(instant: int, zone: ZoneInfo) -> None:
    day = local_day(instant, zone)
    assert instant in local_days(day, day, zone)


@given(instants, st.integers(1, 10 * DAY_SECONDS), zones)
def test_whole_days_hold_the_range_and_touch_it(start: int, length: int, zone: ZoneInfo) -> None:
    part = Range(start, start + length)
    whole = whole_local_days(part, zone)
    assert whole.start <= part.start < part.end <= whole.end
    assert local_day(whole.start, zone) == local_day(part.start, zone)
    assert whole_local_days(whole, zone) == whole


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25), (date(2026, 11, 2), 24)])
def test_a_day_has_as_many_hours_as_its_zone_gives_it(day: date, hours: int) -> None:
    whole = local_days(day, day, NEW_YORK)
    assert whole.end - whole.start == hours * 3600
    assert whole.start == local_midnight(day, NEW_YORK)


@given(instants, st.integers(1, 900 * DAY_SECONDS), st.integers(60, 40 * DAY_SECONDS))
def test_pieces_cover_a_range_exactly(start: int, length: int, most: int) -> None:
    whole = Range(start, start + length)
    parts = pieces(whole, most)
    assert merge(parts) == [whole]
    assert all(before.end == after.start for before, after in pairwise(parts))
    assert all(0 < part.end - part.start <= most for part in parts)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 50))), st.integers(0, 1100))
def test_later_than_keeps_just_what_is_later(spans: list[tuple[int, int]], earliest: int) -> None:
    ranges = [Range(start, start + length) for start, length in spans]
    kept = {stamp for part in later_than(ranges, earliest) for stamp in range(part.start, part.end)}
    assert kept == {stamp for part in ranges for stamp in range(part.start, part.end) if stamp >= earliest}


@pytest.mark.parametrize("interval", list(Interval))
def test_stamps_are_shown_as_days_or_instants(interval: Interval) -> None:
    shown = stamp_text(1_795_185_000, interval)
    assert shown == ("2026-11-20T14:30:00Z" if interval.is_intraday else "2026-11-20")
    assert bar_end(1_795_132_800, interval) > 1_795_132_800


# What is asked of Yahoo


@given(st.sampled_from(MINUTES), st.integers(-900 * DAY_SECONDS, 0), st.integers(60, 900 * DAY_SECONDS))
def test_requests_cover_what_yahoo_gives_of_a_range(interval: Interval, back: int, length: int) -> None:
    now = 1_795_185_000.5
    wanted = Range(int(now) + back, int(now) + back + length)
    oldest = now - yahoo_minutes.REACH_DAYS[interval] * DAY_SECONDS
    try:
        parts = yahoo_minutes.parts(BarQuery("AAPL", interval, wanted), now)
    except RangeUnavailable:
        assert wanted.end <= oldest + 2 * yahoo_minutes.SLACK_SECONDS
        return
    assert parts[0].start == max(wanted.start, int(oldest) + yahoo_minutes.SLACK_SECONDS)
    assert len(merge(parts)) == 1
    assert parts[-1].end >= min(wanted.end, int(now))
    longest = 8 * DAY_SECONDS if interval is Interval.MINUTE_1 else 731 * DAY_SECONDS
    assert max(part.end - part.start for part in parts) <= longest


# The request


def test_days_of_minutes_are_the_exchanges() -> None:
    request = FetchRequest.of({"symbols": ["7203.T"], "interval": "5m", "start": "2026-11-17", "end": "2026-11-18"})
    wanted = request.wanted(date(2026, 11, 20), ZoneInfo("Asia/Tokyo"))
    assert wanted == Range(*(int(datetime(2026, 11, day, 15, tzinfo=UTC).timestamp()) for day in (16, 18)))


@pytest.mark.parametrize(("interval", "period"), [("1m", "1wk"), ("5m", "1mo"), ("1h", "1mo"), ("1d", "1y")])
def test_a_period_for_whoever_named_none(interval: str, period: str) -> None:
    assert default_period(Interval.of(interval)) == period
    assert FetchRequest.of({"symbols": ["AAPL"], "interval": interval}).period == period


def test_extended_hours_are_another_request_and_none_of_days() -> None:
    plain = FetchRequest.of({"symbols": ["AAPL"], "interval": "5m"}).to_json()
    assert FetchRequest.of(plain | {"prepost": True}).to_json() == plain | {"prepost": True}
    with pytest.raises(InvalidInput, match="no pre- and post-market"):
        FetchRequest.of({"symbols": ["AAPL"], "prepost": True})


# Final or not


def answer_of(stamps: list[int], hours: tuple[Hours, ...], interval: Interval = Interval.MINUTE_5) -> BarAnswer:
    query = BarQuery("AAPL", interval, Range(0, 2**40))
    rows = [RawRow(stamp, float(stamp), 10.0, 10.5, 9.5, 10.0, None, 100) for stamp in stamps]
    return BarAnswer(query, rows, hours=hours)


def test_round_the_clock_the_days_bars_are_final_twenty_minutes_into_the_next() -> None:
    midnight = 1_795_219_200  # 2026-11-21T00:00Z
    days = tuple(Hours(midnight + n * DAY_SECONDS, midnight + n * DAY_SECONDS + 86_340) for n in (-1, 0))
    stamps = [midnight - 86_400, midnight - 300, midnight]
    for minutes, expected in ((10, [True, True, True]), (25, [False, False, True])):
        found = check(answer_of([s for s in stamps if s <= midnight + minutes * 60], days), midnight + minutes * 60)
        assert [bar.provisional for bar in found.bars] == expected


@given(st.integers(0, 3 * 24 * 60), st.booleans())
def test_a_bar_that_runs_is_never_final(minutes: int, named: bool) -> None:
    now = 1_795_185_000
    age = minutes * 60
    stamp = now - age
    hours = (Hours(now - 90 * DAY_SECONDS, now - 89 * DAY_SECONDS),) if named else ()
    [bar] = check(answer_of([stamp], hours), now).bars
    late = 20 * 60 if named else DAY_SECONDS
    assert bar.provisional == (age <= 300 + late)


def test_bars_that_begin_within_a_minute_are_rejected() -> None:
    found = check(answer_of([1_795_185_000, 1_795_185_307], ()), 1_795_300_000)
    assert [bar.ts for bar in found.bars] == [1_795_185_000]
    assert found.rules() == "1 off_grid"


# Older bars after a split


prices = st.floats(1.0, 5000.0)


@given(
    st.lists(prices, min_size=5, max_size=60),
    st.lists(st.sampled_from([2.0, 3.0, 4.0, 1.5, 20.0, 0.1]), max_size=3),
    st.integers(0, 3),
)
def test_the_splits_since_are_what_older_bars_are_multiplied_by(
    closes: list[float], ratios: list[float], since: int
) -> None:
    since = min(since, len(ratios))
    splits = [Action(10_000 + n, SPLIT, ratio) for n, ratio in enumerate(ratios)]
    # Stored before the last ``since`` splits came, rounded as vendors round.
    factor = 1 / math.prod(ratios[len(ratios) - since :])
    stored = [StoredBar(n, close, None, False) for n, close in enumerate(closes)]
    given_now = [Bar(n, *[float(f"{close * factor:.7g}")] * 4, None, 1.0) for n, close in enumerate(closes)]
    assert older_factor(given_now, stored, splits) == pytest.approx(factor)
    back = [rescaled(Bar(bar.ts, *[bar.close] * 4, None, 100.0), factor, factor) for bar in stored]
    assert restated(back, [StoredBar(bar.ts, bar.close, None, False) for bar in given_now]) is None


def test_a_change_that_no_split_explains_says_nothing_of_older_bars() -> None:
    stored = [StoredBar(n, 100.0, None, False) for n in range(10)]
    given_now = [Bar(n, *[110.0] * 4, None, 1.0) for n in range(10)]
    assert older_factor(given_now, stored, [Action(5, SPLIT, 2.0)]) is None
    assert older_factor([], stored, []) is None
    mixed = [bar._replace(close=50.0 if bar.ts % 2 else 100.0) for bar in given_now]
    assert older_factor(mixed, stored, [Action(5, SPLIT, 2.0)]) is None


def test_a_few_corrected_bars_beside_a_split_do_not_hide_it() -> None:
    stored = [StoredBar(n, 100.0, None, False) for n in range(20)]
    given_now = [Bar(n, *[25.0 if n not in (3, 9) else 24.0] * 4, None, 1.0) for n in range(20)]
    assert older_factor(given_now, stored, [Action(50, SPLIT, 4.0)]) == 0.25
    same = [Bar(n, *[100.0 if n not in (3, 9) else 99.0] * 4, None, 1.0) for n in range(20)]
    assert older_factor(same, stored, [Action(50, SPLIT, 4.0)]) == 1.0
