"""What the worker's main process does about messages: refuse malformed ones, release the jobs of lost children."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.exceptions import InvalidTaskError
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from celery.worker.strategy import default

from marketjobs.domain.jobs import is_job_id
from marketjobs.services import mend
from marketjobs.services.jobs import LONGEST_DELAY_SECONDS
from marketjobs.tasks.job import HEADER
from marketjobs.tasks.refusals import refuse
from marketjobs.tasks.runtime import runtime

log = logging.getLogger(__name__)
UNKNOWN_TASK_DELAY_SECONDS = 60.0


class JobConsumer(Consumer):
    """Celery's consumer behind a guard: a header that it stumbles over (a task that is a list, a time limit that is
    no pair) would end the worker, the broker would hand the same message to the next one, and that one would end
    too.  A wake-up that is put aside wrongly costs nothing: the reaper sends another."""

    class Blueprint(Consumer.Blueprint):
        # Celery would declare 28 delay queues beside quorum queues; our delays are `run_at`.
        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")
        ]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **kwargs)

        def guarded(message: Any) -> None:
            try:
                handle(message)
            except Exception as exc:  # a door: no message may end a worker
                # kombu counts KeyError among the connection errors of Redis; a hostile header raises it too.
                if isinstance(exc, self.connection_errors) and not isinstance(exc, LookupError):
                    raise
                self._refuse(message, "it can't be handled", exc)

        return guarded

    # Celery's own words for these are some lines with the whole body in them.

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._refuse(message, "no task is named")

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:
        self._refuse(message, f"{exc!s:.80}" if isinstance(exc, InvalidTaskError) else "it is not JSON", exc)

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        self._refuse(message, "its body can't be read", exc)

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """A row's: another worker may have the code (a rolling upgrade).  Without a row: nobody can know what it is."""
        headers = message.headers if isinstance(message.headers, dict) else {}
        job_id, task = headers.get("id"), headers.get("task")
        is_put_off = (
            isinstance(job_id, str)
            and isinstance(task, str)
            and mend.postpone(runtime(), job_id, task, UNKNOWN_TASK_DELAY_SECONDS)
        )
        if not is_put_off:
            self._refuse(message, "there is no such task", task=task)
            return
        log.warning("task.unknown job=%s task=%.60r: another worker may have its code", job_id, task)
        message.reject_log_error(log, self.connection_errors)

    def _refuse(self, message: Any, reason: str, error: BaseException | None = None, task: Any = None) -> None:
        headers = message.headers if isinstance(message.headers, dict) else {}
        refuse(reason, error, task or headers.get("task"))
        if not message.acknowledged:
            message.reject_log_error(log, self.connection_errors)


def job_strategy(task: Any, app: Any, consumer: Any, **kwargs: Any) -> Any:
    """Celery's strategy behind a guard: a body that is not ``[args, kwargs, embed]`` would end the worker, and
    the broker would hand the same message to the next one."""
    handle = default(task, app, consumer, **kwargs)

    def guarded(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        _check(message)
        return handle(message, body, ack, reject, callbacks, **more)

    return guarded


def _check(message: Any) -> None:
    headers = message.headers or {}
    job_id = headers.get("id")
    # A row that an older version took may have any id; its wake-ups are ours, and do nothing where there is no row.
    is_ours = headers.get(HEADER) and isinstance(job_id, str) and job_id.isprintable()
    if not job_id or not (is_job_id(job_id) or is_ours):
        raise InvalidTaskError("a message without an id that a job may have")
    if headers.get("eta") is not None and not _is_near(headers["eta"]):
        # It would lie in this worker's hands until then.
        raise InvalidTaskError("a time that is none, or too far ahead")
    limits = headers.get("timelimit")
    if limits is not None and not _are_seconds(limits):
        # Where it is read first, a place of the pool would be lost with it.
        raise InvalidTaskError("time limits that are no pair of seconds")
    try:
        payload = message.payload
    except Exception as exc:
        raise InvalidTaskError(f"a body that can't be read: {type(exc).__name__}") from exc
    if not (isinstance(payload, list | tuple) and len(payload) == 3):
        raise InvalidTaskError("a body that is not [args, kwargs, embed]")
    args, kwargs, embed = payload
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict) or not isinstance(embed, dict | None):
        raise InvalidTaskError("a body that is not [args, kwargs, embed]")


def _is_near(eta: Any) -> bool:
    try:
        moment = datetime.fromisoformat(eta)
    except (TypeError, ValueError):
        return False
    ahead = moment - datetime.now(UTC if moment.tzinfo else None)
    return ahead.total_seconds() < LONGEST_DELAY_SECONDS


def _are_seconds(limits: Any) -> bool:
    pair = isinstance(limits, list | tuple) and len(limits) == 2
    return pair and all(one is None or type(one) in (int, float) for one in limits)


class JobRequest(Request):
    """A message in a worker's main process.  When the process that ran its job is gone, the row is released at
    once instead of after its lease."""

    def revoked(self) -> bool:
        """Asked once a place of the pool was taken for it.  An error here (stamps that are a number) would keep the
        place for ever; a revoked message gives it back."""
        try:
            return bool(super().revoked())
        except Exception as exc:  # a door: no message may cost a place
            refuse("it can't be handled", exc, self.name)
            self.acknowledge()
            return True

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, WorkerLostError | Terminated | SystemExit | KeyboardInterrupt):
            self._release(mend.WORKER_LOST, "the process that ran it was killed")
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        answer = super().on_timeout(soft, timeout)
        if not soft:
            limit = TimeLimitExceeded.__name__
            self._release("time_limit", f"it was ended after {timeout:g} s, its hard time limit ({limit})")
        return answer

    def _release(self, cause: str, message: str) -> None:
        if self.worker_pid:
            mend.release_lost(runtime(), self.id, self.worker_pid, cause, message)
