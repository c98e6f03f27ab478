"""What keeps the ledger going when processes die and messages get lost: the reaper's work, and a parent's end."""

from __future__ import annotations

import logging
from collections.abc import Callable

from marketjobs.domain.jobs import WAITS_FOR_CHILDREN, Job
from marketjobs.errors import StorageError
from marketjobs.services import kinds, processes
from marketjobs.services.runtime import Runtime
from marketjobs.services.wakeups import Publish, wake
from marketjobs.storage import jobs

log = logging.getLogger(__name__)
WORKER_LOST = "worker_lost"
SILENT_SECONDS = 5.0
MOST_WAKE_UPS = 500
"""Of one round: about what can be sent in its half second."""


def finish_parent(runtime: Runtime, parent_id: str) -> bool:
    """Write a parent's outcome if none of its children is open."""
    with runtime.database.read() as tx:
        if jobs.has_open_children(tx, parent_id):
            return False
        parent = jobs.get(tx, parent_id)
        kind = kinds.kind_of(parent.task) if parent else None
        if parent is None or parent.waits_for != WAITS_FOR_CHILDREN or kind is None:
            return False  # of a kind that is not installed here: a program that has its code will finish it
        children = jobs.children(tx, parent_id)
    # Ended children change no more: thousands of outcomes are put together without holding the store.
    state, result = kind.merge(children)
    failed = next((child for child in children if child.error_cause), None)
    cause, message = (failed.error_cause, failed.error_message) if failed else (None, None)
    with runtime.database.write() as tx:
        done = jobs.finish_parent(tx, parent, state, result, cause, message)
    log.info("job.%s job=%s children=%d", state, parent_id, len(children))
    return done


def expire(runtime: Runtime, job_id: str | None = None) -> int:
    """Give jobs whose attempt died back to the queue (or call them dead): how many.

    On this host the process table tells at once; a process that still runs is left its job up to the hard
    time limit, even when it was too busy to say so.  Of other hosts the lease tells.
    """
    with runtime.database.read() as tx:
        running = jobs.running(tx, processes.host(), job_id)
        now = tx.now()
    gone = [job for job in running if not _still_works(runtime, job, now)]
    if not gone:
        return 0
    with runtime.database.write() as tx:
        gone.sort(key=lambda job: job.id)  # in one order for all that write many rows
        ended = [job for job in gone if jobs.expire(tx, job, WORKER_LOST, "the process that ran it is gone")]
    for job in ended:
        log.warning("job.lost job=%s owner=%s attempt=%d", job.id, job.owner, job.attempt)
        if job.parent_id:
            finish_parent(runtime, job.parent_id)
    return len(ended)


def _still_works(runtime: Runtime, job: Job, now: float) -> bool:
    lives = processes.owner_lives(job.owner)
    ends_at = job.lease_until or 0.0
    return now < ends_at if lives is None else lives and now < ends_at + runtime.settings.worker.hard_time_limit


def reap(runtime: Runtime, publish: Publish, queue_is_empty: Callable[[str], bool]) -> int:
    """One round of mending: expired leases, wake-ups that were never sent or got lost, finished parents.

    Reads first and writes only where something is due; returns how many rows were touched.
    """
    touched = expire(runtime)
    with runtime.database.read() as tx:
        unsent = _of_each_queue(lambda besides: jobs.due_unpublished(tx, MOST_WAKE_UPS, besides))
        silent = _of_each_queue(lambda besides: jobs.due_published_before(tx, SILENT_SECONDS, MOST_WAKE_UPS, besides))
        parents = jobs.parents_to_finish(tx)
    if silent:
        empty = {queue for queue in {job.queue for job in silent} if queue_is_empty(queue)}
        silent = [job for job in silent if job.queue in empty]
    touched += wake([*unsent, *silent], publish, runtime.notes.write)
    for parent in parents:
        touched += finish_parent(runtime, parent.id)
    return touched


def _of_each_queue(look: Callable[[set[str]], list[Job]]) -> list[Job]:
    """Some of what is found in each queue: a long backlog of one must not hide the jobs of another."""
    found = part = look(set())
    while len(part) == MOST_WAKE_UPS:
        part = look({job.queue for job in found})
        found = [*found, *part]
    return found


def redate(runtime: Runtime) -> int:
    """Free the jobs that wait for a moment which only a clock that was set back since can have named: how many."""
    longest = 2 * max(runtime.retry.cap_seconds, runtime.retry.base_seconds)
    with runtime.database.read() as tx:
        if not jobs.are_misdated(tx, longest):
            return 0
    with runtime.database.write() as tx:
        freed = jobs.redate(tx, longest)
    log.warning("clock.set_back jobs=%d: they are due now", freed)
    return freed


def release_lost(
    runtime: Runtime, job_id: str, pid: int, cause: str, message: str, patience_seconds: float = 1.0
) -> str | None:
    """End the attempt of a pool process of this host that is known to be gone: the job's new state.

    A store that does not answer within the patience is left alone: the reaper will see the process gone.
    """
    delay = runtime.retry.base_seconds if cause == "time_limit" else 0.0
    database = runtime.database.impatient(patience_seconds)
    try:
        with database.write() as tx:
            return jobs.release_owner(tx, job_id, f"{processes.host()}/{pid}/", cause, message, delay)
    except StorageError as exc:
        log.warning("job.unreleased job=%s cause=%s", job_id, exc.cause)
        return None
    finally:
        database.close()


def postpone(runtime: Runtime, job_id: str, task: str, delay_seconds: float) -> bool:
    """A worker met a job that it has no code for (a rolling upgrade): another may have it.  ``False``: no such job
    of that task is due."""
    with runtime.database.write() as tx:
        return jobs.postpone(tx, job_id, task, delay_seconds, "unknown_task", "no worker that has its code has met it")
