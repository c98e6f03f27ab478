"""CoinGecko's adapter against a server that speaks its candles, markets and coins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any, ClassVar

import pytest
import time_machine

from coin_vendor import COINS, DAY, CoinVendor
from contract.providers import NOW, BarsContract, QuotesContract, RecordingGate, ask
from marketjobs.domain.assets import AssetClass, Listing
from marketjobs.domain.bars import BarQuery, check
from marketjobs.domain.intervals import Interval, day_of, stamp_of
from marketjobs.domain.quotes import Quote
from marketjobs.domain.ranges import Range, days
from marketjobs.errors import (
    Blocked,
    MalformedAnswer,
    NoData,
    PlanRestricted,
    ProviderError,
    ProviderUnavailable,
    QuotaExhausted,
    RangeUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
    Unsupported,
)
from marketjobs.providers.base import Connection
from marketjobs.providers.coingecko import CoinGecko

KEY = "CG-k5ecret"
MONTH = days(date(2026, 10, 22), date(2026, 11, 20))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def vendor() -> Iterator[CoinVendor]:
    with CoinVendor(now=NOW) as vendor, time_machine.travel(NOW, tick=True):
        yield vendor


@pytest.fixture
def gate() -> RecordingGate:
    return RecordingGate(KEY)


@pytest.fixture
def provider(vendor: CoinVendor, gate: RecordingGate) -> Iterator[CoinGecko]:
    provider = CoinGecko(Connection(gate=gate, base_url=vendor.url, timeout_seconds=10))
    yield provider
    provider.close()


class OfCoinGecko:
    symbol: ClassVar[str] = "bitcoin"
    other_symbols: ClassVar[tuple[str, str]] = ("ethereum", "coin-1")
    unknown_symbol: ClassVar[str] = "nosuch"
    unknown_words: ClassVar[str] = "coingecko does not know nosuch"
    api_key: ClassVar[str] = KEY

    @pytest.fixture
    def vendor(self) -> Iterator[CoinVendor]:
        with CoinVendor(now=NOW) as vendor, time_machine.travel(NOW, tick=True):
            yield vendor

    @pytest.fixture
    def provider(self, vendor: CoinVendor, gate: RecordingGate) -> Iterator[CoinGecko]:
        provider = CoinGecko(Connection(gate=gate, base_url=vendor.url, timeout_seconds=10))
        yield provider
        provider.close()


class TestBars(OfCoinGecko, BarsContract):
    span: ClassVar[Range] = MONTH
    least_bars: ClassVar[int] = 28
    # A candle is a sixth of a day: a bad one costs its day.
    bad_rows: ClassVar[dict[str, str]] = {
        "nan": "not_a_number",
        "null_close": "missing_price",
        "null_row": "no_prices",
        "negative": "not_positive",
    }

    def truth(self, vendor: CoinVendor) -> list[tuple[Any, ...]]:
        known = vendor.candle_days("BTC", "USD").items()
        return [(day_of(stamp), *prices, None, None) for stamp, prices in known if stamp in self.span]

    def test_bars_ascend_each_stamp_once_at_midnight_utc(self, provider: CoinGecko) -> None:  # type: ignore[override]
        stamps = [bar.ts for bar in self.checked(provider).bars]
        assert stamps == list(range(self.span.start, self.span.end, DAY))


class TestQuotes(OfCoinGecko, QuotesContract):
    def true_price(self, vendor: CoinVendor, symbol: str) -> float:
        ticker = next(coin.ticker for coin in COINS if coin.id == symbol)
        return vendor.price(ticker, "USD", NOW)


def query(wanted: Range = MONTH, currency: str | None = None, symbol: str = "bitcoin") -> BarQuery:
    return BarQuery(symbol, Interval.DAY_1, wanted, currency=currency)


# Days


def test_the_answer_speaks_for_the_last_thirty_days_only(provider: CoinGecko, vendor: CoinVendor) -> None:
    answer = ask(provider, query(days(date(2025, 1, 1), date(2026, 11, 20))))
    assert answer.query.range == MONTH
    assert [row.stamp for row in answer.rows if row.stamp >= MONTH.start] == list(range(MONTH.start, MONTH.end, DAY))


def test_what_is_older_is_refused_and_not_sent(provider: CoinGecko, gate: RecordingGate) -> None:
    with pytest.raises(RangeUnavailable, match="days of the last 30 only") as caught:
        ask(provider, query(days(date(2026, 9, 1), date(2026, 10, 21))))
    assert not caught.value.retryable
    assert gate.spent == 0


@pytest.mark.parametrize(("first", "asked"), [(20, "7"), (14, "7"), (13, "14"), (7, "14"), (6, "30")])
def test_no_more_is_asked_for_than_is_wanted(provider: CoinGecko, vendor: CoinVendor, first: int, asked: str) -> None:
    wanted = days(date(2026, 11, first), date(2026, 11, 20))
    found = check(ask(provider, query(wanted)), NOW)
    assert vendor.requests[0].query["days"] == asked
    assert [bar.ts for bar in found.bars] == list(range(wanted.start, wanted.end, DAY))


def test_days_in_another_currency(provider: CoinGecko, vendor: CoinVendor) -> None:
    dollars, euros = ask(provider, query()), ask(provider, query(currency="EUR"))
    assert euros.facts.currency == "EUR"
    assert euros.rows[-2].close == pytest.approx(dollars.rows[-2].close / 2)
    with pytest.raises(Unsupported, match="invalid vs_currency"):
        ask(provider, query(currency="XXX"))


@pytest.mark.parametrize("index", [-19, -20, -22, -24])
def test_a_day_that_lacks_a_candle_is_left_out(provider: CoinGecko, vendor: CoinVendor, index: int) -> None:
    whole = ask(provider, query()).rows
    vendor.fault("missing_row", index=index)
    assert set(whole) ^ set(ask(provider, query()).rows) == {whole[-4]}


def test_the_same_candle_twice_is_no_contradiction_and_two_are(provider: CoinGecko, vendor: CoinVendor) -> None:
    whole = ask(provider, query()).rows
    vendor.fault("duplicate", times=1)
    assert ask(provider, query()).rows == whole
    vendor.fault("duplicate", conflict=True)
    assert ask(provider, query()).rows == whole[:-1]


@pytest.mark.parametrize("fault", ["no_instant", "short_row", "no_list"])
def test_what_are_no_candles_is_malformed(provider: CoinGecko, vendor: CoinVendor, fault: str) -> None:
    vendor.fault(fault)
    with pytest.raises(MalformedAnswer, match="no list of candles"):
        ask(provider, query())


@pytest.mark.parametrize("seconds", [1800, 4 * DAY])
def test_candles_of_another_length_are_refused(
    provider: CoinGecko, vendor: CoinVendor, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    made = vendor.candles
    monkeypatch.setattr(vendor, "candles", lambda coin, unit, back, length: made(coin, unit, back, seconds))
    with pytest.raises(MalformedAnswer, match="not of four hours"):
        ask(provider, query())


def test_a_last_candle_stamped_with_now_is_the_running_one(provider: CoinGecko, vendor: CoinVendor) -> None:
    whole = ask(provider, query()).rows
    vendor.fault("no_instant", index=-1, value=int(NOW - 60) * 1000)
    assert ask(provider, query()).rows == whole


@pytest.mark.parametrize(("minutes", "provisional"), [(1, 1), (59, 1), (61, 0)])
def test_a_day_is_final_when_its_last_hours_are_there(
    provider: CoinGecko, vendor: CoinVendor, minutes: int, provisional: int
) -> None:
    vendor.now = datetime(2026, 11, 21, 0, 0, tzinfo=UTC).timestamp() + minutes * 60
    with time_machine.travel(vendor.now):
        found = check(ask(provider, query()), vendor.now)
    assert [bar.provisional for bar in found.bars][-1] == bool(provisional)
    assert sum(bar.provisional for bar in found.bars) == provisional


# Keys and refusals


@pytest.mark.parametrize(
    ("path", "header"), [("", "x-cg-demo-api-key"), ("/pro-api.coingecko.com", "x-cg-pro-api-key")]
)
def test_a_key_goes_into_the_header_of_its_kind(
    vendor: CoinVendor, gate: RecordingGate, path: str, header: str
) -> None:
    provider = CoinGecko(Connection(gate=gate, base_url=f"{vendor.url}{path}"))
    vendor.fault("status", code=500)
    with pytest.raises(ProviderUnavailable):
        asyncio.run(provider.probe())
    sent = {name: value for name, value in vendor.requests[0].headers.items() if name.startswith("x-cg")}
    assert sent == {header: KEY}
    assert KEY not in str(vendor.requests[0].query)
    provider.close()


def test_without_a_key_a_limit_is_of_the_address(vendor: CoinVendor) -> None:
    gate = RecordingGate("")
    provider = CoinGecko(Connection(gate=gate, base_url=vendor.url))
    vendor.fault("status", code=429, retry_after=53)
    with pytest.raises(RateLimited):
        asyncio.run(provider.quotes([Listing("bitcoin")]))
    assert gate.held_keys == [None]
    assert not any(name.startswith("x-cg") for name in vendor.requests[0].headers)
    provider.close()


def status(code: int, words: str) -> dict[str, Any]:
    return {"status": {"timestamp": "2026-11-20T00:00:00.000+00:00", "error_code": code, "error_message": words}}


@pytest.mark.parametrize(
    ("code", "document", "expected"),
    [
        (429, status(429, "You've exceeded the Rate Limit."), RateLimited),
        (200, status(429, "You've exceeded the Rate Limit."), RateLimited),
        (429, status(429, "You've used up the credits of this month."), QuotaExhausted),
        (401, status(10002, "API Key Missing"), Unauthorised),
        (401, {"error": status(10002, "API Key Missing")}, Unauthorised),
        (400, status(10010, "Invalid API Key: use pro-api"), Unauthorised),
        (400, {"error": status(10011, "Invalid API Key")}, Unauthorised),
        (401, {"error_code": 10005, **status(10005, "limited to PRO API subscribers")}, PlanRestricted),
        (401, {"error": status(10012, "exceeds the allowed time range")}, RangeUnavailable),
        (404, {"error": "coin not found"}, SymbolUnknown),
        (404, {"error": "Incorrect path. Please check the documentation"}, Unsupported),
        (422, {"error": "Missing parameter vs_currency"}, Unsupported),
        (400, {"error": "days is not allowed"}, RangeUnavailable),
        (403, {"error": "blocked"}, Blocked),
        (403, {"error": {"status": "odd"}}, Blocked),
        (200, {"error": []}, MalformedAnswer),
    ],
)
def test_codes_mean_what_coingecko_says(
    provider: CoinGecko,
    vendor: CoinVendor,
    gate: RecordingGate,
    code: int,
    document: Any,
    expected: type[ProviderError],
) -> None:
    vendor.fault("status", code=code, body=json.dumps(document, separators=(",", ":")).encode())
    with pytest.raises(ProviderError) as caught:
        ask(provider, query())
    assert type(caught.value) is expected
    assert caught.value.symbol == "bitcoin"
    if expected is Unauthorised:
        assert (gate.holds[0][1], gate.held_keys) == (3600.0, [KEY])
    if expected in (PlanRestricted, SymbolUnknown, Unsupported):
        assert (gate.holds, gate.failures) == ([], []), "no outage, and no reason to wait"


@pytest.mark.parametrize(("code", "words"), [(400, "ids is invalid"), (404, "coin not found")])
def test_a_refusal_of_many_says_nothing_about_any_of_them(
    provider: CoinGecko, vendor: CoinVendor, code: int, words: str
) -> None:
    vendor.fault("status", code=code, body=json.dumps({"error": words}).encode())
    with pytest.raises(MalformedAnswer, match=words) as caught:
        asyncio.run(provider.quotes([Listing("bitcoin", "USD"), Listing("ethereum", "USD")]))
    assert caught.value.retryable


# Quotes and profiles


def test_quotes_are_one_request_for_each_currency(provider: CoinGecko, vendor: CoinVendor) -> None:
    listings = [Listing(coin.id, "USD") for coin in COINS[7:257]]
    found = asyncio.run(provider.quotes(listings))
    assert len(vendor.requests) == 1
    assert {type(one) for one in found.values()} == {Quote}
    found = asyncio.run(provider.quotes([*listings[:3], Listing("coin-0", "EUR")]))
    assert len(vendor.requests) == 3
    first, euros = found[listings[0]], found[Listing("coin-0", "EUR")]
    assert isinstance(first, Quote)
    assert isinstance(euros, Quote)
    assert (euros.currency, euros.price) == ("EUR", pytest.approx(first.price / 2))
    assert (first.change_percent, first.market_cap) == (-1.5, pytest.approx(first.price * 1000))


def test_a_coin_without_a_price_has_no_data(provider: CoinGecko, vendor: CoinVendor) -> None:
    vendor.fault("wrong_price", value=None)
    found = asyncio.run(provider.quotes([Listing("bitcoin", "USD"), Listing("ethereum", "USD")]))
    assert [type(one) for one in found.values()] == [NoData, Quote]


def test_a_profile_is_the_coins_own(provider: CoinGecko, vendor: CoinVendor) -> None:
    profile = asyncio.run(provider.profile(Listing("bitcoin", "EUR")))
    assert (profile.facts.name, profile.facts.asset_class, profile.facts.currency) == (
        "Bitcoin",
        AssetClass.CRYPTO,
        "EUR",
    )
    assert (profile.website, profile.industry) == ("https://bitcoin.example/", "Layer 1")
    assert profile.summary is not None
    assert "\n" not in profile.summary
    assert profile.figures == {
        "market_cap": 1e12,
        "circulating_supply": 19e6,
        "total_supply": 21e6,
        "market_cap_rank": 1,
    }
    with pytest.raises(SymbolUnknown):
        asyncio.run(provider.profile(Listing("nosuch")))


# Names


def test_a_ticker_of_several_coins_names_all_of_them_the_most_important_first(
    provider: CoinGecko, vendor: CoinVendor
) -> None:
    found = asyncio.run(provider.lookup("BTC-USD"))
    assert [(match.listing, match.rank) for match in found] == [
        (Listing("bitcoin", "USD"), 1),
        (Listing("batcat", "USD"), 1800),
        (Listing("unranked-btc", "USD"), None),
    ]
    assert {match.symbol for match in found} == {"BTC"}
    assert [request.path for request in vendor.requests] == ["/api/v3/coins/list", "/api/v3/coins/markets"]


def test_the_tickers_of_a_round_are_ranked_in_one_request(provider: CoinGecko, vendor: CoinVendor) -> None:
    twins = {f"C{number:04d}": [f"coin-{number}", f"coin-{number + 300}"] for number in range(130)}
    rows = [{"id": one, "symbol": ticker, "name": one} for ticker, ids in twins.items() for one in ids]
    vendor.fault("status", code=200, body=json.dumps(rows).encode(), times=1)

    async def looked_up() -> list[list[str]]:
        found = await asyncio.gather(*(provider.lookup(f"{ticker}-USD") for ticker in twins))
        return [[match.listing.symbol for match in matches] for matches in found]

    assert asyncio.run(looked_up()) == list(twins.values())
    asked = [len(request.query["ids"].split(",")) for request in vendor.requests if "ids" in request.query]
    assert (sum(asked), max(asked) <= 250) == (260, True)
    assert len(asked) <= 5, "what comes within 10 ms is asked together; a busy machine takes longer for all"
    vendor.fault("status", code=429, times=1)

    async def refused() -> list[Any]:
        return await asyncio.gather(
            *(provider.lookup(f"{ticker}-USD") for ticker in ("C0001", "C0002")), return_exceptions=True
        )

    assert [type(error) for error in asyncio.run(refused())] == [RateLimited, RateLimited]
    assert len(asyncio.run(provider.lookup("C0003-USD"))) == 2


@pytest.mark.parametrize(
    ("symbol", "listing"), [("ETH-EUR", Listing("ethereum", "EUR")), ("BATCAT", Listing("batcat", "USD"))]
)
def test_a_ticker_or_an_id_of_one_coin_needs_no_ranks(
    provider: CoinGecko, vendor: CoinVendor, symbol: str, listing: Listing
) -> None:
    assert [match.listing for match in asyncio.run(provider.lookup(symbol))] == [listing]
    assert asyncio.run(provider.lookup("NOSUCH")) == []
    assert len(vendor.requests) == 1


def test_search_finds_by_name(provider: CoinGecko) -> None:
    found = asyncio.run(provider.search("bitcoin"))
    assert [(match.listing.symbol, match.rank) for match in found] == [("bitcoin", 1), ("unranked-btc", None)]


def test_a_server_without_a_search_is_asked_for_all_coins(provider: CoinGecko, vendor: CoinVendor) -> None:
    for text, expected in (("Bitcoin", ["bitcoin", "unranked-btc"]), ("btc", ["bitcoin", "batcat", "unranked-btc"])):
        vendor.fault("status", code=404, body=b'{"error":"Incorrect path. Please check"}', times=1)
        assert [match.listing.symbol for match in asyncio.run(provider.search(text))] == expected
    assert [one.path.rpartition("/")[2] for one in vendor.requests] == [
        "search",
        "list",
        "markets",
        "search",
        "markets",
    ]
    assert asyncio.run(provider.search(" ")) == []


def test_nothing_follows_from_a_ticker() -> None:
    assert CoinGecko.listing("BTC-USD", AssetClass.CRYPTO) is None


def test_its_reach_is_declared() -> None:
    assert CoinGecko.capabilities.reach_days == {Interval.DAY_1: 30}
    assert stamp_of(date(2026, 10, 22)) == MONTH.start
