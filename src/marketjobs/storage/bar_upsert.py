"""Writing bars in bulk: only rows that are new or differ are written, whichever store it is.

What is stored is read by ranges of the key and compared here, so that the cost is that of the batch, however large
the table.  SQLite: one prepared statement for many rows.  PostgreSQL: binary COPY, straight into the table for what
is new, by way of a temporary table for what replaces a row.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from marketjobs.domain.bars import Bar
from marketjobs.domain.intervals import Interval
from marketjobs.storage.database import Transaction
from marketjobs.storage.many import insert_many

if TYPE_CHECKING:
    from marketjobs.storage.postgres import PostgresTransaction

BAR_COLUMNS = "ts, open, high, low, close, adj_close, volume, provisional"
COLUMNS = f"asset_id, interval, {BAR_COLUMNS}, provider_id, fetched_at"


@dataclass(frozen=True, slots=True)
class Batch:
    """Bars of one series, ascending by stamp, each stamp once.  ``provider``: its id; ``fetched_at``: epoch seconds."""

    asset: int
    interval: Interval
    bars: Sequence[Bar]
    provider: int
    fetched_at: int


@dataclass(frozen=True, slots=True)
class Stored:
    """How an upsert went: rows that are new, that replaced a final bar, and the rest."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0


def upsert_many(tx: Transaction, batches: Sequence[Batch]) -> list[Stored]:
    """Write what is new or differs, of series that the transaction has locked (:func:`storage.assets.lock`).

    A final bar stays final, and a provisional bar that becomes final counts as unchanged history.
    """
    filled = [batch for batch in batches if batch.bars]
    # Here asset and provider are checked, for all rows of a batch: bars themselves refer to nothing.
    insert_many(
        tx,
        "INSERT INTO bar_supplier (asset_id, provider_id)",
        sorted({(batch.asset, batch.provider) for batch in filled}),
        "ON CONFLICT (asset_id, provider_id) DO NOTHING",
    )
    is_file = tx.dialect == "sqlite"
    before = _stored_sqlite(tx, batches) if is_file else _stored_postgres(tx, batches)
    compared = [_compared(batch, rows) for batch, rows in zip(batches, before, strict=True)]
    fresh = [one.fresh for one in compared if one.fresh.bars]
    replaced = [one.replaced for one in compared if one.replaced.bars]
    if is_file:
        _write_sqlite(tx, fresh, replaced)
    else:
        _write_postgres(cast("PostgresTransaction", tx), fresh, replaced)
    return [one.outcome for one in compared]


@dataclass(frozen=True, slots=True)
class _Compared:
    """What of a batch is new, what replaces a stored row, and how the whole is told."""

    fresh: Batch
    replaced: Batch
    outcome: Stored


def _compared(batch: Batch, before: list[tuple[Any, ...]]) -> _Compared:
    """``before``: the stored rows of the batch's range, ascending, in the columns of a bar."""
    nothing = replace(batch, bars=())
    if not before:
        return _Compared(batch, nothing, Stored(new=len(batch.bars)))
    if before == batch.bars:  # the usual answer, told without a look at each bar
        return _Compared(nothing, nothing, Stored(unchanged=len(batch.bars)))
    known = {row[0]: row for row in before}
    fresh: list[Bar] = []
    replaced: list[Bar] = []
    changed = 0
    for bar in batch.bars:
        row = known.get(bar.ts)
        if row is None:
            fresh.append(bar)
        elif row == bar:
            continue
        elif row[-1]:  # it was provisional
            replaced.append(bar)
        elif not bar.provisional:
            replaced.append(bar)
            changed += 1
        elif row[:-1] != bar[:-1]:
            replaced.append(bar._replace(provisional=False))
            changed += 1
    outcome = Stored(len(fresh), changed, len(batch.bars) - len(fresh) - changed)
    return _Compared(replace(batch, bars=fresh), replace(batch, bars=replaced), outcome)


# -- SQLite -----------------------------------------------------------------------------------------------

_WRITE_SQLITE = f"INSERT OR REPLACE INTO price_bar ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def _stored_sqlite(tx: Transaction, batches: Sequence[Batch]) -> Iterator[list[tuple[Any, ...]]]:
    range_of = "asset_id = ? AND interval = ? AND ts BETWEEN ? AND ?"
    sql = f"SELECT {BAR_COLUMNS} FROM price_bar WHERE {range_of} ORDER BY ts"
    for batch in batches:
        key = (batch.asset, batch.interval.code)
        yield tx.tuples(sql, (*key, batch.bars[0].ts, batch.bars[-1].ts)) if batch.bars else []


def _write_sqlite(tx: Transaction, fresh: Sequence[Batch], replaced: Sequence[Batch]) -> None:
    tx.run_many(_WRITE_SQLITE, _rows((*fresh, *replaced)))


def _rows(batches: Iterable[Batch]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        asset, code, provider, fetched_at = batch.asset, batch.interval.code, batch.provider, batch.fetched_at
        for ts, open_, high, low, close, adj_close, volume, provisional in batch.bars:
            # An int where a bool would do: the driver looks up how to adapt each value of a type that it does not know.
            yield asset, code, ts, open_, high, low, close, adj_close, volume, int(provisional), provider, fetched_at


# -- PostgreSQL -------------------------------------------------------------------------------------------

_INCOMING = """
CREATE TEMP TABLE IF NOT EXISTS incoming_bar (
    asset_id integer, interval smallint, ts bigint, open float8, high float8, low float8, close float8,
    adj_close float8, volume float8, provisional smallint, provider_id integer, fetched_at bigint
) ON COMMIT DELETE ROWS;
DELETE FROM incoming_bar
"""
_REPLACE = f"""
INSERT INTO price_bar ({COLUMNS}) SELECT {COLUMNS} FROM incoming_bar
ON CONFLICT (asset_id, interval, ts) DO UPDATE SET
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
    adj_close = excluded.adj_close, volume = excluded.volume, provisional = excluded.provisional,
    provider_id = excluded.provider_id, fetched_at = excluded.fetched_at
"""
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TAIL = b"\xff\xff"
_FIELDS = {"i": "ii", "h": "ih", "q": "iq", "d": "id"}  # each value follows its length
_ABSENT = struct.pack(">i", -1)
_ROW_HEAD = struct.Struct(">h" + "".join(_FIELDS[kind] for kind in "ihqdddd"))
_ROW_TAIL = struct.Struct(">" + "".join(_FIELDS[kind] for kind in "hiq"))
_DOUBLE = struct.Struct(">id")


_NUMBER, _BAR = itemgetter(0), itemgetter(slice(1, None))


def _stored_postgres(tx: Transaction, batches: Sequence[Batch]) -> list[list[tuple[Any, ...]]]:
    stored: list[list[tuple[Any, ...]]] = [[] for _ in batches]
    # Whole numbers all of them: nothing to bind, and any number of them fits.  And never prepared: a plan that was
    # made while the table was empty would read all of it for each range.
    ranges = ", ".join(
        f"({number}, {batch.asset}, {batch.interval.code}, {batch.bars[0].ts}, {batch.bars[-1].ts})"
        for number, batch in enumerate(batches)
        if batch.bars
    )
    if ranges:
        # By LATERAL a walk through the key for each range: nothing is sorted, and nothing joined in another way.
        rows = tx.tuples(
            f"""
            SELECT number, bar.* FROM (VALUES {ranges}) AS wanted (number, asset, code, first, last)
            CROSS JOIN LATERAL (
                SELECT {BAR_COLUMNS} FROM price_bar
                WHERE asset_id = wanted.asset AND interval = wanted.code::smallint
                  AND ts BETWEEN wanted.first AND wanted.last
                ORDER BY ts
            ) AS bar
            """
        )
        for number, found in groupby(rows, _NUMBER):
            stored[number] += map(_BAR, found)
    return stored


def _write_postgres(tx: PostgresTransaction, fresh: Sequence[Batch], replaced: Sequence[Batch]) -> None:
    if fresh:
        tx.copy(f"COPY price_bar ({COLUMNS}) FROM STDIN (FORMAT BINARY)", _binary(fresh))
    if replaced:
        tx.run(_INCOMING)
        tx.copy(f"COPY incoming_bar ({COLUMNS}) FROM STDIN (FORMAT BINARY)", _binary(replaced))
        tx.run(_REPLACE)


def _binary(batches: Iterable[Batch]) -> Iterator[bytes]:
    """Rows of PostgreSQL's binary COPY format, in chunks of one batch.

    Source: https://www.postgresql.org/docs/current/sql-copy.html, binary format (read 2026-11).
    """
    yield _COPY_HEAD
    for batch in batches:
        asset, code = batch.asset, batch.interval.code
        final = _ROW_TAIL.pack(2, 0, 4, batch.provider, 8, batch.fetched_at)
        provisional = _ROW_TAIL.pack(2, 1, 4, batch.provider, 8, batch.fetched_at)
        parts: list[bytes] = []
        for ts, open_, high, low, close, adj_close, volume, is_provisional in batch.bars:
            parts += (
                _ROW_HEAD.pack(12, 4, asset, 2, code, 8, ts, 8, open_, 8, high, 8, low, 8, close),
                _ABSENT if adj_close is None else _DOUBLE.pack(8, adj_close),
                _ABSENT if volume is None else _DOUBLE.pack(8, volume),
                provisional if is_provisional else final,
            )
        yield b"".join(parts)
    yield _COPY_TAIL
