"""A job's life on a real store, without a broker: every step, and what happens to who comes too late."""

from __future__ import annotations

import itertools
import json
import os
import re
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from marketjobs.domain import reports
from marketjobs.domain.jobs import WAITS_FOR_A_RETRY, Job, JobRequest, JobState, JsonDict, Part
from marketjobs.domain.reports import Hold
from marketjobs.errors import (
    BrokerUnavailable,
    InvalidInput,
    JobCancelled,
    JobNotFinished,
    JobNotFound,
    LeaseLost,
    StorageFull,
    StorageUnavailable,
    SymbolUnknown,
)
from marketjobs.services import attempts, kinds, mend, processes
from marketjobs.services import jobs as ledger
from marketjobs.services.attempts import Delayed
from marketjobs.services.context import JobContext, current_context
from marketjobs.services.kinds import Kind
from marketjobs.services.runtime import Runtime
from marketjobs.storage import bars, jobs, leases
from marketjobs.storage.database import Transaction

TASK = "marketjobs.fake"
Python = Callable[..., "subprocess.Popen[str]"]
Run = Callable[[JobContext, JsonDict], JsonDict]


def outcome(symbol: str, cause: str | None = None, *, retryable: bool = False) -> JsonDict:
    """What a kind says of one symbol."""
    error = None if cause is None else {"cause": cause, "message": f"{symbol}: {cause}", "retryable": retryable}
    return {"symbol": symbol, "status": "stored" if cause is None else "failed", "error": error}


class Fake:
    """A kind of job whose work is set by the test: three symbols a child, symbols that start with X are refused."""

    def __init__(self) -> None:
        self.runs: list[list[str]] = []
        self.work: Run = self.succeed

    def prepare(self, runtime: Runtime, arguments: JsonDict) -> JsonDict:
        symbols = list(arguments["symbols"])
        if any(symbol.startswith("X") for symbol in symbols):
            raise InvalidInput("a symbol that starts with X")
        return {"symbols": symbols, "force": bool(arguments.get("force"))}

    def identity(self, arguments: JsonDict) -> JsonDict:
        return arguments | {"symbols": sorted(arguments["symbols"])}

    def split(self, arguments: JsonDict, processes: int) -> list[Part]:
        symbols = arguments["symbols"]
        parts = [arguments | {"symbols": symbols[start : start + 3]} for start in range(0, len(symbols), 3)]
        return [Part(TASK, part) for part in parts] if len(parts) > 1 else []

    conclude = staticmethod(reports.conclude)
    collect = staticmethod(reports.collect)

    def run(self, ctx: JobContext, arguments: JsonDict) -> JsonDict:
        known = {one["symbol"] for one in ctx.settled}
        self.runs.append([symbol for symbol in arguments["symbols"] if symbol not in known])
        return self.work(ctx, arguments)

    def merge(self, children: Sequence[Job]) -> tuple[JobState, JsonDict]:
        symbols = [one for child in children for one in (child.result or {}).get("symbols", child.outcomes)]
        if all(child.state is JobState.CANCELLED for child in children):
            return JobState.CANCELLED, {"symbols": symbols}
        states = {child.state for child in children}
        state = JobState.SUCCEEDED if states == {JobState.SUCCEEDED} else JobState.PARTIAL
        return (JobState.DEAD if states == {JobState.DEAD} else state), {"symbols": symbols}

    @staticmethod
    def succeed(ctx: JobContext, arguments: JsonDict) -> JsonDict:
        return {"symbols": [outcome(symbol) for symbol in arguments["symbols"]]}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    # Kinds are found by module and name: the fake stands in for a module.
    monkeypatch.setattr(kinds, "import_module", {"fake": made}.__getitem__)
    monkeypatch.setitem(kinds.KINDS, TASK, Kind(TASK, "market_data", "fake"))
    return made


class Broker:
    """Takes wake-ups while ``up``; ``sent`` are the ids in their order."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.up = True
        self.empty = True

    def publish(self, due: Sequence[Job]) -> list[str]:
        if not self.up:
            return []
        self.sent += [job.id for job in due]
        return [job.id for job in due]

    def queue_is_empty(self, queue: str) -> bool:
        return self.empty


@pytest.fixture
def broker() -> Broker:
    return Broker()


class Steps:
    """The ledger's steps on one runtime, in few words."""

    def __init__(self, runtime: Runtime, broker: Broker) -> None:
        self.runtime = runtime
        self.broker = broker

    def submit(self, *symbols: str, **options: Any) -> Job:
        options.setdefault("publish", self.broker.publish)
        force = options.pop("force", False)
        return ledger.submit(self.runtime, TASK, {"symbols": list(symbols or ["A"]), "force": force}, **options)

    def row(self, job: Job | str) -> Job:
        found = ledger.row(self.runtime, job if isinstance(job, str) else job.id)
        assert found is not None
        return found

    def state(self, job: Job) -> str:
        return self.row(job).state.value

    def claim(self, job: Job, owner: str | None = None, lease: float = 30.0) -> Job | None:
        with self.runtime.database.write() as tx:
            return jobs.claim(tx, job.id, owner or processes.owner(), lease)

    def claimed(self, job: Job, owner: str | None = None, lease: float = 30.0) -> Job:
        found = self.claim(job, owner, lease)
        assert found is not None
        return found

    def execute(self, job: Job, body: Callable[[JobContext], JsonDict] | None = None) -> Job | None:
        return attempts.execute(self.runtime, job.id, body)

    def make_due(self, job: Job) -> None:
        """Time passes until a waiting job's turn."""
        with self.runtime.database.write() as tx:
            tx.run("UPDATE job SET run_at = {now} - 0.001 WHERE id = :id", {"id": job.id})

    def let_time_pass(self, seconds: float) -> None:
        """All of the ledger's instants move into the past."""
        columns = ("submitted_at", "run_at", "started_at", "claimed_at", "lease_until", "published_at", "finished_at")
        with self.runtime.database.write() as tx:
            tx.run("UPDATE job SET " + ", ".join(f"{one} = {one} - :s" for one in columns), {"s": seconds})

    def reap(self) -> int:
        return mend.reap(self.runtime, self.broker.publish, self.broker.queue_is_empty)

    def children(self, parent: Job) -> list[Job]:
        with self.runtime.database.read() as tx:
            return jobs.children(tx, parent.id)

    def all(self) -> list[Job]:
        with self.runtime.database.read() as tx:
            return jobs.listed(tx, limit=1000)


@pytest.fixture
def steps(runtime: Runtime, broker: Broker, fake: Fake) -> Steps:
    return Steps(runtime, broker)


def failing(error: BaseException) -> Run:
    def work(ctx: JobContext, arguments: JsonDict) -> JsonDict:
        raise error

    return work


# -- submit -----------------------------------------------------------------------------------------------


def test_a_job_is_accepted_then_woken(steps: Steps, broker: Broker) -> None:
    job = steps.submit("A", "B")
    assert (job.state, job.attempt, job.token, job.queue, job.max_attempts) == (JobState.QUEUED, 0, 0, "market_data", 3)
    assert job.arguments == {"symbols": ["A", "B"], "force": False}
    assert broker.sent == [job.id]
    assert steps.row(job).published_at is not None
    assert uuid.UUID(job.id).version == 4


def test_the_row_is_committed_before_anybody_is_woken(steps: Steps, runtime: Runtime) -> None:
    seen = []

    def publish(due: Sequence[Job]) -> list[str]:
        seen.extend(steps.row(job) for job in due)
        return []

    job = steps.submit(publish=publish)
    assert [one.id for one in seen] == [job.id]


def test_a_broker_that_takes_nothing_is_no_failure_of_a_submit(steps: Steps, broker: Broker) -> None:
    broker.up = False
    job = steps.submit()
    assert (steps.state(job), steps.row(job).published_at) == ("queued", None)
    assert steps.claim(job) is not None, "whoever looks may have it without any message"


def test_a_broker_that_raises_loses_no_job(steps: Steps) -> None:
    def publish(due: Sequence[Job]) -> list[str]:
        raise BrokerUnavailable("refused")

    with pytest.raises(BrokerUnavailable):
        steps.submit(publish=publish)
    assert [job.state for job in steps.all()] == [JobState.QUEUED]


def test_what_cannot_be_right_leaves_no_row(steps: Steps, broker: Broker) -> None:
    with pytest.raises(InvalidInput):
        steps.submit("X1")
    assert steps.all() == []
    assert broker.sent == []


def test_another_programs_task_is_kept_as_it_is(steps: Steps, runtime: Runtime) -> None:
    job = ledger.submit(runtime, "their.task", {"n": [1, None, "\u20ac"]}, queue="news", priority=9, max_attempts=7)
    assert (job.task, job.queue, job.priority, job.max_attempts) == ("their.task", "news", 9, 7)
    assert steps.row(job).arguments == {"n": [1, None, "\u20ac"]}
    other = ledger.submit(runtime, "their.task", {"n": [1, None, "\u20ac"]})
    assert other.id != job.id, "nobody knows whether their requests are equal"


def test_a_chosen_id_is_kept_and_handed_in_once(steps: Steps) -> None:
    first = steps.submit(job_id="chosen-by-another-program")
    second = steps.submit("B", job_id="chosen-by-another-program")
    assert first.id == second.id == "chosen-by-another-program"
    assert steps.row(first).arguments["symbols"] == ["A"], "the row's arguments count"
    assert len(steps.all()) == 1


def test_a_refused_message_of_another_program_becomes_a_dead_row(steps: Steps, runtime: Runtime) -> None:
    ledger.refuse(runtime, TASK, {"args": [5]}, "their-id", InvalidInput("symbols is a list"))
    row = steps.row("their-id")
    assert (row.state, row.error_cause, row.error_message) == (JobState.DEAD, "invalid_input", "symbols is a list")
    assert row.finished_at is not None and row.attempt == 0
    assert steps.claim(row) is None
    known = steps.submit()
    ledger.refuse(runtime, TASK, {}, known.id, InvalidInput("again"))
    assert steps.state(known) == "queued", "an id that is taken is left alone"


# -- join -------------------------------------------------------------------------------------------------


def test_an_equal_request_joins_while_the_first_is_open(steps: Steps, fake: Fake) -> None:
    first = steps.submit("A", "B")
    assert steps.submit("A", "B").id == first.id
    steps.claimed(first)
    assert steps.submit("A", "B").id == first.id, "running"
    with steps.runtime.database.write() as tx:
        assert jobs.wait(tx, steps.row(first), 60, "x", cause=None, message=None, give_back_attempt=False)
    assert steps.submit("A", "B").id == first.id, "waiting"


def test_another_request_does_not_join(steps: Steps) -> None:
    ids = {
        steps.submit("A").id,
        steps.submit("B").id,
        steps.submit("A", "B").id,
        steps.submit("A", force=True).id,
        steps.submit("A", job_id="given").id,
        steps.submit("A", may_join=False).id,
        steps.submit("A", delay_seconds=60).id,
    }
    assert len(ids) == 7


@pytest.mark.parametrize("end", ["succeeded", "dead", "cancelled", "partial"])
def test_a_finished_job_never_blocks_a_new_one(steps: Steps, fake: Fake, end: str) -> None:
    first = steps.submit()
    if end == "cancelled":
        ledger.cancel(steps.runtime, first.id)
    else:
        claimed = steps.claimed(first)
        with steps.runtime.database.write() as tx:
            assert jobs.finish(tx, claimed, JobState(end), {})
    second = steps.submit()
    assert second.id != first.id
    assert steps.state(second) == "queued"
    assert steps.state(first) == end


def test_a_failed_job_that_waits_for_its_retry_is_joined(steps: Steps, fake: Fake) -> None:
    fake.work = failing(OSError("boom"))
    first = steps.submit()
    steps.execute(first)
    assert steps.state(first) == "waiting"
    assert steps.submit().id == first.id


def test_equal_requests_of_three_processes_at_once_are_one_job(steps: Steps, runtime: Runtime, python: Python) -> None:
    code = """
    import sys
    from marketjobs import config
    from marketjobs.services import jobs
    from marketjobs.services.runtime import Runtime
    import marketjobs.services.bars
    runtime = Runtime(config.load())
    runtime.database
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(20):
        symbols = ["AAPL", f"N{number}"]
        arguments = {"symbols": symbols, "period": "1mo", "provider": "recorded"}
        print(jobs.submit(runtime, "marketjobs.fetch_market_data", arguments).id)
    """
    processes = [python(code) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in processes]
    assert all(process.returncode == 0 for process in processes), answers
    ids = [out.split() for out, _ in answers]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) == 20 == len(steps.all())


# -- run_at -----------------------------------------------------------------------------------------------


def test_a_countdown_is_the_rows_time_and_nobody_is_woken_before(steps: Steps, broker: Broker) -> None:
    job = steps.submit(delay_seconds=60)
    assert (job.state, job.waits_for) == (JobState.WAITING, "its time")
    assert job.run_at - job.submitted_at == pytest.approx(60, abs=0.1)
    assert broker.sent == []
    assert steps.claim(job) is None
    steps.let_time_pass(5)
    assert steps.reap() == 0
    steps.let_time_pass(56)
    steps.reap()
    assert broker.sent == [job.id]
    assert steps.claimed(job).waits_for is None


# -- claim and finish -------------------------------------------------------------------------------------


def test_a_claim_is_had_by_one_only(steps: Steps) -> None:
    job = steps.submit()
    first = steps.claimed(job, "host/1/1")
    assert (first.state, first.attempt, first.token, first.owner) == (JobState.RUNNING, 1, 1, "host/1/1")
    assert first.lease_until is not None and first.started_at is not None
    assert steps.claim(job, "host/2/2") is None


def test_a_job_that_runs_succeeds(steps: Steps, fake: Fake) -> None:
    job = steps.submit("A", "B")
    after = steps.execute(job)
    assert after == steps.row(job)
    assert (after.state, after.attempt, after.progress, after.error_cause) == (JobState.SUCCEEDED, 1, 1.0, None)
    assert after.result == {"symbols": [outcome("A"), outcome("B")]}
    assert after.finished_at is not None and after.lease_until is None
    assert steps.execute(job) is None, "a finished job does not run again"
    assert fake.runs == [["A", "B"]]


def test_a_body_replaces_the_kind_and_its_result_need_not_speak_of_symbols(steps: Steps) -> None:
    after = steps.execute(steps.submit(), lambda ctx: {"value": 42})
    assert after is not None and (after.state, after.result) == (JobState.SUCCEEDED, {"value": 42})


def test_a_job_sees_itself_and_only_while_it_runs(steps: Steps) -> None:
    job = steps.submit()
    seen: list[str] = []

    def body(ctx: JobContext) -> JsonDict:
        current = current_context.get()
        assert current is ctx and ctx.job is not None
        seen.append(ctx.job.id)
        return {}

    steps.execute(job, body)
    assert seen == [job.id]
    assert current_context.get() is None


def test_a_task_that_nobody_knows_is_dead_with_its_cause(steps: Steps, runtime: Runtime) -> None:
    job = ledger.submit(runtime, "their.task", {})
    after = steps.execute(job)
    assert after is not None and (after.state, after.error_cause) == (JobState.DEAD, "invalid_input")
    assert after.error_message == "no task their.task is installed here"


@pytest.mark.parametrize(
    ("symbols", "state", "cause"),
    [
        ([outcome("A"), outcome("B")], "succeeded", None),
        ([outcome("A"), outcome("B", "symbol_unknown")], "partial", "symbol_unknown"),
        ([outcome("A", "symbol_unknown"), outcome("B", "no_data")], "dead", "symbol_unknown"),
        ([], "succeeded", None),
    ],
)
def test_the_end_follows_from_the_symbols(
    steps: Steps, fake: Fake, symbols: list[JsonDict], state: str, cause: str | None
) -> None:
    fake.work = lambda ctx, arguments: {"symbols": symbols}
    after = steps.execute(steps.submit("A", "B"))
    assert after is not None
    assert (after.state.value, after.error_cause, after.attempt) == (state, cause, 1)
    assert after.result == {"symbols": symbols}


# -- retry ------------------------------------------------------------------------------------------------


def test_only_what_failed_and_may_yet_succeed_is_tried_again(steps: Steps, fake: Fake) -> None:
    job = steps.submit("A", "B", "C")
    fake.work = lambda ctx, arguments: {
        "symbols": [outcome("A"), outcome("B", "provider_unavailable", retryable=True), outcome("C", "no_data")]
    }
    after = steps.execute(job)
    assert after is not None
    assert (after.state, after.attempt, after.waits_for) == (JobState.WAITING, 1, "a retry")
    assert (after.error_cause, after.error_message) == ("provider_unavailable", "B: provider_unavailable")
    assert list(after.outcomes) == [outcome("A"), outcome("C", "no_data")]
    assert after.progress == pytest.approx(2 / 3)
    assert after.owner is None and after.published_at is None
    fake.work = lambda ctx, arguments: {"symbols": [*ctx.settled[:1], outcome("B"), *ctx.settled[1:]]}
    steps.make_due(job)
    final = steps.execute(job)
    assert final is not None
    assert (final.state, final.attempt) == (JobState.PARTIAL, 2)
    assert fake.runs == [["A", "B", "C"], ["B"]]
    assert final.result == {"symbols": [outcome("A"), outcome("B"), outcome("C", "no_data")]}


def test_each_retry_waits_longer_and_after_the_last_the_job_is_dead(steps: Steps, fake: Fake) -> None:
    fake.work = lambda ctx, arguments: {"symbols": [outcome("A", "provider_unavailable", retryable=True)]}
    job = steps.submit(max_attempts=4)
    for attempt, step in ((1, 2.0), (2, 4.0), (3, 8.0)):
        before = time.time()
        after = steps.execute(job)
        assert after is not None and (after.state, after.attempt) == (JobState.WAITING, attempt)
        assert step / 2 - 0.5 < after.run_at - before < step + 1.5
        assert steps.execute(job) is None, "its time lies ahead"
        steps.make_due(job)
    last = steps.execute(job)
    assert last is not None
    assert (last.state, last.attempt, last.error_cause) == (JobState.DEAD, 4, "provider_unavailable")
    steps.make_due(job)
    assert steps.execute(job) is None


def test_what_no_retry_can_help_is_dead_at_once(steps: Steps, fake: Fake) -> None:
    fake.work = failing(SymbolUnknown("who?", provider="yahoo"))
    after = steps.execute(steps.submit())
    assert after is not None
    assert (after.state, after.attempt, after.error_cause) == (JobState.DEAD, 1, "symbol_unknown")


def test_an_outage_of_the_store_is_tried_again(steps: Steps, fake: Fake) -> None:
    fake.work = failing(StorageUnavailable("locked"))
    after = steps.execute(steps.submit())
    assert after is not None
    assert (after.state, after.error_cause) == (JobState.WAITING, "storage_unavailable")


def test_a_defect_is_told_in_one_line_and_tried_again(steps: Steps, fake: Fake) -> None:
    fake.work = failing(ZeroDivisionError("division\n  by zero"))
    job = steps.submit(max_attempts=2)
    after = steps.execute(job)
    assert after is not None
    assert (after.state, after.error_cause) == (JobState.WAITING, "internal_error")
    assert after.error_message == "ZeroDivisionError: division by zero"
    steps.make_due(job)
    last = steps.execute(job)
    assert last is not None and (last.state, last.error_cause) == (JobState.DEAD, "internal_error")


def test_a_budget_gives_the_attempt_back_and_decides_the_time(steps: Steps, fake: Fake) -> None:
    def held(ctx: JobContext, arguments: JsonDict) -> JsonDict:
        ctx.wait_for(Hold(time.monotonic() + 900.0, "budget 25/d"))
        return {"symbols": [outcome("A"), outcome("B", "budget_spent", retryable=True)]}

    fake.work = held
    job = steps.submit("A", "B", max_attempts=1)
    for _ in range(5):
        before = time.time()
        after = steps.execute(job)
        assert after is not None
        assert (after.state, after.attempt, after.waits_for) == (JobState.WAITING, 0, "budget 25/d")
        assert after.run_at - before == pytest.approx(900, abs=2)
        assert list(after.outcomes) == [outcome("A")]
        steps.make_due(job)
    fake.work = lambda ctx, arguments: {"symbols": [*ctx.settled, outcome("B")]}
    final = steps.execute(job)
    assert final is not None and (final.state, final.attempt) == (JobState.SUCCEEDED, 1)


def test_a_vendor_that_refuses_is_waited_for_while_others_serve_and_then_as_often_as_attempts_allow(
    steps: Steps, fake: Fake
) -> None:
    served = iter(["A", "B"])

    def refused(ctx: JobContext, arguments: JsonDict) -> JsonDict:
        ctx.wait_for(Hold(time.monotonic() + 30.0, "blocked", is_refused=True))
        done = [*ctx.settled, *(outcome(one) for one in [next(served, None)] if one)]
        settled = {one["symbol"] for one in done}
        rest = [outcome(one, "blocked", retryable=True) for one in ("A", "B", "C") if one not in settled]
        return {"symbols": [*done, *rest]}

    fake.work = refused
    job = steps.submit("A", "B", "C", max_attempts=2)
    attempts = []
    for _ in range(4):
        after = steps.execute(job)
        assert after is not None
        attempts.append((after.state, after.attempt, len(after.outcomes)))
        steps.make_due(job)
    assert attempts[:3] == [(JobState.WAITING, 0, 1), (JobState.WAITING, 0, 2), (JobState.WAITING, 1, 2)]
    assert attempts[3][:2] == (JobState.PARTIAL, 2)
    assert after.result is not None and [one["error"] is None for one in after.result["symbols"]] == [True, True, False]


def test_what_fails_by_itself_beside_a_wait_is_tried_as_often_as_attempts_allow(steps: Steps, fake: Fake) -> None:
    asked: list[list[str]] = []

    def mixed(ctx: JobContext, arguments: JsonDict) -> JsonDict:
        settled = {one["symbol"] for one in ctx.settled}
        asked.append([one for one in ("A", "B") if one not in settled])
        ctx.wait_for(Hold(time.monotonic() + 900.0, "budget 25/d"))
        fresh = {
            "A": outcome("A", "budget_spent", retryable=True),
            "B": outcome("B", "malformed_answer", retryable=True),
        }
        return {"symbols": [*ctx.settled, *(one for symbol, one in fresh.items() if symbol not in settled)]}

    fake.work = mixed
    job = steps.submit("A", "B", max_attempts=2)
    waits = []
    for _ in range(4):
        after = steps.execute(job)
        assert after is not None and after.state is JobState.WAITING
        waits.append((after.attempt, after.waits_for))
        steps.make_due(job)
    assert asked == [["A", "B"], ["A", "B"], ["A"], ["A"]]
    assert waits == [(1, WAITS_FOR_A_RETRY), *[(1, "budget 25/d")] * 3]


def test_a_hold_with_nothing_left_to_do_is_no_wait(steps: Steps, fake: Fake) -> None:
    def held(ctx: JobContext, arguments: JsonDict) -> JsonDict:
        ctx.wait_for(Hold(time.monotonic() + 900.0, "budget"))
        return {"symbols": [outcome("A")]}

    fake.work = held
    after = steps.execute(steps.submit())
    assert after is not None and after.state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("delay", "least", "most"), [(120.0, 119, 122), (0.0, -1, 1), (None, 0.5, 3.5)], ids=["chosen", "at once", "ours"]
)
def test_a_body_may_ask_for_another_attempt(steps: Steps, delay: float | None, least: float, most: float) -> None:
    job = steps.submit(max_attempts=2)

    def body(ctx: JobContext) -> JsonDict:
        raise Delayed(delay, ValueError("not yet"))

    before = time.time()
    after = steps.execute(job, body)
    assert after is not None and after.state is JobState.WAITING
    assert least < after.run_at - before < most
    assert after.error_message == "ValueError: not yet"
    steps.make_due(job)
    last = steps.execute(job, body)
    assert last is not None and last.state is JobState.DEAD


def test_a_retry_that_is_asked_for_counts_even_for_a_cause_that_waiting_does_not_help(steps: Steps) -> None:
    def body(ctx: JobContext) -> JsonDict:
        raise Delayed(60, InvalidInput("no"))

    after = steps.execute(steps.submit(), body)
    assert after is not None and (after.state, after.error_cause) == (JobState.WAITING, "invalid_input")


# -- fences -----------------------------------------------------------------------------------------------


def take_away(steps: Steps, job: Job) -> Job:
    """Somebody else finds the lease over and claims the job again."""
    with steps.runtime.database.write() as tx:
        assert jobs.expire(tx, steps.row(job), "worker_lost", "gone") == "queued"
    return steps.claimed(job, "other/1/1")


def test_a_stale_token_writes_nothing_at_the_end(steps: Steps) -> None:
    job = steps.submit()

    def body(ctx: JobContext) -> JsonDict:
        take_away(steps, job)
        return {"value": "stale"}

    assert steps.execute(job, body) is None
    row = steps.row(job)
    assert (row.state, row.owner, row.attempt, row.result) == (JobState.RUNNING, "other/1/1", 2, None)


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1), JobCancelled("x"), LeaseLost("x"), Delayed(1, None)]
)
def test_a_stale_token_writes_nothing_whatever_happened(steps: Steps, error: BaseException) -> None:
    job = steps.submit()

    def body(ctx: JobContext) -> JsonDict:
        take_away(steps, job)
        raise error

    if isinstance(error, KeyboardInterrupt | SystemExit):
        with pytest.raises(type(error)):
            steps.execute(job, body)
    else:
        assert steps.execute(job, body) is None
    row = steps.row(job)
    assert (row.state, row.owner, row.attempt) == (JobState.RUNNING, "other/1/1", 2)


def test_data_of_a_stale_token_is_rolled_back(steps: Steps, runtime: Runtime) -> None:
    job = steps.submit()
    lost: list[LeaseLost] = []

    def body(ctx: JobContext) -> JsonDict:
        with ctx.storing([outcome("A")], 0.5) as tx:
            bars.provider_id(tx, "before")
        take_away(steps, job)
        try:
            with ctx.storing([outcome("B")], 1.0) as tx:
                bars.provider_id(tx, "after")
        except LeaseLost as exc:
            lost.append(exc)
            raise
        return {}

    assert steps.execute(job, body) is None
    assert len(lost) == 1
    with runtime.database.read() as tx:
        assert bars.providers(tx) == ["before"]
    assert list(steps.row(job).outcomes) == [outcome("A")]


def test_what_is_stored_and_what_is_settled_go_together(steps: Steps, runtime: Runtime) -> None:
    job = steps.submit("A", "B", max_attempts=2)

    def body(ctx: JobContext) -> JsonDict:
        with ctx.storing([outcome("A")], 0.5) as tx:
            bars.provider_id(tx, "kept")
        with pytest.raises(ZeroDivisionError), ctx.storing([outcome("B")], 1.0) as tx:
            bars.provider_id(tx, "undone")
            raise ZeroDivisionError
        raise OSError("the network went away")

    after = steps.execute(job, body)
    assert after is not None and list(after.outcomes) == [outcome("A")]
    with runtime.database.read() as tx:
        assert bars.providers(tx) == ["kept"]
    steps.make_due(job)
    last = steps.execute(job, failing_body(OSError("again")))
    assert last is not None and (last.state, last.result) == (JobState.DEAD, {"symbols": [outcome("A")]})


def failing_body(error: BaseException) -> Callable[[JobContext], JsonDict]:
    def body(ctx: JobContext) -> JsonDict:
        raise error

    return body


def test_a_plain_call_without_a_job_stores_without_a_fence(runtime: Runtime) -> None:
    ctx = JobContext(runtime)
    with ctx.storing([outcome("A")], 1.0) as tx:
        bars.provider_id(tx, "yahoo")
    ctx.progress(0.5, "half")
    ctx.on_end(lambda: None)
    assert ctx.settled == [outcome("A")]
    assert ctx.why_ended() is None


def test_an_old_attempt_can_neither_beat_nor_wait_nor_hand_back(steps: Steps, runtime: Runtime) -> None:
    job = steps.submit()
    old = steps.claimed(job)
    new = take_away(steps, job)
    with runtime.database.write() as tx:
        assert jobs.beat(tx, old, 30, 0.5, None) is None
        assert not jobs.wait(tx, old, 1, "x", cause=None, message=None, give_back_attempt=True)
        assert not jobs.hand_back(tx, old)
        assert not jobs.record_outcomes(tx, old, [], 1.0)
        assert not jobs.finish(tx, old, JobState.SUCCEEDED, {})
        assert jobs.expire(tx, old, "worker_lost", "x") is None
    assert steps.row(job) == replace(new)
    with runtime.database.write() as tx:
        assert jobs.record_outcomes(tx, new, [], 1.0)


def test_a_heartbeat_extends_the_lease_and_carries_progress(steps: Steps, runtime: Runtime) -> None:
    job = steps.submit()
    claimed = steps.claimed(job, lease=5)
    with runtime.database.write() as tx:
        row = jobs.beat(tx, claimed, 60, 0.25, "a quarter")
    assert row is not None and row.lease_until is not None and claimed.lease_until is not None
    assert row.lease_until - claimed.lease_until > 50
    assert (row.progress, row.message) == (0.25, "a quarter")


def test_a_store_that_is_away_for_a_moment_at_the_end_loses_no_result(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = steps.submit()
    finish, refusals = jobs.finish, iter([StorageUnavailable("locked"), StorageFull("full")])

    def away(*arguments: Any) -> bool:
        for error in refusals:
            raise error
        return finish(*arguments)

    monkeypatch.setattr(jobs, "finish", away)
    after = steps.execute(job, lambda ctx: {"value": 1})
    assert after is not None and (after.state, after.result) == (JobState.SUCCEEDED, {"value": 1})


# -- handed back ------------------------------------------------------------------------------------------


@pytest.fixture
def worker_runtime(runtime: Runtime) -> Iterator[Runtime]:
    """The same store in a process that lives on."""
    made = Runtime(runtime.settings, durable=False)
    yield made
    made.close()


def answers_that_are_lost(runtime: Runtime, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next statements are committed, and nobody hears of them."""
    left = [None] * count
    statement = runtime.database.statement

    @contextmanager
    def deaf() -> Iterator[Transaction]:
        with statement() as tx:
            yield tx
        if left:
            left.pop()
            raise StorageUnavailable("the store has gone")

    monkeypatch.setattr(runtime.database, "statement", deaf)


def test_a_claim_whose_answer_was_lost_leaves_no_job_running_that_nobody_runs(
    steps: Steps, worker_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = steps.submit("AAPL")
    answers_that_are_lost(worker_runtime, 2, monkeypatch)
    after = attempts.execute(worker_runtime, job.id)
    assert after is not None
    assert (after.state, after.attempt) == (JobState.SUCCEEDED, 1)


def test_a_job_that_was_cancelled_while_its_claims_answer_was_lost_is_cancelled(
    steps: Steps, worker_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = steps.submit("AAPL")
    answers_that_are_lost(worker_runtime, 1, monkeypatch)
    monkeypatch.setattr(time, "sleep", lambda _: ledger.cancel(steps.runtime, job.id))
    assert attempts.execute(worker_runtime, job.id) is None
    assert steps.row(job).state is JobState.CANCELLED


def test_a_worker_keeps_what_it_did_for_as_long_as_the_store_is_away(
    steps: Steps, worker_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process lives on, so that nobody would take the job for lost."""
    job = steps.submit("AAPL")
    clock = itertools.count(0.0, 10 * worker_runtime.settings.worker.lease_seconds)

    def body(_: JobContext) -> JsonDict:
        monkeypatch.setattr(attempts.time, "monotonic", lambda: next(clock))
        away = iter([StorageUnavailable("away"), StorageFull("full"), None])
        conclude = attempts._conclude

        def once_it_is_back(*arguments: Any) -> Job | None:
            missing = next(away)
            if missing is not None:
                raise missing
            return conclude(*arguments)

        monkeypatch.setattr(attempts, "_conclude", once_it_is_back)
        return {}

    after = attempts.execute(worker_runtime, job.id, body)
    assert after is not None
    assert (after.state, after.attempt) == (JobState.SUCCEEDED, 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(0), JobNotFinished("the deadline passed")])
def test_a_process_that_is_told_to_stop_hands_its_job_back(steps: Steps, error: BaseException) -> None:
    job = steps.submit(max_attempts=1)
    for _ in range(3):
        if isinstance(error, JobNotFinished):
            steps.execute(job, failing_body(error))
        else:
            with pytest.raises(type(error)):
                steps.execute(job, failing_body(error))
        row = steps.row(job)
        assert (row.state, row.attempt, row.owner, row.lease_until) == (JobState.QUEUED, 0, None, None)
        assert row.published_at is None, "the reaper wakes somebody else"
    after = steps.execute(job, lambda ctx: {})
    assert after is not None and after.state is JobState.SUCCEEDED


def test_a_cancelled_job_that_is_handed_back_is_not_stuck_for_ever(steps: Steps) -> None:
    job = steps.submit()

    def body(ctx: JobContext) -> JsonDict:
        ledger.cancel(steps.runtime, job.id)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steps.execute(job, body)
    row = steps.row(job)
    assert (row.state, row.error_cause) == (JobState.CANCELLED, "cancelled")


# -- cancel -----------------------------------------------------------------------------------------------


def test_a_queued_job_is_cancelled_at_once(steps: Steps) -> None:
    job = steps.submit()
    after = ledger.cancel(steps.runtime, job.id)
    assert (after.state, after.cancel_requested) == (JobState.CANCELLED, True)
    assert after.finished_at is not None
    assert steps.claim(job) is None
    assert ledger.cancel(steps.runtime, job.id).finished_at == after.finished_at


def test_a_waiting_job_is_cancelled_at_once(steps: Steps) -> None:
    job = steps.submit(delay_seconds=60)
    assert ledger.cancel(steps.runtime, job.id).state is JobState.CANCELLED
    steps.make_due(job)
    assert steps.claim(job) is None


def test_a_running_job_is_asked_to_stop_and_keeps_what_it_stored(steps: Steps) -> None:
    job = steps.submit("A", "B")

    def body(ctx: JobContext) -> JsonDict:
        with ctx.storing([outcome("A")], 0.5):
            pass
        after = ledger.cancel(steps.runtime, job.id)
        assert (after.state, after.cancel_requested) == (JobState.RUNNING, True)
        raise JobCancelled("stop")

    after = steps.execute(job, body)
    assert after is not None
    assert (after.state, after.error_cause) == (JobState.CANCELLED, "cancelled")
    assert after.result == {"symbols": [outcome("A")]}


def test_the_heart_interrupts_a_cancelled_job(steps: Steps) -> None:
    job = steps.submit()

    def body(ctx: JobContext) -> JsonDict:
        ended: list[bool] = []
        ctx.on_end(lambda: ended.append(True))
        ledger.cancel(steps.runtime, job.id)
        deadline = time.monotonic() + 10
        while not ended and time.monotonic() < deadline:
            time.sleep(0.01)
        reason = ctx.why_ended()
        assert isinstance(reason, JobCancelled)
        raise reason

    after = steps.execute(job, body)
    assert after is not None and after.state is JobState.CANCELLED


def test_the_heart_interrupts_a_job_that_was_taken_away(steps: Steps) -> None:
    job = steps.submit()
    reasons: list[object] = []

    def body(ctx: JobContext) -> JsonDict:
        ended: list[bool] = []
        ctx.on_end(lambda: ended.append(True))
        take_away(steps, job)
        deadline = time.monotonic() + 10
        while not ended and time.monotonic() < deadline:
            time.sleep(0.01)
        reasons.append(ctx.why_ended())
        raise LeaseLost("stop")

    assert steps.execute(job, body) is None
    assert [type(one) for one in reasons] == [LeaseLost]


def test_a_job_that_ends_before_it_notices_its_cancel_has_succeeded(steps: Steps) -> None:
    job = steps.submit()

    def body(ctx: JobContext) -> JsonDict:
        ledger.cancel(steps.runtime, job.id)
        return {"value": 1}

    after = steps.execute(job, body)
    assert after is not None and after.state is JobState.SUCCEEDED


def test_a_cancelled_job_that_wants_to_wait_is_cancelled(steps: Steps) -> None:
    job = steps.submit()

    def body(ctx: JobContext) -> JsonDict:
        ledger.cancel(steps.runtime, job.id)
        raise OSError("try again")

    after = steps.execute(job, body)
    assert after is not None and after.state is JobState.CANCELLED


@pytest.mark.parametrize("state", ["succeeded", "partial", "dead"])
def test_a_finished_job_cannot_be_cancelled(steps: Steps, state: str) -> None:
    job = steps.submit()
    claimed = steps.claimed(job)
    with steps.runtime.database.write() as tx:
        jobs.finish(tx, claimed, JobState(state), {"value": 1})
    before = steps.row(job)
    assert ledger.cancel(steps.runtime, job.id) == before == steps.row(job)


def test_an_unknown_job_cannot_be_cancelled(steps: Steps) -> None:
    with pytest.raises(JobNotFound):
        ledger.cancel(steps.runtime, "no-such-job")


# -- children ---------------------------------------------------------------------------------------------


def test_a_large_request_becomes_a_parent_with_children_in_its_order(steps: Steps, broker: Broker) -> None:
    parent = steps.submit(*"ABCDEFGH")
    assert (parent.state, parent.waits_for) == (JobState.WAITING, "children")
    children = steps.children(parent)
    assert [child.arguments["symbols"] for child in children] == [list("ABC"), list("DEF"), list("GH")]
    assert {child.parent_id for child in children} == {parent.id}
    assert broker.sent == [child.id for child in children], "the parent itself is no work"
    assert steps.claim(parent) is None
    assert steps.submit(*"ABCDEFGH").id == parent.id, "an equal request joins the parent"
    assert len(steps.children(parent)) == 3


def test_a_parent_carries_its_childrens_progress_and_end(steps: Steps) -> None:
    parent = steps.submit(*"ABCDEF")
    first, second = steps.children(parent)
    steps.execute(first)
    row = steps.row(parent)
    assert (row.state, row.progress) == (JobState.WAITING, 0.5)
    assert row.started_at is not None
    steps.execute(second)
    row = steps.row(parent)
    assert (row.state, row.progress, row.waits_for) == (JobState.SUCCEEDED, 1.0, None)
    assert row.result == {"symbols": [outcome(symbol) for symbol in "ABCDEF"]}
    assert row.finished_at is not None


def test_a_parent_of_one_dead_child_is_partial_with_its_cause(steps: Steps, fake: Fake) -> None:
    def work(ctx: JobContext, arguments: JsonDict) -> JsonDict:
        if "D" in arguments["symbols"]:
            return {"symbols": [outcome(symbol, "symbol_unknown") for symbol in arguments["symbols"]]}
        return {"symbols": [outcome(symbol) for symbol in arguments["symbols"]]}

    fake.work = work
    parent = steps.submit(*"ABCDEF")
    for child in steps.children(parent):
        steps.execute(child)
    row = steps.row(parent)
    assert (row.state, row.error_cause) == (JobState.PARTIAL, "symbol_unknown")
    assert row.result is not None and len(row.result["symbols"]) == 6


def test_a_child_that_waits_keeps_its_parent_waiting(steps: Steps, fake: Fake) -> None:
    fake.work = failing(OSError("later"))
    parent = steps.submit(*"ABCDEF")
    for child in steps.children(parent):
        steps.execute(child)
    assert steps.state(parent) == "waiting"
    assert steps.reap() == 0


def test_children_of_a_delayed_request_wait_too(steps: Steps, broker: Broker) -> None:
    parent = steps.submit(*"ABCDEF", delay_seconds=60)
    assert parent.waits_for == "children"
    assert {child.state for child in steps.children(parent)} == {JobState.WAITING}
    assert broker.sent == []
    steps.let_time_pass(61)
    steps.reap()
    assert sorted(broker.sent) == sorted(child.id for child in steps.children(parent))


def test_cancelling_a_parent_cancels_its_open_children_only(steps: Steps) -> None:
    parent = steps.submit(*"ABCDEFGHI")
    done, running, queued = steps.children(parent)
    steps.execute(done)
    claimed = steps.claimed(running)
    assert ledger.cancel(steps.runtime, parent.id).state is JobState.CANCELLED
    assert [steps.state(one) for one in (done, running, queued)] == ["succeeded", "running", "cancelled"]
    assert steps.row(running).cancel_requested
    with steps.runtime.database.write() as tx:
        jobs.finish(tx, claimed, JobState.CANCELLED, None)
    steps.reap()
    assert steps.state(parent) == "cancelled"


def test_a_cancelled_parent_still_shows_what_its_children_have_done(steps: Steps, runtime: Runtime) -> None:
    parent = steps.submit(*"ABCDEFGHI")
    done, running, _ = steps.children(parent)
    steps.execute(done)
    claimed = steps.claimed(running)
    with runtime.database.write() as tx:
        jobs.beat(tx, claimed, 30.0, 0.5, None)
    before = ledger.get(runtime, parent.id)
    after = ledger.cancel(runtime, parent.id)
    assert after.progress == before.progress == pytest.approx(0.5)
    assert after.started_at == before.started_at is not None


def test_cancelling_every_child_ends_the_parent(steps: Steps) -> None:
    parent = steps.submit(*"ABCDEF")
    for child in steps.children(parent):
        ledger.cancel(steps.runtime, child.id)
    assert steps.state(parent) == "cancelled"


def test_a_parent_whose_last_child_ended_unseen_is_finished_by_the_reaper(steps: Steps) -> None:
    parent = steps.submit(*"ABCDEF")
    for child in steps.children(parent):
        claimed = steps.claimed(child)
        with steps.runtime.database.write() as tx:  # and then its process died
            jobs.finish(tx, claimed, JobState.SUCCEEDED, {"symbols": []})
    assert steps.state(parent) == "waiting"
    assert steps.reap() == 1
    assert steps.state(parent) == "succeeded"


def test_a_parent_of_a_kind_that_is_not_installed_here_is_left_for_another(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = steps.submit(*"ABCDEF")
    for child in steps.children(parent):
        claimed = steps.claimed(child)
        with steps.runtime.database.write() as tx:
            jobs.finish(tx, claimed, JobState.DEAD, None, "symbol_unknown", "who?")
    monkeypatch.delitem(kinds.KINDS, TASK)
    steps.reap()
    assert steps.state(parent) == "waiting"


# -- owners that died -------------------------------------------------------------------------------------


@pytest.fixture
def dead_owner(python: Python) -> str:
    """The owner of a process of this host that is gone."""
    process = python("from marketjobs.services.processes import owner; print(owner())")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out.strip()


def test_a_job_of_a_dead_process_of_this_host_is_due_again(steps: Steps, dead_owner: str) -> None:
    job = steps.submit()
    steps.claimed(job, dead_owner, lease=3600)
    assert mend.expire(steps.runtime) == 1
    row = steps.row(job)
    assert (row.state, row.attempt, row.token, row.owner) == (JobState.QUEUED, 1, 2, None)
    assert (row.error_cause, row.error_message) == ("worker_lost", "the process that ran it is gone")
    assert row.published_at is None
    assert steps.claimed(job).attempt == 2


def test_a_process_that_lives_here_is_left_its_job_though_its_lease_is_over(steps: Steps) -> None:
    job = steps.submit()
    steps.claimed(job)
    steps.let_time_pass(300)
    assert mend.expire(steps.runtime) == 0
    assert steps.state(job) == "running"
    limit = steps.runtime.settings.worker.hard_time_limit
    steps.let_time_pass(limit)
    assert mend.expire(steps.runtime) == 1, "but no longer than its hard time limit"


def test_another_process_with_the_same_number_is_not_the_owner(steps: Steps) -> None:
    job = steps.submit()
    steps.claimed(job, f"{processes.host()}/{os.getpid()}/1", lease=3600)
    assert mend.expire(steps.runtime) == 1


def test_of_another_host_the_lease_tells(steps: Steps) -> None:
    job = steps.submit()
    steps.claimed(job, "elsewhere/1/1", lease=30)
    assert mend.expire(steps.runtime) == 0
    steps.let_time_pass(31)
    assert mend.expire(steps.runtime) == 1
    assert steps.state(job) == "queued"


def test_the_last_attempt_of_a_dead_process_is_the_end(steps: Steps, dead_owner: str) -> None:
    job = steps.submit(max_attempts=1)
    steps.claimed(job, dead_owner)
    mend.expire(steps.runtime)
    row = steps.row(job)
    assert (row.state, row.error_cause) == (JobState.DEAD, "worker_lost")
    assert row.finished_at is not None


def test_a_cancelled_job_of_a_dead_process_is_cancelled(steps: Steps, dead_owner: str) -> None:
    job = steps.submit()
    steps.claimed(job, dead_owner)
    ledger.cancel(steps.runtime, job.id)
    mend.expire(steps.runtime)
    assert steps.state(job) == "cancelled"


def test_the_last_child_of_a_dead_process_ends_the_parent(steps: Steps, dead_owner: str) -> None:
    parent = steps.submit(*"ABCDEF", max_attempts=1)
    for child in steps.children(parent):
        steps.claimed(child, dead_owner)
    assert mend.expire(steps.runtime) == 2
    assert steps.state(parent) == "dead"


def test_one_job_only_may_be_looked_at(steps: Steps, dead_owner: str) -> None:
    first, second = steps.submit("A"), steps.submit("B")
    for job in (first, second):
        steps.claimed(job, dead_owner)
    assert mend.expire(steps.runtime, first.id) == 1
    assert [steps.state(first), steps.state(second)] == ["queued", "running"]


def test_a_heartbeat_between_look_and_act_saves_a_job(steps: Steps) -> None:
    job = steps.submit()
    claimed = steps.claimed(job, "elsewhere/1/1")
    steps.let_time_pass(60)
    stale = steps.row(job)
    with steps.runtime.database.write() as tx:
        assert jobs.beat(tx, claimed, 30, 0.5, None) is not None
        assert jobs.expire(tx, stale, "worker_lost", "gone") is None
    assert steps.state(job) == "running"


def test_a_lost_pool_process_releases_its_job_at_once(steps: Steps) -> None:
    job = steps.submit()
    steps.claimed(job, f"{processes.host()}/4242/17@worker")
    assert mend.release_lost(steps.runtime, job.id, 424, "worker_lost", "killed") is None, "another process"
    assert mend.release_lost(steps.runtime, job.id, 4242, "worker_lost", "it was killed") == "queued"
    row = steps.row(job)
    assert (row.error_cause, row.error_message, row.attempt) == ("worker_lost", "it was killed", 1)
    assert row.run_at <= time.time() + 0.5
    assert mend.release_lost(steps.runtime, job.id, 4242, "worker_lost", "again") is None


def test_a_job_that_was_ended_by_its_time_limit_waits_a_little(steps: Steps) -> None:
    job = steps.submit()
    steps.claimed(job, f"{processes.host()}/4242/17")
    mend.release_lost(steps.runtime, job.id, 4242, "time_limit", "600 s")
    assert steps.row(job).run_at - time.time() == pytest.approx(2.0, abs=0.5)
    assert steps.claim(job) is None


def test_a_store_that_is_away_leaves_a_lost_job_to_its_lease(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    job = steps.submit()
    steps.claimed(job, f"{processes.host()}/4242/17")

    def away(*_: object) -> None:
        raise StorageUnavailable("locked")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "release_owner", away)
        assert mend.release_lost(steps.runtime, job.id, 4242, "worker_lost", "killed") is None
    assert steps.state(job) == "running"


# -- postpone ---------------------------------------------------------------------------------------------


def test_a_job_without_code_here_is_postponed_until_its_attempts_are_used_up(steps: Steps) -> None:
    job = steps.submit(max_attempts=2)
    mend.postpone(steps.runtime, job.id, TASK, 30)
    row = steps.row(job)
    assert (row.state, row.attempt, row.error_cause) == (JobState.WAITING, 1, "unknown_task")
    assert row.run_at - time.time() == pytest.approx(30, abs=1)
    assert row.published_at is None
    mend.postpone(steps.runtime, job.id, TASK, 30)
    assert steps.row(job).attempt == 1, "it was not due: the message was a stale one"
    steps.make_due(job)
    mend.postpone(steps.runtime, job.id, TASK, 30)
    row = steps.row(job)
    assert (row.state, row.attempt) == (JobState.DEAD, 2)
    assert row.finished_at is not None and row.waits_for is None


def test_only_a_due_job_is_postponed(steps: Steps) -> None:
    running = steps.submit("A")
    steps.claimed(running)
    parent = steps.submit(*"BCDEFG")
    for job in (running, parent):
        before = steps.row(job)
        assert not mend.postpone(steps.runtime, job.id, TASK, 30)
        assert steps.row(job) == before


def test_a_message_that_names_another_task_than_the_row_uses_up_no_attempt(steps: Steps) -> None:
    job = steps.submit()
    before = steps.row(job)
    assert not mend.postpone(steps.runtime, job.id, "nonsense", 30)
    assert attempts.execute(steps.runtime, job.id, lambda ctx: {}, task="nonsense") is None
    assert steps.row(job) == before
    ended = attempts.execute(steps.runtime, job.id, task=TASK)
    assert ended is not None and ended.state is JobState.SUCCEEDED


# -- reaper -----------------------------------------------------------------------------------------------


def test_the_reaper_sends_what_was_never_sent_most_urgent_first(steps: Steps, broker: Broker) -> None:
    broker.up = False
    low, high = steps.submit("A", priority=1), steps.submit("B", priority=9)
    assert steps.reap() == 0, "the submitter has its first second"
    steps.let_time_pass(2)
    assert steps.reap() == 0, "the broker is still away"
    broker.up = True
    assert steps.reap() == 2
    assert broker.sent == [high.id, low.id]
    assert steps.reap() == 0


def test_the_reaper_sends_again_only_into_an_empty_queue(steps: Steps, broker: Broker) -> None:
    job = steps.submit()
    broker.empty = False
    steps.let_time_pass(3600)
    assert steps.reap() == 0
    broker.empty = True
    assert steps.reap() == 1
    assert broker.sent == [job.id, job.id]
    assert steps.reap() == 0, "it was sent a moment ago"


def test_the_reaper_asks_the_broker_only_when_something_is_overdue(steps: Steps, broker: Broker) -> None:
    steps.submit()
    asked: list[str] = []

    def queue_is_empty(queue: str) -> bool:
        asked.append(queue)
        return False

    mend.reap(steps.runtime, broker.publish, queue_is_empty)
    assert asked == []
    steps.let_time_pass(60)
    mend.reap(steps.runtime, broker.publish, queue_is_empty)
    assert asked == ["market_data"]


@pytest.mark.parametrize("was_sent", [False, True])
def test_a_backlog_of_one_queue_hides_no_job_of_another(
    steps: Steps, broker: Broker, was_sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages lie with the broker, or none more fits in: the other queue has a job whose wake-up is lost."""
    monkeypatch.setattr(mend, "MOST_WAKE_UPS", 3)
    broker.up = was_sent
    for number in range(7):
        steps.submit(f"A{number}", force=True)
    lost = steps.submit("B", queue="news")
    steps.runtime.notes.flush()
    steps.let_time_pass(61)
    broker.sent.clear()
    broker.up = True
    mend.reap(steps.runtime, broker.publish, lambda queue: queue == "news")
    assert lost.id in broker.sent
    assert len(broker.sent) == (1 if was_sent else 4)


def test_a_retry_is_sent_when_its_time_has_come(steps: Steps, fake: Fake, broker: Broker) -> None:
    fake.work = failing(Delayed(600.0, OSError("later")))
    job = steps.submit()
    steps.execute(job)
    broker.sent.clear()
    steps.let_time_pass(10)
    steps.reap()
    assert broker.sent == []
    steps.let_time_pass(600)
    steps.reap()
    assert broker.sent == [job.id]


def test_a_retry_is_sent_though_the_first_wake_up_was_noted_late(steps: Steps, fake: Fake, broker: Broker) -> None:
    """A worker was quicker than the submitter's note that the message was sent; a busy queue is never empty."""
    fake.work = failing(OSError("later"))
    broker.empty = False

    def publish(due: Sequence[Job]) -> list[str]:
        for job in due:
            steps.execute(job)
        return [job.id for job in due]

    job = steps.submit(publish=publish)
    assert steps.state(job) == "waiting"
    steps.let_time_pass(10)
    steps.reap()
    assert broker.sent == [job.id]


def test_a_round_with_nothing_to_do_writes_nothing(steps: Steps, runtime: Runtime) -> None:
    steps.execute(steps.submit())
    with sqlite3.connect(runtime.database.path) as watcher:
        before = watcher.execute("PRAGMA data_version").fetchone()
        assert steps.reap() == 0
        assert watcher.execute("PRAGMA data_version").fetchone() == before
    watcher.close()


# -- look -------------------------------------------------------------------------------------------------


def test_an_id_is_found_by_its_beginning_and_its_ending(steps: Steps, runtime: Runtime) -> None:
    job = steps.submit(job_id="aaaa1111-2222-4333-8444-555566667777")
    steps.submit("B", job_id="aaaa9999-2222-4333-8444-555566668888")
    for text in (job.id, "aaaa1", "aaaa1111-2222", "7777", "66667777"):
        assert ledger.get(runtime, text).id == job.id
    with pytest.raises(JobNotFound, match="aaaa fits several jobs: aaaa"):
        ledger.get(runtime, "aaaa")


@pytest.mark.parametrize("text", ["", "a", "777"])
def test_three_characters_are_too_few(steps: Steps, runtime: Runtime, text: str) -> None:
    steps.submit(job_id="aaaa1111-2222-4333-8444-555566667777")
    with pytest.raises(JobNotFound, match="too short: give at least 4 characters"):
        ledger.get(runtime, text)


@pytest.mark.parametrize("text", ["2222", "%%%%", "____", "' OR 1=1 --", "\0\0\0\0", "x" * 10_000, "AAAA1111"])
def test_anything_else_finds_nothing_and_is_shown_short(steps: Steps, runtime: Runtime, text: str) -> None:
    steps.submit(job_id="aaaa1111-2222-4333-8444-555566667777")
    with pytest.raises(JobNotFound) as caught:
        ledger.get(runtime, text)
    assert len(caught.value.message) < 120


def test_jobs_are_listed_newest_first(steps: Steps, runtime: Runtime) -> None:
    first = steps.submit("A")
    steps.let_time_pass(1)
    second = steps.submit("B")
    steps.let_time_pass(1)
    parent = steps.submit(*"CDEFGH")
    with runtime.database.read() as tx:
        assert [job.id for job in jobs.listed(tx, top_level=True)] == [parent.id, second.id, first.id]
        assert len(jobs.listed(tx)) == 5
        assert [job.id for job in jobs.listed(tx, states=[JobState.WAITING])] == [parent.id]
        assert {job.parent_id for job in jobs.listed(tx, parent_id=parent.id)} == {parent.id}
        assert len(jobs.listed(tx, limit=2)) == 2
        assert jobs.listed(tx, task="other") == []
        assert jobs.counts(tx, 60) == {("market_data", "queued"): 4, ("market_data", "waiting"): 1}


def test_only_a_finished_job_is_forgotten(steps: Steps, runtime: Runtime) -> None:
    job = steps.submit()
    ledger.forget(runtime, job.id)
    assert steps.state(job) == "queued"
    ledger.cancel(runtime, job.id)
    ledger.forget(runtime, job.id)
    assert ledger.row(runtime, job.id) is None


# -- leases of a name -------------------------------------------------------------------------------------


def test_one_holds_a_lease_until_it_ends_or_is_dropped(runtime: Runtime) -> None:
    def step(work: Callable[[Transaction], Any]) -> Any:
        with runtime.database.write() as tx:
            return work(tx)

    assert step(lambda tx: leases.take(tx, "reaper", "one", 5))
    assert not step(lambda tx: leases.take(tx, "reaper", "two", 5))
    assert not step(lambda tx: leases.is_free(tx, "reaper", "two", 5))
    assert step(lambda tx: leases.take(tx, "reaper", "one", 5)), "its holder extends it"
    assert step(lambda tx: leases.take(tx, "other", "two", 5)), "another name"
    step(lambda tx: leases.drop(tx, "reaper", "two"))
    assert not step(lambda tx: leases.take(tx, "reaper", "two", 5)), "only its holder drops it"
    step(lambda tx: tx.run("UPDATE lease SET until = {now} - 1 WHERE name = 'reaper'"))
    assert step(lambda tx: leases.is_free(tx, "reaper", "two", 5))
    assert step(lambda tx: leases.take(tx, "reaper", "two", 5))
    step(lambda tx: leases.drop(tx, "reaper", "two"))
    assert step(lambda tx: leases.take(tx, "reaper", "one", 5))


# -- owners -----------------------------------------------------------------------------------------------


def test_an_owner_says_host_process_and_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(rf"{re.escape(processes.host())}/{os.getpid()}/\d+", processes.owner())
    monkeypatch.setenv(processes.WORKER_ID, "worker-1")
    assert processes.owner().endswith("@worker-1")
    assert processes.owner_lives(processes.owner()) is True


def test_who_lives_is_known_of_this_host_only(dead_owner: str) -> None:
    assert processes.owner_lives(dead_owner) is False
    assert processes.owner_lives("elsewhere/1/1") is None
    for name in (None, "", "nonsense", "a/b"):
        assert processes.owner_lives(name) is None


def test_a_machine_of_the_same_name_is_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is this one before it was started anew: its process numbers were given out again."""
    elsewhere = processes.owner()
    monkeypatch.setattr(processes, "_boot", lambda: "abc123")
    processes.host.cache_clear()
    try:
        assert processes.owner_lives(processes.owner()) is True
        assert processes.owner_lives(elsewhere) is None, "only its lease tells"
    finally:
        processes.host.cache_clear()


def test_a_row_survives_the_way_to_json(steps: Steps) -> None:
    """What a job is handed in with comes back as it was, whatever it is."""
    value = {"symbols": ["A"], "deep": {"list": [1, 2.5, None, True, "\N{ROCKET}\u0000"]}}
    job = ledger.submit(steps.runtime, "their.task", value)
    assert steps.row(job).arguments == value == json.loads(json.dumps(value))


# -- the id of an insert ----------------------------------------------------------------------------------


def test_many_jobs_are_inserted_in_one_statement(runtime: Runtime) -> None:
    requests = [JobRequest(f"id-{number:04}", TASK, "news", {"n": number}) for number in range(1000)]
    with runtime.database.write() as tx:
        jobs.insert_many(tx, requests)
    with runtime.database.read() as tx:
        assert jobs.counts(tx, 1) == {("news", "queued"): 1000}
        assert len(jobs.due_unpublished(tx, 200)) == 0
        found = jobs.get(tx, "id-0999")
    assert found is not None and found.arguments == {"n": 999}


@pytest.fixture(autouse=True)
def quiet_hearts() -> Iterator[None]:
    """No heart outlives its test with a job in hand."""
    yield
    assert current_context.get() is None
