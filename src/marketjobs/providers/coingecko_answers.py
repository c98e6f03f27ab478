"""CoinGecko's answers, read without a network: candles, markets, coins, and what its refusals mean.

Source: https://docs.coingecko.com/reference and .../docs/errors-and-rate-limits (read 2026-11), answers recorded from
2021 to 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from marketjobs.domain.assets import AssetClass, AssetFacts, Listing, Match
from marketjobs.domain.bars import BarQuery, RawRow
from marketjobs.domain.intervals import DAY_SECONDS
from marketjobs.domain.profiles import Profile
from marketjobs.domain.quotes import Quote
from marketjobs.errors import (
    NoData,
    PlanRestricted,
    ProviderError,
    QuotaExhausted,
    RangeUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
    Unsupported,
)
from marketjobs.providers import answers
from marketjobs.providers.coins import by_listing
from marketjobs.providers.http import Answer
from marketjobs.providers.plain import web_address

NAME = "coingecko"
CANDLE_SECONDS = 4 * 3600
CANDLES_A_DAY = DAY_SECONDS // CANDLE_SECONDS
SUMMARY_CHARACTERS = 4000
_KINDS: dict[int, type[ProviderError]] = {
    429: RateLimited,
    10002: Unauthorised,
    10005: PlanRestricted,
    10010: Unauthorised,
    10011: Unauthorised,
    10012: RangeUnavailable,
}


def refusal(answer: Answer, symbol: str | None) -> ProviderError | None:
    """What an answer means that is not what was asked for; ``None``: it is."""
    if answer.status == 200 and not answer.body.startswith((b'{"status"', b'{"error')):
        return None
    code, words = _code_and_words(answer.body)
    kind = _KINDS.get(code)
    if kind is RateLimited and "month" in words.lower():
        kind = QuotaExhausted
    elif kind is None and answer.status == 404 and "coin not found" in words.lower():
        kind = SymbolUnknown
    elif kind is None and ("vs_currenc" in words or "Incorrect path" in words):
        kind = Unsupported
    elif kind is None and answer.status in (400, 422) and words:
        kind = RangeUnavailable
    if symbol is None and kind in (SymbolUnknown, RangeUnavailable) and code not in _KINDS:
        said = answers.printable(words)  # it does not say of which of them it speaks
        return answers.malformed(NAME, None, f'it refuses what was asked ({answer.status}): "{said}"')
    if kind is None:
        return answers.refusal(NAME, answer, symbol, words) or answers.malformed(NAME, symbol, "an error of no kind")
    said = f': "{answers.printable(words)}"' if words else ""
    texts = {
        RateLimited: "coingecko says: too many requests (429)",
        QuotaExhausted: f"coingecko's calls of this month are used up{said}",
        Unauthorised: f"coingecko refused the key ({code}){said}",
        PlanRestricted: f"coingecko gives this to other plans only ({code}){said}",
        RangeUnavailable: f"coingecko does not give this of {symbol}{said}",
        SymbolUnknown: f"coingecko does not know {symbol}{said}",
        Unsupported: f"coingecko does not have this{said}",
    }
    wait = answers.retry_after_seconds(answer.headers)
    return kind(texts[kind], provider=NAME, symbol=symbol, retry_after_seconds=wait)


def _code_and_words(body: bytes) -> tuple[int, str]:
    """Of ``{"error": TEXT}``, ``{"status": {...}}``, ``{"error": {"status": {...}}}``, ``{"error_code": ...}``."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return 0, ""
    code: Any = None
    words: Any = None
    for _ in range(3):
        if not isinstance(document, dict):
            break
        code = document.get("error_code", code)
        words = document.get("error_message", words)
        words = document["error"] if isinstance(document.get("error"), str) else words
        document = document.get("status") if isinstance(document.get("status"), dict) else document.get("error")
    return code if type(code) is int else 0, answers.text(words, most=400) or ""


# Candles


def parse_candles(answer: Answer, query: BarQuery, now: float) -> list[RawRow]:
    """Days of UTC made of candles of four hours, ascending; a day that lacks one, for whatever reason, is left out.

    A candle is stamped with its end.  The running day is made of those there are.  Raises MalformedAnswer.
    """
    document = answers.decoded(NAME, answer, query.symbol)
    if not isinstance(document, list) or not all(_is_candle(row) for row in document):
        raise answers.malformed(NAME, query.symbol, "it is no list of candles")
    document.sort(key=itemgetter(0))
    candles = [row for row, _ in groupby(document)]  # the same twice is no contradiction
    # The last may be stamped with now: it is not over.
    steps = [later[0] - earlier[0] for earlier, later in pairwise(candles[:-1])]
    if any(0 < step < CANDLE_SECONDS * 1000 for step in steps) or min(steps, default=0) > CANDLE_SECONDS * 1000:
        raise answers.malformed(NAME, query.symbol, "its candles are not of four hours")
    days = groupby(candles, key=lambda row: (row[0] - 1) // (DAY_SECONDS * 1000) * DAY_SECONDS)
    rows = [_day(stamp, list(parts), now) for stamp, parts in days]
    return [row for row in rows if row is not None]


def _is_candle(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 5 and type(row[0]) is int and 0 < row[0] < 1 << 46


def _day(stamp: int, candles: Sequence[list[Any]], now: float) -> RawRow | None:
    """``None``: it is not known from its beginning to its end, or to now."""
    slots = [(candle[0] // 1000 - stamp - 1) // CANDLE_SECONDS for candle in candles]
    is_running = stamp <= now < stamp + DAY_SECONDS
    if slots != list(range(len(slots))) or not (is_running or len(slots) == CANDLES_A_DAY):
        return None
    at = stamp + slots[-1] * CANDLE_SECONDS
    odd = next((one for one in candles if any(answers.number(value) is None for value in one[1:])), None)
    if odd is not None:  # for the check to refuse
        return RawRow(stamp, at, odd[1], odd[2], odd[3], odd[4], None, None)
    return RawRow(
        stamp,
        at,
        float(candles[0][1]),
        max(float(candle[2]) for candle in candles),
        min(float(candle[3]) for candle in candles),
        float(candles[-1][4]),
        None,
        None,
    )


# Markets


def parse_markets(answer: Answer, listings: Sequence[Listing], currency: str) -> dict[Listing, Quote | ProviderError]:
    """Raises MalformedAnswer."""
    rows = _rows(answer, listings[0].symbol if len(listings) == 1 else None)
    by_id = {row["id"]: row for row in rows}
    return by_listing(NAME, listings, by_id, lambda listing, row: _quote(listing, row, currency))


def _rows(answer: Answer, symbol: str | None = None) -> list[dict[str, Any]]:
    rows = answers.decoded(NAME, answer, symbol)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
        raise answers.malformed(NAME, symbol, "it is no list of coins")
    return rows


def _quote(listing: Listing, row: Mapping[str, Any], currency: str) -> Quote | ProviderError:
    price, at = row.get("current_price"), answers.instant_of(row.get("last_updated"))
    if price is None:
        return NoData(f"coingecko has no price of {listing.symbol} now", provider=NAME, symbol=listing.symbol)
    if at is None:
        return answers.malformed(NAME, listing.symbol, "a price without an instant")
    return Quote(
        price=price,
        at=at,
        currency=currency,
        change_percent=answers.number(row.get("price_change_percentage_24h")),
        day_high=answers.number(row.get("high_24h")),
        day_low=answers.number(row.get("low_24h")),
        market_cap=answers.number(row.get("market_cap")),
    )


def parse_ranks(answer: Answer) -> dict[str, int]:
    """By id, where it has one.  Raises MalformedAnswer."""
    return {row["id"]: row["market_cap_rank"] for row in _rows(answer) if type(row.get("market_cap_rank")) is int}


# Coins


class Coin(NamedTuple):
    """``symbol`` in capitals; several coins share one."""

    id: str
    symbol: str
    name: str
    rank: int | None = None

    def match(self, currency: str) -> Match:
        return Match(Listing(self.id, currency), self.symbol, self.name, AssetClass.CRYPTO, rank=self.rank)


def parse_coins(rows: Any) -> list[Coin]:
    """Those with an id and a ticker.  Raises MalformedAnswer."""
    if not isinstance(rows, list):
        raise answers.malformed(NAME, None, "it is no list of coins")
    found = []
    for row in rows:
        if not isinstance(row, dict):
            continue
        coin, symbol = answers.text(row.get("id")), answers.text(row.get("symbol"))
        if coin and symbol:
            rank = row.get("market_cap_rank")
            name = answers.text(row.get("name")) or coin
            found.append(Coin(coin, symbol.upper(), name, rank if type(rank) is int else None))
    return found


def by_rank(coin: Coin) -> tuple[bool, int, str]:
    """The most important first, those without a rank last."""
    return coin.rank is None, coin.rank or 0, coin.id


def parse_found(answer: Answer) -> list[Coin]:
    """What a search found.  Raises MalformedAnswer."""
    document = answers.decoded(NAME, answer, None)
    return parse_coins(document.get("coins") if isinstance(document, dict) else None)


def parse_profile(answer: Answer, listing: Listing) -> Profile:
    """Figures in the listing's currency, else in dollars.  Raises MalformedAnswer."""
    document = answers.decoded(NAME, answer, listing.symbol)
    if not isinstance(document, dict) or document.get("id") != listing.symbol:
        raise answers.malformed(NAME, listing.symbol, "it is of another coin")
    market, links, words = (_object(document.get(name)) for name in ("market_data", "links", "description"))
    categories, pages = document.get("categories"), links.get("homepage")
    currency = (listing.currency or "USD").upper()
    figures = {
        "market_cap": _object(market.get("market_cap")).get(currency.lower()),
        "circulating_supply": market.get("circulating_supply"),
        "total_supply": market.get("total_supply"),
        "max_supply": market.get("max_supply"),
        "market_cap_rank": document.get("market_cap_rank"),
    }
    return Profile(
        AssetFacts(answers.text(document.get("name")), AssetClass.CRYPTO, currency),
        industry=answers.text(categories[0]) if isinstance(categories, list) and categories else None,
        website=web_address(pages[0]) if isinstance(pages, list) and pages else None,
        summary=answers.text(words.get("en"), SUMMARY_CHARACTERS),
        figures=answers.numbers(figures),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
