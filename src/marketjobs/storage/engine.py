"""SQLModel sessions on the same store, for everything that is not bulk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool
from sqlmodel import Session, create_engine

from marketjobs.errors import StorageError
from marketjobs.storage.database import POOL_SIZE, Database

READ_ONLY = "marketjobs_read_only"


@lru_cache(maxsize=8)
def engine_for(database: Database) -> Engine:
    """The engine of a database; one a process, and its pool starts anew in a forked child."""
    engine = create_engine(
        database.sqlalchemy_url,
        creator=database.driver_connection,
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=0,
        # A server may have been started anew since; a file is always there.
        pool_pre_ping=database.dialect != "sqlite",
    )
    if database.dialect == "sqlite":

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
        raise (database.translated(exc.orig) if exc.orig else StorageError(f"database: {exc}")) from exc
