"""What a vendor calls an asset of ours: by an alias, by the symbol's form, or by asking the vendor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from marketjobs.domain.assets import AssetClass, Listing, Match, pair_of, told_class
from marketjobs.domain.intervals import day_of, stamp_of
from marketjobs.errors import (
    AmbiguousSymbol,
    AssetRenamed,
    MalformedAnswer,
    MarketJobsError,
    NoData,
    RangeUnavailable,
    SymbolDelisted,
    SymbolUnknown,
)
from marketjobs.providers.base import Provider
from marketjobs.services.failover import class_of
from marketjobs.storage import assets
from marketjobs.storage.assets import AssetRecord
from marketjobs.storage.database import Database, Transaction

CLEARLY = 10
"""A match is meant when the next one is so many times further down in the vendor's own order."""
SHOWN_CHOICES = 5
ADVISED_SYMBOLS = 5


_ABOUT_ONE = (SymbolUnknown, SymbolDelisted, RangeUnavailable, NoData, MalformedAnswer)
"""What is said of one asset."""


@dataclass(frozen=True, slots=True)
class Named:
    """A symbol with what is stored of it: its asset (``None``: it has none yet), its class, its names at vendors."""

    symbol: str
    record: AssetRecord | None
    asset_class: AssetClass
    listings: dict[str, Listing]

    @property
    def id(self) -> int:
        return self.record.id if self.record else 0

    @property
    def currency(self) -> str | None:
        """What its prices are in, as far as that is known: stored, or told by the symbol of a pair."""
        if self.record is not None and self.record.currency:
            return self.record.currency
        pair = pair_of(self.symbol)
        return pair[1] if pair else None


def named(tx: Transaction, symbols: Sequence[str]) -> dict[str, Named]:
    """By symbol, in the order of the symbols."""
    records = assets.records(tx, symbols)
    by_asset: dict[int, dict[str, Listing]] = {record.id: {} for record in records.values()}
    for (asset, provider), listing in assets.listings(tx, by_asset, stamp_of(day_of(int(tx.now())))).items():
        by_asset[asset][provider] = listing
    found = {}
    for symbol in symbols:
        record = records.get(symbol)
        asset_class = class_of(symbol, record.asset_class if record else None)
        found[symbol] = Named(symbol, record, asset_class, by_asset[record.id] if record else {})
    return found


async def listing(one: Named, provider: Provider) -> Listing:
    """What a provider calls it.

    Raises:
        AmbiguousSymbol: the vendor knows several things by that name.
        SymbolUnknown: it knows none.
        ProviderError: it can't be asked.
    """
    known = one.listings.get(provider.name) or provider.listing(one.symbol, one.asset_class)
    return known or chosen(one, await provider.lookup(one.symbol), provider.name)


def by_our_symbol(one: Named, listing: Listing, error: MarketJobsError) -> MarketJobsError:
    """An error in words that name the symbol which was asked for: an adapter only knows what the vendor calls it."""
    if isinstance(error, _ABOUT_ONE) and error.symbol == listing.symbol:
        return error.about(one.symbol)
    return error


def chosen(one: Named, matches: Sequence[Match], provider: str) -> Listing:
    """The one match that is meant beyond doubt; raises what :func:`listing` does."""
    pair = pair_of(one.symbol)
    names = {one.symbol} | ({pair[0]} if pair else set())
    fitting = [
        match
        for match in matches
        if {match.symbol.upper(), match.listing.symbol.upper()} & names
        and (AssetClass.UNKNOWN in (one.asset_class, match.asset_class) or one.asset_class is match.asset_class)
    ]
    if not fitting:
        raise SymbolUnknown(f"{provider} knows no {one.symbol}", provider=provider, symbol=one.symbol)
    ranked = sorted(fitting, key=lambda match: (match.rank is None, match.rank or 0))
    first = ranked[0]
    if len(ranked) == 1 or (
        first.rank is not None and (ranked[1].rank is None or ranked[1].rank >= CLEARLY * first.rank)
    ):
        return first.listing
    # A symbol that does not say what it is becomes no asset by an alias.
    is_new = one.record is None and told_class(one.symbol) is AssetClass.UNKNOWN
    choices = ", ".join(map(_choice, ranked[:SHOWN_CHOICES]))
    more = f" and {len(ranked) - SHOWN_CHOICES} more" if len(ranked) > SHOWN_CHOICES else ""
    raise AmbiguousSymbol(
        f"{one.symbol} can mean several things at {provider}: {choices}{more}",
        hint=(f"marketjobs assets add {one.symbol}, then " if is_new else "")
        + f"marketjobs assets alias {one.symbol} {provider} {first.listing.symbol}",
    )


def _choice(match: Match) -> str:
    words = [match.name, None if match.rank is None else f"rank {match.rank}"]
    told = ", ".join(word for word in words if word)
    return match.listing.symbol + (f" ({told})" if told else "")


class Advice:
    """What to type instead, for the first few symbols of a job that are not known: who mistyped a thousand need not be
    told a thousand times, and to look costs a walk through all assets."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._left = ADVISED_SYMBOLS

    def on(self, symbol: str, error: MarketJobsError) -> str | None:
        """``None``: nothing comes near, or the error is of another kind."""
        if isinstance(error, AmbiguousSymbol):
            return f"say which: {error.hint}"
        if isinstance(error, AssetRenamed):
            return error.hint
        if not isinstance(error, SymbolUnknown) or not self._left:
            return None
        self._left -= 1
        with self._database.read() as tx:
            found = assets.near(tx, symbol)
        return f"did you mean {' or '.join(found)}?" if found else None
