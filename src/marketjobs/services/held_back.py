"""Answers that are held back: they speak of something else than what is stored.

Asking again would bring the same, and only a person knows which of the two is right.  The next vendor is asked.
"""

from __future__ import annotations

from marketjobs.errors import DataRejected


def held_back(message: str) -> DataRejected:
    """``message`` ends with what a person can do about it."""
    return DataRejected(message, is_final=True)
