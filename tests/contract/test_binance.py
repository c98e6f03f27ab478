"""Binance's adapter against a server that speaks its klines, tickers and pairs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import time_machine

from coin_vendor import COINS, DAY, CoinVendor
from contract.providers import NOW, BarsContract, QuotesContract, RecordingGate, ask
from marketjobs.domain.assets import AssetClass, Listing
from marketjobs.domain.bars import BarQuery, Checked, check
from marketjobs.domain.intervals import Interval, day_of
from marketjobs.domain.ranges import Range
from marketjobs.errors import (
    Blocked,
    MalformedAnswer,
    ProviderError,
    ProviderUnavailable,
    RangeUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
    Unsupported,
)
from marketjobs.providers.base import Connection, Provider
from marketjobs.providers.binance import Binance
from vendor import Reply

SENT_AS = {"60m": "1h", "1wk": "1w", "1mo": "1M"}
CONNECTIONS = 4


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
    return RecordingGate()


@pytest.fixture
def provider(vendor: CoinVendor, gate: RecordingGate) -> Iterator[Binance]:
    provider = Binance(Connection(gate=gate, base_url=vendor.url, timeout_seconds=10, max_connections=CONNECTIONS))
    yield provider
    provider.close()


class OfBinance:
    """What both suites have in common."""

    symbol: ClassVar[str] = "BTCUSDT"
    other_symbols: ClassVar[tuple[str, str]] = ("ETHUSDT", "C0001USDT")
    unknown_symbol: ClassVar[str] = "NOSUCHUSDT"
    unknown_words: ClassVar[str] = "binance does not know NOSUCHUSDT"
    becomes: ClassVar[dict[str, type[ProviderError] | None]] = {"418": Blocked}

    @pytest.fixture
    def vendor(self) -> Iterator[CoinVendor]:
        with CoinVendor(now=NOW) as vendor, time_machine.travel(NOW, tick=True):
            yield vendor

    @pytest.fixture
    def provider(self, vendor: CoinVendor, gate: RecordingGate) -> Iterator[Binance]:
        provider = Binance(Connection(gate=gate, base_url=vendor.url, timeout_seconds=10, max_connections=CONNECTIONS))
        yield provider
        provider.close()


class TestBars(OfBinance, BarsContract):
    bad_rows: ClassVar[dict[str, str]] = {
        "nan": "not_finite",
        "infinite": "not_finite",
        "null_row": "no_prices",
        "null_close": "missing_price",
        "negative": "not_positive",
        "zero": "not_positive",
        "words": "not_a_number",
        "duplicate": "duplicate",
        "future": "future",
    }

    def truth(self, vendor: CoinVendor) -> list[tuple[Any, ...]]:
        bars = vendor.bars(self.symbol, "1d", self.span.start, self.span.end)
        return [(day_of(one.stamp), *one[1:5], None, one.volume) for one in bars]


class TestQuotes(OfBinance, QuotesContract):
    currency: ClassVar[str] = "USDT"

    def true_price(self, vendor: CoinVendor, symbol: str) -> float:
        return vendor.price(*vendor.pairs[symbol], NOW)


def query(interval: Interval | str, start: float, end: float = NOW, symbol: str = "BTCUSDT") -> BarQuery:
    return BarQuery(symbol, Interval(interval), Range(int(start), int(end)), currency="USDT")


# Bars


@pytest.mark.parametrize("interval", ["1m", "5m", "15m", "30m", "60m", "1h", "1d", "1wk", "1mo"])
def test_bars_of_each_length_are_the_vendors_own(provider: Binance, vendor: CoinVendor, interval: str) -> None:
    length = Interval(interval)
    start = NOW // DAY * DAY - 2 * DAY if length.is_intraday else datetime(2019, 4, 1, tzinfo=UTC).timestamp()
    found = check(ask(provider, query(interval, start, NOW + 60)), NOW)
    truth = vendor.bars("BTCUSDT", SENT_AS.get(interval, interval), int(start))
    assert len(truth) > 40
    assert [(bar.ts, *bar[1:5], bar.volume) for bar in found.bars] == [tuple(one) for one in truth]
    assert found.rejected == []
    assert {bar.adj_close for bar in found.bars} == {None}


def test_facts_and_the_answers_range(provider: Binance) -> None:
    asked = query("1d", NOW - 9 * DAY)
    answer = ask(provider, asked)
    facts = answer.facts
    assert (facts.currency, facts.exchange, facts.timezone) == ("USDT", "BINANCE", "UTC")
    assert facts.asset_class is AssetClass.CRYPTO
    assert answer.query == asked


def test_a_long_range_is_asked_for_in_pages_that_meet(
    provider: Binance, vendor: CoinVendor, gate: RecordingGate
) -> None:
    start = int(NOW) - 7_300 * 60
    rows = ask(provider, query("1m", start)).rows
    assert [row.stamp for row in rows] == [one.stamp for one in vendor.bars("BTCUSDT", "1m", start, int(NOW))]
    assert gate.spent == len(vendor.requests) == 8
    assert gate.weight == 16
    further = sorted((int(one.query["startTime"]), int(one.query["endTime"])) for one in list(vendor.requests)[1:])
    assert all(before[1] + 1 == after[0] for before, after in pairwise(further))
    assert {one.query["limit"] for one in vendor.requests} == {"1000"}


@pytest.mark.parametrize(("interval", "days"), [("1wk", 9 * 366), ("1mo", 8 * 365), ("1d", 3000)])
def test_long_bars_fit_into_few_pages(
    provider: Binance, vendor: CoinVendor, gate: RecordingGate, interval: str, days: int
) -> None:
    rows = ask(provider, query(interval, NOW - days * DAY)).rows
    assert len(rows) > 80
    assert gate.spent == -(-len(rows) // 1000)


def test_several_pages_are_under_way_at_once_and_no_more_than_allowed(
    provider: Binance, vendor: CoinVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, now_open, most = threading.Lock(), 0, 0
    answered = vendor.answer

    def counting(path: str, query: dict[str, str], cookie: str = "") -> tuple[Reply, str | None]:
        nonlocal now_open, most
        with lock:
            now_open += 1
            most = max(most, now_open)
        time.sleep(0.03)
        try:
            return answered(path, query, cookie)
        finally:
            with lock:
                now_open -= 1

    monkeypatch.setattr(vendor, "answer", counting)
    ask(provider, query("1m", NOW - 12_000 * 60))
    assert most == CONNECTIONS


def test_a_listing_within_the_range_costs_no_empty_pages(provider: Binance, vendor: CoinVendor) -> None:
    rows = ask(provider, query("1m", NOW - 400 * DAY, symbol="YOUNGUSDT")).rows
    assert [row.stamp for row in rows] == [one.stamp for one in vendor.bars("YOUNGUSDT", "1m", 0, int(NOW))]
    assert len(vendor.requests) == -(-len(rows) // 1000)


def test_a_gap_is_no_error(provider: Binance, vendor: CoinVendor) -> None:
    start = int(NOW) // 60 * 60 - 3_500 * 60
    vendor.gaps = {start + number * 60 for number in range(1500, 1620)}
    stamps = {row.stamp for row in ask(provider, query("1m", start)).rows}
    assert len(stamps) == 3_500 - 120
    assert not stamps & vendor.gaps


def test_one_failing_page_fails_all_and_no_other_is_begun(
    provider: Binance, vendor: CoinVendor, gate: RecordingGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, failed = vendor.answer, threading.Event()

    def failing(path: str, query: dict[str, str], cookie: str = "") -> tuple[Reply, str | None]:
        is_late = int(query["startTime"]) // 1000 > NOW - 35_000 * 60
        if is_late and not failed.is_set():
            failed.set()
            return Reply(503, b"", content_type="text/html"), None
        return answered(path, query, cookie)

    monkeypatch.setattr(vendor, "answer", failing)
    with pytest.raises(ProviderUnavailable, match="503"):
        ask(provider, query("1m", NOW - 40_000 * 60))
    assert len(vendor.requests) < 20
    assert len(gate.failures) == 1


@pytest.mark.parametrize("value", [True, False, "true", [1.0]])
def test_what_only_passes_for_a_number_is_none(provider: Binance, vendor: CoinVendor, value: object) -> None:
    whole = check(ask(provider, query("1d", NOW - 9 * DAY)), NOW)
    vendor.fault("null_close", value=value)
    found = check(ask(provider, query("1d", NOW - 9 * DAY)), NOW)
    assert [row.rule for row in found.rejected] == ["not_a_number"]
    assert len(found.bars) == len(whole.bars) - 1


def test_what_is_older_than_binance_is_refused_and_not_sent(provider: Binance, gate: RecordingGate) -> None:
    with pytest.raises(RangeUnavailable, match="nothing before July 2017") as caught:
        ask(provider, query("1d", 0, datetime(2017, 6, 1, tzinfo=UTC).timestamp()))
    assert not caught.value.retryable
    assert gate.spent == 0


def test_a_range_without_bars_is_empty_and_no_error(provider: Binance, vendor: CoinVendor) -> None:
    vendor.fault("no_rows")
    answer = ask(provider, query("1d", NOW - 9 * DAY))
    assert list(answer.rows) == []
    assert check(answer, NOW) == Checked([], [])


@pytest.mark.parametrize("interval", ["2m", "90m", "5d"])
def test_lengths_that_binance_has_not_are_unsupported(provider: Binance, interval: str) -> None:
    with pytest.raises(Unsupported, match=f"no {interval} bars"):
        ask(provider, query(interval, NOW - DAY))


@pytest.mark.parametrize("fault", ["off_grid", "no_instant", "short_row", "wrong_length", "no_list"])
@pytest.mark.parametrize("interval", ["1m", "1d", "1wk"])
def test_what_are_no_bars_of_that_length_is_malformed(
    provider: Binance, vendor: CoinVendor, fault: str, interval: str
) -> None:
    vendor.fault(fault)
    with pytest.raises(MalformedAnswer, match="binance's answer for BTCUSDT"):
        ask(provider, query(interval, NOW - 100 * DAY if interval != "1m" else NOW - 3000))


def test_rows_that_contradict_each_other_are_both_rejected(provider: Binance, vendor: CoinVendor) -> None:
    vendor.fault("duplicate", conflict=True)
    damaged = check(ask(provider, query("1d", NOW - 9 * DAY)), NOW)
    assert {row.rule for row in damaged.rejected} == {"duplicate", "conflict"}


# What may still change


@pytest.mark.parametrize(
    ("at", "open_days"),
    [("12:00", ["2026-11-20"]), ("23:59", ["2026-11-20"])],
)
def test_the_running_day_is_provisional(provider: Binance, vendor: CoinVendor, at: str, open_days: list[str]) -> None:
    vendor.now = datetime.fromisoformat(f"2026-11-20T{at}+00:00").timestamp()
    with time_machine.travel(vendor.now):
        found = check(ask(provider, query("1d", NOW - 9 * DAY, NOW + DAY)), vendor.now)
    assert [str(day_of(bar.ts)) for bar in found.bars if bar.provisional] == open_days


@pytest.mark.parametrize(("minutes", "provisional"), [(1, 2), (19, 2), (21, 1)])
def test_a_day_is_final_twenty_minutes_after_midnight(
    provider: Binance, vendor: CoinVendor, minutes: int, provisional: int
) -> None:
    vendor.now = datetime(2026, 11, 21, 0, minutes, tzinfo=UTC).timestamp()
    with time_machine.travel(vendor.now):
        found = check(ask(provider, query("1d", NOW - 9 * DAY, NOW + DAY)), vendor.now)
    assert sum(bar.provisional for bar in found.bars) == provisional
    assert [bar.provisional for bar in found.bars][-provisional:] == [True] * provisional


def test_minutes_are_final_twenty_minutes_after_their_end(provider: Binance) -> None:
    found = check(ask(provider, query("1m", NOW - 3 * 3600)), NOW)
    latest = max(bar.ts for bar in found.bars if not bar.provisional)
    assert NOW - 1320 <= latest <= NOW - 1260


# Weights and refusals


@pytest.mark.parametrize(("pairs", "weight"), [(1, 2), (2, 2), (20, 2), (21, 40), (100, 40), (101, 80), (500, 80)])
def test_quotes_of_many_are_one_request_of_its_weight(
    provider: Binance, vendor: CoinVendor, gate: RecordingGate, pairs: int, weight: int
) -> None:
    listings = [Listing(f"{coin.ticker}USDT", "USDT") for coin in COINS[7 : 7 + pairs]]
    found = asyncio.run(provider.quotes(listings))
    assert {one.price for one in found.values() if not isinstance(one, ProviderError)} == {
        float(f"{vendor.price(*vendor.pairs[one.symbol], NOW):.8f}") for one in listings
    }
    assert (len(vendor.requests), gate.spent, gate.weight) == (1, 1, weight)


def test_an_unknown_pair_among_many_costs_one_more_request(provider: Binance, vendor: CoinVendor) -> None:
    listings = [Listing(symbol, "USDT") for symbol in ("BTCUSDT", "NOSUCHUSDT", "ETHUSDT")]
    found = asyncio.run(provider.quotes(listings))
    assert [type(found[one]).__name__ for one in listings] == ["Quote", "SymbolUnknown", "Quote"]
    assert [one.status for one in vendor.requests] == [400, 200]


def test_the_vendors_count_is_told_to_the_gate(provider: Binance, vendor: CoinVendor, gate: RecordingGate) -> None:
    vendor.used_weight = 95
    ask(provider, query("1m", NOW - 5_000 * 60))
    assert gate.told == [(95, 60)]  # once a second is enough


@pytest.mark.parametrize("told_by", ["header", "words", "words and date"])
def test_a_ban_holds_the_provider_for_its_time(
    provider: Binance, vendor: CoinVendor, gate: RecordingGate, told_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.api_key = "k-secret-1"
    ahead = 1000.0 if told_by == "words and date" else 0.0  # the vendor's clock
    until = int((NOW + ahead + 300) * 1000)
    words = f"Way too much request weight used; IP banned until {until}. Please use WebSocket Streams."
    body = json.dumps({"code": -1003, "msg": words}).encode()
    headers = {"Retry-After": "300"} if told_by == "header" else {}
    monkeypatch.setattr("vendor.formatdate", lambda usegmt: formatdate(NOW + ahead, usegmt=usegmt))
    vendor.answer = lambda path, query, cookie="": (Reply(418, body, headers), None)  # type: ignore[method-assign]
    with pytest.raises(Blocked, match="banned this address") as caught:
        ask(provider, query("1d", NOW - 9 * DAY))
    assert [seconds for _, seconds in gate.holds] == [pytest.approx(300, abs=2)]
    assert gate.held_keys == [None], "a ban is of the address"
    assert caught.value.retry_after_seconds == pytest.approx(300, abs=2)


@pytest.mark.parametrize(
    ("status", "code", "words", "expected"),
    [
        (429, -1003, "Too much request weight used.", RateLimited),
        (200, -1003, "Too many requests queued.", RateLimited),
        (400, -1121, "Invalid symbol.", SymbolUnknown),
        (400, -1100, "Illegal characters found in parameter 'symbol'; legal range is x.", SymbolUnknown),
        (400, -1102, "Mandatory parameter 'interval' was not sent.", RangeUnavailable),
        (400, -1127, "More than 24 hours between startTime and endTime.", RangeUnavailable),
        (401, -2015, "Invalid API-key, IP, or permissions for action.", Unauthorised),
        (500, -1000, "An unknown error occurred.", ProviderUnavailable),
        (400, -1001, "Internal error; unable to process your request.", ProviderUnavailable),
        (503, -1008, "Server is currently overloaded.", ProviderUnavailable),
        (400, -9999, "Something new.", ProviderUnavailable),
        (200, -9999, "Something new.", MalformedAnswer),
        (451, 0, "Service unavailable from a restricted location.", Blocked),
    ],
)
def test_codes_mean_what_binance_says(
    provider: Binance, vendor: CoinVendor, status: int, code: int, words: str, expected: type[ProviderError]
) -> None:
    vendor.fault("status", code=status, body=json.dumps({"code": code, "msg": words}, separators=(",", ":")).encode())
    with pytest.raises(ProviderError) as caught:
        ask(provider, query("1d", NOW - 9 * DAY))
    assert type(caught.value) is expected
    assert caught.value.symbol == "BTCUSDT"


def test_no_key_is_ever_sent(vendor: CoinVendor) -> None:
    gate = RecordingGate("k-secret-1")
    provider = Binance(Connection(gate=gate, base_url=vendor.url))
    ask(provider, query("1d", NOW - 9 * DAY))
    assert "k-secret-1" not in str(vendor.requests)
    provider.close()


# Names


@pytest.mark.parametrize(
    ("symbol", "asset_class", "expected"),
    [
        ("BTC-USD", AssetClass.UNKNOWN, Listing("BTCUSDT", "USDT")),
        ("BTC-USD", AssetClass.CRYPTO, Listing("BTCUSDT", "USDT")),
        ("BTC-EUR", AssetClass.UNKNOWN, Listing("BTCEUR", "EUR")),
        ("ETH-BTC", AssetClass.CRYPTO, Listing("ETHBTC", "BTC")),
        ("BTC-USDC", AssetClass.CRYPTO, Listing("BTCUSDC", "USDC")),
        ("BTC-USD", AssetClass.EQUITY, None),
        ("EUR-USD", AssetClass.UNKNOWN, None),
        ("USDT-USD", AssetClass.CRYPTO, None),
        ("BTC-SEK", AssetClass.CRYPTO, None),
        ("BRK-B", AssetClass.UNKNOWN, None),
        ("AAPL", AssetClass.UNKNOWN, None),
        ("BTC", AssetClass.CRYPTO, None),
        ("A.B-USD", AssetClass.CRYPTO, None),
    ],
)
def test_a_pair_is_named_by_rule(symbol: str, asset_class: AssetClass, expected: Listing | None) -> None:
    assert Binance.listing(symbol, asset_class) == expected


@pytest.mark.parametrize(
    ("symbol", "pair"),
    [("BTC", "BTCUSDT"), ("BTC-USD", "BTCUSDT"), ("ETH-BTC", "ETHBTC"), ("ETHEUR", "ETHEUR"), ("USDT", "USDTUSDC")],
)
def test_lookup_knows_the_pairs_that_are_traded(provider: Binance, symbol: str, pair: str) -> None:
    [found] = asyncio.run(provider.lookup(symbol))
    assert found.listing.symbol == pair
    assert found.symbol in (symbol, symbol.partition("-")[0])


@pytest.mark.parametrize("symbol", ["NOSUCH", "OLD", "OLDUSDT", "BTC-SEK"])
def test_lookup_finds_nothing_of_what_is_not_traded(provider: Binance, symbol: str) -> None:
    assert asyncio.run(provider.lookup(symbol)) == []


def test_pairs_are_asked_for_once(provider: Binance, vendor: CoinVendor, gate: RecordingGate) -> None:
    async def many() -> list[Any]:
        return await asyncio.gather(*(provider.lookup(coin.ticker) for coin in COINS[:50]), provider.search("c00"))

    found = asyncio.run(many())
    assert len(vendor.requests) == gate.spent == 1
    assert gate.weight == 20
    assert [match.listing.symbol for match in found[-1]][:2] == ["C0000USDT", "C0000USDC"]
    assert [match.rank for match in found[-1]] == list(range(1, 21))
    assert asyncio.run(provider.search(" ")) == []


def test_pairs_that_could_not_be_had_are_asked_for_again(provider: Binance, vendor: CoinVendor) -> None:
    vendor.fault("status", code=500, times=1)
    with pytest.raises(ProviderUnavailable):
        asyncio.run(provider.lookup("BTC"))
    assert len(asyncio.run(provider.lookup("BTC"))) == 1


def test_probe_costs_a_weight_of_one(provider: Binance, vendor: CoinVendor, gate: RecordingGate) -> None:
    asyncio.run(provider.probe())
    assert [one.path for one in vendor.requests] == ["/api/v3/ping"]
    assert (gate.spent, gate.weight) == (1, 1)


def test_it_is_found_by_its_name() -> None:
    from marketjobs.providers.base import provider_class

    assert provider_class("binance") is Binance
    assert issubclass(Binance, Provider)
