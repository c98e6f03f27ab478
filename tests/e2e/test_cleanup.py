"""`cleanup`, and the worker that does the same by itself."""

from __future__ import annotations

import pytest

from processes import Machine, eventually

HAND_IN = """
import json
from jobs_for_tests import add
print(json.dumps([add.apply(args=(number,)).id for number in range(5)]))
"""
UNKNOWN = """
import json, sys
from jobs_for_tests import app
result = app.AsyncResult(sys.argv[1])
print(json.dumps([result.state, result.exists()]))
"""


@pytest.fixture
def old(machine: Machine) -> list[str]:
    """Ids of five finished jobs, of which three ended forty days ago."""
    ids = machine.python(HAND_IN)
    for job_id in ids[:3]:
        machine.write("UPDATE job SET finished_at = finished_at - ? WHERE id = ?", 40 * 86_400, job_id)
    return list(ids)


def test_cleanup_says_what_it_would_delete_then_deletes_it(machine: Machine, old: list[str]) -> None:
    document = {"jobs": {"done": 3, "dead": 0, "parts": 0}}
    assert machine.run("cleanup", "--dry-run", "--json").ok().json == {"dry_run": True, **document}
    assert "would delete 3 finished jobs" in machine.run("cleanup", "--dry-run").ok().out
    assert len(machine.jobs()) == 5
    ran = machine.run("cleanup").ok()
    assert ran.out == "deleted 3 finished jobs and 0 dead ones, with 0 parts\n"
    assert "30 days and 100,000 of finished jobs, 90 days of dead ones" in ran.err
    assert {row["id"] for row in machine.jobs()} == set(old[3:])
    assert machine.run("cleanup", "--json").ok().json == {"dry_run": False, "jobs": {"done": 0, "dead": 0, "parts": 0}}
    assert machine.python(UNKNOWN, old[0]) == ["PENDING", False]
    machine.run("status", old[0]).refused(4, "there is no job")


def test_cleanup_keeps_what_the_settings_say(machine: Machine, old: list[str]) -> None:
    kept = {"MARKETJOBS_RETENTION__JOBS_DAYS": "0", "MARKETJOBS_RETENTION__JOBS_KEPT": "1"}
    assert machine.run("cleanup", "--json", **kept).ok().json["jobs"]["done"] == 4
    assert "all days and 1 of finished jobs" in machine.run("cleanup", **kept).ok().err


def test_a_worker_forgets_old_jobs_by_itself(machine: Machine, old: list[str]) -> None:
    machine.worker()
    eventually(lambda: {row["id"] for row in machine.jobs()} == set(old[3:]), "the reaper has forgotten the old jobs")
