"""Yahoo Finance: bars of minutes to months by its v8 chart, quotes of many symbols by its v7 quote, profiles by its v10
quoteSummary, stories and search by its v1 search.

Yahoo documents none of it.  Source: yfinance 1.7.0 (``data.py``, ``utils.py``, ``search.py``, ``scrapers``), answers
recorded from 2019 to 2026, yfinance issues 521 and 576, quantmod issue 263 (read 2026-11).

`yahoo_session` sends; `yahoo_chart` (with `yahoo_minutes`), `yahoo_quotes`, `yahoo_profile` and `yahoo_news` say what
is asked and read what comes, without a network; `yahoo_answers` and `yahoo_values` hold what they have in common.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote

from marketjobs.domain.assets import Listing, Match
from marketjobs.domain.bars import BarAnswer, BarQuery
from marketjobs.domain.intervals import DAY_SECONDS, Interval
from marketjobs.domain.news import NewsAnswer, NewsQuery
from marketjobs.domain.profiles import Profile
from marketjobs.domain.quotes import Quote
from marketjobs.domain.ranges import Range
from marketjobs.errors import (
    Blocked,
    NoData,
    ProviderError,
    ProviderUnavailable,
    RangeUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
)
from marketjobs.providers import yahoo_minutes as minutes
from marketjobs.providers.base import Capabilities, Connection, Provider
from marketjobs.providers.yahoo_chart import chart_params, joined, parse_chart
from marketjobs.providers.yahoo_news import news_params, parse_matches, parse_news, search_params
from marketjobs.providers.yahoo_profile import parse_summary, summary_params
from marketjobs.providers.yahoo_quotes import MOST_SYMBOLS, parse_quotes, quotes_params
from marketjobs.providers.yahoo_session import (
    CHART_PATH,
    QUOTES_PATH,
    SEARCH_PATH,
    SUMMARY_PATH,
    THREADS,
    chart_data,
    crumb_data,
    session_class,
)
from marketjobs.providers.yahoo_values import ASSET_CLASSES, NAME

PROBE_SYMBOL = "SPY"
NO_BARS = "Data doesn't exist for startDate"
"""How Yahoo says, with a 400, that a range of a symbol that it knows ends before the first bar."""
T = TypeVar("T")


class Yahoo(Provider):
    """Whatever Yahoo quotes: its bars are split-adjusted, ``adj_close`` is adjusted for dividends too."""

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(
        bars=frozenset(Interval) - {Interval.DAY_5},
        asset_classes=frozenset(ASSET_CLASSES.values()),
        reach_days=minutes.REACH_DAYS,
        quotes=MOST_SYMBOLS,
        profiles=True,
        news=True,
        search=True,
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
        session_class()
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
        client = self._client()
        return await self._on_thread(client, lambda: client.bars(query))

    async def quotes(self, listings: Sequence[Listing]) -> dict[Listing, Quote | ProviderError]:
        """One request, and in a process's first two more: for a cookie and a crumb.  Raises as :meth:`bars`."""
        if not listings:
            return {}
        if len(listings) > MOST_SYMBOLS:
            raise self._unsupported(f"takes {MOST_SYMBOLS} symbols in a request, not {len(listings)}", None)
        client = self._client()
        return await self._on_thread(client, lambda: client.quotes(listings))

    async def profile(self, listing: Listing) -> Profile:
        """One request, as for quotes.  Raises as :meth:`bars`, and NoData where Yahoo knows only the symbol."""
        client = self._client()
        return await self._on_thread(client, lambda: client.profile(listing.symbol))

    async def news(self, query: NewsQuery) -> NewsAnswer:
        """The newest stories about a symbol.  Raises as :meth:`bars`; ``Unsupported`` for a feed's address."""
        symbol = query.symbol
        if symbol is None:
            raise self._unsupported("reads no feeds", None)
        client = self._client()
        return await self._on_thread(client, lambda: client.news(symbol))

    async def search(self, text: str) -> list[Match]:
        """By name or symbol, Yahoo's best first.  Raises as :meth:`bars`."""
        client = self._client()
        return await self._on_thread(client, lambda: client.search(text))

    async def probe(self) -> None:
        """Five days of SPY.  Raises as :meth:`bars`."""
        today = int(time.time()) // DAY_SECONDS * DAY_SECONDS
        await self.bars(BarQuery(PROBE_SYMBOL, Interval.DAY_1, Range(today - 4 * DAY_SECONDS, today + DAY_SECONDS)))

    def _client(self) -> _Client:
        pid = os.getpid()
        client = self._clients.get(pid)
        if client is None:
            client = self._clients[pid] = _Client(self.connection)
        return client

    @staticmethod
    async def _on_thread(client: _Client, ask: Callable[[], T]) -> T:
        # The context goes along: a thread that waits for the budget is told when its job has ended.
        run = contextvars.copy_context().run
        return await asyncio.get_running_loop().run_in_executor(client.threads, run, ask)

    def close(self) -> None:
        """Without waiting: a thread that waits for an answer ends by its timeout, one that waits for the
        budget sends nothing more."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()


class _Client:
    """The threads and the sessions of one process, and the refusals since its last good answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._gate = connection.gate
        self._lock = Lock()
        self._layers: dict[Callable[[Any], Any], Any] = {}
        self._sessions: list[Any] = []
        self._closed = False
        self._refused: dict[type[ProviderError], str] = {}
        self.threads = ThreadPoolExecutor(connection.max_connections, thread_name_prefix=THREADS)

    # Each on a thread of the pool.

    def bars(self, query: BarQuery) -> BarAnswer:
        if not query.interval.is_intraday:
            return self._chart(query)
        parts = [self._chart(replace(query, range=part)) for part in minutes.parts(query, time.time())]
        return joined(query, parts)

    def _chart(self, query: BarQuery) -> BarAnswer:
        """One request."""
        path = f"{CHART_PATH}{quote(query.symbol, safe='=')}"
        try:
            return self._asked(query.symbol, lambda: parse_chart(self._plain(path, chart_params(query)), query))
        except RangeUnavailable as error:
            if NO_BARS in error.message:
                return BarAnswer(query, ())
            raise

    def quotes(self, listings: Sequence[Listing]) -> dict[Listing, Quote | ProviderError]:
        about = ",".join(listing.symbol for listing in listings)
        return self._asked(
            about, lambda: parse_quotes(self._with_crumb(QUOTES_PATH, quotes_params(listings)), listings)
        )

    def profile(self, symbol: str) -> Profile:
        path = f"{SUMMARY_PATH}{quote(symbol, safe='=')}"
        return self._asked(symbol, lambda: parse_summary(self._with_crumb(path, summary_params()), symbol))

    def news(self, symbol: str) -> NewsAnswer:
        return self._asked(symbol, lambda: parse_news(self._plain(SEARCH_PATH, news_params(symbol)), symbol))

    def search(self, words: str) -> list[Match]:
        return self._asked(words, lambda: parse_matches(self._plain(SEARCH_PATH, search_params(words))))

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._closed = True
            for session in self._sessions:
                session.close()

    def _plain(self, path: str, parameters: dict[str, str]) -> bytes:
        """The body of an answer that wants neither cookie nor crumb."""
        layer = self._layer(chart_data)
        body: bytes = layer.get(f"{self._connection.base_url}{path}", params=parameters).content
        return body

    def _with_crumb(self, path: str, parameters: dict[str, str]) -> bytes:
        """The body of an answer that wants both; a 401 is given one new crumb."""
        layer, url = self._layer(crumb_data), f"{self._connection.base_url}{path}"
        crumb = layer.crumb()
        try:
            response = layer.get(url, params=parameters)
        except Unauthorised:
            layer.forget(crumb)
            response = layer.get(url, params=parameters)
        body: bytes = response.content
        return body

    def _layer(self, make: Callable[[Any], Any]) -> Any:
        """With a session of its own: no cookie comes along where none is wanted."""
        with self._lock:
            if self._closed:
                raise ProviderUnavailable("yahoo was closed", provider=NAME)
            if make not in self._layers:
                self._sessions.append(session_class()(self._connection))
                self._layers[make] = make(self._sessions[-1])
            return self._layers[make]

    def _asked(self, about: str, ask: Callable[[], T]) -> T:
        """One question, and what its answer says about the next.  ``about``: the symbol or symbols."""
        try:
            answer = ask()
        except ProviderError as error:
            self._weigh(error, about)
            raise
        self._answered()
        return answer

    def _weigh(self, error: ProviderError, about: str) -> None:
        """Hold the provider, or not."""
        if isinstance(error, RateLimited):
            error.retry_after_seconds = self._gate.hold(error.message, error.retry_after_seconds)
        elif isinstance(error, Unauthorised | Blocked):
            with self._lock:
                first = self._refused.setdefault(type(error), about)
            if first != about or "," in about:  # of two symbols, whether asked for together or not
                error.retry_after_seconds = self._gate.hold(error.message, cause=error.cause)
        elif isinstance(error, ProviderUnavailable) and not self._closed:
            self._gate.failed(error.message)
        elif isinstance(error, SymbolUnknown | RangeUnavailable | NoData):
            self._answered()

    def _answered(self) -> None:
        with self._lock:
            self._refused.clear()
        self._gate.passed()
