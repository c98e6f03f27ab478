"""Finished jobs are forgotten by age and by number, in slices, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from marketjobs import config
from marketjobs.domain.jobs import WAITS_FOR_CHILDREN, Job, JobRequest, JobState
from marketjobs.services import jobs as ledger
from marketjobs.services import retention
from marketjobs.services.retention import DAY_SECONDS, Pruned
from marketjobs.services.runtime import Runtime
from marketjobs.storage import jobs
from marketjobs.storage import retention as slices
from stores import on_both_stores

__all__ = ["on_both_stores"]

Make = Callable[..., str]


@pytest.fixture(autouse=True)
def limits(home: Path) -> None:
    os.environ |= {
        "MARKETJOBS_RETENTION__JOBS_DAYS": "10",
        "MARKETJOBS_RETENTION__JOBS_KEPT": "0",
        "MARKETJOBS_RETENTION__DEAD_DAYS": "20",
    }


@pytest.fixture
def make(runtime: Runtime) -> Make:
    """A job in a state that it has come to some days ago."""

    def made(name: str, state: JobState, days: float = 0.0, *, parent: str | None = None) -> str:
        waits = WAITS_FOR_CHILDREN if name.startswith("parent") else None
        with runtime.database.write() as tx:
            jobs.insert(tx, JobRequest(name, "t", "default", {}, parent_id=parent, waits_for=waits))
            if state is JobState.RUNNING or state.is_final:
                # A parent never runs; here it only needs its end.
                tx.run("UPDATE job SET state = 'queued', waits_for = NULL WHERE id = ?", (name,))
                job = jobs.claim(tx, name, "me", 60.0)
                assert job is not None
                if state.is_final:
                    assert jobs.finish(tx, job, state, {"of": name})
            tx.run("UPDATE job SET finished_at = finished_at - ? WHERE id = ?", (days * DAY_SECONDS, name))
        return name

    return made


def left(runtime: Runtime) -> set[str]:
    with runtime.database.read() as tx:
        return {row["id"] for row in tx.all("SELECT id FROM job")}


def limited(runtime: Runtime, **limits: float) -> None:
    for name, value in limits.items():
        os.environ[f"MARKETJOBS_RETENTION__{name.upper()}"] = str(value)
    runtime.settings = config.load()


def test_jobs_are_forgotten_by_their_age_and_dead_ones_later(runtime: Runtime, make: Make) -> None:
    for state in (JobState.SUCCEEDED, JobState.PARTIAL, JobState.CANCELLED):
        make(f"old {state}", state, 11)
        make(f"young {state}", state, 9)
    make("old dead", JobState.DEAD, 21)
    make("young dead", JobState.DEAD, 19)
    make("open", JobState.QUEUED)
    make("running", JobState.RUNNING)
    assert retention.overdue(runtime) == Pruned(done=3, dead=1)
    assert retention.prune(runtime) == Pruned(done=3, dead=1)
    assert left(runtime) == {"young succeeded", "young partial", "young cancelled", "young dead", "open", "running"}
    assert retention.prune(runtime) == retention.overdue(runtime) == Pruned()


def test_of_more_jobs_than_are_kept_the_oldest_go(runtime: Runtime, make: Make) -> None:
    for number in range(7):
        make(f"job {number}", JobState.SUCCEEDED, number)
    make("dead", JobState.DEAD, 9)  # does not count: a person may still want to hand it in again
    limited(runtime, jobs_kept=3)
    assert retention.prune(runtime) == Pruned(done=4)
    assert left(runtime) == {"job 0", "job 1", "job 2", "dead"}
    limited(runtime, jobs_kept=3, jobs_days=1.5)
    assert retention.prune(runtime) == Pruned(done=1), "whichever limit is reached first"


def test_nought_keeps_all(runtime: Runtime, make: Make) -> None:
    make("done", JobState.SUCCEEDED, 9999)
    make("dead", JobState.DEAD, 9999)
    limited(runtime, jobs_days=0, dead_days=0)
    assert retention.prune(runtime) == retention.overdue(runtime) == Pruned()
    assert left(runtime) == {"done", "dead"}


def test_parts_go_with_their_request_and_never_before(runtime: Runtime, make: Make) -> None:
    make("parent old", JobState.PARTIAL, 11)
    make("parent young", JobState.SUCCEEDED, 1)
    make("parent open", JobState.WAITING)
    for parent in ("old", "young", "open"):
        make(f"part of {parent}", JobState.SUCCEEDED, 15, parent=f"parent {parent}")
        make(f"dead part of {parent}", JobState.DEAD, 25, parent=f"parent {parent}")
    assert retention.overdue(runtime) == Pruned(done=1, parts=2)
    assert retention.prune(runtime) == Pruned(done=1, parts=2)
    assert {name for name in left(runtime) if "old" in name} == set()
    assert len(left(runtime)) == 6


def test_a_request_whose_part_has_not_stopped_stays_until_it_has(runtime: Runtime, make: Make) -> None:
    make("parent", JobState.CANCELLED, 11)
    make("ended", JobState.CANCELLED, 11, parent="parent")
    make("about to stop", JobState.RUNNING, parent="parent")
    make("another", JobState.SUCCEEDED, 11)
    assert retention.prune(runtime) == Pruned(done=1, parts=1)
    assert left(runtime) == {"parent", "about to stop"}
    with runtime.database.write() as tx:
        job = jobs.get(tx, "about to stop")
        assert isinstance(job, Job)
        assert jobs.finish(tx, job, JobState.CANCELLED, None)
    assert retention.prune(runtime) == Pruned(done=1, parts=1)
    assert left(runtime) == set()


def test_a_transaction_takes_one_slice(runtime: Runtime, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 3)
    make("parent", JobState.SUCCEEDED, 15)
    for number in range(8):
        make(f"part {number}", JobState.SUCCEEDED, 15, parent="parent")
    for number in range(4):
        make(f"job {number}", JobState.SUCCEEDED, 11)
    assert retention.prune(runtime, slices=1) == Pruned(done=2, parts=3), "a request waits for its last part"
    assert "parent" in left(runtime)
    seen: list[Pruned] = []
    assert retention.prune(runtime, tell=seen.append) == Pruned(done=3, parts=5)
    assert left(runtime) == set()
    rows = [0, *(one.rows for one in seen)]
    assert all(after - before <= 2 * 3 for before, after in pairwise(rows))


def test_a_forgotten_request_is_unknown_and_may_be_handed_in_anew(runtime: Runtime) -> None:
    request = {"symbols": ["AAPL"]}
    first = ledger.submit(runtime, "marketjobs.fetch_market_data", request)
    with runtime.database.write() as tx:
        job = jobs.claim(tx, first.id, "me", 60.0)
        assert job is not None
        assert jobs.finish(tx, job, JobState.SUCCEEDED, {"symbols": []})
        tx.run("UPDATE job SET finished_at = finished_at - ?", (11 * DAY_SECONDS,))
    assert retention.prune(runtime) == Pruned(done=1)
    assert ledger.row(runtime, first.id) is None
    second = ledger.submit(runtime, "marketjobs.fetch_market_data", request)
    assert second.id != first.id
    assert replace(second, id=first.id, submitted_at=0, run_at=0) == replace(first, submitted_at=0, run_at=0)


def test_a_slice_is_found_by_an_index(runtime: Runtime, make: Make) -> None:
    """However many jobs there are: no statement reads the whole table, and none sorts it."""
    make("old", JobState.SUCCEEDED, 11)
    with runtime.database.read() as tx:
        for ended, index in ((slices.Ended.DONE, "ix_job_ended"), (slices.Ended.DEAD, "ix_job_dead")):
            select = f"SELECT id FROM job WHERE {ended} AND finished_at < 1.0 ORDER BY finished_at LIMIT 5"
            if tx.dialect == "sqlite":
                plan = " ".join(row["detail"] for row in tx.all(f"EXPLAIN QUERY PLAN {select}"))
                assert "TEMP B-TREE" not in plan
            else:
                tx.run("SET LOCAL enable_seqscan = off")
                tx.run("SET LOCAL enable_bitmapscan = off")
                plan = " ".join(row["QUERY PLAN"] for row in tx.all(f"EXPLAIN {select}"))
                assert "Sort" not in plan
            assert index in plan, plan
