"""What the worker's main process does about messages: refuse malformed ones, release the jobs of lost children."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.exceptions import InvalidTaskError
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from celery.worker.strategy import default

from marketjobs.services import mend
from marketjobs.tasks.runtime import runtime

log = logging.getLogger(__name__)


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
                log.error("message.refused error=%s", type(exc).__name__)
                if not message.acknowledged:
                    message.reject_log_error(log, self.connection_errors)

        return guarded


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
    if not isinstance(headers.get("id"), str) or not headers["id"]:
        raise InvalidTaskError("a message without an id")
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
            log.error("message.refused error=%s", type(exc).__name__)
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
