"""The store as SQL over the driver: connections, transactions, and what the driver's errors mean.

The hot paths (jobs, budgets, bars) and the commands that must answer at once use this and import no
SQLAlchemy; `engine.py` hands the same connections to SQLModel for the rest.  Statements use ``:name``
parameters and only what SQLite (3.35+) and PostgreSQL both understand; ``{now}`` in a statement is the
database's clock in epoch seconds.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marketjobs.errors import StorageError, StorageFull, StorageUnavailable

Params = Mapping[str, Any] | Sequence[Any]
Row = Mapping[str, Any]

NOW = "((julianday('now') - 2440587.5) * 86400.0)"
POOL_SIZE = 2
BUSY_SECONDS = 10.0
WAL_TRIES = 100
OLDEST_SQLITE = (3, 35)


class Transaction:
    """Statements of one transaction.  ``{now}`` in them is the database's clock."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, params: Params = ()) -> int:
        """Execute; the number of rows it changed."""
        return self._connection.execute(sql.replace("{now}", NOW), params).rowcount

    def run_many(self, sql: str, rows: Iterable[Params]) -> int:
        """Execute once a row, prepared once; the number of rows changed in all."""
        return self._connection.executemany(sql.replace("{now}", NOW), rows).rowcount

    def all(self, sql: str, params: Params = ()) -> list[Row]:
        return self._connection.execute(sql.replace("{now}", NOW), params).fetchall()

    def tuples(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """Rows by position, for long answers."""
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor.execute(sql.replace("{now}", NOW), params).fetchall()

    def first(self, sql: str, params: Params = ()) -> Row | None:
        row: Row | None = self._connection.execute(sql.replace("{now}", NOW), params).fetchone()
        return row

    def now(self) -> float:
        """The database's clock, epoch seconds."""
        row = self.first("SELECT {now} AS now")
        assert row is not None
        return float(row["now"])


class Database:
    """A SQLite file with write-ahead log.  One object a process serves all its threads; a forked child opens
    connections of its own.

    Args:
        path: the file; its folder must exist.
        durable: ``True`` where jobs are accepted: a commit survives a power cut (``synchronous=FULL``).
            Workers pass ``False``: what they lose in a power cut is only done again.
        busy_seconds: how long a writer waits for another.
    """

    def __init__(self, path: Path, *, durable: bool = True, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self.durable = durable
        self.busy_seconds = busy_seconds
        self._reset()
        # A child must never touch a connection of its parent, not even to close it: closing would drop the
        # parent's file locks.  The old pool is kept alive for that reason.
        self._parents: list[Any] = []
        os.register_at_fork(after_in_child=self._after_fork)

    def _reset(self) -> None:
        self._idle: list[sqlite3.Connection] = []
        self._slots = threading.BoundedSemaphore(POOL_SIZE)

    def _after_fork(self) -> None:
        self._parents.append(self._idle)
        self._reset()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A snapshot: all statements see the same state."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield Transaction(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that may write; commits at the end, rolls back on any exception.

        ``BEGIN IMMEDIATE`` takes the write lock at once: a transaction that reads first and writes later
        could not wait for another writer, its snapshot would be stale.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._slots:
            connection = None
            try:
                connection = self._take()
                yield connection
            except sqlite3.Error as exc:
                raise translated(exc, self.path) from exc
            finally:
                if connection is not None:
                    if connection.in_transaction:
                        connection.close()
                    else:
                        self._idle.append(connection)

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:  # asked for, not looked at before: another thread may have been quicker
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self.path, busy_seconds=self.busy_seconds)
        connection.execute(f"PRAGMA synchronous={'FULL' if self.durable else 'NORMAL'}")
        return connection

    def driver_connection(self) -> sqlite3.Connection:
        """A new connection that the caller owns (SQLAlchemy's pool does)."""
        return self._connect()

    def close(self) -> None:
        """Close what is idle; the object stays usable."""
        while self._idle:
            self._idle.pop().close()


def connect(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """A connection in autocommit mode (we say BEGIN ourselves), in WAL mode, with rows by name."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed (UPDATE .. RETURNING)")
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            _switch_to_wal(connection)
        connection.execute("PRAGMA foreign_keys=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # The busy timeout does not cover this switch when two processes meet on a new file.
    for attempt in range(WAL_TRIES):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or attempt == WAL_TRIES - 1:
                raise
            time.sleep(0.05)


def translated(error: sqlite3.Error, path: Path) -> StorageError:
    """The error of our tree that says what a driver's error means."""
    text = str(error)
    if "disk is full" in text or "disk I/O error" in text:
        return StorageFull(
            f"the database {path} can't be written: {text}", hint="free some disk space, then run it again"
        )
    if "locked" in text or "busy" in text:
        return StorageUnavailable(f"the database {path} is locked by another program", hint="marketjobs doctor")
    if "readonly" in text or "read-only" in text:
        return StorageUnavailable(f"the database {path} is read-only", hint="marketjobs doctor")
    if "unable to open" in text:
        return StorageUnavailable(f"the database {path} can't be opened", hint="marketjobs doctor")
    if "not a database" in text or "malformed" in text:
        return StorageUnavailable(f"{path} is no sound SQLite database: {text}", hint="restore a backup of it")
    return StorageError(f"database {path}: {text}")
