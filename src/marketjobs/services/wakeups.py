"""Sending wake-ups and noting which were sent.  The row is the truth: one that is lost costs time, never a job."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from marketjobs.domain.jobs import Job
from marketjobs.errors import StorageError
from marketjobs.storage import jobs
from marketjobs.storage.database import Database

log = logging.getLogger(__name__)

Publish = Callable[[Sequence[Job]], Sequence[str]]
"""Sends the wake-ups of jobs, within well under a second; returns the ids that were sent."""
TOGETHER_SECONDS = 0.25
"""Well under the second after which the reaper takes a wake-up that is not noted for one that was not sent."""


def wake(due: Sequence[Job], publish: Publish, note: Callable[[Sequence[str]], None]) -> int:
    """Send wake-ups and note which were sent; what was not is the reaper's to send."""
    sent = publish(due) if due else ()
    if sent:
        note(sent)
    return len(sent)


class Notes:
    """Notes in the store which wake-ups were sent: one alone at once, those of a program that hands in many together.

    By the time a note is written, most short jobs of such a burst are done and need none.  A note that is lost with
    its process costs a second wake-up, which does nothing.
    """

    def __init__(self, database: Callable[[], Database]) -> None:
        self._database = database
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._later: list[str] = []
        self._written_at = -TOGETHER_SECONDS

    def add(self, sent: Sequence[str]) -> None:
        """At once, or within a moment where others were noted just now."""
        if self._pid != os.getpid():
            self._reset()  # what a fork brought along is its parent's to write
        with self._lock:
            soon = bool(self._later) or time.monotonic() - self._written_at < TOGETHER_SECONDS
            if soon and not self._later:
                threading.Timer(TOGETHER_SECONDS, self.flush).start()
            if soon:
                self._later += sent
        if not soon:
            self.write(sent)

    def flush(self) -> None:
        """Write what was put off."""
        if self._pid != os.getpid():
            return  # its parent does
        with self._lock:
            sent, self._later = self._later, []
        if sent:
            self.write(sent)

    def write(self, sent: Sequence[str]) -> None:
        self._written_at = time.monotonic()
        try:
            database = self._database()
            with database.statement() if len(sent) == 1 else database.write() as tx:
                jobs.mark_published(tx, sent)
        except StorageError as exc:  # accepted all the same: at worst the reaper sends a second wake-up
            log.warning("wakeup.unnoted jobs=%d cause=%s", len(sent), exc.cause)
