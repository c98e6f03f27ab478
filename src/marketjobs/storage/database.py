"""The store as SQL over a driver: what a transaction and a database offer, whichever server or file is behind it.

Everything that runs uses this and imports no SQLAlchemy: `tables` declares the schema for it, `schema` hands a
connection to the migrations.  Statements have ``:name`` or ``?``
parameters and use only what SQLite (3.35+) and PostgreSQL both understand, with two words of their own:
``{now}`` is the database's clock in epoch seconds, ``{for_update}`` locks the rows of a SELECT where a
writer does not keep every other out anyway.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from marketjobs.errors import StorageError

Params = Mapping[str, Any] | Sequence[Any]
Row = Mapping[str, Any]

POOL_SIZE = 2
BUSY_SECONDS = 10.0
SQLITE = "sqlite:///"


class Transaction(ABC):
    """Statements of one transaction."""

    dialect: ClassVar[str]

    @abstractmethod
    def run(self, sql: str, params: Params = ()) -> int:
        """Execute; the number of rows it changed."""

    @abstractmethod
    def run_many(self, sql: str, rows: Iterable[Params]) -> int:
        """Execute once a row, prepared once; the number of rows changed in all."""

    @abstractmethod
    def all(self, sql: str, params: Params = ()) -> list[Row]: ...

    @abstractmethod
    def tuples(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """Rows by position, for long answers."""

    @abstractmethod
    def first(self, sql: str, params: Params = ()) -> Row | None: ...

    @abstractmethod
    def has_table(self, name: str) -> bool: ...

    def now(self) -> float:
        """The database's clock, epoch seconds."""
        row = self.first("SELECT {now} AS now")
        assert row is not None
        return float(row["now"])


class Database(ABC):
    """A store.  One object a process serves all its threads from a pool of two connections; a forked child
    opens connections of its own.

    Attributes:
        url: where it is, with its password: not for people.
        label: where it is, for people; ``shown_url`` the same as an address.
        busy_seconds: how long a writer waits for another.
    """

    dialect: ClassVar[str]
    sqlalchemy_url: ClassVar[str]
    migrates_itself: ClassVar[bool]
    """May any command bring it to a new schema?  Only where nobody else may be using it with an older program."""
    begin_migration: ClassVar[str]
    """What keeps every other migration out until the end of the transaction."""

    driver_errors: ClassVar[tuple[type[Exception], ...]]

    url: str
    label: str
    shown_url: str
    busy_seconds: float

    @abstractmethod
    def read(self) -> AbstractContextManager[Transaction]:
        """A snapshot: all statements see the same state."""

    @abstractmethod
    def write(self) -> AbstractContextManager[Transaction]:
        """A transaction that may write; commits at the end, rolls back on any exception."""

    @abstractmethod
    def statement(self) -> AbstractContextManager[Transaction]:
        """Each statement by itself, committed when it returns: one round trip to a server instead of three."""

    @abstractmethod
    def driver_connection(self, busy_seconds: float | None = None) -> Any:
        """A new connection that the caller owns (a migration does)."""

    @abstractmethod
    def translated(self, error: BaseException) -> StorageError:
        """The error of our tree that says what a driver's error means."""

    @abstractmethod
    def exists(self) -> bool:
        """Is there anything that could hold a schema?"""

    @abstractmethod
    def impatient(self, busy_seconds: float) -> Database:
        """The same store for whoever can't wait long; to be closed by the caller."""

    @abstractmethod
    def close(self) -> None:
        """Close what is idle; the object stays usable."""


def open_database(url: str, *, durable: bool = True, busy_seconds: float = BUSY_SECONDS) -> Database:
    """The store at ``sqlite:///FILE`` or ``postgresql://...``; nothing is opened yet.

    Args:
        durable: ``True`` where jobs are accepted: a commit survives a power cut.  Workers pass ``False``: what they
            lose with a file's machine is only done again.  A server may crash without them, so there it is always so.

    Raises:
        StorageError: its driver is not installed.
    """
    if url.startswith(SQLITE):
        from pathlib import Path

        from marketjobs.storage.sqlite import SqliteDatabase

        return SqliteDatabase(Path(url.removeprefix(SQLITE)), durable=durable, busy_seconds=busy_seconds)
    try:
        from marketjobs.storage.postgres import PostgresDatabase
    except ImportError as exc:
        raise StorageError(
            f"the driver of PostgreSQL can't be imported ({exc})", hint="pip install 'marketjobs[postgres]'"
        ) from exc
    return PostgresDatabase(url, busy_seconds=busy_seconds)
