"""The runtime that tasks and the app's hooks share in one process."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

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


@cache
def _stopping() -> Any:
    """A value that the processes of a pool share, once it is asked for before they are forked."""
    from multiprocessing.sharedctypes import RawValue

    return RawValue("b", 0)


def may_claim(**_: Any) -> None:
    """A worker begins."""
    _stopping().value = 0


def stop_claiming(**_: Any) -> None:
    """A worker was told to stop."""
    _stopping().value = 1


def is_stopping() -> bool:
    """What runs is finished then; what only lies in the pool's pipe is left to others."""
    return bool(_stopping().value)
