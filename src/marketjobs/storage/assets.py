"""Assets, their aliases and their status.

All of it in the caller's transaction or one of its own, thousands of symbols at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marketjobs.domain.assets import AssetClass, AssetFacts, Listing
from marketjobs.storage.database import Database, Transaction
from marketjobs.storage.many import among, chunks, insert_many

ACTIVE, INACTIVE = "active", "inactive"
EVERYBODY = "marketjobs"
"""The "provider" of an alias that people used, not one vendor: the symbol before a renaming."""
NEAR, SHOWN_NEAR = 0.7, 3
_COLUMNS = "a.id, a.symbol, a.name, a.asset_class, a.currency, a.exchange, a.timezone, a.status"


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


@dataclass(frozen=True, slots=True)
class Alias:
    """A symbol of an asset: at a vendor, or (``provider`` is :data:`EVERYBODY`) before a renaming.  Stamps."""

    provider: str
    symbol: str
    valid_from: int | None
    valid_to: int | None


@dataclass(frozen=True, slots=True)
class Renamed:
    """What became of a symbol that no asset has now."""

    new: str
    since: int | None


@dataclass(frozen=True, slots=True)
class VendorsAsset:
    """What a vendor means by a name of its own: one asset, or several (a coin in dollars and in euros)."""

    provider: str
    symbols: tuple[str, ...]


def ensure_in(tx: Transaction, symbols: Iterable[str], status: str = ACTIVE) -> dict[str, int]:
    """The ids of assets by symbol, made where they are new.  New assets are active: who fetches a symbol
    wants it kept fresh."""
    wanted = list(dict.fromkeys(symbols))
    found = ids(tx, wanted)
    new = [symbol for symbol in wanted if symbol not in found]
    if not new:
        return found
    now = tx.now()
    insert_many(
        tx,
        "INSERT INTO asset (symbol, asset_class, status, created_at)",
        # In one order for all: of processes that make the same, none waits for the other.
        [(symbol, AssetClass.UNKNOWN.value, status, now) for symbol in sorted(new)],
        "ON CONFLICT (symbol) DO NOTHING",
    )
    return found | ids(tx, new)


def lock(tx: Transaction, asset_ids: Iterable[int]) -> set[int]:
    """Keep every other writer of these assets out until the commit; those that (still) exist.

    What is read of a series and written back (its coverage, its bars) needs it, and it goes in one order for all.
    """
    chosen = set(asset_ids)
    if not chosen:
        return set()
    rows = tx.all(f"SELECT id FROM asset WHERE id IN {among(chosen)} ORDER BY id {{for_update}}")
    return {row["id"] for row in rows}


def ids(tx: Transaction, symbols: Sequence[str]) -> dict[str, int]:
    """The ids of those that exist, by symbol."""
    found: dict[str, int] = {}
    for part in chunks(symbols):
        marks = ", ".join("?" * len(part))
        found.update(tx.tuples(f"SELECT symbol, id FROM asset WHERE symbol IN ({marks})", tuple(part)))
    return found


def activate(database: Database, symbols: Sequence[str], *, asset_class: AssetClass | None = None) -> list[str]:
    """Keep these fresh from now on; returns the symbols that were not active before."""
    wanted = list(dict.fromkeys(symbols))
    with database.write() as tx:
        known = ensure_in(tx, wanted, INACTIVE)
        lock(tx, known.values())
        before = set(symbols_in(tx, active_only=True))
        tx.run_many("UPDATE asset SET status = 'active' WHERE id = ?", [(known[one],) for one in wanted])
        if asset_class is not None:
            rows = [(asset_class.value, known[one]) for one in wanted]
            tx.run_many("UPDATE asset SET asset_class = ? WHERE id = ?", rows)
        return [symbol for symbol in wanted if symbol not in before]


def deactivate(database: Database, symbols: Sequence[str]) -> list[str]:
    """Stop keeping these fresh; what is stored stays.  Returns the symbols that exist."""
    with database.write() as tx:
        found = ids(tx, symbols)
        lock(tx, found.values())
        tx.run_many("UPDATE asset SET status = 'inactive' WHERE id = ?", [(asset,) for asset in found.values()])
        return [symbol for symbol in symbols if symbol in found]


_OF_AN_ASSET = (
    "quote",
    "asset_profile",
    "news_asset",
    "price_bar",
    "bar_supplier",
    "bar_coverage",
    "bar_gap",
    "corporate_action",
    "asset_alias",
    "asset_group_member",
)


def purge(database: Database, symbols: Sequence[str]) -> list[str]:
    """Forget these with all that is stored of them.  Returns the symbols that existed."""
    with database.write() as tx:
        found = ids(tx, symbols)
        lock(tx, found.values())
        keys = [(asset,) for asset in found.values()]
        for table in _OF_AN_ASSET:
            tx.run_many(f"DELETE FROM {table} WHERE asset_id = ?", keys)
        tx.run_many("DELETE FROM asset WHERE id = ?", keys)
        return [symbol for symbol in symbols if symbol in found]


def update(tx: Transaction, asset: int, values: Mapping[str, Any]) -> bool:
    """Write columns of an asset (names are ours, not typed by anybody); did anything differ?"""
    if not values:
        return False
    sets = ", ".join(f"{name} = :{name}" for name in values)
    differs = " OR ".join(f"{name} IS NULL OR {name} <> :{name}" for name in values)
    return tx.run(f"UPDATE asset SET {sets} WHERE id = :id AND ({differs})", dict(values) | {"id": asset}) > 0


def rename(tx: Transaction, asset: int, old: str, new: str, day: int) -> None:
    """Give an asset another symbol; the old one stays as an alias that ended on a ``day`` (a stamp), at vendors too."""
    values = {"asset": asset, "old": old, "day": day}
    tx.run(
        "UPDATE asset_alias SET valid_to = :day WHERE asset_id = :asset AND symbol = :old AND valid_to IS NULL", values
    )
    tx.run(
        "INSERT INTO asset_alias (asset_id, provider, symbol, valid_to) VALUES (:asset, :provider, :old, :day)",
        values | {"provider": EVERYBODY},
    )
    tx.run("UPDATE asset SET symbol = :new WHERE id = :asset", {"asset": asset, "new": new})


def name_at(tx: Transaction, asset: int, provider: str, listing: Listing, day: int | None) -> None:
    """A vendor's name for an asset from a ``day`` on (a stamp; ``None``: ever since), instead of the one before."""
    key = {"asset": asset, "provider": provider}
    if day is None:
        tx.run("DELETE FROM asset_alias WHERE asset_id = :asset AND provider = :provider", key)
    else:
        tx.run(
            "UPDATE asset_alias SET valid_to = :day WHERE asset_id = :asset AND provider = :provider"
            " AND (valid_to IS NULL OR valid_to > :day)",
            key | {"day": day},
        )
    tx.run(
        "INSERT INTO asset_alias (asset_id, provider, symbol, currency, valid_from)"
        " VALUES (:asset, :provider, :symbol, :currency, :day)",
        key | {"symbol": listing.symbol, "currency": listing.currency, "day": day},
    )


def renamed(tx: Transaction, symbols: Sequence[str]) -> dict[str, Renamed]:
    """The symbols by which assets go now that went by these; asked where no asset has them."""
    found: dict[str, Renamed] = {}
    for part in chunks(symbols):
        marks = ", ".join("?" * len(part))
        rows = tx.tuples(
            "SELECT l.symbol, a.symbol, l.valid_to FROM asset_alias AS l JOIN asset AS a ON a.id = l.asset_id"
            f" WHERE l.provider = ? AND l.symbol IN ({marks}) ORDER BY l.valid_to, l.id",
            (EVERYBODY, *part),
        )
        found.update((old, Renamed(new, since)) for old, new, since in rows)  # the last of them counts
    return found


def forget_names(tx: Transaction, asset: int, provider: str) -> list[str]:
    """Forget what a vendor calls an asset now; the names that were forgotten.  What it was called before stays."""
    chosen = (asset, provider)
    condition = "asset_id = ? AND provider = ? AND valid_to IS NULL"
    names = [row[0] for row in tx.tuples(f"SELECT symbol FROM asset_alias WHERE {condition} ORDER BY id", chosen)]
    tx.run_many(f"DELETE FROM asset_alias WHERE {condition}", [chosen])
    return names


def vendors_assets(tx: Transaction, symbols: Sequence[str]) -> dict[str, VendorsAsset]:
    """Of symbols in capitals: those that vendors have for assets of ours, in capitals or not; asked where no asset has
    them.  Of several vendors the first one by name counts."""
    found: dict[str, VendorsAsset] = {}
    for part in chunks(symbols):
        marks = ", ".join("?" * len(part))
        rows = tx.tuples(
            "SELECT DISTINCT upper(l.symbol), l.provider, a.symbol FROM asset_alias AS l"
            " JOIN asset AS a ON a.id = l.asset_id"
            f" WHERE upper(l.symbol) IN ({marks}) AND l.provider <> ? AND l.valid_to IS NULL",
            (*part, EVERYBODY),
        )
        for name, provider, symbol in sorted(rows):
            known = found.setdefault(name, VendorsAsset(provider, ()))
            if known.provider == provider:
                found[name] = VendorsAsset(provider, (*known.symbols, symbol))
    return found


def known_as(tx: Transaction, names: Sequence[str], provider: str) -> dict[str, int]:
    """The assets that a provider means by these names of its own, else those that go by them with us."""
    found = ids(tx, names)
    for part in chunks(names):
        marks = ", ".join("?" * len(part))
        found.update(
            tx.tuples(
                f"SELECT symbol, asset_id FROM asset_alias WHERE provider = ? AND symbol IN ({marks})"
                " AND valid_to IS NULL",
                (provider, *part),
            )
        )
    return found


def listings(tx: Transaction, asset_ids: Iterable[int], day: int) -> dict[tuple[int, str], Listing]:
    """(asset, provider) -> how the provider names the asset on a day (a stamp), as far as an alias says so."""
    rows = tx.tuples(
        f"SELECT asset_id, provider, symbol, currency FROM asset_alias WHERE asset_id IN {among(asset_ids)}"
        " AND provider <> ? AND (valid_from IS NULL OR valid_from <= ?) AND (valid_to IS NULL OR valid_to > ?)"
        " ORDER BY id",
        (EVERYBODY, day, day),
    )
    return {(asset, provider): Listing(symbol, currency) for asset, provider, symbol, currency in rows}


def aliases(tx: Transaction, asset: int) -> list[Alias]:
    rows = tx.all(
        "SELECT provider, symbol, valid_from, valid_to FROM asset_alias WHERE asset_id = :asset ORDER BY id",
        {"asset": asset},
    )
    return [Alias(row["provider"], row["symbol"], row["valid_from"], row["valid_to"]) for row in rows]


def describe(
    tx: Transaction, facts: Mapping[str, AssetFacts], provider: str, listings: Mapping[str, Listing] | None = None
) -> None:
    """Write what a vendor said about assets, where it is new, and its name for them as an alias.

    Args:
        facts: by our symbol.
        listings: the vendor's name for each of them; for those that are not in it the vendor has ours.
    """
    named = {symbol: (listings or {}).get(symbol) or Listing(symbol, facts[symbol].currency) for symbol in facts}
    for part in chunks(list(facts)):
        found = records(tx, part)
        changed = [
            (*said, found[symbol].id) for symbol in sorted(found) if (said := _said(found[symbol], facts[symbol]))
        ]
        tx.run_many(
            "UPDATE asset SET name = ?, asset_class = ?, currency = ?, exchange = ?, timezone = ? WHERE id = ?", changed
        )
        known = set(
            tx.tuples(
                f"SELECT asset_id, symbol FROM asset_alias WHERE asset_id IN {among(one.id for one in found.values())}"
                " AND provider = ? AND valid_to IS NULL",
                (provider,),
            )
        )
        insert_many(
            tx,
            "INSERT INTO asset_alias (asset_id, provider, symbol, currency)",
            [
                (found[symbol].id, provider, named[symbol].symbol, named[symbol].currency)
                for symbol in sorted(found)
                if (found[symbol].id, named[symbol].symbol) not in known
            ],
        )


def _said(record: AssetRecord, facts: AssetFacts) -> tuple[str | None, ...]:
    """The columns with what is new in them; empty: nothing is."""
    known = (record.name, record.asset_class, record.currency, record.exchange, record.timezone)
    asset_class = record.asset_class if facts.asset_class is AssetClass.UNKNOWN else facts.asset_class.value
    said = (
        facts.name or record.name,
        asset_class,
        record.currency or facts.currency,  # another one is refused, or means another unit
        facts.exchange or record.exchange,
        facts.timezone or record.timezone,
    )
    return () if said == known else said


def listed_in(tx: Transaction, *, active_only: bool = False, group: int | None = None) -> list[AssetRecord]:
    """By symbol; ``group``: only its members."""
    found = [AssetRecord(*row) for row in tx.tuples(*_query(_COLUMNS, active_only, group))]
    return sorted(found, key=lambda one: one.symbol)  # here: databases sort letters and signs each in their way


def symbols_in(tx: Transaction, *, active_only: bool = False, group: int | None = None) -> list[str]:
    return sorted(row[0] for row in tx.tuples(*_query("a.symbol", active_only, group)))


def near(tx: Transaction, symbol: str) -> list[str]:
    """Symbols of assets that have a text as a word of their name, or as nearly their symbol; at most three."""
    from difflib import get_close_matches  # only for who mistyped

    named = dict(tx.tuples("SELECT symbol, name FROM asset ORDER BY symbol"))
    word = symbol.lower()
    by_name = [one for one, name in named.items() if name and word in name.lower().split()]
    close = get_close_matches(symbol, list(named), n=SHOWN_NEAR, cutoff=NEAR)
    return [one for one in dict.fromkeys([*by_name, *close]) if one != symbol][:SHOWN_NEAR]


def records(tx: Transaction, symbols: Sequence[str]) -> dict[str, AssetRecord]:
    """Those of these symbols that are assets."""
    found: dict[str, AssetRecord] = {}
    for part in chunks(symbols):
        marks = ", ".join("?" * len(part))
        rows = tx.tuples(f"SELECT {_COLUMNS} FROM asset AS a WHERE a.symbol IN ({marks})", tuple(part))
        found.update((record.symbol, record) for record in (AssetRecord(*row) for row in rows))
    return found


def get_in(tx: Transaction, symbol: str) -> AssetRecord | None:
    rows = tx.tuples(f"SELECT {_COLUMNS} FROM asset AS a WHERE a.symbol = :symbol", {"symbol": symbol})
    return AssetRecord(*rows[0]) if rows else None


def _query(columns: str, active_only: bool, group: int | None) -> tuple[str, dict[str, int]]:
    conditions = ["a.status = 'active'"] if active_only else []
    if group is not None:
        conditions.append("a.id IN (SELECT asset_id FROM asset_group_member WHERE group_id = :chosen)")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {columns} FROM asset AS a{where}", {} if group is None else {"chosen": group}
