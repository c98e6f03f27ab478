"""Rows of a file on their way into the store: kept outside of memory until all of them have been checked.

A private temporary SQLite database, whatever the store is: it is never seen in a folder and goes with the process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from marketjobs.domain.bars import Bar
from marketjobs.errors import StorageFull

CACHE_KIB = 16_384
CHUNK = 10_000


class StagedRow(NamedTuple):
    """A checked row of a file: which series (a small number), its stamp, the row's number, and its values."""

    series: int
    ts: int
    number: int
    open: float
    high: float
    low: float
    close: float
    adj_close: float | None
    volume: float | None


class Staging:
    """Use it as a context manager; all methods raise StorageFull when the temporary folder is full."""

    def __enter__(self) -> Staging:
        self._connection = sqlite3.connect("", isolation_level=None)
        for sql in (
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            f"PRAGMA cache_size=-{CACHE_KIB}",
            "CREATE TABLE bar (series INTEGER, ts INTEGER, number INTEGER, open REAL, high REAL, low REAL, close REAL,"
            " adj_close REAL, volume REAL, PRIMARY KEY (series, ts, number)) WITHOUT ROWID",
            "BEGIN",
        ):
            self._connection.execute(sql)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def add(self, rows: Iterable[StagedRow]) -> None:
        try:
            self._connection.executemany("INSERT INTO bar VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as exc:
            raise StorageFull(f"the folder for temporary files is full: {exc}", hint="set TMPDIR to another") from exc

    def repeated(self) -> Iterator[tuple[int, int, int, int, bool]]:
        """(series, stamp, number of the first row, of another, do they say the same?) for each row after the first
        of its stamp."""
        values = ("open", "high", "low", "close", "adj_close", "volume")
        same = " AND ".join(f"a.{name} IS b.{name}" for name in values)
        # Rows with one stamp lie beside each other: a walk through the table finds them.
        yield from self._connection.execute(
            f"SELECT a.series, a.ts, a.number, b.number, {same} FROM"
            " (SELECT series, ts, min(number) AS first FROM bar GROUP BY series, ts HAVING count(*) > 1) AS d"
            " JOIN bar AS a ON a.series = d.series AND a.ts = d.ts AND a.number = d.first"
            " JOIN bar AS b ON b.series = d.series AND b.ts = d.ts AND b.number > d.first"
        )

    def drop(self, keys: Iterable[Sequence[int]]) -> None:
        """Forget rows by (series, stamp, number)."""
        self._connection.executemany("DELETE FROM bar WHERE series = ? AND ts = ? AND number = ?", keys)

    def span(self, series: int) -> tuple[int, int] | None:
        """First and last stamp; ``None``: no row of it is left."""
        first, last = self._connection.execute(
            "SELECT (SELECT min(ts) FROM bar WHERE series = ?1), (SELECT max(ts) FROM bar WHERE series = ?1)", (series,)
        ).fetchone()
        return None if first is None else (first, last)

    def chunks(self, series: int) -> Iterator[list[tuple[int, Bar]]]:
        """The rows of a series, ascending, as (number of the row, bar), some thousands at a time."""
        cursor = self._connection.execute(
            "SELECT number, ts, open, high, low, close, adj_close, volume FROM bar WHERE series = ? ORDER BY ts",
            (series,),
        )
        while rows := cursor.fetchmany(CHUNK):
            yield [(row[0], Bar(*row[1:])) for row in rows]
