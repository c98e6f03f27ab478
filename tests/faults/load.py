"""Many short jobs that programs hand in while something bad happens, and what is seen of the worker meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from processes import FINAL, Machine, Running, eventually

HAND_IN = """
import json, sys
from jobs_for_tests import count
print(json.dumps([count.delay(number, float(sys.argv[2])).id for number in range(int(sys.argv[1]))]), flush=True)
"""
IN_BULK = """
import json, sys, uuid
from jobs_for_tests import app
from marketjobs.domain.jobs import JobRequest
from marketjobs.storage import jobs
from marketjobs.tasks.runtime import runtime
requests = [
    JobRequest(id=str(uuid.uuid4()), task="tests.count", queue="default", arguments={"number": n}, max_attempts=3)
    for n in range(int(sys.argv[1]))
]
with runtime().database.write() as tx:
    jobs.insert_many(tx, requests)
print(json.dumps([request.id for request in requests]))
"""
PATIENCE_SECONDS = 900.0
"""For thousands of jobs on a busy machine; only a failing test waits so long."""


class Load:
    """``jobs`` short jobs, handed in by ``submitters`` programs at once."""

    def __init__(self, machine: Machine, jobs: int, submitters: int = 1, seconds: float = 0.01) -> None:
        self.jobs = jobs
        self._machine = machine
        shares = [len(range(one, jobs, submitters)) for one in range(submitters)]
        self.submitters: list[Running] = [machine.start_python(HAND_IN, str(n), str(seconds)) for n in shares]

    def reaches(self, part: float) -> None:
        """Wait until so many of the jobs (0 to 1) have ended."""
        wanted = int(self.jobs * part)
        eventually(lambda: ended(self._machine) >= wanted, f"{wanted} jobs have ended", PATIENCE_SECONDS, every=0.1)

    def ids(self) -> list[str]:
        """All of them, as their submitters were told."""
        told = [json.loads(one.wait(PATIENCE_SECONDS).ok().out) for one in self.submitters]
        return [job_id for some in told for job_id in some]


def backlog(machine: Machine, jobs: int) -> list[str]:
    """Jobs of a program that hands them in all at once, and that nobody has been told of."""
    return list(machine.python(IN_BULK, str(jobs), seconds=PATIENCE_SECONDS))


def ended(machine: Machine) -> int:
    marks = ",".join("?" * len(FINAL))
    return int(machine.rows(f"SELECT count(*) AS n FROM job WHERE state IN ({marks})", *FINAL)[0]["n"])


def all_end(machine: Machine, ids: Iterable[str], look: Callable[[], Any] = lambda: None) -> list[dict[str, Any]]:
    """The rows of jobs once all have ended; ``look`` is called now and then meanwhile."""
    wanted = set(ids)

    def done() -> bool:
        look()
        return ended(machine) >= len(wanted)

    try:
        eventually(done, f"{len(wanted)} jobs have ended", PATIENCE_SECONDS, every=0.25)
    except AssertionError as exc:
        states = machine.rows("SELECT state, waits_for, count(*) AS n FROM job GROUP BY state, waits_for")
        raise AssertionError(f"{exc}; states: {states}\n{machine.said()}") from None
    return [row for row in machine.jobs() if row["id"] in wanted]


def extra_attempts(rows: Iterable[dict[str, Any]]) -> int:
    return sum(row["attempt"] - 1 for row in rows)


def held_by(machine: Machine, pids: Iterable[int]) -> set[str]:
    """The jobs that these processes run, as the ledger has it."""
    rows = machine.rows("SELECT id, owner FROM job WHERE state = 'running'")
    return {row["id"] for row in rows if int(row["owner"].split("/")[1]) in pids}


def recovery_seconds(machine: Machine, killed: Iterable[int], within: float) -> float:
    """From now until no killed process holds a job any more and another job has ended.

    How long a worker takes to start is the machine's affair: ``within`` counts from when there is one.
    """
    pids, before, began = set(killed), ended(machine), time.monotonic()
    there = "SELECT pid FROM worker WHERE kind = 'worker' AND stopped_at IS NULL"
    eventually(lambda: {row["pid"] for row in machine.rows(there)} - pids, "a worker", PATIENCE_SECONDS)
    eventually(
        lambda: not held_by(machine, pids) and (ended(machine) > before or _nothing_is_open(machine)),
        f"the jobs of {sorted(pids)} are others'",
        within,
    )
    return time.monotonic() - began


def _nothing_is_open(machine: Machine) -> bool:
    marks = ",".join("?" * len(FINAL))
    return not machine.rows(f"SELECT 1 FROM job WHERE state NOT IN ({marks}) LIMIT 1", *FINAL)


class Watch:
    """The largest figures seen of a worker: its memory, and the messages in the embedded queue."""

    def __init__(self, machine: Machine, worker: Running) -> None:
        self._machine, self._worker = machine, worker
        self._folder = machine.home / "queue" / "messages"
        self.memory_mb = 0.0
        self.messages = 0

    def look(self) -> None:
        children = self._machine.children(self._worker)
        pids = [self._worker.pid, *(pid for some in children.values() for pid in some)]
        self.memory_mb = max(self.memory_mb, sum(pss_mb(pid) for pid in pids))
        if self._folder.is_dir():
            self.messages = max(self.messages, len(list(self._folder.glob("*.default.msg"))))


def pss_mb(pid: int) -> float:
    """The memory of a process: its own, and its share of what it has in common with others."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
