"""What a running job's service may do to the job that it runs for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from marketjobs.domain.jobs import Job, JsonDict
from marketjobs.domain.reports import Hold
from marketjobs.errors import JobCancelled, JobNotFinished, LeaseLost, MarketJobsError
from marketjobs.services import heart as hearts
from marketjobs.storage import jobs
from marketjobs.storage.database import Transaction

if TYPE_CHECKING:
    from marketjobs.services.runtime import Runtime


class JobContext:
    """What a service may do to the job that it runs for.  Without a job (a plain call), most does nothing."""

    def __init__(self, runtime: Runtime, job: Job | None = None, heart: hearts.Heart | None = None) -> None:
        self.runtime = runtime
        self.job = job
        self._heart = heart
        self.outcomes: list[JsonDict] = list(job.outcomes) if job else []
        self.holds: list[Hold] = []
        self.calls_ahead = 0
        """Calls of its provider that it is about to make; the budget grants some at a time."""
        self.depth = 0
        self._over = False
        self._at_end: list[Callable[[], None]] = []

    @property
    def is_over(self) -> bool:
        """Has its job ended, or must it?  For threads that it has left behind: they send nothing more."""
        return self._over or self.why_ended() is not None

    def close(self) -> None:
        """The execution is over; what its heart says from now on is of another job."""
        self._over = True
        while self._at_end:
            with suppress(MarketJobsError):  # what is not given back to a store that is away counts as used
                self._at_end.pop()()

    def at_end(self, give_back: Callable[[], None]) -> None:
        """Call this once the execution is over: what the job took and did not use is others' then."""
        if give_back not in self._at_end:
            self._at_end.append(give_back)

    def wait_for(self, hold: Hold | None) -> None:
        """Something of this job may go on after that (``None``: nothing is known of when)."""
        if hold is not None:
            self.holds.append(hold)

    @property
    def settled(self) -> list[JsonDict]:
        """What earlier attempts have settled, and what was recorded in this one."""
        return self.outcomes

    def progress(self, fraction: float, message: str | None = None) -> None:
        """0 to 1; carried by the next heartbeat."""
        if self._heart is not None:
            self._heart.progress(fraction, message)

    def says(self, message: str) -> None:
        """What it is about, for who watches; as far as it was before."""
        if self._heart is not None:
            self._heart.says(message)

    @contextmanager
    def storing(self, outcomes: Sequence[JsonDict], fraction: float) -> Iterator[Transaction]:
        """A transaction for data of this job, together with the outcomes that it settles.

        Raises:
            LeaseLost: the job belongs to another attempt by now; nothing was written.
        """
        with self.runtime.database.write() as tx:
            yield tx
            kept = [*self.outcomes, *outcomes]
            if self.job is not None and not jobs.record_outcomes(tx, self.job, kept, fraction):
                raise LeaseLost(f"job {self.job.id} belongs to another attempt by now")
        self.outcomes = kept

    def on_end(self, interrupt: Callable[[], None]) -> None:
        """Call this from another thread when the job must stop (cancelled, or its lease lost)."""
        if self._heart is not None:
            self._heart.on_end(interrupt)

    def why_ended(self) -> MarketJobsError | None:
        if self._heart is None or self.job is None:
            return None
        if self._heart.cancelled:
            return JobCancelled(f"job {self.job.id} was cancelled")
        if self._heart.lost:
            return LeaseLost(f"job {self.job.id} belongs to another attempt by now")
        if self._heart.late:
            return JobNotFinished(f"job {self.job.id} goes on later")
        return None


current_context: ContextVar[JobContext | None] = ContextVar("marketjobs_job", default=None)
