"""Assets and their aliases."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlmodel import col, delete, select

from marketjobs.domain.assets import AssetClass, AssetFacts
from marketjobs.storage.database import Database
from marketjobs.storage.engine import session
from marketjobs.storage.tables import Asset, AssetAlias, BarCoverage, BarGap, CorporateAction, PriceBar

ACTIVE, INACTIVE = "active", "inactive"


@dataclass(frozen=True, slots=True)
class AssetRecord:
    """An asset as it is shown."""

    id: int
    symbol: str
    name: str | None
    asset_class: str
    currency: str | None
    exchange: str | None
    timezone: str | None
    status: str


def ensure(database: Database, symbols: Iterable[str]) -> dict[str, int]:
    """The ids of assets by symbol, made where they are new.  New assets are active: who fetches a symbol
    wants it kept fresh."""
    wanted = list(dict.fromkeys(symbols))
    with session(database) as current:
        found = _by_symbol(current, wanted)
        for symbol in wanted:
            if symbol not in found:
                found[symbol] = Asset(symbol=symbol, created_at=time.time())
                current.add(found[symbol])
        current.flush()
        return {symbol: asset.id for symbol, asset in found.items() if asset.id is not None}


def activate(database: Database, symbols: Sequence[str], *, asset_class: AssetClass | None = None) -> list[str]:
    """Keep these fresh from now on; returns the symbols that were not active before."""
    with session(database) as current:
        found = _by_symbol(current, symbols)
        changed = []
        for symbol in symbols:
            asset = found.get(symbol)
            if asset is None:
                asset = found[symbol] = Asset(symbol=symbol, created_at=time.time())
                changed.append(symbol)
            elif asset.status != ACTIVE:
                changed.append(symbol)
            asset.status = ACTIVE
            if asset_class is not None:
                asset.asset_class = asset_class.value
            current.add(asset)
        return changed


def deactivate(database: Database, symbols: Sequence[str]) -> list[str]:
    """Stop keeping these fresh; what is stored stays.  Returns the symbols that exist."""
    with session(database) as current:
        found = _by_symbol(current, symbols)
        for asset in found.values():
            asset.status = INACTIVE
            current.add(asset)
        return [symbol for symbol in symbols if symbol in found]


def purge(database: Database, symbols: Sequence[str]) -> list[str]:
    """Forget these with all their bars and actions.  Returns the symbols that existed."""
    with session(database) as current:
        found = _by_symbol(current, symbols)
        ids = [asset.id for asset in found.values()]
        for table in (PriceBar, BarCoverage, BarGap, CorporateAction, AssetAlias):
            current.exec(delete(table).where(col(table.asset_id).in_(ids)))
        current.exec(delete(Asset).where(col(Asset.id).in_(ids)))
        return [symbol for symbol in symbols if symbol in found]


def describe(database: Database, facts: dict[str, AssetFacts], provider: str) -> None:
    """Write what a vendor said about assets, where it is new, and the vendor's symbol as an alias."""
    with session(database) as current:
        found = _by_symbol(current, list(facts))
        known = {
            alias.asset_id
            for alias in current.exec(
                select(AssetAlias).where(
                    AssetAlias.provider == provider,
                    col(AssetAlias.asset_id).in_([a.id for a in found.values()]),
                )
            )
        }
        for symbol, asset in found.items():
            said = facts[symbol]
            asset.name = said.name or asset.name
            asset.currency = said.currency or asset.currency
            asset.exchange = said.exchange or asset.exchange
            asset.timezone = said.timezone or asset.timezone
            if said.asset_class is not AssetClass.UNKNOWN:
                asset.asset_class = said.asset_class.value
            current.add(asset)
            if asset.id is not None and asset.id not in known:
                current.add(AssetAlias(asset_id=asset.id, provider=provider, symbol=symbol, currency=said.currency))


def listed(database: Database, *, active_only: bool = False) -> list[AssetRecord]:
    """By symbol."""
    with session(database, read_only=True) as current:
        query = select(Asset).order_by(Asset.symbol)
        if active_only:
            query = query.where(Asset.status == ACTIVE)
        return [_record(asset) for asset in current.exec(query)]


def get(database: Database, symbol: str) -> AssetRecord | None:
    with session(database, read_only=True) as current:
        asset = current.exec(select(Asset).where(Asset.symbol == symbol)).first()
        return None if asset is None else _record(asset)


def _by_symbol(current, symbols: Sequence[str]) -> dict[str, Asset]:
    found = {}
    for start in range(0, len(symbols), 500):
        part = list(symbols[start : start + 500])
        for asset in current.exec(select(Asset).where(col(Asset.symbol).in_(part))):
            found[asset.symbol] = asset
    return found


def _record(asset: Asset) -> AssetRecord:
    assert asset.id is not None
    return AssetRecord(
        id=asset.id,
        symbol=asset.symbol,
        name=asset.name,
        asset_class=asset.asset_class,
        currency=asset.currency,
        exchange=asset.exchange,
        timezone=asset.timezone,
        status=asset.status,
    )
