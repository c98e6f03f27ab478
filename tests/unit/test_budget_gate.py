"""The gate that providers spend their calls through: patience, lateness and holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from marketjobs.domain.rates import Rate, parse_rates
from marketjobs.errors import BudgetSpent
from marketjobs.services import budgets as service
from marketjobs.services import jobs, vendors
from marketjobs.services.budgets import BudgetGate
from marketjobs.services.context import JobContext, current_context
from marketjobs.services.runtime import Runtime
from marketjobs.storage import budgets
from marketjobs.storage.budgets import Later, Slot
from marketjobs.storage.database import Transaction

MakeGate = Callable[..., BudgetGate]


@pytest.fixture
def make_gate(runtime: Runtime) -> MakeGate:
    def make(*rates: str, patience: float = 5.0) -> BudgetGate:
        return BudgetGate(runtime.database, "vendor", "key", parse_rates(rates), patience)

    return make


def test_calls_leave_at_once_while_the_budget_lasts(make_gate: MakeGate) -> None:
    gate = make_gate("50/60s")
    began = time.monotonic()
    for _ in range(50):
        gate.spend()
    assert time.monotonic() - began < 3
    assert gate.left().left == ((Rate(60, 50), 0),)


def test_a_call_beyond_the_patience_raises_with_the_time_to_come_back(make_gate: MakeGate) -> None:
    gate = make_gate("1/60s", patience=30)
    gate.spend()
    began = time.monotonic()
    with pytest.raises(BudgetSpent) as caught:
        gate.spend()
    assert time.monotonic() - began < 5, "nobody waits for what lies beyond the patience"
    error = caught.value
    assert error.provider == "vendor"
    assert error.retry_after_seconds is not None and 55 < error.retry_after_seconds < 62
    assert error.message == f"vendor may be asked again in {error.retry_after_seconds:.0f} s (budget 1/m)"
    assert gate.left().granted == 1


def test_a_call_within_the_patience_is_waited_for(make_gate: MakeGate) -> None:
    gate = make_gate("2/s")
    gate.spend()
    gate.spend()
    began = time.monotonic()
    gate.spend()
    assert 0.9 < time.monotonic() - began < 2.0


def test_a_hold_is_waited_for_or_told(make_gate: MakeGate) -> None:
    impatient, patient = make_gate("5/s", patience=0.2), make_gate("5/s")
    assert patient.hold("429", 1.0) == 1.0
    with pytest.raises(BudgetSpent, match=r"\(429\)") as caught:
        impatient.spend()
    assert caught.value.retry_after_seconds is not None and 0.5 < caught.value.retry_after_seconds <= 1.0
    began = time.monotonic()
    patient.spend()
    assert 0.5 < time.monotonic() - began < 2


def test_a_worker_is_not_held_for_half_a_day_by_a_daily_budget(
    make_gate: MakeGate, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = make_gate("1/d", patience=5.0)
    gate.spend()
    with runtime.database.write() as tx:
        tx.run("UPDATE provider_budget_use SET ts = ts - 50000")
        tx.run("UPDATE provider_budget SET last_ts = last_ts - 50000")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"it sleeps for {seconds:.0f} s"))
    with pytest.raises(BudgetSpent) as caught:
        gate.spend()
    assert caught.value.retry_after_seconds == pytest.approx(36_401, abs=5)


def test_a_hold_is_not_waited_for_in_a_worker_however_patient(make_gate: MakeGate) -> None:
    gate = make_gate("5/s", patience=60)
    gate.hold("429", 20.0)
    began = time.monotonic()
    with pytest.raises(BudgetSpent):
        gate.spend()
    assert time.monotonic() - began < 3


def test_the_first_hold_is_half_a_minute_and_an_answer_resets_the_steps(make_gate: MakeGate, runtime: Runtime) -> None:
    gate = make_gate("50/s")

    def over() -> None:
        with runtime.database.write() as tx:
            tx.run("UPDATE provider_budget SET blocked_until = {now} - 0.001")

    steps = []
    for _ in range(3):
        steps.append(gate.hold("blocked"))
        over()
    assert steps == [30, 60, 120]
    gate.spend()
    gate.passed()
    assert gate.hold("blocked") == 30


def test_an_answer_without_a_hold_before_it_writes_nothing(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = make_gate("5/s")
    gate.spend()
    monkeypatch.setattr(budgets, "passed", lambda *_: pytest.fail("nothing to write"))
    gate.passed()


def test_a_slot_that_a_hold_overtook_is_given_back(make_gate: MakeGate, runtime: Runtime) -> None:
    gate, other = make_gate("1/4s"), make_gate("1/4s")
    gate.spend()
    with runtime.database.write() as tx:  # the next call may leave in about a second
        tx.run("UPDATE provider_budget_use SET ts = ts - 3")
        tx.run("UPDATE provider_budget SET last_ts = last_ts - 3")
    failed: list[BudgetSpent] = []

    def second() -> None:
        try:
            gate.spend()
        except BudgetSpent as exc:
            failed.append(exc)

    thread = threading.Thread(target=second)
    thread.start()
    deadline = time.monotonic() + 5
    while other.left().granted < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    other.hold("429", 60.0)
    thread.join(10)
    assert [one.retry_after_seconds is not None and one.retry_after_seconds > 50 for one in failed] == [True]
    assert gate.left().granted == 1, "the second call was never sent and is not counted"


def test_a_call_that_is_late_moves_its_slot(make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stalls between the grant and the send must not squeeze calls together."""
    gate = make_gate("2/s")
    moved: list[float | None] = []
    restamp = budgets.restamp

    def watched(tx: Transaction, slot: Slot, rates: Sequence[Rate], ahead: float) -> float | None:
        moved.append(restamp(tx, slot, rates, ahead))
        return moved[-1]

    real = budgets.reserve
    stalls = iter([0.3])

    def stalled(*args: object, **options: object) -> object:
        answer = real(*args, **options)  # type: ignore[arg-type]
        time.sleep(next(stalls, 0.0))
        return answer

    monkeypatch.setattr(budgets, "restamp", watched)
    monkeypatch.setattr(budgets, "reserve", stalled)
    sent = []
    for _ in range(4):
        gate.spend()
        sent.append(time.monotonic())
    assert moved and moved[0] is not None
    assert sent[2] - sent[0] >= 1.0
    assert sent[3] - sent[1] >= 1.0


def test_one_thread_asks_the_store_and_others_wait_their_turn(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = make_gate("100/s")
    inside, most = 0, 0
    real = budgets.reserve

    def counted(*args: object, **options: object) -> object:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        answer = real(*args, **options)  # type: ignore[arg-type]
        inside -= 1
        return answer

    monkeypatch.setattr(service.budgets, "reserve", counted)
    threads = [threading.Thread(target=gate.spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == 1
    assert gate.left().granted == 8


def test_threads_in_line_are_served_one_by_one_while_calls_come_within_the_patience(make_gate: MakeGate) -> None:
    gate = make_gate("2/s", patience=1.5)
    refused: list[BudgetSpent] = []

    def spend() -> None:
        try:
            gate.spend()
        except BudgetSpent as error:
            refused.append(error)

    threads = [threading.Thread(target=spend) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert refused == []
    assert gate.left().granted == 5


def test_a_provider_has_the_rates_of_its_settings(runtime: Runtime) -> None:
    assert [str(rate) for rate, _ in vendors.gate(runtime, "yahoo").left().left] == ["2/s", "2000/h"]
    assert vendors.gate(runtime, "recorded").left().left == ()


def test_a_thread_that_its_job_left_behind_spends_and_sends_nothing(make_gate: MakeGate, runtime: Runtime) -> None:
    gate = make_gate("1/s")
    job = jobs.submit(runtime, "their.task", {})
    ctx = JobContext(runtime, job)
    said: list[str] = []

    def spend() -> None:
        current_context.set(ctx)
        try:
            gate.spend()
        except BudgetSpent as exc:
            said.append(exc.message)

    gate.spend()
    waiting = threading.Thread(target=spend)
    waiting.start()
    give_up_at = time.monotonic() + 5
    while not gate._turn.locked() and time.monotonic() < give_up_at:
        time.sleep(0.005)
    ctx.close()
    waiting.join(timeout=10)
    late = threading.Thread(target=spend)
    late.start()
    late.join(timeout=10)
    assert said == ["the job that asked has ended"] * 2
    assert gate.left().granted == 1


# -- several calls at a time ------------------------------------------------------------------------------


@pytest.fixture
def ctx(runtime: Runtime) -> Iterator[JobContext]:
    """A plain call's, in force."""
    ctx = JobContext(runtime)
    mark = current_context.set(ctx)
    yield ctx
    current_context.reset(mark)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls the store was asked for, each time."""
    asked: list[int] = []
    real = budgets.reserve

    def watched(tx: Transaction, key: str, rates: Sequence[Rate], most: int, **options: float) -> list[Slot] | Later:
        asked.append(most)
        return real(tx, key, rates, most, **options)

    monkeypatch.setattr(budgets, "reserve", watched)
    return asked


def test_a_job_of_many_calls_asks_the_store_for_some_at_a_time(
    make_gate: MakeGate, ctx: JobContext, asked: list[int]
) -> None:
    gate = make_gate("1000/m")
    ctx.calls_ahead = 60
    for _ in range(60):
        gate.spend()
    assert sum(asked) >= 60
    assert max(asked) == 25
    gate._give_back_kept()
    assert gate.left().granted == 60, "what was not used is not counted"


def test_no_more_calls_are_asked_for_than_the_job_will_make(
    make_gate: MakeGate, ctx: JobContext, asked: list[int]
) -> None:
    gate = make_gate("1000/m")
    ctx.calls_ahead = 3
    for _ in range(4):
        gate.spend()
    assert asked == [3, 1]
    assert gate.left().granted == 4


@pytest.mark.parametrize("rate", ["5/s", "100/s", "4/m"])
def test_calls_that_are_few_or_must_leave_on_the_instant_are_asked_for_one_by_one(
    make_gate: MakeGate, ctx: JobContext, asked: list[int], rate: str
) -> None:
    gate = make_gate(rate)
    ctx.calls_ahead = 100
    for _ in range(3):
        gate.spend()
    assert asked == [1, 1, 1]


def test_a_hold_takes_back_the_calls_that_were_granted_ahead(make_gate: MakeGate, ctx: JobContext) -> None:
    gate = make_gate("1000/m")
    ctx.calls_ahead = 10
    gate.spend()
    assert gate.left().granted == 10
    gate.hold("429", 60.0)
    assert gate.left().granted == 1
    with pytest.raises(BudgetSpent):
        gate.spend()


def test_calls_granted_ahead_are_not_used_later_than_a_tenth_of_a_second(
    make_gate: MakeGate, ctx: JobContext, asked: list[int]
) -> None:
    """Another process may have held the provider meanwhile."""
    gate = make_gate("1000/m")
    ctx.calls_ahead = 10
    gate.spend()
    kept_until = time.monotonic() + service.KEPT_SECONDS
    while time.monotonic() <= kept_until:
        time.sleep(0.01)
    gate.spend()
    assert asked == [10, 9]
    assert gate.left().granted == 10
