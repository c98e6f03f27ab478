"""Which schema the code knows, which one a database has, and the way from one to the other."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from marketjobs.errors import SchemaMismatch
from marketjobs.storage.database import Database

HEAD = "0010"
"""The newest migration; a test compares it with migrations/versions."""
KNOWN = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010")
MIGRATION_PATIENCE_SECONDS = 60.0


def version(database: Database) -> str | None:
    """The migration that a database stands at; ``None``: it is empty.

    Raises:
        StorageError: it is there but can't be read.
    """
    if not database.exists():
        return None
    with database.read() as tx:
        if not tx.has_table("alembic_version"):
            return None
        row = tx.first("SELECT version_num FROM alembic_version")
        return None if row is None else str(row["version_num"])


def ensure(database: Database) -> bool:
    """Make sure that a database is at this version's schema; ``True`` when something was done for it.

    A SQLite file is brought there, after a copy of it; several processes may do this at once: one migrates, the
    others wait and find it done.  A server's database is only looked at: `db upgrade` is a person's decision.

    Raises:
        SchemaMismatch: the database was written by a newer version, or must be migrated first.
    """
    found = version(database)
    if found == HEAD:
        return False
    _refuse_newer(found, database)
    if not database.migrates_itself:
        what = "has no tables yet" if found is None else f"has schema {found}, this version needs {HEAD}"
        raise SchemaMismatch(f"the database {database.label} {what}", hint="marketjobs db upgrade")
    return upgrade(database)


def upgrade(database: Database) -> bool:
    """Run the migrations that are missing, in one transaction that keeps other migrations out; ``True``: there were
    some.

    Raises:
        SchemaMismatch: the database was written by a newer version.
        StorageError: it can't be reached or changed.
    """
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    from marketjobs.storage.sqlite import SqliteDatabase

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    driver: Any = None
    try:
        driver = database.driver_connection(MIGRATION_PATIENCE_SECONDS)
        engine = create_engine(database.sqlalchemy_url, creator=lambda: driver, poolclass=StaticPool)
        # One transaction for all: SQLAlchemy's first look at a connection ends with a ROLLBACK, so ours begins after
        # it; and where alembic finds one begun, it does not commit after each migration.
        with engine.begin() as bound:
            bound.exec_driver_sql(database.begin_migration)
            found = _version_inside(bound)
            _refuse_newer(found, database)
            if found == HEAD:
                return False
            if found is not None and isinstance(database, SqliteDatabase):
                _copy(database.path, found)
            config.attributes["connection"] = bound
            command.upgrade(config, HEAD)
            assert database.dialect != "sqlite" or driver.in_transaction, "a migration must not commit by itself"
        return True
    except DBAPIError as exc:
        raise (database.translated(exc.orig) if exc.orig else exc) from exc
    except database.driver_errors as exc:
        raise database.translated(exc) from exc
    finally:
        if driver is not None:
            with suppress(*database.driver_errors):  # it may have ended with its server
                driver.rollback()
            driver.close()


def _version_inside(bound: Any) -> str | None:
    from sqlalchemy import inspect

    if not inspect(bound).has_table("alembic_version"):
        return None
    row = bound.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])


def _refuse_newer(found: str | None, database: Database) -> None:
    if found is not None and found not in KNOWN:
        raise SchemaMismatch(
            f"the database {database.label} has schema {found}, this version knows {HEAD}:"
            " it was written by a newer marketjobs",
            hint="install the newer version, or point MARKETJOBS_DATABASE__URL at another database",
        )


def _copy(path: Path, found: str) -> None:
    from marketjobs.storage.backup import backup

    # Inside our transaction no other process writes, and what is in the log belongs to the copy too.
    backup(path, path.with_name(f"{path.name}.before-{found}"))
