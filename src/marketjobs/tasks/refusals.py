"""Messages that are no job: named in one line of the log, and counted in the worker's row.

What a message holds is somebody else's: a body may be large, and may hold a secret.  None of it is logged but what it
calls its task.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from marketjobs.errors import StorageError
from marketjobs.services import processes
from marketjobs.storage import workers
from marketjobs.tasks.runtime import runtime

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 1.0
_uncounted: list[str] = []
"""The reasons of those that came while the store did not answer."""


def refuse(reason: str, error: BaseException | None = None, task: Any = None) -> None:
    """Never raises: a message may not end a worker, and counting it may not either."""
    what = type(error).__name__ if error else "-"
    log.error("message.refused reason=%s error=%s task=%s", reason, what, f"{task!r:.60}" if task else "-")
    worker_id = os.environ.get(processes.WORKER_ID)
    if worker_id is None:
        return
    _uncounted.append(reason)
    database = runtime().database.impatient(PATIENCE_SECONDS)
    try:
        with database.write() as tx:
            workers.refused(tx, worker_id, len(_uncounted))
        _uncounted.clear()
    except StorageError as exc:
        log.warning("message.uncounted cause=%s", exc.cause)  # the next one counts for it
    finally:
        database.close()
