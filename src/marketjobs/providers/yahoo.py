"""Yahoo Finance: bars of minutes to months by its v8 chart.  `yahoo_chart` has what needs no network.

Yahoo documents none of it.  Source: yfinance 1.7.0 (``data.py``, ``utils.py``, ``scrapers/history.py``),
answers recorded from 2019 to 2025, yfinance issues 521 and 576, quantmod issue 263 (read 2026-11).

A request goes through yfinance's data layer, which is handed a session of ours: that spends the budget
before each request and raises at any refusal, so that yfinance neither asks again nor takes an outage for a
delisting.  yfinance and curl_cffi are imported at the first request, on the thread that makes it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

from marketjobs.domain.bars import BarAnswer, BarQuery
from marketjobs.domain.intervals import DAY_SECONDS, Interval
from marketjobs.domain.ranges import Range
from marketjobs.errors import (
    Blocked,
    ProviderError,
    ProviderUnavailable,
    RangeUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
)
from marketjobs.providers import yahoo_minutes as minutes
from marketjobs.providers.base import Capabilities, Connection, Provider
from marketjobs.providers.yahoo_chart import ASSET_CLASSES, chart_params, joined, parse_chart, redirection, refusal
from marketjobs.providers.yahoo_values import NAME, malformed

DEFAULT_BASE_URL = "https://query2.finance.yahoo.com"
CHART_PATH = "/v8/finance/chart/"
MAX_ANSWER_BYTES = 32 << 20
THREADS = "marketjobs-yahoo"
PROBE_SYMBOL = "SPY"
NO_BARS = "Data doesn't exist for startDate"
"""How Yahoo says, with a 400, that a range of a symbol that it knows ends before the first bar."""


class Yahoo(Provider):
    """Bars of whatever Yahoo quotes, split-adjusted, ``adj_close`` adjusted for dividends too."""

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(
        bars=frozenset(Interval) - {Interval.DAY_5},
        asset_classes=frozenset(ASSET_CLASSES.values()),
        reach_days=minutes.REACH_DAYS,
        prepost=True,
        why_not={
            Interval.DAY_5: "its bars of five days begin wherever a request begins, so that no series can be kept"
        },
    )

    takes_ahead: ClassVar[int] = 32

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
        # The context goes along: a thread that waits for the budget is told when its job has ended.
        run = contextvars.copy_context().run
        return await asyncio.get_running_loop().run_in_executor(client.threads, run, client.bars, query)

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
        if not query.interval.is_intraday:
            return self._one(query)
        parts = [self._one(replace(query, range=part)) for part in minutes.parts(query, time.time())]
        return joined(query, parts)

    def _one(self, query: BarQuery) -> BarAnswer:
        """One request."""
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
            self._twice = Retrying(
                stop=stop_after_attempt(2), retry=retry_if_exception(failed_to_connect), reraise=True
            )

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
                response = self._twice(self._send, method, target, options)
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
                    raise malformed(_symbol_of(url), f"more than {MAX_ANSWER_BYTES >> 20} MiB") from exc
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
