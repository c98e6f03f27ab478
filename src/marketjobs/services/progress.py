"""How far a job is, for whoever watches: its parts and symbols, how fast, how long yet."""

from __future__ import annotations

import time
from dataclasses import dataclass

from marketjobs.domain.jobs import WAITS_FOR_CHILDREN, Job, JobState
from marketjobs.domain.reports import failures, merge
from marketjobs.services.jobs import required
from marketjobs.services.runtime import Runtime
from marketjobs.services.watch import describe
from marketjobs.storage import jobs

LEAST_SECONDS_FOR_A_RATE = 2.0


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` counts symbols, failed ones too; ``per_second`` and ``seconds_left`` are ``None`` until something
    was seen to move."""

    parts: int
    parts_done: int
    parts_running: int
    symbols: int
    done: int
    failed: int
    per_second: float | None
    seconds_left: float | None


class Watched:
    """A job that somebody watches.  What has ended is read once, so that a look costs what is open, not what was
    asked for."""

    def __init__(self, runtime: Runtime, job_id: str) -> None:
        self._runtime = runtime
        self._id = job_id
        self._sizes: dict[str, int] | None = None
        self._left: set[str] = set()
        self._done = self._failed = 0
        self._first: tuple[float, int] | None = None

    def look(self) -> tuple[Job, Progress]:
        """The row, and how far it is.  Raises JobNotFound, StorageError."""
        with self._runtime.database.read() as tx:
            job = required(jobs.get(tx, self._id), self._id)
            if job.waits_for != WAITS_FOR_CHILDREN:
                return job, self._whole(job)
            if self._sizes is None:
                self._sizes = {child.id: _size(child) for child in jobs.listed(tx, parent_id=job.id, limit=_ALL)}
                self._left = set(self._sizes)
            still = jobs.open_parts(tx, job.id)
            for ended in self._left - still.keys():
                child = required(jobs.get(tx, ended), ended)
                self._done += self._sizes[ended]
                self._failed += failures(merge([child])[1])
                self._left.discard(ended)
        done = self._done + sum(int(self._sizes[one] * progress) for one, (_, progress) in still.items())
        running = sum(state is JobState.RUNNING for state, _ in still.values())
        total = sum(self._sizes.values())
        return job, self._at(len(self._sizes), len(self._sizes) - len(still), running, total, done, self._failed)

    def _whole(self, job: Job) -> Progress:
        failed = failures({"symbols": list(job.outcomes)})
        return self._at(1, 0, int(job.state is JobState.RUNNING), _size(job), int(_size(job) * job.progress), failed)

    def _at(self, parts: int, parts_done: int, running: int, symbols: int, done: int, failed: int) -> Progress:
        now = time.monotonic()
        began, before = self._first = self._first or (now, done)
        seconds = now - began
        rate = (done - before) / seconds if seconds >= LEAST_SECONDS_FOR_A_RATE and done > before else None
        left = None if rate is None else (symbols - done) / rate
        return Progress(parts, parts_done, running, symbols, done, failed, rate, left)


_ALL = 2**31 - 1


def _size(job: Job) -> int:
    return len(job.arguments.get("symbols") or ())


def in_words(job: Job, at: Progress) -> str:
    """Such as ``12 of 50 parts, 1,240 of 5,000 symbols, 3 failed``; of a job without parts what it does now."""
    if job.waits_for != WAITS_FOR_CHILDREN:
        return describe(job)
    words = [f"{at.parts_done} of {at.parts} parts", f"{at.done:,} of {at.symbols:,} symbols"]
    if at.failed:
        words.append(f"{at.failed:,} failed")
    if not at.parts_running:
        words.append("none runs")
    return ", ".join(words)
