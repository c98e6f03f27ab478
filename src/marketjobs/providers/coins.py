"""What the vendors of coins have in common: pairs as people write them, and days that are UTC's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from marketjobs.domain.assets import AssetClass, Listing, pair_of
from marketjobs.domain.bars import FINAL_AFTER_CLOSE_SECONDS, OpenSession
from marketjobs.domain.currencies import PAIRED, STAND_INS
from marketjobs.domain.intervals import DAY_SECONDS
from marketjobs.domain.quotes import Quote
from marketjobs.errors import ProviderError, SymbolUnknown
from marketjobs.providers import answers

FIAT = PAIRED - {"BTC", "ETH", *STAND_INS}
Row = Mapping[str, Any]
COIN_CLASSES = (AssetClass.CRYPTO, AssetClass.UNKNOWN)


def coin_pair(symbol: str, asset_class: AssetClass = AssetClass.UNKNOWN) -> tuple[str, str] | None:
    """``BTC-USD`` as coin and unit; ``None``: it is none (``BRK-B``, ``EUR-USD``), or the asset is no coin."""
    pair = pair_of(symbol) if asset_class in COIN_CLASSES else None
    return None if pair is None or pair[0] in FIAT or pair[0] == pair[1] else pair


def coin_and_unit(symbol: str) -> tuple[str, str]:
    """A symbol that may be a pair, or the coin alone, whose unit then is the dollar."""
    return coin_pair(symbol) or (symbol, "USD")


def by_currency(listings: Iterable[Listing]) -> dict[str, list[Listing]]:
    """Listings by what they are to be quoted in, dollars where none is named; each once."""
    groups: dict[str, list[Listing]] = {}
    for listing in dict.fromkeys(listings):
        groups.setdefault((listing.currency or "USD").upper(), []).append(listing)
    return groups


def by_listing(
    provider: str,
    listings: Iterable[Listing],
    rows: Mapping[str, Row],
    read: Callable[[Listing, Row], Quote | ProviderError],
) -> dict[Listing, Quote | ProviderError]:
    """What ``read`` makes of each listing's row; ``rows`` by the id that each names itself.  A listing without one is
    not known; where there are rows that nobody asked for, the answer is about something else."""
    listings = list(listings)
    strangers = rows.keys() - {listing.symbol for listing in listings}
    found: dict[Listing, Quote | ProviderError] = {}
    for listing in listings:
        symbol = listing.symbol
        if symbol in rows:
            found[listing] = read(listing, rows[symbol])
        elif strangers:
            found[listing] = answers.malformed(provider, symbol, f"figures of {answers.printable(min(strangers))}")
        else:
            found[listing] = unknown(provider, symbol)
    return found


def unknown(provider: str, symbol: str) -> SymbolUnknown:
    return SymbolUnknown(f"{provider} does not know {symbol}", provider=provider, symbol=symbol)


def utc_session(late_seconds: int = 0, now: float | None = None) -> OpenSession:
    """The day of UTC that counts as running: coins are traded round the clock.

    Args:
        late_seconds: how long after a day's end the vendor's figures of it are complete.
    """
    now = time.time() if now is None else now
    stamp = int(now - late_seconds - FINAL_AFTER_CLOSE_SECONDS) // DAY_SECONDS * DAY_SECONDS
    return OpenSession(stamp, stamp + DAY_SECONDS + late_seconds)
