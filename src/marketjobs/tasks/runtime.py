"""The runtime that tasks and the app's hooks share in one process."""

from __future__ import annotations

import os
from functools import cache

from marketjobs import config
from marketjobs.services.runtime import INLINE_PATIENCE_SECONDS, WORKER_PATIENCE_SECONDS, Runtime

WORKER_PROCESS = "MARKETJOBS_WORKER_PROCESS"
"""Set in workers: what they commit may be done again, so it need not survive a power cut."""


@cache
def runtime() -> Runtime:
    worker = WORKER_PROCESS in os.environ
    return Runtime(
        config.current(),
        durable=not worker,
        patience_seconds=WORKER_PATIENCE_SECONDS if worker else INLINE_PATIENCE_SECONDS,
    )
