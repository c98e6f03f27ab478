"""Jobs that kill their process, or eat memory: they die after their attempts, and nobody beside them is harmed."""

from __future__ import annotations

import pytest

from faults.audit import audit
from faults.report import Record
from faults.steps import called
from processes import Machine

GOOD = 50
POISONED = """
import json, sys
from jobs_for_tests import count, eat, poison
bad = {"poison": lambda: poison.delay(), "eat": lambda: eat.delay(2000)}[sys.argv[1]]
good = [count.delay(n, 0.02).id for n in range(25)]
ids = [bad().id]
good += [count.delay(n, 0.02).id for n in range(25, 50)]
print(json.dumps([ids[0], good]))
"""
MEMORY_MB = 300


@pytest.mark.pairs(few=("redis-postgresql",))
@pytest.mark.parametrize(("kind", "cause"), [("poison", "worker_lost"), ("eat", "out_of_memory")])
def test_it_dies_after_its_attempts_and_harms_nobody(pair: Machine, record: Record, kind: str, cause: str) -> None:
    worker = pair.test_worker(2, MARKETJOBS_WORKER__MEMORY_LIMIT_MB=str(MEMORY_MB))
    main_process = pair.children(worker)["main"]
    bad, good = pair.python(POISONED, kind)
    rows = pair.all_final([bad, *good])
    row = pair.job(bad)
    assert (row["state"], row["attempt"], row["error_cause"]) == ("dead", 3, cause)
    effects = pair.effects()
    assert sum(line.startswith(kind) for line in effects) == 3
    assert sorted(int(line.split()[1]) for line in effects if not line.startswith(kind)) == list(range(GOOD))
    assert [one["attempt"] for one in rows if one["id"] != bad] == [1] * GOOD
    assert pair.children(worker)["main"] == main_process
    assert audit(pair, [bad, *good]) == {"succeeded": GOOD, "dead": 1}
    record(jobs=GOOD + 1, kills=3, extra_attempts=0)


def test_what_a_job_left_in_memory_does_not_fail_the_next(machine: Machine) -> None:
    """One pool process: a job takes all that it may and keeps it."""
    machine.test_worker(1, MARKETJOBS_WORKER__MEMORY_LIMIT_MB=str(MEMORY_MB))
    ids = machine.python(
        """
        import json
        from jobs_for_tests import add, eat
        print(json.dumps([job.id for _ in range(2) for job in (eat.delay(2000), add.delay(1, 1), eat.delay(50))]))
        """
    )
    machine.all_final(ids)
    assert [machine.job(one)["state"] for one in ids] == ["dead", "succeeded", "succeeded"] * 2
    processes = {line for line in machine.effects() if line.startswith("eat")}
    assert len(processes) >= 6, "a process that ran out of memory took another job"
    assert audit(machine, ids) == {"succeeded": 4, "dead": 2}


def test_a_result_that_memory_has_no_room_to_write_is_tried_again_at_once(machine: Machine) -> None:
    """Not when its lease and its hard limit are over: whose process runs on looks alive until then."""
    machine.test_worker(1, MARKETJOBS_WORKER__MEMORY_LIMIT_MB=str(MEMORY_MB))
    [large] = called(machine, "large_result", 200)
    [good] = called(machine, "add", 1, 1)
    machine.all_final([large, good])
    row = machine.job(large)
    assert (row["state"], row["attempt"], row["error_cause"]) == ("dead", 3, "worker_lost")
    processes = {line for line in machine.effects() if line.startswith("large_result")}
    assert len(processes) == 3, "a process that ran out of memory took another job"
    assert audit(machine, [large, good]) == {"succeeded": 1, "dead": 1}
