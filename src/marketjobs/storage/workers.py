"""Workers and schedulers as the store sees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from marketjobs.storage.database import Row, Transaction

FORGOTTEN_SECONDS = 7 * 86_400.0
"""After its last heartbeat."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's row.  Ages are in seconds by the database's clock; ``None``: never."""

    id: str
    kind: str
    host: str
    pid: int
    version: str
    broker: str
    queues: tuple[str, ...]
    pool: str
    concurrency: int
    started_at: float
    started_age: float
    heartbeat_age: float
    answer_age: float | None
    stopped: bool
    refused: int


def register(tx: Transaction, worker: dict[str, Any]) -> None:
    """Add or renew the row of a worker that has just begun; keys are the columns but for the instants."""
    tx.run(
        """
        INSERT INTO worker (id, kind, host, pid, version, broker, queues, pool, concurrency, started_at, heartbeat_at)
        VALUES (:id, :kind, :host, :pid, :version, :broker, :queues, :pool, :concurrency, {now}, {now})
        ON CONFLICT (id) DO UPDATE SET pid = excluded.pid, version = excluded.version, broker = excluded.broker,
            queues = excluded.queues, pool = excluded.pool, concurrency = excluded.concurrency,
            started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at, answered_at = NULL,
            stopped_at = NULL
        """,
        worker,
    )


def beat(tx: Transaction, worker_id: str, *, answered: bool) -> None:
    answer = ", answered_at = {now}" if answered else ""
    tx.run(
        f"UPDATE worker SET heartbeat_at = {{now}}{answer} WHERE id = :id AND stopped_at IS NULL",
        {"id": worker_id},
    )


def stop(tx: Transaction, worker_id: str) -> None:
    tx.run("UPDATE worker SET stopped_at = {now} WHERE id = :id AND stopped_at IS NULL", {"id": worker_id})


def refused(tx: Transaction, worker_id: str, number: int) -> None:
    """Count messages that are no job."""
    tx.run("UPDATE worker SET refused = refused + :number WHERE id = :id", {"id": worker_id, "number": number})


_SELECT = """
SELECT *, {now} - started_at AS started_age, {now} - heartbeat_at AS heartbeat_age, {now} - answered_at AS answer_age
FROM worker
"""


def get(tx: Transaction, worker_id: str) -> Worker | None:
    row = tx.first(f"{_SELECT} WHERE id = :id", {"id": worker_id})
    return None if row is None else _worker(row)


def listed(tx: Transaction, within_seconds: float) -> list[Worker]:
    """Those whose last heartbeat is younger, newest first."""
    sql = f"{_SELECT} WHERE heartbeat_at > {{now}} - :within ORDER BY started_at DESC, id"
    return [_worker(row) for row in tx.all(sql, {"within": within_seconds})]


def forget(tx: Transaction) -> int:
    return tx.run("DELETE FROM worker WHERE heartbeat_at < {now} - :age", {"age": FORGOTTEN_SECONDS})


def done_by(tx: Transaction, within_seconds: float) -> Iterable[Row]:
    """Finished jobs of the last while by owner: host/pid/start, state, how many, their mean seconds."""
    return tx.all(
        """
        SELECT owner, state, count(*) AS jobs, avg(finished_at - claimed_at) AS seconds FROM job
        WHERE finished_at > :since AND owner IS NOT NULL GROUP BY owner, state
        """,
        {"since": tx.now() - within_seconds},
    )


def _worker(row: Row) -> Worker:
    return Worker(
        id=row["id"],
        kind=row["kind"],
        host=row["host"],
        pid=row["pid"],
        version=row["version"],
        broker=row["broker"],
        queues=tuple(filter(None, row["queues"].split(","))),
        pool=row["pool"],
        concurrency=row["concurrency"],
        started_at=row["started_at"],
        started_age=row["started_age"],
        heartbeat_age=row["heartbeat_age"],
        answer_age=row["answer_age"],
        stopped=row["stopped_at"] is not None,
        refused=row["refused"],
    )
