"""Statements about many rows: in pieces that every database takes, and lists of ids that need no parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

CHUNK = 500
"""Databases bound the number of a statement's parameters."""


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def among(ids: Iterable[int]) -> str:
    """What stands behind IN, ascending: whole numbers, so that nothing is to be bound and any number of them fits."""
    return "(" + ", ".join(str(int(one)) for one in sorted(set(ids))) + ")"
