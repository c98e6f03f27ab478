"""Which schema the code knows, which one a database has, and the way from one to the other."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from marketjobs.errors import SchemaMismatch
from marketjobs.storage.database import Database, connect, translated

HEAD = "0002"
"""The newest migration; a test compares it with migrations/versions."""
KNOWN = ("0001", "0002")


def version(database: Database) -> str | None:
    """The migration that a database stands at; ``None``: it is empty.

    Raises:
        StorageError: the file is there but can't be read.
    """
    if not database.path.exists():
        return None
    with database.read() as tx:
        if tx.first("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'") is None:
            return None
        row = tx.first("SELECT version_num FROM alembic_version")
        return None if row is None else str(row["version_num"])


def ensure(database: Database) -> bool:
    """Bring a SQLite file to this version's schema, after a copy of it; ``True`` when something was done.

    Several processes may do this at once: one migrates, the others wait and find it done.

    Raises:
        SchemaMismatch: the database was written by a newer version.
    """
    found = version(database)
    if found == HEAD:
        return False
    _refuse_newer(found, database.path)
    return upgrade(database)


def upgrade(database: Database) -> bool:
    """Run the migrations that are missing, in one transaction that keeps every other writer out."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    try:
        connection = connect(database.path, busy_seconds=60)
    except sqlite3.Error as exc:
        raise translated(exc, database.path) from exc
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    try:
        # One transaction for all: SQLAlchemy's first look at a connection ends with a ROLLBACK, so ours begins after
        # it; and where alembic finds one begun, it does not commit after each migration.
        with engine.begin() as bound:
            connection.execute("BEGIN IMMEDIATE")
            found = _version_inside(connection)
            _refuse_newer(found, database.path)
            if found == HEAD:
                return False
            if found is not None:
                _copy(database.path, found)
            config.attributes["connection"] = bound
            command.upgrade(config, HEAD)
            assert connection.in_transaction, "a migration must not commit by itself"
        return True
    except sqlite3.Error as exc:
        raise translated(exc, database.path) from exc
    except DBAPIError as exc:
        if isinstance(exc.orig, sqlite3.Error):
            raise translated(exc.orig, database.path) from exc
        raise
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.close()


def _version_inside(connection: sqlite3.Connection) -> str | None:
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    return None if row is None else str(row[0])


def _refuse_newer(found: str | None, path: Path) -> None:
    if found is not None and found not in KNOWN:
        raise SchemaMismatch(
            f"the database {path} has schema {found}, this version knows {HEAD}: it was written by a newer marketjobs",
            hint="install the newer version, or point MARKETJOBS_DATABASE__URL at another file",
        )


def _copy(path: Path, found: str) -> None:
    # Inside our transaction no other process writes, and what is in the log belongs to the copy too.
    source = sqlite3.connect(path)
    target = path.with_name(f"{path.name}.before-{found}")
    try:
        with sqlite3.connect(target) as copy:
            source.backup(copy)
        copy.close()
    finally:
        source.close()
    shutil.copymode(path, target)
