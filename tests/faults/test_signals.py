"""What a process manager sends: SIGTERM, SIGKILL two seconds later, SIGQUIT; and a second signal that hurries."""

from __future__ import annotations

import json
import signal
import time

import pytest

from faults.audit import audit
from faults.report import Record
from processes import Machine, Running, eventually, kill

SOFT_SECONDS = 30.0
COLD_SECONDS = 5.0
BUSY_SECONDS = 10.0
"""What a crowded machine may add; the table shows what it was."""
pytestmark = pytest.mark.pairs(few=("redis-postgresql",))
COMMANDS = pytest.mark.parametrize("command", ["worker", "up"])


def start(machine: Machine, command: str, soft_seconds: float = SOFT_SECONDS) -> Running:
    limits = {
        "MARKETJOBS_WORKER__SOFT_TIME_LIMIT": str(soft_seconds),
        "MARKETJOBS_WORKER__HARD_TIME_LIMIT": str(soft_seconds + 60),
    }
    return machine.test_worker(2, command, **limits)


def hand_in(machine: Machine, *seconds: float) -> list[str]:
    """A nap for each."""
    return list(
        machine.python(
            "import json, sys; from jobs_for_tests import nap\n"
            "print(json.dumps([nap.delay(seconds, 'nap').id for seconds in json.loads(sys.argv[1])]))",
            json.dumps(seconds),
        )
    )


def run_both(machine: Machine, ids: list[str]) -> None:
    for job_id in ids[:2]:
        machine.in_state(job_id, "running")


def ends_within(worker: Running, seconds: float) -> float:
    """How long it took; with exit code 0."""
    began = time.monotonic()
    ran = worker.wait(seconds)
    assert ran.code == 0, str(ran)
    return time.monotonic() - began


def goes_on(machine: Machine, ids: list[str]) -> None:
    """Whatever was left is done by the next worker."""
    machine.no_process_is_left(COLD_SECONDS)
    machine.write("UPDATE job SET arguments = ? WHERE finished_at IS NULL", json.dumps({"seconds": 0.0, "name": "nap"}))
    machine.test_worker(2)
    machine.all_final(ids)
    assert audit(machine, ids) == {"succeeded": len(ids)}


@COMMANDS
def test_sigterm_finishes_what_runs(pair: Machine, command: str, record: Record) -> None:
    worker = start(pair, command)
    ids = hand_in(pair, 2.0, 2.0, 2.0, 2.0)
    run_both(pair, ids)
    worker.signal(signal.SIGTERM)
    record(jobs=4, ended_after_s=ends_within(worker, SOFT_SECONDS + COLD_SECONDS))
    assert [(row["state"], row["attempt"]) for row in map(pair.job, ids)] == [
        *[("succeeded", 1)] * 2,
        *[("queued", 0)] * 2,
    ]
    assert all(row["stopped_at"] for row in pair.rows("SELECT stopped_at FROM worker"))
    goes_on(pair, ids)


@pytest.mark.slow
@COMMANDS
def test_sigterm_waits_for_no_job_beyond_its_soft_limit(pair: Machine, command: str, record: Record) -> None:
    soft_seconds = 6.0
    worker = start(pair, command, soft_seconds)
    ids = hand_in(pair, 120.0, 120.0)
    run_both(pair, ids)
    worker.signal(signal.SIGTERM)
    record(jobs=2, ended_after_s=ends_within(worker, soft_seconds + COLD_SECONDS + BUSY_SECONDS))
    assert {row["state"] for row in map(pair.job, ids)} <= {"waiting", "queued"}
    goes_on(pair, ids)


@COMMANDS
def test_sigterm_then_sigkill_two_seconds_later(pair: Machine, command: str, record: Record) -> None:
    """As a container's runtime does, to the supervisor alone: none of its processes outlives it for long."""
    worker = start(pair, command)
    ids = hand_in(pair, 120.0, 120.0, 0.1)
    run_both(pair, ids)
    worker.signal(signal.SIGTERM)
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: not worker.runs, "it ends", seconds=2)
    kill(worker.pid)
    worker.process.wait(5)
    pair.no_process_is_left(COLD_SECONDS + BUSY_SECONDS)
    record(jobs=3, kills=1)
    goes_on(pair, ids)


@COMMANDS
def test_sigquit_hands_back_at_once(pair: Machine, command: str, record: Record) -> None:
    worker = start(pair, command)
    ids = hand_in(pair, 120.0, 120.0)
    run_both(pair, ids)
    worker.signal(signal.SIGQUIT)
    record(jobs=2, ended_after_s=ends_within(worker, COLD_SECONDS + BUSY_SECONDS))
    assert {(row["state"], row["attempt"]) for row in map(pair.job, ids)} == {("queued", 0)}
    goes_on(pair, ids)


@COMMANDS
def test_a_second_signal_ends_it_faster(pair: Machine, command: str, record: Record) -> None:
    worker = start(pair, command)
    ids = hand_in(pair, 120.0, 120.0)
    run_both(pair, ids)
    worker.signal(signal.SIGTERM)
    worker.says("stopping: ")
    worker.signal(signal.SIGTERM)
    record(jobs=2, ended_after_s=ends_within(worker, COLD_SECONDS + BUSY_SECONDS))
    assert {(row["state"], row["attempt"]) for row in map(pair.job, ids)} == {("queued", 0)}
    goes_on(pair, ids)
