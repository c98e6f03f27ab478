"""Budgets on a real store: exact windows over processes and threads, and what a kill or a restart leaves."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from marketjobs.domain.rates import Rate, parse_rates
from marketjobs.storage import breakers, budgets
from marketjobs.storage.breakers import Circuit
from marketjobs.storage.budgets import Later, Slot
from marketjobs.storage.database import Database, Transaction, open_database
from marketjobs.storage.sqlite import SqliteDatabase

Python = Callable[..., "subprocess.Popen[str]"]
KEY = "vendor"
SO_TIMESTAMPNS = 35
"""Linux's: with each datagram the instant at which the kernel received it.  Python has no name for it."""

CALLERS = """
import json, sys, threading, time
from marketjobs.domain.rates import parse_rates
from marketjobs.errors import BudgetSpent
from marketjobs.services.budgets import BudgetGate
from marketjobs.storage.database import open_database

url, rates, wanted, seconds, threads, keys, weight = sys.argv[1:]
database = open_database(url, durable=False)
gate = BudgetGate(database, "vendor", parse_rates(json.loads(rates)), float(seconds), api_keys=json.loads(keys))
sent, lock = [], threading.Lock()

def call():
    give_up_at = time.monotonic() + float(seconds)
    while len(sent) < int(wanted) and time.monotonic() < give_up_at:
        try:
            grant = gate.spend(int(weight))
        except BudgetSpent:
            return
        with lock:
            sent.append((time.time(), grant.api_key))

print("ready", flush=True)
sys.stdin.readline()
workers = [threading.Thread(target=call) for _ in range(int(threads))]
for one in workers:
    one.start()
for one in workers:
    one.join()
print(json.dumps(sent))
"""

SENDERS = """
import socket, sys
from marketjobs.domain.rates import parse_rates
from marketjobs.services.budgets import BudgetGate
from marketjobs.storage.database import open_database

url, port = sys.argv[1:]
gate = BudgetGate(open_database(url, durable=False), "vendor", parse_rates(["5/s"]), 60.0)
connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connection.connect(("127.0.0.1", int(port)))
print("ready", flush=True)
sys.stdin.readline()
while True:
    gate.spend()
    connection.send(b".")
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
            assert cast("Slot", budgets.restamp(tx, first, rates, 5.0)).delay_seconds == 5.0
            assert budgets.restamp(tx, second, rates, 1.0) is None, "never to before one that was moved"
        third, fourth = self.slot(database, "3/60s"), self.slot(database, "3/60s")
        assert third.delay_seconds == pytest.approx(5.0, abs=0.5), "none leaves before the one that was moved"
        assert fourth.delay_seconds == pytest.approx(65.7, abs=0.5)
        with database.write() as tx:
            assert budgets.restamp(tx, first, rates, 20.0) is None, "the fourth counts from it"
            assert cast("Slot", budgets.restamp(tx, third, rates, 20.0)).delay_seconds == 20.0

    # -- holds --

    def test_a_hold_is_seen_by_all_and_ends(self, database: Database) -> None:
        other = open_database(database.url)
        with database.write() as tx:
            assert budgets.hold(tx, KEY, "429", 40.0, first=30, most=1800) == 40.0
        with other.read() as tx:
            seen = budgets.blocked(tx, KEY)
        assert seen is not None and seen.why == "429" and 39 < seen.seconds <= 40
        answer = self.reserve(other, "5/s", 1)
        assert isinstance(answer, Later) and answer.why == "429" and 39 < answer.delay_seconds <= 40
        assert self.usage(other, "5/s").left == ((Rate(1, 5), 5),)
        far = self.reserve(other, "5/s", 60)
        assert isinstance(far, Slot) and far.is_news
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

    # -- weights --

    def weighed(self, database: Database, rates: str, weight: int, horizon: float = 3600.0) -> Slot | Later:
        with database.write() as tx:
            return alone(
                budgets.reserve(tx, KEY, parse_rates(rates.split()), 1, weight=weight, horizon_seconds=horizon)
            )

    def test_a_call_takes_as_many_numbers_as_it_weighs(self, database: Database) -> None:
        weights = [2, 20, 1, 20, 5]
        slots = [cast("Slot", self.weighed(database, "50/60s", weight)) for weight in weights]
        assert self.numbers(database) == [2, 22, 23, 43, 48]
        assert {slot.delay_seconds for slot in slots} == {0.0}
        assert self.usage(database, "50/60s").left[0][1] == 2
        assert isinstance(self.weighed(database, "50/60s", 3, 30), Later)
        assert isinstance(self.weighed(database, "50/60s", 2, 30), Slot)

    def test_a_heavy_call_waits_until_enough_of_the_window_is_free(self, database: Database) -> None:
        rates = "10/10s"
        for weight in (4, 4, 2):
            assert isinstance(self.weighed(database, rates, weight), Slot)
        with database.write() as tx:  # the first left 9 s ago, the second 5 s, the third now
            for number, age in ((4, 9), (8, 5)):
                tx.run("UPDATE provider_budget_use SET ts = ts - :age WHERE number = :n", {"age": age, "n": number})
        four, six = (cast("Slot", self.weighed(database, rates, weight)) for weight in (4, 6))
        assert four.delay_seconds == pytest.approx(1.12, abs=0.2), "the first four of its ten are free then"
        assert six.delay_seconds == pytest.approx(10.12, abs=0.2), "the four and the two of just now are not"

    def test_a_heavy_call_given_back_frees_all_its_numbers(self, database: Database) -> None:
        heavy = cast("Slot", self.weighed(database, "30/60s", 20))
        light = cast("Slot", self.weighed(database, "30/60s", 10))
        assert isinstance(self.weighed(database, "30/60s", 1, 30), Later)
        with database.write() as tx:
            budgets.give_back(tx, heavy)
        assert self.numbers(database) == [10]
        with database.write() as tx:
            assert budgets.restamp(tx, light, parse_rates(["30/60s"]), 2.0) is not None, "found where it moved to"
        assert isinstance(self.weighed(database, "30/60s", 20, 30), Slot)
        assert isinstance(self.weighed(database, "30/60s", 1, 30), Later)

    def test_heavy_calls_that_may_leave_together_are_granted_together(self, database: Database) -> None:
        rates = parse_rates(["50/60s"])
        with database.write() as tx:
            first = budgets.reserve(tx, KEY, rates, 4, weight=7, horizon_seconds=30)
            then = budgets.reserve(tx, KEY, rates, 4, weight=7, horizon_seconds=30)
            later = budgets.reserve(tx, KEY, rates, 4, weight=7, horizon_seconds=30)
        assert [len(cast("list[Slot]", answer)) for answer in (first, then)] == [4, 3]
        assert isinstance(later, Later)
        assert self.numbers(database) == [7 * n for n in range(1, 8)]

    def test_a_rate_of_thousands_is_decided_by_one_row(self, database: Database) -> None:
        rates = parse_rates(["6000/60s"])
        with database.write() as tx:
            for _ in range(300):
                assert isinstance(budgets.reserve(tx, KEY, rates, 1, weight=20, horizon_seconds=0), list)
            answer = budgets.reserve(tx, KEY, rates, 1, horizon_seconds=0)
        assert isinstance(answer, Later) and answer.why == "budget 6000/m"
        assert self.usage(database, "6000/60s").left[0][1] == 0

    # -- the calendar --

    def test_a_day_of_the_calendar_ends_at_midnight_there(self, database: Database) -> None:
        rates = "3/day@Asia/Tokyo"
        for _ in range(3):
            assert isinstance(self.reserve(database, rates, 0), Slot)
        answer = self.reserve(database, rates, 0)
        assert isinstance(answer, Later) and answer.why == "budget 3/day@Asia/Tokyo"
        with database.read() as tx:
            comes_back = datetime.fromtimestamp(tx.now() + answer.delay_seconds, ZoneInfo("Asia/Tokyo"))
        midnight = comes_back.replace(hour=0, minute=0, second=0, microsecond=0)
        assert 0.5 < (comes_back - midnight).total_seconds() < 1.5
        assert self.usage(database, rates).left[0][1] == 0
        with database.write() as tx:  # as if it had been yesterday
            tx.run("UPDATE provider_budget_use SET ts = ts - 86400")
            tx.run("UPDATE provider_budget SET last_ts = last_ts - 86400")
        assert self.usage(database, rates).left[0][1] == 3
        assert isinstance(self.reserve(database, rates, 0), Slot)

    def test_a_used_up_quota_is_held_until_the_reset(self, database: Database) -> None:
        [rate] = parse_rates(["10000/month"])
        with database.write() as tx:
            seconds = budgets.hold(tx, KEY, "quota", None, first=1, most=2, until_reset_of=rate)
            now = tx.now()
        until = datetime.fromtimestamp(now + seconds, UTC)
        assert (until.day, until.hour, until.minute) == (1, 0, 0)
        assert 0 < seconds < 32 * 86_400

    # -- keys --

    def of_keys(self, database: Database, rates: str, keys: Sequence[str], horizon: float = 0.0) -> Slot | Later:
        with database.write() as tx:
            return alone(budgets.reserve(tx, KEY, parse_rates(rates.split()), 1, keys=keys, horizon_seconds=horizon))

    def test_keys_take_turns_and_each_is_used_to_its_last_call(self, database: Database) -> None:
        keys = ("vendor/a", "vendor/b", "vendor/c")
        granted = [cast("Slot", self.of_keys(database, "4/d", keys)).key for _ in range(12)]
        assert [sorted(granted[n : n + 3]) for n in range(0, 12, 3)] == [list(keys)] * 4
        answer = self.of_keys(database, "4/d", keys)
        assert isinstance(answer, Later) and answer.why == "budget 4/d" and not answer.held

    def test_the_key_with_most_left_is_taken(self, database: Database) -> None:
        for _ in range(3):
            self.of_keys(database, "5/d", ["vendor/a"])
        granted = [cast("Slot", self.of_keys(database, "5/d", ["vendor/a", "vendor/b"])).key for _ in range(3)]
        assert granted == ["vendor/b"] * 3
        assert {cast("Slot", self.of_keys(database, "5/d", ["vendor/a", "vendor/b"])).key for _ in range(2)} == {
            *("vendor/a", "vendor/b")
        }

    def test_a_key_that_is_held_leaves_the_calls_to_the_others(self, database: Database) -> None:
        keys = ("vendor/a", "vendor/b")
        with database.write() as tx:
            budgets.hold(tx, "vendor/a", "401: wrong key", 3600.0, first=30, most=1800)
        assert {cast("Slot", self.of_keys(database, "9/d", keys)).key for _ in range(4)} == {"vendor/b"}
        with database.write() as tx:
            budgets.hold(tx, "vendor/b", "quota", 600.0, first=30, most=1800)
        answer = self.of_keys(database, "9/d", keys)
        assert isinstance(answer, Later)
        assert (answer.why, answer.held) == ("quota", True) and answer.delay_seconds == pytest.approx(600, abs=5)

    def test_what_holds_the_provider_holds_every_key(self, database: Database) -> None:
        keys = ("vendor/a", "vendor/b")
        assert isinstance(self.of_keys(database, "9/d", keys), Slot)
        with database.write() as tx:
            budgets.hold(tx, KEY, "403: blocked", 60.0, first=30, most=1800)
            assert budgets.blocked(tx, KEY, "vendor/b") is not None
        answer = self.of_keys(database, "9/d", keys)
        assert isinstance(answer, Later) and answer.why == "403: blocked"

    # -- the vendor's own count --

    def book(self, database: Database, rates: str, used: int) -> tuple[int, int]:
        with database.write() as tx:
            return budgets.book(tx, KEY, parse_rates(rates.split()), used, tx.now() - 60)

    def test_what_the_vendor_counts_above_ours_is_booked_once(self, database: Database) -> None:
        for _ in range(10):
            self.slot(database, "100/60s")
        assert self.book(database, "100/60s", 8) == (10, 10)
        assert self.usage(database, "100/60s").left[0][1] == 90
        assert self.book(database, "100/60s", 95) == (95, 95)
        assert self.book(database, "100/60s", 95) == (95, 95)
        assert self.usage(database, "100/60s").left[0][1] == 5
        assert [isinstance(self.reserve(database, "100/60s", 30), Slot) for _ in range(6)] == [True] * 5 + [False]

    def test_more_than_a_whole_window_of_others_waits_for_the_next(self, database: Database) -> None:
        self.slot(database, "100/60s")
        self.book(database, "100/60s", 250)
        answer = self.reserve(database, "100/60s", 30)
        assert isinstance(answer, Later) and answer.delay_seconds == pytest.approx(60.7, abs=0.5)
        assert self.usage(database, "100/60s").left[0][1] == 0

    # -- the breaker --

    def test_an_open_circuit_grants_nothing_and_a_half_open_one_a_single_call(self, database: Database) -> None:
        def reserve(*, may_probe: bool = True) -> Slot | Later:
            with database.write() as tx:
                found = budgets.reserve(
                    tx, KEY, parse_rates(["50/s"]), 5, horizon_seconds=0, probe_seconds=20, may_probe=may_probe
                )
            assert isinstance(found, Later) or len(found) == 1 or not found[0].probe
            return found if isinstance(found, Later) else found[0]

        assert isinstance(reserve(), Slot)
        with database.write() as tx:
            for _ in range(breakers.FAILURES):
                breakers.failed(tx, KEY, "timed out")
        answer = reserve(may_probe=False)
        assert isinstance(answer, Later) and answer.wants_probe, "a call about a symbol is none"
        with database.write() as tx:
            breakers.failed(tx, KEY, "timed out", breakers.take_probe(tx, KEY, 60.0))
        answer = reserve()
        assert isinstance(answer, Later)
        assert (answer.circuit, answer.why, answer.held) == (Circuit.OPEN, "timed out", True)
        assert answer.delay_seconds == pytest.approx(breakers.FIRST_OPEN_SECONDS, abs=1)
        with database.read() as tx:
            assert budgets.blocked(tx, KEY) is not None
        with database.write() as tx:
            tx.run("UPDATE provider_breaker SET open_until = {now} - 1")
        probe = reserve()
        assert isinstance(probe, Slot) and probe.probe and probe.is_news
        answer = reserve()
        assert isinstance(answer, Later) and answer.circuit is Circuit.HALF_OPEN
        assert 18 < answer.delay_seconds <= 20
        with database.write() as tx:
            breakers.passed(tx, KEY, probe.probe)
        again = reserve()
        assert isinstance(again, Slot) and not again.probe and not again.is_news

    # -- processes --

    def callers(
        self, python: Python, database: Database, rates: list[str], wanted: int, seconds: float
    ) -> list[list[float]]:
        """The send instants of four processes with two threads each."""
        return [[at for at, _ in one] for one in self.calls(python, database, rates, wanted, seconds)]

    def calls(
        self,
        python: Python,
        database: Database,
        rates: list[str],
        wanted: int,
        seconds: float,
        *,
        keys: Sequence[str] = (),
        weight: int = 1,
    ) -> list[list[tuple[float, str]]]:
        """The same, each with the key that it was sent with."""
        arguments = database.url, json.dumps(rates), wanted, seconds, 2, json.dumps(keys), weight
        processes = [python(CALLERS, *arguments) for _ in range(4)]
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

    def test_a_call_does_not_leave_earlier_because_it_waited_for_the_lock(self, database: Database) -> None:
        """Its instant counts from when the lock was had: from the begin of the transaction two calls met, six in a
        second of five."""
        self.slot(database, "1/2s")
        other, held, released_at = open_database(database.url), threading.Event(), 0.0

        def hold() -> None:
            nonlocal released_at
            with other.write() as tx:
                budgets.hold(tx, KEY, "", 0.0, first=0, most=0)
                held.set()
                time.sleep(0.4)
                released_at = time.monotonic()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(5)
        found = self.slot(database, "1/2s")
        thread.join()
        other.close()
        assert found.leaves_at >= released_at + found.delay_seconds
        assert found.leaves_at - time.monotonic() == pytest.approx(found.delay_seconds, abs=0.2)

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when its kernel received something")
    def test_the_vendor_never_sees_six_in_a_second_and_nearly_all_are_used(
        self, python: Python, database: Database
    ) -> None:
        """Counted where the bytes arrive, by the kernel's clock: whoever counts may be late.  On a busy machine a call
        may be a moment on its way to the socket: the window is a little less than the second of the rate."""
        arrivals: list[float] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as vendor:
            vendor.bind(("127.0.0.1", 0))
            vendor.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            vendor.settimeout(0.2)
            processes = [python(SENDERS, database.url, vendor.getsockname()[1]) for _ in range(4)]
            for process in processes:
                assert process.stdout is not None and process.stdout.readline() == "ready\n"
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            give_up_at = time.monotonic() + 10
            while time.monotonic() < give_up_at:
                with suppress(TimeoutError):
                    _, [(_, _, stamp)], *_ = vendor.recvmsg(16, 64)
                    seconds, nanoseconds = struct.unpack("qq", stamp[:16])
                    arrivals.append(seconds + nanoseconds / 1e9)
            for process in processes:
                process.kill()
        assert most_in(arrivals, 0.97) <= 5, arrivals
        spans = [late - early for early, late in zip(arrivals, arrivals[5:], strict=False)]
        assert len(spans) > 35
        assert sum(spans) / len(spans) < 1 / 0.97

    def test_twenty_five_a_minute_are_exactly_twenty_five(self, python: Python, database: Database) -> None:
        instants = [at for one in self.callers(python, database, ["25/60s"], 1000, 3.0) for at in one]
        assert len(instants) == 25
        assert self.numbers(database) == list(range(1, 26))

    def test_each_of_three_keys_is_used_to_its_last_call_and_no_further(
        self, python: Python, database: Database
    ) -> None:
        keys = ["one", "two", "three"]
        calls = [call for one in self.calls(python, database, ["25/day", "25/d"], 1000, 3.0, keys=keys) for call in one]
        assert Counter(key for _, key in calls) == dict.fromkeys(keys, 25)

    def test_four_processes_spend_a_budget_of_weights_to_what_is_too_little(
        self, python: Python, database: Database
    ) -> None:
        instants = [at for one in self.calls(python, database, ["100/60s"], 1000, 3.0, weight=7) for at, _ in one]
        assert len(instants) == 14
        assert self.usage(database, "100/60s").left[0][1] == 2

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
        print(BudgetGate(open_database(sys.argv[1]), "vendor", (), 1.0).hold("429: slow down", 90.0))
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

    rates = parse_rates(["3/s", "7/4s", "11/20s", "60/day@America/New_York"])

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = SqliteDatabase(Path(self.folder.name) / "store.db", durable=False)
        assert TEMPLATE is not None
        shutil.copyfile(TEMPLATE, self.database.path)
        self.slots: list[Slot] = []
        self.sent: dict[str, tuple[float, int]] = {}
        """Of each call its instant and weight."""
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

    @rule(most=st.integers(1, 3), weight=st.integers(1, 3), horizon=st.sampled_from([0.0, 0.5, 5.0, 60.0]))
    def reserve(self, most: int, weight: int, horizon: float) -> None:
        with self.database.write() as tx:
            answer = budgets.reserve(tx, KEY, self.rates, most, weight=weight, horizon_seconds=horizon)
        if isinstance(answer, Later):
            assert answer.delay_seconds > horizon
            assert answer.why.startswith("budget ") or not answer.why
            return
        assert 1 <= len(answer) <= most
        for slot in answer:
            assert slot.delay_seconds <= horizon
            self.slots.append(slot)
            self.sent[slot.grant_id] = slot.at, slot.weight

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
            self.sent[slot.grant_id] = self._instants()[slot.grant_id], slot.weight

    @rule(others=st.integers(1, 5))
    def others_spend(self, others: int) -> None:
        """As the vendor tells it, which counts more in the last minute than we do."""
        with self.database.write() as tx:
            ours, _ = budgets.book(tx, KEY, self.rates, 0, self.now - 60)
            budgets.book(tx, KEY, self.rates, ours + others, self.now - 60)
        new = self._instants().keys() - self.sent.keys()
        self.sent |= {grant: (self._instants()[grant], 0) for grant in new}  # theirs may break a limit: ours may not

    @rule(seconds=st.sampled_from([0.3, 1.0, 5.0, 30.0, 40_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_window_holds_more_than_its_rate(self) -> None:
        instants = [at for at, weight in self.sent.values() for _ in range(weight)]
        for one in self.rates:
            if one.period:
                days = Counter(datetime.fromtimestamp(at, ZoneInfo(one.zone)).date() for at in instants)
                assert max(days.values(), default=0) <= one.calls
            else:
                assert most_in(instants, one.seconds) <= one.calls

    @invariant()
    def numbers_have_no_hole_and_instants_keep_their_order(self) -> None:
        with self.database.read() as tx:
            rows = tx.all("SELECT number, weight, ts FROM provider_budget_use ORDER BY number")
            head = tx.first("SELECT granted FROM provider_budget")
        if rows:
            assert [row["number"] - row["weight"] for row in rows[1:]] == [row["number"] for row in rows[:-1]]
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
