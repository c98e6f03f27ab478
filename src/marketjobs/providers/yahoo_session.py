"""How Yahoo is reached: yfinance's data layer on a session of ours, which spends the budget before each request and
raises at any refusal, so that yfinance neither asks again nor takes an outage for a delisting.

yfinance and curl_cffi are imported at the first request, on the thread that makes it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from marketjobs.errors import ProviderUnavailable, RateLimited
from marketjobs.providers.base import Connection
from marketjobs.providers.curl import (
    CONNECT_SECONDS,
    MAX_ANSWER_BYTES,
    Sockets,
    authorities,
    failed_to_connect,
    reason,
    seconds_to_send,
    timings,
)
from marketjobs.providers.yahoo_answers import CHART, QUOTES, SEARCH, SUMMARY, redirection, refusal, refuse_page
from marketjobs.providers.yahoo_values import NAME, malformed, printable

DEFAULT_BASE_URL = "https://query2.finance.yahoo.com"
COOKIE_URL = "https://fc.yahoo.com"
CRUMB_URL = "https://query1.finance.yahoo.com/v1/test/getcrumb"
CHART_PATH = "/v8/finance/chart/"
QUOTES_PATH = "/v7/finance/quote"
SUMMARY_PATH = "/v10/finance/quoteSummary/"
SEARCH_PATH = "/v1/finance/search"
THREADS = "marketjobs-yahoo"
_PARTS = {CHART_PATH: CHART, QUOTES_PATH: QUOTES, SUMMARY_PATH: SUMMARY, SEARCH_PATH: SEARCH}
_CRUMB = re.compile(r"[!-~]{1,64}")


class _Asked(NamedTuple):
    """What an address asks for: the answer's part, and the symbol where the address names one."""

    part: str
    symbol: str | None


def _asked(url: str) -> _Asked:
    for path, part in _PARTS.items():
        _, found, rest = url.partition(path)
        if found:
            return _Asked(part, unquote(rest.partition("?")[0]) or None)
    return _Asked("finance", None)


def rewritten(url: str, base_url: str) -> str:
    """The address that stands for ``url`` under ``base_url``: whatever host is asked for, only the host of a
    changed ``base_url`` is ever reached."""
    if base_url == DEFAULT_BASE_URL or url.startswith(f"{base_url}/"):
        return url
    parts = urlsplit(url)
    return f"{base_url}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")


def chart_data(session: Any) -> Any:
    """yfinance's data layer for what wants neither cookie nor crumb, on a session of ours, beside the process-wide one
    that a notebook may use.

    yfinance would fetch both all the same: two requests of the budget less for each process, no crumb endpoint that
    answers 429 while the chart is open, and yfinance's cookie database, which is shared by processes and not made for
    it, stays shut.
    """
    from yfinance.data import YfData

    class ChartData(YfData):  # type: ignore[misc]  # untyped upstream
        def _get_cookie_and_crumb(self, timeout: float = 30) -> tuple[None, str]:
            return None, "basic"

    logging.getLogger("yfinance").addFilter(_not_from_our_threads)
    # Not ChartData(session): its metaclass keeps one instance for all, and swaps the session of that.
    return type.__call__(ChartData, session)


def crumb_data(session: Any) -> Any:
    """The same for quotes and profiles, which want a cookie and the crumb that belongs to it.

    Both are fetched once, kept for other processes and later ones, and fetched anew when Yahoo no longer takes them.
    yfinance's own ways are not used: it keeps whatever came as the crumb (a web page, "Too Many Requests") for the life
    of the process, and falls back to a consent form that asks for more.
    """
    from yfinance.data import YfData

    class CrumbData(YfData):  # type: ignore[misc]  # untyped upstream
        _crumb: str | None
        _refused: str | None = None

        def _get_cookie_and_crumb(self, timeout: float = 30) -> tuple[str, str]:
            return self.crumb(), "basic"

        def crumb(self) -> str:
            """The one in force, fetched where there is none.  Raises ProviderError."""
            with self._cookie_lock:
                if self._crumb is None:
                    self._session.cookies.clear()
                    self._crumb = session.kept.restore(self._session.cookies, self._refused)
                if self._crumb is None:
                    self._session.get(COOKIE_URL)
                    self._crumb = _crumb_of(self._session.get(CRUMB_URL).content)
                    session.kept.keep(self._session.cookies, self._crumb)
                return self._crumb

        def forget(self, crumb: str) -> None:
            """It was refused; another thread, or another process, may have fetched a new one by now."""
            with self._cookie_lock:
                self._refused = crumb
                if self._crumb == crumb:
                    self._crumb = None

    logging.getLogger("yfinance").addFilter(_not_from_our_threads)
    return type.__call__(CrumbData, session)


class KeptCrumb:
    """Cookie and crumb in a file of the cache folder, for the processes of this host: each that fetched its own would
    spend two calls.  A file that can't be read or written is none."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self._file = folder / "crumb.json" if folder != Path() else None
        self._base_url = base_url

    def restore(self, cookies: Any, refused: str | None) -> str | None:
        """The crumb, its cookies in their place; ``None``: there is none, or it is the one that was refused."""
        if self._file is None:
            return None
        try:
            found = json.loads(self._file.read_bytes())
            crumb, sent_to, kept = found["crumb"], found["base_url"], found["cookies"]
            if sent_to != self._base_url or crumb == refused or not _CRUMB.fullmatch(crumb):
                return None
            for name, value, domain, path, is_secure in kept:
                cookies.set(name, value, domain=domain, path=path, secure=is_secure)
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return str(crumb)

    def keep(self, cookies: Any, crumb: str) -> None:
        if self._file is None:
            return
        kept = [[one.name, one.value, one.domain, one.path, one.secure] for one in cookies.jar]
        text = json.dumps({"base_url": self._base_url, "crumb": crumb, "cookies": kept})
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A name of its own: others may write at the same time, and nobody reads half a file.
            fresh = self._file.with_name(f"crumb.{os.getpid()}")
            fresh.touch(mode=0o600)
            fresh.write_text(text)
            fresh.replace(self._file)


def _crumb_of(body: bytes) -> str:
    refuse_page(body, None)
    said = body[:200].decode("utf-8", "replace").strip()
    if _CRUMB.fullmatch(said) and said[0] != "{":
        return said
    if "too many requests" in said.lower():
        raise RateLimited("yahoo says: too many requests (for a crumb)", provider=NAME)
    raise ProviderUnavailable(f'yahoo gave no crumb but "{printable(said, 40)}"', provider=NAME)


def _not_from_our_threads(record: logging.LogRecord) -> bool:
    """What yfinance has to say on our threads is said by our errors."""
    return not (record.threadName or "").startswith(THREADS)


@cache
def session_class() -> type[Any]:
    """The class is made at the first request because its base is imported then."""
    from curl_cffi.curl import CURL_WRITEFUNC_ERROR
    from curl_cffi.requests import Response, Session
    from curl_cffi.requests.exceptions import RequestException
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    class YahooSession(Session[Response]):
        """Spends one call before each request, bounds it in time and size, and raises at any refusal."""

        def __init__(self, connection: Connection) -> None:
            super().__init__(
                impersonate="chrome",
                curl_infos=timings(),
                proxy=connection.proxy,
                verify=authorities(connection.ca_bundle),  # type: ignore[arg-type]  # a path too
            )
            self._connection = connection
            self._of_thread = threading.local()  # curl_cffi has a connection for each
            self.kept = KeptCrumb(connection.cache_folder, connection.base_url)
            self._twice = Retrying(
                stop=stop_after_attempt(2), retry=retry_if_exception(failed_to_connect), reraise=True
            )

        def request(self, method: Any, url: str, **options: Any) -> Response:  # type: ignore[override]
            """Redirects are not followed: they lead to the consent page, and away from ``base_url``.

            Raises:
                ProviderError: whatever keeps the answer away.
            """
            target = rewritten(url, self._connection.base_url)
            options["timeout"] = self._connection.timeout_seconds
            options["allow_redirects"] = False
            asked = _asked(url)
            try:
                response = self._twice(self._send, method, target, asked, options)
            except RequestException as exc:
                raise ProviderUnavailable(
                    f"yahoo ({urlsplit(target).hostname}): {reason(exc, self._connection.timeout_seconds)}",
                    provider=NAME,
                    symbol=asked.symbol,
                    hint="marketjobs doctor",
                ) from exc
            return self._accepted(response, url, asked)

        def _send(self, method: Any, url: str, asked: _Asked, options: dict[str, Any]) -> Response:
            # Not spent for: curl sends again by itself when a kept connection turns out to be dead, before
            # a byte of an answer came.  Nothing switches that off.
            grant = self._connection.gate.spend()
            began = time.monotonic()
            if not self._sockets().take():
                self._connection.gate.sent(grant, began + CONNECT_SECONDS)
            body = bytearray()

            def receive(chunk: bytes) -> int:
                body.extend(chunk)
                return len(chunk) if len(body) <= MAX_ANSWER_BYTES else CURL_WRITEFUNC_ERROR

            try:
                response = super().request(method, url, **options, content_callback=receive)
            except RequestException as exc:
                if len(body) > MAX_ANSWER_BYTES:
                    raise malformed(asked.symbol, f"more than {MAX_ANSWER_BYTES >> 20} MiB") from exc
                raise
            self._sockets().give_back()
            self._connection.gate.sent(grant, began + seconds_to_send(response))
            response.content = bytes(body)
            return response

        def _sockets(self) -> Sockets:
            if not hasattr(self._of_thread, "sockets"):
                self._of_thread.sockets = Sockets()
            found: Sockets = self._of_thread.sockets
            return found

        def _accepted(self, response: Response, url: str, asked: _Asked) -> Response:
            status = response.status_code
            if url == COOKIE_URL and status < 500 and status != 429:
                return response  # a 404 that carries the cookie
            if status >= 400:
                retry_after = response.headers.get("retry-after")
                raise refusal(status, response.content, asked.symbol, retry_after, asked.part)
            if status >= 300:
                raise redirection(response.headers.get("location") or "", asked.symbol)
            return response

    return YahooSession
