"""What a process manager sends: SIGTERM, SIGKILL two seconds later, SIGQUIT; and a second signal that hurries."""

from __future__ import annotations

import signal
import time
from collections import Counter

import pytest

from faults.audit import audit
from faults.outage import slowness, within
from faults.report import Record
from faults.steps import called
from processes import LONG, Machine, Running, eventually, kill

SOFT_SECONDS = 30.0
COLD_SECONDS = 5.0
FEW = pytest.mark.pairs(few=("redis-postgresql",))
COMMANDS = pytest.mark.parametrize("command", ["worker", "up"])


def start(machine: Machine, command: str, soft_seconds: float = SOFT_SECONDS) -> Running:
    limits = {
        "MARKETJOBS_WORKER__SOFT_TIME_LIMIT": str(soft_seconds),
        "MARKETJOBS_WORKER__HARD_TIME_LIMIT": str(soft_seconds + 60),
    }
    return machine.test_worker(2, command, **limits)


def hand_in(machine: Machine, count: int) -> list[str]:
    """Jobs that end once the gate is open, and not before."""
    return called(machine, "wait_at_gate", count=count)


def open_gate(machine: Machine) -> None:
    machine.home.joinpath("gate").touch()


def once_both_run(machine: Machine, ids: list[str]) -> None:
    eventually(lambda: len(machine.effects()) == 2, "both processes of the pool have a job")
    assert states(machine, ids)["running"] == 2


def states(machine: Machine, ids: list[str]) -> Counter[str]:
    return Counter(machine.job(job_id)["state"] for job_id in ids)


def ends_within(machine: Machine, worker: Running, seconds: float, began: float) -> float:
    """How long it took, with exit code 0 and without a traceback."""
    worker.wait(seconds + 2 * LONG).ok()
    spent = time.monotonic() - began
    assert within(seconds, spent, machine), f"it took {spent:.1f} s\n{worker.err}"
    return spent


def with_two_jobs(machine: Machine, command: str, soft_seconds: float = SOFT_SECONDS) -> tuple[Running, list[str]]:
    """A worker whose processes are in the midst of them."""
    worker = start(machine, command, soft_seconds)
    ids = hand_in(machine, 2)
    once_both_run(machine, ids)
    return worker, ids


def hands_back(machine: Machine, worker: Running, ids: list[str], seconds: float, record: Record) -> None:
    """From now on it ends in time, and what it was at waits for another as if it had never begun."""
    record(jobs=len(ids), ended_after_s=ends_within(machine, worker, seconds, time.monotonic()))
    assert {(row["state"], row["attempt"]) for row in map(machine.job, ids)} == {("queued", 0)}
    goes_on(machine, ids)


def goes_on(machine: Machine, ids: list[str]) -> None:
    """Nothing of the first one is left, and whatever it left is done by the next."""
    machine.no_process_is_left(COLD_SECONDS * slowness(machine))
    open_gate(machine)
    machine.test_worker(2)
    machine.all_final(ids)
    assert audit(machine, ids) == {"succeeded": len(ids)}


@FEW
@COMMANDS
def test_sigterm_finishes_what_runs(pair: Machine, command: str, record: Record) -> None:
    worker = start(pair, command)
    ids = hand_in(pair, 4)
    once_both_run(pair, ids)
    worker.signal(signal.SIGTERM)
    began = time.monotonic()
    worker.says("stopping: ")
    open_gate(pair)
    record(jobs=4, ended_after_s=ends_within(pair, worker, SOFT_SECONDS + COLD_SECONDS, began))
    assert states(pair, ids) == {"succeeded": 2, "queued": 2}
    assert {(row["state"], row["attempt"]) for row in map(pair.job, ids)} == {("succeeded", 1), ("queued", 0)}
    assert all(row["stopped_at"] for row in pair.rows("SELECT stopped_at FROM worker"))
    goes_on(pair, ids)


@pytest.mark.whole
@pytest.mark.slow
@FEW
@COMMANDS
def test_sigterm_waits_for_no_job_beyond_its_soft_limit(pair: Machine, command: str, record: Record) -> None:
    soft_seconds = 4.0
    worker, ids = with_two_jobs(pair, command, soft_seconds)
    worker.signal(signal.SIGTERM)
    hands_back(pair, worker, ids, soft_seconds + COLD_SECONDS, record)


@pytest.mark.whole
@FEW
@COMMANDS
def test_sigterm_then_sigkill_two_seconds_later(pair: Machine, command: str, record: Record) -> None:
    """As a container's runtime does, to the supervisor alone: none of its processes outlives it for long."""
    worker = start(pair, command)
    ids = hand_in(pair, 3)
    once_both_run(pair, ids)
    worker.signal(signal.SIGTERM)
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: not worker.runs, "it ends", seconds=2)
    kill(worker.pid)
    worker.process.wait(5)
    record(jobs=3, kills=1)
    goes_on(pair, ids)


@FEW
@COMMANDS
def test_sigquit_hands_back_at_once(pair: Machine, command: str, record: Record) -> None:
    worker, ids = with_two_jobs(pair, command)
    worker.signal(signal.SIGQUIT)
    hands_back(pair, worker, ids, COLD_SECONDS, record)


@pytest.mark.pairs(few=("embedded-sqlite",))
@COMMANDS
def test_a_second_signal_ends_it_faster(pair: Machine, command: str, record: Record) -> None:
    worker, ids = with_two_jobs(pair, command)
    worker.signal(signal.SIGTERM)
    worker.says("stopping: ")
    worker.signal(signal.SIGTERM)
    hands_back(pair, worker, ids, COLD_SECONDS, record)
