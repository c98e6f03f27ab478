"""One execution of a job: claimed, run, and what it came to written by whoever holds its token."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import FrameType

from marketjobs.domain.jobs import WAITS_FOR_A_RETRY, WAITS_FOR_ITS_TIME, Conclusion, Job, JobState, JsonDict
from marketjobs.errors import (
    InvalidInput,
    JobCancelled,
    JobNotFinished,
    LeaseLost,
    MarketJobsError,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from marketjobs.log import Redact
from marketjobs.services import heart as hearts
from marketjobs.services import kinds, processes
from marketjobs.services.context import JobContext, current_context
from marketjobs.services.mend import finish_parent
from marketjobs.services.runtime import Runtime
from marketjobs.storage import jobs
from marketjobs.storage.database import Transaction

log = logging.getLogger(__name__)

STORE_AWAY_SECONDS = 0.5
"""Between two tries at a store that is away or full."""

Body = Callable[[JobContext], JsonDict]


class Delayed(Exception):
    """What a job's body raises to be tried again at its own choice of time (Celery's ``retry``)."""

    def __init__(self, delay_seconds: float | None, reason: BaseException | None) -> None:
        super().__init__("tried again later")
        self.delay_seconds = delay_seconds
        self.reason = reason


@cache
def _heart_of(runtime: Runtime, pid: int, depth: int) -> hearts.Heart:
    """A process's heart; a job that runs inside another one (eager programs) has one of its own."""
    return hearts.Heart(runtime.database, runtime.settings.worker.lease_seconds)


def execute(
    runtime: Runtime,
    job_id: str,
    body: Body | None = None,
    *,
    task: str | None = None,
    deadline: float | None = None,
) -> Job | None:
    """Claim a due job, run it and write how it went.

    Args:
        body: what runs; ``None``: the job's kind.
        task: whose body that is: a job of another task is not claimed, whatever a message says.
        deadline: by the monotonic clock; a job that runs longer is handed back.

    Returns:
        The row afterwards (final, or waiting for another attempt); ``None``: it was not to be had.

    Raises:
        InvalidInput: there is no kind of that name (its row is dead then).
        KeyboardInterrupt, SystemExit: after the job was handed back.
    """
    job = _claimed(runtime, job_id, task)
    if job is None:
        return None
    outer = current_context.get()
    depth = outer.depth + 1 if outer else 0
    heart = _heart_of(runtime, os.getpid(), depth)
    heart.start(job, deadline)
    ctx = JobContext(runtime, job, heart)
    ctx.depth = depth
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
        ctx.close()
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


def _claimed(runtime: Runtime, job_id: str, task: str | None) -> Job | None:
    """The row if it was to be had.  A claim may have been written although its answer was lost with the store: nobody
    else would take a job for lost whose process lives, so it is handed back before it is claimed again."""
    unsure = False
    while True:
        try:
            with runtime.database.statement() as tx:
                row = jobs.get(tx, job_id) if unsure else None
                is_ours = row is not None and row.state is JobState.RUNNING and row.owner == processes.owner()
                if row is not None and is_ours and not jobs.hand_back(tx, row):
                    jobs.finish(tx, row, JobState.CANCELLED, None, "cancelled", "cancelled")
                return jobs.claim(tx, job_id, processes.owner(), runtime.settings.worker.lease_seconds, task)
        except (StorageUnavailable, StorageFull) as exc:
            if not runtime.is_worker:
                raise
            if not unsure:
                log.warning("job.unclaimed job=%s cause=%s message=%s", job_id, exc.cause, exc)
            unsure = True
            time.sleep(STORE_AWAY_SECONDS)


def _concluded(ctx: JobContext, job: Job, result: JsonDict | None, error: BaseException | None) -> Job | None:
    """A store that is away must not cost what was done.  A worker waits for it for as long as it takes, and keeps the
    lease meanwhile: while it lives, nobody takes its job for lost.  A command leaves after a lease."""
    give_up_at = time.monotonic() + ctx.runtime.settings.worker.lease_seconds
    while True:
        try:
            after = _conclude(ctx, job, result, error)
            break
        except (StorageUnavailable, StorageFull):
            if not ctx.runtime.is_worker and time.monotonic() > give_up_at:
                raise
            time.sleep(STORE_AWAY_SECONDS)
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
    """Write what an attempt came to, in one statement that a stale token can't pass."""
    runtime = ctx.runtime
    with runtime.database.statement() as tx:
        if isinstance(error, LeaseLost):
            after = None
        elif isinstance(error, KeyboardInterrupt | SystemExit | JobNotFinished):
            after = jobs.hand_back(tx, job)
        elif isinstance(error, JobCancelled):
            after = jobs.finish(tx, job, JobState.CANCELLED, _so_far(ctx, job), "cancelled", "cancelled")
        elif error is not None:
            after = _after_error(tx, ctx, job, error)
        else:
            after = _after_result(tx, ctx, job, result or {})
        if after is None:
            now = jobs.get(tx, job.id)
            if now is not None and now.token == job.token and now.cancel_requested:
                # It wanted to wait, but somebody cancelled it meanwhile.
                after = jobs.finish(tx, job, JobState.CANCELLED, _so_far(ctx, job), "cancelled", "cancelled")
    log.info("job.%s job=%s attempt=%d", after.state if after else "refused", job.id, job.attempt)
    return after


def _after_error(tx: Transaction, ctx: JobContext, job: Job, error: BaseException) -> Job | None:
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
        delay, why = ctx.runtime.retry.delay_seconds(job.attempt), WAITS_FOR_A_RETRY
        if asked and asked.delay_seconds is not None:
            delay, why = asked.delay_seconds, WAITS_FOR_ITS_TIME
        return jobs.wait(tx, job, delay, why, cause=cause, message=message, give_back_attempt=False)
    return jobs.finish(tx, job, JobState.DEAD, _so_far(ctx, job), cause, message)


def _after_result(tx: Transaction, ctx: JobContext, job: Job, result: JsonDict) -> Job | None:
    """A job ran to its end: done, or what is left of it is tried again."""
    kind = kinds.kind_of(job.task)
    end = kind.conclude(result) if kind else Conclusion(JobState.SUCCEEDED)
    is_last = job.attempt >= job.max_attempts
    is_fruitless = len(end.settled) <= len(job.outcomes)
    holds = [hold for hold in ctx.holds if not (is_last and is_fruitless and hold.is_refused)]
    if end.again is None or (is_last and not holds):
        return jobs.finish(tx, job, end.state, result, *(end.error or (None, None)))
    settled, uses_attempt = end.settled, True
    delay, why = ctx.runtime.retry.delay_seconds(job.attempt), WAITS_FOR_A_RETRY
    if holds and (is_last or not end.failing):
        hold = min(holds, key=lambda one: one.until)
        delay, why = hold.seconds_left(time.monotonic()), hold.why
        # A wait that somebody else ordered uses up no attempt, but for one of which nobody knows whether it ever helps.
        uses_attempt = is_fruitless and hold.is_refused
        settled = [*end.settled, *end.failing]  # what fails by itself has had its tries
    cause, message = end.again
    return jobs.wait(
        tx, job, delay, why, cause=cause, message=message, give_back_attempt=not uses_attempt,
        settled=(settled, end.progress),
    )  # fmt: skip


def _so_far(ctx: JobContext, job: Job) -> JsonDict | None:
    """The result of a job that did not reach its end, of what it settled."""
    kind = kinds.kind_of(job.task)
    return kind.collect(ctx.outcomes) if kind and ctx.outcomes else None


def _one_line(runtime: Runtime, error: BaseException) -> str:
    """An error of somebody else's code, as it may be kept and shown."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500].rstrip(": ")
    return Redact(list(runtime.settings.secrets())).clean(text)
