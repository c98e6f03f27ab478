"""Vendors of coins on loopback: Binance, CoinGecko and CoinMarketCap over the same coins, with faults to switch on.

    with CoinVendor() as vendor:
        vendor.fault("status", code=429, retry_after=7, times=1)
        ... a provider with base_url=vendor.url ...

or, for benchmarks, ``python tests/coin_vendor.py --port 8101 --latency-ms 80``.

Its server, its log and its faults on the wire are those of `vendor`.  Prices are waves seeded by the ticker; two coins
are called BTC; YOUNG is traded for ten days; C0000 to C0599 are there to be many.  What begins with NOSUCH is unknown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import Any, NamedTuple

from vendor import LOGGED, ON_THE_WIRE, Fault, Reply, Request, _Server

DAY = 86_400
FOUR_HOURS = 4 * 3600
STEPS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": FOUR_HOURS, "1d": DAY}
OPENED = int(datetime(2018, 1, 1, tzinfo=UTC).timestamp())
YOUNG_DAYS = 10
UNITS = ("USDT", "USDC", "EUR", "BTC")
RATES = {"USD": 1.0, "EUR": 0.5}
RENDERED_PAGES = 4000


class Coin(NamedTuple):
    id: str
    ticker: str
    name: str
    number: int
    rank: int | None


COINS = [
    Coin("bitcoin", "BTC", "Bitcoin", 1, 1),
    Coin("ethereum", "ETH", "Ethereum", 1027, 2),
    Coin("tether", "USDT", "Tether", 825, 3),
    Coin("uniswap", "UNI", "Uniswap", 7083, 30),
    Coin("young", "YOUNG", "Young Coin", 9001, 400),
    Coin("batcat", "BTC", "batcat", 31469, 1800),
    Coin("unranked-btc", "BTC", "Bitcoin of nobody", 35001, None),
    *(
        Coin(f"coin-{number}", f"C{number:04d}", f"Coin {number}", 40_000 + number, 500 + number)
        for number in range(600)
    ),
]


class TrueBar(NamedTuple):
    """What Binance knows of a bar, as it sends it."""

    stamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class CoinVendor:
    """The server, its truth, its log and its faults.  ``now``: epoch seconds; ``None``: the real time."""

    def __init__(self, port: int = 0, latency_seconds: float = 0.0, now: float | None = None) -> None:
        self.latency_seconds = latency_seconds
        self.now = now
        self.requests: deque[Request] = deque(maxlen=LOGGED)
        self.closing = threading.Event()
        self.used_weight: int | None = None
        self.gaps: set[int] = set()
        """Stamps of bars that the exchange was closed at."""
        self._faults: list[Fault] = []
        self._pages: dict[tuple[Any, ...], bytes] = {}
        self._lock = threading.RLock()
        self._server = _Server(port, self)  # type: ignore[arg-type]  # it is served like the other
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> CoinVendor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def clock(self) -> float:
        return time.time() if self.now is None else self.now

    # The truth

    @cached_property
    def pairs(self) -> dict[str, tuple[str, str]]:
        """Coin and unit of each pair; a coin of a ticker that others have too is traded once."""
        tickers = dict.fromkeys(coin.ticker for coin in COINS)
        return {f"{coin}{unit}": (coin, unit) for coin in tickers for unit in UNITS if coin != unit}

    def price(self, coin: str, unit: str, instant: float) -> float:
        seed = zlib.crc32(coin.encode())
        wave = 1 + 0.2 * math.sin(instant / 864_000) + 0.02 * math.sin(instant / 7200 + seed)
        return (10 + seed % 1000) * wave * RATES.get(unit, 1.0)

    def bar(self, coin: str, unit: str, start: int, seconds: int) -> TrueBar:
        first = self.price(coin, unit, start)
        last = self.price(coin, unit, min(start + seconds, self.clock()))
        figures = (first, max(first, last) * 1.002, min(first, last) * 0.998, last, seconds / 64 + start % 7)
        return TrueBar(start, *(float(f"{figure:.8f}") for figure in figures))

    def bars(self, symbol: str, interval: str = "1d", start: int = 0, end: int | None = None) -> list[TrueBar]:
        """A pair's bars up to now, the running one as it stands; ascending.  Weeks and months are made of days."""
        coin, unit = self.pairs[symbol]
        seconds, now = STEPS.get(interval, DAY), self.clock()
        begins = max(start, int(now) // DAY * DAY - YOUNG_DAYS * DAY if coin == "YOUNG" else OPENED)
        end = int(now) + 1 if end is None else min(end, int(now) + 1)
        if interval in STEPS:
            stamps = range(-(-begins // seconds) * seconds, end, seconds)
            return [self.bar(coin, unit, stamp, seconds) for stamp in stamps if stamp not in self.gaps]
        days: dict[int, list[TrueBar]] = {}
        for one in self.bars(symbol, "1d", begins - 31 * DAY):
            days.setdefault(_period(one.stamp, interval), []).append(one)
        wholes = [_together(stamp, members) for stamp, members in days.items()]
        return [one for one in wholes if start <= one.stamp < end]

    def candle_days(self, coin: str, unit: str) -> dict[int, tuple[float, ...]]:
        """Open, high, low and close of each day by the candles of four hours, as CoinGecko gives them."""
        days: dict[int, list[list[float]]] = {}
        for candle in self.candles(coin, unit, 40 * DAY):
            days.setdefault(int(candle[0] - 1) // (DAY * 1000) * DAY, []).append(candle)
        return {
            stamp: (
                members[0][1],
                max(one[2] for one in members),
                min(one[3] for one in members),
                members[-1][4],
            )
            for stamp, members in days.items()
        }

    def candles(self, coin: str, unit: str, back_seconds: int, seconds: int = FOUR_HOURS) -> list[list[float]]:
        """Stamped with their end, in milliseconds, as CoinGecko's are."""
        first = -(-(int(self.clock()) - back_seconds) // seconds) * seconds
        bars = (self.bar(coin, unit, start, seconds) for start in range(first, int(self.clock()), seconds))
        return [[(one.stamp + seconds) * 1000, *one[1:5]] for one in bars]

    # Faults

    def fault(self, kind: str, symbol: str | None = None, times: int | None = None, **args: Any) -> None:
        """Answer wrongly: as `vendor.Vendor.fault` says on the wire, by ``IN_ROWS`` in bars, by ``IN_QUOTES`` in
        quotes."""
        if kind not in (*ON_THE_WIRE, *IN_ROWS, *IN_QUOTES):
            raise ValueError(f"unknown fault {kind}")
        with self._lock:
            self._faults.append(Fault(kind, symbol, times, args))

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self.requests.clear()

    def _take_fault(self, symbol: str | None) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.left != 0 and fault.symbol in (symbol, None):
                    if fault.left is not None:
                        fault.left -= 1
                    return fault
        return None

    # Answers

    def answer(self, path: str, query: dict[str, str], cookie: str = "") -> tuple[Reply, str | None]:
        """The reply to a request, and the symbol that it was about."""
        symbol = query.get("symbol") or query.get("id") or query.get("ids")
        if path.startswith("/api/v3/coins/") and path.split("/")[4] not in ("list", "markets"):
            symbol = path.split("/")[4]
        fault = self._take_fault(symbol)
        reply = self._reply(path, query, fault)
        if fault is not None and fault.kind in ON_THE_WIRE:
            reply = ON_THE_WIRE[fault.kind](self, fault.args, reply)  # type: ignore[arg-type]
        if self.used_weight is not None:
            reply.headers["X-MBX-USED-WEIGHT-1M"] = str(self.used_weight)
        return reply, symbol

    def _reply(self, path: str, query: dict[str, str], fault: Fault | None) -> Reply:
        answers: dict[str, Callable[[dict[str, str], Fault | None], Reply]] = {
            "/api/v3/klines": self._klines,
            "/api/v3/ticker/24hr": self._tickers,
            "/api/v3/exchangeInfo": self._pairs_info,
            "/api/v3/coins/markets": self._markets,
            "/api/v3/coins/list": self._coins_list,
            "/api/v3/search": self._search,
            "/v1/cryptocurrency/map": self._map,
            "/v2/cryptocurrency/quotes/latest": self._quotes,
        }
        if path in answers:
            return answers[path](query, fault)
        if path.startswith("/api/v3/coins/"):
            return self._coin(path.split("/")[4:], query, fault)
        return _json({}) if path in ("/api/v3/ping", "/v1/key/info") else _json({"error": "Incorrect path"}, 404)

    # Binance's

    def _klines(self, query: dict[str, str], fault: Fault | None) -> Reply:
        symbol, interval = query["symbol"], query["interval"]
        if symbol not in self.pairs:
            return _json({"code": -1121, "msg": "Invalid symbol."}, 400)
        if interval not in (*STEPS, "1w", "1M"):
            return _json({"code": -1120, "msg": "Invalid interval."}, 400)
        start, end = int(query["startTime"]) // 1000, -(-int(query["endTime"]) // 1000)
        limit = min(int(query.get("limit", 500)), 1000)
        key = (symbol, interval, start, end, limit)
        if fault is None and key in self._pages:
            return Reply(200, self._pages[key])
        seconds = STEPS.get(interval, DAY)
        # No further than the page, but for what lies before the first bar.
        until = max(start, OPENED) + (limit + len(self.gaps)) * seconds if interval in STEPS else end
        coin = self.pairs[symbol][0]
        bars = self.bars(symbol, interval, start, min(end, until) if coin != "YOUNG" else end)[:limit]
        rows = [_kline(one, seconds if interval in STEPS else _length(one.stamp, interval)) for one in bars]
        if fault is not None and fault.kind in IN_ROWS:
            return _json(IN_ROWS[fault.kind](rows, {**fault.args, "now": self.clock()}))
        reply = _json(rows)
        if end < self.clock() and fault is None and len(self._pages) < RENDERED_PAGES:
            self._pages[key] = reply.body
        return reply

    def _tickers(self, query: dict[str, str], fault: Fault | None) -> Reply:
        symbols = [query["symbol"]] if "symbol" in query else json.loads(query.get("symbols", "[]"))
        if any(symbol not in self.pairs for symbol in symbols):
            return _json({"code": -1121, "msg": "Invalid symbol."}, 400)
        rows = _damaged([self._ticker(symbol) for symbol in symbols or self.pairs], fault, "symbol", "lastPrice")
        return _json(rows[0] if "symbol" in query and rows else rows)

    def _ticker(self, symbol: str) -> dict[str, Any]:
        coin, unit = self.pairs[symbol]
        now = self.clock()
        day = self.bar(coin, unit, int(now) - DAY, DAY)
        price = self.price(coin, unit, now)
        return {
            "symbol": symbol,
            "priceChangePercent": f"{(price / day.open - 1) * 100:.3f}",
            "prevClosePrice": f"{day.open:.8f}",
            "lastPrice": f"{price:.8f}",
            "openPrice": f"{day.open:.8f}",
            "highPrice": f"{day.high:.8f}",
            "lowPrice": f"{day.low:.8f}",
            "volume": f"{day.volume:.8f}",
            "openTime": int((now - DAY) * 1000),
            "closeTime": int(now * 1000),
        }

    def _pairs_info(self, query: dict[str, str], fault: Fault | None) -> Reply:
        rows = [
            {"symbol": symbol, "status": "TRADING", "baseAsset": coin, "quoteAsset": unit}
            for symbol, (coin, unit) in self.pairs.items()
        ]
        return _json({"timezone": "UTC", "symbols": [*rows, {**rows[0], "symbol": "OLDUSDT", "status": "BREAK"}]})

    # CoinGecko's

    def _markets(self, query: dict[str, str], fault: Fault | None) -> Reply:
        unit = query.get("vs_currency", "").upper()
        if unit not in RATES:
            return _json({"error": "invalid vs_currency"}, 400)
        wanted = query["ids"].split(",")
        rows = [self._market(coin, unit) for coin in COINS if coin.id in wanted][: int(query.get("per_page", 100))]
        return _json(_damaged(rows, fault, "id", "current_price"))

    def _market(self, coin: Coin, unit: str) -> dict[str, Any]:
        now = self.clock()
        return {
            "id": coin.id,
            "symbol": coin.ticker.lower(),
            "name": coin.name,
            "current_price": self.price(coin.ticker, unit, now),
            "market_cap": 1000 * self.price(coin.ticker, unit, now),
            "market_cap_rank": coin.rank,
            "high_24h": self.price(coin.ticker, unit, now) * 1.1,
            "low_24h": self.price(coin.ticker, unit, now) * 0.9,
            "price_change_percentage_24h": -1.5,
            "last_updated": _iso(now),
        }

    def _coins_list(self, query: dict[str, str], fault: Fault | None) -> Reply:
        return _json([{"id": coin.id, "symbol": coin.ticker.lower(), "name": coin.name} for coin in COINS])

    def _search(self, query: dict[str, str], fault: Fault | None) -> Reply:
        found = [coin for coin in COINS if query["query"].lower() in coin.name.lower()]
        rows = [
            {"id": coin.id, "symbol": coin.ticker, "name": coin.name, "market_cap_rank": coin.rank} for coin in found
        ]
        return _json({"coins": rows, "exchanges": [], "nfts": []})

    def _coin(self, parts: list[str], query: dict[str, str], fault: Fault | None) -> Reply:
        coin = next((coin for coin in COINS if coin.id == parts[0]), None)
        if coin is None:
            return _json({"error": "coin not found"}, 404)
        if parts[1:] == ["ohlc"]:
            days, unit = int(query["days"]), query["vs_currency"].upper()
            if unit not in RATES:
                return _json({"error": "invalid vs_currency"}, 400)
            seconds = 1800 if days <= 2 else FOUR_HOURS if days <= 30 else 4 * DAY
            rows = self.candles(coin.ticker, unit, days * DAY, seconds)
            damage = IN_ROWS.get(fault.kind) if fault else None
            return _json(damage(rows, {**fault.args, "now": self.clock()}) if fault and damage else rows)
        return _json(
            {
                "id": coin.id,
                "symbol": coin.ticker.lower(),
                "name": coin.name,
                "categories": ["Layer 1", "Coins"],
                "description": {"en": f"{coin.name}\nis a <b>coin</b>."},
                "links": {"homepage": [f"https://{coin.id}.example/", ""]},
                "market_cap_rank": coin.rank,
                "market_data": {
                    "market_cap": {"usd": 2e12, "eur": 1e12},
                    "circulating_supply": 19_000_000.0,
                    "total_supply": 21_000_000,
                    "max_supply": None,
                },
            }
        )

    # CoinMarketCap's

    def _quotes(self, query: dict[str, str], fault: Fault | None) -> Reply:
        unit, now = query["convert"], self.clock()
        if unit not in RATES:
            return _cmc(None, 400, 400, f'Invalid value for "convert": "{unit}"')
        wanted = query["id"].split(",")
        rows = [
            {
                "id": coin.number,
                "name": coin.name,
                "symbol": coin.ticker,
                "cmc_rank": coin.rank,
                "circulating_supply": 19_000_000,
                "total_supply": 21_000_000,
                "max_supply": None,
                "price": self.price(coin.ticker, unit, now),
            }
            for coin in COINS
            if str(coin.number) in wanted
        ]
        rows = _damaged(rows, fault, "id", "price")
        for row in rows:
            given = {"price": row.pop("price"), "percent_change_24h": 2.5, "market_cap": 5e9}
            row["quote"] = {unit: {**given, "last_updated": row.pop("last_updated", _iso(now))}}
        return _cmc({str(row["id"]): row for row in rows})

    def _map(self, query: dict[str, str], fault: Fault | None) -> Reply:
        start, limit = int(query["start"]), int(query["limit"])
        rows = [
            {"id": coin.number, "rank": coin.rank, "name": coin.name, "symbol": coin.ticker, "slug": coin.id}
            for coin in COINS[start - 1 : start - 1 + limit]
        ]
        return _cmc(rows)


def _json(document: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(document, separators=(",", ":")).encode())


def _cmc(data: Any, status: int = 200, code: int = 0, words: str | None = None) -> Reply:
    about = {"timestamp": _iso(time.time()), "error_code": code, "error_message": words, "credit_count": 1}
    return _json({"status": about} if data is None else {"status": about, "data": data}, status)


def _iso(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _kline(one: TrueBar, seconds: int) -> list[Any]:
    first, high, low, last, volume = (f"{figure:.8f}" for figure in one[1:])
    closes = (one.stamp + seconds) * 1000 - 1
    return [one.stamp * 1000, first, high, low, last, volume, closes, "1.0", 100, "0.5", "0.5", "0"]


def _period(stamp: int, interval: str) -> int:
    day = datetime.fromtimestamp(stamp, UTC).date()
    first = day.replace(day=1) if interval == "1M" else day - timedelta(days=day.weekday())
    return (first - date(1970, 1, 1)).days * DAY


def _length(stamp: int, interval: str) -> int:
    return _period(stamp + (32 if interval == "1M" else 7) * DAY, interval) - stamp


def _together(stamp: int, days: list[TrueBar]) -> TrueBar:
    high, low = max(one.high for one in days), min(one.low for one in days)
    volume = float(f"{sum(one.volume for one in days):.8f}")
    return TrueBar(stamp, days[0].open, high, low, days[-1].close, volume)


# Faults in bars: what is done to rows of instant, open, high, low, close.


def _set(index: int, value: Any) -> Callable[[list[list[Any]], dict[str, Any]], Any]:
    def damage(rows: list[list[Any]], args: dict[str, Any]) -> Any:
        rows[args.get("index", -2)][index] = args.get("value", value)
        return rows

    return damage


def _null_row(rows: list[list[Any]], args: dict[str, Any]) -> Any:
    rows[args.get("index", -2)][1:5] = [None] * 4
    return rows


def _negative(rows: list[list[Any]], args: dict[str, Any]) -> Any:
    row = rows[args.get("index", -2)]
    row[3] = f"-{row[3]}" if isinstance(row[3], str) else -row[3]
    return rows


def _duplicate(rows: list[list[Any]], args: dict[str, Any]) -> Any:
    copied = list(rows[-2])
    if args.get("conflict"):
        copied[4] = copied[1]
    rows.insert(-1, copied)
    return rows


def _unordered(rows: list[list[Any]], args: dict[str, Any]) -> Any:
    return rows[::-1]


def _future(rows: list[list[Any]], args: dict[str, Any]) -> Any:
    moved = list(rows[-1])
    moved[0] += 3 * DAY * 1000
    if len(moved) > 6:
        moved[6] += 3 * DAY * 1000
    return [*rows, moved]


def _moved(rows: list[list[Any]], args: dict[str, Any]) -> Any:
    """All instants lie so many seconds off."""
    for row in rows:
        row[0] += args.get("seconds", 7) * 1000
    return rows


IN_ROWS: dict[str, Callable[[list[list[Any]], dict[str, Any]], Any]] = {
    "nan": _set(4, "NaN"),
    "infinite": _set(2, "1e999"),
    "null_close": _set(4, None),
    "zero": _set(1, "0.00000000"),
    "words": _set(4, "12,5"),
    "null_row": _null_row,
    "negative": _negative,
    "duplicate": _duplicate,
    "unordered": _unordered,
    "future": _future,
    "off_grid": _moved,
    "no_instant": _set(0, None),
    "missing_row": lambda rows, args: [row for number, row in enumerate(rows) if number != len(rows) + args["index"]],
    "short_row": lambda rows, args: [*rows[:-1], rows[-1][:3]],
    "wrong_length": lambda rows, args: [[*row[:6], row[0] + 1, *row[7:]] for row in rows],
    "no_list": lambda rows, args: {"rows": len(rows)},
    "no_rows": lambda rows, args: [],
}


# Faults in quotes: what is done to rows that have a name and a price.


def _damaged(rows: list[dict[str, Any]], fault: Fault | None, name: str, price: str) -> list[dict[str, Any]]:
    if fault is None or fault.kind not in IN_QUOTES:
        return rows
    return IN_QUOTES[fault.kind](rows, fault.args, name, price)


def _wrong_price(rows: list[dict[str, Any]], args: dict[str, Any], name: str, price: str) -> list[dict[str, Any]]:
    return [{**rows[0], price: args["value"]}, *rows[1:]]


def _stranger(rows: list[dict[str, Any]], args: dict[str, Any], name: str, price: str) -> list[dict[str, Any]]:
    """The first is about another than asked."""
    return [{**rows[0], name: 77_777 if isinstance(rows[0][name], int) else "OTHER"}, *rows[1:]]


def _no_time(rows: list[dict[str, Any]], args: dict[str, Any], name: str, price: str) -> list[dict[str, Any]]:
    return [{**rows[0], "last_updated": "yesterday", "closeTime": None}, *rows[1:]]


IN_QUOTES: dict[str, Callable[[list[dict[str, Any]], dict[str, Any], str, str], list[dict[str, Any]]]] = {
    "wrong_price": _wrong_price,
    "stranger": _stranger,
    "no_time": _no_time,
    "leave_out": lambda rows, args, name, price: rows[1:],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Vendors of coins on loopback, for benchmarks.")
    parser.add_argument("--port", type=int, default=8101)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    args = parser.parse_args()
    with CoinVendor(args.port, args.latency_ms / 1000) as vendor:
        print(vendor.url, flush=True)  # noqa: T201 - whoever started it waits for this line
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
