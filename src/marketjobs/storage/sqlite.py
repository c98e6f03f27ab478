"""The store in a SQLite file with a write-ahead log."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from marketjobs.errors import StorageError, StorageFull, StorageUnavailable
from marketjobs.storage.database import BUSY_SECONDS, SQLITE, Database, Params, Row, Transaction
from marketjobs.storage.pool import Pool

NOW = "((julianday('now') - 2440587.5) * 86400.0)"
WAL_TRIES = 100
CACHE_KIB = 4096
"""Pages that a connection keeps.  SQLite's own 2 MiB are a little less than what the ends of 500 series need, and to
read a page again costs more than to look in it."""
OLDEST_SQLITE = (3, 35)


class SqliteTransaction(Transaction):
    dialect: ClassVar[str] = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, params: Params = ()) -> int:
        return self._connection.execute(_native(sql), params).rowcount

    def run_many(self, sql: str, rows: Iterable[Params]) -> int:
        return self._connection.executemany(_native(sql), rows).rowcount

    def all(self, sql: str, params: Params = ()) -> list[Row]:
        return self._connection.execute(_native(sql), params).fetchall()

    def tuples(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor.execute(_native(sql), params).fetchall()

    def first(self, sql: str, params: Params = ()) -> Row | None:
        row: Row | None = self._connection.execute(_native(sql), params).fetchone()
        return row

    def has_table(self, name: str) -> bool:
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name"
        return self.first(sql, {"name": name}) is not None


class SqliteDatabase(Database):
    """A file; its folder must exist.  ``durable`` is ``synchronous=FULL``, else ``NORMAL``."""

    dialect: ClassVar[str] = "sqlite"
    sqlalchemy_url: ClassVar[str] = "sqlite://"
    migrates_itself: ClassVar[bool] = True
    begin_migration: ClassVar[str] = "BEGIN IMMEDIATE"
    driver_errors = (sqlite3.Error,)

    def __init__(self, path: Path, *, durable: bool = True, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self.url = self.shown_url = f"{SQLITE}{path}"
        self.label = str(path)
        self.durable = durable
        self.busy_seconds = busy_seconds
        self._pool: Pool[sqlite3.Connection] = Pool()

    @contextmanager
    def read(self) -> Iterator[SqliteTransaction]:
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield SqliteTransaction(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[SqliteTransaction]:
        # BEGIN IMMEDIATE takes the write lock at once: a transaction that reads first and writes later could not
        # wait for another writer, its snapshot would be stale.
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield SqliteTransaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def statement(self) -> Iterator[SqliteTransaction]:
        with self._connection() as connection:
            yield SqliteTransaction(connection)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._pool.slots:
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
                        self._pool.idle.append(connection)

    def _take(self) -> sqlite3.Connection:
        try:
            return self._pool.idle.pop()
        except IndexError:  # asked for, not looked at before: another thread may have been quicker
            return self._connect()

    def _connect(self, busy_seconds: float | None = None) -> sqlite3.Connection:
        connection = connect(self.path, busy_seconds=self.busy_seconds if busy_seconds is None else busy_seconds)
        connection.execute(f"PRAGMA synchronous={'FULL' if self.durable else 'NORMAL'}")
        return connection

    def driver_connection(self, busy_seconds: float | None = None) -> sqlite3.Connection:
        return self._connect(busy_seconds)

    def translated(self, error: BaseException) -> StorageError:
        return translated(error, self.path) if isinstance(error, sqlite3.Error) else StorageError(f"database: {error}")

    def exists(self) -> bool:
        return self.path.exists()

    def impatient(self, busy_seconds: float) -> SqliteDatabase:
        return SqliteDatabase(self.path, durable=self.durable, busy_seconds=busy_seconds)

    def close(self) -> None:
        self._pool.close()


def _native(sql: str) -> str:
    return sql.replace("{now}", NOW).replace("{for_update}", "")


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
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
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
