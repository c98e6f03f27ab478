"""Budgets on a real store: exact windows over processes and threads, and what a kill or a restart leaves."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from marketjobs.domain.rates import Rate, parse_rates
from marketjobs.storage import budgets
from marketjobs.storage.budgets import Later, Slot
from marketjobs.storage.database import Database, Transaction, open_database
from marketjobs.storage.sqlite import SqliteDatabase

Python = Callable[..., "subprocess.Popen[str]"]
KEY = "vendor"

CALLERS = """
import json, sys, threading, time
from marketjobs.domain.rates import parse_rates
from marketjobs.errors import BudgetSpent
from marketjobs.services.budgets import BudgetGate
from marketjobs.storage.database import open_database

url, rates, wanted, seconds, threads = sys.argv[1:]
database = open_database(url, durable=False)
gate = BudgetGate(database, "vendor", "vendor", parse_rates(json.loads(rates)), float(seconds))
sent, lock = [], threading.Lock()

def call():
    give_up_at = time.monotonic() + float(seconds)
    while len(sent) < int(wanted) and time.monotonic() < give_up_at:
        try:
            gate.spend()
        except BudgetSpent:
            return
        with lock:
            sent.append(time.time())

print("ready", flush=True)
sys.stdin.readline()
workers = [threading.Thread(target=call) for _ in range(int(threads))]
for one in workers:
    one.start()
for one in workers:
    one.join()
print(json.dumps(sent))
"""


def most_in(instants: list[float], seconds: float) -> int:
    """The most instants in any window of that length (its end excluded)."""
    ordered = sorted(instants)
    return max((bisect_right(ordered, at + seconds - 1e-9) - n for n, at in enumerate(ordered)), default=0)


def test_the_counting_itself() -> None:
    assert most_in([0, 0.2, 0.4, 1.0, 1.2], 1) == 3
    assert most_in([0, 0.2, 0.4, 0.999, 1.1], 1) == 4
    assert most_in([], 1) == 0


def alone(answer: list[Slot] | Later) -> Slot | Later:
    """Of who asks for one call."""
    if isinstance(answer, Later):
        return answer
    [slot] = answer
    return slot


class BudgetContract:
    """What every budget store does; a subclass has the fixtures ``database`` and ``call``."""

    @pytest.fixture
    def database(self) -> Database:
        raise NotImplementedError

    def reserve(self, database: Database, rates: str, horizon: float = 3600.0) -> Slot | Later:
        with database.write() as tx:
            return alone(budgets.reserve(tx, KEY, parse_rates(rates.split()), 1, horizon_seconds=horizon))

    def slot(self, database: Database, rates: str) -> Slot:
        found = self.reserve(database, rates)
        assert isinstance(found, Slot)
        return found

    def usage(self, database: Database, rates: str) -> budgets.Usage:
        with database.read() as tx:
            return budgets.usage(tx, KEY, parse_rates(rates.split()))

    def numbers(self, database: Database) -> list[int]:
        with database.read() as tx:
            return [row["number"] for row in tx.all("SELECT number FROM provider_budget_use ORDER BY number")]

    # -- reserve --

    def test_slots_are_as_far_apart_as_the_rate_says(self, database: Database) -> None:
        slots = [self.slot(database, "2/10s") for _ in range(6)]
        for early, late in zip(slots, slots[2:], strict=False):
            assert late.at - early.at >= 10.12 - 1e-6
        assert slots[1].at - slots[0].at < 1
        assert slots[5].delay_seconds == pytest.approx(20.24, abs=0.5)
        assert len({one.grant_id for one in slots}) == 6
        assert self.numbers(database) == [1, 2, 3, 4, 5, 6]

    def test_beyond_the_horizon_nothing_is_granted_but_told_when_and_why(self, database: Database) -> None:
        for _ in range(25):
            assert isinstance(self.reserve(database, "25/60s", 30), Slot)
        answer = self.reserve(database, "25/60s", 30)
        assert isinstance(answer, Later)
        assert answer.why == "budget 25/m"
        assert 59 < answer.delay_seconds <= 60.72
        assert self.usage(database, "25/60s").granted == 25

    def test_of_several_rates_the_strictest_decides(self, database: Database) -> None:
        for _ in range(3):
            assert isinstance(self.reserve(database, "2/s 3/60s", 5), Slot)
        answer = self.reserve(database, "2/s 3/60s", 5)
        assert isinstance(answer, Later) and answer.why == "budget 3/m"

    def test_a_clock_that_was_set_back_delays_calls_by_no_more_than_their_rate(self, database: Database) -> None:
        for _ in range(2):
            self.slot(database, "2/10s")
        with database.write() as tx:
            budgets.hold(tx, KEY, "429", 5.0, first=1, most=60)
            tx.run("UPDATE provider_budget_use SET ts = ts + 3600")
            tx.run("UPDATE provider_budget SET last_ts = last_ts + 3600, blocked_until = blocked_until + 3600")
        held = self.reserve(database, "2/10s", 0.0)
        assert isinstance(held, Later) and held.delay_seconds <= 10.12
        third, fourth, fifth = (self.slot(database, "2/10s") for _ in range(3))
        assert 9 < third.delay_seconds <= 10.12
        assert fourth.at - third.at < 1
        assert fifth.at - third.at >= 10.12 - 1e-6
        assert self.numbers(database) == [1, 2, 3, 4, 5]

    def test_keys_do_not_share(self, database: Database) -> None:
        rates = parse_rates(["1/d"])
        with database.write() as tx:
            for key in ("one", "two", "'; --"):
                assert isinstance(budgets.reserve(tx, key, rates, 1, horizon_seconds=1), list)
                assert isinstance(budgets.reserve(tx, key, rates, 1, horizon_seconds=1), Later)

    def test_without_a_rate_all_leave_at_once(self, database: Database) -> None:
        with database.write() as tx:
            for _ in range(20):
                found = alone(budgets.reserve(tx, KEY, (), 1, horizon_seconds=0))
                assert isinstance(found, Slot) and found.delay_seconds < 0.1

    @pytest.mark.parametrize("rates", ["5/2s", "3/s 5/2s", "1/s 64/90s"])
    def test_old_uses_are_trimmed_and_the_window_still_holds(self, database: Database, rates: str) -> None:
        parsed = parse_rates(rates.split())
        instants = [self.slot(database, rates).at for _ in range(140)]
        assert len(self.numbers(database)) <= 64 + max(one.calls for one in parsed) + 1
        for one in parsed:
            assert most_in(instants, one.seconds + one.guard_seconds - 1e-5) <= one.calls

    def test_a_budget_survives_a_restart(self, database: Database) -> None:
        for _ in range(25):
            self.slot(database, "25/d")
        database.close()
        again = open_database(database.url)
        with again.write() as tx:
            answer = budgets.reserve(tx, KEY, parse_rates(["25/d"]), 1, horizon_seconds=60)
        again.close()
        assert isinstance(answer, Later) and answer.delay_seconds > 86_000

    def test_a_lowered_rate_counts_what_was_granted_before(self, database: Database) -> None:
        for _ in range(10):
            self.slot(database, "10/60s")
        assert isinstance(self.reserve(database, "5/60s", 30), Later)
        assert isinstance(self.reserve(database, "11/60s", 30), Slot)

    # -- several at once --

    def test_calls_that_may_leave_together_are_granted_together(self, database: Database) -> None:
        rates = parse_rates(["10/60s"])
        with database.write() as tx:
            slots = budgets.reserve(tx, KEY, rates, 6, horizon_seconds=30)
        assert isinstance(slots, list)
        assert len({slot.grant_id for slot in slots}) == 6 and len({slot.at for slot in slots}) == 1
        assert self.numbers(database) == [1, 2, 3, 4, 5, 6]
        assert self.usage(database, "10/60s").left[0][1] == 4

    def test_of_calls_that_a_rate_spaces_only_the_first_are_granted(self, database: Database) -> None:
        rates = parse_rates(["10/60s"])
        with database.write() as tx:
            assert len(cast("list[Slot]", budgets.reserve(tx, KEY, rates, 7, horizon_seconds=30))) == 7
            assert len(cast("list[Slot]", budgets.reserve(tx, KEY, rates, 7, horizon_seconds=30))) == 3
            later = budgets.reserve(tx, KEY, rates, 7, horizon_seconds=30)
        assert isinstance(later, Later) and later.why == "budget 10/m"

    # -- give back, restamp --

    def test_a_slot_given_back_may_be_granted_again_and_leaves_no_hole(self, database: Database) -> None:
        slots = [self.slot(database, "5/60s") for _ in range(5)]
        for one in (slots[1], slots[3]):
            with database.write() as tx:
                budgets.give_back(tx, one)
        assert self.numbers(database) == [1, 2, 3]
        assert self.usage(database, "5/60s").granted == 3
        assert [isinstance(self.reserve(database, "5/60s", 30), Slot) for _ in range(3)] == [True, True, False]

    def test_giving_back_twice_gives_back_once(self, database: Database) -> None:
        first, second = self.slot(database, "5/60s"), self.slot(database, "5/60s")
        for one in (first, first, second, first):
            with database.write() as tx:
                budgets.give_back(tx, one)
        assert self.usage(database, "5/60s").granted == 0
        assert self.numbers(database) == []

    def test_a_slot_can_be_moved_until_a_call_counts_from_it(self, database: Database) -> None:
        rates = parse_rates(["3/60s"])
        first, second = self.slot(database, "3/60s"), self.slot(database, "3/60s")
        with database.write() as tx:
            assert budgets.restamp(tx, first, rates, 5.0) == 5.0
            assert budgets.restamp(tx, second, rates, 1.0) is None, "never to before one that was moved"
        third, fourth = self.slot(database, "3/60s"), self.slot(database, "3/60s")
        assert third.delay_seconds == pytest.approx(5.0, abs=0.5), "none leaves before the one that was moved"
        assert fourth.delay_seconds == pytest.approx(65.7, abs=0.5)
        with database.write() as tx:
            assert budgets.restamp(tx, first, rates, 20.0) is None, "the fourth counts from it"
            assert budgets.restamp(tx, third, rates, 20.0) == 20.0

    # -- holds --

    def test_a_hold_is_seen_by_all_and_ends(self, database: Database) -> None:
        other = open_database(database.url)
        with database.write() as tx:
            assert budgets.hold(tx, KEY, "429", 40.0, first=30, most=1800) == 40.0
        with other.read() as tx:
            seen = budgets.blocked(tx, KEY)
        assert seen is not None and seen[1] == "429" and 39 < seen[0] <= 40
        answer = self.reserve(other, "5/s", 1)
        assert isinstance(answer, Later) and answer.why == "429" and 39 < answer.delay_seconds <= 40
        assert self.usage(other, "5/s").left == ((Rate(1, 5), 5),)
        far = self.reserve(other, "5/s", 60)
        assert isinstance(far, Slot) and far.after_hold
        other.close()

    def test_holds_in_a_row_double_up_to_a_limit_and_start_again_after_an_answer(self, database: Database) -> None:
        def hold() -> float:
            with database.write() as tx:
                return budgets.hold(tx, KEY, "blocked", None, first=30, most=200)

        def over() -> None:
            with database.write() as tx:
                tx.run("UPDATE provider_budget SET blocked_until = {now} - 1")

        steps = []
        for _ in range(5):
            steps.append(hold())
            over()
        assert steps == [30, 60, 120, 200, 200]
        with database.write() as tx:
            budgets.passed(tx, KEY)
        assert hold() == 30

    def test_calls_that_were_refused_together_are_one_hold(self, database: Database) -> None:
        with database.write() as tx:
            first = budgets.hold(tx, KEY, "429", None, first=30, most=1800)
            again = [budgets.hold(tx, KEY, "429", None, first=30, most=1800) for _ in range(7)]
        assert first == 30
        assert all(29 < one <= 30 for one in again)

    def test_a_longer_word_of_the_vendor_lengthens_a_hold_and_a_shorter_one_does_not(self, database: Database) -> None:
        with database.write() as tx:
            assert budgets.hold(tx, KEY, "429", None, first=30, most=1800) == 30
            assert budgets.hold(tx, KEY, "429", 300.0, first=30, most=1800) == 300
            assert 299 < budgets.hold(tx, KEY, "429", 5.0, first=30, most=1800) <= 300

    def test_a_vendor_that_says_at_once_and_refuses_again_is_not_hammered(self, database: Database) -> None:
        steps = []
        for _ in range(5):
            with database.write() as tx:
                steps.append(budgets.hold(tx, KEY, "429", 0.0, first=30, most=8))
                tx.run("UPDATE provider_budget SET blocked_until = {now} - 1")
        assert steps == [1, 2, 4, 8, 8]

    def test_a_hold_and_a_rate_are_told_apart(self, database: Database) -> None:
        self.slot(database, "1/60s")
        answer = self.reserve(database, "1/60s", 1)
        assert isinstance(answer, Later) and not answer.held
        with database.write() as tx:
            budgets.hold(tx, KEY, "429", 300.0, first=30, most=1800)
        answer = self.reserve(database, "1/60s", 1)
        assert isinstance(answer, Later) and answer.held

    def test_an_answer_during_a_hold_does_not_end_it(self, database: Database) -> None:
        with database.write() as tx:
            budgets.hold(tx, KEY, "429", 30.0, first=30, most=1800)
            budgets.passed(tx, KEY)
            assert budgets.blocked(tx, KEY) is not None

    # -- usage --

    def test_what_is_left(self, database: Database) -> None:
        assert self.usage(database, "5/s 25/d").left == ((Rate(1, 5), 5), (Rate(86_400, 25), 25))
        for _ in range(3):
            self.slot(database, "5/s 25/d")
        assert self.usage(database, "5/s 25/d").left == ((Rate(1, 5), 2), (Rate(86_400, 25), 22))
        with database.write() as tx:
            tx.run("UPDATE provider_budget_use SET ts = ts - 10")
        assert self.usage(database, "5/s 25/d").left == ((Rate(1, 5), 5), (Rate(86_400, 25), 22))

    # -- processes --

    def callers(
        self, python: Python, database: Database, rates: list[str], wanted: int, seconds: float
    ) -> list[list[float]]:
        """The send instants of four processes with two threads each."""
        processes = [python(CALLERS, database.url, json.dumps(rates), wanted, seconds, 2) for _ in range(4)]
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        instants = []
        for process in processes:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            instants.append(json.loads(out))
        return instants

    def test_two_rates_over_four_processes_are_never_exceeded(self, python: Python, database: Database) -> None:
        """What the store granted is exact; what was sent may be a moment later on a busy machine."""
        per_process = self.callers(python, database, ["5/s", "12/4s"], 1000, 4.5)
        instants = [at for one in per_process for at in one]
        with database.read() as tx:
            granted = [row["ts"] for row in tx.all("SELECT ts FROM provider_budget_use")]
        assert len(granted) == len(instants)
        assert most_in(granted, 1.0) <= 5 and most_in(granted, 4.0) <= 12
        assert most_in(instants, 0.95) <= 5 and most_in(instants, 3.95) <= 12, sorted(instants)
        assert len(instants) >= 14, "the budget is used, not only kept"
        assert sum(1 for one in per_process if one) >= 3, "one process does not take all"
        assert self.numbers(database) == list(range(1, len(instants) + 1))
        assert self.usage(database, "5/s").granted == len(instants)

    def test_twenty_five_a_minute_are_exactly_twenty_five(self, python: Python, database: Database) -> None:
        instants = [at for one in self.callers(python, database, ["25/60s"], 1000, 3.0) for at in one]
        assert len(instants) == 25
        assert self.numbers(database) == list(range(1, 26))

    def test_slots_given_back_under_contention_are_all_used(self, python: Python, database: Database) -> None:
        code = """
        import sys, random
        from marketjobs.domain.rates import parse_rates
        from marketjobs.storage import budgets
        from marketjobs.storage.database import open_database
        database, rates, kept = open_database(sys.argv[1], durable=False), parse_rates(["25/d"]), 0
        rng = random.Random(int(sys.argv[2]))
        print("ready", flush=True)
        sys.stdin.readline()
        misses = 0
        while misses < 40:
            with database.write() as tx:
                answer = budgets.reserve(tx, "vendor", rates, 1, horizon_seconds=1)
            if isinstance(answer, budgets.Later):
                misses += 1
            elif rng.random() < 0.6:
                with database.write() as tx:
                    budgets.give_back(tx, answer[0])
            else:
                kept += 1
        print(kept)
        """
        processes = [python(code, database.url, number) for number in range(4)]
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=60) for process in processes]
        assert all(process.returncode == 0 for process in processes), answers
        assert sum(int(out) for out, _ in answers) == 25
        assert self.numbers(database) == list(range(1, 26))

    def test_a_process_killed_inside_its_transaction_takes_nothing_and_holds_nobody(
        self, python: Python, database: Database
    ) -> None:
        code = """
        import os, sys, time
        from marketjobs.domain.rates import parse_rates
        from marketjobs.storage import budgets
        from marketjobs.storage.database import open_database
        with open_database(sys.argv[1]).write() as tx:
            budgets.reserve(tx, "vendor", parse_rates(["1/d"]), 1, horizon_seconds=1)
            print("inside", flush=True)
            time.sleep(60)
        """
        process = python(code, database.url)
        assert process.stdout is not None and process.stdout.readline() == "inside\n"
        process.send_signal(signal.SIGKILL)
        began = time.monotonic()
        assert isinstance(self.reserve(database, "1/d", 1), Slot)
        assert time.monotonic() - began < 2

    def test_what_a_killed_process_was_granted_stays_used(self, python: Python, database: Database) -> None:
        code = """
        import os, signal, sys
        from marketjobs.domain.rates import parse_rates
        from marketjobs.storage import budgets
        from marketjobs.storage.database import open_database
        with open_database(sys.argv[1]).write() as tx:
            budgets.reserve(tx, "vendor", parse_rates(["1/d"]), 1, horizon_seconds=1)
        os.kill(os.getpid(), signal.SIGKILL)
        """
        assert python(code, database.url).wait(30) == -signal.SIGKILL
        assert isinstance(self.reserve(database, "1/d", 1), Later)

    def test_a_hold_of_another_process_is_seen(self, python: Python, database: Database) -> None:
        code = """
        import sys
        from marketjobs.services.budgets import BudgetGate
        from marketjobs.storage.database import open_database
        print(BudgetGate(open_database(sys.argv[1]), "vendor", "vendor", (), 1.0).hold("429: slow down", 90.0))
        """
        out, err = python(code, database.url).communicate(timeout=30)
        assert out == "90.0\n", err
        answer = self.reserve(database, "5/s", 5)
        assert isinstance(answer, Later) and answer.why == "429: slow down"


class TestSqliteBudgets(BudgetContract):
    @pytest.fixture
    def database(self, tmp_path: Path, empty_store: Path) -> Iterator[Database]:
        path = tmp_path / "store.db"
        shutil.copyfile(empty_store, path)
        database = SqliteDatabase(path)
        yield database
        database.close()


class TestPostgresBudgets(BudgetContract):
    @pytest.fixture
    def database(self, postgres_url: str) -> Iterator[Database]:
        database = open_database(postgres_url)
        yield database
        database.close()


class Window(RuleBasedStateMachine):
    """Steps in any order against a naive sliding window.  The store's clock stands still between them, so that the
    same steps always meet the same answers."""

    rates = parse_rates(["3/s", "7/4s", "11/20s"])

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = SqliteDatabase(Path(self.folder.name) / "store.db", durable=False)
        assert TEMPLATE is not None
        shutil.copyfile(TEMPLATE, self.database.path)
        self.slots: list[Slot] = []
        self.sent: dict[str, float] = {}
        self.now = 1.8e9
        self.clock = pytest.MonkeyPatch()
        self.clock.setattr(Transaction, "now", lambda tx: self.now)

    def teardown(self) -> None:
        self.clock.undo()
        self.database.close()
        self.folder.cleanup()

    def _instants(self) -> dict[str, float]:
        """Grant -> instant, as the store has them."""
        with self.database.read() as tx:
            rows = tx.all("SELECT grant_id, ts FROM provider_budget_use")
        return {row["grant_id"]: row["ts"] for row in rows}

    @rule(most=st.integers(1, 3), horizon=st.sampled_from([0.0, 0.5, 5.0, 60.0]))
    def reserve(self, most: int, horizon: float) -> None:
        with self.database.write() as tx:
            answer = budgets.reserve(tx, KEY, self.rates, most, horizon_seconds=horizon)
        if isinstance(answer, Later):
            assert answer.delay_seconds > horizon
            assert answer.why.startswith("budget ") or not answer.why
            return
        assert 1 <= len(answer) <= most
        for slot in answer:
            assert slot.delay_seconds <= horizon
            self.slots.append(slot)
            self.sent[slot.grant_id] = slot.at

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.slots))
        self.slots.remove(slot)
        if slot.grant_id in self._instants():
            del self.sent[slot.grant_id]
        with self.database.write() as tx:
            budgets.give_back(tx, slot)

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), ahead=st.sampled_from([0.004, 0.5, 3.0]))
    def restamp(self, data: st.DataObject, ahead: float) -> None:
        slot = data.draw(st.sampled_from(self.slots[-4:]))
        with self.database.write() as tx:
            moved = budgets.restamp(tx, slot, self.rates, ahead)
        if moved is not None:  # later ones may leave as they were told, whatever is written down of them
            self.sent[slot.grant_id] = self._instants()[slot.grant_id]

    @rule(seconds=st.sampled_from([0.3, 1.0, 5.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_window_holds_more_than_its_rate(self) -> None:
        for one in self.rates:
            assert most_in(list(self.sent.values()), one.seconds) <= one.calls

    @invariant()
    def numbers_have_no_hole_and_instants_keep_their_order(self) -> None:
        with self.database.read() as tx:
            rows = tx.all("SELECT number, ts FROM provider_budget_use ORDER BY number")
            head = tx.first("SELECT granted FROM provider_budget")
        if rows:
            assert [row["number"] for row in rows] == list(range(rows[0]["number"], rows[0]["number"] + len(rows)))
            assert head is not None and head["granted"] == rows[-1]["number"]
            assert [row["ts"] for row in rows] == sorted(row["ts"] for row in rows)


TEMPLATE: Path | None = None
TestWindow = Window.TestCase
TestWindow.settings = hypothesis_settings(max_examples=40, stateful_step_count=60)


@pytest.fixture(autouse=True, scope="module")
def template(empty_store: Path) -> Iterator[None]:
    """The machine makes a store for each example: copies are cheap, migrations are not."""
    global TEMPLATE
    TEMPLATE = empty_store
    yield
    TEMPLATE = None
