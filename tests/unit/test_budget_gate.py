"""The gate that providers spend their calls through: patience, lateness and holds."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from marketjobs.domain.rates import Rate, parse_rates
from marketjobs.errors import Blocked, BudgetSpent, CircuitOpen, ConfigError, MissingKey, RateLimited
from marketjobs.services import budgets as service
from marketjobs.services import jobs, vendors
from marketjobs.services.budgets import BudgetGate, Probing, Spent, probing
from marketjobs.services.context import JobContext, current_context
from marketjobs.services.runtime import Runtime
from marketjobs.storage import budgets
from marketjobs.storage.breakers import Circuit
from marketjobs.storage.budgets import Later, Slot
from marketjobs.storage.database import Transaction

MakeGate = Callable[..., BudgetGate]


@pytest.fixture
def make_gate(runtime: Runtime) -> MakeGate:
    def make(*rates: str, patience: float = 5.0) -> BudgetGate:
        return BudgetGate(runtime.database, "vendor", parse_rates(rates), patience)

    return make


def usage(gate: BudgetGate) -> budgets.Usage:
    """Of a provider that has one budget."""
    [only] = gate.standing().keys
    return only


def test_calls_leave_at_once_while_the_budget_lasts(make_gate: MakeGate) -> None:
    gate = make_gate("50/60s")
    began = time.monotonic()
    for _ in range(50):
        gate.spend()
    assert time.monotonic() - began < 3
    assert usage(gate).left == ((Rate(60, 50), 0),)


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
    assert usage(gate).granted == 1


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
    while usage(other).granted < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    other.hold("429", 60.0)
    thread.join(10)
    assert [one.retry_after_seconds is not None and one.retry_after_seconds > 50 for one in failed] == [True]
    assert usage(gate).granted == 1, "the second call was never sent and is not counted"


def test_a_call_that_is_late_moves_its_slot(make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stalls between the grant and the send must not squeeze calls together."""
    gate = make_gate("2/s")
    moved: list[Slot | None] = []
    restamp = budgets.restamp

    def watched(tx: Transaction, slot: Slot, rates: Sequence[Rate], ahead: float) -> Slot | None:
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
    assert usage(gate).granted == 8


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
    assert usage(gate).granted == 5


def test_a_provider_has_the_rates_of_its_settings(runtime: Runtime) -> None:
    assert [str(rate) for rate, _ in usage(vendors.gate(runtime, "yahoo")).left] == ["2/s", "2000/h"]
    assert usage(vendors.gate(runtime, "recorded")).left == ()


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
    assert usage(gate).granted == 1


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

    def watched(tx: Transaction, key: str, rates: Sequence[Rate], most: int, **options: Any) -> list[Slot] | Later:
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
    assert usage(gate).granted == 60, "what was not used is not counted"


def test_no_more_calls_are_asked_for_than_the_job_will_make(
    make_gate: MakeGate, ctx: JobContext, asked: list[int]
) -> None:
    gate = make_gate("1000/m")
    ctx.calls_ahead = 3
    for _ in range(4):
        gate.spend()
    assert asked == [3, 1]
    assert usage(gate).granted == 4


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
    assert usage(gate).granted == 10
    gate.hold("429", 60.0)
    assert usage(gate).granted == 1
    with pytest.raises(BudgetSpent):
        gate.spend()


def test_a_job_that_ends_gives_back_the_calls_that_it_did_not_make(make_gate: MakeGate, ctx: JobContext) -> None:
    gate = make_gate("25/d")
    ctx.calls_ahead = 5
    gate.spend()
    assert usage(gate).granted == 5
    ctx.close()
    assert usage(gate).granted == 1


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
    assert usage(gate).granted == 10


# -- keys --------------------------------------------------------------------------------------------------


@pytest.fixture
def keyed(runtime: Runtime) -> MakeGate:
    def make(*rates: str, keys: Sequence[str] = ("secret one", "secret two"), needs_key: bool = True) -> BudgetGate:
        return BudgetGate(
            runtime.database, "vendor", parse_rates(rates), 0.5, api_keys=keys, needs_key=needs_key, answer_seconds=10
        )

    return make


def test_each_key_has_its_budget_and_none_is_named_in_the_store(keyed: MakeGate, runtime: Runtime) -> None:
    gate = keyed("2/d")
    assert sorted(gate.spend().api_key for _ in range(4)) == ["secret one"] * 2 + ["secret two"] * 2
    with pytest.raises(BudgetSpent, match=r"\(budget 2/d\)"):
        gate.spend()
    assert [one.left[0][1] for one in gate.standing().keys] == [0, 0]
    with runtime.database.read() as tx:
        names = [row["key"] for row in tx.all("SELECT key FROM provider_budget ORDER BY key")]
    assert names == sorted(["vendor", *(service.key_name("vendor", key) for key in ("secret one", "secret two"))])
    assert "secret" not in "".join(names)
    assert "secret" not in repr(gate.spend) + repr(keyed("9/d").spend())


def test_a_key_that_is_added_or_moved_keeps_what_the_others_have_used(keyed: MakeGate) -> None:
    gate = keyed("2/d")
    for _ in range(4):
        gate.spend()
    gate = keyed("2/d", keys=("another", "secret two", "secret one"))
    assert [gate.spend().api_key for _ in range(2)] == ["another"] * 2
    assert [one.left[0][1] for one in gate.standing().keys] == [0, 0, 0]


def test_a_vendor_that_wants_a_key_and_has_none_is_not_asked(keyed: MakeGate) -> None:
    with pytest.raises(MissingKey, match=r"vendor wants a key, and providers\.vendor\.api_keys is empty") as caught:
        keyed("2/d", keys=()).spend()
    assert caught.value.hint is not None and "MARKETJOBS_PROVIDERS__VENDOR__API_KEYS" in caught.value.hint
    assert keyed("2/d", keys=(), needs_key=False).spend().api_key == ""


def test_a_refused_key_rests_and_the_other_goes_on(keyed: MakeGate) -> None:
    gate, other_process = keyed("9/d"), keyed("9/d")
    refused = gate.spend()
    assert gate.hold("401: wrong key", 3600.0, grant=refused) == 3600.0
    rest = {other_process.spend().api_key for _ in range(5)}
    assert rest == {"secret one", "secret two"} - {refused.api_key}
    assert gate.standing().hold is None
    assert sorted(one.hold is not None for one in gate.standing().keys) == [False, True]


def test_a_block_of_the_address_holds_every_key(keyed: MakeGate) -> None:
    gate, other_process = keyed("9/d"), keyed("9/d")
    gate.spend()
    gate.hold("403: blocked", 600.0)
    with pytest.raises(BudgetSpent, match="403: blocked"):
        other_process.spend()


def test_an_answer_to_a_key_that_was_held_starts_its_steps_again(keyed: MakeGate, runtime: Runtime) -> None:
    gate = keyed("99/d", keys=("only",))
    for _ in range(3):
        gate.hold("429", grant=gate.spend())
        with runtime.database.write() as tx:
            tx.run("UPDATE provider_budget SET blocked_until = {now} - 0.001 WHERE blocked_until > 0")
    gate.passed(gate.spend())
    assert gate.hold("429", grant=gate.spend()) == 30


@pytest.mark.parametrize(
    ("rates", "least", "most"), [(("1/s", "25/day"), 0, 86_401), (("9/m", "25/month"), 0, 32 * 86_400)]
)
def test_a_used_up_quota_waits_for_its_reset(keyed: MakeGate, rates: tuple[str, ...], least: int, most: int) -> None:
    gate = keyed(*rates)
    seconds = gate.hold("quota used up", None, grant=gate.spend(), until_reset=True)
    assert least < seconds <= most
    assert round(time.time() + seconds) % 86_400 in (0, 1, 2), "a second after midnight"


def test_a_used_up_quota_without_a_known_reset_is_tried_again_after_an_hour(keyed: MakeGate) -> None:
    gate = keyed("25/d")
    assert gate.hold("quota used up", None, grant=gate.spend(), until_reset=True) == 3600
    assert gate.hold("quota used up", 60.0, grant=gate.spend(), until_reset=True) == 60, "the vendor's own word"


# -- weights, and the vendor's own count ------------------------------------------------------------------------


def test_a_request_counts_as_the_vendor_counts_it(make_gate: MakeGate) -> None:
    gate = make_gate("50/60s", patience=0.2)
    for weight in (2, 20, 20):
        gate.spend(weight)
    assert usage(gate).left == ((Rate(60, 50), 8),)
    with pytest.raises(BudgetSpent):
        gate.spend(9)
    gate.spend(8)


def test_a_request_that_no_window_ever_holds_is_told_so(make_gate: MakeGate) -> None:
    with pytest.raises(ConfigError, match=r"providers\.vendor\.rate_limit allows 5 calls at most.* counts as 20"):
        make_gate("5/m", "100/h").spend(20)


def test_calls_granted_ahead_serve_requests_of_their_weight_only(
    make_gate: MakeGate, ctx: JobContext, asked: list[int]
) -> None:
    gate = make_gate("1000/m")
    ctx.calls_ahead = 40
    gate.spend(2)
    gate.spend(2)
    gate.spend(20)
    assert asked == [12, 1]
    assert usage(gate).granted == 2 + 2 + 20


def test_what_others_spend_of_the_same_key_is_booked(make_gate: MakeGate) -> None:
    gate, other_process = make_gate("100/60s", patience=0.2), make_gate("100/60s", patience=0.2)
    for calls in (1, 2, 3):
        gate.used(calls, 60, grant=gate.spend())
    assert usage(gate).granted == 3, "no more than ours"
    gate.used(90, 60, grant=gate.spend())
    assert usage(gate).left == ((Rate(60, 100), 10),)
    for calls in range(91, 101):
        gate.used(calls, 60, grant=other_process.spend())
    assert usage(gate).granted == 100
    with pytest.raises(BudgetSpent):
        other_process.spend()


def test_a_count_that_is_no_news_asks_the_store_once_in_a_while(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = make_gate("1000/60s")
    books = []
    real = budgets.book
    monkeypatch.setattr(budgets, "book", lambda *args: books.append(args) or real(*args))
    for calls in range(1, 21):
        gate.used(calls, 60, grant=gate.spend())
    assert len(books) == 1
    gate.used(40, 60, grant=gate.spend())
    assert len(books) == 2
    assert usage(gate).granted == 40


def test_a_vendor_that_counts_by_the_calendar_is_compared_by_the_calendar(
    make_gate: MakeGate, runtime: Runtime
) -> None:
    gate = make_gate("100/day")
    for _ in range(30):
        gate.spend()
    with runtime.database.write() as tx:  # yesterday's
        tx.run("UPDATE provider_budget_use SET ts = ts - 86400")
    gate.used(1, 86_400, grant=gate.spend())
    assert usage(gate).left[0][1] == 99
    gate.used(50, 86_400, grant=gate.spend())
    assert usage(gate).left[0][1] == 50


def test_a_request_that_had_to_connect_first_counts_from_when_it_left(make_gate: MakeGate) -> None:
    """Else the vendor would see its successors of the next second too early."""
    gate = make_gate("2/s")
    first = gate.spend()
    assert isinstance(first, Spent) and first.slot is not None
    gate.spend()
    left = first.slot.leaves_at + 0.3
    time.sleep(max(0.0, left - time.monotonic()))
    gate.sent(first, left)
    third = gate.spend()
    assert isinstance(third, Spent) and third.slot is not None
    assert 1.0 < third.slot.leaves_at - left < 1.1


def test_who_comes_while_a_vendor_refuses_is_told_the_refusal(make_gate: MakeGate) -> None:
    """Not that a budget is spent: that would be waited for, for ever."""
    gate, other_process = make_gate("50/s"), make_gate("50/s", patience=0.3)
    gate.hold("vendor blocks this address (403)", None, cause=Blocked.cause)
    with pytest.raises(Blocked, match=r"again in 30 s \(vendor blocks") as caught:
        other_process.spend()
    assert caught.value.retry_after_seconds == pytest.approx(30, abs=1)
    gate.hold("429", 60.0)
    with pytest.raises(BudgetSpent, match="429"):
        other_process.spend()


def test_a_host_that_says_too_many_is_left_alone_by_all_and_others_are_asked(make_gate: MakeGate) -> None:
    gate, other_process = make_gate("50/s"), make_gate("50/s")
    gate.hold("a.example says 429", 60.0, grant=gate.spend(part="a.example"), cause=RateLimited.cause)
    granted = usage(gate).granted
    with pytest.raises(RateLimited, match=r"a\.example says 429") as caught:
        other_process.spend(part="a.example")
    assert caught.value.retry_after_seconds == pytest.approx(60, abs=1)
    assert usage(gate).granted == granted, "that costs no call"
    other_process.passed(other_process.spend(part="b.example"))
    assert gate.standing().hold is None


def test_a_host_that_answers_again_begins_with_the_shortest_step(make_gate: MakeGate, runtime: Runtime) -> None:
    gate = make_gate("50/s")
    for _ in range(4):
        gate.hold("429", 0.0, grant=gate.spend(part="a.example"), cause=RateLimited.cause)
        with runtime.database.write() as tx:
            tx.run("UPDATE provider_budget SET blocked_until = {now} - 1 WHERE key = 'vendor/a.example'")
    assert gate.hold("429", 0.0, grant=gate.spend(part="a.example")) == 16.0
    with runtime.database.write() as tx:
        tx.run("UPDATE provider_budget SET blocked_until = {now} - 1 WHERE key = 'vendor/a.example'")
    gate.passed(gate.spend(part="a.example"))
    assert gate.hold("429", 0.0, grant=gate.spend(part="a.example")) == 1.0


# -- the breaker -------------------------------------------------------------------------------------------------


def fails(gate: BudgetGate, times: int = 5) -> None:
    for _ in range(times):
        gate.failed("refused")


def opens(gate: BudgetGate) -> None:
    """Five calls fail, and so does the probe."""
    for _ in range(6):
        gate.spend()
        gate.failed("vendor (host): timed out")


def half_open(runtime: Runtime) -> None:
    with runtime.database.write() as tx:
        assert tx.run("UPDATE provider_breaker SET open_until = {now} - 1 WHERE open_until > 0")


def circuit(gate: BudgetGate) -> Circuit:
    return gate.standing().breaker.circuit


def test_after_five_failures_and_a_probes_nothing_is_sent_and_all_are_told_until_when(make_gate: MakeGate) -> None:
    gate, other_process = make_gate("50/s"), make_gate("50/s")
    opens(gate)
    began = time.monotonic()
    with pytest.raises(CircuitOpen, match=r"tried again in 30 s \(vendor \(host\): timed out\)") as caught:
        other_process.spend()
    assert time.monotonic() - began < 1
    assert caught.value.retry_after_seconds == pytest.approx(30, abs=1)
    assert caught.value.retryable
    assert usage(gate).granted == 6, "an open circuit costs no call"


def test_answers_between_failures_keep_it_closed_whoever_gets_them(make_gate: MakeGate) -> None:
    """One symbol fails each time; another process has the good answers."""
    failing, good = make_gate("500/s"), make_gate("500/s")
    for _ in range(20):
        failing.spend()
        failing.failed("reset")
        good.passed(good.spend())
    assert circuit(good) is Circuit.CLOSED
    assert good.standing().breaker.failures == 0


def test_one_probe_closes_it_for_all(make_gate: MakeGate, runtime: Runtime) -> None:
    gate, other_process = make_gate("50/s"), make_gate("50/s", patience=0.3)
    fails(gate)
    probe = gate.spend()
    with pytest.raises(CircuitOpen) as caught:
        other_process.spend()
    assert caught.value.retry_after_seconds is not None and caught.value.retry_after_seconds <= 5
    gate.passed(probe)
    assert circuit(gate) is Circuit.CLOSED
    other_process.spend()


def test_whoever_meets_a_probe_under_way_waits_for_its_answer_a_moment(make_gate: MakeGate, runtime: Runtime) -> None:
    gate, other_process = make_gate("50/s"), make_gate("50/s")
    fails(gate)
    probe = gate.spend()
    threading.Timer(0.4, gate.passed, [probe]).start()
    began = time.monotonic()
    other_process.spend()
    assert 0.3 < time.monotonic() - began < 1.5


def test_a_failed_probe_opens_it_again_for_longer(make_gate: MakeGate, runtime: Runtime) -> None:
    gate = make_gate("50/s")
    opens(gate)
    half_open(runtime)
    gate.spend()
    gate.failed("refused")
    with pytest.raises(CircuitOpen) as caught:
        gate.spend()
    assert caught.value.retry_after_seconds == pytest.approx(60, abs=1)


def test_a_call_about_a_symbol_decides_nothing_of_a_half_open_circuit(make_gate: MakeGate) -> None:
    gate = make_gate("50/s")
    fails(gate)

    def about_a_symbol() -> None:
        probing.set(Probing(allowed=False))
        with pytest.raises(CircuitOpen) as caught:
            gate.spend()
        assert caught.value.wants_probe
        gate.failed("was under way")

    probe = gate.spend()
    contextvars.copy_context().run(lambda: (probing.set(Probing(allowed=False)), gate.failed("was under way")))
    assert circuit(gate) is Circuit.HALF_OPEN
    gate.passed(probe)
    assert circuit(gate) is Circuit.CLOSED
    fails(gate)
    contextvars.copy_context().run(about_a_symbol)
    assert circuit(gate) is Circuit.HALF_OPEN


def test_a_probe_may_try_to_connect_twice(make_gate: MakeGate) -> None:
    gate, other_process = make_gate("50/s"), make_gate("50/s", patience=0.3)
    fails(gate)

    question = contextvars.copy_context()
    question.run(probing.set, Probing(allowed=True))
    question.run(gate.spend)
    question.run(gate.spend)
    with pytest.raises(CircuitOpen):
        other_process.spend()
    question.run(gate.failed, "refused")
    assert circuit(gate) is Circuit.OPEN


def test_a_refusal_is_an_answer_and_closes_the_circuit(make_gate: MakeGate, runtime: Runtime) -> None:
    gate = make_gate("50/s")
    fails(gate)
    gate.hold("429", 60.0, grant=gate.spend())
    assert circuit(gate) is Circuit.CLOSED
    with pytest.raises(BudgetSpent, match="429"):
        gate.spend()


def test_a_probe_without_a_call_left_waits_for_the_budget(make_gate: MakeGate, runtime: Runtime) -> None:
    gate = make_gate("1/60s", patience=0.5)
    gate.spend()
    fails(gate)
    with pytest.raises(BudgetSpent, match="budget 1/m"):
        gate.spend()
    with runtime.database.write() as tx:
        tx.run("UPDATE provider_budget_use SET ts = ts - 100")
        tx.run("UPDATE provider_budget SET last_ts = last_ts - 100")
    gate.passed(gate.spend())
    assert circuit(gate) is Circuit.CLOSED


def test_a_probe_whose_job_has_ended_is_anothers(make_gate: MakeGate, runtime: Runtime) -> None:
    gate, other_process = make_gate("1/4s"), make_gate("1/4s")
    gate.spend()
    with runtime.database.write() as tx:  # the next call may leave in about a second
        tx.run("UPDATE provider_budget_use SET ts = ts - 3")
        tx.run("UPDATE provider_budget SET last_ts = last_ts - 3")
    fails(gate)
    job = jobs.submit(runtime, "their.task", {})
    ctx = JobContext(runtime, job)
    said: list[str] = []

    def spend() -> None:
        current_context.set(ctx)
        try:
            gate.spend()
        except BudgetSpent as exc:
            said.append(exc.message)

    waiting = threading.Thread(target=spend)
    waiting.start()
    deadline = time.monotonic() + 5
    while gate.standing().breaker.seconds == 0 and time.monotonic() < deadline:
        time.sleep(0.005)
    ctx.close()
    waiting.join(10)
    assert said == ["the job that asked has ended"]
    other_process.passed(other_process.spend())
    assert circuit(gate) is Circuit.CLOSED


def test_a_closed_circuit_costs_no_statement_of_its_own(
    make_gate: MakeGate, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marketjobs.storage.sqlite import SqliteTransaction

    gate = make_gate("50/s")
    gate.passed(gate.spend())
    statements: list[str] = []
    for name in ("run", "all", "first"):
        real = getattr(SqliteTransaction, name)

        def watched(tx: Transaction, sql: str, params: Any = (), real: Any = real) -> Any:
            statements.append(sql)
            return real(tx, sql, params)

        monkeypatch.setattr(SqliteTransaction, name, watched)
    gate.passed(gate.spend())
    assert len(statements) == 4, "lock, clock, write, head"
    assert [one for one in statements if "provider_breaker" in one] == statements[:1]
