"""The ledger's steps in any order, against what must hold whatever happens."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from marketjobs.domain.jobs import OPEN_STATES, WAITS_FOR_CHILDREN, Job, JobRequest, JobState
from marketjobs.storage import jobs
from marketjobs.storage.database import Database, open_database
from marketjobs.storage.sqlite import SqliteDatabase

states = st.sampled_from([JobState.SUCCEEDED, JobState.PARTIAL, JobState.DEAD, JobState.CANCELLED])
rarely = st.sampled_from([False] * 3 + [True])
OWNERS = ("host/1/1", "host/2/2", "elsewhere/1/1")


class Ledger(RuleBasedStateMachine):
    """Claims are kept after they went stale, and used again: an old attempt may do anything at any time.

    Two processes take turns on the store, each with connections of its own; jobs have children; the clock jumps.
    At the end whatever is left is worked off, and every job that was handed in must have come to an end.
    """

    ids = Bundle("ids")
    claims = Bundle("claims")
    parents = Bundle("parents")

    def __init__(self, databases: tuple[Database, Database]) -> None:
        super().__init__()
        self.databases = databases
        with self.databases[0].write() as tx:
            tx.run("DELETE FROM job")
        self.steps = 0
        self.number = 0
        self.submitted: set[str] = set()
        self.families: dict[str, list[str]] = {}
        self.current: dict[str, int] = {}
        """The token that may write, by job: handed out and not taken back."""
        self.finished: dict[str, Job] = {}

    @property
    def database(self) -> Database:
        """The one of the process whose turn it is."""
        self.steps += 1
        return self.databases[self.steps % 2]

    def teardown(self) -> None:
        if self.submitted:
            self.work_off()

    def work_off(self) -> None:
        """What a worker and a reaper do with it, until nothing is open."""
        for _ in range(60):
            with self.database.read() as tx:
                open_jobs = jobs.listed(tx, states=OPEN_STATES, limit=1000)
                parents = jobs.parents_to_finish(tx)
            for parent in parents:
                self.close_family(parent.id)
            for job in open_jobs:
                if job.state is JobState.RUNNING:
                    with self.database.write() as tx:
                        assert jobs.expire(tx, job, "worker_lost", "gone") is not None, "a lost job is stuck"
                elif job.waits_for != WAITS_FOR_CHILDREN:
                    self.time_comes(job.id)
                    with self.database.write() as tx:
                        claimed = jobs.claim(tx, job.id, OWNERS[0], 30.0)
                        assert claimed is not None, "a due job is stuck"
                        assert jobs.finish(tx, claimed, JobState.SUCCEEDED, {})
            if not open_jobs:
                break
        with self.database.read() as tx:
            ended = {job.id for job in jobs.listed(tx, limit=1000) if job.state.is_final}
        assert ended == self.submitted, "each job that was handed in has come to an end, and none besides"

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

    @initialize(target=parents)
    def begin_a_family(self) -> Any:
        return self.submit_in_parts(3, 0.0)

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
            job, _ = jobs.insert(tx, request)
        made = job.id
        if join and was_open is not None:
            assert made == was_open["id"]
        else:
            assert made == request.id
        self.submitted.add(made)
        return made

    @precondition(lambda self: len(self.families) < 3)
    @rule(target=parents, count=st.integers(2, 3), delay=st.sampled_from([0.0, 60.0]))
    def submit_in_parts(self, count: int, delay: float) -> Any:
        name = f"parent-{len(self.families)}"
        parent = JobRequest(name, "t", "default", {}, max_attempts=2, waits_for=WAITS_FOR_CHILDREN)
        children = [
            JobRequest(f"{name}-{n}", "t", "default", {}, parent_id=name, max_attempts=2, delay_seconds=delay)
            for n in range(count)
        ]
        with self.database.write() as tx:
            made, is_new = jobs.insert(tx, parent)
            assert (made.id, is_new) == (name, True)
            jobs.insert_many(tx, children)
        self.families[name] = [child.id for child in children]
        self.submitted |= {name, *self.families[name]}
        return name

    @rule(target=ids, parent=parents, number=st.integers(0, 2))
    def a_child(self, parent: str, number: int) -> str:
        """From now on it meets every step that a job of its own meets."""
        children = self.families[parent]
        return children[number % len(children)]

    @rule(job_id=ids)
    def time_comes(self, job_id: str) -> None:
        with self.database.write() as tx:
            tx.run("UPDATE job SET run_at = {now} - 0.001 WHERE id = :id AND finished_at IS NULL", {"id": job_id})

    @rule(seconds=st.sampled_from([-7200.0, -5.0, 5.0, 7200.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        """The store's clock can't be set here: all that it wrote into open rows is moved the other way."""
        moved = ", ".join(f"{name} = {name} - :s" for name in ("run_at", "lease_until", "submitted_at", "published_at"))
        with self.database.write() as tx:
            tx.run(f"UPDATE job SET {moved} WHERE finished_at IS NULL", {"s": seconds})

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
        due = self._is_due(before, now)
        assert (found is not None) == due, "a due job is never stuck"
        if found is None:
            return before  # as good a stale claim as any
        assert job_id not in self.current, "nobody else may write"
        assert found.token > before.token
        self.current[job_id] = found.token
        return found

    @rule(target=claims, parent=parents, owner=st.sampled_from(OWNERS))
    def claim_the_next_child(self, parent: str, owner: str) -> Any:
        """As a process does that works a request off by itself."""
        with self.database.read() as tx:
            child = jobs.next_child(tx, parent)
            due = [one.id for one in jobs.children(tx, parent) if self._is_due(one, tx.now())]
        assert (child is None) == (not due)
        return multiple() if child is None else self._claim(child, owner)

    @rule(parent=parents, owner=st.sampled_from(OWNERS))
    def a_parent_is_never_claimed(self, parent: str, owner: str) -> None:
        self.time_comes(parent)
        with self.database.write() as tx:
            assert jobs.claim(tx, parent, owner, 30.0) is None

    @staticmethod
    def _is_due(job: Job, now: float) -> bool:
        waits = job.state in (JobState.QUEUED, JobState.WAITING) and job.waits_for != WAITS_FOR_CHILDREN
        return waits and job.run_at <= now

    @rule(parent=parents)
    def close_family(self, parent: str) -> None:
        """What the service does when a child has ended, and the reaper when nobody did."""
        with self.database.write() as tx:
            row = jobs.get(tx, parent)
            assert row is not None
            is_open = jobs.has_open_children(tx, parent)
            assert [one.id for one in jobs.open_children(tx, parent)] == sorted(jobs.open_parts(tx, parent))
            assert is_open == bool(jobs.open_parts(tx, parent))
            waiting = [one.id for one in jobs.parents_to_finish(tx)]
            assert (parent in waiting) == (not is_open and not row.state.is_final)
            if not is_open:
                done = jobs.finish_parent(tx, row, JobState.PARTIAL, {"symbols": []}, None, None)
                assert done == (not row.state.is_final), "once, and not after it was cancelled"

    @rule(job=claims, progress=st.floats(0, 1))
    def beat(self, job: Job, progress: float) -> None:
        with self.database.write() as tx:
            assert (jobs.beat(tx, job, 30.0, progress, None) is not None) == self.holds(job)

    @rule(job=claims)
    def store(self, job: Job) -> None:
        with self.database.write() as tx:
            assert jobs.record_outcomes(tx, job, [{"symbol": "A"}], 0.5) == self.holds(job)

    @rule(job=claims, state=states, rarely=rarely)
    def finish(self, job: Job, state: JobState, rarely: bool) -> None:
        if self.holds(job) and not rarely:
            return  # a life should be long
        with self.database.write() as tx:
            done = jobs.finish(tx, job, state, {"by": job.token})
        assert (done is not None) == self.holds(job)
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
        assert (done is not None) == (self.holds(job) and not before.cancel_requested)
        if done:
            del self.current[job.id]

    @rule(job=claims)
    def hand_back(self, job: Job) -> None:
        before = self.get(job.id)
        with self.database.write() as tx:
            done = jobs.hand_back(tx, job)
        assert (done is not None) == (self.holds(job) and not before.cancel_requested)
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

    @rule(parent=parents)
    def cancel_a_family(self, parent: str) -> None:
        with self.database.read() as tx:
            before = jobs.children(tx, parent)
        with self.database.write() as tx:
            jobs.cancel(tx, parent)
        for child in before:
            after = self.get(child.id)
            if child.state is JobState.RUNNING:
                assert after.state is JobState.RUNNING
                assert after.cancel_requested, "whoever runs it is told"
            elif child.state.is_final:
                assert after == child
            else:
                assert after.state is JobState.CANCELLED
        assert self.get(parent).state.is_final

    @rule(job_id=ids)
    def postpone(self, job_id: str) -> None:
        with self.database.write() as tx:
            jobs.postpone(tx, job_id, "t", 30.0, "unknown_task", "no code")

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


def run(first: Database, second: Database, examples: int) -> None:
    settings = hypothesis_settings(max_examples=examples, stateful_step_count=50)
    try:
        run_state_machine_as_test(lambda: Ledger((first, second)), settings=settings)
    finally:
        first.close()
        second.close()


def test_the_ledger_on_sqlite(empty_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    shutil.copyfile(empty_store, path)
    run(SqliteDatabase(path, durable=False), SqliteDatabase(path, durable=False), 120)


def test_the_ledger_on_postgresql(postgres_url: str) -> None:
    run(open_database(postgres_url, durable=False), open_database(postgres_url, durable=False), 30)
