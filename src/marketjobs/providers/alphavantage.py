"""Alpha Vantage: days, minutes, quotes, profiles and search of shares and funds; `alphavantage_answers` has what needs
no network.

Source: https://www.alphavantage.co/documentation/ (read 2026-11).  A free key has 25 calls a day, so that nothing is
asked twice: which of its two plans a key is of is a setting, not something to be found out at a call's price.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from marketjobs.domain.assets import AssetClass, Listing, Match
from marketjobs.domain.bars import BarAnswer, BarQuery
from marketjobs.domain.intervals import DAY_SECONDS, Interval
from marketjobs.domain.profiles import Profile
from marketjobs.domain.quotes import Quote
from marketjobs.domain.ranges import Range
from marketjobs.errors import PlanRestricted, ProviderError, RangeUnavailable, SymbolUnknown
from marketjobs.providers import alphavantage_answers as reading
from marketjobs.providers.alphavantage_answers import NAME, SENT_AS
from marketjobs.providers.base import Capabilities, Connection, Provider
from marketjobs.providers.http import Answer, HttpClient

PATH = "/query"
COMPACT_DAYS = 130
"""The last 100 sessions, which is what an answer holds unless all is asked for, go back at least so many days."""
COMPACT_BARS = 100
MINUTES_REACH_DAYS = 30
REFUSAL_KEPT_SECONDS = 7 * 86_400.0
PROBE_SYMBOL = "IBM"
SUFFIXES = {
    ".L": ".LON",
    ".DE": ".DEX",
    ".F": ".FRK",
    ".TO": ".TRT",
    ".V": ".TRV",
    ".BO": ".BSE",
    ".SS": ".SHH",
    ".SZ": ".SHZ",
}
"""An exchange at the end of a symbol of ours, and what this vendor calls it."""
_MINUTES = frozenset(Interval(name) for name in SENT_AS)


class AlphaVantage(Provider):
    """Prices as traded, as its free plan gives them; where ``premium`` is set days only, split-adjusted and with
    dividends."""

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(
        bars=frozenset({Interval.DAY_1}) | _MINUTES,
        asset_classes=frozenset({AssetClass.EQUITY, AssetClass.ETF, AssetClass.FUND}),
        reach_days=dict.fromkeys(_MINUTES, MINUTES_REACH_DAYS),
        quotes=1,
        profiles=True,
        search=True,
        needs_key=True,
        as_traded=True,
        prepost=True,
    )

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._is_premium = bool(connection.options.get("premium", False))
        if self._is_premium:
            # Its days are adjusted for splits then, its minutes never are, and one provider has one basis.
            self.capabilities = replace(  # type: ignore[misc]  # of this key's plan
                self.capabilities,
                bars=frozenset({Interval.DAY_1}),
                as_traded=False,
                prepost=False,
                why_not=dict.fromkeys(
                    _MINUTES, "with `premium` its days are split-adjusted, which its minutes are not"
                ),
            )
        self._http = HttpClient(NAME, connection, reading.refusal, key_parameter="apikey")
        self._all_days = RefusedAllDays(connection)

    @classmethod
    def preload(cls) -> None:
        import curl_cffi.requests  # noqa: F401

    @classmethod
    def listing(cls, symbol: str, asset_class: AssetClass = AssetClass.UNKNOWN) -> Listing | None:
        """American symbols are its own; of others the exchange is spelled its way, where it is known."""
        if asset_class not in (*cls.capabilities.asset_classes, AssetClass.UNKNOWN) or set(symbol) & set("^=&+"):
            return None
        base, dot, suffix = symbol.rpartition(".")
        theirs = SUFFIXES.get(f".{suffix}")
        if dot and (theirs or len(suffix) > 1):  # one letter more may be a class of shares
            return Listing(f"{base}{theirs}") if theirs else None
        if asset_class is AssetClass.UNKNOWN and "-" in symbol and len(symbol.rpartition("-")[2]) > 2:
            return None  # a coin in a currency, such as BTC-USD
        return Listing(symbol)

    async def lookup(self, symbol: str) -> list[Match]:
        """Those that are called so, with any exchange."""
        wanted = symbol.partition(".")[0].upper()
        return [match for match in await self.search(wanted) if match.symbol.partition(".")[0].upper() == wanted]

    async def search(self, text: str) -> list[Match]:
        return reading.parse_search(await self._ask({"function": "SYMBOL_SEARCH", "keywords": text.strip()}, None))

    async def bars(self, query: BarQuery) -> BarAnswer:
        """Days as far back as the key's plan goes; minutes and hours of the last 30 days.

        Raises:
            Unsupported: an interval that is not declared.
            RangeUnavailable: all of it lies further back.
            SymbolUnknown: the vendor's own word.
            RateLimited, QuotaExhausted, Unauthorised, PlanRestricted: of the key.
            ProviderUnavailable, MalformedAnswer: no answer, or none that can be read.
        """
        self.require_bars(query)
        return await (self._minutes(query) if query.interval.is_intraday else self._days(query))

    async def _days(self, query: BarQuery) -> BarAnswer:
        parse = reading.parse_adjusted if self._is_premium else reading.parse_daily
        earliest = int(time.time()) - COMPACT_DAYS * DAY_SECONDS
        if query.range.start < earliest and (self._is_premium or not self._all_days.is_known):
            try:
                return parse(await self._daily(query, "full"), query)
            except PlanRestricted:
                if self._is_premium:
                    raise
                self._all_days.note()  # a free key gives the last hundred only, since 2025
        answer = parse(await self._daily(query, "compact"), query)
        if query.range.start >= earliest:
            return answer
        first = min((row.stamp for row in answer.rows), default=query.range.end)
        if first >= query.range.end:
            raise RangeUnavailable(
                "alphavantage gives a free key days of the last 100 sessions only", provider=NAME, symbol=query.symbol
            )
        return replace(answer, query=replace(query, range=Range(max(first, query.range.start), query.range.end)))

    async def _daily(self, query: BarQuery, size: str) -> Answer:
        function = "TIME_SERIES_DAILY_ADJUSTED" if self._is_premium else "TIME_SERIES_DAILY"
        return await self._ask({"function": function, "symbol": query.symbol, "outputsize": size}, query.symbol)

    async def _minutes(self, query: BarQuery) -> BarAnswer:
        now = time.time()
        earliest = int(now) - MINUTES_REACH_DAYS * DAY_SECONDS
        if query.range.end <= earliest:
            raise RangeUnavailable(
                f"alphavantage gives {query.interval} bars of the last {MINUTES_REACH_DAYS} days only",
                provider=NAME,
                symbol=query.symbol,
            )
        is_recent = query.range.start >= now - COMPACT_BARS * query.interval.seconds
        parameters = {
            "function": "TIME_SERIES_INTRADAY",
            "symbol": query.symbol,
            "interval": SENT_AS[query.interval.value],
            "outputsize": "compact" if is_recent else "full",
            # Adjusted ones have dividends in their prices too.
            "adjusted": "false",
            "extended_hours": "true" if query.prepost else "false",
        }
        answer = reading.parse_intraday(await self._ask(parameters, query.symbol), query)
        return replace(answer, query=replace(query, range=Range(max(query.range.start, earliest), query.range.end)))

    async def quotes(self, listings: Sequence[Listing]) -> dict[Listing, Quote | ProviderError]:
        """One symbol a request."""
        found: dict[Listing, Quote | ProviderError] = {}
        for listing in listings:
            answer = await self._ask({"function": "GLOBAL_QUOTE", "symbol": listing.symbol}, listing.symbol)
            try:
                found[listing] = reading.parse_quote(answer, listing, time.time())
            except SymbolUnknown as error:
                found[listing] = error
        return found

    async def profile(self, listing: Listing) -> Profile:
        answer = await self._ask({"function": "OVERVIEW", "symbol": listing.symbol}, listing.symbol)
        return reading.parse_overview(answer, listing.symbol)

    async def _ask(self, parameters: dict[str, str], symbol: str | None) -> Answer:
        return await self._http.get(PATH, parameters, symbol=symbol)

    async def probe(self) -> None:
        """A quote of IBM: one of the day's calls."""
        await self.quotes([Listing(PROBE_SYMBOL)])

    def close(self) -> None:
        self._http.close()


class RefusedAllDays:
    """That the keys are given the last hundred days only: known to this process, and to the others of this host by a
    file of the cache folder, each of which would spend a call to find out.  A file counts for a week, because a plan
    may become another; one that can't be read or written is none."""

    def __init__(self, connection: Connection) -> None:
        keeps = connection.keys_digest and connection.cache_folder != Path()
        self._file = connection.cache_folder / f"last-days-only.{connection.keys_digest}" if keeps else None
        self._is_known = False

    @property
    def is_known(self) -> bool:
        if not self._is_known and self._file is not None:
            with suppress(OSError):
                self._is_known = abs(time.time() - self._file.stat().st_mtime) < REFUSAL_KEPT_SECONDS
        return self._is_known

    def note(self) -> None:
        self._is_known = True
        if self._file is not None:
            with suppress(OSError):
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file.touch(mode=0o600)
                now = time.time()
                os.utime(self._file, (now, now))
