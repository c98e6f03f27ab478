"""A job's life: handed in, claimed, run, finished or tried again; and what a reaper mends.

The row is the truth and the broker's message a wake-up: `publish` is handed in by whoever has a broker, and
everything here works without it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from types import FrameType

import orjson

from marketjobs.domain.jobs import WAITS_FOR_CHILDREN, Job, JobRequest, JobState, JsonDict
from marketjobs.domain.reports import Hold
from marketjobs.errors import (
    InvalidInput,
    JobCancelled,
    JobNotFinished,
    JobNotFound,
    LeaseLost,
    MarketJobsError,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from marketjobs.log import Redact
from marketjobs.services import heart as hearts
from marketjobs.services import kinds
from marketjobs.services.runtime import Runtime
from marketjobs.storage import jobs
from marketjobs.storage.database import Database, Transaction

log = logging.getLogger(__name__)

Publish = Callable[[Sequence[Job]], Sequence[str]]
"""Sends the wake-ups of jobs, within well under a second; returns the ids that were sent."""
Body = Callable[["JobContext"], JsonDict]
WORKER_LOST = "worker_lost"
SILENT_SECONDS = 5.0
LONGEST_DELAY_SECONDS = 10 * 366 * 86_400.0


# -- submit -----------------------------------------------------------------------------------------------


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
    if not 0 <= delay_seconds <= LONGEST_DELAY_SECONDS:
        raise InvalidInput("a job can be put off by ten years at most")
    kind = kinds.kind_of(task)
    prepared = kind.prepare(runtime, arguments) if kind else arguments
    parts = kind.split(prepared) if kind else [prepared]
    alone = job_id is not None or not may_join or delay_seconds > 0
    request = JobRequest(
        id=job_id or str(uuid.uuid4()),
        task=task,
        queue=queue or (kind.queue if kind else "default"),
        arguments=prepared,
        join_key=None if alone or kind is None else _join_key(task, prepared),
        priority=priority,
        max_attempts=max_attempts or runtime.retry.max_attempts,
        delay_seconds=0.0 if len(parts) > 1 else max(0.0, delay_seconds),
        waits_for=WAITS_FOR_CHILDREN if len(parts) > 1 else ("its time" if delay_seconds > 0 else None),
    )
    children = _children(request, parts, delay_seconds) if len(parts) > 1 else []
    with runtime.database.write() as tx:
        known = jobs.get(tx, request.id) if job_id else None
        if known is None:
            made = jobs.insert(tx, request)
            if children and made == request.id:
                jobs.insert_many(tx, children)
        else:
            made = known.id
        job = required(jobs.get(tx, made), made)
        due = [job] if job.waits_for is None else []
        if made == request.id and known is None and delay_seconds <= 0:
            due += jobs.children(tx, made) if children else []
    log.info("job.submitted job=%s task=%s joined=%s", job.id, task, job.id != request.id)
    if (publish is not None and job.state is JobState.QUEUED) or (publish is not None and children):
        sent = wake(runtime, due, publish)
        if sent:
            return replace(job, published_at=time.time())
    return job


def refuse(runtime: Runtime, task: str, arguments: JsonDict, job_id: str, error: MarketJobsError) -> None:
    """Another program sent what can't be right: a dead row tells it so."""
    request = JobRequest(id=job_id, task=task, queue="default", arguments=arguments, max_attempts=1)
    with runtime.database.write() as tx:
        jobs.refuse(tx, request, error.cause, error.message)
    log.warning("job.refused job=%s task=%s cause=%s", job_id, task, error.cause)


def wake(runtime: Runtime, due: Sequence[Job], publish: Publish) -> int:
    """Send wake-ups and remember which were sent; what was not is the reaper's to send."""
    if not due:
        return 0
    sent = publish(due)
    if sent:
        try:
            with runtime.database.write() as tx:
                jobs.mark_published(tx, sent)
        except StorageError as exc:  # accepted all the same: at worst the reaper sends a second wake-up
            log.warning("wakeup.unnoted jobs=%d cause=%s", len(sent), exc.cause)
    return len(sent)


def _children(parent: JobRequest, parts: Sequence[JsonDict], delay_seconds: float) -> list[JobRequest]:
    # Ids in ascending order keep the order of the request without a column for it.
    ids = sorted(str(uuid.uuid4()) for _ in parts)
    return [
        JobRequest(
            id=child_id,
            task=parent.task,
            queue=parent.queue,
            arguments=part,
            parent_id=parent.id,
            priority=parent.priority,
            max_attempts=parent.max_attempts,
            delay_seconds=delay_seconds,
        )
        for child_id, part in zip(ids, parts, strict=True)
    ]


def _join_key(task: str, arguments: JsonDict) -> str:
    same = arguments | {"symbols": sorted(arguments["symbols"])} if "symbols" in arguments else arguments
    text = orjson.dumps([task, same], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()


# -- run --------------------------------------------------------------------------------------------------


class JobContext:
    """What a service may do to the job that it runs for.  Without a job (a plain call), most does nothing."""

    def __init__(self, runtime: Runtime, job: Job | None = None, heart: hearts.Heart | None = None) -> None:
        self.runtime = runtime
        self.job = job
        self._heart = heart
        self.outcomes: list[JsonDict] = list(job.outcomes) if job else []
        self.hold: Hold | None = None

    @property
    def settled(self) -> list[JsonDict]:
        """What earlier attempts have settled, and what was recorded in this one."""
        return self.outcomes

    def progress(self, fraction: float, message: str | None = None) -> None:
        """0 to 1; carried by the next heartbeat."""
        if self._heart is not None:
            self._heart.progress(fraction, message)

    @contextmanager
    def storing(self, outcomes: Sequence[JsonDict], fraction: float) -> Iterator[Transaction]:
        """A transaction for data of this job, together with the outcomes that it settles.

        Raises:
            LeaseLost: the job belongs to another attempt by now; nothing was written.
        """
        with self.runtime.database.write() as tx:
            yield tx
            kept = [*self.outcomes, *outcomes]
            if self.job is not None and not jobs.record_outcomes(tx, self.job, kept, fraction):
                raise LeaseLost(f"job {self.job.id} belongs to another attempt by now")
        self.outcomes = kept

    def on_end(self, interrupt: Callable[[], None]) -> None:
        """Call this from another thread when the job must stop (cancelled, or its lease lost)."""
        if self._heart is not None:
            self._heart.on_end(interrupt)

    def why_ended(self) -> MarketJobsError | None:
        if self._heart is None or self.job is None:
            return None
        if self._heart.cancelled:
            return JobCancelled(f"job {self.job.id} was cancelled")
        if self._heart.lost:
            return LeaseLost(f"job {self.job.id} belongs to another attempt by now")
        if self._heart.late:
            return JobNotFinished(f"job {self.job.id} goes on later")
        return None


current_context: ContextVar[JobContext | None] = ContextVar("marketjobs_job", default=None)


@cache
def _heart_of(runtime: Runtime, pid: int) -> hearts.Heart:
    return hearts.Heart(runtime.database, runtime.settings.worker.lease_seconds)


def execute(runtime: Runtime, job_id: str, body: Body | None = None, *, deadline: float | None = None) -> Job | None:
    """Claim a due job, run it and write how it went.

    Args:
        body: what runs; ``None``: the job's kind.
        deadline: by the monotonic clock; a job that runs longer is handed back.

    Returns:
        The row afterwards (final, or waiting for another attempt); ``None``: it was not to be had.

    Raises:
        InvalidInput: there is no kind of that name (its row is dead then).
        KeyboardInterrupt, SystemExit: after the job was handed back.
    """
    with runtime.database.write() as tx:
        job = jobs.claim(tx, job_id, hearts.owner(), runtime.settings.worker.lease_seconds)
    if job is None:
        return None
    heart = _heart_of(runtime, os.getpid())
    heart.start(job, deadline)
    ctx = JobContext(runtime, job, heart)
    mark = current_context.set(ctx)
    log.info("job.started job=%s task=%s attempt=%d", job.id, job.task, job.attempt)
    result: JsonDict | None = None
    error: BaseException | None = None
    try:
        with _interruptible(ctx):
            result = (body or _run_kind)(ctx)
    except BaseException as exc:  # a door: whatever happened becomes the row's state
        error = exc
    finally:
        heart.on_end(lambda: None)  # its end is being written: there is nothing left to interrupt
        current_context.reset(mark)
    try:
        after = _concluded(ctx, job, result, error)
    finally:
        heart.stop()
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise error
    return after


@contextmanager
def _interruptible(ctx: JobContext) -> Iterator[None]:
    """A cancel reaches code that runs no event loop too: a signal of our own raises in the main thread.

    Not Celery's signal for soft limits, which raises wherever the main thread is; ours does only inside a body.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    inside = True

    def end(_signal: int, _frame: FrameType | None) -> None:
        reason = ctx.why_ended()
        if inside and reason is not None:
            raise reason

    before = signal.signal(signal.SIGUSR2, end)
    ctx.on_end(lambda: os.kill(os.getpid(), signal.SIGUSR2))
    try:
        yield
    finally:
        inside = False
        ctx.on_end(lambda: None)
        # By default the signal would end the process: a late one is better heard and ignored.
        if before is not signal.SIG_DFL:
            signal.signal(signal.SIGUSR2, before)


def _run_kind(ctx: JobContext) -> JsonDict:
    assert ctx.job is not None
    kind = kinds.kind_of(ctx.job.task)
    if kind is None:
        raise InvalidInput(f"no task {ctx.job.task} is installed here")
    return kind.run(ctx, ctx.job.arguments)


def _concluded(ctx: JobContext, job: Job, result: JsonDict | None, error: BaseException | None) -> Job | None:
    """A store that is away for a moment must not cost what was done: the lease is kept meanwhile."""
    give_up_at = time.monotonic() + ctx.runtime.settings.worker.lease_seconds
    while True:
        try:
            after = _conclude(ctx, job, result, error)
            break
        except (StorageUnavailable, StorageFull):
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.5)
        except MarketJobsError:
            raise
        except Exception as exc:
            if result is None:
                raise
            result, error = None, exc  # a result that no row can keep is the body's fault
    if after is not None and after.parent_id and after.state.is_final:
        with suppress(StorageError):  # else the reaper, or whoever follows the parent, finishes it
            finish_parent(ctx.runtime, after.parent_id)
    return after


def _conclude(ctx: JobContext, job: Job, result: JsonDict | None, error: BaseException | None) -> Job | None:
    """Write what an attempt came to, in one transaction that a stale token can't pass."""
    runtime = ctx.runtime
    with runtime.database.write() as tx:
        if isinstance(error, LeaseLost):
            written = False
        elif isinstance(error, KeyboardInterrupt | SystemExit | JobNotFinished):
            written = jobs.hand_back(tx, job)
        elif isinstance(error, JobCancelled):
            written = jobs.finish(tx, job, JobState.CANCELLED, {"symbols": ctx.outcomes}, "cancelled", "cancelled")
        elif error is not None:
            written = _after_error(tx, ctx, job, error)
        else:
            written = _after_result(tx, ctx, job, result or {})
        after = jobs.get(tx, job.id)
        if not written and after is not None and after.token == job.token and after.cancel_requested:
            # It wanted to wait, but somebody cancelled it meanwhile.
            written = jobs.finish(tx, job, JobState.CANCELLED, {"symbols": ctx.outcomes}, "cancelled", "cancelled")
            after = jobs.get(tx, job.id)
    log.info("job.%s job=%s attempt=%d", after.state if written and after else "refused", job.id, job.attempt)
    return after if written else None


class Delayed(Exception):
    """What a job's body raises to be tried again at its own choice of time (Celery's ``retry``)."""

    def __init__(self, delay_seconds: float | None, reason: BaseException | None) -> None:
        super().__init__("tried again later")
        self.delay_seconds = delay_seconds
        self.reason = reason


def _after_error(tx: Transaction, ctx: JobContext, job: Job, error: BaseException) -> bool:
    """A whole job failed: again later where that may help and attempts are left, else dead."""
    asked = error if isinstance(error, Delayed) else None
    reason = (asked.reason or error) if asked else error
    if isinstance(reason, MarketJobsError):
        cause, message, retryable = reason.cause, reason.message, reason.retryable
    else:
        cause, message, retryable = "internal_error", _one_line(ctx.runtime, reason), True
        if not isinstance(reason, Delayed):
            log.error("job.crashed job=%s", job.id, exc_info=reason)
    if (retryable or asked) and job.attempt < job.max_attempts:
        delay = ctx.runtime.retry.delay_seconds(job.attempt)
        if asked and asked.delay_seconds is not None:
            delay = asked.delay_seconds
        return jobs.wait(tx, job, delay, "a retry", cause=cause, message=message, give_back_attempt=False)
    result = {"symbols": ctx.outcomes} if ctx.outcomes else None
    return jobs.finish(tx, job, JobState.DEAD, result, cause, message)


def _after_result(tx: Transaction, ctx: JobContext, job: Job, result: JsonDict) -> bool:
    """A job ran to its end: done, or its retryable rest is tried again."""
    symbols = result.get("symbols")
    if kinds.kind_of(job.task) is None or not isinstance(symbols, list):
        return jobs.finish(tx, job, JobState.SUCCEEDED, result)
    rest = [one for one in symbols if one["error"] and one["error"]["retryable"]]
    settled = [one for one in symbols if not (one["error"] and one["error"]["retryable"])]
    if rest:
        first = rest[0]["error"]
        cause, message = first["cause"], first["message"]
        if ctx.hold is not None:
            jobs.record_outcomes(tx, job, settled, len(settled) / len(symbols))
            return jobs.wait(
                tx,
                job,
                ctx.hold.seconds_left(time.monotonic()),
                ctx.hold.why,
                cause=cause,
                message=message,
                give_back_attempt=True,
            )
        if job.attempt < job.max_attempts:
            jobs.record_outcomes(tx, job, settled, len(settled) / len(symbols))
            delay = ctx.runtime.retry.delay_seconds(job.attempt)
            return jobs.wait(tx, job, delay, "a retry", cause=cause, message=message, give_back_attempt=False)
    failed = [one for one in symbols if one["error"]]
    state = JobState.SUCCEEDED if not failed else JobState.DEAD if len(failed) == len(symbols) else JobState.PARTIAL
    error = failed[0]["error"] if failed else {"cause": None, "message": None}
    return jobs.finish(tx, job, state, result, error["cause"], error["message"])


def _one_line(runtime: Runtime, error: BaseException) -> str:
    """An error of somebody else's code, as it may be kept and shown."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500].rstrip(": ")
    return Redact(list(runtime.settings.secrets())).clean(text)


# -- look, cancel -----------------------------------------------------------------------------------------


def row(runtime: Runtime, job_id: str) -> Job | None:
    """The job of exactly that id."""
    with runtime.database.read() as tx:
        return jobs.get(tx, job_id)


def forget(runtime: Runtime, job_id: str) -> None:
    """Delete a finished job's row."""
    with runtime.database.write() as tx:
        jobs.delete(tx, job_id)


def postpone(runtime: Runtime, job_id: str, delay_seconds: float) -> None:
    """A worker met a job that it has no code for (a rolling upgrade): another may have it."""
    with runtime.database.write() as tx:
        jobs.postpone(tx, job_id, delay_seconds, "unknown_task", "no worker that has its code has met it")


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


def cancel(runtime: Runtime, job_id: str) -> Job:
    """Ask for a job's end.  The row afterwards: cancelled, or still running (it stops within seconds), or
    final already."""
    with runtime.database.write() as tx:
        if jobs.cancel(tx, job_id) is None:
            raise JobNotFound(f"there is no job {job_id}")
        job = required(jobs.get(tx, job_id), job_id)
    if job.parent_id and job.state.is_final:
        finish_parent(runtime, job.parent_id)
    return job


def required(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise JobNotFound(f"there is no job {job_id}")
    return job


# -- mend -------------------------------------------------------------------------------------------------


def finish_parent(runtime: Runtime, parent_id: str) -> bool:
    """Write a parent's outcome if none of its children is open; else carry their progress to it."""
    with runtime.database.write() as tx:
        parent = jobs.get(tx, parent_id)
        if parent is None or parent.waits_for != WAITS_FOR_CHILDREN:
            return False
        if jobs.open_children(tx, parent_id):
            jobs.refresh_parent(tx, parent_id)
            return False
        kind = kinds.kind_of(parent.task)
        if kind is None:
            return False  # a program that has its code will finish it
        children = jobs.children(tx, parent_id)
        state, result = kind.merge(children)
        failed = next((child for child in children if child.error_cause), None)
        done = jobs.finish_parent(
            tx,
            parent,
            state,
            result,
            failed.error_cause if failed else None,
            failed.error_message if failed else None,
        )
    log.info("job.%s job=%s children=%d", state, parent_id, len(children))
    return done


def expire(runtime: Runtime, job_id: str | None = None) -> int:
    """Give jobs whose attempt died back to the queue (or call them dead): how many.

    On this host the process table tells at once; a process that still runs is left its job up to the hard
    time limit, even when it was too busy to say so.  Of other hosts the lease tells.
    """
    with runtime.database.read() as tx:
        running = jobs.running(tx, hearts.host(), job_id)
        now = tx.now()
    gone = [job for job in running if not _still_works(runtime, job, now)]
    if not gone:
        return 0
    with runtime.database.write() as tx:
        ended = [job for job in gone if jobs.expire(tx, job, WORKER_LOST, "the process that ran it is gone")]
    for job in ended:
        log.warning("job.lost job=%s owner=%s attempt=%d", job.id, job.owner, job.attempt)
        if job.parent_id:
            finish_parent(runtime, job.parent_id)
    return len(ended)


def _still_works(runtime: Runtime, job: Job, now: float) -> bool:
    lives = hearts.owner_lives(job.owner)
    ends_at = job.lease_until or 0.0
    return now < ends_at if lives is None else lives and now < ends_at + runtime.settings.worker.hard_time_limit


def reap(runtime: Runtime, publish: Publish, queue_is_empty: Callable[[str], bool]) -> int:
    """One round of mending: expired leases, wake-ups that were never sent or got lost, finished parents.

    Reads first and writes only where something is due; returns how many rows were touched.
    """
    touched = expire(runtime)
    with runtime.database.read() as tx:
        unsent = jobs.due_unpublished(tx, 200)
        silent = jobs.due_published_before(tx, SILENT_SECONDS, 200)
        parents = jobs.parents_to_finish(tx)
    if silent:
        empty = {queue for queue in {job.queue for job in silent} if queue_is_empty(queue)}
        silent = [job for job in silent if job.queue in empty]
    touched += wake(runtime, [*unsent, *silent], publish)
    for parent in parents:
        touched += finish_parent(runtime, parent.id)
    return touched


def release_lost(
    runtime: Runtime, job_id: str, pid: int, cause: str, message: str, patience_seconds: float = 1.0
) -> str | None:
    """End the attempt of a pool process of this host that is known to be gone: the job's new state.

    A store that does not answer within the patience is left alone: the reaper will see the process gone.
    """
    delay = runtime.retry.base_seconds if cause == "time_limit" else 0.0
    database = Database(runtime.database.path, durable=False, busy_seconds=patience_seconds)
    try:
        with database.write() as tx:
            return jobs.release_owner(tx, job_id, f"{hearts.host()}/{pid}/", cause, message, delay)
    except StorageError as exc:
        log.warning("job.unreleased job=%s cause=%s", job_id, exc.cause)
        return None
    finally:
        database.close()
