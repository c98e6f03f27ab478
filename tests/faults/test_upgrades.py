"""Rows that another version wrote, tasks that only another version has, and a program that can't be started."""

from __future__ import annotations

import json
import sys
import time

import pytest

from faults.audit import audit
from faults.steps import called
from processes import LONG, TESTS, Machine, eventually

OLD = {
    "defaults": {"symbols": ["AAPL"]},
    "a text instead of a list": {"symbols": "AAPL"},
    "an argument that is gone": {"symbols": ["AAPL"], "legacy_mode": True},
    "none": {},
}


def insert_old_row(machine: Machine, job_id: str, task: str, arguments: object) -> None:
    """Only what no version can have left out."""
    machine.write(
        "INSERT INTO job (id, task, queue, state, arguments, priority, attempt, max_attempts, token, submitted_at,"
        " run_at, cancel_requested, progress) VALUES (?, ?, 'market_data', 'queued', ?, 5, 0, 3, 0, ?, ?, 0, 0)",
        *(job_id, task, json.dumps(arguments), time.time() - 60, time.time() - 60),
    )


@pytest.mark.pairs(few=("embedded-sqlite",))
def test_rows_of_an_older_version_end(pair: Machine) -> None:
    pair.worker("-c", "1")
    for name, arguments in OLD.items():
        insert_old_row(pair, name, "marketjobs.fetch_market_data", arguments)
    pair.all_final(list(OLD))
    assert pair.job("defaults")["state"] == "succeeded"
    ended = audit(pair, list(OLD))
    assert ended["succeeded"] + ended["dead"] == len(OLD)
    for name in OLD:
        pair.run("status", name, "--json").ok()


@pytest.mark.pairs(few=("redis-postgresql",))
def test_a_task_of_a_newer_version_waits_for_a_worker_that_has_it(pair: Machine) -> None:
    worker = pair.worker("-c", "1")
    [job_id] = called(pair, "nap", 0.0)
    row = pair.in_state(job_id, "waiting", seconds=20)
    assert (row["attempt"], row["error_cause"]) == (1, "unknown_task")
    assert row["run_at"] > time.time() + 20
    worker.ctrl_c()
    worker.wait()
    pair.test_worker(1)
    pair.write("UPDATE job SET run_at = run_at - 3600 WHERE id = ?", job_id)
    pair.in_state(job_id, "succeeded", seconds=20)
    assert audit(pair, [job_id]) == {"succeeded": 1}


def test_a_task_that_nobody_has_is_dead_after_its_attempts(machine: Machine) -> None:
    """Not at once: another worker may have it.  Not for ever either, and not without a pause."""
    machine.worker("-c", "1")
    [job_id] = called(machine, "nap", 0.0)
    for attempt in (1, 2):
        row = machine.in_state(job_id, "waiting", seconds=20)
        assert row["attempt"] == attempt
        machine.write("UPDATE job SET run_at = run_at - 3600 WHERE id = ?", job_id)
        eventually(lambda: machine.job(job_id)["attempt"] > attempt, "another try", 20)  # noqa: B023
    row = machine.in_state(job_id, "dead")
    assert (row["attempt"], row["error_cause"]) == (3, "unknown_task")
    assert audit(machine, [job_id]) == {"dead": 1}


@pytest.mark.whole
@pytest.mark.slow
def test_a_worker_whose_process_exits_at_once_ten_times_gives_up_with_a_clear_line(machine: Machine) -> None:
    worker = machine.start_any(sys.executable, "-m", "supervised", "1", TESTS_EXIT="3", PYTHONPATH=str(TESTS))
    ran = worker.wait(4 * LONG).ok(1)
    [line] = [line for line in ran.err.splitlines() if "giving up" in line]
    assert line == "marketjobs: worker ended 10 times within seconds of its start: giving up"
    assert ran.err.count("child.died name=worker") == 10
    machine.no_process_is_left(10)
    assert audit(machine, []) == {}
