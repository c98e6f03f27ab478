"""A vendor of our own on loopback: Yahoo's v8 chart, its cookie and its crumb, with faults to switch on
(`vendor_answers`: its quotes, profiles and search).

    with Vendor() as vendor:
        vendor.fault("status", code=503, times=2)
        ... the product with base_url=vendor.url ...
        assert vendor.requests[-1].status == 200

or, for benchmarks, ``python tests/vendor.py --port 8100 --latency-ms 80``.

Every symbol has a series but those that begin with NOSUCH (404); YOUNG ones are listed ten sessions ago.
Series are seeded by the symbol: sessions on weekdays from 2018 on, 9:30 to 16:00 in New York (to 13:00 on
``half_days``), prices as 32-bit floats like Yahoo's, some dividends and one split in the past; `vendor_minutes`
makes minutes and hours of them.  Nothing leaves loopback, and nothing is random.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import socket
import struct
import threading
import time
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import formatdate
from http.client import responses
from http.server import ThreadingHTTPServer
from socketserver import StreamRequestHandler
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

import vendor_answers
import vendor_minutes
from vendor_minutes import MINUTES, Day, Minute

ZONE = ZoneInfo("America/New_York")
FIRST_DAY = date(2018, 1, 2)
EPOCH = date(1970, 1, 1).toordinal()
DAY = 86_400
SESSION_SECONDS = 6 * 3600 + 1800
INTERVALS = ("1d", "1wk", "1mo", *MINUTES)
YOUNG_SESSIONS = 10
CACHED_BYTES = 256 << 20
LOGGED = 200_000

CONSENT = (
    b"<!DOCTYPE html><html><head><title>Yahoo is part of the Yahoo family of brands</title></head><body>"
    b'<form method="post" action="/v2/collectConsent" class="consent-form">'
    b'<button name="agree" value="agree">Accept all</button></form></body></html>'
)
WEB_PAGE = b"<!DOCTYPE html><html><head><title>Yahoo</title></head><body>Will be right back...</body></html>"

STATUS_BODIES = {
    401: b'{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}',
    403: b"<html><body>Forbidden</body></html>",
    404: b"<html><body>Not Found</body></html>",
    429: b"Too Many Requests\r\n",
    422: b'{"chart":{"result":null,"error":{"code":"Unprocessable Entity","description":'
    b'"1d data not available for startTime=0 and endTime=1. Only 100 years worth of day granularity data are '
    b'allowed to be fetched per request."}}}',
}


class TrueBar(NamedTuple):
    """What the vendor knows of a session: date, prices and volume as it sends them."""

    day: date
    open: float
    high: float
    low: float
    close: float
    adj_close: float
    volume: int


class Request(NamedTuple):
    """One request as it was answered; ``status`` 0: the connection was reset, or left without an answer."""

    path: str
    query: dict[str, str]
    status: int
    time: float
    symbol: str | None
    headers: dict[str, str]


@dataclass
class Fault:
    kind: str
    symbol: str | None
    left: int | None
    args: dict[str, Any]


@dataclass
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json;charset=utf-8"
    cut_at: int | None = None
    """Send so many bytes of the body, then close; -1: reset without an answer."""
    pause_seconds: float = 0.0
    """Between each hundredth of the body."""


def opening(ordinal: int) -> int:
    """9:30 in New York on a day, in epoch seconds."""
    day = date.fromordinal(ordinal)
    return int(datetime(day.year, day.month, day.day, 9, 30, tzinfo=ZONE).timestamp())


def midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp())


class Calendar:
    """Weekdays and their openings, computed once for all symbols."""

    def __init__(self) -> None:
        self.ordinals: list[int] = []
        self.openings: list[int] = []
        self._next = FIRST_DAY.toordinal()
        self._lock = threading.Lock()

    def until(self, now: float) -> int:
        """How many sessions have begun at ``now``."""
        with self._lock:
            while not self.openings or self.openings[-1] <= now:
                if date.fromordinal(self._next).weekday() < 5:
                    self.ordinals.append(self._next)
                    self.openings.append(opening(self._next))
                self._next += 1
        return bisect_right(self.openings, now)


class Series:
    """One symbol's sessions, on today's split basis; lists grow with the calendar."""

    def __init__(self, symbol: str) -> None:
        seed = zlib.crc32(symbol.encode())
        self._random = random.Random(seed)
        self._price = 20.0 + seed % 400
        self.open: list[float] = []
        self.high: list[float] = []
        self.low: list[float] = []
        self.close: list[float] = []
        self.volume: list[int] = []
        self.dividends: dict[int, float] = {i: round(0.2 + (seed % 7) / 20, 2) for i in range(60, 2000, 250)}
        self.splits: dict[int, float] = {300 + seed % 200: (2.0, 3.0, 1.5)[seed % 3]}
        self.listed_at = 0
        self._adjusted: list[float] | None = None

    def grow(self, count: int) -> None:
        draw, price = self._random.random, self._price
        for _ in range(count - len(self.close)):
            first = price * (0.99 + 0.02 * draw())
            price = max(1.0, first * (0.9805 + 0.04 * draw()))
            self.open.append(first)
            self.close.append(price)
            self.high.append(max(first, price) * (1 + 0.01 * draw()))
            self.low.append(min(first, price) * (1 - 0.01 * draw()))
            self.volume.append(100_000 + int(9e6 * draw()))
            self._adjusted = None
        self._price = price

    def scale(self, count: int, factor: float, volume_factor: float = 1.0) -> None:
        for prices in (self.open, self.high, self.low, self.close):
            prices[:count] = [price * factor for price in prices[:count]]
        self.volume[:count] = [int(volume * volume_factor) for volume in self.volume[:count]]
        self.dividends = {i: x * factor if i < count else x for i, x in self.dividends.items()}
        self._adjusted = None

    def adjusted(self) -> list[float]:
        """Closes less the dividends that follow."""
        if self._adjusted is None:
            values, factor = self.close[:], 1.0
            for i in range(len(values) - 1, -1, -1):
                values[i] *= factor
                if i in self.dividends and i:
                    factor *= 1 - self.dividends[i] / self.close[i - 1]
            self._adjusted = values
        return self._adjusted


def as_float32(values: list[float]) -> list[float]:
    return array("f", values).tolist()


class Vendor:
    """The server, its truth, its log and its faults.  ``now``: epoch seconds; ``None``: the real time."""

    def __init__(self, port: int = 0, latency_seconds: float = 0.0, now: float | None = None) -> None:
        self.latency_seconds = latency_seconds
        self.now = now
        self.requests: deque[Request] = deque(maxlen=LOGGED)
        self.half_days: set[date] = set()
        self.cookie, self.crumb = "d=loopback", "loopback.cr"
        self.closing = threading.Event()
        self._calendar = Calendar()
        self._series: dict[str, Series] = {}
        self._faults: list[Fault] = []
        self._bodies: dict[tuple[Any, ...], bytes] = {}
        self._bytes = 0
        self._lock = threading.RLock()
        self._server = _Server(port, self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Vendor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.closing.set()  # a hanging answer ends here
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # The truth

    def clock(self) -> float:
        return time.time() if self.now is None else self.now

    def bars(self, symbol: str) -> list[TrueBar]:
        """Daily bars up to now, the running session's as it stands; ascending."""
        with self._lock:
            columns = self._columns(symbol)
        days = (date.fromordinal(ordinal) for ordinal in columns["ordinal"])
        names = ("open", "high", "low", "close", "adjclose", "volume")
        return [TrueBar(*row) for row in zip(days, *(columns[name] for name in names), strict=True)]

    def minutes(self, symbol: str, interval: str, *, prepost: bool = False, since: float = 0) -> list[Minute]:
        """Bars of minutes or hours up to now in which something was traded, ascending, from ``since`` on."""
        with self._lock:
            days = self._days(symbol, since - 2 * DAY, self.clock())
        found = [one for day in days for one in vendor_minutes.bars(day, interval, self.clock(), prepost=prepost)]
        return [one for one in found if isinstance(one, Minute) and one.ts >= since]

    def last_trade_at(self, symbol: str) -> int:
        """The close of the last session, or now while it runs."""
        with self._lock:
            columns = self._columns(symbol)
        is_half = date.fromordinal(columns["ordinal"][-1]) in self.half_days
        return int(min(self.clock(), Day(0, columns["at"][-1], 0.0, 0.0, 0, is_half).closes_at))

    def split(self, symbol: str, ratio: float, on: date | None = None) -> date:
        """``ratio`` new shares for an old one, on the last session or ``on``: all earlier prices change."""
        with self._lock:
            series, index = self._session(symbol, on)
            series.scale(index, 1 / ratio, ratio)
            series.splits[index] = ratio
            return self._changed(index)

    def dividend(self, symbol: str, amount: float, on: date | None = None) -> date:
        """A dividend on the last session or ``on``: the adjusted closes before it change."""
        with self._lock:
            series, index = self._session(symbol, on)
            series.dividends[index] = amount
            series._adjusted = None
            return self._changed(index)

    def restate(self, symbol: str, factor: float) -> None:
        """All prices were wrong by a factor."""
        with self._lock:
            series, _ = self._session(symbol, None)
            series.scale(len(series.close), factor)
            self._changed(0)

    def _session(self, symbol: str, on: date | None) -> tuple[Series, int]:
        series, count = self._grown(symbol)
        index = count - 1 if on is None else bisect_left(self._calendar.ordinals, on.toordinal())
        return series, index

    def _days(self, symbol: str, start: float, end: float) -> list[Day]:
        """The sessions of a range, the running one as it will have been."""
        series, count = self._grown(symbol)
        low = max(series.listed_at, bisect_left(self._calendar.openings, start))
        chosen = range(low, min(count, bisect_left(self._calendar.openings, end)))
        seed, ordinals, openings = zlib.crc32(symbol.encode()), self._calendar.ordinals, self._calendar.openings
        return [
            Day(
                seed,
                openings[i],
                series.open[i],
                series.close[i],
                series.volume[i],
                date.fromordinal(ordinals[i]) in self.half_days,
            )
            for i in chosen
        ]

    def _changed(self, index: int) -> date:
        self._bodies.clear()
        self._bytes = 0
        return date.fromordinal(self._calendar.ordinals[index])

    def _grown(self, symbol: str) -> tuple[Series, int]:
        count = self._calendar.until(self.clock())
        series = self._series.get(symbol)
        if series is None:
            series = self._series[symbol] = Series(symbol)
            if symbol.startswith("YOUNG"):
                series.listed_at = count - YOUNG_SESSIONS
                series.dividends.clear()
                series.splits.clear()
        series.grow(count)
        return series, count

    def _columns(self, symbol: str) -> dict[str, Any]:
        """Columns of the days since the listing, a running session as far as it has come."""
        series, count = self._grown(symbol)
        low, now = series.listed_at, self.clock()
        columns: dict[str, Any] = {
            name: as_float32(getattr(series, name)[low:count]) for name in ("open", "high", "low", "close")
        }
        columns["adjclose"] = as_float32(series.adjusted()[low:count])
        columns["volume"] = series.volume[low:count]
        columns["ordinal"] = self._calendar.ordinals[low:count]
        columns["at"] = self._calendar.openings[low:count]
        columns["dividends"] = {i - low: x for i, x in series.dividends.items() if low <= i < count}
        columns["splits"] = {i - low: x for i, x in series.splits.items() if low <= i < count}
        done = (now - columns["at"][-1]) / SESSION_SECONDS if count > low else 1.0
        if done < 1:
            first, last = columns["open"][-1], columns["close"][-1]
            [close] = as_float32([first + (last - first) * done])
            columns["close"][-1] = columns["adjclose"][-1] = close
            columns["high"][-1] = max(first, close)
            columns["low"][-1] = min(first, close)
            columns["volume"][-1] = int(columns["volume"][-1] * done)
            columns["live_at"] = int(now)
        return columns

    # Faults

    def fault(self, kind: str, symbol: str | None = None, times: int | None = None, **args: Any) -> None:
        """Answer the next charts (of ``symbol``; so many ``times``) wrongly.  Kinds:

        ``status`` (code, body, retry_after), ``html``, ``consent``, ``redirect`` (location), ``reset``,
        ``invalid_json``, ``truncated``, ``hang`` (seconds), ``slow`` (seconds), ``huge`` (megabytes),
        ``empty_result``, ``no_rows``, ``wrong_symbol``, ``wrong_interval``, ``chart_error`` (code,
        description), and in the row at ``index`` (default: the last but one) ``nan``, ``null_row``,
        ``null_close``, ``negative``, ``zero``, ``strings``, ``duplicate`` (conflict=True for other figures);
        of all rows ``unordered``, or one row more: ``future``, ``live_row``, ``auction`` (of minutes: at the close of
        the first session).

        The cookie and the crumb have ``symbol="cookie"`` and ``symbol="crumb"``; what is no chart has ``quotes``,
        ``profile`` and ``search``, and quotes alone ``leave_out`` (kept), ``stranger``, ``wrong_price`` (field, value).
        """
        if kind not in (*ON_THE_WIRE, *IN_THE_DATA, *vendor_answers.IN_QUOTES):
            raise ValueError(f"unknown fault {kind}")
        with self._lock:
            self._faults.append(Fault(kind, symbol, times, args))

    def clear(self) -> None:
        """Forget faults and requests; what happened to a symbol's prices stays."""
        with self._lock:
            self._faults.clear()
            self.requests.clear()

    def charts(self) -> list[Request]:
        return [request for request in self.requests if "/chart/" in request.path]

    def _take_fault(self, symbol: str, *, everywhere: bool) -> Fault | None:
        if not self._faults:
            return None
        with self._lock:
            for fault in self._faults:
                if fault.left != 0 and (fault.symbol == symbol or (fault.symbol is None and everywhere)):
                    if fault.left is not None:
                        fault.left -= 1
                    return fault
        return None

    # Answers

    def answer(self, path: str, query: dict[str, str], cookie: str = "") -> tuple[Reply, str | None]:
        """The reply to a request, and the symbol that it was about."""
        if path.startswith("/v8/finance/chart/"):
            symbol = unquote(path.rpartition("/")[2]).upper()
            fault = self._take_fault(symbol, everywhere=True)
            return self._faulted(fault, self.chart(symbol, query, fault), symbol), symbol
        if path.endswith("/v1/test/getcrumb"):
            fault = self._take_fault("crumb", everywhere=False)
            return self._faulted(fault, Reply(200, self.crumb.encode(), content_type="text/plain"), "crumb"), None
        if path == "/":  # fc.yahoo.com: a 404 that carries the cookie
            given = f"A3={self.cookie}&S=1; Max-Age=31557600; Path=/; HttpOnly"
            fault = self._take_fault("cookie", everywhere=False)
            return self._faulted(fault, Reply(404, b"", {"Set-Cookie": given}, "text/html"), "cookie"), None
        name = vendor_answers.name_of(path)
        if name is not None:
            fault = self._take_fault(name, everywhere=False)
            status, content = vendor_answers.document(self, path, query, cookie)
            if fault is not None and fault.kind in vendor_answers.IN_QUOTES and status == 200:
                results = content["quoteResponse"]["result"]
                content["quoteResponse"]["result"] = vendor_answers.IN_QUOTES[fault.kind](results, fault.args)
            return self._faulted(fault, Reply(status, json.dumps(content).encode()), name), query.get("symbols")
        return Reply(404, STATUS_BODIES[404], content_type="text/html"), None

    def _faulted(self, fault: Fault | None, reply: Reply, symbol: str) -> Reply:
        if fault is None or fault.kind not in ON_THE_WIRE:
            return reply
        return ON_THE_WIRE[fault.kind](self, fault.args, reply)

    def chart(self, symbol: str, query: dict[str, str], fault: Fault | None = None) -> Reply:
        """Yahoo's answer; those without a fault are rendered once for each range and minute."""
        interval = query.get("interval", "1d")
        if symbol.startswith("NOSUCH"):
            return error(404, "Not Found", "No data found, symbol may be delisted")
        if interval not in INTERVALS:
            words = f"Invalid input - interval={interval} is not supported. Valid intervals: {list(INTERVALS)}"
            return error(422, "Unprocessable Entity", words)
        now = self.clock()
        try:
            start, end = self._range(query, now)
        except ValueError:
            return error(422, "Unprocessable Entity", "Invalid input - range is not supported.")
        if start >= end:
            words = "Invalid input - start date cannot be after end date."
            return error(400, "Bad Request", f"{words} startDate = {start}, endDate = {end}")
        if end - start > 36_600 * DAY:
            words = "Only 100 years worth of day granularity data are allowed to be fetched per request."
            return error(422, "Unprocessable Entity", f"1d data not available for startTime={start}. {words}")
        if interval in MINUTES and (refused := vendor_minutes.refusal(interval, start, end, now)) is not None:
            return error(422, "Unprocessable Entity", refused)
        prepost = query.get("includePrePost") == "true"
        key = (symbol, interval, start, end, query.get("events", ""), prepost, int(now // 60))
        if fault is None or fault.kind in ON_THE_WIRE:
            known = self._bodies.get(key)
            if known is not None:
                return Reply(200, known)
        with self._lock:
            columns = self._columns(symbol)
            if not columns["at"] or end <= columns["at"][0]:
                words = f"Data doesn't exist for startDate = {start}, endDate = {end}"
                return error(400, "Bad Request", words)
            document = self._document(symbol, interval, start, end, query.get("events", ""), columns, prepost=prepost)
            if fault is not None and fault.kind in IN_THE_DATA:
                document = IN_THE_DATA[fault.kind](document, {**fault.args, "now": now})
                return Reply(200, json.dumps(document).encode())
            body = json.dumps(document, separators=(",", ":")).encode()
            if self._bytes > CACHED_BYTES:
                self._bodies.clear()
                self._bytes = 0
            self._bodies[key] = body
            self._bytes += len(body)
        return Reply(200, body)

    def _range(self, query: dict[str, str], now: float) -> tuple[int, int]:
        """Raises ValueError for what Yahoo refuses."""
        if "period1" in query or "period2" in query:
            return int(query.get("period1", 0)), min(int(query.get("period2", now)), int(now) + DAY)
        text, end = query.get("range", "1d"), int(now) + 1
        days = {
            "1d": 1,
            "5d": 7,
            "1mo": 31,
            "3mo": 92,
            "6mo": 183,
            "1y": 366,
            "2y": 731,
            "5y": 1827,
            "10y": 3653,
        }
        if text == "max":
            return end - 36_000 * DAY, end
        if text not in days:
            raise ValueError(text)
        return end - days[text] * DAY, end

    def _document(
        self,
        symbol: str,
        interval: str,
        start: int,
        end: int,
        events: str,
        columns: dict[str, Any],
        *,
        prepost: bool = False,
    ) -> dict[str, Any]:
        first, stop = bisect_left(columns["at"], start), bisect_left(columns["at"], end)
        chosen = range(first, stop)
        whole = {name: columns[name][first:stop] for name in ("open", "high", "low", "close", "adjclose", "volume")}
        times, ordinals = columns["at"][first:stop], columns["ordinal"][first:stop]
        live_at = columns.get("live_at") if stop == len(columns["at"]) else None
        if interval in ("1wk", "1mo"):
            times, whole = aggregated(ordinals, whole, interval)
        elif live_at is not None and times:
            times = [*times[:-1], live_at]
        result: dict[str, Any] = {"meta": self._meta(symbol, interval, columns)}
        if interval in MINUTES:
            days = self._days(symbol, start - DAY, end)
            result = vendor_minutes.result(result["meta"], days, interval, start, end, self.clock(), prepost=prepost)
        elif times:
            result["timestamp"] = times
        found = {}
        if "div" in events:
            found["dividends"] = {
                str(columns["at"][i]): {"amount": amount, "date": columns["at"][i]}
                for i, amount in columns["dividends"].items()
                if i in chosen
            }
        if "split" in events:
            found["splits"] = {
                str(columns["at"][i]): {
                    "date": columns["at"][i],
                    "numerator": ratio,
                    "denominator": 1.0,
                    "splitRatio": f"{ratio:g}:1",
                }
                for i, ratio in columns["splits"].items()
                if i in chosen
            }
        if any(found.values()):
            result["events"] = {name: group for name, group in found.items() if group}
        if interval in MINUTES:
            return {"chart": {"result": [result], "error": None}}
        adjusted = whole.pop("adjclose")
        result["indicators"] = {
            "quote": [whole if times else {}],
            "adjclose": [{"adjclose": adjusted} if times else {}],
        }
        return {"chart": {"result": [result], "error": None}}

    def _meta(self, symbol: str, interval: str, columns: dict[str, Any]) -> dict[str, Any]:
        opened, now = columns["at"][-1], self.clock()
        is_half = date.fromordinal(columns["ordinal"][-1]) in self.half_days
        session = Day(0, opened, 0.0, 0.0, 0, is_half)
        closes = session.closes_at
        local = datetime.fromtimestamp(opened, ZONE)
        offset = int((local.utcoffset() or timedelta()).total_seconds())
        period = {
            name: {"timezone": local.tzname(), "start": start, "end": end, "gmtoffset": offset}
            for name, (start, end) in vendor_minutes.periods(session).items()
        }
        return {
            "currency": "USD",
            "symbol": symbol,
            "exchangeName": "NMS",
            "fullExchangeName": "NasdaqGS",
            "instrumentType": "EQUITY",
            "firstTradeDate": columns["at"][0],
            "regularMarketTime": int(min(now, closes)),
            "gmtoffset": offset,
            "timezone": local.tzname(),
            "exchangeTimezoneName": ZONE.key,
            "regularMarketPrice": round(columns["close"][-1], 2),
            "longName": f"{symbol} of the test vendor",
            "shortName": symbol,
            "currentTradingPeriod": period,
            "dataGranularity": interval,
            "priceHint": 2,
            "hasPrePostMarketData": True,
            "range": "",
            "validRanges": ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"],
        }


def aggregated(
    ordinals: list[int], columns: dict[str, list[Any]], interval: str
) -> tuple[list[int], dict[str, list[Any]]]:
    """Weeks from Monday or months, stamped with New York's midnight of their first day."""
    groups: dict[date, list[int]] = {}
    for i, ordinal in enumerate(ordinals):
        day = date.fromordinal(ordinal)
        start = day - timedelta(days=day.weekday()) if interval == "1wk" else day.replace(day=1)
        groups.setdefault(start, []).append(i)
    spans = [slice(members[0], members[-1] + 1) for members in groups.values()]
    return [midnight(start) for start in groups], {
        "open": [columns["open"][span.start] for span in spans],
        "high": [max(columns["high"][span]) for span in spans],
        "low": [min(columns["low"][span]) for span in spans],
        "close": [columns["close"][span.stop - 1] for span in spans],
        "adjclose": [columns["adjclose"][span.stop - 1] for span in spans],
        "volume": [sum(columns["volume"][span]) for span in spans],
    }


def error(status: int, code: str, words: str) -> Reply:
    document = {"chart": {"result": None, "error": {"code": code, "description": words}}}
    return Reply(status, json.dumps(document).encode())


# Faults on the wire: what is done to a reply.


def _status(vendor: Vendor, args: dict[str, Any], reply: Reply) -> Reply:
    code = args.get("code", 503)
    body = args.get("body", STATUS_BODIES.get(code, b"<html><body>Service Unavailable</body></html>"))
    headers = {"Retry-After": str(args["retry_after"])} if "retry_after" in args else {}
    return Reply(code, body, headers, "text/html")


def _hang(vendor: Vendor, args: dict[str, Any], reply: Reply) -> Reply:
    vendor.closing.wait(args.get("seconds", 30.0))
    return reply


def _slow(vendor: Vendor, args: dict[str, Any], reply: Reply) -> Reply:
    reply.pause_seconds = args.get("seconds", 1.0) / 100
    return reply


def _truncated(vendor: Vendor, args: dict[str, Any], reply: Reply) -> Reply:
    reply.cut_at = len(reply.body) // 2
    return reply


def _reset(vendor: Vendor, args: dict[str, Any], reply: Reply) -> Reply:
    reply.cut_at = -1
    return reply


def _body(body: bytes, content_type: str = "text/html") -> Callable[[Vendor, dict[str, Any], Reply], Reply]:
    return lambda vendor, args, reply: Reply(200, body, content_type=content_type)


def _cut_json(vendor: Vendor, args: dict[str, Any], reply: Reply) -> Reply:
    return Reply(200, reply.body[: len(reply.body) // 2])


def _huge(vendor: Vendor, args: dict[str, Any], reply: Reply) -> Reply:
    return Reply(200, reply.body + b" " * (args.get("megabytes", 33) << 20))


def _redirect(vendor: Vendor, args: dict[str, Any], reply: Reply) -> Reply:
    location = args.get("location", "https://guce.yahoo.com/consent?brandType=nonEu&done=x")
    return Reply(args.get("code", 307), b"", {"Location": location}, "text/html")


def _chart_error(vendor: Vendor, args: dict[str, Any], reply: Reply) -> Reply:
    """A status of 200 with an error in the document."""
    words = args.get("description", "No data found, symbol may be delisted")
    return Reply(200, error(404, args.get("code", "Not Found"), words).body)


ON_THE_WIRE: dict[str, Callable[[Vendor, dict[str, Any], Reply], Reply]] = {
    "status": _status,
    "html": _body(WEB_PAGE),
    "consent": _body(CONSENT),
    "redirect": _redirect,
    "invalid_json": _cut_json,
    "truncated": _truncated,
    "reset": _reset,
    "hang": _hang,
    "slow": _slow,
    "huge": _huge,
    "empty_result": _body(b'{"chart":{"result":[],"error":null}}', "application/json"),
    "chart_error": _chart_error,
}


# Faults in the data: what is done to a document before it is rendered.


def _columns_of(document: dict[str, Any]) -> Iterator[list[Any]]:
    result = document["chart"]["result"][0]
    yield from result["indicators"]["quote"][0].values()
    if "adjclose" in result["indicators"]:  # minutes have none
        yield from result["indicators"]["adjclose"][0].values()


def _quote(document: dict[str, Any]) -> dict[str, list[Any]]:
    quote: dict[str, list[Any]] = document["chart"]["result"][0]["indicators"]["quote"][0]
    return quote


def _times(document: dict[str, Any]) -> list[int]:
    times: list[int] = document["chart"]["result"][0]["timestamp"]
    return times


def _set(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    def damage(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
        _quote(document)[args.get("field", name)][args.get("index", -2)] = value
        return document

    return damage


def _null_row(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    for column in _columns_of(document):
        column[args.get("index", -2)] = None
    return document


def _negative(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    column, index = _quote(document)["low"], args.get("index", -2)
    column[index] = -column[index]
    return document


def _strings(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    index = args.get("index", -2)
    for name in ("open", "high", "low", "close"):
        column = _quote(document)[name]
        column[index] = str(column[index])
    return document


def _duplicate(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    index = args.get("index", -2) % len(_times(document))
    for column in (_times(document), *_columns_of(document)):
        column.insert(index + 1, column[index])
    if args.get("conflict"):
        _quote(document)["close"][index + 1] *= 1.001
        _quote(document)["high"][index + 1] *= 1.002
    return document


def _unordered(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    for column in (_times(document), *_columns_of(document)):
        column.reverse()
    return document


def _future(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    for column in (_times(document), *_columns_of(document)):
        column.append(column[-1])
    _times(document)[-1] = int(args["now"]) + args.get("days", 3) * DAY
    return document


def _live_row(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    """The last row once more, stamped with the last trade, as Yahoo does."""
    meta = document["chart"]["result"][0]["meta"]
    live_at, opened = meta["regularMarketTime"], meta["currentTradingPeriod"]["regular"]["start"]
    if (minutes := MINUTES.get(meta["dataGranularity"])) is not None:  # the row before it has the bar's own stamp
        _times(document)[-1] = opened + (live_at - opened) // (minutes * 60) * minutes * 60
    for column in (_times(document), *_columns_of(document)):
        column.append(column[-1])
    _times(document)[-1] = live_at
    quote = _quote(document)
    quote["volume"][-1] += args.get("extra_volume", 1000)
    for name, value in args.get("values", {}).items():
        quote[name][-1] = value
    return document


def _auction(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    """A row at the very close, without volume, that nobody asked for."""
    meta, times = document["chart"]["result"][0]["meta"], _times(document)
    closes_at = meta["tradingPeriods"][0][0]["end"]
    index = bisect_left(times, closes_at)
    for name, column in _quote(document).items():
        column.insert(index, 0 if name == "volume" else column[index - 1])
    times.insert(index, closes_at)
    return document


def _no_rows(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    result = document["chart"]["result"][0]
    result.pop("timestamp", None)
    result.pop("events", None)
    result["indicators"] = {"quote": [{}], "adjclose": [{}]}
    return document


def _meta_change(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    def damage(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
        document["chart"]["result"][0]["meta"][name] = args.get("value", value)
        return document

    return damage


IN_THE_DATA: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "nan": _set("close", float("nan")),
    "null_close": _set("close", None),
    "zero": _set("open", 0),
    "null_row": _null_row,
    "negative": _negative,
    "strings": _strings,
    "duplicate": _duplicate,
    "unordered": _unordered,
    "future": _future,
    "live_row": _live_row,
    "auction": _auction,
    "no_rows": _no_rows,
    "wrong_symbol": _meta_change("symbol", "OTHER"),
    "wrong_interval": _meta_change("dataGranularity", "3mo"),
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, vendor: Vendor) -> None:
        self.vendor = vendor
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks a name server for the name of 127.0.0.1.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle of an answer is part of the tests."""


class _Handler(StreamRequestHandler):
    """HTTP/1.1 with keep-alive; BaseHTTPRequestHandler would spend most of its time on parsing headers."""

    server: _Server
    disable_nagle_algorithm = True
    timeout = 120

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while self._one():
                pass

    def _one(self) -> bool:
        line = self.rfile.readline(65_537)
        if not line.strip():
            return False
        _, target, _ = line.decode("latin-1").split(" ", 2)
        headers = {}
        while (line := self.rfile.readline(65_537)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        self.rfile.read(int(headers.get("content-length", 0)))
        parts, vendor, began = urlsplit(target), self.server.vendor, time.time()
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        reply, symbol = vendor.answer(parts.path, query, headers.get("cookie", ""))
        if vendor.latency_seconds:
            vendor.closing.wait(max(0.0, vendor.latency_seconds - (time.time() - began)))
        status = 0 if reply.cut_at == -1 else reply.status
        vendor.requests.append(Request(parts.path, query, status, began, symbol, headers))
        return self._send(reply)

    def _send(self, reply: Reply) -> bool:
        """``False``: the connection is to be closed."""
        if reply.cut_at == -1:
            # Linger 0: closing sends a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        head = [
            f"HTTP/1.1 {reply.status} {responses.get(reply.status, 'Unknown')}",
            f"Content-Type: {reply.content_type}",
            f"Content-Length: {len(reply.body)}",
            f"Date: {formatdate(usegmt=True)}",
            *(f"{name}: {value}" for name, value in reply.headers.items()),
        ]
        packed = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n"
        if reply.cut_at is not None:
            self.wfile.write(packed + reply.body[: reply.cut_at])
            return False
        if reply.pause_seconds:
            step = max(1, len(reply.body) // 100)
            self.wfile.write(packed)
            for i in range(0, len(reply.body), step):
                self.wfile.write(reply.body[i : i + step])
                if self.server.vendor.closing.wait(reply.pause_seconds):
                    return False
            return True
        self.wfile.write(packed + reply.body)
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description="Yahoo's v8 chart on loopback, for benchmarks.")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--now", help="the vendor's clock, such as 2026-11-20T16:00:00Z; default: the real one")
    args = parser.parse_args()
    now = datetime.fromisoformat(args.now).astimezone(UTC).timestamp() if args.now else None
    with Vendor(args.port, args.latency_ms / 1000, now) as vendor:
        print(vendor.url, flush=True)  # noqa: T201 - whoever started it waits for this line
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
