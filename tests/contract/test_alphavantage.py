"""Alpha Vantage's adapter against a server that speaks its series, quotes, overviews and searches."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from alpha_vendor import KEY, SENT, AlphaVendor, overview, row
from contract.providers import BAD_ROWS, NOW, BarsContract, Contract, RecordingGate, ask
from marketjobs.domain.assets import AssetClass, Listing
from marketjobs.domain.bars import BarQuery, Checked, check
from marketjobs.domain.intervals import Interval, day_of, stamp_of
from marketjobs.domain.profiles import FIGURES, Profile
from marketjobs.domain.quotes import Quote, broken_rule
from marketjobs.domain.ranges import Range, days
from marketjobs.errors import (
    MalformedAnswer,
    PlanRestricted,
    ProviderError,
    QuotaExhausted,
    RangeUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
    Unsupported,
)
from marketjobs.providers import alphavantage_answers as reading
from marketjobs.providers.alphavantage import AlphaVantage
from marketjobs.providers.base import Connection
from marketjobs.providers.http import Answer

LAST_MONTHS = days(date(2026, 8, 1), date(2026, 11, 20))
FIVE_YEARS = days(date(2021, 11, 20), date(2026, 11, 20))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def running() -> Iterator[AlphaVendor]:
    with AlphaVendor(now=NOW) as vendor, time_machine.travel(NOW, tick=False):
        yield vendor


@pytest.fixture
def vendor() -> Iterator[AlphaVendor]:
    yield from running()


@pytest.fixture
def gate() -> RecordingGate:
    return RecordingGate(KEY)


def made(vendor: AlphaVendor, gate: RecordingGate, **options: Any) -> AlphaVantage:
    return AlphaVantage(Connection(gate=gate, base_url=vendor.url, timeout_seconds=10, options=options))


@pytest.fixture
def provider(vendor: AlphaVendor, gate: RecordingGate) -> Iterator[AlphaVantage]:
    provider = made(vendor, gate)
    yield provider
    provider.close()


BECOMES = {"wrong_symbol": MalformedAnswer, "empty_result": MalformedAnswer}


class OnAlpha:
    @pytest.fixture
    def vendor(self) -> Iterator[AlphaVendor]:
        yield from running()


class TestDays(OnAlpha, BarsContract):
    api_key: ClassVar[str] = KEY
    unknown_words: ClassVar[str] = "alphavantage does not know NOSUCH"
    span: ClassVar[Range] = LAST_MONTHS
    least_bars: ClassVar[int] = 70
    becomes: ClassVar[Any] = BECOMES
    bad_rows: ClassVar[Any] = {name: rule for name, rule in BAD_ROWS.items() if name != "duplicate"}

    def truth(self, vendor: AlphaVendor) -> list[tuple[Any, ...]]:
        return [
            (one.day, one.open, one.high, one.low, one.close, None, float(one.volume))
            for one in vendor.traded(self.symbol)
            if stamp_of(one.day) in self.span
        ]


class TestProfiles(OnAlpha, Contract):
    api_key: ClassVar[str] = KEY
    unknown_words: ClassVar[str] = "alphavantage has no company NOSUCH"
    becomes: ClassVar[Any] = BECOMES

    def question(self, provider: AlphaVantage, symbol: str = "") -> Profile:  # type: ignore[override]
        return asyncio.run(provider.profile(Listing(symbol or self.symbol)))


class TestQuotes(OnAlpha, Contract):
    api_key: ClassVar[str] = KEY
    unknown_words: ClassVar[str] = "alphavantage does not know NOSUCH"
    becomes: ClassVar[Any] = BECOMES

    def question(self, provider: AlphaVantage, symbol: str = "") -> Quote:  # type: ignore[override]
        [found] = asyncio.run(provider.quotes([Listing(symbol or self.symbol)])).values()
        if isinstance(found, ProviderError):
            raise found
        return found


# -- refusals that come as 200 ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "expected", "seconds"),
    [
        ("second", RateLimited, 2.0),
        ("minute", RateLimited, 60.0),
        ("day", QuotaExhausted, 6 * 3600.0),
        ("premium", PlanRestricted, None),
        ("key", Unauthorised, 3600.0),
        ("demo", Unauthorised, 3600.0),
        ("call", SymbolUnknown, None),
        ("news", MalformedAnswer, None),
    ],
)
def test_a_message_instead_of_an_answer(
    provider: AlphaVantage,
    vendor: AlphaVendor,
    gate: RecordingGate,
    what: str,
    expected: type[ProviderError],
    seconds: float | None,
) -> None:
    vendor.say(what)
    for question in (
        provider.bars(BarQuery("AAPL", Interval.DAY_1, LAST_MONTHS)),
        provider.quotes([Listing("AAPL")]),
        provider.profile(Listing("AAPL")),
    ):
        gate.holds.clear()
        with pytest.raises(ProviderError) as caught:
            asyncio.run(question)
        error = caught.value
        assert type(error) is expected
        assert error.retry_after_seconds == seconds
        assert [held for _, held in gate.holds] == ([] if seconds is None else [seconds])
        assert KEY not in f"{error}{error.hint}{error.__dict__}{gate.holds}"
    assert set(gate.held_keys) <= {KEY}


def test_the_day_of_calls_is_over_at_midnight_in_new_york() -> None:
    assert reading.seconds_to_reset(datetime(2026, 7, 1, 3, 59, tzinfo=UTC)) == 60
    assert reading.seconds_to_reset(datetime(2026, 7, 1, 4, 0, tzinfo=UTC)) == 86_400
    assert reading.seconds_to_reset(datetime(2026, 11, 1, 4, 0, tzinfo=UTC)) == 25 * 3600, "clocks go back"


# -- days -------------------------------------------------------------------------------------------------


def test_what_fits_into_the_last_hundred_days_is_asked_for_as_that(provider: AlphaVantage, vendor: AlphaVendor) -> None:
    ask(provider, BarQuery("AAPL", Interval.DAY_1, LAST_MONTHS))
    assert [request.query["outputsize"] for request in vendor.requests] == ["compact"]
    assert vendor.requests[0].query["function"] == "TIME_SERIES_DAILY"


def test_a_free_key_gets_the_last_hundred_days_and_its_refusal_costs_one_call(
    provider: AlphaVantage, vendor: AlphaVendor, gate: RecordingGate
) -> None:
    answer = ask(provider, BarQuery("AAPL", Interval.DAY_1, FIVE_YEARS))
    assert len(answer.rows) == 100
    assert answer.query.range == Range(stamp_of(vendor.traded("AAPL")[-100].day), FIVE_YEARS.end)
    ask(provider, BarQuery("MSFT", Interval.DAY_1, FIVE_YEARS))
    assert [request.query["outputsize"] for request in vendor.requests] == ["full", "compact", "compact"]
    with pytest.raises(RangeUnavailable, match="last 100 sessions"):
        ask(provider, BarQuery("MSFT", Interval.DAY_1, days(date(2020, 1, 1), date(2020, 12, 31))))


def test_what_a_free_key_is_refused_is_known_to_every_process(
    vendor: AlphaVendor, gate: RecordingGate, tmp_path: Path
) -> None:
    def opened_anew(digest: str = "of-the-key", folder: Path = tmp_path / "cache") -> list[str]:
        """What a new process asks for."""
        vendor.requests.clear()
        provider = AlphaVantage(Connection(gate=gate, base_url=vendor.url, cache_folder=folder, keys_digest=digest))
        ask(provider, BarQuery("AAPL", Interval.DAY_1, FIVE_YEARS))
        provider.close()
        return [request.query["outputsize"] for request in vendor.requests]

    assert opened_anew() == ["full", "compact"]
    assert opened_anew() == ["compact"]
    assert opened_anew("of-another-key") == ["full", "compact"]
    with time_machine.travel(NOW + 8 * 86_400, tick=False):  # the plan may be another by then
        assert opened_anew()[0] == "full"
    (tmp_path / "a file").touch()
    assert opened_anew(folder=tmp_path / "a file") == ["full", "compact"]


def test_a_paid_key_gets_split_adjusted_days_with_events(vendor: AlphaVendor, gate: RecordingGate) -> None:
    vendor.is_premium = True
    vendor.dividend("ACT", 0.5, date(2026, 5, 6))
    vendor.split("ACT", 4, date(2026, 6, 3))
    vendor.dividend("ACT", 0.4, date(2026, 8, 5))
    provider = made(vendor, gate, premium=True)
    answer = ask(provider, BarQuery("ACT", Interval.DAY_1, FIVE_YEARS))
    checked = check(answer, NOW)
    truth = [one for one in vendor.bars("ACT") if stamp_of(one.day) in FIVE_YEARS]
    assert [day_of(bar.ts) for bar in checked.bars] == [one.day for one in truth]
    for bar, one in zip(checked.bars, truth, strict=True):
        assert bar[1:6] == pytest.approx(one[1:6], rel=1e-4), "on today's share, as Yahoo has it"
        assert bar.volume == pytest.approx(one.volume, rel=1e-4)
    actions = {(day_of(action.ts), action.kind): action.value for action in answer.actions}
    assert actions[date(2026, 5, 6), "dividend"] == pytest.approx(0.125)
    assert actions[date(2026, 6, 3), "split"] == 4.0
    assert actions[date(2026, 8, 5), "dividend"] == pytest.approx(0.4)
    assert vendor.requests[0].query["function"] == "TIME_SERIES_DAILY_ADJUSTED"
    provider.close()


def test_a_paid_keys_bars_are_of_one_basis(vendor: AlphaVendor, gate: RecordingGate) -> None:
    paid = made(vendor, gate, premium=True)
    assert AlphaVantage.capabilities.as_traded
    assert not paid.capabilities.as_traded
    with pytest.raises(Unsupported, match="which its minutes are not"):
        ask(paid, BarQuery("AAPL", Interval.MINUTE_5, LAST_MONTHS))
    assert gate.spent == 0


def test_a_key_whose_plan_was_overstated_is_told(vendor: AlphaVendor, gate: RecordingGate) -> None:
    with pytest.raises(PlanRestricted):
        ask(made(vendor, gate, premium=True), BarQuery("AAPL", Interval.DAY_1, LAST_MONTHS))
    assert gate.holds == []


# -- minutes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [Interval.MINUTE_5, Interval.MINUTE_30, Interval.HOUR_1, Interval.MINUTE_60])
@pytest.mark.parametrize("prepost", [False, True])
def test_minutes(provider: AlphaVantage, vendor: AlphaVendor, interval: Interval, prepost: bool) -> None:
    wanted = days(date(2026, 11, 17), date(2026, 11, 20))
    answer = ask(provider, BarQuery("AAPL", interval, wanted, prepost=prepost))
    checked = check(answer, NOW)
    truth = vendor.minutes("AAPL", interval, prepost=prepost, since=wanted.start)
    assert [bar.ts for bar in checked.bars] == [one.ts for one in truth]
    assert [bar.close for bar in checked.bars] == pytest.approx([one.close for one in truth], abs=1e-4)
    assert checked.rejected == []
    sent = vendor.requests[0].query
    assert (sent["adjusted"], sent["extended_hours"]) == ("false", str(prepost).lower())
    assert answer.facts.timezone == "America/New_York"


def test_minutes_are_of_the_last_thirty_days(provider: AlphaVantage, vendor: AlphaVendor) -> None:
    with pytest.raises(RangeUnavailable, match="last 30 days"):
        ask(provider, BarQuery("AAPL", Interval.MINUTE_5, days(date(2026, 9, 1), date(2026, 9, 30))))
    assert not vendor.requests
    answer = ask(provider, BarQuery("AAPL", Interval.MINUTE_5, days(date(2026, 9, 1), date(2026, 11, 20))))
    assert answer.query.range.start == int(NOW) - 30 * 86_400
    ask(provider, BarQuery("AAPL", Interval.MINUTE_5, Range(int(NOW) - 3600, int(NOW))))
    assert [request.query["outputsize"] for request in vendor.requests] == ["full", "compact"]


def test_minutes_of_another_length_are_not_taken(provider: AlphaVantage, vendor: AlphaVendor) -> None:
    vendor.fault("wrong_interval")
    with pytest.raises(MalformedAnswer, match="bars of 60min"):
        ask(provider, BarQuery("AAPL", Interval.MINUTE_5, days(date(2026, 11, 17), date(2026, 11, 20))))


# -- quotes, profiles, searches ---------------------------------------------------------------------------


def test_a_quote(provider: AlphaVantage, vendor: AlphaVendor) -> None:
    [found] = asyncio.run(provider.quotes([Listing("AAPL", "USD")])).values()
    *_, before, last = vendor.traded("AAPL")
    assert isinstance(found, Quote)
    assert found[:2] == (last.close, NOW - 2 * 3600)
    assert (found.currency, found.previous_close, found.volume) == ("USD", before.close, float(last.volume))
    assert found.change_percent == pytest.approx((last.close / before.close - 1) * 100, abs=1e-4)
    assert broken_rule(found, NOW) is None


def test_while_a_session_runs_a_quote_is_of_now(provider: AlphaVantage, vendor: AlphaVendor) -> None:
    vendor.now = datetime(2026, 11, 19, 18, 0, tzinfo=UTC).timestamp()
    with time_machine.travel(vendor.now, tick=False):
        [found] = asyncio.run(provider.quotes([Listing("AAPL")])).values()
    assert isinstance(found, Quote)
    assert found.at == vendor.now


def test_a_profile(provider: AlphaVantage) -> None:
    found = asyncio.run(provider.profile(Listing("IBM")))
    assert (found.sector, found.industry, found.country) == ("TECHNOLOGY", None, "USA")
    assert (found.facts.name, found.facts.asset_class) == ("IBM of the test vendor", AssetClass.EQUITY)
    assert found.figures == {
        "market_cap": 206_116_848_000.0,
        "price_to_earnings": 19.42,
        "dividend_yield": 0.0308,
        "high_52_weeks": 320.7,
        "ex_dividend_date": "2026-05-08",
        "fiscal_year_end": "December",
    }
    assert set(found.figures) <= set(FIGURES)


def test_search_and_lookup(provider: AlphaVantage, vendor: AlphaVendor) -> None:
    found = asyncio.run(provider.search("tsco"))
    assert [(one.listing, one.asset_class, one.rank) for one in found] == [
        (Listing("TSCO", "USD"), AssetClass.EQUITY, 1),
        (Listing("TSCO.LON", "GBX"), AssetClass.ETF, 2),
        (Listing("TSCOX", "USD"), AssetClass.EQUITY, 3),
    ]
    assert [one.symbol for one in asyncio.run(provider.lookup("TSCO.L"))] == ["TSCO", "TSCO.LON"]
    assert asyncio.run(provider.search("NOSUCH")) == []
    assert all(request.query["function"] == "SYMBOL_SEARCH" for request in vendor.requests)


@pytest.mark.parametrize(
    ("symbol", "kind", "expected"),
    [
        ("AAPL", AssetClass.UNKNOWN, "AAPL"),
        ("BRK-B", AssetClass.EQUITY, "BRK-B"),
        ("BRK.B", AssetClass.UNKNOWN, "BRK.B"),
        ("TSCO.L", AssetClass.UNKNOWN, "TSCO.LON"),
        ("MBG.DE", AssetClass.EQUITY, "MBG.DEX"),
        ("600104.SS", AssetClass.EQUITY, "600104.SHH"),
        ("7203.T", AssetClass.EQUITY, "7203.T"),
        ("NESN.SW", AssetClass.EQUITY, None),
        ("^GSPC", AssetClass.UNKNOWN, None),
        ("EURUSD=X", AssetClass.UNKNOWN, None),
        ("BTC-USD", AssetClass.UNKNOWN, None),
        ("BTC-USD", AssetClass.CRYPTO, None),
    ],
)
def test_its_spelling_of_a_symbol(symbol: str, kind: AssetClass, expected: str | None) -> None:
    found = AlphaVantage.listing(symbol, kind)
    assert found == (None if expected is None else Listing(expected))


def test_the_key_goes_along_and_shows_nowhere(
    provider: AlphaVantage, vendor: AlphaVendor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    asyncio.run(provider.probe())
    assert vendor.requests[0].query["apikey"] == KEY
    vendor.fault("reset")
    with pytest.raises(ProviderError) as caught:
        asyncio.run(provider.probe())
    assert KEY not in caplog.text + str(caught.value)


# -- nonsense ---------------------------------------------------------------------------------------------

NONSENSE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1e999", "-", "None", "nan", "١٢", "0x10", "1_000", " 5 ", "2026-13-45", [], {}])
)
WANTED = BarQuery("AAPL", Interval.DAY_1, LAST_MONTHS)


def answer_of(document: Any) -> Answer:
    return Answer(200, {}, json.dumps(document).encode())


@given(
    meta=st.dictionaries(st.sampled_from(["2. Symbol", "4. Interval", "5. Time Zone"]), NONSENSE | st.just("AAPL")),
    rows=st.dictionaries(
        st.text(max_size=12) | st.sampled_from(["2026-11-20", "2026-11-19", "2026-11-20 15:30:00"]),
        st.dictionaries(
            st.sampled_from(["1. open", "2. high", "4. close", "5. volume", "8. split coefficient"]), NONSENSE
        )
        | NONSENSE,
        max_size=4,
    ),
    interval=st.sampled_from([Interval.DAY_1, Interval.MINUTE_5]),
)
def test_any_series(meta: dict[str, Any], rows: dict[str, Any], interval: Interval) -> None:
    document = {"Meta Data": {"2. Symbol": "AAPL", "5. Time Zone": "US/Eastern", **meta}, "Time Series (x)": rows}
    query = BarQuery("AAPL", interval, LAST_MONTHS)
    parsers = [reading.parse_intraday] if interval.is_intraday else [reading.parse_daily, reading.parse_adjusted]
    for parse in parsers:
        try:
            answer = parse(answer_of(document), query)
        except ProviderError as error:
            assert error.message.isprintable()
            continue
        checked = check(answer, NOW)
        assert isinstance(checked, Checked)
        assert all(bar.low > 0 for bar in checked.bars)
        assert all(action.value > 0 for action in answer.actions)


@given(fields=st.dictionaries(st.sampled_from(sorted(overview("X"))), NONSENSE))
def test_any_overview_and_quote(fields: dict[str, Any]) -> None:
    try:
        found = reading.parse_overview(answer_of({**overview("AAPL"), **fields}), "AAPL")
        assert set(found.figures) <= set(FIGURES)
        assert all(isinstance(value, str | float) and value == value for value in found.figures.values())
    except ProviderError as error:
        assert error.message.isprintable()
    renamed = dict(
        zip(["01. symbol", "05. price", "07. latest trading day", "10. change percent"], fields.values(), strict=False)
    )
    quote = {"01. symbol": "AAPL", "05. price": "1", "07. latest trading day": "2026-11-20", **renamed}
    try:
        one = reading.parse_quote(answer_of({"Global Quote": quote}), Listing("AAPL"), NOW)
        broken_rule(one, NOW)
    except ProviderError as error:
        assert error.message.isprintable()


@given(body=st.binary(max_size=100), status=st.sampled_from([200, 400, 403, 429, 500]))
def test_any_bytes_with_any_status(body: bytes, status: int) -> None:
    answer = Answer(status, {}, body)
    error = reading.refusal(answer, "AAPL")
    assert (error is not None) or status == 200
    for parse in (
        lambda: reading.parse_daily(answer, WANTED),
        lambda: reading.parse_overview(answer, "AAPL"),
        lambda: reading.parse_search(answer),
        lambda: reading.parse_quote(answer, Listing("AAPL"), NOW),
    ):
        try:
            parse()
        except ProviderError as exc:
            assert exc.message.isprintable()


@given(
    name=st.sampled_from(["Note", "Information", "Error Message"]),
    said=NONSENSE | st.sampled_from([str(one) for one in SENT.values()]),
)
def test_any_message(name: str, said: Any) -> None:
    error = reading.refusal(answer_of({name: said}), "AAPL")
    assert error is not None
    assert KEY not in error.message


def test_a_long_answer_costs_no_more_than_its_size() -> None:
    with AlphaVendor(now=NOW) as vendor:
        [one] = vendor.traded("AAPL")[-1:]
    rows = {
        date.fromordinal(date(1990, 1, 1).toordinal() + n).isoformat(): row(one, is_adjusted=True)
        for n in range(13_000)
    }
    meta = {"2. Symbol": "AAPL", "5. Time Zone": "US/Eastern"}
    body, began = answer_of({"Meta Data": meta, "Time Series (Daily)": rows}), time.thread_time()
    assert len(reading.parse_adjusted(body, WANTED).rows) == 13_000
    assert time.thread_time() - began < 3, "0.2 s where this was written"
