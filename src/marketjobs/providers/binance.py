"""Binance: bars, quotes and pairs of the spot market; `binance_answers` has what needs no network.

Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api (read 2026-11).  Requests count by their
weight and by address, whatever key they carry, so that none is sent.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from marketjobs.domain.assets import AssetClass, Listing, Match
from marketjobs.domain.bars import BarAnswer, BarQuery
from marketjobs.domain.quotes import Quote
from marketjobs.domain.ranges import Range
from marketjobs.errors import ProviderError, RangeUnavailable, SymbolUnknown
from marketjobs.providers import binance_answers as reading
from marketjobs.providers.answers import Kept
from marketjobs.providers.base import Capabilities, Connection, Provider
from marketjobs.providers.binance_answers import FIRST_STAMP, NAME, ROWS_A_PAGE, SENT_AS, Columns, Pair
from marketjobs.providers.coins import coin_and_unit, coin_pair
from marketjobs.providers.http import Answer, HttpClient

UNITS = {"USD": ("USDT", "USDC", "FDUSD")}
"""What stands for a currency that it has no pairs in, the most traded first."""
_FIAT = {"ARS", "AUD", "BRL", "COP", "EUR", "GBP", "JPY", "MXN", "PLN", "RON", "TRY", "UAH", "ZAR"}
QUOTED_IN = frozenset({*_FIAT, *UNITS["USD"], "BTC", "ETH"})
KLINES_WEIGHT, PAIRS_WEIGHT, PING_WEIGHT = 2, 20, 1
NAMED_AT_MOST = 100
"""Beyond so many the tickers of all pairs cost the same weight, and no address grows too long."""
PAIRS_KEPT_SECONDS = 3600.0
PAGES_AN_ANSWER = 150
"""Some 100 days of minutes, 40 MB."""
FOUND_AT_MOST = 20
WEIGHT_WINDOW_SECONDS = 60
TOLD_EVERY_SECONDS = 1.0


def ticker_weight(pairs: int) -> int:
    """Of 24-hour tickers of so many."""
    return 2 if pairs <= 20 else 40 if pairs <= NAMED_AT_MOST else 80


class Binance(Provider):
    """Bars as traded on the exchange, UTC days; dollars are Tether's."""

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(
        bars=frozenset(SENT_AS),
        asset_classes=frozenset({AssetClass.CRYPTO}),
        quotes=500,
        search=True,
    )
    takes_ahead: ClassVar[int] = 32

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._http = HttpClient(NAME, connection, self._judged)
        self._pairs: Kept[list[Pair]] = Kept(PAIRS_KEPT_SECONDS)
        self._told_at = 0.0

    @classmethod
    def preload(cls) -> None:
        import curl_cffi.requests  # noqa: F401

    @classmethod
    def listing(cls, symbol: str, asset_class: AssetClass = AssetClass.UNKNOWN) -> Listing | None:
        """``BTC-USD`` is BTCUSDT, quoted in USDT; what is no pair must be looked up."""
        pair = coin_pair(symbol, asset_class)
        if pair is None:
            return None
        coin, unit = pair[0], UNITS.get(pair[1], pair[1:])[0]
        return Listing(f"{coin}{unit}", unit) if unit in QUOTED_IN and coin != unit and coin.isalnum() else None

    async def lookup(self, symbol: str) -> list[Match]:
        """A coin's pair in a unit, or in dollars; a pair as Binance writes it."""
        coin, unit = coin_and_unit(symbol)
        units = UNITS.get(unit, (unit,))
        pairs = {pair.symbol: pair for pair in await self._all_pairs()}
        found = [pair for pair in pairs.values() if pair.coin == coin and pair.unit in units]
        if found:  # others of them are the same coin
            return [reading.match(min(found, key=lambda pair: units.index(pair.unit)))]
        return [replace(reading.match(pairs[symbol]), symbol=symbol)] if symbol in pairs else []

    async def search(self, text: str) -> list[Match]:
        """Pairs of coins that begin so: Binance knows no other names."""
        wanted = text.strip().upper()
        found = [pair for pair in await self._all_pairs() if pair.coin.startswith(wanted)] if wanted else []
        found.sort(key=lambda pair: (pair.coin != wanted, pair.coin, _order(pair.unit, UNITS["USD"]), pair.symbol))
        return [reading.match(pair, rank) for rank, pair in enumerate(found[:FOUND_AT_MOST], 1)]

    async def bars(self, query: BarQuery) -> BarAnswer:
        """Rows ascending; a range of more than 1000 bars is asked for in pages, several at once; one of more than
        150,000 is answered as far as that.

        Raises:
            Unsupported: an interval that is not declared, or a pre-market.
            RangeUnavailable: it ends before Binance began.
            ProviderError: as `binance_answers.refusal` reads it, of the first page that failed.
        """
        self.require_bars(query)
        start = max(query.range.start, FIRST_STAMP)
        if start >= query.range.end:
            raise RangeUnavailable("binance has nothing before July 2017", provider=NAME, symbol=query.symbol)
        # The first page begins with the first bar there is: no request is spent on the years before a listing.
        columns = await self._page(query, start, query.range.end)
        if len(columns[0]) >= ROWS_A_PAGE:
            after = reading.bar_starts(query.interval, max(columns[0]), 1)
            pages = reading.pages(query.interval, after, query.range.end)
            some = pages if query.whole else pages[:PAGES_AN_ANSWER]
            columns = reading.joined([columns, *await self._further(query, some)])
            if len(some) < len(pages):
                spoken_for = replace(query, range=Range(query.range.start, some[-1][1]))
                return replace(reading.bar_answer(spoken_for, columns), goes_on=True)
        return reading.bar_answer(query, columns)

    async def _further(self, query: BarQuery, pages: list[tuple[int, int]]) -> list[Columns]:
        """The rows of all pages; after a failure no other page is begun."""
        found: dict[int, Columns] = {}
        left = list(enumerate(pages))[::-1]

        async def some() -> None:
            while left:
                place, (start, end) = left.pop()
                try:
                    found[place] = await self._page(query, start, end)
                except BaseException:
                    left.clear()
                    raise

        asked = [asyncio.create_task(some()) for _ in range(min(self.connection.max_connections, len(pages)))]
        try:
            await asyncio.gather(*asked)
        finally:
            await asyncio.gather(*asked, return_exceptions=True)
        return [found[place] for place in range(len(pages))]

    async def _page(self, query: BarQuery, start: int, end: int) -> Columns:
        answer = await self._http.get(
            "/api/v3/klines",
            {
                "symbol": query.symbol,
                "interval": SENT_AS[query.interval],
                "startTime": str(start * 1000),
                "endTime": str(end * 1000 - 1),
                "limit": str(ROWS_A_PAGE),
            },
            weight=KLINES_WEIGHT,
            symbol=query.symbol,
        )
        return reading.parse_klines(answer, query)

    async def quotes(self, listings: Sequence[Listing]) -> dict[Listing, Quote | ProviderError]:
        """24-hour tickers.  Binance refuses a list for one unknown name in it without saying which: then, as for long
        lists, the tickers of all pairs are asked for, and what is not among them is unknown."""
        symbols = list(dict.fromkeys(listing.symbol for listing in listings))
        parameters = {"symbols": json.dumps(symbols, separators=(",", ":"))}
        if len(symbols) == 1:
            parameters = {"symbol": symbols[0]}
        if len(symbols) <= NAMED_AT_MOST:
            try:
                return await self._tickers(parameters, listings, ticker_weight(len(symbols)))
            except SymbolUnknown as error:
                if len(symbols) == 1:
                    return dict.fromkeys(listings, error)
        return await self._tickers({}, listings, ticker_weight(NAMED_AT_MOST + 1))

    async def _tickers(
        self, parameters: dict[str, str], listings: Sequence[Listing], weight: int
    ) -> dict[Listing, Quote | ProviderError]:
        answer = await self._http.get("/api/v3/ticker/24hr", parameters, weight=weight, symbol=parameters.get("symbol"))
        return reading.parse_tickers(answer, listings)

    async def probe(self) -> None:
        await self._http.get("/api/v3/ping", weight=PING_WEIGHT)

    def close(self) -> None:
        self._http.close()

    async def _all_pairs(self) -> list[Pair]:
        async def ask() -> list[Pair]:
            return reading.parse_pairs(await self._http.get("/api/v3/exchangeInfo", weight=PAIRS_WEIGHT))

        return await self._pairs.get(ask)

    def _judged(self, answer: Answer, symbol: str | None) -> ProviderError | None:
        used, now = reading.used_weight(answer), time.monotonic()
        if used is not None and now >= self._told_at + TOLD_EVERY_SECONDS:
            self._told_at = now
            self.connection.gate.used(used, WEIGHT_WINDOW_SECONDS, grant=answer.grant)
        return reading.refusal(answer, symbol)


def _order(unit: str, preferred: Sequence[str]) -> int:
    return preferred.index(unit) if unit in preferred else len(preferred)
