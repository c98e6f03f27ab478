"""CoinMarketCap's adapter against a server that speaks its quotes and its map."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
import time_machine

from coin_vendor import COINS, CoinVendor
from contract.providers import NOW, QuotesContract, RecordingGate
from marketjobs.domain.assets import AssetClass, Listing
from marketjobs.domain.bars import BarQuery
from marketjobs.domain.intervals import Interval
from marketjobs.domain.quotes import Quote
from marketjobs.domain.ranges import Range
from marketjobs.errors import (
    Blocked,
    MalformedAnswer,
    NoData,
    PlanRestricted,
    ProviderError,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
    Unsupported,
)
from marketjobs.providers.base import Connection
from marketjobs.providers.coinmarketcap import CoinMarketCap
from marketjobs.providers.coinmarketcap_answers import seconds_to_reset

KEY = "cmc-k5ecret"
LAST_HOUR = 3600.0
"""NOW is 23:00 of the twentieth of November."""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def vendor() -> Iterator[CoinVendor]:
    with CoinVendor(now=NOW) as vendor, time_machine.travel(NOW, tick=False):
        yield vendor


@pytest.fixture
def gate() -> RecordingGate:
    return RecordingGate(KEY)


@pytest.fixture
def provider(vendor: CoinVendor, gate: RecordingGate) -> Iterator[CoinMarketCap]:
    provider = CoinMarketCap(Connection(gate=gate, base_url=vendor.url, timeout_seconds=10))
    yield provider
    provider.close()


class TestQuotes(QuotesContract):
    symbol: ClassVar[str] = "1"
    other_symbols: ClassVar[tuple[str, str]] = ("1027", "40001")
    unknown_symbol: ClassVar[str] = "999999"
    unknown_words: ClassVar[str] = "coinmarketcap does not know 999999"
    api_key: ClassVar[str] = KEY

    @pytest.fixture
    def vendor(self) -> Iterator[CoinVendor]:
        with CoinVendor(now=NOW) as vendor, time_machine.travel(NOW, tick=True):
            yield vendor

    @pytest.fixture
    def provider(self, vendor: CoinVendor, gate: RecordingGate) -> Iterator[CoinMarketCap]:
        provider = CoinMarketCap(Connection(gate=gate, base_url=vendor.url, timeout_seconds=10))
        yield provider
        provider.close()

    def true_price(self, vendor: CoinVendor, symbol: str) -> float:
        ticker = next(coin.ticker for coin in COINS if str(coin.number) == symbol)
        return vendor.price(ticker, "USD", NOW)


def quotes(provider: CoinMarketCap, *listings: Listing) -> dict[Listing, Quote | ProviderError]:
    return asyncio.run(provider.quotes(listings))


def test_a_hundred_quotes_are_one_request_and_one_call(
    provider: CoinMarketCap, vendor: CoinVendor, gate: RecordingGate
) -> None:
    listings = [Listing(str(coin.number), "USD") for coin in COINS[7:107]]
    found = quotes(provider, *listings)
    assert {type(one) for one in found.values()} == {Quote}
    assert (len(vendor.requests), gate.spent, gate.weight) == (1, 1, 1)
    assert vendor.requests[0].headers["x-cmc_pro_api_key"] == KEY
    assert KEY not in str(vendor.requests[0].query)


def test_each_currency_is_a_request(provider: CoinMarketCap, vendor: CoinVendor) -> None:
    dollars, euros = Listing("1", "USD"), Listing("1", "EUR")
    found = quotes(provider, dollars, euros)
    one, other = found[dollars], found[euros]
    assert isinstance(one, Quote)
    assert isinstance(other, Quote)
    assert (other.currency, other.price) == ("EUR", pytest.approx(one.price / 2))
    assert (one.change_percent, one.market_cap) == (2.5, 5e9)
    assert [request.query["convert"] for request in vendor.requests] == ["USD", "EUR"]


def test_what_is_no_number_is_unknown_and_not_sent(
    provider: CoinMarketCap, vendor: CoinVendor, gate: RecordingGate
) -> None:
    found = quotes(provider, Listing("bitcoin"), Listing("1,2"))
    assert {type(one) for one in found.values()} == {SymbolUnknown}
    assert gate.spent == 0


def test_a_coin_without_a_price_has_no_data(provider: CoinMarketCap, vendor: CoinVendor) -> None:
    vendor.fault("wrong_price", value=None)
    [found] = quotes(provider, Listing("1", "USD")).values()
    assert type(found) is NoData


def test_a_price_in_another_currency_than_asked_is_malformed(
    provider: CoinMarketCap, vendor: CoinVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = vendor.answer
    monkeypatch.setattr(vendor, "answer", lambda path, query, cookie="": answered(path, {**query, "convert": "EUR"}))
    [found] = quotes(provider, Listing("1", "USD")).values()
    assert type(found) is MalformedAnswer
    assert "no price in USD" in found.message


@pytest.mark.parametrize("status", [0, 200])
@pytest.mark.parametrize(
    ("usual", "code", "expected", "wait"),
    [
        (401, 1001, Unauthorised, LAST_HOUR),
        (401, 1002, Unauthorised, LAST_HOUR),
        (402, 1003, PlanRestricted, None),
        (402, 1004, PlanRestricted, None),
        (403, 1005, Unauthorised, LAST_HOUR),
        (403, 1006, PlanRestricted, None),
        (403, 1007, Unauthorised, LAST_HOUR),
        (429, 1008, RateLimited, 60.0),
        (429, 1009, QuotaExhausted, LAST_HOUR),
        (429, 1010, QuotaExhausted, LAST_HOUR + 10 * 86_400),
        (429, 1011, RateLimited, 60.0),
        (500, 500, ProviderUnavailable, None),
    ],
)
def test_codes_mean_what_coinmarketcap_says(
    provider: CoinMarketCap,
    vendor: CoinVendor,
    gate: RecordingGate,
    status: int,
    usual: int,
    code: int,
    expected: type[ProviderError],
    wait: float | None,
) -> None:
    body = json.dumps({"status": {"error_code": code, "error_message": "Words.", "credit_count": 0}}).encode()
    vendor.fault("status", code=status or usual, body=body)
    if (status, code) == (200, 500):
        expected = MalformedAnswer
    with pytest.raises(ProviderError) as caught:
        quotes(provider, Listing("1", "USD"))
    assert type(caught.value) is expected
    assert caught.value.retry_after_seconds == wait
    assert [(seconds, key) for (_, seconds), key in zip(gate.holds, gate.held_keys, strict=True)] == (
        [] if wait is None else [(wait, KEY)]
    )
    assert KEY not in f"{caught.value}{gate.holds}"


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        (400, 'Invalid value for "id": "999999"', SymbolUnknown),
        (400, 'Invalid value for "convert": "XXX"', Unsupported),
        (402, "", PlanRestricted),
        (403, "", Blocked),
        (404, "", ProviderUnavailable),
    ],
)
def test_refusals_without_a_code_of_their_own(
    provider: CoinMarketCap, vendor: CoinVendor, code: int, words: str, expected: type[ProviderError]
) -> None:
    document = {"status": {"error_code": 400, "error_message": words}} if words else {"statusCode": code}
    vendor.fault("status", code=code, body=json.dumps(document).encode())
    with pytest.raises(ProviderError) as caught:
        quotes(provider, Listing("1", "USD"))
    assert type(caught.value) is expected


def test_a_refusal_of_many_says_nothing_about_any_of_them(provider: CoinMarketCap, vendor: CoinVendor) -> None:
    document = {"status": {"error_code": 400, "error_message": 'Invalid value for "id": "999999"'}}
    vendor.fault("status", code=400, body=json.dumps(document).encode())
    with pytest.raises(MalformedAnswer, match='Invalid value for "id"') as caught:
        quotes(provider, Listing("1", "USD"), Listing("1027", "USD"))
    assert caught.value.retryable


def test_a_currency_that_it_does_not_know_is_unsupported(provider: CoinMarketCap) -> None:
    with pytest.raises(Unsupported, match="in this currency"):
        quotes(provider, Listing("1", "XXX"))


@pytest.mark.parametrize(
    ("code", "moment", "seconds"),
    [
        (1008, "2026-11-20T23:00:17", 60),
        (1009, "2026-11-20T23:00:17", 3583),
        (1010, "2026-12-31T23:00:00", 3600),
        (1010, "2028-02-01T00:00:00", 29 * 86_400),
    ],
)
def test_a_quota_comes_back_when_its_window_of_utc_is_over(code: int, moment: str, seconds: float) -> None:
    assert seconds_to_reset(code, datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) == seconds


# Names and profiles


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("BTC-USD", [("1", "USD", 1), ("31469", "USD", 1800), ("35001", "USD", None)]),
        ("ETH-EUR", [("1027", "EUR", 2)]),
        ("UNI7083-USD", [("7083", "USD", 30)]),
        ("UNI7084-USD", []),
        ("C0001", [("40001", "USD", 501)]),
        ("NOSUCH", []),
    ],
)
def test_a_ticker_names_all_coins_that_have_it(
    provider: CoinMarketCap, vendor: CoinVendor, symbol: str, expected: list[Any]
) -> None:
    found = asyncio.run(provider.lookup(symbol))
    assert [(one.listing.symbol, one.listing.currency, one.rank) for one in found] == expected
    assert {one.symbol for one in found} <= {symbol.partition("-")[0]}
    asyncio.run(provider.lookup("BTC"))
    assert len(vendor.requests) == 1


def test_the_map_is_asked_for_page_by_page(
    provider: CoinMarketCap, vendor: CoinVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketjobs.providers.coinmarketcap.COINS_A_PAGE", 200)
    assert len(asyncio.run(provider._all_coins())) == len(COINS)
    assert [request.query["start"] for request in vendor.requests] == ["1", "201", "401", "601"]


def test_a_vendor_that_gives_the_same_page_again_is_not_asked_for_ever(
    provider: CoinMarketCap, vendor: CoinVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketjobs.providers.coinmarketcap.COINS_A_PAGE", 200)
    answered = vendor.answer
    monkeypatch.setattr(vendor, "answer", lambda path, query, cookie="": answered(path, {**query, "start": "1"}))
    assert len(asyncio.run(provider._all_coins())) == 200
    assert len(vendor.requests) == 2


def test_search_finds_by_name_and_ticker(provider: CoinMarketCap) -> None:
    assert [one.listing.symbol for one in asyncio.run(provider.search("Bitcoin"))] == ["1", "35001"]
    assert [one.listing.symbol for one in asyncio.run(provider.search("eth"))] == ["1027", "825"]
    assert len(asyncio.run(provider.search("coin"))) == 20
    assert asyncio.run(provider.search("  ")) == []


def test_a_profile_holds_the_coins_figures(provider: CoinMarketCap) -> None:
    profile = asyncio.run(provider.profile(Listing("1", "EUR")))
    assert (profile.facts.name, profile.facts.currency) == ("Bitcoin", "EUR")
    assert profile.figures == {
        "market_cap": 5e9,
        "circulating_supply": 19e6,
        "total_supply": 21e6,
        "market_cap_rank": 1,
    }
    for unknown in ("999999", "bitcoin"):
        with pytest.raises(SymbolUnknown):
            asyncio.run(provider.profile(Listing(unknown)))


def test_it_has_no_bars_and_says_so(provider: CoinMarketCap, gate: RecordingGate) -> None:
    with pytest.raises(Unsupported, match="coinmarketcap has no bars"):
        asyncio.run(provider.bars(BarQuery("1", Interval.DAY_1, Range(0, 86_400))))
    assert CoinMarketCap.listing("BTC-USD", AssetClass.CRYPTO) is None
    assert CoinMarketCap.capabilities.needs_key
    assert gate.spent == 0


def test_probe_asks_about_the_key(provider: CoinMarketCap, vendor: CoinVendor) -> None:
    asyncio.run(provider.probe())
    assert [request.path for request in vendor.requests] == ["/v1/key/info"]
