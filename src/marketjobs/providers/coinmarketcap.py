"""CoinMarketCap: quotes and figures of coins; `coinmarketcap_answers` has what needs no network.

Source: https://coinmarketcap.com/api/documentation/v1/ (read 2026-11).  A coin has a number; its ticker may be that of
others too.  It wants a key, and counts a call for each hundred coins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from marketjobs.domain.assets import AssetClass, Listing, Match
from marketjobs.domain.profiles import Profile
from marketjobs.domain.quotes import Quote
from marketjobs.errors import ProviderError
from marketjobs.providers import coinmarketcap_answers as reading
from marketjobs.providers.answers import Kept
from marketjobs.providers.base import Capabilities, Connection, Provider
from marketjobs.providers.coinmarketcap_answers import NAME, Coin
from marketjobs.providers.coins import by_currency, coin_and_unit, unknown
from marketjobs.providers.http import Answer, HttpClient

IDS_A_CALL = 100
COINS_A_PAGE = 5000
PAGES_AT_MOST = 10
COINS_KEPT_SECONDS = 24 * 3600.0
FOUND_AT_MOST = 20
_NUMBERED = re.compile(r"([A-Z].*?)(\d{3,6})")


class CoinMarketCap(Provider):
    """Prices averaged over exchanges, by the numbers of its coins."""

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(
        asset_classes=frozenset({AssetClass.CRYPTO}),
        quotes=IDS_A_CALL,
        profiles=True,
        search=True,
        needs_key=True,
    )

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._http = HttpClient(NAME, connection, reading.refusal, key_header="X-CMC_PRO_API_KEY")
        self._coins: Kept[list[Coin]] = Kept(COINS_KEPT_SECONDS)

    @classmethod
    def preload(cls) -> None:
        import curl_cffi.requests  # noqa: F401

    @classmethod
    def listing(cls, symbol: str, asset_class: AssetClass = AssetClass.UNKNOWN) -> Listing | None:
        """Nothing follows from a ticker."""
        return None

    async def lookup(self, symbol: str) -> list[Match]:
        """All coins of a ticker, the most important first.  Yahoo tells them apart by CoinMarketCap's own numbers:
        ``UNI7083-USD`` is the UNI of number 7083."""
        ticker, unit = coin_and_unit(symbol)
        coins = await self._all_coins()
        found = [coin for coin in coins if coin.symbol == ticker]
        numbered = _NUMBERED.fullmatch(ticker)
        if not found and numbered:
            one = [coin for coin in coins if (coin.symbol, coin.id) == numbered.groups()]
            return [replace(coin.match(unit), symbol=ticker) for coin in one]
        return [coin.match(unit) for coin in sorted(found, key=reading.by_rank)]

    async def search(self, text: str) -> list[Match]:
        """Coins with the text in their name, or as their ticker, the most important first."""
        wanted = text.strip().lower()
        found = [
            coin
            for coin in await self._all_coins()
            if wanted and (wanted in coin.name.lower() or wanted == coin.symbol.lower() or wanted == coin.slug)
        ]
        return [coin.match("USD") for coin in sorted(found, key=reading.by_rank)[:FOUND_AT_MOST]]

    async def _all_coins(self) -> list[Coin]:
        async def ask() -> list[Coin]:
            found: dict[str, Coin] = {}
            for page in range(PAGES_AT_MOST):
                parameters = {
                    "listing_status": "active",
                    "sort": "cmc_rank",
                    "start": str(page * COINS_A_PAGE + 1),
                    "limit": str(COINS_A_PAGE),
                }
                coins = reading.parse_map(await self._http.get("/v1/cryptocurrency/map", parameters))
                before = len(found)
                found.update((coin.id, coin) for coin in coins)
                if len(coins) < COINS_A_PAGE or len(found) == before:
                    break
            return list(found.values())

        return await self._coins.get(ask)

    async def quotes(self, listings: Sequence[Listing]) -> dict[Listing, Quote | ProviderError]:
        """One request for each currency that they are in."""
        found: dict[Listing, Quote | ProviderError] = {}
        for currency, group in by_currency(listings).items():
            ids = [listing.symbol for listing in group if listing.symbol.isdecimal()]
            if not ids:
                found |= {listing: unknown(NAME, listing.symbol) for listing in group}
                continue
            answer = await self._latest(ids, currency, ids[0] if len(ids) == 1 else None)
            found |= reading.parse_quotes(answer, group, currency)
        return found

    async def _latest(self, ids: Sequence[str], currency: str, symbol: str | None = None) -> Answer:
        parameters = {"id": ",".join(dict.fromkeys(ids)), "convert": currency, "skip_invalid": "true"}
        return await self._http.get(
            "/v2/cryptocurrency/quotes/latest", parameters, weight=-(-len(ids) // IDS_A_CALL), symbol=symbol
        )

    async def profile(self, listing: Listing) -> Profile:
        """Figures; its texts cost a second call, and say what a search does."""
        currency = (listing.currency or "USD").upper()
        row = None
        if listing.symbol.isdecimal():
            answer = await self._latest([listing.symbol], currency, listing.symbol)
            row = reading.coin_rows(answer, listing.symbol).get(listing.symbol)
        if row is None:
            raise unknown(NAME, listing.symbol)
        return reading.profile_of(row, currency)

    async def probe(self) -> None:
        """What it has to say about the key, which costs no call."""
        await self._http.get("/v1/key/info")

    def close(self) -> None:
        self._http.close()
