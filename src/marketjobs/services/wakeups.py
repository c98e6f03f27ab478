"""Sending wake-ups and remembering which were sent.  The row is the truth: one that is lost costs time, never a job."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from marketjobs.domain.jobs import Job
from marketjobs.errors import StorageError
from marketjobs.services.runtime import Runtime
from marketjobs.storage import jobs

log = logging.getLogger(__name__)

Publish = Callable[[Sequence[Job]], Sequence[str]]
"""Sends the wake-ups of jobs, within well under a second; returns the ids that were sent."""


def wake(runtime: Runtime, due: Sequence[Job], publish: Publish) -> int:
    """Send wake-ups and remember which were sent; what was not is the reaper's to send."""
    if not due:
        return 0
    sent = publish(due)
    if sent:
        try:
            with runtime.database.write() as tx:
                jobs.mark_published(tx, sent)
        except StorageError as exc:  # accepted all the same: at worst the reaper sends a second wake-up
            log.warning("wakeup.unnoted jobs=%d cause=%s", len(sent), exc.cause)
    return len(sent)
