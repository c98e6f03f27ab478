"""Jobs and the system as programs see them: the JSON that DESIGN promises, from rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from marketjobs.config import QUEUES, Settings
from marketjobs.domain.intervals import iso
from marketjobs.domain.jobs import Job, JobState, JsonDict
from marketjobs.errors import MarketJobsError
from marketjobs.services import kinds, workers
from marketjobs.services.brokers import answers, broker_kind, broker_label
from marketjobs.services.runtime import Runtime
from marketjobs.storage import jobs, totals
from marketjobs.storage.jobs import counts

DAY_SECONDS = 86_400.0


def result_json(job: Job) -> JsonDict:
    """A job with its result, as ``fetch-market-data --json`` and ``result JOB --json`` print it."""
    result = job.result
    if result is None and job.state.is_final and job.outcomes:
        kind = kinds.kind_of(job.task)
        result = kind.collect(job.outcomes) if kind else None
    return {
        "job_id": job.id,
        "task": job.task,
        "state": job.state.value,
        "attempts": job.attempt,
        "submitted_at": iso(job.submitted_at),
        "started_at": _iso(job.started_at),
        "finished_at": _iso(job.finished_at),
        "result": result,
        "error": _error(job),
    }


def asked_of(outcomes: Sequence[JsonDict]) -> list[JsonDict]:
    """Who did not serve which symbols of a job, and why: an entry a provider and cause, in the order of asking."""
    found: dict[tuple[str, str], JsonDict] = {}
    for outcome in outcomes:
        for one in outcome.get("asked", ()):
            entry = found.setdefault((one["provider"], one["cause"]), one | {"symbols": []})
            entry["symbols"].append(outcome["symbol"])
    return list(found.values())


def status_json(job: Job) -> JsonDict:
    """A job without its result, with what it does now, and who did not serve its symbols so far."""
    return {
        "job_id": job.id,
        "task": job.task,
        "state": job.state.value,
        "queue": job.queue,
        "arguments": job.arguments,
        "attempts": job.attempt,
        "max_attempts": job.max_attempts,
        "parent_id": job.parent_id,
        "submitted_at": iso(job.submitted_at),
        "started_at": _iso(job.started_at),
        "finished_at": _iso(job.finished_at),
        "next_attempt_at": iso(job.run_at) if job.state in (JobState.QUEUED, JobState.WAITING) else None,
        "waits_for": job.waits_for,
        "progress": round(job.progress, 4),
        "message": job.message,
        "worker": job.owner,
        "cancel_requested": job.cancel_requested,
        "error": _error(job),
        "asked": asked_of((job.result or {}).get("symbols") or job.outcomes),
    }


def system_json(runtime: Runtime) -> JsonDict:
    """The system at a glance; reads once, and knocks at a configured broker."""
    with runtime.database.read() as tx:
        by_queue = counts(tx, DAY_SECONDS)
        last = jobs.listed(tx, top_level=True, limit=8)
        waiting = jobs.listed(tx, states=[JobState.WAITING], limit=8)
        assets = totals.assets(tx)
    queues: dict[str, JsonDict] = {}
    for (queue, state), number in sorted(by_queue.items()):
        queues.setdefault(queue, {})[state] = number
    return {
        "at": iso(time.time()),
        "store": {
            "url": runtime.database.shown_url,
            "assets": assets["assets"],
            "active": assets["active"],
        },
        "broker": broker_label(runtime.settings),
        "broker_kind": broker_kind(runtime.settings),
        "broker_answers": answers(runtime.settings),
        "workers": [workers.to_json(one) for one in workers.stats(runtime) if one.health not in ("stopped", "gone")],
        "queues": [{"queue": queue, **states} for queue, states in queues.items()],
        "jobs": [status_json(job) for job in last],
        "waiting": [status_json(job) for job in waiting],
    }


def queues_json(runtime: Runtime, broker: Callable[[Settings], dict[str, int]]) -> JsonDict:
    """Each queue in the ledger and in the broker; a broker that does not answer is a note.

    Args:
        broker: how many messages lie in each queue; raises MarketJobsError.  Only ``tasks`` knows brokers.
    """
    with runtime.database.read() as tx:
        by_queue = counts(tx, 0.0)
        oldest = jobs.oldest_due(tx)
        now = tx.now()
    note, messages = None, {}
    try:
        messages = broker(runtime.settings)
    except MarketJobsError as exc:
        note = exc.message
    names = [*QUEUES, *sorted({queue for queue, _ in by_queue} - set(QUEUES))]
    return {
        "at": iso(time.time()),
        "broker": broker_label(runtime.settings),
        "note": note,
        "queues": [
            {
                "queue": name,
                "messages": messages.get(name),
                **{state: by_queue.get((name, state), 0) for state in ("queued", "waiting", "running")},
                "oldest_due_seconds": round(now - oldest[name], 3) if name in oldest else None,
                "workers": [worker.id for worker in workers.alive(runtime, name)],
            }
            for name in names
        ],
    }


def _error(job: Job) -> JsonDict | None:
    return None if job.error_cause is None else {"cause": job.error_cause, "message": job.error_message}


def _iso(moment: float | None) -> str | None:
    return None if moment is None else iso(moment)
