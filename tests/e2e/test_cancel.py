"""`cancel` of one, of many, and what it refuses."""

from __future__ import annotations

import pytest

from processes import Machine
from vendor import Vendor


@pytest.fixture
def queued(machine: Machine) -> list[str]:
    """Three fetches and a split sync, none of them begun."""
    ids = [machine.run("fetch-market-data", "-s", one, "--no-wait").ok().out.split()[1] for one in ("A", "B", "C")]
    ran = machine.run("sync-history", "-s", "D,E", "--batch-size", "1", "--no-wait").ok()
    return [*ids, ran.out.split()[1]]


def states(machine: Machine) -> list[str]:
    return [row["state"] for row in machine.jobs()]


def test_all_of_a_state_and_a_task(machine: Machine, queued: list[str]) -> None:
    ran = machine.run("cancel", "--state", "queued", "--task", "fetch_market_data").ok()
    assert ran.out == "3 jobs cancelled\n"
    assert [machine.job(one)["state"] for one in queued] == ["cancelled"] * 3 + ["waiting"]
    assert machine.run("cancel", "--state", "queued").ok().out == "no such job: nothing was cancelled\n"
    ran = machine.run("cancel", "--queue", "market_data", "--json").ok().json
    assert ran == {"jobs": [{"job_id": queued[3], "state": "cancelled", "cancelled": True}]}
    assert set(states(machine)) == {"cancelled"}, "a request's parts go with it"
    assert len(states(machine)) == 6


def test_what_running_jobs_stored_is_shown(machine: Machine, vendor: Vendor) -> None:
    machine.worker("-c", "2")
    vendor.fault("hang", symbol="SLOW", seconds=30)
    ran = machine.run("sync-history", "-s", "A,SLOW", "--period", "1mo", "--batch-size", "1", "--no-wait").ok()
    job_id = ran.out.split()[1]
    parts = machine.rows("SELECT id, arguments FROM job WHERE parent_id = ?", job_id)
    good, slow = sorted(parts, key=lambda part: "SLOW" in part["arguments"])
    machine.in_state(good["id"], "succeeded")
    machine.in_state(slow["id"], "running")
    assert machine.run("cancel", "--state", "waiting", "--task", "sync_history").ok().out == "1 job cancelled\n"
    machine.in_state(slow["id"], "cancelled", seconds=15)
    document = machine.run("result", job_id, "--json").ok().json
    assert [one["status"] for one in document["result"]["symbols"]] == ["stored", "failed"]
    machine.run("result", job_id, "--wait").ok(1)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "no job is named"),
        (("--state", "dead"), 2, "what is dead has ended"),
        (("--state", "nonsense"), 2, "unknown state"),
        (("--queue", "nonsense"), 2, "unknown queue"),
        (("--task", "nonsense"), 2, "unknown task"),
        (("deadbeef", "--state", "queued"), 2, "in two ways"),
        (("deadbeef",), 4, "there is no job"),
    ],
)
def test_what_it_refuses(machine: Machine, arguments: tuple[str, ...], code: int, said: str) -> None:
    machine.run("cancel", *arguments).refused(code, said)


@pytest.mark.parametrize("command", ["jobs", "cancel"])
def test_a_queue_that_there_is_not_is_refused_with_the_choices(machine: Machine, command: str) -> None:
    message = "unknown queue 'nope': one of market_data news portfolio analytics default"
    machine.run(command, "--queue", "nope").refused(2, message)


def test_a_person_is_asked_before_many_are_cancelled(machine: Machine, queued: list[str]) -> None:
    terminal = machine.terminal("cancel", "--state", "queued")
    terminal.shows("cancel 3 jobs (3 fetch_market_data queued)?")
    terminal.types("n\n")
    assert terminal.wait() != 0
    assert states(machine).count("cancelled") == 0
    terminal = machine.terminal("cancel", "--state", "queued")
    terminal.shows("cancel 3 jobs")
    terminal.types("y\n")
    assert terminal.wait() == 0
    assert states(machine).count("cancelled") == 3
    assert machine.terminal("cancel", queued[3]).wait() == 0, "one that is named is not asked about"
