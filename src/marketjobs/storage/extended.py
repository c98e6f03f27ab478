"""Which parts of a series were asked for with pre- and post-market: kept beside the coverage of regular hours.

What was asked for with extended hours counts as coverage of the regular ones too, and not the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable

from marketjobs.domain.intervals import Interval
from marketjobs.domain.ranges import Range, merge
from marketjobs.storage.database import Transaction

EXTENDED = 100
"""Added to an interval's code in `bar_coverage`."""


def coverage(tx: Transaction, asset: int, interval: Interval) -> tuple[Range, ...]:
    """Ranges that were asked for with extended hours and answered, ascending."""
    rows = tx.all(
        "SELECT start_ts, end_ts FROM bar_coverage WHERE asset_id = :asset AND interval = :code ORDER BY start_ts",
        {"asset": asset, "code": interval.code + EXTENDED},
    )
    return tuple(Range(row["start_ts"], row["end_ts"]) for row in rows)


def add_coverage(tx: Transaction, asset: int, interval: Interval, added: Iterable[Range]) -> None:
    before = set(coverage(tx, asset, interval))
    after = set(merge([*before, *added]))
    key = (asset, interval.code + EXTENDED)
    tx.run_many(
        "DELETE FROM bar_coverage WHERE asset_id = ? AND interval = ? AND start_ts = ?",
        [(*key, gone.start) for gone in before - after],
    )
    tx.run_many(
        "INSERT INTO bar_coverage (asset_id, interval, start_ts, end_ts) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (asset_id, interval, start_ts) DO UPDATE SET end_ts = excluded.end_ts",
        [(*key, new.start, new.end) for new in after - before],
    )
