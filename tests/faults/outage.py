"""What is asked of every server that goes away: jobs are handed in as before, no command hangs, and work goes on by
itself when it is back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from faults.audit import audit
from faults.report import Record
from faults.steps import FETCH
from processes import LONG, Machine, Ran, Running, eventually

HAND_IN = """
import json, sys, time
from jobs_for_tests import app, count
app.AsyncResult("x").exists()  # the store is made and open: what follows is a submit's own time
ids, spent = [], []
for number in range(int(sys.argv[1])):
    began = time.monotonic()
    ids.append(count.delay(number, float(sys.argv[2])).id)
    spent.append(time.monotonic() - began)
    time.sleep(float(sys.argv[3]))
print(json.dumps([ids, max(spent)]))
"""
"""A program of a user: so many jobs of so many seconds each, with a pause after each.  Their ids, and the slowest
submit."""
ACCEPTED_SECONDS = 1.0
HANG_SECONDS = 10.0
RESUME_SECONDS = 15.0
SOCKETS_GIVE_UP_SECONDS = 10.0
"""A worker's: a shorter silence is waited out, a longer one takes a new connection."""
QUIET_SECONDS = 0.7
"""What `marketjobs --version` takes at most where nothing else runs."""
QUESTIONS = (("status",), ("jobs",), ("worker-stats",), ("queues",))


def within(limit: float, seconds: float, machine: Machine) -> bool:
    """Was something quick enough?  Limits are a quiet machine's: on a busy one all takes longer, and how much longer
    shows a command that does nothing."""
    return seconds < limit or seconds < limit * slowness(machine)


def stays_away(since: float, full: bool) -> None:
    """A server is silent until 20 s after an instant; in small runs for a little longer than sockets are patient."""
    seconds = 20 if full else SOCKETS_GIVE_UP_SECONDS + 2
    time.sleep(max(0.0, since + seconds - time.monotonic()))


def slowness(machine: Machine) -> float:
    return max(1.0, machine.run("--version", seconds=2 * LONG).seconds / QUIET_SECONDS)


def hand_in(machine: Machine, number: int, seconds: float = 0.0) -> list[str]:
    """Their ids; each was accepted in time, whatever the broker does."""
    return handed_in(machine, begin_to_hand_in(machine, number, seconds, 0.0))


def begin_to_hand_in(machine: Machine, number: int, seconds: float, pause_seconds: float) -> Running:
    """The same in the background, until :func:`handed_in`."""
    return machine.start_python(HAND_IN, str(number), str(seconds), str(pause_seconds))


def handed_in(machine: Machine, submitter: Running) -> list[str]:
    ids, slowest = submitter.wait(3 * LONG).ok().json
    assert within(ACCEPTED_SECONDS, slowest, machine), f"the slowest of {len(ids)} submits took {slowest:.1f} s"
    return list(ids)


def no_command_hangs(machine: Machine) -> list[str]:
    """Ask what people ask while the broker is away, hand a job in and cancel it.  The ids of such jobs."""
    *_, handed = (one.ok() for one in at_once(machine, *QUESTIONS, (*FETCH, "--no-wait", "--json")))
    job_id = str(handed.json["job_id"])
    in_time(machine, "cancel", job_id).ok()
    return [job_id]


def at_once(machine: Machine, *commands: Sequence[str]) -> list[Ran]:
    """How they ended, none of which hung."""
    started = [machine.start(*command) for command in commands]
    ended = [one.wait(2 * LONG) for one in started]
    return [
        one if within(HANG_SECONDS, one.seconds, machine) else in_time(machine, *command)
        for one, command in zip(ended, commands, strict=True)
    ]


def in_time(machine: Machine, *command: str, seconds: float = HANG_SECONDS) -> Ran:
    """How a command ended that did not hang."""
    ran = machine.run(*command, seconds=2 * LONG)
    assert within(seconds, ran.seconds, machine), f"it hangs: {ran}"
    return ran


def counted(machine: Machine) -> tuple[int, int]:
    """How many jobs have succeeded, and how many are open."""
    [row] = machine.rows(
        "SELECT sum(CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END) AS done,"
        " sum(CASE WHEN state IN ('queued', 'waiting', 'running') THEN 1 ELSE 0 END) AS left FROM job"
    )
    return int(row["done"] or 0), int(row["left"] or 0)


def all_is_done_once(machine: Machine, worker: Running, ids: Sequence[str], cancelled: Sequence[str] = ()) -> None:
    """By a worker that lived through it."""
    machine.all_final(ids)
    assert audit(machine, [*ids, *cancelled]) == Counter(succeeded=len(ids), cancelled=len(cancelled))
    assert len(machine.effects()) == len(ids)
    assert worker.runs


@contextmanager
def resumes(machine: Machine, record: Record, seconds: float = RESUME_SECONDS) -> Iterator[None]:
    """What the body brings back: from then on jobs have to end again in time, without a hand."""
    yield
    began = time.monotonic()
    before, _ = counted(machine)

    def goes_on() -> bool:
        done, left = counted(machine)
        return done > before or not left

    try:
        eventually(goes_on, "work goes on", 2 * LONG)
    except AssertionError as exc:
        raise AssertionError(f"{exc}\n{machine.said()}") from None
    spent = time.monotonic() - began
    record(recovery_seconds=spent)
    assert within(seconds, spent, machine), f"work went on after {spent:.1f} s"
