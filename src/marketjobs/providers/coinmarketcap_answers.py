"""CoinMarketCap's answers, read without a network: quotes, the map of its coins, and what its refusals mean.

Source: https://coinmarketcap.com/api/documentation/v1/ and its page on errors and rate limits (read 2026-11), answers
recorded in 2019.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from marketjobs.domain.assets import AssetClass, AssetFacts, Listing, Match
from marketjobs.domain.profiles import Profile
from marketjobs.domain.quotes import Quote
from marketjobs.errors import (
    NoData,
    PlanRestricted,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
    Unsupported,
)
from marketjobs.providers import answers
from marketjobs.providers.coins import by_listing
from marketjobs.providers.http import Answer

NAME = "coinmarketcap"
_KINDS: dict[int, tuple[type[ProviderError], str]] = {
    1001: (Unauthorised, "coinmarketcap does not know the key"),
    1002: (Unauthorised, "coinmarketcap wants a key"),
    1003: (PlanRestricted, "coinmarketcap's plan was not paid"),
    1004: (PlanRestricted, "coinmarketcap's plan has run out"),
    1005: (Unauthorised, "coinmarketcap wants a key for this"),
    1006: (PlanRestricted, "coinmarketcap gives this to other plans only"),
    1007: (Unauthorised, "coinmarketcap switched the key off"),
    1008: (RateLimited, "coinmarketcap says: too many requests in a minute"),
    1009: (QuotaExhausted, "coinmarketcap's calls of today are used up"),
    1010: (QuotaExhausted, "coinmarketcap's calls of this month are used up"),
    1011: (RateLimited, "coinmarketcap says: too many requests of this address"),
}
_FINE = re.compile(rb'"error_code"\s*:\s*"?0\b')


def refusal(answer: Answer, symbol: str | None) -> ProviderError | None:
    """What an answer means that is not what was asked for, some of them with a status of 200; ``None``: it is."""
    if answer.status == 200 and _FINE.search(answer.body):
        return None
    code, words = _code_and_words(answer.body)
    said = f': "{answers.printable(words)}"' if words else ""
    if code in _KINDS:
        kind, text = _KINDS[code]
        wait = answers.retry_after_seconds(answer.headers)
        if wait is None and kind in (RateLimited, QuotaExhausted):
            wait = seconds_to_reset(code, time.time())
        return kind(f"{text} ({code}){said}", provider=NAME, symbol=symbol, retry_after_seconds=wait)
    if answer.status == 400 and "convert" in words:
        return Unsupported(f"coinmarketcap has no prices in this currency{said}", provider=NAME, symbol=symbol)
    if answer.status == 400 and words and symbol is None:  # it does not say of which of them it speaks
        return answers.malformed(NAME, None, f"it refuses what was asked (400){said}")
    if answer.status == 400 and words:
        return SymbolUnknown(f"coinmarketcap does not know {symbol}{said}", provider=NAME, symbol=symbol)
    if answer.status == 402:
        return PlanRestricted(f"coinmarketcap's plan was not paid (402){said}", provider=NAME, symbol=symbol)
    if answer.status == 200 and code:
        return answers.malformed(NAME, symbol, f"error {code}{said}")
    return answers.refusal(NAME, answer, symbol, words)


def _code_and_words(body: bytes) -> tuple[int, str]:
    try:
        document = orjson.loads(body)
    except ValueError:
        return 0, ""
    status = document.get("status") if isinstance(document, dict) else None
    if not isinstance(status, dict):
        return 0, ""
    code = status.get("error_code")
    if isinstance(code, str) and code.isdecimal() and len(code) < 10:
        code = int(code)
    return code if type(code) is int else 0, answers.text(status.get("error_message"), most=400) or ""


def seconds_to_reset(code: int, now: float) -> float:
    """Until the minute, the day or the month of UTC is over that a limit is of."""
    moment = datetime.fromtimestamp(now, UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if code == 1010:
        return ((midnight.replace(day=1) + timedelta(days=32)).replace(day=1) - moment).total_seconds()
    if code == 1009:
        return (midnight + timedelta(days=1) - moment).total_seconds()
    return 60.0


# Quotes


def parse_quotes(answer: Answer, listings: Sequence[Listing], currency: str) -> dict[Listing, Quote | ProviderError]:
    """Of each listing's id.  Raises MalformedAnswer."""
    rows = coin_rows(answer, listings[0].symbol if len(listings) == 1 else None)
    return by_listing(NAME, listings, rows, lambda listing, row: _quote(listing, row, currency))


def coin_rows(answer: Answer, symbol: str | None) -> dict[str, Mapping[str, Any]]:
    """By the id that a row names itself.  Raises MalformedAnswer."""
    document = answers.decoded(NAME, answer, symbol)
    data = document.get("data") if isinstance(document, dict) else None
    rows = list(data.values()) if isinstance(data, dict) else data
    if not isinstance(rows, list) or not all(isinstance(row, dict) and type(row.get("id")) is int for row in rows):
        raise answers.malformed(NAME, symbol, "it is no list of coins")
    return {str(row["id"]): row for row in rows}


def _quote(listing: Listing, row: Mapping[str, Any], currency: str) -> Quote | ProviderError:
    given = _in_currency(row, currency)
    if given is None:
        return answers.malformed(NAME, listing.symbol, f"no price in {currency}")
    price = given.get("price")
    at = answers.instant_of(given.get("last_updated") or row.get("last_updated"))
    if price is None:
        return NoData(f"coinmarketcap has no price of {listing.symbol} now", provider=NAME, symbol=listing.symbol)
    if at is None:
        return answers.malformed(NAME, listing.symbol, "a price without an instant")
    return Quote(
        price=price,
        at=at,
        currency=currency,
        change_percent=answers.number(given.get("percent_change_24h")),
        market_cap=answers.number(given.get("market_cap")),
    )


def _in_currency(row: Mapping[str, Any], currency: str) -> Mapping[str, Any] | None:
    quotes = row.get("quote")
    given = quotes.get(currency) if isinstance(quotes, dict) else None
    return given if isinstance(given, dict) else None


def profile_of(row: Mapping[str, Any], currency: str) -> Profile:
    given = _in_currency(row, currency) or {}
    figures = {
        "market_cap": given.get("market_cap"),
        "circulating_supply": row.get("circulating_supply"),
        "total_supply": row.get("total_supply"),
        "max_supply": row.get("max_supply"),
        "market_cap_rank": row.get("cmc_rank"),
    }
    return Profile(
        AssetFacts(answers.text(row.get("name")), AssetClass.CRYPTO, currency),
        figures=answers.numbers(figures),
    )


# The map


class Coin(NamedTuple):
    """``symbol`` in capitals; several coins share one."""

    id: str
    symbol: str
    name: str
    slug: str
    rank: int | None

    def match(self, currency: str) -> Match:
        return Match(Listing(self.id, currency), self.symbol, self.name, AssetClass.CRYPTO, rank=self.rank)


def parse_map(answer: Answer) -> list[Coin]:
    """As sent.  Raises MalformedAnswer."""
    found = []
    for coin, row in coin_rows(answer, None).items():
        symbol, rank = answers.text(row.get("symbol")), row.get("rank")
        if symbol:
            name = answers.text(row.get("name")) or symbol
            slug = answers.text(row.get("slug")) or ""
            found.append(Coin(coin, symbol.upper(), name, slug, rank if type(rank) is int else None))
    return found


def by_rank(coin: Coin) -> tuple[bool, int, int]:
    """The most important first, those without a rank last, the older of two first."""
    return coin.rank is None, coin.rank or 0, int(coin.id)
