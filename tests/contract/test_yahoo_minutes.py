"""Yahoo's minutes and hours: range rules, split requests, sessions, live rows, pre- and post-market."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
import time_machine

from contract.providers import NOW, RecordingGate, ask
from contract.test_yahoo import connection, no_proxy
from marketjobs.domain.bars import BarQuery, Checked, check
from marketjobs.domain.intervals import DAY_SECONDS, Interval
from marketjobs.domain.ranges import Range, local_days
from marketjobs.errors import MalformedAnswer, ProviderUnavailable, RangeUnavailable
from marketjobs.providers.yahoo import Yahoo
from vendor import Vendor

NEW_YORK = ZoneInfo("America/New_York")
WEEK = local_days(date(2026, 11, 16), date(2026, 11, 20), NEW_YORK)
MINUTES = [interval for interval in Interval if interval.is_intraday]
__all__ = ["no_proxy"]


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor(now=NOW) as vendor, time_machine.travel(NOW, tick=True):
        yield vendor


@pytest.fixture
def gate() -> RecordingGate:
    return RecordingGate()


@pytest.fixture
def provider(vendor: Vendor, gate: RecordingGate) -> Iterator[Yahoo]:
    provider = Yahoo(connection(gate, vendor.url))
    yield provider
    provider.close()


def asked(interval: Interval, wanted: Range = WEEK, *, prepost: bool = False, symbol: str = "AAPL") -> BarQuery:
    return BarQuery(symbol, interval, wanted, prepost)


def checked(provider: Yahoo, query: BarQuery, now: float = NOW) -> Checked:
    return check(ask(provider, query), now)


def figures(found: Checked) -> list[tuple[float | None, ...]]:
    return [(bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in found.bars]


@pytest.mark.parametrize("interval", MINUTES)
def test_bars_are_the_vendors_own(provider: Yahoo, vendor: Vendor, interval: Interval) -> None:
    found = checked(provider, asked(interval))
    truth = [tuple(one) for one in vendor.minutes("AAPL", interval.value, since=WEEK.start)]
    assert len(truth) >= 5 * 5
    assert figures(found) == truth
    assert found.rejected == []
    assert not any(bar.provisional for bar in found.bars)
    assert all(bar.adj_close is None for bar in found.bars)


def test_a_month_of_one_minute_bars_is_asked_for_in_parts_that_meet(
    provider: Yahoo, vendor: Vendor, gate: RecordingGate
) -> None:
    wanted = Range(int(NOW) - 29 * DAY_SECONDS, int(NOW))
    found = checked(provider, asked(Interval.MINUTE_1, wanted))
    assert [bar.ts for bar in found.bars] == [one.ts for one in vendor.minutes("AAPL", "1m", since=wanted.start)]
    parts = [(int(one.query["period1"]), int(one.query["period2"])) for one in vendor.charts()]
    assert gate.spent == len(parts) == 4
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    assert max(end - start for start, end in parts) <= 8 * DAY_SECONDS


def test_one_failing_part_fails_all_of_it(provider: Yahoo, vendor: Vendor) -> None:
    ask(provider, asked(Interval.MINUTE_1))
    vendor.fault("status", code=503, times=1)
    with pytest.raises(ProviderUnavailable):
        ask(provider, asked(Interval.MINUTE_1, Range(int(NOW) - 20 * DAY_SECONDS, int(NOW))))


@pytest.mark.parametrize(("interval", "days"), [("1m", 30), ("2m", 60), ("90m", 60), ("1h", 730), ("60m", 730)])
def test_an_answer_speaks_for_what_yahoo_gives(provider: Yahoo, vendor: Vendor, interval: str, days: int) -> None:
    wanted = Range(int(NOW) - 800 * DAY_SECONDS, int(NOW))
    answer = ask(provider, asked(Interval.of(interval), wanted))
    assert 0 <= answer.query.range.start - (int(NOW) - days * DAY_SECONDS) <= 120
    assert answer.query.range.end == wanted.end
    assert all(one.status == 200 for one in vendor.charts())


def test_what_is_too_old_is_refused_and_not_sent(provider: Yahoo, vendor: Vendor, gate: RecordingGate) -> None:
    old = local_days(date(2026, 1, 5), date(2026, 1, 9), NEW_YORK)
    with pytest.raises(RangeUnavailable, match="5m bars of the last 60 days only") as caught:
        ask(provider, asked(Interval.MINUTE_5, old))
    assert not caught.value.retryable
    assert gate.spent == len(vendor.requests) == 0


def test_a_symbol_listed_within_the_range_begins_with_its_first_bar(provider: Yahoo, vendor: Vendor) -> None:
    wanted = Range(int(NOW) - 29 * DAY_SECONDS, int(NOW))
    found = checked(provider, asked(Interval.MINUTE_1, wanted, symbol="YOUNG"))
    assert {one.status for one in vendor.charts()} == {400, 200}
    assert len(found.bars) == 10 * 390
    assert [bar.ts for bar in found.bars] == [one.ts for one in vendor.minutes("YOUNG", "1m")]


# The running session


@pytest.mark.parametrize("interval", MINUTES)
def test_the_last_trade_becomes_the_bar_of_its_interval(provider: Yahoo, vendor: Vendor, interval: Interval) -> None:
    vendor.now = datetime(2026, 11, 20, 18, 2, 37, tzinfo=UTC).timestamp()
    with time_machine.travel(vendor.now):
        found = checked(provider, asked(interval), vendor.now)
    assert figures(found) == [tuple(one) for one in vendor.minutes("AAPL", interval.value, since=WEEK.start)]
    today = datetime(2026, 11, 20, 14, 30, tzinfo=UTC).timestamp()
    assert [bar.ts for bar in found.bars if bar.provisional] == [bar.ts for bar in found.bars if bar.ts >= today]
    assert (found.bars[-1].ts - today) % interval.seconds == 0


@pytest.mark.parametrize("interval", MINUTES)
def test_a_last_trade_beside_its_bar_is_merged_into_it(provider: Yahoo, vendor: Vendor, interval: Interval) -> None:
    vendor.now = datetime(2026, 11, 20, 18, 2, 37, tzinfo=UTC).timestamp()
    with time_machine.travel(vendor.now):
        plain = checked(provider, asked(interval), vendor.now)
        vendor.fault("live_row", values={"volume": 0})
        assert checked(provider, asked(interval), vendor.now) == plain


@pytest.mark.parametrize(("minutes_after_close", "provisional"), [(-5, True), (1, True), (19.9, True), (20.1, False)])
def test_todays_bars_are_final_twenty_minutes_after_the_close(
    provider: Yahoo, vendor: Vendor, minutes_after_close: float, provisional: bool
) -> None:
    closes_at = datetime(2026, 11, 20, 21, 0, tzinfo=UTC).timestamp()
    vendor.now = closes_at + minutes_after_close * 60
    with time_machine.travel(vendor.now):
        found = checked(provider, asked(Interval.MINUTE_5), vendor.now)
    opens_at = closes_at - 390 * 60
    assert {bar.provisional for bar in found.bars if bar.ts >= opens_at} == {provisional}
    assert not any(bar.provisional for bar in found.bars if bar.ts < opens_at)


# Sessions


def test_a_half_day_ends_at_its_close(provider: Yahoo, vendor: Vendor) -> None:
    vendor.half_days.add(date(2026, 11, 18))
    vendor.fault("auction")
    wanted = local_days(date(2026, 11, 18), date(2026, 11, 18), NEW_YORK)
    found = checked(provider, asked(Interval.MINUTE_5, wanted))
    assert len(found.bars) == 210 // 5
    assert datetime.fromtimestamp(found.bars[-1].ts, NEW_YORK).strftime("%H:%M") == "12:55"


def test_extended_hours_are_there_when_asked_for_and_only_then(provider: Yahoo, vendor: Vendor) -> None:
    extended = checked(provider, asked(Interval.MINUTE_15, prepost=True))
    truth = vendor.minutes("AAPL", "15m", prepost=True, since=WEEK.start)
    assert figures(extended) == [tuple(one) for one in truth]
    assert extended.rejected == []  # a minute without a trade is no broken row
    plain = checked(provider, asked(Interval.MINUTE_15))
    assert set(figures(plain)) < set(figures(extended))
    assert len(plain.bars) == 5 * 26


def test_extended_hours_that_come_unasked_are_left_out(
    provider: Yahoo, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = checked(provider, asked(Interval.MINUTE_5))
    answered = vendor.chart
    monkeypatch.setattr(
        vendor, "chart", lambda symbol, query, fault=None: answered(symbol, {**query, "includePrePost": "true"}, fault)
    )
    assert checked(provider, asked(Interval.MINUTE_5)) == plain


@pytest.mark.parametrize("sunday", [date(2026, 3, 8), date(2026, 11, 1)])
def test_sessions_around_a_change_of_clocks_open_at_half_past_nine(
    provider: Yahoo, vendor: Vendor, sunday: date
) -> None:
    wanted = local_days(date.fromordinal(sunday.toordinal() - 3), date.fromordinal(sunday.toordinal() + 3), NEW_YORK)
    found = checked(provider, asked(Interval.HOUR_1, wanted))
    times = [datetime.fromtimestamp(bar.ts, NEW_YORK) for bar in found.bars]
    assert len(times) == 5 * 7
    assert {f"{time:%H:%M}" for time in times[::7]} == {"09:30"}
    assert len({time.utcoffset() for time in times}) == 2


# What is wrong with an answer


@pytest.mark.parametrize("granularity", ["1d", "5m", "1h"])
def test_bars_of_another_length_are_refused(provider: Yahoo, vendor: Vendor, granularity: str) -> None:
    vendor.fault("wrong_interval", value=granularity)
    with pytest.raises(MalformedAnswer, match=f"bars of {granularity} instead of 1m"):
        ask(provider, asked(Interval.MINUTE_1))


@pytest.mark.parametrize(("interval", "other"), [(Interval.MINUTE_60, "1h"), (Interval.HOUR_1, "60m")])
def test_an_hour_is_sixty_minutes(provider: Yahoo, vendor: Vendor, interval: Interval, other: str) -> None:
    vendor.fault("wrong_interval", value=other)
    assert len(checked(provider, asked(interval)).bars) == 5 * 7


@pytest.mark.parametrize("interval", [Interval.MINUTE_5, Interval.MINUTE_30])
@pytest.mark.parametrize(
    ("fault", "rule"),
    [("nan", "not_finite"), ("negative", "not_positive"), ("strings", "not_a_number"), ("null_close", "missing_price")],
)
def test_a_broken_row_is_rejected_and_the_rest_kept(
    provider: Yahoo, vendor: Vendor, interval: Interval, fault: str, rule: str
) -> None:
    whole = checked(provider, asked(interval))
    vendor.fault(fault, index=0)
    found = checked(provider, asked(interval))
    assert [(row.ts, row.rule) for row in found.rejected] == [(whole.bars[0].ts, rule)]
    assert found.bars == whole.bars[1:]


@pytest.mark.parametrize("interval", [Interval.MINUTE_5, Interval.MINUTE_30])
@pytest.mark.parametrize("fault", ["unordered", "duplicate", "null_row"])
def test_rows_in_disorder(provider: Yahoo, vendor: Vendor, interval: Interval, fault: str) -> None:
    whole = checked(provider, asked(interval))
    vendor.fault(fault, index=10)
    found = checked(provider, asked(interval))
    given = {bar.ts: bar for bar in whole.bars}
    if fault == "null_row" and interval is Interval.MINUTE_5:
        del given[whole.bars[10].ts]  # no trade, no bar
    elif interval is Interval.MINUTE_30 and fault != "unordered":
        del given[whole.bars[5].ts]
        assert fault == "null_row" or {row.ts for row in found.rejected} == {whole.bars[5].ts}
    assert {bar.ts: bar for bar in found.bars if bar.ts in given} == given
