"""Answers that are held back: they speak of something else than what is stored.

Asking again would bring the same, and only a person knows which of the two is right.  The next vendor is asked.
"""

from __future__ import annotations

from marketjobs.domain.reports import Hold
from marketjobs.errors import DataRejected, MarketJobsError
from marketjobs.services.failover import Trail


def held_back(message: str) -> DataRejected:
    """``message`` ends with what a person can do about it."""
    return DataRejected(message, is_final=True)


def verdict(trail: Trail) -> tuple[MarketJobsError, Hold | None]:
    """The trail's own, but for an answer that was held back: where nobody is waited for, a person is told of that, and
    not of who did not know the symbol."""
    error, hold = trail.verdict()
    if hold is not None or error.retryable:
        return error, hold
    held = (one for _, one in trail.errors if isinstance(one, DataRejected))
    return next(held, error), None
