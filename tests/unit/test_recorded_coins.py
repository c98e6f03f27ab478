"""Recorded answers of Binance, CoinGecko and CoinMarketCap, each parsed as what it answers.

The recordings lie outside the project, in the folder that MARKETJOBS_RECORDED names.  ``LATER`` has those that answer
what nothing asks; a file that is named nowhere fails a test.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from marketjobs.domain.assets import Listing
from marketjobs.domain.bars import BarQuery, Checked, check
from marketjobs.domain.intervals import Interval, day_of, iso, stamp_of
from marketjobs.domain.quotes import Quote
from marketjobs.domain.ranges import FIRST_DAY, Range
from marketjobs.errors import ProviderError, RateLimited, SymbolUnknown, Unsupported
from marketjobs.providers import binance_answers, coingecko_answers, coinmarketcap_answers
from marketjobs.providers.http import Answer
from recorded_yahoo import FOLDER, needs_recordings

pytestmark = needs_recordings

VENDORS = {
    "binance": binance_answers.refusal,
    "coingecko": coingecko_answers.refusal,
    "coinmarketcap": coinmarketcap_answers.refusal,
}
REFUSED = {
    "binance/error_1003_429.json": (RateLimited, None),
    "binance/error_1121_ticker_invalid_symbol.json": (SymbolUnknown, None),
    "coingecko/error_429.json": (RateLimited, 53.0),
    "coingecko/error_coins_markets_422.json": (Unsupported, None),
    "coingecko/error_simple_price_422.json": (ProviderError, None),
    "coinmarketcap/docs_error_1008_rate_limit.json": (RateLimited, 60.0),
}
ANSWERED = {
    "binance/docs_get_klines.json",
    "binance/klines_LTCBTC_1h.json",
    "binance/klines_past_the_end_empty.json",
    "binance/ping.json",
    "binance/ticker24hr_LTCBTC.json",
    "binance/exchangeInfo_2021.json",
    "coingecko/coins_list.json",
    "coingecko/coins_markets_bitcoin_usd.json",
    "coingecko/ohlc_bitcoin_7d_usd.json",
    "coinmarketcap/docs_quotes.json",
    "coinmarketcap/docs_listings.json",
    "coinmarketcap/listings_latest_2019.json",
    "coinmarketcap/map_2019.json",
    "coinmarketcap/webapi_map_partial.json",
}
LATER = {
    "ticker_price": "the 24-hour ticker says more at the same weight",
    "docs_get_price": "the 24-hour ticker says more at the same weight",
    "trades_": "single trades are not kept",
    "time": "the answers' dates tell the vendor's clock",
    "simple_price": "coins/markets says more in as many requests",
    "market_chart": "its points are no bars",
    "global": "of no asset",
    "search_trending": "of no asset",
    "docs_ohlcv": "not in the free plan",
}


def answer(name: str, status: int | None = None) -> Answer:
    [row] = [row for row in _index() if row["file"] == name]
    headers = {key.lower(): value for key, value in row["headers"].items()}
    return Answer(row["status"] if status is None else status, headers, (FOLDER / name).read_bytes())


def _index() -> list[dict[str, Any]]:
    index = json.loads((FOLDER / "index.json").read_bytes())
    rows: list[dict[str, Any]] = index if isinstance(index, list) else index["files"]
    return [row for row in rows if row["file"].partition("/")[0] in VENDORS]


def test_each_recording_is_accounted_for() -> None:
    for row in _index():
        name = row["file"]
        is_later = name.partition("/")[2].startswith(tuple(LATER))
        assert (name in REFUSED) + (name in ANSWERED) + is_later == 1, name


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_recorded_refusal_has_its_cause(name: str) -> None:
    kind, wait = REFUSED[name]
    error = VENDORS[name.partition("/")[0]](answer(name), "X")
    assert isinstance(error, kind)
    assert error.retry_after_seconds == wait
    assert len(error.message) < 300


@pytest.mark.parametrize("name", sorted(ANSWERED))
def test_a_recorded_answer_is_no_refusal(name: str) -> None:
    assert VENDORS[name.partition("/")[0]](answer(name), "X") is None


# Binance


def klines(name: str, interval: str) -> Checked:
    query = BarQuery("LTCBTC", Interval(interval), Range(stamp_of(FIRST_DAY), stamp_of(date(2100, 1, 1))))
    rows = binance_answers.parse_klines(answer(name), query)
    return check(binance_answers.bar_answer(query, rows), datetime(2026, 11, 20, tzinfo=UTC).timestamp())


def test_klines_of_an_hour() -> None:
    found = klines("binance/klines_LTCBTC_1h.json", "1h")
    assert [(iso(bar.ts), bar.close, bar.volume) for bar in found.bars] == [
        ("2021-03-18T00:00:00Z", 0.003495, 10438.37),
        ("2021-03-18T01:00:00Z", 0.003479, 5635.9),
    ]
    assert found.rejected == []


def test_a_kline_of_a_week() -> None:
    [bar] = klines("binance/docs_get_klines.json", "1wk").bars
    assert (day_of(bar.ts), bar.open, bar.high) == (date(2017, 7, 3), 0.0163479, 0.8)


def test_no_klines() -> None:
    assert klines("binance/klines_past_the_end_empty.json", "1d") == Checked([], [])


def test_a_ticker_of_24_hours() -> None:
    [quote] = binance_answers.parse_tickers(
        answer("binance/ticker24hr_LTCBTC.json"), [Listing("LTCBTC", "BTC")]
    ).values()
    assert isinstance(quote, Quote)
    assert (quote.price, quote.currency, iso(quote.at)) == (0.003446, "BTC", "2021-03-24T13:38:43.159Z")
    assert (quote.change_percent, quote.previous_close, quote.volume) == (1.953, 0.00338, 311066.21)


def test_pairs_that_are_traded() -> None:
    pairs = {pair.symbol: pair for pair in binance_answers.parse_pairs(answer("binance/exchangeInfo_2021.json"))}
    assert len(pairs) == 15
    assert "BCCBTC" not in pairs
    assert (pairs["BTCEUR"].coin, pairs["BTCEUR"].unit) == ("BTC", "EUR")


@pytest.mark.parametrize(("name", "weight"), [("exchangeInfo_2021", 10), ("ping", 1), ("klines_LTCBTC_1h", 2)])
def test_used_weights(name: str, weight: int) -> None:
    assert binance_answers.used_weight(answer(f"binance/{name}.json")) == weight


# CoinGecko


def test_days_of_candles() -> None:
    asked_at = datetime(2021, 5, 15, 15, 34, 27, tzinfo=UTC).timestamp()
    query = BarQuery("bitcoin", Interval.DAY_1, Range(stamp_of(date(2021, 5, 1)), stamp_of(date(2021, 6, 1))))
    rows = coingecko_answers.parse_candles(answer("coingecko/ohlc_bitcoin_7d_usd.json"), query, asked_at)
    assert [str(day_of(row.stamp)) for row in rows] == [f"2021-05-{day:02d}" for day in range(9, 16)]
    assert rows[0][2:6] == (58771.88, 59092.64, 56636.68, 58050.13)
    assert rows[-1][2:6] == (49913.26, 50615.47, 48572.17, 49675.91)
    assert all(row.at <= asked_at for row in rows), "a running candle is stamped with its end"


def test_a_market() -> None:
    listing = Listing("bitcoin", "USD")
    found = coingecko_answers.parse_markets(answer("coingecko/coins_markets_bitcoin_usd.json"), [listing], "USD")
    quote = found[listing]
    assert isinstance(quote, Quote)
    assert (quote.price, quote.market_cap, quote.change_percent) == (49053, 917825524991.0, -4.37931)
    assert iso(quote.at) == "2021-05-15T15:59:43.867Z"
    assert coingecko_answers.parse_ranks(answer("coingecko/coins_markets_bitcoin_usd.json")) == {"bitcoin": 1}


def test_tickers_that_several_coins_have() -> None:
    coins = coingecko_answers.parse_coins(json.loads(answer("coingecko/coins_list.json").body))
    assert len(coins) == 1500
    assert {coin.id for coin in coins if coin.symbol == "BTR"} == {
        "beetr",
        "bitor",
        "bitriver",
        "bitrue-token",
        "bit-silver",
    }


# CoinMarketCap


@pytest.mark.parametrize(
    ("name", "number", "price", "at"),
    [
        ("docs_quotes", "1", 6602.60701122, "2018-08-09T21:56:28Z"),
        ("listings_latest_2019", "1", 3453.70296808, "2019-02-08T12:28:26Z"),
    ],
)
def test_quotes_of_coins(name: str, number: str, price: float, at: str) -> None:
    listing = Listing(number, "USD")
    rows = coinmarketcap_answers.coin_rows(answer(f"coinmarketcap/{name}.json"), None)
    found = coinmarketcap_answers.parse_quotes(answer(f"coinmarketcap/{name}.json"), [listing], "USD")
    quote = found[listing]
    assert isinstance(quote, Quote)
    assert (quote.price, quote.currency, iso(quote.at)) == (price, "USD", at)
    assert coinmarketcap_answers.profile_of(rows[number], "USD").figures["market_cap_rank"] == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("map_2019", [("1", "BTC", None), ("2", "LTC", None)]),
        ("webapi_map_partial", [("1", "BTC", 1), ("1027", "ETH", 2)]),
    ],
)
def test_maps_of_coins(name: str, expected: list[Any]) -> None:
    coins = coinmarketcap_answers.parse_map(answer(f"coinmarketcap/{name}.json"))
    assert [(coin.id, coin.symbol, coin.rank) for coin in coins][:2] == expected
