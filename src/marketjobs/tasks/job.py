"""The task base class: handing in writes a row, running claims it, and only the claim's token may finish it."""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import orjson
from billiard import current_process
from celery import Task
from celery.exceptions import Ignore, Retry, SoftTimeLimitExceeded

from marketjobs.config import QUEUES
from marketjobs.domain.jobs import Job, JobState, JsonDict
from marketjobs.errors import ConfigError, InvalidInput, JobFailed, JobNotFinished, OutOfMemory, TimeLimit, Unsupported
from marketjobs.services import attempts, jobs, watch
from marketjobs.services.attempts import Delayed
from marketjobs.services.context import JobContext, current_context
from marketjobs.tasks.limits import soft_limit
from marketjobs.tasks.runtime import is_stopping, runtime

HEADER = "marketjobs_row"
"""On every message of ours: its row was there when it was sent.  One whose row is gone does nothing."""
REFUSED = ("link", "link_error", "chain", "chord", "expires", "shadow")
NOT_PER_CALL = {
    "time_limit": "set it on the task, or [worker] hard_time_limit",
    "soft_time_limit": "set it on the task, or [worker] soft_time_limit",
    "headers": "a wake-up that is sent again has lost them: use arguments",
    "exchange": "name a queue",
    "routing_key": "name a queue",
}
"""Options of a call that its row does not keep, and what to do instead."""
BEATS_HEADERS = {"celery_beat_task", "periodic_task_name"}
_spoiled: set[int] = set()
"""This process, once a job of it ran out of memory: what took it may still be there, and the next would fail too."""
DEFAULT_PRIORITY, HIGHEST_PRIORITY = 5, 9


class JobTask(Task):
    """A Celery task that is a kind of job.  ``delay`` and ``apply_async`` return once the row is committed."""

    abstract = True
    throws = (JobFailed,)  # a dead job is no surprise: one line in the log, no traceback
    queue: str | None = None
    Request = "marketjobs.tasks.request:JobRequest"
    Strategy = "marketjobs.tasks.request:job_strategy"

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """A soft limit lies within the hard one, also where a task's own ``time_limit`` is below [worker]
        soft_time_limit: Celery's event loop looks at the hard one only after the soft one has passed."""
        if cls.time_limit and cls.soft_time_limit and cls.soft_time_limit > cls.time_limit:
            cls.soft_time_limit = cls.time_limit

    def apply_async(self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any) -> Any:
        """Hand in a job.  ``countdown`` and ``eta`` become the row's ``run_at``.

        Raises:
            InvalidInput: the arguments, or an option that could not be kept through a crash.
            StorageError: the job was not accepted.
        """
        if self.app.conf.task_always_eager:
            return self.apply(args, kwargs, task_id=task_id, **options)
        _refuse_what_is_not_kept(options)
        queue = _known_queue(options.get("queue") or self.queue)
        priority = _priority(options.get("priority"))
        arguments = self.bind_arguments(args, kwargs)
        from marketjobs.tasks.publish import publisher

        job = jobs.submit(
            runtime(),
            self.name,
            arguments,
            publish=publisher(runtime().settings),
            job_id=task_id,
            queue=queue,
            priority=priority,
            delay_seconds=_delay(options.get("countdown"), options.get("eta")),
        )
        return self.AsyncResult(job.id)

    def apply(self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any) -> Any:
        """Hand in a job and run it here, its children too, without a broker; as Celery does it, at once whatever
        ``countdown`` says.  A job that must wait for longer than a minute (a budget) is left waiting.

        Raises: as :meth:`apply_async`; how the job itself went is its result's to tell.
        """
        _refuse_what_is_not_kept(options)
        job = jobs.submit(
            runtime(),
            self.name,
            self.bind_arguments(args, kwargs),
            job_id=task_id,
            queue=_known_queue(options.get("queue") or self.queue),
        )
        with suppress(JobNotFinished):
            watch.follow(runtime(), job.id, inline=True, run=self._run_here)
        return self.AsyncResult(job.id)

    def _run_here(self, job: Job) -> None:
        """One attempt at a job that only this task has the code of, with a request as in a worker."""
        super().apply((), {}, task_id=job.id, throw=False)

    def bind_arguments(self, args: Any, kwargs: Any) -> JsonDict:
        """Positional and named arguments by name, as the row keeps them."""
        try:
            bound = inspect.signature(self.run).bind(*(args or ()), **(kwargs or {}))
        except TypeError as exc:
            raise InvalidInput(f"{self.name}: {exc}") from exc
        if not _is_json(dict(bound.arguments)):
            raise InvalidInput(f"{self.name}: an argument is no JSON (a number beyond 64 bits, half of a character?)")
        return dict(bound.arguments)

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Be tried again, by the row's ``run_at``; attempts are the row's."""
        if args or kwargs or options:
            raise InvalidInput("retry keeps the row's arguments: hand in another job for others")
        delay = None if countdown is None and eta is None else _delay(countdown, eta)
        if throw:
            raise Delayed(delay, exc)
        return Delayed(delay, exc)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        running = current_context.get()
        if request.called_directly or (running and running.job and running.job.id == request.id):
            return self.run(*args, **kwargs)
        if is_stopping():
            self._adopt(args, kwargs)
            jobs.leave(runtime(), request.id)
            raise Ignore(f"job {request.id} is left to another worker: this one stops")
        try:
            with soft_limit.of_attempt():
                job = attempts.execute(runtime(), request.id, self._body, task=self.name)
                if job is None and self._adopt(args, kwargs):
                    job = attempts.execute(runtime(), request.id, self._body, task=self.name)
        except SystemExit:
            _leave_pool()
            raise
        if _spoiled:
            _leave_pool()
        if job is None:
            raise Ignore(f"job {request.id} is not to be had: done, not due, gone, of another task, or another has it")
        return self._outcome(job)

    def _adopt(self, args: Any, kwargs: Any) -> bool:
        """Another program's message is a submit: did it make a row?"""
        request = self.request
        if getattr(request, HEADER, None) or jobs.row(runtime(), request.id) is not None:
            return False
        arguments: JsonDict = {"args": list(args), "kwargs": kwargs}
        try:
            arguments = self.bind_arguments(args, kwargs)
            jobs.submit(runtime(), self.name, arguments, job_id=request.id, queue=_queue_name(self.queue))
        except (InvalidInput, ConfigError, Unsupported) as exc:
            jobs.refuse(runtime(), self.name, arguments if _is_json(arguments) else {}, request.id, exc)
            return False
        return True

    def _body(self, ctx: JobContext) -> JsonDict:
        assert ctx.job is not None
        self.request.retries = ctx.job.attempt - 1
        try:
            with soft_limit.ends_body():
                result = self.run(**ctx.job.arguments)
        except SoftTimeLimitExceeded as exc:
            raise TimeLimit("it ran longer than its soft time limit") from exc
        except MemoryError as exc:
            _spoiled.add(os.getpid())
            limit = runtime().settings.worker.memory_limit_mb
            raise OutOfMemory(f"it needed more memory than [worker] memory_limit_mb, {limit}") from exc
        except Retry as exc:
            # autoretry_for wraps our own Delayed, or raises Celery's
            raise Delayed(exc.when if isinstance(exc.when, int | float) else None, exc.exc) from exc
        return result if isinstance(result, dict) else {"value": result}

    def _outcome(self, job: Job) -> Any:
        """Tell Celery (events, log) what the row says already."""
        if job.state in (JobState.SUCCEEDED, JobState.PARTIAL):
            return result_of(job)
        if job.state is JobState.CANCELLED:
            self.send_event("task-revoked", terminated=True, signum=None, expired=False)
            raise Ignore(f"job {job.id} was cancelled")
        if job.state is JobState.DEAD:
            raise JobFailed(f"{job.error_cause}: {job.error_message}")
        raise Retry(job.error_message or job.waits_for, when=datetime.fromtimestamp(job.run_at, UTC))


def _leave_pool() -> None:
    """End a pool process that was told to (its job was handed back), or that may be full of what a job left behind
    (its job's end is written).

    billiard's own way out takes the lock of a queue that all processes of a pool share.  A second signal, which
    follows at a hard limit and at a cold stop, then ends the process with the lock in hand, and the pool waits for it
    for ever.
    """
    if current_process().daemon:  # the processes of a pool are; the worker itself (pool solo) is not
        logging.shutdown()
        os._exit(os.EX_TEMPFAIL)


def result_of(job: Job) -> Any:
    """What ``AsyncResult.get()`` returns: the task's own value."""
    result = job.result
    return result["value"] if result is not None and set(result) == {"value"} else result


@contextmanager
def job_context() -> Iterator[JobContext]:
    """The job that the calling task runs for; a task that is called like a function has none."""
    ctx = current_context.get()
    yield ctx if ctx is not None else JobContext(runtime())


def _is_json(value: Any) -> bool:
    """Can a row keep it?"""
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def _queue_name(queue: Any) -> str:
    return str(getattr(queue, "name", queue) or "default")


def _known_queue(queue: Any) -> str:
    """Nobody serves another one."""
    name = _queue_name(queue)
    if name not in QUEUES:
        raise InvalidInput(f"unknown queue {name!r:.40}: there are {' '.join(QUEUES)}")
    return name


def _priority(given: Any) -> int:
    """The ledger's: 9 is served first, 5 where nothing is said, 0 last."""
    if given is None:
        return DEFAULT_PRIORITY
    if type(given) is not int or not 0 <= given <= HIGHEST_PRIORITY:
        raise InvalidInput(f"priority {given!r:.40} is no whole number from 0 (last) to {HIGHEST_PRIORITY} (first)")
    return given


def _refuse_what_is_not_kept(options: Mapping[str, Any]) -> None:
    """Raises InvalidInput for what a job could not keep through a crash."""
    for name in REFUSED:
        if options.get(name) not in (None, [], ()):
            raise InvalidInput(
                f"{name} is not durable and therefore refused: use a job with children, or hand in the next job"
            )
    for name, instead in NOT_PER_CALL.items():
        given = options.get(name)
        if given and not (name == "headers" and set(given) <= BEATS_HEADERS):
            raise InvalidInput(f"{name} of one call is not kept with its job and therefore refused: {instead}")


def _delay(countdown: Any, eta: Any) -> float:
    if countdown is not None:
        try:
            return max(0.0, float(countdown))
        except (TypeError, ValueError) as exc:
            raise InvalidInput(f"countdown is a number of seconds, not {countdown!r:.40}") from exc
    if eta is None:
        return 0.0
    if isinstance(eta, str):
        try:
            eta = datetime.fromisoformat(eta)
        except ValueError as exc:
            raise InvalidInput(f"eta {eta!r:.40} is no ISO 8601 time") from exc
    if eta.tzinfo is None:
        raise InvalidInput("eta without a time zone: give an aware datetime")
    return max(0.0, float(eta.timestamp()) - time.time())
