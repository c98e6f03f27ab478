"""Celery's remote control, but for revoke: that writes the row."""

from __future__ import annotations

from typing import Any

from celery.app.control import Control

from marketjobs.errors import InvalidInput, JobNotFound
from marketjobs.services import jobs
from marketjobs.tasks.runtime import runtime


class JobControl(Control):
    """A broadcast revoke would poison an id in each worker's memory for three hours and is forgotten when one
    restarts; the row is neither."""

    def revoke(self, task_id: Any, destination: Any = None, terminate: bool = False, **_: Any) -> None:
        """Cancel jobs: those that wait at once, those that run within seconds."""
        for one in [task_id] if isinstance(task_id, str) else task_id:
            try:
                jobs.cancel(runtime(), str(one))
            except JobNotFound:
                continue  # as Celery: an unknown id is no error

    def terminate(self, task_id: Any, **kwargs: Any) -> None:
        self.revoke(task_id)

    def revoke_by_stamped_headers(self, *args: Any, **kwargs: Any) -> None:
        raise InvalidInput("jobs are cancelled by id: marketjobs cancel JOB")
