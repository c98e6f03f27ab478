"""Who works: alive, deaf or gone, by heartbeats in the store."""

from __future__ import annotations

from dataclasses import dataclass

from marketjobs.domain.jobs import ALIVE_SECONDS, JsonDict
from marketjobs.services import processes
from marketjobs.services.brokers import broker_label
from marketjobs.services.runtime import Runtime
from marketjobs.storage import workers
from marketjobs.storage.workers import Worker

DEAF_SECONDS = 60.0
RESTART_SECONDS = 10.0
"""A worker that was heard of so lately and whose process is gone is being started anew, as far as anybody knows."""
SHOWN_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """A worker with what it did in the last hour.  ``health``: alive, deaf, stopped or gone."""

    worker: Worker
    health: str
    done: int
    failed: int
    mean_seconds: float | None


def health(worker: Worker) -> str:
    """``deaf``: it lives but has not answered through its broker for a minute."""
    if worker.stopped:
        return "stopped"
    # The process table knows at once what the heartbeat tells after 30 s.
    gone = worker.host == processes.host() and processes.started_at(worker.pid) is None
    if gone or worker.heartbeat_age > ALIVE_SECONDS:
        return "gone"
    if worker.kind != "worker":
        return "alive"  # a scheduler listens to nobody
    silent = worker.started_age if worker.answer_age is None else worker.answer_age
    return "deaf" if silent > DEAF_SECONDS else "alive"


def alive(runtime: Runtime, queue: str) -> list[Worker]:
    """Workers of our broker that serve a queue and were heard of, also one that its supervisor starts anew."""
    label = broker_label(runtime.settings)
    with runtime.database.read() as tx:
        found = workers.listed(tx, ALIVE_SECONDS)
    return [
        one for one in found if one.kind == "worker" and queue in one.queues and one.broker == label and _may_work(one)
    ]


def _may_work(worker: Worker) -> bool:
    return health(worker) in ("alive", "deaf") or (not worker.stopped and worker.heartbeat_age < RESTART_SECONDS)


def stats(runtime: Runtime) -> list[WorkerStats]:
    """Workers and schedulers of the last hour, newest first."""
    with runtime.database.read() as tx:
        found = workers.listed(tx, SHOWN_SECONDS)
        done = list(workers.done_by(tx, SHOWN_SECONDS))
    by_host: dict[str, list[tuple[str, int, float]]] = {}
    for row in done:
        by_host.setdefault(row["owner"], []).append((row["state"], row["jobs"], row["seconds"] or 0.0))
    answer = []
    for worker in found:
        prefix = f"{worker.host}/"
        mine = [
            part
            for owner, parts in by_host.items()
            if owner.startswith(prefix) and owner.endswith(f"@{worker.id}")
            for part in parts
        ]
        total = sum(jobs for _, jobs, _ in mine)
        seconds = sum(jobs * mean for _, jobs, mean in mine)
        failed = sum(jobs for state, jobs, _ in mine if state in ("dead", "partial"))
        answer.append(WorkerStats(worker, health(worker), total, failed, seconds / total if total else None))
    return answer


def to_json(one: WorkerStats) -> JsonDict:
    from marketjobs.domain.intervals import iso

    worker = one.worker
    return {
        "id": worker.id,
        "kind": worker.kind,
        "health": one.health,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "broker": worker.broker,
        "queues": list(worker.queues),
        "pool": worker.pool,
        "concurrency": worker.concurrency,
        "started_at": iso(worker.started_at),
        "heartbeat_age_seconds": round(worker.heartbeat_age, 3),
        "answer_age_seconds": None if worker.answer_age is None else round(worker.answer_age, 3),
        "done_last_hour": one.done,
        "failed_last_hour": one.failed,
        "refused_messages": worker.refused,
        "mean_seconds": None if one.mean_seconds is None else round(one.mean_seconds, 3),
    }
