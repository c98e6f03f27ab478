"""The store on a PostgreSQL server (14 or newer), by psycopg 3."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
import psycopg.conninfo
from psycopg.abc import Buffer
from psycopg.rows import dict_row, tuple_row
from psycopg.types.string import StrDumperUnknown

from marketjobs.errors import ConfigError, SchemaMismatch, StorageError, StorageFull, StorageUnavailable
from marketjobs.storage.database import BUSY_SECONDS, POOL_SIZE, Database, Params, Row, Transaction
from marketjobs.storage.pool import Pool

NOW = "extract(epoch from clock_timestamp())::float8"
CONNECT_SECONDS = 5
SILENT_SECONDS = 3.0
"""A server that says nothing for so long in answer to a statement is asked whether it is there at all."""
KNOCK_SECONDS = 4
FORGOTTEN_TRANSACTION_SECONDS = 60
"""A process that was stopped in the middle of a transaction must not hold its locks for ever."""
OLDEST_SERVER = 140_000
BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
BEGIN_WRITE = "BEGIN"
MIGRATION_LOCK = 7_304_912
"""Any number that is ours in this database."""

_CONNECTION_GONE = ("08", "57P")
"""SQLSTATE of connections that ended: connection exceptions, and a server that shuts down."""


class PostgresTransaction(Transaction):
    dialect: ClassVar[str] = "postgresql"

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def run(self, sql: str, params: Params = ()) -> int:
        return self.connection.execute(_native(sql), params).rowcount

    def run_many(self, sql: str, rows: Iterable[Params]) -> int:
        with self.connection.cursor() as cursor:
            cursor.executemany(_native(sql), rows)
            return max(cursor.rowcount, 0)

    def all(self, sql: str, params: Params = ()) -> list[Row]:
        return self.connection.execute(_native(sql), params).fetchall()

    def tuples(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        with self.connection.cursor(row_factory=tuple_row, binary=True) as cursor:
            return cursor.execute(_native(sql), params).fetchall()

    def first(self, sql: str, params: Params = ()) -> Row | None:
        row: Row | None = self.connection.execute(_native(sql), params).fetchone()
        return row

    def copy(self, sql: str, chunks: Iterable[bytes]) -> None:
        """COPY FROM STDIN of these bytes."""
        with self.connection.cursor() as cursor, cursor.copy(sql) as sink:
            for chunk in chunks:
                sink.write(chunk)

    def has_table(self, name: str) -> bool:
        row = self.first("SELECT to_regclass(:name) IS NOT NULL AS found", {"name": name})
        return bool(row and row["found"])


class PostgresDatabase(Database):
    """A database of a server.  Every commit survives its crash; writers lock rows, not the store."""

    dialect: ClassVar[str] = "postgresql"
    sqlalchemy_url: ClassVar[str] = "postgresql+psycopg://"
    migrates_itself: ClassVar[bool] = False
    begin_migration: ClassVar[str] = f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"
    driver_errors = (psycopg.Error,)

    def __init__(self, url: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        """Raises ConfigError for an address that the driver can't take apart."""
        try:
            psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError as exc:
            raise ConfigError(f"database.url: {' '.join(str(exc).split())}") from exc
        self.url = url
        self.label = label_of(url)
        self.shown_url = without_password(url)
        self.busy_seconds = busy_seconds
        self._pool: Pool[psycopg.Connection[Any]] = Pool()

    @contextmanager
    def read(self) -> Iterator[PostgresTransaction]:
        with self._connection(BEGIN_READ) as connection:
            yield PostgresTransaction(connection)
            # Not ROLLBACK, after which psycopg prepares its statements anew.
            connection.execute("COMMIT")

    @contextmanager
    def write(self) -> Iterator[PostgresTransaction]:
        with self._connection(BEGIN_WRITE) as connection:
            yield PostgresTransaction(connection)
            connection.execute("COMMIT")

    @contextmanager
    def statement(self) -> Iterator[PostgresTransaction]:
        with self._connection(None) as connection:
            yield PostgresTransaction(connection)

    @contextmanager
    def _connection(self, begin: str | None) -> Iterator[psycopg.Connection[Any]]:
        with self._pool.slots:
            connection = None
            try:
                connection = self._taken(begin)
                yield connection
            except psycopg.Error as exc:
                raise self.translated(exc) from exc
            finally:
                if connection is not None:
                    self._put_back(connection)

    def _taken(self, begin: str | None) -> psycopg.Connection[Any]:
        """A connection, inside a transaction if one is to ``begin``.  One that lay idle may have ended with its server:
        then a new one."""
        while self._pool.idle:
            try:
                connection = self._pool.idle.pop()
            except IndexError:  # another thread was quicker
                break
            if _has_ended(connection):
                connection.close()
                continue
            try:
                if begin is not None:
                    connection.execute(begin)
                return connection
            except psycopg.OperationalError as exc:
                connection.close()
                if isinstance(exc, _Silent) or not _is_gone(exc):
                    raise
        connection = self.driver_connection()
        connection.autocommit = True  # we say BEGIN ourselves
        connection.row_factory = dict_row
        if begin is not None:
            connection.execute(begin)
        return connection

    def _put_back(self, connection: psycopg.Connection[Any]) -> None:
        if connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")
        if connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE:
            self._pool.idle.append(connection)
        else:
            connection.close()

    def driver_connection(self, busy_seconds: float | None = None) -> psycopg.Connection[Any]:
        busy = self.busy_seconds if busy_seconds is None else busy_seconds
        options = {
            "lock_timeout": f"{busy * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{FORGOTTEN_TRANSACTION_SECONDS * 1000}",
            # For workers too: a crash of the server leaves them running, and what they believe to be stored would be
            # asked for by nobody.
            "synchronous_commit": "on",
            # What is read as text must not depend on the role's settings.
            "timezone": "UTC",
            "client_min_messages": "warning",
        }
        connection = _Connection.connect(
            self.url,
            connect_timeout=CONNECT_SECONDS,
            application_name="marketjobs",
            options=" ".join(f"-c {name}={value}" for name, value in options.items()),
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=20_000,
        )
        connection.url = self.url
        connection.adapters.register_dumper(str, _Text)
        if connection.info.server_version < OLDEST_SERVER:
            version = connection.info.server_version // 10_000
            connection.close()
            raise StorageError(f"{self.label} is PostgreSQL {version}: 14 or newer is needed")
        return connection

    def translated(self, error: BaseException) -> StorageError:
        return translated(error, self.label)

    def exists(self) -> bool:
        return True

    def impatient(self, busy_seconds: float) -> PostgresDatabase:
        return PostgresDatabase(self.url, busy_seconds=busy_seconds)

    def close(self) -> None:
        self._pool.close()


class _Silent(psycopg.OperationalError):
    """The server froze, or the network lost it: there is no point in asking it once more."""


class _Connection(psycopg.Connection[Any]):
    """One that does not wait for ever for a server that froze.

    Its host still confirms what is sent, so that no timeout of TCP ends it, and a slow statement is as silent.  What
    tells them apart: a server that works takes another connection.
    """

    url = ""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        return super().wait(self._watched(gen), *args, **options)

    def _watched(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """The same dialogue with the socket, in which silence is timed."""
        try:
            wanted = next(gen)
            heard_at = time.monotonic()
            while True:
                ready = yield wanted
                if ready:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > SILENT_SECONDS:
                    self._knock()
                    heard_at = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _knock(self) -> None:
        """Raises OperationalError where the server takes no other connection; the answer that it has none left is
        an answer too."""
        try:
            psycopg.connect(self.url, connect_timeout=KNOCK_SECONDS).close()
        except psycopg.OperationalError as exc:
            if "FATAL" not in str(exc):
                self.close()  # or else a rollback would wait for it as well
                raise _Silent("it has fallen silent") from exc


class _Text(StrDumperUnknown):
    """PostgreSQL keeps any text but U+0000, which a vendor's answer may hold."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in obj else obj)


def without_password(url: str) -> str:
    """An address as a person may type it again: all of it but the password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    options = "&".join(one for one in parts.query.split("&") if not one.startswith("password="))
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{host}" if parts.username else host, query=options))


def label_of(url: str) -> str:
    """An address as people may see it: no password, and no options that could hold one."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = parts.username
    return f"postgresql://{user + '@' if user else ''}{host}{parts.path}"


@lru_cache(maxsize=512)
def _native(sql: str) -> str:
    """Our statements in psycopg's spelling."""
    text = sql.replace("{now}", NOW).replace("{for_update}", "FOR UPDATE").replace("%", "%%")
    return re.sub(r"(?<![:\w]):([a-z_]\w*)", r"%(\1)s", text).replace("?", "%s")


def _has_ended(connection: psycopg.Connection[Any]) -> bool:
    """Did the server say something unasked, its farewell or the end of the stream?  Keep-alives of TCP end a stream to
    a machine that is gone.  It costs no round trip."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def _is_gone(error: psycopg.Error) -> bool:
    return error.sqlstate is None or error.sqlstate.startswith(_CONNECTION_GONE)


def translated(error: BaseException, label: str) -> StorageError:
    """The error of our tree that says what a driver's error means."""
    if not isinstance(error, psycopg.Error):
        return StorageError(f"database {label}: {error}")
    state = error.sqlstate or ""
    primary = getattr(error.diag, "message_primary", None)
    text = " ".join((primary or str(error)).split())[:300] or type(error).__name__
    if state in ("3D000", "28P01", "28000") or (not state and "FATAL" in text):
        return _refused(text.rpartition("FATAL:")[2].strip(), label)
    if not state and ("no password supplied" in text or text.startswith("invalid ")):
        return _refused(text, label)
    if state == "42P01":
        return SchemaMismatch(f"the database {label} lacks a table: {text}", hint="marketjobs db upgrade")
    if state == "53100":
        return StorageFull(f"the database {label} can't be written: {text}", hint="free some disk space on its server")
    if state in ("55P03", "40P01", "40001"):
        return StorageUnavailable(f"the database {label} is held by another transaction: {text}")
    if state == "25006":
        return StorageUnavailable(f"the database {label} is read-only (a standby?)", hint="marketjobs doctor")
    if state == "42501":
        return StorageUnavailable(f"the database {label} denies it: {text}", hint="grant its role the right")
    if not state or state.startswith(("08", "57P", "53", "58", "25P03")):
        return StorageUnavailable(f"the database {label} does not answer: {text}", hint="marketjobs doctor")
    return StorageError(f"database {label}: {text}")


def _createdb(label: str) -> str:
    parts = urlsplit(label)
    options = {"-h": parts.hostname, "-p": parts.port, "-U": parts.username}
    given = "".join(f" {name} {value}" for name, value in options.items() if value is not None)
    return f"createdb{given} {parts.path.strip('/')}"


def _refused(text: str, label: str) -> StorageUnavailable:
    """What a server says to whoever may not connect."""
    if "does not exist" in text and "database" in text:
        return StorageUnavailable(f"{label}: {text}", hint=f"{_createdb(label)}; marketjobs db upgrade")
    if "connection slots" in text or "too many" in text:
        hint = f"fewer workers, or a larger max_connections (a process keeps up to {POOL_SIZE})"
        return StorageUnavailable(f"the database {label} has no connection left: {text}", hint=hint)
    if "starting up" in text or "shutting down" in text or "recovery" in text:
        return StorageUnavailable(f"the database {label} does not answer yet: {text}", hint="marketjobs doctor")
    return StorageUnavailable(
        f"the database {label} refuses: {text}", hint="look at [database] url: user, password and options"
    )
