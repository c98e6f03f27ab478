"""The ledger's steps in any order, against what must hold whatever happens."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from marketjobs.domain.jobs import OPEN_STATES, Job, JobRequest, JobState
from marketjobs.storage import jobs
from marketjobs.storage.sqlite import SqliteDatabase

TEMPLATE: Path | None = None
states = st.sampled_from([JobState.SUCCEEDED, JobState.PARTIAL, JobState.DEAD, JobState.CANCELLED])
rarely = st.sampled_from([False] * 3 + [True])
OWNERS = ("host/1/1", "host/2/2", "elsewhere/1/1")


@pytest.fixture(autouse=True, scope="module")
def template(empty_store: Path) -> Iterator[None]:
    """The machine makes a store for each example: copies are cheap, migrations are not."""
    global TEMPLATE
    TEMPLATE = empty_store
    yield
    TEMPLATE = None


class Ledger(RuleBasedStateMachine):
    """Claims are kept after they went stale, and used again: an old attempt may do anything at any time."""

    ids = Bundle("ids")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        assert TEMPLATE is not None
        self.folder = tempfile.TemporaryDirectory()
        self.database = SqliteDatabase(Path(self.folder.name) / "store.db", durable=False)
        shutil.copyfile(TEMPLATE, self.database.path)
        self.number = 0
        self.current: dict[str, int] = {}
        """The token that may write, by job: handed out and not taken back."""
        self.finished: dict[str, Job] = {}

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    def get(self, job_id: str) -> Job:
        with self.database.read() as tx:
            found = jobs.get(tx, job_id)
        assert found is not None
        return found

    def holds(self, job: Job) -> bool:
        return self.current.get(job.id) == job.token

    # -- handing in --

    @initialize(target=ids)
    def begin(self) -> Any:
        """A job with many attempts and one with few: few jobs meet many steps."""
        return multiple(self.submit(9, 0.0, False), self.submit(2, 0.0, True))

    @precondition(lambda self: self.number < 5)
    @rule(target=ids, max_attempts=st.integers(1, 4), delay=st.sampled_from([0.0, 60.0]), join=st.booleans())
    def submit(self, max_attempts: int, delay: float, join: bool) -> str:
        self.number += 1
        request = JobRequest(
            f"job-{self.number}",
            "task",
            "default",
            {},
            join_key="same" if join else None,
            max_attempts=max_attempts,
            delay_seconds=delay,
        )
        with self.database.write() as tx:
            was_open = tx.first("SELECT id FROM job WHERE join_key = 'same' AND finished_at IS NULL")
            made = jobs.insert(tx, request)
        if join and was_open is not None:
            assert made == was_open["id"]
        else:
            assert made == request.id
        return made

    @rule(job_id=ids)
    def time_comes(self, job_id: str) -> None:
        with self.database.write() as tx:
            tx.run("UPDATE job SET run_at = {now} - 0.001 WHERE id = :id AND finished_at IS NULL", {"id": job_id})

    @rule(job_id=ids)
    def lease_ends(self, job_id: str) -> None:
        with self.database.write() as tx:
            tx.run("UPDATE job SET lease_until = {now} - 1 WHERE id = :id AND state = 'running'", {"id": job_id})

    @rule(job_id=ids)
    def note_a_wake_up(self, job_id: str) -> None:
        with self.database.write() as tx:
            jobs.mark_published(tx, [job_id])

    # -- attempts --

    @rule(target=claims, job_id=ids, owner=st.sampled_from(OWNERS))
    def claim(self, job_id: str, owner: str) -> Any:
        return self._claim(job_id, owner)

    @rule(target=claims, job_id=ids, owner=st.sampled_from(OWNERS))
    def claim_when_due(self, job_id: str, owner: str) -> Any:
        self.time_comes(job_id)
        return self._claim(job_id, owner)

    def _claim(self, job_id: str, owner: str) -> Job:
        before = self.get(job_id)
        with self.database.write() as tx:
            now = tx.now()
            found = jobs.claim(tx, job_id, owner, 30.0)
        due = before.state in (JobState.QUEUED, JobState.WAITING) and before.run_at <= now
        assert (found is not None) == due, "a due job is never stuck"
        if found is None:
            return before  # as good a stale claim as any
        assert job_id not in self.current, "nobody else may write"
        assert found.token > before.token
        self.current[job_id] = found.token
        return found

    @rule(job=claims, progress=st.floats(0, 1))
    def beat(self, job: Job, progress: float) -> None:
        with self.database.write() as tx:
            assert (jobs.beat(tx, job, 30.0, progress, None) is not None) == self.holds(job)

    @rule(job=claims)
    def store(self, job: Job) -> None:
        with self.database.write() as tx:
            assert jobs.still_holds(tx, job) == self.holds(job)
            assert jobs.record_outcomes(tx, job, [{"symbol": "A"}], 0.5) == self.holds(job)

    @rule(job=claims, state=states, rarely=rarely)
    def finish(self, job: Job, state: JobState, rarely: bool) -> None:
        if self.holds(job) and not rarely:
            return  # a life should be long
        with self.database.write() as tx:
            done = jobs.finish(tx, job, state, {"by": job.token})
        assert done == self.holds(job)
        if done:
            del self.current[job.id]
            assert self.get(job.id).state is state

    @rule(job=claims, give_back=st.booleans(), delay=st.sampled_from([0.0, 60.0]))
    def wait(self, job: Job, give_back: bool, delay: float) -> None:
        before = self.get(job.id)
        if not give_back and before.attempt >= before.max_attempts:
            return  # the service ends such a job instead
        with self.database.write() as tx:
            done = jobs.wait(tx, job, delay, "x", cause="c", message="m", give_back_attempt=give_back)
        assert done == (self.holds(job) and not before.cancel_requested)
        if done:
            del self.current[job.id]

    @rule(job=claims)
    def hand_back(self, job: Job) -> None:
        before = self.get(job.id)
        with self.database.write() as tx:
            done = jobs.hand_back(tx, job)
        assert done == (self.holds(job) and not before.cancel_requested)
        if done:
            del self.current[job.id]
            assert self.get(job.id).attempt == before.attempt - 1

    # -- ends from outside --

    @rule(job=claims)
    def expire(self, job: Job) -> None:
        """A reaper that looked at the row now, or has an old picture of it."""
        row = self.get(job.id)
        for seen in (job, row):
            with self.database.write() as tx:
                state = jobs.expire(tx, seen, "worker_lost", "gone")
            if state is not None:
                assert self.current.pop(job.id) == seen.token
                assert state == ("cancelled" if row.cancel_requested else self._after(row))

    @rule(job_id=ids, owner=st.sampled_from(OWNERS))
    def release(self, job_id: str, owner: str) -> None:
        row = self.get(job_id)
        with self.database.write() as tx:
            state = jobs.release_owner(tx, job_id, owner, "worker_lost", "gone", 0.0)
        assert (state is not None) == (row.state is JobState.RUNNING and row.owner == owner)
        if state is not None:
            del self.current[job_id]

    @staticmethod
    def _after(row: Job) -> str:
        return "dead" if row.attempt >= row.max_attempts else "queued"

    @rule(job_id=ids, rarely=rarely)
    def cancel(self, job_id: str, rarely: bool) -> None:
        if not rarely:
            return
        before = self.get(job_id)
        with self.database.write() as tx:
            state = jobs.cancel(tx, job_id)
        if before.state in (JobState.QUEUED, JobState.WAITING):
            assert state == "cancelled"
        else:
            assert state == before.state

    @rule(job_id=ids)
    def postpone(self, job_id: str) -> None:
        with self.database.write() as tx:
            jobs.postpone(tx, job_id, 30.0, "unknown_task", "no code")

    # -- what always holds --

    @invariant()
    def rows_make_sense(self) -> None:
        with self.database.read() as tx:
            rows = jobs.listed(tx, limit=1000)
            keys = tx.all("SELECT count(*) AS n FROM job WHERE join_key = 'same' AND finished_at IS NULL")
        assert keys[0]["n"] <= 1
        for row in rows:
            assert 0 <= row.attempt <= row.max_attempts, row
            assert 0 <= row.progress <= 1
            assert (row.state is JobState.RUNNING) == (row.id in self.current) == (row.lease_until is not None), row
            assert (row.finished_at is not None) == row.state.is_final, row
            if row.state is JobState.RUNNING:
                assert row.token == self.current[row.id]
                assert row.owner is not None
            if row.state in (JobState.QUEUED, JobState.WAITING):
                assert row.owner is None
                assert row.attempt < row.max_attempts, "it could never be claimed"
                assert not row.cancel_requested, "it could never be claimed"
            if row.state.is_final:
                assert row.waits_for is None
                assert self.finished.setdefault(row.id, row) == row, "a final job never changes"
            else:
                assert row.id not in self.finished
                assert row.state in OPEN_STATES


TestLedger = Ledger.TestCase
TestLedger.settings = hypothesis_settings(max_examples=120, stateful_step_count=50)
