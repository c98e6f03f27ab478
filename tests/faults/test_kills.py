"""kill -9 under load: of processes of a pool, of whole workers, of programs that hand jobs in."""

from __future__ import annotations

import itertools
import signal

import pytest

from faults.audit import audit
from faults.load import Load, all_end, extra_attempts, recovery_seconds
from faults.report import Record
from processes import Machine, Running, eventually, kill

LEASE_SECONDS = 30.0
WITHIN_SECONDS = LEASE_SECONDS + 5

HAND_IN_AND_DIE = """
import os, sys
from jobs_for_tests import count
from marketjobs.tasks import publish
for number in range(int(sys.argv[1])):
    if number == int(sys.argv[1]) - 1:  # committed, and nobody is told
        publish.send = lambda jobs: os.kill(os.getpid(), 9)
    count.delay(number, 0.0)
"""


def everyone(machine: Machine, worker: Running) -> list[int]:
    """The processes below a supervisor."""
    return list(itertools.chain.from_iterable(machine.children(worker).values()))


def ends_well(machine: Machine, load: Load, record: Record, killed: int, recoveries: list[float]) -> int:
    """How many attempts were made beyond one for each job."""
    ids = load.ids()
    rows = all_end(machine, ids)
    extra = extra_attempts(rows)
    record(jobs=load.jobs, kills=killed, extra_attempts=extra, recovery_seconds=max(recoveries))
    assert audit(machine, ids) == {"succeeded": load.jobs}
    assert {line.split()[0] for line in machine.effects()} == set(ids)
    assert len(machine.effects()) <= load.jobs + extra
    return extra


@pytest.mark.slow
@pytest.mark.pairs(few=("redis-postgresql",))
def test_pool_processes_are_killed(pair: Machine, full: bool, record: Record) -> None:
    """A kill costs the job that it hit one attempt, and its neighbours nothing."""
    jobs, kills = (2000, 20) if full else (240, 4)
    worker = pair.test_worker(2)
    main_process = pair.children(worker)["main"]
    load = Load(pair, jobs)
    recoveries = []
    for number in range(kills):
        load.reaches((number + 0.5) / (kills + 1))
        pool = eventually(lambda: pair.children(worker)["pool"], "a process of the pool")
        pid = pool[number % len(pool)]
        kill(pid)
        recoveries.append(recovery_seconds(pair, [pid], WITHIN_SECONDS))
    assert ends_well(pair, load, record, kills, recoveries) <= kills
    assert pair.children(worker)["main"] == main_process


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.pairs(few=("redis-postgresql",))
def test_a_whole_worker_is_killed_and_started_again(pair: Machine, full: bool, record: Record) -> None:
    jobs, kills = (1000, 10) if full else (120, 2)
    worker = pair.test_worker(2)
    load = Load(pair, jobs)
    recoveries = []
    for number in range(kills):
        load.reaches((number + 0.5) / (kills + 1))
        victims = [worker.pid, *everyone(pair, worker)]
        for pid in victims:
            kill(pid)
        worker.process.wait(10)
        worker = pair.start_test_worker(2)
        recoveries.append(recovery_seconds(pair, victims, WITHIN_SECONDS))
    ends_well(pair, load, record, kills, recoveries)


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.pairs(few=("embedded-sqlite",))
def test_worker_scheduler_and_reaper_are_killed_at_once(pair: Machine, full: bool, record: Record) -> None:
    """The supervisor alone is left, and starts all of them again."""
    jobs, kills = (1000, 5) if full else (120, 2)
    supervisor = pair.test_worker(2, "up")
    load = Load(pair, jobs)
    recoveries = []
    for number in range(kills):
        load.reaches((number + 0.5) / (kills + 1))
        victims = everyone(pair, supervisor)
        for pid in victims:
            kill(pid)
        recoveries.append(recovery_seconds(pair, victims, WITHIN_SECONDS))
    ends_well(pair, load, record, kills, recoveries)
    assert supervisor.runs


@pytest.mark.slow
@pytest.mark.pairs(few=("rabbitmq-sqlite",))
def test_clients_are_killed_between_commit_and_publish(pair: Machine, full: bool, record: Record) -> None:
    jobs, clients = (1000, 10) if full else (60, 2)
    pair.test_worker(2)
    programs = [pair.start_python(HAND_IN_AND_DIE, str(jobs // clients)) for _ in range(clients)]
    assert {one.wait(300).code for one in programs} == {-signal.SIGKILL}
    ids = [row["id"] for row in pair.jobs()]
    rows = all_end(pair, ids)
    record(jobs=jobs, kills=clients, extra_attempts=extra_attempts(rows))
    assert audit(pair, ids) == {"succeeded": jobs}
    assert len(pair.effects()) == jobs
