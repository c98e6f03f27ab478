"""Yahoo's v7 quote, read without a network: latest prices of many symbols in one answer.

Yahoo documents none of it.  Source: yfinance 1.7.0 (``scrapers/quote.py``), answers recorded in 2022 and 2025, quantmod
pull request 433 and yahoo-finance2 issues 896 and 901 (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from marketjobs.domain.assets import Listing
from marketjobs.domain.quotes import Quote
from marketjobs.errors import NoData, ProviderError, SymbolUnknown
from marketjobs.providers.yahoo_answers import QUOTES, results_of
from marketjobs.providers.yahoo_values import NAME, malformed, number, printable, text

MOST_SYMBOLS = 99
"""Since March 2025 Yahoo fails on more in one request."""
_FIELDS = {
    "change_percent": "regularMarketChangePercent",
    "previous_close": "regularMarketPreviousClose",
    "day_open": "regularMarketOpen",
    "day_high": "regularMarketDayHigh",
    "day_low": "regularMarketDayLow",
    "volume": "regularMarketVolume",
    "market_cap": "marketCap",
}
_ASKED = ("symbol", "currency", "regularMarketPrice", "regularMarketTime", *_FIELDS.values())


def quotes_params(listings: Sequence[Listing]) -> dict[str, str]:
    """What quotes are asked with; without ``fields`` each would be of 3 kB."""
    symbols = dict.fromkeys(listing.symbol for listing in listings)
    return {"symbols": ",".join(symbols), "fields": ",".join(_ASKED), "formatted": "false"}


def parse_quotes(body: bytes, listings: Sequence[Listing]) -> dict[Listing, Quote | ProviderError]:
    """For each listing its quote, or why there is none.

    A symbol that is left out is one that Yahoo does not know, but for two kinds of bad days: figures of symbols that
    nobody asked for, and an answer that leaves out most of what was asked (in March 2025 all but one).

    Raises:
        MalformedAnswer: it can't be read.
        ProviderError: it carries an error of Yahoo's, of the class that its code means.
    """
    results = results_of(body, QUOTES, listings[0].symbol if len(listings) == 1 else None)
    found = {
        one["symbol"].upper(): one for one in results if isinstance(one, dict) and isinstance(one.get("symbol"), str)
    }
    wanted = {listing.symbol.upper() for listing in listings}
    strangers = [symbol for symbol in found if symbol not in wanted]
    missing = wanted - set(found)
    damage = None
    if strangers:
        damage = f"figures of {printable(strangers[0])}"
    elif len(found) < len(results):
        damage = "figures of no symbol"
    elif len(missing) > max(2, len(wanted) / 2):
        damage = f"{len(missing)} of {len(wanted)} symbols were left out"
    return {listing: _quote(found.get(listing.symbol.upper()), listing, damage) for listing in listings}


def _quote(found: Mapping[str, Any] | None, listing: Listing, damage: str | None) -> Quote | ProviderError:
    symbol = listing.symbol
    if found is None:
        if damage is not None:
            return malformed(symbol, damage)
        return SymbolUnknown(f"yahoo does not know {symbol}", provider=NAME, symbol=symbol)
    price, at = found.get("regularMarketPrice"), found.get("regularMarketTime")
    if price is None or at is None:
        return NoData(f"yahoo has no price of {symbol}", provider=NAME, symbol=symbol)
    return Quote(
        price=price,
        at=at,
        currency=text(found.get("currency")),
        **{name: number(found.get(field)) for name, field in _FIELDS.items()},
    )
