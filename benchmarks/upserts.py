"""Upserts of bars: ours against what one would write otherwise, into the same table.

    python benchmarks/upserts.py [--symbols 240] [--bars 250] [--rounds 3] [--server ''] [--json]

SQLite: against SQLAlchemy Core's executemany of an upsert, against the ORM a row at a time (which is given fewer), and
against an append without any index.  PostgreSQL: against psycopg's binary COPY straight into the table, which can't
meet a known row; and the bytes of write-ahead log that a row costs.
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

from harness import Table, Wanted, options, postgres_database, print_tables, rounds
from marketjobs.domain.bars import Bar
from marketjobs.domain.intervals import DAY_SECONDS, Interval
from marketjobs.storage import assets, schema
from marketjobs.storage.bar_upsert import COLUMNS, Batch, upsert_many
from marketjobs.storage.database import Database, open_database

SERVER = os.environ.get("MARKETJOBS_TEST_POSTGRESQL_URL", "postgresql://127.0.0.1:5432/postgres")
SYMBOLS_A_TRANSACTION = 16
"""As a fetch stores them."""
CORE = "SQLAlchemy Core executemany"
ORM = "SQLAlchemy ORM, a row at a time"
APPEND = "driver executemany into a table without any index"
ORM_SHARE = 20
"""It is so slow that it is given one symbol of so many."""
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


def as_tuples(batches: Sequence[Batch]) -> list[list[tuple[object, ...]]]:
    return [
        [
            (batch.asset, batch.interval.code, *bar[:7], int(bar.provisional), batch.provider, batch.fetched_at)
            for batch in part
            for bar in batch.bars
        ]
        for part in transactions(batches)
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


def orm(database: Database, batches: Sequence[Batch]) -> Callable[[], None]:
    """What people write: `session.merge` of each row, a commit for each symbol."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool
    from sqlmodel import Session

    from marketjobs.storage.tables import PriceBar

    parts = as_dicts(batches)
    engine = create_engine("sqlite://", creator=database.driver_connection, poolclass=StaticPool)

    def run() -> None:
        with Session(engine) as session:
            for part in parts:
                for row in part:
                    session.merge(PriceBar(**row))
                session.commit()

    return run


def append(database: Database, batches: Sequence[Batch]) -> Callable[[], None]:
    """The least that rows can cost: made ready beforehand, put at the end of a table that is looked at by nobody."""
    parts = as_tuples(batches)
    sql = f"INSERT INTO appended ({COLUMNS}) VALUES ({', '.join('?' * len(COLUMNS.split()))})"

    def run() -> None:
        for part in parts:
            with database.write() as tx:
                tx.run_many(sql, part)

    return run


def copy_straight(database: Database, batches: Sequence[Batch]) -> Callable[[], None]:
    types = ("int4", "int2", "int8", *["float8"] * 6, "int2", "int4", "int8")
    parts = as_tuples(batches)

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

    def measured(self, held: Sequence[Batch], stored: int, run: Callable[[], None], rows: int = 0) -> Cost:
        """``stored``: how many rows the table holds afterwards; ``rows``: how many were written, if not these."""
        self.holding(held)
        rows = rows or stored
        log, cpu, began = self._log(), self.cpu(), time.perf_counter()
        run()
        wall = time.perf_counter() - began
        cpu = self.cpu() - cpu
        logged = self._log() - log
        with self.database.read() as tx:
            assert tx.tuples("SELECT count(*) FROM price_bar")[0][0] == stored
        return Cost(rows / cpu, rows / wall, logged / rows)

    def cpu(self) -> float:
        """CPU seconds so far, of this process and, on a server, of the one that works for it."""
        return time.process_time() + self._server_cpu()

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
    store, few = Store(url, symbols), max(1, symbols // ORM_SHARE)
    with store.database.write() as tx:
        tx.run("CREATE TABLE appended AS SELECT * FROM price_bar WHERE 0")
    batches, others = made_up(symbols, bars), made_up(symbols, bars, 1.5)
    runs = {
        "marketjobs": (batches, ours(store.database, batches)),
        CORE: (batches, core(store.database, batches)),
        ORM: (batches[:few], orm(store.database, batches[:few])),
    }
    tables = []
    for case, held in {"fresh": [], "unchanged": batches, "changed": others}.items():
        contestants = {
            name: partial(store.measured, held[: len(some)], len(some) * bars, run)
            for name, (some, run) in runs.items()
        }
        if case == "fresh":
            contestants[APPEND] = partial(store.measured, [], 0, append(store.database, batches), len(batches) * bars)
        costs = rounds(contestants, count)
        title = f"SQLite, {symbols * bars:,} rows, {case}"
        for peer, least in {CORE: 5.0, ORM: 100.0, APPEND: 0.7}.items():
            if peer in costs:
                pair = {name: costs[name] for name in ("marketjobs", peer)}
                wanted = {} if case == "changed" else {"marketjobs": least}
                tables.append(
                    Table(f"{title}: {peer}", "rows/CPU s", column(pair, "rows_per_cpu_second"), peer, wanted=wanted)
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
    title = f"PostgreSQL, {symbols * bars:,} rows"
    wanted = {"marketjobs, fresh": 0.5, "marketjobs, unchanged": 1.0}
    return [
        Table(
            title, "rows/CPU s, client and server", column(costs, "rows_per_cpu_second"), COPY_STRAIGHT, wanted=wanted
        ),
        Table(title, "rows/s", column(costs, "rows_per_second"), COPY_STRAIGHT, wanted=wanted),
        Table(
            title,
            "bytes of log a row",
            column(costs, "log_bytes_per_row"),
            COPY_STRAIGHT,
            more_is_better=False,
            wanted={"marketjobs, unchanged": Wanted(at_most=5.0, of="median")},  # locks of assets, commits,
        ),
    ]


def column(costs: dict[str, list[Cost]], name: str) -> dict[str, list[float]]:
    return {contestant: [getattr(one, name) for one in values] for contestant, values in costs.items()}


def main() -> None:
    chosen = options(__doc__, symbols=240, bars=250, rounds=3, server=SERVER)
    with tempfile.TemporaryDirectory() as folder:
        tables = on_sqlite(f"sqlite:///{folder}/bench.db", chosen.symbols, chosen.bars, chosen.rounds)
    if chosen.server:
        with postgres_database(chosen.server) as url:
            tables += on_postgresql(url, chosen.symbols, chosen.bars, chosen.rounds)
    print_tables(tables, as_json=chosen.json)


if __name__ == "__main__":
    main()
