"""The soft time limit of a job in a process of a pool: it ends the job's body, and nothing else of its attempt."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from billiard import current_process
from celery.exceptions import SoftTimeLimitExceeded


class SoftLimit:
    """Hears the signal of a process's soft limits instead of billiard, which raises wherever the main thread is: while
    an outcome is written, that would cost what was done.  One that comes while the job is claimed ends its body at
    once, one that comes after the body is too late to end anything."""

    def __init__(self) -> None:
        self._inside = self._passed = False

    @contextmanager
    def of_attempt(self) -> Iterator[None]:
        """Around an attempt; one may lie in the body of another (eager programs)."""
        if current_process().daemon:  # the processes of a pool are
            signal.signal(signal.SIGUSR1, self._on_signal)  # for good: billiard sets its own before the first job
        outer, self._inside, self._passed = self._inside, False, False
        try:
            yield
        finally:
            self._inside = outer
        if outer and self._passed:
            self._raise()

    @contextmanager
    def ends_body(self) -> Iterator[None]:
        """Around a body.  Raises SoftTimeLimitExceeded, wherever it is."""
        self._inside = True  # before the look: a signal between the two would be heard by neither
        try:
            if self._passed:
                self._raise()
            yield
        finally:
            self._inside = False

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._passed = True
        if self._inside:
            self._raise()

    def _raise(self) -> None:
        self._inside = False  # what it interrupts may tidy up
        raise SoftTimeLimitExceeded


soft_limit = SoftLimit()
"""The main thread has one job at a time."""
