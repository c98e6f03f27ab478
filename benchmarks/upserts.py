"""Upserts of bars: ours against what one would write otherwise, into the same table.

    python benchmarks/upserts.py [--symbols 400] [--bars 250] [--rounds 5] [--server ''] [--json]

SQLite: against SQLAlchemy Core's executemany of an upsert, on the same connections.  PostgreSQL: against psycopg's
binary COPY straight into the table, which can't meet a known row; and the bytes of write-ahead log that a row costs.
Both are handed rows in the form that suits them.  CPU is this process's and, on PostgreSQL, its server process's.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness import Table, options, postgres_database, print_tables, rounds
from marketjobs.domain.bars import Bar
from marketjobs.domain.intervals import DAY_SECONDS, Interval
from marketjobs.storage import assets, schema
from marketjobs.storage.bar_upsert import COLUMNS, Batch, upsert_many
from marketjobs.storage.database import Database, open_database

SERVER = os.environ.get("MARKETJOBS_TEST_POSTGRESQL_URL", "postgresql://127.0.0.1:5432/postgres")
SYMBOLS_A_TRANSACTION = 16
"""As a fetch stores them."""
COPY_STRAIGHT = "COPY straight into the table (psycopg)"


class Cost(NamedTuple):
    rows_per_cpu_second: float
    rows_per_second: float
    log_bytes_per_row: float


def made_up(symbols: int, bars: int, factor: float = 1.0) -> list[Batch]:
    draw = random.Random(1).random
    batches = []
    for asset in range(1, symbols + 1):
        series = []
        for number in range(bars):
            price = (50 + 100 * draw()) * factor
            series.append(
                Bar(number * DAY_SECONDS, price, price * 1.01, price * 0.99, price, price * 0.9, 1e6 * draw() // 1)
            )
        batches.append(Batch(asset, Interval.DAY_1, series, 1, 1_700_000_000))
    return batches


def transactions(batches: Sequence[Batch]) -> list[Sequence[Batch]]:
    return [batches[start : start + SYMBOLS_A_TRANSACTION] for start in range(0, len(batches), SYMBOLS_A_TRANSACTION)]


def ours(database: Database, batches: Sequence[Batch]) -> Callable[[], None]:
    def run() -> None:
        for part in transactions(batches):
            with database.write() as tx:
                assets.lock(tx, (batch.asset for batch in part))
                upsert_many(tx, part)

    return run


def as_dicts(batches: Sequence[Batch]) -> list[list[dict[str, object]]]:
    return [
        [{**_keys(batch), **bar._asdict()} for batch in part for bar in batch.bars] for part in transactions(batches)
    ]


def _keys(batch: Batch) -> dict[str, object]:
    code = batch.interval.code
    return {"asset_id": batch.asset, "interval": code, "provider_id": batch.provider, "fetched_at": batch.fetched_at}


def core(database: Database, batches: Sequence[Batch]) -> Callable[[], None]:
    from sqlalchemy import create_engine
    from sqlalchemy.dialects.sqlite import insert
    from sqlalchemy.pool import StaticPool

    from marketjobs.storage.tables import PriceBar

    statement = insert(PriceBar)
    keys = ("asset_id", "interval", "ts")
    values = {name: statement.excluded[name] for name in COLUMNS.split(", ") if name not in keys}
    statement = statement.on_conflict_do_update(index_elements=keys, set_=values)
    parts = as_dicts(batches)
    engine = create_engine("sqlite://", creator=database.driver_connection, poolclass=StaticPool)

    def run() -> None:
        for part in parts:
            with engine.begin() as connection:
                connection.execute(statement, part)

    return run


def copy_straight(database: Database, batches: Sequence[Batch]) -> Callable[[], None]:
    types = ("int4", "int2", "int8", *["float8"] * 6, "int2", "int4", "int8")
    parts = [
        [
            (batch.asset, batch.interval.code, *bar[:7], int(bar.provisional), batch.provider, batch.fetched_at)
            for batch in part
            for bar in batch.bars
        ]
        for part in transactions(batches)
    ]

    def run() -> None:
        for part in parts:
            with database.write() as tx:
                cursor = tx.connection.cursor()  # type: ignore[attr-defined]
                with cursor.copy(f"COPY price_bar ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as sink:
                    sink.set_types(types)
                    for row in part:
                        sink.write_row(row)

    return run


class Store:
    """An empty store with so many assets, and what it held before a measurement."""

    def __init__(self, url: str, symbols: int) -> None:
        self.database = open_database(url, durable=False)
        if self.database.dialect == "sqlite":
            schema.ensure(self.database)
        with self.database.write() as tx:
            tx.run("INSERT INTO provider (id, name) VALUES (1, 'bench')")
            tx.run_many(
                "INSERT INTO asset (id, symbol, asset_class, status, created_at) VALUES (?, ?, 'equity', 'active', 0)",
                [(number, f"BENCH{number}") for number in range(1, symbols + 1)],
            )

    def holding(self, batches: Sequence[Batch]) -> None:
        """Nothing but these; whatever a store does about it later is done now."""
        on_server = self.database.dialect != "sqlite"
        with self.database.write() as tx:
            tx.run("TRUNCATE price_bar" if on_server else "DELETE FROM price_bar")
        ours(self.database, batches)()
        if on_server:
            connection = self.database.driver_connection()
            connection.autocommit = True
            connection.execute("VACUUM ANALYZE price_bar")
            connection.execute("CHECKPOINT")
            connection.close()

    def measured(self, held: Sequence[Batch], rows: int, run: Callable[[], None]) -> Cost:
        self.holding(held)
        log, server, own, began = self._log(), self._server_cpu(), time.process_time(), time.perf_counter()
        run()
        wall = time.perf_counter() - began
        cpu = time.process_time() - own + self._server_cpu() - server
        logged = self._log() - log
        with self.database.read() as tx:
            assert tx.tuples("SELECT count(*) FROM price_bar")[0][0] == rows
        return Cost(rows / cpu, rows / wall, logged / rows)

    def _log(self) -> float:
        if self.database.dialect == "sqlite":
            return 0.0
        with self.database.read() as tx:
            return float(tx.tuples("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0][0])

    def _server_cpu(self) -> float:
        """Of the connection that all of this uses: the pool gives the same one to whoever comes alone."""
        if self.database.dialect == "sqlite":
            return 0.0
        with self.database.read() as tx:
            [(pid,)] = tx.tuples("SELECT pg_backend_pid()")
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def on_sqlite(url: str, symbols: int, bars: int, count: int) -> list[Table]:
    store, peer = Store(url, symbols), "SQLAlchemy Core executemany"
    batches, others = made_up(symbols, bars), made_up(symbols, bars, 1.5)
    mine, theirs = ours(store.database, batches), core(store.database, batches)
    tables = []
    for case, held in {"fresh": [], "unchanged": batches, "changed": others}.items():
        costs = rounds(
            {
                "marketjobs": partial(store.measured, held, symbols * bars, mine),
                peer: partial(store.measured, held, symbols * bars, theirs),
            },
            count,
        )
        for what, unit in (("rows_per_cpu_second", "rows/CPU s"), ("rows_per_second", "rows/s")):
            wanted = {"marketjobs": 5.0}
            tables.append(
                Table(f"SQLite, {symbols * bars} rows, {case}", unit, column(costs, what), peer, wanted=wanted)
            )
    return tables


def on_postgresql(url: str, symbols: int, bars: int, count: int) -> list[Table]:
    store = Store(url, symbols)
    batches, others = made_up(symbols, bars), made_up(symbols, bars, 1.5)
    one_each = [replace(batch, bars=batch.bars[bars // 2 :][:1]) for batch in batches]
    mine, theirs = ours(store.database, batches), copy_straight(store.database, batches)
    cases: dict[str, Callable[[], Cost]] = {
        "marketjobs, fresh": partial(store.measured, [], symbols * bars, mine),
        "marketjobs, fresh, a row stored in each range": partial(store.measured, one_each, symbols * bars, mine),
        "marketjobs, unchanged": partial(store.measured, batches, symbols * bars, mine),
        "marketjobs, changed": partial(store.measured, others, symbols * bars, mine),
        COPY_STRAIGHT: partial(store.measured, [], symbols * bars, theirs),
    }
    costs = rounds(cases, count)
    title = f"PostgreSQL, {symbols * bars} rows"
    wanted = {"marketjobs, fresh": 0.5, "marketjobs, unchanged": 1.0}
    return [
        Table(
            title, "rows/CPU s, client and server", column(costs, "rows_per_cpu_second"), COPY_STRAIGHT, wanted=wanted
        ),
        Table(title, "rows/s", column(costs, "rows_per_second"), COPY_STRAIGHT, wanted=wanted),
        Table(title, "bytes of log a row", column(costs, "log_bytes_per_row"), COPY_STRAIGHT, more_is_better=False),
    ]


def column(costs: dict[str, list[Cost]], name: str) -> dict[str, list[float]]:
    return {contestant: [getattr(one, name) for one in values] for contestant, values in costs.items()}


def main() -> None:
    chosen = options(__doc__, symbols=400, bars=250, rounds=5, server=SERVER)
    with tempfile.TemporaryDirectory() as folder:
        tables = on_sqlite(f"sqlite:///{folder}/bench.db", chosen.symbols, chosen.bars, chosen.rounds)
    if chosen.server:
        with postgres_database(chosen.server) as url:
            tables += on_postgresql(url, chosen.symbols, chosen.bars, chosen.rounds)
    print_tables(tables, as_json=chosen.json)


if __name__ == "__main__":
    main()
