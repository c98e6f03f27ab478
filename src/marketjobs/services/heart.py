"""What keeps a running job's lease alive: one daemon thread a process, started at its first job."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from marketjobs.domain.jobs import HEARTBEAT_SECONDS, Job
from marketjobs.errors import MarketJobsError
from marketjobs.storage import jobs
from marketjobs.storage.database import Database

log = logging.getLogger(__name__)
TICK_SECONDS = 1.0


class Heart:
    """Extends the lease of the job in hand, carries its progress, and sees its cancel.

    ``lost``, ``cancelled`` and ``late`` (past the deadline of whoever runs it) say why it was interrupted.
    """

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._every = min(HEARTBEAT_SECONDS, lease_seconds / 3)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._job: Job | None = None
        self._interrupt: Callable[[], None] | None = None
        self._progress: tuple[float, str | None] = (0.0, None)
        self._changed = False
        self._beaten_at = 0.0
        self._deadline: float | None = None
        self.lost = self.cancelled = self.late = False

    def start(self, job: Job, deadline: float | None = None) -> None:
        """Care for a job that was just claimed; ``deadline`` by the monotonic clock."""
        with self._lock:
            self._job, self._interrupt = job, None
            self._progress, self._changed = (job.progress, None), False
            self._beaten_at = time.monotonic()
            self._deadline = deadline
            self.lost = self.cancelled = self.late = False
            if self._thread is None or not self._thread.is_alive() or self._pid != os.getpid():
                self._pid = os.getpid()
                self._wake = threading.Event()
                self._thread = threading.Thread(target=self._run, name="marketjobs-heart", daemon=True)
                self._thread.start()

    def on_end(self, interrupt: Callable[[], None]) -> None:
        """Call this when the job must stop; at once if that is known already."""
        with self._lock:
            self._interrupt = interrupt
            known = self.lost or self.cancelled or self.late
        if known:
            interrupt()

    def progress(self, fraction: float, message: str | None) -> None:
        """Is carried with the next tick."""
        self._progress, self._changed = (fraction, message), True

    def says(self, message: str) -> None:
        self._progress, self._changed = (self._progress[0], message), True

    def stop(self) -> None:
        with self._lock:
            self._job = self._interrupt = self._deadline = None

    def _run(self) -> None:
        while True:
            left = TICK_SECONDS if self._deadline is None else self._deadline - time.monotonic()
            self._wake.wait(min(TICK_SECONDS, max(left, 0.01)))
            with self._lock:
                try:
                    self._tick()
                except MarketJobsError as exc:
                    # A store that is away for a while costs a beat, not the job: the lease is longer.
                    log.warning("heartbeat.missed cause=%s message=%s", exc.cause, exc)
                except Exception:  # a door: without this thread no lease of this process is kept
                    log.exception("heartbeat.crashed")

    def _tick(self) -> None:
        job = self._job
        if job is None:
            return
        if self._changed or time.monotonic() - self._beaten_at >= self._every:
            self._changed = False
            with self._database.statement() as tx:
                row = jobs.beat(tx, job, self._lease_seconds, *self._progress)
            self._beaten_at = time.monotonic()
        else:
            with self._database.statement() as tx:
                row = jobs.get(tx, job.id)
            if row is not None and row.token != job.token:
                row = None
        self.lost = row is None
        self.cancelled = row is not None and row.cancel_requested
        self.late = self._deadline is not None and time.monotonic() >= self._deadline
        if (self.lost or self.cancelled or self.late) and self._interrupt is not None:
            self._interrupt()
            self._interrupt = None
