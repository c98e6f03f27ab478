"""Forgetting jobs that ended long ago, a slice at a time.

Requests are forgotten with their parts: the parts first, so that a transaction stays small however many there are, and
never before the request has ended.
"""

from __future__ import annotations

from enum import StrEnum

from marketjobs.storage.database import Transaction

SLICE = 500


class Ended(StrEnum):
    """How requests ended, as the indexes `ix_job_ended` and `ix_job_dead` say it."""

    DONE = "parent_id IS NULL AND finished_at IS NOT NULL AND state <> 'dead'"
    DEAD = "parent_id IS NULL AND state = 'dead'"


def newest_end(tx: Transaction, ended: Ended, count: int) -> float | None:
    """When the last of so many newest ended; ``None``: there are fewer."""
    row = tx.first(
        f"SELECT finished_at FROM job WHERE {ended} ORDER BY finished_at DESC LIMIT 1 OFFSET :skipped",
        {"skipped": count - 1},
    )
    return None if row is None else float(row["finished_at"])


def count(tx: Transaction, ended: Ended, before: float) -> tuple[int, int]:
    """How many requests ended before an instant, and how many parts they have."""
    old = f"SELECT id FROM job WHERE {ended} AND finished_at < :before"
    requests = tx.first(f"SELECT count(*) AS n FROM ({old}) AS old", {"before": before})
    parts = tx.first(f"SELECT count(*) AS n FROM job WHERE parent_id IN ({old})", {"before": before})
    assert requests is not None and parts is not None
    return requests["n"], parts["n"]


def forget(tx: Transaction, ended: Ended, before: float) -> tuple[int, int]:
    """Delete a slice of what :func:`count` counts, the oldest first: how many requests, and how many parts."""
    rows = tx.all(
        f"SELECT id FROM job WHERE {ended} AND finished_at < :before"
        " ORDER BY finished_at, id LIMIT :slice {for_update}",
        {"before": before, "slice": SLICE},
    )
    if not rows:
        return 0, 0
    ids = [row["id"] for row in rows]
    marks = ", ".join("?" * len(ids))
    # A part of a cancelled request may still be about to stop.
    parts = tx.run(
        f"DELETE FROM job WHERE id IN (SELECT id FROM job WHERE parent_id IN ({marks}) AND finished_at IS NOT NULL"
        f" LIMIT {SLICE})",
        ids,
    )
    requests = tx.run(
        f"DELETE FROM job WHERE id IN ({marks})"
        " AND NOT EXISTS (SELECT 1 FROM job AS part WHERE part.parent_id = job.id)",
        ids,
    )
    return requests, parts
