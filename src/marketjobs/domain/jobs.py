"""A job: its states, its record, when it is tried again and how large requests are split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from random import Random

JsonDict = dict[str, Any]
T = TypeVar("T")

HEARTBEAT_SECONDS = 10.0
ALIVE_SECONDS = 30.0
BATCH_SYMBOLS = 125
LEAST_BATCH_SYMBOLS = 50
"""Below it, what each job costs is felt."""
WAITS_FOR_A_RETRY = "a retry"
WAITS_FOR_ITS_TIME = "its time"
WAITS_FOR_CHILDREN = "children"
"""``waits_for`` of a parent; other values are a cause in words, shown to people."""


_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+=~,-]{0,199}")


def is_job_id(text: object) -> bool:
    """May a job go by it?  Programs choose ids of their own; these are short, and safe to print and to paste."""
    return isinstance(text, str) and _JOB_ID.fullmatch(text) is not None


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    """Due now: the next free worker may claim it."""
    WAITING = "waiting"
    """Its time lies ahead (a retry, a budget), or it waits for its children."""
    RUNNING = "running"
    """Leased by one attempt, which extends the lease while it lives."""
    SUCCEEDED = "succeeded"
    """Done, with nothing left to say."""
    PARTIAL = "partial"
    """Done, but some symbols failed for good, each with its cause."""
    DEAD = "dead"
    """Its attempts are used up, or nothing of it can ever succeed."""
    CANCELLED = "cancelled"
    """Ended by a person."""

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATES


FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.PARTIAL, JobState.DEAD, JobState.CANCELLED})
OPEN_STATES = frozenset(JobState) - FINAL_STATES


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the ledger.  Times are epoch seconds by the database's clock; ``None``: not yet.

    ``attempt`` counts executions that were begun and not given back; ``token`` names the execution that may
    write; ``outcomes`` is what earlier attempts have settled for good.
    """

    id: str
    task: str
    queue: str
    state: JobState
    arguments: JsonDict
    attempt: int
    max_attempts: int
    token: int
    submitted_at: float
    run_at: float
    started_at: float | None = None
    finished_at: float | None = None
    lease_until: float | None = None
    owner: str | None = None
    parent_id: str | None = None
    priority: int = 5
    cancel_requested: bool = False
    progress: float = 0.0
    message: str | None = None
    waits_for: str | None = None
    published_at: float | None = None
    outcomes: Sequence[JsonDict] = ()
    result: JsonDict | None = None
    error_cause: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What is handed in.  ``join_key``: equal requests that are still open become one job."""

    id: str
    task: str
    queue: str
    arguments: JsonDict
    join_key: str | None = None
    parent_id: str | None = None
    priority: int = 5
    max_attempts: int = 3
    delay_seconds: float = 0.0
    waits_for: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One child of a request that is split; it starts ``delay_seconds`` after the request is due."""

    task: str
    arguments: JsonDict
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What an execution's result means for its job: the state it ends in, or what is tried ``again``.

    ``error`` and ``again`` are a cause and a message.  ``settled`` is what a further attempt need not do once
    more, ``progress`` how much of the whole that is; ``failing`` what is tried again although nobody said to wait.
    """

    state: JobState
    error: tuple[str, str] | None = None
    again: tuple[str, str] | None = None
    settled: Sequence[JsonDict] = ()
    progress: float = 1.0
    failing: Sequence[JsonDict] = ()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential with jitter: about ``base``, 2 ``base``, 4 ``base`` ... seconds, never above ``cap``."""

    max_attempts: int = 3
    base_seconds: float = 2.0
    cap_seconds: float = 300.0

    def delay_seconds(self, attempt: int, rng: Random | None = None) -> float:
        """How long to wait after ``attempt`` (1 is the first), between half and all of the step."""
        import random  # which hashes: whoever only looks at jobs need not pay for that

        step = min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 32))
        return step * (rng or random).uniform(0.5, 1.0)


def batch_size(symbols: int, processes: int) -> int:
    """How many symbols a part has: few parts, but so many that no process idles while others have the last ones."""
    fewest = -(-symbols // BATCH_SYMBOLS)
    even = -(-fewest // processes) * processes
    return -(-symbols // max(fewest, min(even, symbols // LEAST_BATCH_SYMBOLS)))


def split(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Runs of at most ``size``, of even length, in order."""
    if len(items) <= size:
        return [items]
    count = -(-len(items) // size)
    step, extra = divmod(len(items), count)
    runs, start = [], 0
    for number in range(count):
        end = start + step + (1 if number < extra else 0)
        runs.append(items[start:end])
        start = end
    return runs
