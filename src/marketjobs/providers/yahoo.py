"""Yahoo Finance: daily, weekly and monthly bars by its v8 chart.

Yahoo documents none of it.  Source: yfinance 1.7.0 (``data.py``, ``utils.py``, ``scrapers/history.py``),
answers recorded from 2019 to 2025, yfinance issues 521 and 576, quantmod issue 263 (read 2026-11).

A request goes through yfinance's data layer, which is handed a session of ours: that spends the budget
before each request and raises at any refusal, so that yfinance neither asks again nor takes an outage for a
delisting.  yfinance and curl_cffi are imported at the first request, on the thread that makes it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit
from zoneinfo import ZoneInfo

import orjson

from marketjobs.domain.assets import AssetClass, AssetFacts
from marketjobs.domain.bars import DIVIDEND, SPLIT, Action, BarAnswer, BarQuery, OpenSession, RawRow
from marketjobs.domain.intervals import DAY_SECONDS, Interval, day_of, next_period, period_start, stamp_of
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
)
from marketjobs.providers.base import Capabilities, Connection, Provider

NAME = "yahoo"
DEFAULT_BASE_URL = "https://query2.finance.yahoo.com"
CHART_PATH = "/v8/finance/chart/"
MAX_ANSWER_BYTES = 32 << 20
MOST_DAYS = 36_135
"""Yahoo refuses more than a hundred years in one request; yfinance asks for so many."""
LIVE_TOLERANCE_SECONDS = 60
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
SHOWN_CHARACTERS = 160
THREADS = "marketjobs-yahoo"
PROBE_SYMBOL = "SPY"
NO_BARS = "Data doesn't exist for startDate"
"""How Yahoo says, with a 400, that a range of a symbol that it knows ends before the first bar."""

_PRICES = ("open", "high", "low", "close")
_ASSET_CLASSES = {
    "EQUITY": AssetClass.EQUITY,
    "ETF": AssetClass.ETF,
    "MUTUALFUND": AssetClass.FUND,
    "INDEX": AssetClass.INDEX,
    "CURRENCY": AssetClass.CURRENCY,
    "CRYPTOCURRENCY": AssetClass.CRYPTO,
    "FUTURE": AssetClass.FUTURE,
}
_STATUS_OF_CODE = {
    "bad request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not found": 404,
    "unprocessable entity": 422,
    "too many requests": 429,
}
_UNREADABLE = (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError)
"""What figures that are no figures raise on their way through json, zoneinfo and datetime."""


class Yahoo(Provider):
    """Bars of whatever Yahoo quotes, split-adjusted, ``adj_close`` adjusted for dividends too."""

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(
        bars=frozenset({Interval.DAY_1, Interval.WEEK_1, Interval.MONTH_1}),
        asset_classes=frozenset(_ASSET_CLASSES.values()),
    )

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        # By process: a forked child must neither use nor close the sockets of its parent.
        self._clients: dict[int, _Client] = {}

    @classmethod
    def preload(cls) -> None:
        """yfinance and curl_cffi: 0.8 s of CPU."""
        _session_class()
        import yfinance.data  # noqa: F401

    async def bars(self, query: BarQuery) -> BarAnswer:
        """Rows ascending as sent, a live row merged into its session's; none where Yahoo says so.

        Raises:
            Unsupported: an interval that is not declared.
            BudgetSpent: nothing was sent.
            RateLimited: the provider is held by now.
            Unauthorised, Blocked: held as well when a second symbol got the same answer.
            SymbolUnknown, RangeUnavailable: Yahoo's own word.
            ProviderUnavailable, MalformedAnswer: no answer, or none that can be read.
        """
        self.require_bars(query)
        pid = os.getpid()
        client = self._clients.get(pid)
        if client is None:
            client = self._clients[pid] = _Client(self.connection)
        return await asyncio.get_running_loop().run_in_executor(client.threads, client.bars, query)

    async def probe(self) -> None:
        """Five days of SPY.  Raises as :meth:`bars`."""
        today = int(time.time()) // DAY_SECONDS * DAY_SECONDS
        await self.bars(BarQuery(PROBE_SYMBOL, Interval.DAY_1, Range(today - 4 * DAY_SECONDS, today + DAY_SECONDS)))

    def close(self) -> None:
        """Without waiting: a thread that waits for an answer ends by its timeout, one that waits for the
        budget sends nothing more."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()


class _Client:
    """The threads and the session of one process, and the refusals since its last good answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._gate = connection.gate
        self._lock = Lock()
        self._data: Any = None
        self._session: Any = None
        self._closed = False
        self._refused: dict[type[ProviderError], str] = {}
        self.threads = ThreadPoolExecutor(connection.max_connections, thread_name_prefix=THREADS)

    def bars(self, query: BarQuery) -> BarAnswer:
        """On a thread of the pool."""
        url = f"{self._connection.base_url}{CHART_PATH}{quote(query.symbol, safe='=')}"
        try:
            response = self._opened().get(url, params=chart_params(query))
            answer = parse_chart(response.content, query)
        except ProviderError as error:
            self._weigh(error, query.symbol)
            if isinstance(error, RangeUnavailable) and NO_BARS in error.message:
                return BarAnswer(query, ())
            raise
        self._answered()
        return answer

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._closed = True
            if self._session is not None:
                self._session.close()

    def _opened(self) -> Any:
        with self._lock:
            if self._closed:
                raise ProviderUnavailable("yahoo was closed", provider=NAME)
            if self._data is None:
                self._session = _session_class()(self._connection)
                self._data = _data_layer(self._session)
            return self._data

    def _weigh(self, error: ProviderError, symbol: str) -> None:
        """What one answer says about the next: hold the provider, or not."""
        if isinstance(error, RateLimited):
            error.retry_after_seconds = self._gate.hold(error.message, error.retry_after_seconds)
        elif isinstance(error, Unauthorised | Blocked):
            with self._lock:
                first = self._refused.setdefault(type(error), symbol)
            if first != symbol:
                error.retry_after_seconds = self._gate.hold(error.message)
        elif isinstance(error, SymbolUnknown | RangeUnavailable):
            self._answered()

    def _answered(self) -> None:
        with self._lock:
            self._refused.clear()
        self._gate.passed()


def _data_layer(session: Any) -> Any:
    """yfinance's data layer on a session of ours, beside the process-wide one that a notebook may use.

    The chart needs neither cookie nor crumb (yfinance goes on without them), so they are not fetched: two
    requests of the budget less for each process, no crumb endpoint that answers 429 while the chart is open,
    and yfinance's cookie database, which is shared by processes and not made for it, stays shut.
    """
    from yfinance.data import YfData

    class ChartData(YfData):  # type: ignore[misc]  # untyped upstream
        def _get_cookie_and_crumb(self, timeout: float = 30) -> tuple[None, str]:
            return None, "basic"

    logging.getLogger("yfinance").addFilter(_not_from_our_threads)
    # Not ChartData(session): its metaclass keeps one instance for all, and swaps the session of that.
    return type.__call__(ChartData, session)


def _not_from_our_threads(record: logging.LogRecord) -> bool:
    """What yfinance has to say on our threads is said by our errors."""
    return not (record.threadName or "").startswith(THREADS)


class _NoCrumb(OSError):
    """A cookie or crumb was refused; yfinance goes on without one after an OSError."""


@cache
def _session_class() -> type[Any]:
    """The class is made at the first request because its base is imported then."""
    from curl_cffi.const import CurlECode
    from curl_cffi.curl import CURL_WRITEFUNC_ERROR
    from curl_cffi.requests import Response, Session
    from curl_cffi.requests.exceptions import ProxyError, RequestException
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    to_connect = {
        CurlECode.COULDNT_RESOLVE_PROXY,
        CurlECode.COULDNT_RESOLVE_HOST,
        CurlECode.COULDNT_CONNECT,
        CurlECode.SSL_CONNECT_ERROR,
    }
    reasons: dict[int, str] = {
        CurlECode.COULDNT_RESOLVE_PROXY: "the name of the proxy can't be resolved",
        CurlECode.COULDNT_RESOLVE_HOST: "the name can't be resolved",
        CurlECode.COULDNT_CONNECT: "no connection",
        CurlECode.OPERATION_TIMEDOUT: "no answer in time",
        CurlECode.SSL_CONNECT_ERROR: "TLS failed",
        CurlECode.PEER_FAILED_VERIFICATION: "its certificate is not trusted",
        CurlECode.SSL_CACERT_BADFILE: "the file of trusted authorities can't be read",
        CurlECode.GOT_NOTHING: "closed without an answer",
        CurlECode.RECV_ERROR: "connection lost",
        CurlECode.SEND_ERROR: "connection lost",
        CurlECode.PARTIAL_FILE: "the answer was cut",
        CurlECode.BAD_CONTENT_ENCODING: "the answer can't be unpacked",
    }

    def failed_to_connect(error: BaseException) -> bool:
        return isinstance(error, RequestException) and (error.code in to_connect or isinstance(error, ProxyError))

    class YahooSession(Session[Response]):
        """Spends one call before each request, bounds it in time and size, and raises at any refusal."""

        def __init__(self, connection: Connection) -> None:
            super().__init__(
                impersonate="chrome",
                proxy=connection.proxy,
                verify=_authorities(connection.ca_bundle),  # type: ignore[arg-type]  # a path too
            )
            self._connection = connection

        def request(self, method: Any, url: str, **options: Any) -> Response:  # type: ignore[override]
            """Redirects are not followed: they lead to the consent page, and away from ``base_url``.

            Raises:
                ProviderError: for a chart, whatever keeps its figures away.
                OSError, RateLimited: for a cookie or crumb, which yfinance can do without.
            """
            target = rewritten(url, self._connection.base_url)
            options["timeout"] = self._connection.timeout_seconds
            options["allow_redirects"] = False
            symbol = _symbol_of(url)
            try:
                send = Retrying(stop=stop_after_attempt(2), retry=retry_if_exception(failed_to_connect), reraise=True)
                response = send(self._send, method, target, options)
            except RequestException as exc:
                if symbol is None:
                    raise
                raise self._unavailable(exc, target, symbol) from exc
            return self._accepted(response, url, symbol)

        def _send(self, method: Any, url: str, options: dict[str, Any]) -> Response:
            # Not spent for: curl sends again by itself when a kept connection turns out to be dead, before
            # a byte of an answer came.  Nothing switches that off.
            self._connection.gate.spend()
            body = bytearray()

            def receive(chunk: bytes) -> int:
                body.extend(chunk)
                return len(chunk) if len(body) <= MAX_ANSWER_BYTES else CURL_WRITEFUNC_ERROR

            try:
                response = super().request(method, url, **options, content_callback=receive)
            except RequestException as exc:
                if len(body) > MAX_ANSWER_BYTES:
                    raise _malformed(_symbol_of(url), f"more than {MAX_ANSWER_BYTES >> 20} MiB") from exc
                raise
            response.content = bytes(body)
            return response

        def _accepted(self, response: Response, url: str, symbol: str | None) -> Response:
            status = response.status_code
            if symbol is None:
                if status == 429:
                    raise refusal(status, response.content, None, response.headers.get("retry-after"))
                if status >= 400 and urlsplit(url).hostname != "fc.yahoo.com":
                    raise _NoCrumb(f"{status} for a crumb")
            elif status >= 400:
                raise refusal(status, response.content, symbol, response.headers.get("retry-after"))
            elif status >= 300:
                raise redirection(response.headers.get("location") or "", symbol)
            return response

        def _unavailable(self, error: RequestException, url: str, symbol: str) -> ProviderUnavailable:
            reason = reasons.get(error.code, "")
            if isinstance(error, ProxyError):
                reason = reason or "the proxy refused the connection"
            if error.code == CurlECode.OPERATION_TIMEDOUT:
                reason = f"no answer within {self._connection.timeout_seconds:g} s"
            return ProviderUnavailable(
                f"yahoo ({urlsplit(url).hostname}): {reason or type(error).__name__}",
                provider=NAME,
                symbol=symbol,
                hint="marketjobs doctor",
            )

    return YahooSession


def _authorities(ca_bundle: str | None) -> str | bool:
    """The file of trusted authorities; ``True``: curl_cffi's own.

    curl_cffi reads SSL_CERT_FILE when it is imported and prefers REQUESTS_CA_BUNDLE to it later on; here the
    order is always the documented one.
    """
    if ca_bundle:
        return ca_bundle
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(name)
        if path and Path(path).is_file():
            return path
    return True


def rewritten(url: str, base_url: str) -> str:
    """The address that stands for ``url`` under ``base_url``: whatever host is asked for, only the host of a
    changed ``base_url`` is ever reached."""
    if base_url == DEFAULT_BASE_URL or url.startswith(f"{base_url}/"):
        return url
    parts = urlsplit(url)
    return f"{base_url}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")


def _symbol_of(url: str) -> str | None:
    """The symbol of a chart's address; ``None``: it is no chart (a cookie, a crumb)."""
    _, found, rest = url.partition(CHART_PATH)
    return unquote(rest.partition("?")[0]) if found else None


def chart_params(query: BarQuery) -> dict[str, str]:
    """What a chart is asked with.

    Margins: a session's stamp is 00:00Z of its date, its instants lie up to fourteen hours before and a day
    after.  Weeks and months are asked for whole, because Yahoo makes them of the days between ``period1`` and
    ``period2`` only, and its weeks begin on the weekday of ``period1``: that is a Monday.  One period more
    than wanted, which may be cut, comes before and after; rows outside the range are dropped by the check.
    """
    interval, wanted = query.interval, query.range
    first, last = day_of(wanted.start), day_of(wanted.end - 1)
    if interval is Interval.DAY_1:
        start, end = wanted.start - DAY_SECONDS, wanted.end + DAY_SECONDS
    else:
        start = stamp_of(period_start(period_start(first, interval) - timedelta(days=1), interval))
        end = stamp_of(next_period(last, interval)) + DAY_SECONDS
    if end - start > MOST_DAYS * DAY_SECONDS:
        cut = date.fromordinal(day_of(end).toordinal() - MOST_DAYS)
        start = stamp_of(next_period(cut, interval))
    return {
        "period1": str(start),
        "period2": str(end),
        "interval": interval.value,
        "includePrePost": "false",
        "events": "div,splits",
    }


def refusal(status: int, body: bytes, symbol: str | None, retry_after: str | None = None) -> ProviderError:
    """What a status of 400 or more means; Yahoo's own words decide, where it sent any."""
    try:
        document = orjson.loads(body)
    except ValueError:
        document = None
    error = _error_of(document, "chart")
    if error is None:
        about = _error_of(document, "finance")
        return _refusal(status, None, about[1] if about else "", symbol, retry_after)
    return _refusal(status, error[0], error[1], symbol, retry_after)


def _refusal(status: int, code: str | None, words: str, symbol: str | None, retry_after: str | None) -> ProviderError:
    """``code``: of ``chart.error``; ``None``: the answer had none."""
    said = f': "{words}"' if words else ""
    kind: type[ProviderError] = ProviderUnavailable
    text = f"yahoo answered {status}{said}"
    if status == 401:
        kind, text = Unauthorised, f"yahoo refused access (401){said}"
    elif status == 403:
        kind, text = Blocked, f"yahoo blocks this address or client (403){said}"
    elif status == 429:
        kind, text = RateLimited, "yahoo says: too many requests (429)"
    elif status == 404 and code is not None:
        kind, text = SymbolUnknown, f"yahoo does not know {symbol}{said}"
    elif status in (400, 422) and code is not None:
        kind, text = RangeUnavailable, f"yahoo does not give this range of {symbol}{said}"
    return kind(text, provider=NAME, symbol=symbol, retry_after_seconds=retry_after_seconds(retry_after))


def redirection(location: str, symbol: str) -> ProviderError:
    """What a redirect means: the chart has none of its own."""
    host = urlsplit(location).hostname or "another page"
    if "consent" in location or host.startswith("guce."):
        return Blocked("yahoo asks for consent instead of answering", provider=NAME, symbol=symbol)
    return ProviderUnavailable(
        f"yahoo redirects to {_printable(host)}: a proxy or a login page in between?",
        provider=NAME,
        symbol=symbol,
    )


def retry_after_seconds(text: str | None) -> float | None:
    """Seconds or an HTTP date, as seconds from now, 0 to a day; ``None``: nothing that can be read."""
    if not text:
        return None
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return min(float(text.strip()), LONGEST_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def parse_chart(body: bytes, query: BarQuery) -> BarAnswer:
    """The answer that a chart's body holds; values are left as they were sent.

    Raises:
        MalformedAnswer: it can't be read as the bars that were asked for.
        Blocked: it is the consent page.
        ProviderError: it carries an error of Yahoo's, of the class that its code means.
    """
    result = _result(_decoded(body, query.symbol), query.symbol)
    meta = result.get("meta")
    if not isinstance(meta, dict):
        raise _malformed(query.symbol, "no description of the asset")
    symbol = meta.get("symbol")
    if not isinstance(symbol, str) or symbol.upper() != query.symbol.upper():
        raise _malformed(query.symbol, f"figures of {_printable(symbol)}")
    granularity = meta.get("dataGranularity", query.interval.value)
    if granularity != query.interval.value:
        raise _malformed(query.symbol, f"bars of {_printable(granularity)} instead of {query.interval}")
    zone_name, zone = _zone(meta)
    kind = meta.get("instrumentType")
    return BarAnswer(
        query,
        rows=_rows(result, meta, query, zone),
        actions=_actions(result.get("events"), query.range, zone),
        facts=AssetFacts(
            name=_text(meta.get("longName")) or _text(meta.get("shortName")),
            asset_class=_ASSET_CLASSES.get(kind, AssetClass.UNKNOWN) if isinstance(kind, str) else AssetClass.UNKNOWN,
            currency=_text(meta.get("currency")),
            exchange=_text(meta.get("exchangeName")),
            timezone=zone_name,
        ),
        session=_open_session(meta, zone),
    )


def _decoded(body: bytes, symbol: str) -> Any:
    start = body[:512].lstrip()
    if start.startswith(b"<"):
        if b"consent" in body[: 1 << 16].lower():
            raise Blocked("yahoo asks for consent instead of answering", provider=NAME, symbol=symbol)
        raise _malformed(symbol, "a web page")
    try:
        return orjson.loads(body)
    except ValueError as exc:
        # The literals are no JSON; only rows that hold one are bad, so these bodies go the slow way.
        if b"NaN" not in body and b"Infinity" not in body:
            raise _malformed(symbol, "no JSON, or a part of it") from exc
    try:
        return json.loads(body, parse_int=_bounded_int)
    except _UNREADABLE as exc:
        raise _malformed(symbol, "no JSON, or a part of it") from exc


def _bounded_int(digits: str) -> int | float:
    """As orjson: an integer beyond 64 bits is a float."""
    return int(digits) if len(digits) < 19 else float(digits)


def _result(document: Any, symbol: str) -> dict[str, Any]:
    """The first result of a chart."""
    chart = document.get("chart") if isinstance(document, dict) else None
    error = _error_of(document, "chart") or _error_of(document, "finance")
    if error is not None:
        code, words = error
        raise _refusal(_STATUS_OF_CODE.get(code.lower(), 500), code, words, symbol, None)
    results = chart.get("result") if isinstance(chart, dict) else None
    if not isinstance(results, list) or not results or not isinstance(results[0], dict):
        raise _malformed(symbol, "no result and no reason")
    return results[0]


def _error_of(document: Any, part: str) -> tuple[str, str] | None:
    """Code and words of an error, made fit for a terminal; ``None``: there is none."""
    inner = document.get(part) if isinstance(document, dict) else None
    error = inner.get("error") if isinstance(inner, dict) else None
    if not error:
        return None
    if not isinstance(error, dict):
        return "", _printable(error)
    return _printable(error.get("code") or ""), _printable(error.get("description") or "")


def _zone(meta: dict[str, Any]) -> tuple[str | None, tzinfo]:
    """The exchange's zone and its IANA name, else a fixed offset, else UTC."""
    name = meta.get("exchangeTimezoneName")
    if isinstance(name, str) and name:
        try:
            return name, ZoneInfo(name)
        except _UNREADABLE:
            pass
    try:
        return None, timezone(timedelta(seconds=int(meta["gmtoffset"])))
    except _UNREADABLE:
        return None, UTC


def _session_ordinal(at: float, zone: tzinfo) -> int:
    """The ordinal of the session's date.

    A bar opens at midnight or with its exchange.  Yahoo misses midnight by an hour or two where a zone
    changed its rules (Brazil in 2022): a full hour from 22:00 on belongs to the next day.
    """
    local = datetime.fromtimestamp(at, zone)
    missed = local.hour >= 22 and local.minute == 0 and local.second == 0
    return local.toordinal() + missed


def _rows(result: dict[str, Any], meta: dict[str, Any], query: BarQuery, zone: tzinfo) -> tuple[RawRow, ...]:
    times = result.get("timestamp")
    if times is None:
        times = []
    if not isinstance(times, list):
        raise _malformed(query.symbol, "timestamps that are no list")
    figures = result.get("indicators")
    column = partial(_column, count=len(times), symbol=query.symbol)
    quotes = _first(figures, "quote")
    if quotes is None and times:
        raise _malformed(query.symbol, "timestamps without figures")
    adjusted = _first(figures, "adjclose")
    live_at = _number(meta.get("regularMarketTime"))
    is_live = bool(times) and live_at is not None and _is_near(times[-1], live_at)
    try:
        ordinals = [_session_ordinal(at, zone) for at in times]
        if is_live:  # a trade's instant, which is never meant to be another day's midnight
            ordinals[-1] = datetime.fromtimestamp(times[-1], zone).toordinal()
        stamps = _stamps(ordinals, query)
        instants = [float(at) for at in times]
    except _UNREADABLE as exc:
        raise _malformed(query.symbol, "timestamps that are no instants") from exc
    rows = list(
        map(
            RawRow,
            stamps,
            instants,
            *(column(quotes, name) for name in _PRICES),
            column(adjusted, "adjclose"),
            column(quotes, "volume"),
        )
    )
    return tuple(_with_live_merged(rows, query.interval) if is_live else rows)


def _stamps(ordinals: Sequence[int], query: BarQuery) -> list[int]:
    epoch = date(1970, 1, 1).toordinal()
    if query.interval is Interval.DAY_1:
        return [(ordinal - epoch) * DAY_SECONDS for ordinal in ordinals]
    days = [date.fromordinal(ordinal) for ordinal in ordinals]
    starts = [period_start(day, query.interval) for day in days]
    # The first may begin with a listing and the last with a trade; were another to begin in the middle of a
    # week, its figures would be those of two weeks.
    if days[1:-1] != starts[1:-1]:
        odd = next(day for day, start in zip(days[1:-1], starts[1:-1], strict=True) if day != start)
        raise _malformed(query.symbol, f"a bar of {query.interval} that begins on {odd:%A %Y-%m-%d}")
    return [stamp_of(start) for start in starts]


def _is_near(at: Any, live_at: float) -> bool:
    moment = _number(at)
    return moment is not None and abs(moment - live_at) <= LIVE_TOLERANCE_SECONDS


def _with_live_merged(rows: list[RawRow], interval: Interval) -> list[RawRow]:
    """Yahoo sends the running session as a last row stamped with the last trade, often beside the row of the
    same day, week or month.  Only that pair is made one; other duplicates are the check's to reject.

    A day: both say the same and the live row says it later, so it stays.  A week or month: its row gets the
    live row's close and range.  yfinance adds both volumes up; but once the day is over the period's row
    holds that day too (recorded: AAPL, 2024-10-11, where the month's row is the sum of its days up to the
    11th), so that they are added only while the live row says something new.
    """
    if len(rows) < 2:
        return rows
    period, live = rows[-2:]
    if period.stamp != live.stamp or period.at >= live.at:
        return rows
    if live[2:6] == (None,) * 4:
        return rows[:-1]
    if interval is Interval.DAY_1 or period[2:6] == (None,) * 4:
        return [*rows[:-2], live]
    figures = [_number(value) for value in (*period[2:6], *live[2:6])]
    if None in figures:
        return rows  # the check names the rule that they break
    says_new = live.close != period.close or live.high > period.high or live.low < period.low
    merged = period._replace(
        at=live.at,
        high=max(period.high, live.high),
        low=min(period.low, live.low),
        close=live.close,
        adj_close=live.adj_close,
        volume=_sum(period.volume, live.volume) if says_new else period.volume,
    )
    return [*rows[:-2], merged]


def _sum(period: Any, live: Any) -> Any:
    """Both volumes together; what is no volume is left for the check."""
    first, second = _number(period), _number(live)
    if second is None or second <= 0:
        return period
    return period + live if first is not None and first >= 0 else period


def _first(figures: Any, name: str) -> dict[str, Any] | None:
    group = figures.get(name) if isinstance(figures, dict) else None
    first = group[0] if isinstance(group, list) and group else None
    return first if isinstance(first, dict) else None


def _column(group: dict[str, Any] | None, name: str, *, count: int, symbol: str) -> list[Any]:
    """A column as sent; of ``None`` where Yahoo sent none."""
    values = group.get(name) if group is not None else None
    if values is None:
        return [None] * count
    if not isinstance(values, list) or len(values) != count:
        raise _malformed(symbol, f"{count} timestamps but another number of {name}")
    return values


def _actions(events: Any, wanted: Range, zone: tzinfo) -> tuple[Action, ...]:
    """Dividends and splits of the range, ascending; an event that can't be read is left out."""
    if not isinstance(events, dict):
        return ()
    found = [
        *_events(events.get("dividends"), DIVIDEND, _amount, zone),
        *_events(events.get("splits"), SPLIT, _ratio, zone),
    ]
    return tuple(sorted(action for action in found if action.ts in wanted))


def _events(
    group: Any, kind: str, value_of: Callable[[dict[str, Any]], float | None], zone: tzinfo
) -> Iterable[Action]:
    """``group``: event by instant; the instant of a month's or week's event is the period's, its ``date`` the
    session's."""
    for event in group.values() if isinstance(group, dict) else ():
        if not isinstance(event, dict):
            continue
        at, value = _number(event.get("date")), value_of(event)
        if at is None or value is None or not 0 < value < math.inf:
            continue
        try:
            day = date.fromordinal(_session_ordinal(at, zone))
        except _UNREADABLE:
            continue
        yield Action(stamp_of(day), kind, value)


def _amount(event: dict[str, Any]) -> float | None:
    return _number(event.get("amount"))


def _ratio(event: dict[str, Any]) -> float | None:
    """New shares for one old."""
    new, old = _number(event.get("numerator")), _number(event.get("denominator"))
    return new / old if new is not None and old else None


def _open_session(meta: dict[str, Any], zone: tzinfo) -> OpenSession | None:
    period = meta.get("currentTradingPeriod")
    regular = period.get("regular") if isinstance(period, dict) else None
    if not isinstance(regular, dict):
        return None
    start, end = _number(regular.get("start")), _number(regular.get("end"))
    if start is None or end is None or end < start:
        return None
    try:
        return OpenSession(stamp_of(datetime.fromtimestamp(start, zone).date()), end)
    except _UNREADABLE:
        return None


def _number(value: Any) -> float | None:
    """A finite number as float, else ``None``."""
    if type(value) is not int and type(value) is not float:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str | None:
    return (_printable(value) or None) if isinstance(value, str) else None


def _printable(value: Any) -> str:
    """Foreign text on one line, bounded, without what a terminal would obey."""
    text = " ".join("".join(char if char.isprintable() else " " for char in str(value)[:1000]).split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def _malformed(symbol: str | None, what: str) -> MalformedAnswer:
    return MalformedAnswer(f"yahoo's answer for {symbol} can't be read: {what}", provider=NAME, symbol=symbol)
