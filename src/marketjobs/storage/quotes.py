"""Latest prices: one row an asset, written only where something differs and never by an older price."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from marketjobs.domain.quotes import Quote
from marketjobs.storage.database import Transaction
from marketjobs.storage.many import among, chunks, insert_many

_VALUES = ", ".join(Quote._fields)
_COLUMNS = f"asset_id, {_VALUES}, provider_id, fetched_at"
_FROM = "FROM asset AS a JOIN quote AS q ON q.asset_id = a.id JOIN provider AS p ON p.id = q.provider_id"
_READ = (
    f"SELECT a.id, a.symbol, a.name, p.name, q.fetched_at, {', '.join(f'q.{name}' for name in Quote._fields)} {_FROM}"
)
_TAKE = ", ".join(f"{name} = excluded.{name}" for name in (*Quote._fields, "provider_id", "fetched_at"))


@dataclass(frozen=True, slots=True)
class ReadQuote:
    """A stored quote with who supplied it and when (epoch seconds)."""

    symbol: str
    quote: Quote
    provider: str
    fetched_at: float
    name: str | None = None


def prices(tx: Transaction, assets: Iterable[int]) -> dict[int, Quote]:
    """The stored quotes of those assets that have one."""
    return {row[0]: Quote._make(row[1:]) for row in tx.tuples(_select(assets, f"asset_id, {_VALUES}"))}


def upsert_many(tx: Transaction, quotes: Sequence[tuple[int, Quote]], provider: int, fetched_at: float) -> set[int]:
    """Write what is new or differs, of assets that the transaction has locked (:func:`storage.assets.lock`); the
    assets whose row was written.  A price that is older than the stored one is not."""
    columns = f"asset_id, {_VALUES}, provider_id"
    before = {row[0]: (Quote._make(row[1:-1]), row[-1]) for row in tx.tuples(_select((a for a, _ in quotes), columns))}
    rows = {
        asset: (asset, *quote, provider, fetched_at)
        for asset, quote in quotes
        if asset not in before or (before[asset][0].at <= quote.at and before[asset] != (quote, provider))
    }
    insert_many(
        tx,
        f"INSERT INTO quote ({_COLUMNS})",
        list(rows.values()),
        f"ON CONFLICT (asset_id) DO UPDATE SET {_TAKE} WHERE quote.at <= excluded.at",
    )
    return set(rows)


def _select(assets: Iterable[int], columns: str) -> str:
    return f"SELECT {columns} FROM quote WHERE asset_id IN {among(assets)}"


def read(tx: Transaction, symbols: Sequence[str]) -> list[ReadQuote]:
    """Of these symbols, those that have a quote; in no order."""
    found = []
    for part in chunks(symbols):
        rows = tx.tuples(f"{_READ} WHERE a.symbol IN ({', '.join('?' * len(part))})", tuple(part))
        found += [_read(*row) for row in rows]
    return found


def count_active(tx: Transaction) -> int:
    """How many active assets have a quote."""
    [(number,)] = tx.tuples(f"SELECT count(*) {_FROM} WHERE a.status = 'active'")
    return int(number)


def read_active(tx: Transaction, after: int, limit: int) -> tuple[list[ReadQuote], int | None]:
    """The quotes of so many active assets, by id from ``after`` on, and where to go on; ``None``: that was all."""
    rows = tx.tuples(
        f"{_READ} WHERE a.status = 'active' AND a.id > ? ORDER BY a.id LIMIT ?",
        (after, limit),
    )
    return [_read(*row) for row in rows], rows[-1][0] if len(rows) == limit else None


def _read(_asset: int, symbol: str, name: str | None, provider: str, fetched_at: float, *quote: Any) -> ReadQuote:
    return ReadQuote(symbol, Quote._make(quote), provider, fetched_at, name)
