"""Good answers of the coins' vendors, damaged in every way: what comes out is sound, or an error of our tree."""

from __future__ import annotations

import copy
import gc
import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coin_vendor import CoinVendor
from marketjobs.domain.assets import Listing
from marketjobs.domain.bars import BarAnswer, BarQuery, check
from marketjobs.domain.intervals import Interval
from marketjobs.domain.profiles import FIGURES, Profile
from marketjobs.domain.quotes import broken_rule
from marketjobs.domain.ranges import Range
from marketjobs.errors import ProviderError
from marketjobs.providers import answers, binance_answers, coingecko_answers, coinmarketcap_answers
from marketjobs.providers.http import Answer

NOW = 1_795_215_600.0
DAY = 86_400
BINANCE, GECKO, CMC = Listing("BTCUSDT", "USDT"), Listing("bitcoin", "USD"), Listing("1", "USD")
MINUTES = BarQuery("BTCUSDT", Interval.MINUTE_5, Range(int(NOW) - 3000, int(NOW)))
WEEKS = BarQuery("BTCUSDT", Interval.WEEK_1, Range(int(NOW) - 70 * DAY, int(NOW)))
DAYS = BarQuery("bitcoin", Interval.DAY_1, Range(int(NOW) // DAY * DAY - 6 * DAY, int(NOW)))

Reader = Callable[[Answer], Any]
READERS: dict[str, Reader] = {
    "klines": lambda one: binance_answers.bar_answer(MINUTES, binance_answers.parse_klines(one, MINUTES)),
    "weeks": lambda one: binance_answers.bar_answer(WEEKS, binance_answers.parse_klines(one, WEEKS)),
    "candles": lambda one: BarAnswer(DAYS, coingecko_answers.parse_candles(one, DAYS, NOW)),
    "tickers": lambda one: binance_answers.parse_tickers(one, [BINANCE]),
    "markets": lambda one: coingecko_answers.parse_markets(one, [GECKO], "USD"),
    "quotes": lambda one: coinmarketcap_answers.parse_quotes(one, [CMC], "USD"),
    "pairs": binance_answers.parse_pairs,
    "coins": lambda one: coingecko_answers.parse_coins(answers.decoded("coingecko", one, None)),
    "found": coingecko_answers.parse_found,
    "map": coinmarketcap_answers.parse_map,
    "profile": lambda one: coingecko_answers.parse_profile(one, GECKO),
    "figures": lambda one: [
        coinmarketcap_answers.profile_of(row, "USD") for row in coinmarketcap_answers.coin_rows(one, None).values()
    ],
}


def _documents() -> dict[str, Any]:
    with CoinVendor(now=NOW) as vendor:

        def told(path: str, **query: str) -> Any:
            return json.loads(vendor.answer(path, query)[0].body)

        def page(query: BarQuery, interval: str) -> Any:
            start, end = str(query.range.start * 1000), str(query.range.end * 1000)
            return told("/api/v3/klines", symbol="BTCUSDT", interval=interval, startTime=start, endTime=end)

        return {
            "klines": page(MINUTES, "5m"),
            "weeks": page(WEEKS, "1w"),
            "candles": told("/api/v3/coins/bitcoin/ohlc", days="7", vs_currency="usd"),
            "tickers": told("/api/v3/ticker/24hr", symbols='["BTCUSDT","ETHUSDT"]'),
            "markets": told("/api/v3/coins/markets", ids="bitcoin", vs_currency="usd"),
            "quotes": told("/v2/cryptocurrency/quotes/latest", id="1", convert="USD"),
            "pairs": {"symbols": told("/api/v3/exchangeInfo")["symbols"][:3]},
            "coins": told("/api/v3/coins/list")[:3],
            "found": told("/api/v3/search", query="bitcoin"),
            "map": told("/v1/cryptocurrency/map", start="1", limit="3"),
            "profile": told("/api/v3/coins/bitcoin"),
            "figures": told("/v2/cryptocurrency/quotes/latest", id="1", convert="USD"),
        }


GOOD = _documents()
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "NaN", "-Infinity", "1e999", "12,5", "0x10", "bitcoin", "2026-13-45", "\x1b[31m", "9" * 400]),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=13),
    st.dictionaries(st.sampled_from(["id", "symbol", "price", "status", "data"]), st.integers(), max_size=3),
)


@st.composite
def damaged(draw: st.DrawFn, name: str) -> Any:
    """The document with up to three of its values replaced, left out or repeated."""
    document = copy.deepcopy(GOOD[name])
    for _ in range(draw(st.integers(1, 3))):
        if not isinstance(document, dict | list) or not document:
            return document
        holder: Any = document
        while True:
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
            inner = holder[key]
            if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 3)) == 0:
                break
            holder = inner
        what = draw(st.sampled_from(["replace", "leave out", "repeat"]))
        if what == "replace":
            holder[key] = draw(ODD)
        elif what == "leave out":
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(inner))
    return document


def read(name: str, body: bytes) -> Any:
    """What came out, checked; ``None``: an error of our tree."""
    try:
        found = READERS[name](Answer(200, {}, body))
    except ProviderError as error:
        assert len(error.message) < 500
        assert error.message.isprintable()
        return None
    if isinstance(found, BarAnswer):
        for bar in check(found, NOW).bars:
            assert all(0 < price < math.inf for price in bar[1:5])
            assert bar.low <= min(bar.open, bar.close) * (1 + 1e-6)
            assert bar.volume is None or 0 <= bar.volume < math.inf
            assert found.query.interval.is_intraday or bar.ts % DAY == 0
    elif isinstance(found, dict):
        for one in found.values():
            assert isinstance(one, ProviderError) or broken_rule(one, NOW) is not None or 0 < one.price < math.inf
            if not isinstance(one, ProviderError):
                assert all(value is None or math.isfinite(value) for value in one[3:])
    for one in found if isinstance(found, list) else [found]:
        if isinstance(one, Profile):
            assert set(one.figures) <= set(FIGURES)
            assert (one.summary or "").isprintable()
    return found


@pytest.mark.parametrize("name", READERS)
def test_the_documents_are_good(name: str) -> None:
    assert read(name, json.dumps(GOOD[name]).encode()) is not None


@pytest.mark.parametrize("name", READERS)
def test_damage_is_refused_or_costs_what_is_damaged(name: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(damaged(name))
    def run(document: Any) -> None:
        read(name, json.dumps(document).encode())

    run()


@pytest.mark.parametrize("name", READERS)
def test_any_bytes_are_refused(name: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.one_of(st.binary(max_size=60), st.builds(lambda value: json.dumps(value).encode(), ODD)))
    def run(body: bytes) -> None:
        read(name, body)

    run()
    read(name, json.dumps(GOOD[name]).encode()[:-3])
    read(name, b"[" * 5000)


@pytest.mark.parametrize("refusal", [binance_answers.refusal, coingecko_answers.refusal, coinmarketcap_answers.refusal])
def test_any_refusal_has_a_cause(refusal: Callable[[Answer, str | None], ProviderError | None]) -> None:
    shapes = st.recursive(
        ODD,
        lambda inner: st.dictionaries(
            st.sampled_from(["code", "msg", "error", "status", "error_code", "error_message", "data"]),
            inner,
            max_size=4,
        ),
        max_leaves=6,
    )
    headers = st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text(max_size=30))

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from([200, 301, 400, 401, 403, 404, 418, 422, 429, 451, 500, 599]), shapes, headers)
    def run(status: int, document: Any, headers: dict[str, str]) -> None:
        error = refusal(Answer(status, headers, json.dumps(document).encode()), "X")
        assert error is not None or status == 200
        if error is not None:
            assert error.message.isprintable()
            assert len(error.message) < 500
            wait = error.retry_after_seconds
            assert wait is None or 0 <= wait <= 31 * DAY

    run()


@pytest.mark.parametrize("name", ["klines", "candles", "markets", "map"])
def test_work_is_linear(name: str) -> None:
    def cost(times: int) -> float:
        good = GOOD[name]
        rows = good["data"] if name == "map" else good
        if name == "klines":
            step = 300_000 * len(rows)
            many = [[row[0] - step * k, *row[1:6], row[6] - step * k, *row[7:]] for k in range(times) for row in rows]
        else:
            many = rows * times
        body = json.dumps({**good, "data": many} if name == "map" else many).encode()
        best = math.inf
        gc.collect()
        gc.disable()  # it looks at all that a whole run of tests has left behind
        try:
            for _ in range(3):
                began = time.process_time()
                read(name, body)
                best = min(best, time.process_time() - began)
        finally:
            gc.enable()
        return best

    assert cost(2000) < 40 * max(cost(200), 0.002)
