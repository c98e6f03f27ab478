"""Jobs as whoever wants one sees them: handed in, looked at, cancelled.

The row is the truth and the broker's message a wake-up: `publish` is handed in by whoever has a broker, and
everything here works without it.  `attempts` runs them, `mend` keeps them going.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace

import orjson

from marketjobs.domain.jobs import (
    WAITS_FOR_CHILDREN,
    WAITS_FOR_ITS_TIME,
    Job,
    JobRequest,
    JobState,
    JsonDict,
    Part,
    is_job_id,
)
from marketjobs.domain.texts import shortened
from marketjobs.errors import InvalidInput, JobNotFound, MarketJobsError
from marketjobs.services import kinds
from marketjobs.services.mend import finish_parent
from marketjobs.services.runtime import Runtime
from marketjobs.services.wakeups import Publish, wake
from marketjobs.storage import jobs

log = logging.getLogger(__name__)

ALL = 2**31 - 1
CANCELLED_AT_ONCE = 200
FIRST_WAKE_UPS = 50
"""As many parts of a request are woken at once: more than workers can begin before the reaper wakes the others."""
LONGEST_DELAY_SECONDS = 10 * 366 * 86_400.0


def submit(
    runtime: Runtime,
    task: str,
    arguments: JsonDict,
    *,
    publish: Publish | None = None,
    job_id: str | None = None,
    queue: str | None = None,
    priority: int = 5,
    delay_seconds: float = 0.0,
    max_attempts: int | None = None,
    may_join: bool = True,
) -> Job:
    """Accept a job: when this returns, its row is committed and nothing that happens to a broker loses it.

    An equal request that is still open is joined: its job is returned.  A request larger than one task's
    size becomes a parent with children.  ``job_id`` is given by programs that chose one; then nothing joins.

    Raises:
        InvalidInput, ConfigError: the arguments can't be right.
        StorageError: the store did not take it; nothing was accepted.
    """
    if job_id is not None and not is_job_id(job_id):
        raise InvalidInput(
            f"{shortened(ascii(job_id), 60)} is no id for a job: up to 200 of A-Z a-z 0-9 . _ : @ / + = ~ , -"
        )
    if not 0 <= delay_seconds <= LONGEST_DELAY_SECONDS:
        raise InvalidInput("a job can be put off by ten years at most")
    kind = kinds.kind_of(task)
    prepared = kind.prepare(runtime, arguments) if kind else arguments
    parts = kind.split(prepared, runtime.settings.worker.concurrency) if kind else []
    alone = job_id is not None or not may_join or delay_seconds > 0
    request = JobRequest(
        id=job_id or str(uuid.uuid4()),
        task=task,
        queue=queue or (kind.queue if kind else "default"),
        arguments=prepared,
        join_key=None if alone or kind is None else _join_key(task, kind.identity(prepared)),
        priority=priority,
        max_attempts=max_attempts or (kind and kind.max_attempts) or runtime.retry.max_attempts,
        delay_seconds=0.0 if parts else delay_seconds,
        waits_for=WAITS_FOR_CHILDREN if parts else _waits_for(delay_seconds),
    )
    children = _children(request, parts, delay_seconds, queue)
    with runtime.database.write() if children else runtime.database.statement() as tx:
        job, is_new = jobs.insert(tx, request)
        due = [job] if job.state is JobState.QUEUED else []
        if is_new and children:
            jobs.insert_many(tx, children)
            due += jobs.due_children(tx, job.id, FIRST_WAKE_UPS)
    log.info("job.submitted job=%s task=%s joined=%s", job.id, task, job.id != request.id)
    if publish is not None and wake(due, publish, runtime.notes.add):
        return replace(job, published_at=time.time())
    return job


def _waits_for(delay_seconds: float) -> str | None:
    return WAITS_FOR_ITS_TIME if delay_seconds > 0 else None


def refuse(runtime: Runtime, task: str, arguments: JsonDict, job_id: str, error: MarketJobsError) -> None:
    """Another program sent what can't be right: a dead row tells it so."""
    request = JobRequest(id=job_id, task=task, queue="default", arguments=arguments, max_attempts=1)
    with runtime.database.write() as tx:
        jobs.refuse(tx, request, error.cause, error.message)
    log.warning("job.refused job=%s task=%s cause=%s", job_id, task, error.cause)


def _children(parent: JobRequest, parts: Sequence[Part], delay_seconds: float, queue: str | None) -> list[JobRequest]:
    # Ids in ascending order keep the order of the request without a column for it.
    children = []
    for child_id, part in zip(sorted(_random_ids(len(parts))), parts, strict=True):
        kind = kinds.kind_of(part.task)
        delay = delay_seconds + part.delay_seconds
        children.append(
            JobRequest(
                id=child_id,
                task=part.task,
                queue=queue or (kind.queue if kind else parent.queue),
                arguments=part.arguments,
                parent_id=parent.id,
                priority=parent.priority,
                max_attempts=parent.max_attempts,
                delay_seconds=delay,
                waits_for=_waits_for(delay),
            )
        )
    return children


def _random_ids(count: int) -> list[str]:
    """UUIDs of version 4; each made by itself asks the system for its bytes, and costs ten times as much."""
    digits = os.urandom(16 * count).hex()
    return [
        f"{one[:8]}-{one[8:12]}-4{one[13:16]}-{'89ab'[int(one[16], 16) % 4]}{one[17:20]}-{one[20:]}"
        for one in (digits[start : start + 32] for start in range(0, len(digits), 32))
    ]


def _join_key(task: str, identity: JsonDict) -> str:
    text = orjson.dumps([task, identity], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()


def row(runtime: Runtime, job_id: str) -> Job | None:
    """The job of exactly that id."""
    with runtime.database.statement() as tx:
        return jobs.get(tx, job_id)


def listed(
    runtime: Runtime,
    *,
    states: Sequence[JobState] = (),
    task: str | None = None,
    queue: str | None = None,
    top_level: bool = True,
    limit: int = ALL,
) -> list[Job]:
    """Newest first, without results and outcomes."""
    with runtime.database.read() as tx:
        return jobs.listed(tx, states=states, task=task, queue=queue, top_level=top_level, limit=limit)


def forget(runtime: Runtime, job_id: str) -> None:
    """Delete a finished job's row."""
    with runtime.database.write() as tx:
        jobs.delete(tx, job_id)


def get(runtime: Runtime, text: str) -> Job:
    """The job whose id is ``text``, or begins or ends with it.

    Raises:
        JobNotFound: none or several do, or the text is shorter than four characters.
    """
    with runtime.database.read() as tx:
        found = jobs.find(tx, text) if len(text) >= 4 else []
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise JobNotFound(f"{text} fits several jobs: {', '.join(one.id for one in found[:4])}")
    if len(text) < 4:
        raise JobNotFound(f"{text!r:.40} is too short: give at least 4 characters of an id", hint="marketjobs jobs")
    raise JobNotFound(f"there is no job {text!r:.60}", hint="marketjobs jobs")


def with_its_parts(runtime: Runtime, job: Job) -> Job:
    """A cancelled parent with what its parts had brought until then; any other job as it is."""
    kind = kinds.kind_of(job.task)
    if job.state is not JobState.CANCELLED or job.result is not None or kind is None:
        return job
    with runtime.database.read() as tx:
        children = jobs.children(tx, job.id)
    return replace(job, result=kind.merge(children)[1]) if children else job


def cancel(runtime: Runtime, job_id: str) -> Job:
    """Ask for a job's end, and that of its parts.  The row afterwards: cancelled, or still running (it stops
    within seconds), or final already."""
    [job] = cancel_all(runtime, [job_id])
    return job


def cancel_all(runtime: Runtime, job_ids: Sequence[str]) -> list[Job]:
    """The same for many, some at a time: the store is never held for long.

    Raises:
        JobNotFound: for the first id that no job has; those before it may be cancelled.
    """
    ended: list[Job] = []
    for start in range(0, len(job_ids), CANCELLED_AT_ONCE):
        with runtime.database.write() as tx:
            some = job_ids[start : start + CANCELLED_AT_ONCE]
            jobs.lock_families(tx, some)
            for job_id in some:
                if jobs.cancel(tx, job_id) is None:
                    raise JobNotFound(f"there is no job {job_id}")
                ended.append(required(jobs.get(tx, job_id), job_id))
    for parent_id in {job.parent_id for job in ended if job.parent_id and job.state.is_final}:
        finish_parent(runtime, parent_id)
    return ended


def leave(runtime: Runtime, job_id: str) -> None:
    """Somebody else is to be told of a due job: its wake-up was taken and not used."""
    with runtime.database.statement() as tx:
        jobs.mark_unsent(tx, job_id)


def required(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise JobNotFound(f"there is no job {job_id}")
    return job
