"""Keeping the store itself: migrations and backups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from marketjobs.services.runtime import Runtime
from marketjobs.storage import backup as copies
from marketjobs.storage import schema


def upgrade(runtime: Runtime) -> tuple[str, str, bool]:
    """Bring the store to this version's schema: its label, the schema, and whether anything had to be done.

    Raises:
        SchemaMismatch: it was written by a newer version.
        StorageError: it can't be reached or changed.
    """
    database = runtime.unchecked_database()
    try:
        return database.label, schema.HEAD, schema.upgrade(database)
    finally:
        database.close()


def backup(runtime: Runtime, target: Path, progress: Callable[[float], None] | None = None) -> int:
    """Copy the store while others use it: the copy's size in bytes.

    Raises:
        InvalidInput: the name is taken, or the store is a server's.
        StorageError: the store can't be read, or the copy not be written.
    """
    return copies.save(runtime.unchecked_database(), target, progress)
