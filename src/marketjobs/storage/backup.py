"""A copy of the store in use: complete, of one instant, and never half a file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from marketjobs.errors import InvalidInput, StorageFull
from marketjobs.storage.database import Database
from marketjobs.storage.sqlite import SqliteDatabase, connect, translated

PAGES_A_STEP = 2000
Progress = Callable[[float], None]


def backup(source: Path, target: Path, progress: Progress | None = None) -> int:
    """Copy a SQLite file that others may be writing to; its size in bytes.  ``progress`` is told 0 to 1.

    The copy appears whole or not at all, readable by its owner only, and replaces what had its name.

    Raises:
        StorageError: the store can't be read, or the copy not be written.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")

    def told(_status: int, remaining: int, total: int) -> None:
        if progress is not None and total:
            progress(1 - remaining / total)

    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        reading = connect(source)
        try:
            writing = sqlite3.connect(part, isolation_level=None)
            try:
                # A step at a time lets writers in between; the copy takes their pages up as it goes.
                reading.backup(writing, pages=PAGES_A_STEP, progress=told, sleep=0.01)
            finally:
                writing.close()
        finally:
            reading.close()
        with part.open("rb") as copy:
            os.fsync(copy.fileno())
            size = copy.seek(0, os.SEEK_END)
        part.replace(target)
    except sqlite3.Error as exc:
        raise translated(exc, source) from exc
    except OSError as exc:
        raise StorageFull(f"{target} can't be written: {exc.strerror}", hint="name another place") from exc
    finally:
        part.unlink(missing_ok=True)
    return size


def save(database: Database, target: Path, progress: Progress | None = None) -> int:
    """What `db backup` does: a copy under a new name; its size in bytes.

    Raises:
        InvalidInput: the name is taken or has no folder, or the store is a server's (its own tools do it better).
        StorageError: see :func:`backup`.
    """
    if not isinstance(database, SqliteDatabase):
        raise InvalidInput(
            f"{database.label} is backed up with PostgreSQL's own tool",
            hint=f"pg_dump --format=custom --file={target} '{database.shown_url}'",
        )
    if target.exists():
        raise InvalidInput(f"{target} is there already", hint="name a new file")
    if not target.parent.is_dir():
        raise InvalidInput(f"there is no folder {target.parent}", hint=f"mkdir -p {target.parent}")
    return backup(database.path, target, progress)
