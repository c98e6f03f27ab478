"""CoinGecko: quotes and profiles of thousands of coins, and days of the last month; `coingecko_answers` has what needs
no network.

Source: https://docs.coingecko.com/reference (read 2026-11).  A coin has an id; its ticker may be that of others too.
It answers without a key as well, to few requests.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar
from urllib.parse import quote

from marketjobs.domain.assets import AssetClass, AssetFacts, Listing, Match
from marketjobs.domain.bars import BarAnswer, BarQuery
from marketjobs.domain.intervals import DAY_SECONDS, Interval
from marketjobs.domain.profiles import Profile
from marketjobs.domain.quotes import Quote
from marketjobs.domain.ranges import Range
from marketjobs.errors import ProviderError, RangeUnavailable, Unsupported
from marketjobs.providers import answers
from marketjobs.providers import coingecko_answers as reading
from marketjobs.providers.answers import Kept, Together
from marketjobs.providers.base import Capabilities, Connection, Provider
from marketjobs.providers.coingecko_answers import NAME, Coin
from marketjobs.providers.coins import by_currency, coin_and_unit, utc_session
from marketjobs.providers.http import HttpClient

REACH_DAYS = 30
GIVEN_DAYS = (7, 14, REACH_DAYS)
"""How far back candles of four hours may be asked for."""
LATE_SECONDS = 40 * 60
"""The figures of a day are complete 35 minutes after its end."""
IDS_A_REQUEST = 250
COINS_KEPT_SECONDS = 6 * 3600.0
FOUND_AT_MOST = 20


class CoinGecko(Provider):
    """Prices averaged over exchanges; days of UTC, which have no volume."""

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(
        bars=frozenset({Interval.DAY_1}),
        asset_classes=frozenset({AssetClass.CRYPTO}),
        reach_days={Interval.DAY_1: REACH_DAYS},
        quotes=IDS_A_REQUEST,
        profiles=True,
        search=True,
        takes_keys=True,
    )

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        is_pro = "pro-api" in connection.base_url
        self._http = HttpClient(
            NAME, connection, reading.refusal, key_header="x-cg-pro-api-key" if is_pro else "x-cg-demo-api-key"
        )
        self._coins: Kept[dict[str, list[Coin]]] = Kept(COINS_KEPT_SECONDS)
        self._ranks = Together(self._all_ranks, IDS_A_REQUEST)

    @classmethod
    def preload(cls) -> None:
        import curl_cffi.requests  # noqa: F401

    @classmethod
    def listing(cls, symbol: str, asset_class: AssetClass = AssetClass.UNKNOWN) -> Listing | None:
        """Nothing follows from a ticker."""
        return None

    async def lookup(self, symbol: str) -> list[Match]:
        """All coins of a ticker, the most important first; the one of an id."""
        ticker, unit = coin_and_unit(symbol)
        coins = await self._all_coins()
        found = coins.get(ticker, []) + coins.get(f"={ticker}", [])
        if len(found) > 1:
            found = await self._ranked(found[:IDS_A_REQUEST])
        return [coin.match(unit) for coin in found]

    async def _ranked(self, coins: list[Coin]) -> list[Coin]:
        ranks = await self._ranks.about(coin.id for coin in coins)
        return sorted((coin._replace(rank=ranks.get(coin.id)) for coin in coins), key=reading.by_rank)

    async def _all_ranks(self, ids: Sequence[str]) -> dict[str, int]:
        answer = await self._http.get("/api/v3/coins/markets", _markets(",".join(ids), "usd"))
        return reading.parse_ranks(answer)

    async def _all_coins(self) -> dict[str, list[Coin]]:
        """By ticker, and by id behind an equals sign where that is no ticker of theirs."""

        async def ask() -> dict[str, list[Coin]]:
            answer = await self._http.get("/api/v3/coins/list")
            found: dict[str, list[Coin]] = {}
            for coin in reading.parse_coins(answers.decoded(NAME, answer, None)):
                found.setdefault(coin.symbol, []).append(coin)
                if coin.id.upper() != coin.symbol:
                    found[f"={coin.id.upper()}"] = [coin]
            return found

        return await self._coins.get(ask)

    async def search(self, text: str) -> list[Match]:
        """Coins by name or ticker; of the list of all coins, at a server that has no search."""
        wanted = text.strip().lower()
        if not wanted:
            return []
        try:
            found = reading.parse_found(await self._http.get("/api/v3/search", {"query": wanted}))
        except Unsupported:
            coins = {coin for group in (await self._all_coins()).values() for coin in group}
            named = [coin for coin in coins if wanted in coin.name.lower() or wanted == coin.symbol.lower()]
            found = await self._ranked(sorted(named)[:IDS_A_REQUEST]) if named else []
        return [coin.match("USD") for coin in found[:FOUND_AT_MOST]]

    async def bars(self, query: BarQuery) -> BarAnswer:
        """Days made of candles of four hours; those of the last 30 days only.

        Raises:
            Unsupported: an interval that is not declared, or a currency that it has no prices in.
            RangeUnavailable: the range ends before those days.
            ProviderError: as `coingecko_answers.refusal` reads it.
        """
        self.require_bars(query)
        now = time.time()
        # The day that the first candle lies in is not whole.
        first = (int(now) - REACH_DAYS * DAY_SECONDS) // DAY_SECONDS * DAY_SECONDS + DAY_SECONDS
        start = max(query.range.start, first)
        if start >= query.range.end:
            raise RangeUnavailable(
                f"coingecko gives days of the last {REACH_DAYS} only", provider=NAME, symbol=query.symbol
            )
        currency = (query.currency or "USD").upper()
        days = next((days for days in GIVEN_DAYS if now - days * DAY_SECONDS <= start), REACH_DAYS)
        answer = await self._http.get(
            f"/api/v3/coins/{quote(query.symbol, safe='')}/ohlc",
            {"vs_currency": currency.lower(), "days": str(days)},
            symbol=query.symbol,
        )
        return BarAnswer(
            replace(query, range=Range(start, query.range.end)),
            reading.parse_candles(answer, query, now),
            facts=AssetFacts(asset_class=AssetClass.CRYPTO, currency=currency, timezone="UTC"),
            session=utc_session(LATE_SECONDS, now),
        )

    async def quotes(self, listings: Sequence[Listing]) -> dict[Listing, Quote | ProviderError]:
        """One request for each currency that they are in."""
        found: dict[Listing, Quote | ProviderError] = {}
        for currency, group in by_currency(listings).items():
            ids = ",".join(dict.fromkeys(listing.symbol for listing in group))
            one = group[0].symbol if len(group) == 1 else None
            answer = await self._http.get("/api/v3/coins/markets", _markets(ids, currency.lower()), symbol=one)
            found.update(reading.parse_markets(answer, group, currency))
        return found

    async def profile(self, listing: Listing) -> Profile:
        unwanted = ("localization", "tickers", "community_data", "developer_data", "sparkline")
        answer = await self._http.get(
            f"/api/v3/coins/{quote(listing.symbol, safe='')}", dict.fromkeys(unwanted, "false"), symbol=listing.symbol
        )
        return reading.parse_profile(answer, listing)

    async def probe(self) -> None:
        await self._http.get("/api/v3/ping")

    def close(self) -> None:
        self._http.close()


def _markets(ids: str, currency: str) -> dict[str, str]:
    return {"ids": ids, "vs_currency": currency, "per_page": str(IDS_A_REQUEST)}
