"""Messages that are no job: named in one line of the log, and counted in the worker's row.

What a message holds is somebody else's: a body may be large, and may hold a secret.  None of it is logged but what it
calls its task.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from marketjobs.errors import StorageError
from marketjobs.services import processes
from marketjobs.storage import workers
from marketjobs.tasks.runtime import runtime

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 1.0
AWAY_SECONDS = 10.0
"""A store that did not answer is left alone for so long: whoever sends a thousand such messages must not hold a worker
up a thousand times."""


class _Count:
    """What is still to be counted, and from when on (monotonic)."""

    uncounted = 0
    not_before = 0.0


def refuse(reason: str, error: BaseException | None = None, task: Any = None) -> None:
    """Never raises: a message may not end a worker, and counting it may not either."""
    what = type(error).__name__ if error else "-"
    log.error("message.refused reason=%s error=%s task=%s", reason, what, f"{task!r:.60}" if task else "-")
    worker_id = os.environ.get(processes.WORKER_ID)
    if worker_id is None:
        return
    _Count.uncounted += 1
    if time.monotonic() < _Count.not_before:
        return
    database = runtime().database.impatient(PATIENCE_SECONDS)
    try:
        with database.write() as tx:
            workers.refused(tx, worker_id, _Count.uncounted)
        _Count.uncounted = 0
    except StorageError as exc:
        _Count.not_before = time.monotonic() + AWAY_SECONDS
        log.warning("message.uncounted cause=%s", exc.cause)  # one that comes later counts for it
    finally:
        database.close()
