"""Jobs that hang, jobs longer than any patience, and workers that stand still."""

from __future__ import annotations

import signal

import pytest

from faults.audit import audit
from faults.report import Record
from faults.steps import begin_fetch, called, hang, once_asked
from processes import Machine, RedisServer, eventually, kill
from vendor import Vendor

HARD_LIMIT_SECONDS = 2
"""Of ``tests.hang``."""
LEASE = {"MARKETJOBS_WORKER__LEASE_SECONDS": "3"}


@pytest.mark.pairs(few=("redis-postgresql",))
def test_a_hanging_job_is_ended_by_its_hard_limit(pair: Machine, record: Record) -> None:
    pair.test_worker(1)
    hanging, good = pair.python(
        "import json; from jobs_for_tests import count, hang\n"
        "print(json.dumps([hang.delay().id, [count.delay(n).id for n in range(3)]]))"
    )
    row = pair.in_state(hanging, "dead", seconds=40)
    assert (row["attempt"], row["error_cause"]) == (3, "time_limit")
    lasted = row["finished_at"] - row["claimed_at"]
    assert HARD_LIMIT_SECONDS - 0.5 < lasted < HARD_LIMIT_SECONDS + 2
    pair.all_final(good)
    assert audit(pair, [hanging, *good]) == {"succeeded": 3, "dead": 1}
    record(jobs=4, kills=3, after_its_limit_seconds=lasted - HARD_LIMIT_SECONDS)


def test_a_soft_limit_is_tried_again_and_told(machine: Machine) -> None:
    machine.test_worker(1)
    [job_id] = called(machine, "soft")
    row = machine.in_state(job_id, "dead", seconds=40)
    assert (row["attempt"], row["error_cause"]) == (3, "time_limit")
    assert audit(machine, [job_id]) == {"dead": 1}


def test_a_soft_limit_that_comes_while_the_outcome_is_written_costs_nothing(machine: Machine) -> None:
    worker = machine.test_worker(1)
    [job_id] = called(machine, "locks", 4.0)
    row = machine.in_state(job_id, "succeeded", "dead", "waiting", seconds=40)
    assert (row["state"], row["attempt"]) == ("succeeded", 1)
    assert "Soft time limit (1s) exceeded" in worker.err
    assert "Traceback" not in worker.err
    assert audit(machine, [job_id]) == {"succeeded": 1}


@pytest.mark.pairs(few=("embedded-sqlite",))
def test_a_job_longer_than_its_lease_runs_once(pair: Machine) -> None:
    pair.test_worker(2, **LEASE)
    pair.test_worker(1, **LEASE)
    [job_id] = called(pair, "count", 1, 8.0)
    assert pair.in_state(job_id, "succeeded")["attempt"] == 1
    assert pair.effects() == [f"{job_id} 1"]
    assert audit(pair, [job_id]) == {"succeeded": 1}


@pytest.mark.whole
@pytest.mark.redis
def test_a_job_longer_than_the_visibility_timeout_runs_once(machine: Machine, redis_server: RedisServer) -> None:
    """Its message, not acknowledged before its end, is handed out again meanwhile."""
    redis_server.start()
    machine.env["MARKETJOBS_BROKER__URL"] = redis_server.url
    options = {"MARKETJOBS_WORKER__ACKS_LATE": "true", "TESTS_VISIBILITY_SECONDS": "2"} | LEASE
    machine.test_worker(2, **options)
    [job_id] = called(machine, "count", 1, 10.0)
    machine.in_state(job_id, "running")
    eventually(
        lambda: redis_server.ask("ZCARD", "unacked_index") == b":0\r\n", "the message was handed out and refused", 9
    )
    assert machine.job(job_id)["state"] == "running"
    assert machine.in_state(job_id, "succeeded")["attempt"] == 1
    assert machine.effects() == [f"{job_id} 1"]
    assert audit(machine, [job_id]) == {"succeeded": 1}


@pytest.mark.pairs(few=("redis-postgresql",))
def test_a_worker_frozen_for_two_leases_and_thawed_is_fenced_off(pair: Machine, vendor: Vendor) -> None:
    """All its processes, on another host as far as anybody can tell; a second worker takes the job meanwhile."""
    hang(vendor, 2.0)
    frozen = pair.test_worker(1, TESTS_HOST="elsewhere", **LEASE)
    job_id = begin_fetch(pair, "AAPL", "IBM")
    once_asked(vendor)
    assert pair.in_state(job_id, "running")["owner"].startswith("elsewhere/")
    pids = [frozen.pid, *(pid for pids in pair.children(frozen).values() for pid in pids)]
    for pid in pids:
        kill(pid, signal.SIGSTOP)
    try:
        lease_ends = pair.job(job_id)["lease_until"]
        pair.test_worker(1, **LEASE)
        row = pair.in_state(job_id, "succeeded", seconds=40)
        assert (row["attempt"], row["owner"].startswith("elsewhere/")) == (2, False)
        assert row["finished_at"] > lease_ends
        after = pair.job(job_id), pair.bars("AAPL"), pair.bars("IBM")
        assert after[1]
        assert after[2]
    finally:
        for pid in pids:
            kill(pid, signal.SIGCONT)
    frozen.says("job.refused")
    assert (pair.job(job_id), pair.bars("AAPL"), pair.bars("IBM")) == after
    assert audit(pair, [job_id]) == {"succeeded": 1}
