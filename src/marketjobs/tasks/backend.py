"""Celery's result backend, read from the job row.  It writes nothing: only the claim's holder writes a row."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import TaskRevokedError, TimeoutError
from celery.worker import state as worker_state

from marketjobs.domain.jobs import Job, JobState
from marketjobs.errors import InvalidInput, JobFailed, JobNotFound
from marketjobs.services import jobs
from marketjobs.tasks.job import result_of
from marketjobs.tasks.runtime import runtime

UNKNOWN_SECONDS = 5.0
"""How long ``get()`` waits for a row to appear: a message of another program is a row only once it arrives."""
FIRST_POLL_SECONDS = 0.002
SLOWER = 1.2
"""Each pause against the one before: a result is seen within a fifth of the time that it took."""
STATES = {
    JobState.QUEUED: states.PENDING,
    JobState.WAITING: states.RETRY,
    JobState.RUNNING: states.STARTED,
    JobState.SUCCEEDED: states.SUCCESS,
    JobState.PARTIAL: states.SUCCESS,
    JobState.DEAD: states.FAILURE,
    JobState.CANCELLED: states.REVOKED,
}


class JobBackend(BaseBackend):
    """``AsyncResult`` over the ledger."""

    supports_native_join = False
    persistent = True

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        job = self._row(task_id)
        if job is None:
            return {"task_id": task_id, "status": states.PENDING, "result": None}
        return {
            "task_id": task_id,
            "status": STATES[job.state],
            "result": _result(job),
            "traceback": None,
            "children": [],
            "date_done": None if job.finished_at is None else _aware(job.finished_at),
            "name": job.task,
            "kwargs": job.arguments,
            "retries": max(0, job.attempt - 1),
            "queue": job.queue,
        }

    def task_result_exists(self, task_id: str) -> bool:
        return self._row(task_id) is not None

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Poll the row, quickly at first.

        Raises:
            JobNotFound: there is no such row, and none has come within 5 s.
            celery.exceptions.TimeoutError: ``timeout`` seconds have passed.
        """
        self._ensure_not_eager()
        began = time.monotonic()
        pause, seen = FIRST_POLL_SECONDS, False
        while True:
            job = self._row(task_id)
            if job is not None and job.state.is_final:
                return self._get_task_meta_for(task_id)
            waited = time.monotonic() - began
            if job is None and (seen or waited >= UNKNOWN_SECONDS):
                raise JobNotFound(f"there is no job {task_id}")
            seen = seen or job is not None
            if timeout is not None and waited >= timeout:
                raise TimeoutError("The operation timed out.")
            if on_interval:
                on_interval()
            time.sleep(pause)
            pause = min(pause * SLOWER, max(interval, FIRST_POLL_SECONDS))

    def _row(self, task_id: str) -> Job | None:
        return jobs.row(runtime(), task_id)

    def _forget(self, task_id: str) -> None:
        jobs.forget(runtime(), task_id)

    # Celery calls these from processes that hold no claim.

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        return result

    def mark_as_done(self, *args: Any, **kwargs: Any) -> None:
        """The row says so already."""

    def mark_as_failure(self, *args: Any, **kwargs: Any) -> None:
        """The row says so already."""

    def mark_as_retry(self, *args: Any, **kwargs: Any) -> None:
        """The row says so already."""

    def mark_as_revoked(self, task_id: str, reason: str = "", *args: Any, **kwargs: Any) -> None:
        """A person revoked it by broadcast (`celery control revoke`); a worker that shuts down says it too, of
        jobs that it hands back."""
        if reason in ("revoked", "terminated") and not (worker_state.should_stop or worker_state.should_terminate):
            with contextlib.suppress(JobNotFound):
                jobs.cancel(runtime(), task_id)

    def ensure_chords_allowed(self) -> None:
        raise InvalidInput("chord is not durable and therefore refused: use a job with children")

    def as_uri(self, include_password: bool = True) -> str:
        return "marketjobs://job"


def _result(job: Job) -> Any:
    if job.state is JobState.DEAD:
        return JobFailed(f"{job.error_cause}: {job.error_message}")
    if job.state is JobState.CANCELLED:
        return TaskRevokedError("cancelled")
    if job.state is JobState.RUNNING:
        return {"progress": job.progress, "message": job.message, "attempt": job.attempt}
    if job.state is JobState.WAITING:
        return {"progress": job.progress, "waits_for": job.waits_for, "message": job.error_message}
    return result_of(job)


def _aware(epoch_seconds: float) -> Any:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch_seconds, UTC)
