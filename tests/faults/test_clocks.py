"""Clocks that jump: nothing is lost, and nothing waits for an hour."""

from __future__ import annotations

import pytest

from faults.audit import audit
from faults.steps import begin_fetch, called
from processes import Machine, eventually

HOUR = 3600


def clock_was_set(machine: Machine, seconds: int) -> None:
    """What stamps look like after the clock of the store was set forward by so much (or back): they lie behind it."""
    for table, columns in {
        "job": ("submitted_at", "run_at", "published_at", "started_at", "claimed_at", "lease_until"),
        "lease": ("until",),
        "provider_budget": ("last_ts", "blocked_until"),
        "provider_budget_use": ("ts",),
        "worker": ("started_at", "heartbeat_at", "answered_at"),
    }.items():
        machine.write(f"UPDATE {table} SET " + ", ".join(f"{name} = {name} - ({seconds})" for name in columns))


@pytest.mark.pairs(few=("embedded-sqlite",))
@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["forward", "back"])
def test_the_stores_clock_jumps_with_jobs_in_each_state(pair: Machine, seconds: int) -> None:
    pair.test_worker(1)
    fetched = [begin_fetch(pair)]  # so that calls of its vendor are counted
    pair.in_state(fetched[0], "succeeded")
    ids = called(pair, "count", 0, 0.7, count=8)
    [retried] = called(pair, "fail", "no")
    pair.in_state(ids[0], "running", "succeeded")
    clock_was_set(pair, seconds)
    fetched.append(begin_fetch(pair, "IBM"))
    assert {row["state"] for row in pair.all_final(fetched, seconds=60)} == {"succeeded"}
    rows = pair.all_final([*ids, retried], seconds=60)
    assert {row["state"] for row in rows if row["id"] != retried} == {"succeeded"}
    assert {line.split()[0] for line in pair.effects()} == set(ids)
    assert sum(row["attempt"] for row in rows if row["id"] != retried) <= len(ids) + 1
    assert audit(pair, [*ids, retried, *fetched]) == {"succeeded": 10, "dead": 1}


def test_a_clock_that_was_set_back_while_nothing_ran_delays_nothing(machine: Machine) -> None:
    """Jobs were handed in and a worker was killed before; their stamps and its lease lie an hour ahead."""
    ids = called(machine, "count", 0, count=5)
    machine.write("UPDATE job SET run_at = run_at + 3600, submitted_at = submitted_at + 3600, published_at = NULL")
    machine.write("INSERT INTO lease VALUES ('reaper', 'this-host/1/1', unixepoch() + 3600)")
    worker = machine.test_worker(1)
    machine.all_final(ids, seconds=30)
    worker.says("clock.set_back")
    assert audit(machine, ids) == {"succeeded": 5}


@pytest.mark.whole
def test_a_job_that_was_put_off_keeps_its_time(machine: Machine) -> None:
    """A moment that a person or a task chose is no wrong clock."""
    worker = machine.test_worker(1)
    [put_off, retried] = machine.python(
        """
        import json
        from jobs_for_tests import again, count
        print(json.dumps([count.apply_async((1,), countdown=3000).id, again.delay(1, countdown=3000).id]))
        """
    )
    machine.in_state(retried, "waiting")
    lost = called(machine, "count", 0)
    machine.write("UPDATE job SET run_at = run_at + 3600, published_at = NULL, state = 'queued' WHERE id = ?", lost[0])
    eventually(lambda: machine.job(lost[0])["state"] == "succeeded", "the misdated one ran", 30)
    assert {machine.job(one)["state"] for one in (put_off, retried)} == {"waiting"}
    machine.run("cancel", put_off, retried).ok()
    assert worker.runs
    audit(machine, [put_off, retried])
