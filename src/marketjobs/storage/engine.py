"""SQLModel sessions on the same SQLite file, for everything that is not bulk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool
from sqlmodel import Session, create_engine

from marketjobs.errors import StorageError
from marketjobs.storage.database import POOL_SIZE, Database, translated

READ_ONLY = "marketjobs_read_only"


@lru_cache(maxsize=8)
def engine_for(database: Database) -> Engine:
    """The engine of a database; one a process, and its pool starts anew in a forked child."""
    import os

    engine = create_engine(
        "sqlite://",
        creator=database.driver_connection,
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=0,
    )

    @event.listens_for(engine, "begin")
    def _begin(connection):
        reads = connection.get_execution_options().get(READ_ONLY)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return engine


@contextmanager
def session(database: Database, *, read_only: bool = False) -> Iterator[Session]:
    """A transaction of SQLModel objects; commits at the end.  Objects stay readable after it.

    ``read_only``: it takes no write lock, so it waits for nobody.
    """
    try:
        with Session(engine_for(database), expire_on_commit=False) as current:
            if read_only:
                current.connection(execution_options={READ_ONLY: True})
            yield current
            current.commit()
    except DBAPIError as exc:
        import sqlite3

        if isinstance(exc.orig, sqlite3.Error):
            raise translated(exc.orig, database.path) from exc
        raise StorageError(f"database: {exc.orig}") from exc
