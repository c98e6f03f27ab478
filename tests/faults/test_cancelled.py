"""Cancelled, whenever and whatever happens then: it stays cancelled."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from faults.audit import audit
from faults.outage import in_time, within
from faults.steps import begin_fetch, called, hang, once_asked, running
from processes import Machine, RedisServer, kill
from vendor import Vendor

HANG_SECONDS = 240.0
PATIENT = {"MARKETJOBS_PROVIDERS__YAHOO__TIMEOUT_SECONDS": str(HANG_SECONDS)}
"""A fetch that hangs is ended by its cancel, and by nothing else."""
CANCELLED_SECONDS = 10.0


def ends_cancelled(machine: Machine, job_id: str) -> dict[str, Any]:
    """The row of a running job whose cancel was just accepted, once its worker has ended it in time."""
    began = time.monotonic()
    row = machine.in_state(job_id, "cancelled")
    spent = time.monotonic() - began
    assert within(CANCELLED_SECONDS, spent, machine), f"it ended {spent:.1f} s after its cancel"
    return row


def test_cancel_while_queued_running_and_finished(machine: Machine, vendor: Vendor) -> None:
    queued = begin_fetch(machine, "Q1")
    machine.run("cancel", queued).ok()
    worker = machine.worker("-c", "1", **PATIENT)
    hang(vendor, HANG_SECONDS)
    busy = begin_fetch(machine)
    running(machine, busy)
    once_asked(vendor)
    assert machine.run("cancel", busy, "--json").ok().json["jobs"][0] == {
        "job_id": busy,
        "state": "running",
        "cancelled": True,
    }
    row = ends_cancelled(machine, busy)
    assert row["error_cause"] == "cancelled"
    done = begin_fetch(machine, "D1")
    machine.in_state(done, "succeeded")
    machine.run("cancel", done).ok()
    assert worker.runs
    assert vendor.charts()[-1].symbol == "D1"
    assert "Q1" not in {one.symbol for one in vendor.charts()}
    assert audit(machine, [queued, busy, done]) == {"cancelled": 2, "succeeded": 1}


def test_a_cancelled_job_keeps_what_it_stored(machine: Machine, vendor: Vendor) -> None:
    machine.worker("-c", "1", MARKETJOBS_PROVIDERS__YAHOO__MAX_CONNECTIONS="1", **PATIENT)
    vendor.fault("hang", "H39", times=1, seconds=HANG_SECONDS)
    job_id = begin_fetch(machine, *(f"H{number}" for number in range(40)), options=("--period", "5d"))
    once_asked(vendor)
    machine.run("cancel", job_id).ok()
    row = ends_cancelled(machine, job_id)
    kept = machine.rows("SELECT count(DISTINCT symbol) AS n FROM price_bar_v")[0]["n"]
    assert kept >= 32
    assert len(json.loads(row["result"])["symbols"]) == kept
    assert audit(machine, [job_id]) == {"cancelled": 1}


def test_a_cancelled_job_whose_worker_is_stopped_does_not_stay_open(machine: Machine) -> None:
    """Cancelled, and before it notices its process is asked to stop: it is cancelled, not handed back for ever."""
    job_id, state = machine.python(
        """
        import json
        from marketjobs import config
        from marketjobs.services import attempts, jobs
        from marketjobs.services.runtime import Runtime
        runtime = Runtime(config.current())
        job = jobs.submit(runtime, "tests.interrupted", {})

        def body(ctx):
            jobs.cancel(runtime, job.id)
            raise KeyboardInterrupt

        try:
            attempts.execute(runtime, job.id, body)
        except KeyboardInterrupt:
            pass
        print(json.dumps([job.id, jobs.row(runtime, job.id).state]))
        """
    )
    assert state == "cancelled"
    assert audit(machine, [job_id]) == {"cancelled": 1}


@pytest.mark.whole
def test_watching_another_programs_job_does_not_kill_it(machine: Machine) -> None:
    """A command without the task's code leaves it to a worker that has it."""
    [job_id] = called(machine, "nap", 0.0)
    ran = machine.run("result", job_id, "--wait", "--timeout", "3")
    assert ran.code in (5, 6), str(ran)
    assert machine.job(job_id)["state"] in ("queued", "waiting")
    machine.test_worker(1)
    machine.in_state(job_id, "succeeded")
    assert audit(machine, [job_id]) == {"succeeded": 1}


def test_an_unknown_job_can_not_be_cancelled(machine: Machine) -> None:
    job_id = begin_fetch(machine)
    machine.run("cancel", "00000000-0000-4000-8000-000000000000").refused(4, "there is no job")
    assert machine.job(job_id)["state"] == "queued"
    machine.run("cancel", job_id).ok()
    assert audit(machine, [job_id]) == {"cancelled": 1}


@pytest.mark.redis
def test_cancel_with_the_broker_down(machine: Machine, vendor: Vendor, redis_server: RedisServer) -> None:
    redis_server.start()
    machine.env["MARKETJOBS_BROKER__URL"] = redis_server.url
    machine.worker("-c", "1", **PATIENT)
    hang(vendor, HANG_SECONDS)
    busy, queued = begin_fetch(machine), begin_fetch(machine, "Q1")
    running(machine, busy)
    once_asked(vendor)
    redis_server.kill()
    in_time(machine, "cancel", busy, queued).ok()
    ends_cancelled(machine, busy)
    redis_server.start()
    after = begin_fetch(machine, "D1")
    machine.in_state(after, "succeeded")
    assert "Q1" not in {one.symbol for one in vendor.charts()}
    assert audit(machine, [busy, queued, after]) == {"cancelled": 2, "succeeded": 1}


@pytest.mark.whole
@pytest.mark.pairs(few=("redis-postgresql",))
def test_cancelled_and_its_worker_killed_right_after(pair: Machine, vendor: Vendor) -> None:
    """Nobody is left to notice the cancel but the reaper."""
    worker = pair.worker("-c", "1", **PATIENT)
    hang(vendor, HANG_SECONDS)
    job_id = begin_fetch(pair)
    running(pair, job_id)
    once_asked(vendor)
    pids = [worker.pid, *(pid for pids in pair.children(worker).values() for pid in pids)]
    pair.run("cancel", job_id).ok()
    for pid in pids:
        kill(pid)
    worker.process.wait(10)
    pair.worker("-c", "1")
    pair.in_state(job_id, "cancelled")
    after = begin_fetch(pair, "D1")
    pair.in_state(after, "succeeded")
    assert [one.symbol for one in vendor.charts()] == ["D1"], "the cancelled one was asked for again"
    assert audit(pair, [job_id, after]) == {"cancelled": 1, "succeeded": 1}
