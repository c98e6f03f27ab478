"""Statements about many rows: in pieces that every database takes, and lists of ids that need no parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from marketjobs.storage.database import Transaction

CHUNK = 500
"""Databases bound the number of a statement's parameters."""


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def insert_many(tx: Transaction, into: str, rows: Sequence[Sequence[Any]], on_conflict: str = "") -> int:
    """``INSERT INTO table (columns)`` of many rows, none twice, by a statement for some hundreds: how many it wrote.

    Over a connection a statement costs as much as twenty rows of one.
    """
    written = 0
    for part in chunks(rows):
        marks = ", ".join(["(" + ", ".join("?" * len(part[0])) + ")"] * len(part))
        written += tx.run(f"{into} VALUES {marks} {on_conflict}", [value for row in part for value in row])
    return written


def among(ids: Iterable[int]) -> str:
    """What stands behind IN, ascending: whole numbers, so that nothing is to be bound and any number of them fits.

    Of none NULL, which equals nothing: PostgreSQL takes no empty list.
    """
    return "(" + (", ".join(str(int(one)) for one in sorted(set(ids))) or "NULL") + ")"
