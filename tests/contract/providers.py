"""What every provider keeps, whoever the vendor is: one suite, inherited by a small class for each.

A subclass has a ``provider`` fixture that asks ``vendor`` (tests/vendor.py, or one with the same faults).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import ClassVar

import pytest

from marketjobs.domain.bars import BarAnswer, BarQuery, Checked, check
from marketjobs.domain.intervals import DAY_SECONDS, Interval, day_of, stamp_of
from marketjobs.domain.ranges import Range, days
from marketjobs.errors import (
    Blocked,
    BudgetSpent,
    MalformedAnswer,
    ProviderError,
    ProviderUnavailable,
    RangeUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
    Unsupported,
)
from marketjobs.providers.base import Provider
from vendor import Vendor

NOW = datetime(2026, 11, 20, 23, 0, tzinfo=UTC).timestamp()
"""A Friday, two hours after the close in New York."""
YEAR = days(date(2025, 11, 20), date(2026, 11, 20))


class RecordingGate:
    """A budget without a limit that remembers what was done with it."""

    def __init__(self) -> None:
        self.spent = 0
        self.holds: list[tuple[str, float | None]] = []
        self.passes = 0
        self.spend_raises: ProviderError | None = None

    def spend(self) -> None:
        if self.spend_raises is not None:
            raise self.spend_raises
        self.spent += 1

    def hold(self, why: str, seconds: float | None = None) -> float:
        self.holds.append((why, seconds))
        return 30.0 if seconds is None else seconds

    def passed(self) -> None:
        self.passes += 1


def ask(provider: Provider, query: BarQuery) -> BarAnswer:
    return asyncio.run(provider.bars(query))


class ProviderContract:
    """Order, uniqueness after the check, stamps, what is unsupported, and what each bad answer becomes."""

    symbol: ClassVar[str] = "AAPL"
    unknown_symbol: ClassVar[str] = "NOSUCH"
    unsupported: ClassVar[Interval] = Interval.DAY_5

    @pytest.fixture
    def vendor(self) -> Iterator[Vendor]:
        with Vendor(now=NOW) as vendor:
            yield vendor

    @pytest.fixture
    def gate(self) -> RecordingGate:
        return RecordingGate()

    def query(self, interval: Interval = Interval.DAY_1, wanted: Range = YEAR, symbol: str = "") -> BarQuery:
        return BarQuery(symbol or self.symbol, interval, wanted)

    def checked(self, provider: Provider, query: BarQuery | None = None) -> Checked:
        return check(ask(provider, query or self.query()), NOW)

    # Good answers

    def test_days_are_the_vendors_own(self, provider: Provider, vendor: Vendor) -> None:
        checked = self.checked(provider)
        truth = [bar for bar in vendor.bars(self.symbol) if stamp_of(bar.day) in YEAR]
        assert len(truth) > 250
        assert [(day_of(bar.ts), *bar[1:7]) for bar in checked.bars] == truth
        assert checked.rejected == []

    @pytest.mark.parametrize("interval", [Interval.DAY_1, Interval.WEEK_1, Interval.MONTH_1])
    def test_bars_ascend_each_stamp_once_at_midnight_utc(self, provider: Provider, interval: Interval) -> None:
        bars = self.checked(provider, self.query(interval)).bars
        stamps = [bar.ts for bar in bars]
        assert len(stamps) > 10
        assert stamps == sorted(set(stamps))
        assert all(stamp % DAY_SECONDS == 0 and stamp in YEAR for stamp in stamps)

    @pytest.mark.parametrize("interval", [Interval.WEEK_1, Interval.MONTH_1])
    def test_weeks_and_months_are_whole_whatever_the_range(
        self, provider: Provider, vendor: Vendor, interval: Interval
    ) -> None:
        wanted = days(date(2026, 3, 2), date(2026, 6, 10))
        for bar in self.checked(provider, self.query(interval, wanted)).bars:
            first = day_of(bar.ts)
            inside = [
                one
                for one in vendor.bars(self.symbol)
                if first <= one.day
                and (one.day.isocalendar()[:2], one.day.month)[interval is Interval.MONTH_1]
                == (first.isocalendar()[:2], first.month)[interval is Interval.MONTH_1]
                and one.day.year == first.year
            ]
            assert first.weekday() == 0 or interval is Interval.MONTH_1
            assert bar.open == inside[0].open
            assert bar.close == inside[-1].close
            assert bar.high == max(one.high for one in inside)
            assert bar.low == min(one.low for one in inside)
            assert bar.volume == sum(one.volume for one in inside)

    def test_a_range_without_sessions_is_empty_and_no_error(self, provider: Provider) -> None:
        weekend = days(date(2026, 11, 14), date(2026, 11, 15))
        assert self.checked(provider, self.query(wanted=weekend)) == Checked([], [])

    def test_dividends_and_splits_come_on_their_sessions(self, provider: Provider, vendor: Vendor) -> None:
        vendor.dividend("ACT", 0.5, date(2026, 5, 6))
        vendor.split("ACT", 4, date(2026, 6, 3))
        actions = ask(provider, self.query(symbol="ACT")).actions
        assert (stamp_of(date(2026, 5, 6)), "dividend", 0.125) in actions
        assert (stamp_of(date(2026, 6, 3)), "split", 4.0) in actions

    def test_facts_name_currency_and_zone(self, provider: Provider) -> None:
        facts = ask(provider, self.query()).facts
        assert (facts.currency, facts.timezone) == ("USD", "America/New_York")
        assert facts.name is not None

    # What is not asked

    def test_what_is_not_declared_is_unsupported_and_not_sent(
        self, provider: Provider, vendor: Vendor, gate: RecordingGate
    ) -> None:
        with pytest.raises(Unsupported, match="no 5d bars"):
            ask(provider, self.query(self.unsupported))
        assert not vendor.requests
        assert gate.spent == 0

    def test_nothing_is_sent_without_a_budget(self, provider: Provider, vendor: Vendor, gate: RecordingGate) -> None:
        gate.spend_raises = BudgetSpent("later", provider="any", retry_after_seconds=60)
        with pytest.raises(BudgetSpent):
            ask(provider, self.query())
        assert not vendor.requests
        assert gate.holds == []

    def test_each_request_spends_one_call(self, provider: Provider, vendor: Vendor, gate: RecordingGate) -> None:
        for symbol in ("AAA", "BBB", "AAA"):
            ask(provider, self.query(symbol=symbol))
        assert gate.spent == len(vendor.requests) > 0

    # Bad answers

    def test_an_unknown_symbol_is_the_vendors_own_word(self, provider: Provider) -> None:
        with pytest.raises(SymbolUnknown, match="No data found") as caught:
            ask(provider, self.query(symbol=self.unknown_symbol))
        assert caught.value.symbol == self.unknown_symbol
        assert not caught.value.retryable

    @pytest.mark.parametrize(
        ("kind", "args", "expected"),
        [
            ("status", {"code": 401}, Unauthorised),
            ("status", {"code": 403}, Blocked),
            ("status", {"code": 404}, ProviderUnavailable),
            ("status", {"code": 418}, ProviderUnavailable),
            ("status", {"code": 422}, RangeUnavailable),
            ("status", {"code": 429}, RateLimited),
            ("status", {"code": 429, "retry_after": 17}, RateLimited),
            ("status", {"code": 500}, ProviderUnavailable),
            ("status", {"code": 502}, ProviderUnavailable),
            ("status", {"code": 503}, ProviderUnavailable),
            ("reset", {}, ProviderUnavailable),
            ("truncated", {}, ProviderUnavailable),
            ("html", {}, MalformedAnswer),
            ("consent", {}, Blocked),
            ("redirect", {}, Blocked),
            ("redirect", {"location": "http://login.example/"}, ProviderUnavailable),
            ("invalid_json", {}, MalformedAnswer),
            ("empty_result", {}, MalformedAnswer),
            ("wrong_symbol", {}, MalformedAnswer),
            ("wrong_interval", {}, MalformedAnswer),
            ("huge", {}, MalformedAnswer),
        ],
    )
    def test_a_bad_answer_becomes(
        self, provider: Provider, vendor: Vendor, kind: str, args: dict[str, object], expected: type[ProviderError]
    ) -> None:
        vendor.fault(kind, **args)
        with pytest.raises(ProviderError) as caught:
            ask(provider, self.query())
        error = caught.value
        assert type(error) is expected
        assert (error.provider, error.symbol) == (provider.name, self.symbol)
        assert "\n" not in error.message
        assert "?" not in error.message.replace("page in between?", "")
        assert len([one for one in vendor.charts() if one.status != 0]) <= 1, "a refusal is not asked again"

    def test_an_outage_is_never_a_delisting(self, provider: Provider, vendor: Vendor) -> None:
        for kind, args in (("status", {"code": 404}), ("empty_result", {}), ("html", {}), ("truncated", {})):
            vendor.fault(kind, times=1, **args)
            with pytest.raises(ProviderError) as caught:
                ask(provider, self.query())
            assert caught.value.retryable

    def test_too_many_requests_holds_the_provider(
        self, provider: Provider, vendor: Vendor, gate: RecordingGate
    ) -> None:
        vendor.fault("status", code=429, times=1)
        with pytest.raises(RateLimited) as caught:
            ask(provider, self.query())
        assert [seconds for _, seconds in gate.holds] == [None]
        assert caught.value.retry_after_seconds == 30.0

    def test_retry_after_decides_how_long(self, provider: Provider, vendor: Vendor, gate: RecordingGate) -> None:
        vendor.fault("status", code=429, retry_after=17, times=1)
        with pytest.raises(RateLimited) as caught:
            ask(provider, self.query())
        assert [seconds for _, seconds in gate.holds] == [17.0]
        assert caught.value.retry_after_seconds == 17.0

    @pytest.mark.parametrize(
        ("kind", "args", "rule"),
        [
            ("nan", {}, "not_finite"),
            ("null_row", {}, "no_prices"),
            ("null_close", {}, "missing_price"),
            ("negative", {}, "not_positive"),
            ("zero", {}, "not_positive"),
            ("strings", {}, "not_a_number"),
            ("duplicate", {}, "duplicate"),
            ("future", {}, "future"),
        ],
    )
    def test_one_bad_row_costs_that_row(
        self, provider: Provider, vendor: Vendor, kind: str, args: dict[str, object], rule: str
    ) -> None:
        whole = self.checked(provider)
        vendor.fault(kind, **args)
        damaged = self.checked(provider)
        assert [row.rule for row in damaged.rejected] == [rule]
        assert len(damaged.bars) == len(whole.bars) - (rule not in ("duplicate", "future"))
        assert set(damaged.bars) <= set(whole.bars)

    def test_two_rows_that_contradict_each_other_are_both_rejected(self, provider: Provider, vendor: Vendor) -> None:
        whole = self.checked(provider)
        vendor.fault("duplicate", conflict=True)
        damaged = self.checked(provider)
        assert {row.rule for row in damaged.rejected} == {"duplicate", "conflict"}
        assert set(damaged.bars) < set(whole.bars)

    def test_rows_out_of_order_are_sorted(self, provider: Provider, vendor: Vendor) -> None:
        whole = self.checked(provider)
        vendor.fault("unordered")
        assert self.checked(provider) == whole
