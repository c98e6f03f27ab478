"""What every provider keeps, whoever the vendor is: suites, inherited by a small class for each.

``Contract`` is everybody's; ``BarsContract`` and ``QuotesContract`` are for whoever declares them, ``ProviderContract``
for bars of sessions.  A subclass has a ``provider`` fixture that asks ``vendor`` (tests/vendor.py, or one with the same
faults), and says in ``becomes`` what its vendor's own way of refusing makes of a bad answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, ClassVar

import pytest

from marketjobs.domain.assets import Listing
from marketjobs.domain.bars import BarAnswer, BarQuery, Checked, check
from marketjobs.domain.intervals import DAY_SECONDS, Interval, day_of, stamp_of
from marketjobs.domain.quotes import Quote
from marketjobs.domain.quotes import broken_rule as broken_quote_rule
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
from marketjobs.providers.base import Grant, Provider
from vendor import Vendor

NOW = datetime(2026, 11, 20, 23, 0, tzinfo=UTC).timestamp()
"""A Friday, two hours after the close in New York."""
YEAR = days(date(2025, 11, 20), date(2026, 11, 20))


class RecordingGate:
    """A budget without a limit that remembers what was done with it."""

    def __init__(self, api_key: str = "") -> None:
        self.api_key = api_key
        self.spent = 0
        self.weight = 0
        self.held_keys: list[str | None] = []
        """For each hold the key that it is of; ``None``: the whole provider."""
        self.failures: list[str] = []
        self.told: list[tuple[int, int]] = []
        """What the vendor said was used: calls, and in how many seconds."""
        self.holds: list[tuple[str, float | None]] = []
        self.passes = 0
        self.spend_raises: ProviderError | None = None

    def spend(self, weight: int = 1, *, part: str = "") -> Grant:
        if self.spend_raises is not None:
            raise self.spend_raises
        self.spent += 1
        self.weight += weight
        return Grant(self.api_key)

    def hold(
        self,
        why: str,
        seconds: float | None = None,
        *,
        grant: Grant | None = None,
        until_reset: bool = False,
        cause: str = "",
    ) -> float:
        self.holds.append((why, seconds))
        self.held_keys.append(grant.api_key if grant else None)
        return 30.0 if seconds is None else seconds

    def passed(self, grant: Grant | None = None) -> None:
        self.passes += 1

    def failed(self, why: str) -> None:
        self.failures.append(why)

    def sent(self, grant: Grant, at: float) -> None:
        pass

    def unused(self, grant: Grant) -> None:
        self.spent -= 1

    def used(self, calls: int, window_seconds: int, *, grant: Grant | None = None) -> None:
        self.told.append((calls, window_seconds))


def ask(provider: Provider, query: BarQuery) -> BarAnswer:
    return asyncio.run(provider.bars(query))


BAD_ANSWERS: dict[str, tuple[str, dict[str, Any], type[ProviderError] | None]] = {
    "401": ("status", {"code": 401}, Unauthorised),
    "403": ("status", {"code": 403}, Blocked),
    "404": ("status", {"code": 404}, ProviderUnavailable),
    "418": ("status", {"code": 418}, ProviderUnavailable),
    "422": ("status", {"code": 422}, ProviderUnavailable),
    "429": ("status", {"code": 429}, RateLimited),
    "429 with Retry-After": ("status", {"code": 429, "retry_after": 17}, RateLimited),
    "500": ("status", {"code": 500}, ProviderUnavailable),
    "502": ("status", {"code": 502}, ProviderUnavailable),
    "503": ("status", {"code": 503}, ProviderUnavailable),
    "reset": ("reset", {}, ProviderUnavailable),
    "truncated": ("truncated", {}, ProviderUnavailable),
    "html": ("html", {}, MalformedAnswer),
    "consent": ("consent", {}, MalformedAnswer),
    "redirect": ("redirect", {"location": "http://login.example/"}, ProviderUnavailable),
    "redirect to consent": ("redirect", {}, ProviderUnavailable),
    "invalid_json": ("invalid_json", {}, MalformedAnswer),
    "empty_result": ("empty_result", {}, MalformedAnswer),
    "huge": ("huge", {}, MalformedAnswer),
    "wrong_symbol": ("wrong_symbol", {}, None),
    "wrong_interval": ("wrong_interval", {}, None),
}
"""Of each the fault, and what it becomes where a vendor has no words of its own for it (``None``: it has no such
fault)."""
BAD_ROWS: dict[str, str] = {
    "nan": "not_finite",
    "null_row": "no_prices",
    "null_close": "missing_price",
    "negative": "not_positive",
    "zero": "not_positive",
    "strings": "not_a_number",
    "duplicate": "duplicate",
    "future": "future",
}


class Contract:
    """What each bad answer becomes, what is spent, what is held, and that no key is shown."""

    symbol: ClassVar[str] = "AAPL"
    other_symbols: ClassVar[tuple[str, str]] = ("AAA", "BBB")
    unknown_symbol: ClassVar[str] = "NOSUCH"
    unknown_words: ClassVar[str] = "No data found"
    api_key: ClassVar[str] = ""
    becomes: ClassVar[Mapping[str, type[ProviderError] | None]] = {}

    @pytest.fixture
    def vendor(self) -> Iterator[Any]:
        with Vendor(now=NOW) as vendor:
            yield vendor

    @pytest.fixture
    def gate(self) -> RecordingGate:
        return RecordingGate(self.api_key)

    def question(self, provider: Provider, symbol: str = "") -> Any:
        """One request about a symbol; raises what it came to."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A class has no test of a fault that its vendor does not know."""
        if "bad_answer" in metafunc.fixturenames:
            names = [name for name, (_, _, usual) in BAD_ANSWERS.items() if self.becomes.get(name, usual)]
            metafunc.parametrize("bad_answer", names)
        if "bad_row" in metafunc.fixturenames:
            metafunc.parametrize("bad_row", list(getattr(self, "bad_rows", ())))

    # What is not asked

    def test_nothing_is_sent_without_a_budget(self, provider: Provider, vendor: Any, gate: RecordingGate) -> None:
        gate.spend_raises = BudgetSpent("later", provider="any", retry_after_seconds=60)
        with pytest.raises(BudgetSpent):
            self.question(provider)
        assert not vendor.requests
        assert gate.holds == []

    def test_each_request_spends_one_call(self, provider: Provider, vendor: Any, gate: RecordingGate) -> None:
        for symbol in (*self.other_symbols, self.other_symbols[0]):
            self.question(provider, symbol)
        assert gate.spent == len(vendor.requests) > 0

    # Bad answers

    def test_an_unknown_symbol_is_the_vendors_own_word(self, provider: Provider) -> None:
        with pytest.raises(SymbolUnknown, match=self.unknown_words) as caught:
            self.question(provider, self.unknown_symbol)
        assert caught.value.symbol == self.unknown_symbol
        assert not caught.value.retryable

    def test_a_bad_answer_becomes(self, provider: Provider, vendor: Any, gate: RecordingGate, bad_answer: str) -> None:
        kind, args, usual = BAD_ANSWERS[bad_answer]
        expected = self.becomes.get(bad_answer, usual)
        vendor.fault(kind, **args)
        with pytest.raises(ProviderError) as caught:
            self.question(provider)
        error = caught.value
        assert type(error) is expected
        assert (error.provider, error.symbol) == (provider.name, self.symbol)
        assert "\n" not in error.message
        assert "?" not in error.message.replace("page in between?", "")
        assert not self.api_key or self.api_key not in f"{error}{error.hint}{gate.holds}{gate.failures}"
        assert len([one for one in vendor.requests if one.status != 0]) <= 1, "a refusal is not asked again"

    def test_an_outage_is_never_a_delisting(self, provider: Provider, vendor: Any) -> None:
        for kind, args in (("status", {"code": 404}), ("empty_result", {}), ("html", {}), ("truncated", {})):
            vendor.fault(kind, times=1, **args)
            with pytest.raises(ProviderError) as caught:
                self.question(provider)
            assert caught.value.retryable

    def test_too_many_requests_holds_the_provider(self, provider: Provider, vendor: Any, gate: RecordingGate) -> None:
        vendor.fault("status", code=429, times=1)
        with pytest.raises(RateLimited) as caught:
            self.question(provider)
        assert [seconds for _, seconds in gate.holds] == [None]
        assert gate.held_keys == [self.api_key or None]
        assert caught.value.retry_after_seconds == 30.0

    def test_retry_after_decides_how_long(self, provider: Provider, vendor: Any, gate: RecordingGate) -> None:
        vendor.fault("status", code=429, retry_after=17, times=1)
        with pytest.raises(RateLimited) as caught:
            self.question(provider)
        assert [seconds for _, seconds in gate.holds] == [17.0]
        assert caught.value.retry_after_seconds == 17.0


class BarsContract(Contract):
    """Order, uniqueness after the check, stamps, what is unsupported, and what is wrong with single rows."""

    unsupported: ClassVar[Interval] = Interval.DAY_5
    span: ClassVar[Range] = YEAR
    least_bars: ClassVar[int] = 250
    bad_rows: ClassVar[Mapping[str, str]] = BAD_ROWS
    """Of each fault in a row the rule that it breaks."""
    now: ClassVar[float] = NOW

    def query(self, interval: Interval = Interval.DAY_1, wanted: Range | None = None, symbol: str = "") -> BarQuery:
        return BarQuery(symbol or self.symbol, interval, wanted or self.span)

    def question(self, provider: Provider, symbol: str = "") -> Any:
        return ask(provider, self.query(symbol=symbol))

    def checked(self, provider: Provider, query: BarQuery | None = None) -> Checked:
        return check(ask(provider, query or self.query()), self.now)

    def truth(self, vendor: Any) -> list[tuple[Any, ...]]:
        """Day, open, high, low, close, adjusted close and volume of each day that is asked for."""
        return [tuple(bar) for bar in vendor.bars(self.symbol) if stamp_of(bar.day) in self.span]

    def test_days_are_the_vendors_own(self, provider: Provider, vendor: Any) -> None:
        checked = self.checked(provider)
        truth = self.truth(vendor)
        assert len(truth) > self.least_bars
        assert [(day_of(bar.ts), *bar[1:7]) for bar in checked.bars] == truth
        assert checked.rejected == []

    def test_bars_ascend_each_stamp_once_at_midnight_utc(self, provider: Provider) -> None:
        wanted = {Interval.DAY_1, Interval.WEEK_1, Interval.MONTH_1} & provider.capabilities.bars
        for interval in wanted:
            stamps = [bar.ts for bar in self.checked(provider, self.query(interval)).bars]
            assert len(stamps) > 10
            assert stamps == sorted(set(stamps))
            assert all(stamp % DAY_SECONDS == 0 and stamp in self.span for stamp in stamps)

    def test_what_is_not_declared_is_unsupported_and_not_sent(
        self, provider: Provider, vendor: Any, gate: RecordingGate
    ) -> None:
        with pytest.raises(Unsupported, match=f"no {self.unsupported} bars"):
            ask(provider, self.query(self.unsupported))
        assert not vendor.requests
        assert gate.spent == 0

    def test_one_bad_row_costs_that_row(self, provider: Provider, vendor: Any, bad_row: str) -> None:
        rule = self.bad_rows[bad_row]
        whole = self.checked(provider)
        vendor.fault(bad_row)
        damaged = self.checked(provider)
        assert [row.rule for row in damaged.rejected] == [rule]
        assert len(damaged.bars) == len(whole.bars) - (rule not in ("duplicate", "future"))
        assert set(damaged.bars) <= set(whole.bars)

    def test_rows_out_of_order_are_sorted(self, provider: Provider, vendor: Any) -> None:
        whole = self.checked(provider)
        vendor.fault("unordered")
        assert self.checked(provider) == whole


class ProviderContract(BarsContract):
    """Bars of sessions of an exchange that rests, with events and facts."""

    becomes: ClassVar[Mapping[str, type[ProviderError] | None]] = {
        "422": RangeUnavailable,
        "consent": Blocked,
        "redirect to consent": Blocked,
        "wrong_symbol": MalformedAnswer,
        "wrong_interval": MalformedAnswer,
    }

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

    def test_two_rows_that_contradict_each_other_are_both_rejected(self, provider: Provider, vendor: Vendor) -> None:
        whole = self.checked(provider)
        vendor.fault("duplicate", conflict=True)
        damaged = self.checked(provider)
        assert {row.rule for row in damaged.rejected} == {"duplicate", "conflict"}
        assert set(damaged.bars) < set(whole.bars)


class QuotesContract(Contract):
    """Quotes of several in one request, each with its price or the reason why there is none."""

    currency: ClassVar[str] = "USD"

    def listing(self, symbol: str) -> Listing:
        return Listing(symbol, self.currency)

    def question(self, provider: Provider, symbol: str = "") -> Any:
        return self.quoted(provider, symbol or self.symbol)[0]

    def quoted(self, provider: Provider, *symbols: str) -> list[Quote]:
        answers = self.answered(provider, *symbols)
        for answer in answers:
            if isinstance(answer, ProviderError):
                raise answer
        return answers  # type: ignore[return-value]

    def answered(self, provider: Provider, *symbols: str) -> list[Quote | ProviderError]:
        listings = [self.listing(symbol) for symbol in symbols]
        found = asyncio.run(provider.quotes(listings))
        assert found.keys() == set(listings)
        return [found[listing] for listing in listings]

    def true_price(self, vendor: Any, symbol: str) -> float:
        raise NotImplementedError

    def test_prices_are_the_vendors_own(self, provider: Provider, vendor: Any, gate: RecordingGate) -> None:
        symbols = (self.symbol, *self.other_symbols)
        quotes = self.quoted(provider, *symbols)
        assert [one.price for one in quotes] == [pytest.approx(self.true_price(vendor, one)) for one in symbols]
        assert all(abs(one.at - NOW) < 60 and broken_quote_rule(one, NOW) is None for one in quotes)
        assert {one.currency for one in quotes} == {self.currency}
        assert len(vendor.requests) == gate.spent == 1

    def test_an_unknown_one_costs_the_others_nothing(self, provider: Provider) -> None:
        first, unknown, last = self.answered(provider, self.symbol, self.unknown_symbol, self.other_symbols[0])
        assert isinstance(first, Quote)
        assert isinstance(last, Quote)
        assert type(unknown) is SymbolUnknown
        assert unknown.symbol == self.unknown_symbol

    def test_another_symbol_than_asked_is_no_quote(self, provider: Provider, vendor: Any) -> None:
        vendor.fault("stranger")
        with pytest.raises(MalformedAnswer, match=r"figures of|of another"):
            self.quoted(provider, self.symbol)

    def test_a_price_without_an_instant_is_no_quote(self, provider: Provider, vendor: Any) -> None:
        vendor.fault("no_time")
        with pytest.raises(MalformedAnswer, match="without an instant"):
            self.quoted(provider, self.symbol)

    @pytest.mark.parametrize("value", [0, -1.5, "12,5", True, [], 1e308])
    def test_a_nonsense_price_breaks_a_rule(self, provider: Provider, vendor: Any, value: Any) -> None:
        vendor.fault("wrong_price", value=value)
        [answer] = self.answered(provider, self.symbol)
        broken = isinstance(answer, ProviderError) or broken_quote_rule(answer, NOW) is not None
        assert broken == (value != 1e308)
