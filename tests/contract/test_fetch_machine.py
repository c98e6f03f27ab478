"""Fetches of one symbol in any order, while days pass, rows break, prices are restated and the vendor fails.

Whatever the order: what is asked for and what was known are together what was wanted; what is stored is what the
vendor says, without a hole and on one basis; and who asks a second time asks for next to nothing.
"""

from __future__ import annotations

import math
import os
from datetime import date, timedelta

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from marketjobs import config
from marketjobs.domain.bars import OVERLAP_BARS, SPLIT, Action, BarAnswer, BarQuery, RawRow
from marketjobs.domain.intervals import Interval, stamp_of
from marketjobs.domain.jobs import Job, JobState
from marketjobs.domain.ranges import Range, days, merge, subtract
from marketjobs.errors import ProviderUnavailable
from marketjobs.providers.yahoo import Yahoo
from marketjobs.services import attempts, jobs
from marketjobs.services.bar_plan import GAP_TRIES
from marketjobs.services.runtime import Runtime
from marketjobs.storage import bar_state, bars
from marketjobs.storage.bar_state import Series

FIRST = date(2024, 1, 1)
HOLIDAYS = {date(2024, 1, 15), date(2024, 2, 19), date(2024, 2, 20), date(2024, 2, 21)}
SYMBOL = "AAPL"


class Scripted(Yahoo):
    """Yahoo without a network: a close for each session, and what is asked for is remembered."""

    today = FIRST + timedelta(days=60)

    def script(self) -> None:
        self.asked: list[Range] = []
        self.fails = False
        self.broken: set[int] = set()
        self.splits: dict[int, float] = {}
        self.closes: dict[int, float] = {}
        self.grow()

    def grow(self) -> None:
        day = FIRST
        while day <= self.today:
            if day.weekday() < 5 and day not in HOLIDAYS:
                self.closes.setdefault(stamp_of(day), 100.0 + (day - FIRST).days)
            day += timedelta(days=1)

    @property
    def as_of(self) -> date:
        return self.today

    async def bars(self, query: BarQuery) -> BarAnswer:
        self.asked.append(query.range)
        if self.fails:
            raise ProviderUnavailable("away", provider="yahoo", symbol=query.symbol)
        rows = [
            RawRow(ts, float(ts), close, close + 1, close - 1, -close if ts in self.broken else close, close, 1000)
            for ts, close in self.closes.items()
            if ts in query.range
        ]
        actions = [Action(ts, SPLIT, ratio) for ts, ratio in self.splits.items() if ts in query.range]
        return BarAnswer(query, rows, actions)


class Fetching(RuleBasedStateMachine):
    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime
        with runtime.database.write() as tx:
            for table in ("price_bar", "bar_supplier", "bar_coverage", "bar_gap", "corporate_action", "job", "asset"):
                tx.run(f"DELETE FROM {table}")
        self.vendor = Scripted(runtime.provider("yahoo").connection)
        self.vendor.script()
        runtime._providers[os.getpid(), "yahoo"] = self.vendor

    # -- the store, looked at --

    def stored(self) -> dict[int, float]:
        with self.runtime.database.read() as tx:
            return {one.bar.ts: one.bar.close for one in bars.read(tx, SYMBOL, Interval.DAY_1)}

    def series(self) -> Series:
        with self.runtime.database.read() as tx:
            known = bar_state.known(tx, [SYMBOL], Interval.DAY_1, GAP_TRIES)
        return known[SYMBOL].series if known else Series()

    def given_up(self) -> set[int]:
        """Rows that were rejected so often that only --force asks for them again."""
        with self.runtime.database.read() as tx:
            return {row["ts"] for row in tx.all("SELECT ts FROM bar_gap WHERE times >= :n", {"n": GAP_TRIES})}

    def run(self, start: date, end: date | None, force: bool = False) -> Job:
        self.vendor.asked.clear()
        arguments = {
            "symbols": [SYMBOL],
            "start": start.isoformat(),
            "end": end and end.isoformat(),
            "force": force,
        }
        job = jobs.submit(self.runtime, "marketjobs.fetch_market_data", arguments, max_attempts=1, may_join=False)
        after = attempts.execute(self.runtime, job.id)
        assert after is not None
        assert after.state.is_final
        return after

    # -- what happens --

    @rule(back=st.integers(0, 70), length=st.integers(0, 70), to_today=st.booleans(), force=st.booleans())
    def fetch(self, back: int, length: int, to_today: bool, force: bool) -> None:
        today = self.vendor.today
        start = max(today - timedelta(days=back), FIRST)
        end = min(start + timedelta(days=length), today)
        wanted = days(start, today if to_today else end)
        before, known = self.stored(), self.series()
        job = self.run(start, None if to_today else end, force)
        if job.state is not JobState.SUCCEEDED:
            assert self.stored() == before, "a fetch that failed changes nothing"
            assert self.series() == known
            return
        asked = merge(self.vendor.asked)
        assert subtract(wanted, [*known.coverage, *asked]) == [], "asked and known are together what was wanted"
        if force:
            assert subtract(wanted, asked) == []
        stored = self.stored()
        due = {ts for ts in self.vendor.closes if ts in wanted and ts not in self.vendor.broken}
        due -= set() if force else self.given_up()
        assert due <= set(stored), "each session that was wanted is there"
        self.again(start, None if to_today else end, wanted)

    def again(self, start: date, end: date | None, wanted: Range) -> None:
        """At once the same: nothing to write, and hardly anything to ask for."""
        before, gaps = self.stored(), self.series().gaps
        job = self.run(start, end)
        if job.state is not JobState.SUCCEEDED:
            assert self.vendor.broken, "only rows that break a rule can fail it now"
            return
        assert self.stored() == before
        if any(gap in wanted for gap in gaps):
            return  # what was rejected is asked for again, a few times
        reaches_today = wanted.end > stamp_of(self.vendor.today)
        assert len(self.vendor.asked) <= reaches_today
        once_more = [ts for ts in before if any(ts in one for one in self.vendor.asked)]
        assert len(once_more) <= (OVERLAP_BARS + 1) * reaches_today

    @rule(days=st.integers(1, 4))
    def days_pass(self, days: int) -> None:
        self.vendor.today += timedelta(days=days)
        self.vendor.grow()

    @rule(number=st.integers(0, 200))
    def a_row_breaks(self, number: int) -> None:
        closes = self.vendor.closes
        self.vendor.broken.add(sorted(closes)[number % len(closes)])

    @rule()
    def rows_are_mended(self) -> None:
        self.vendor.broken.clear()

    @precondition(lambda self: len(self.vendor.splits) < 2)
    @rule(number=st.integers(1, 200))
    def a_split(self, number: int) -> None:
        """All closes before a session are halved."""
        stamps = sorted(self.vendor.closes)
        day = stamps[number % len(stamps)]
        if day in self.vendor.splits:
            return
        self.vendor.splits[day] = 2.0
        self.vendor.closes = {ts: close / 2 if ts < day else close for ts, close in self.vendor.closes.items()}

    @rule(start=st.integers(0, 70))
    def a_fetch_while_the_vendor_is_away(self, start: int) -> None:
        before, known = self.stored(), self.series()
        self.vendor.fails = True
        job = self.run(self.vendor.today - timedelta(days=start), None)
        self.vendor.fails = False
        assert job.state is JobState.DEAD
        assert job.error_cause == "provider_unavailable"
        assert (self.stored(), self.series()) == (before, known)

    # -- what always holds --

    @invariant()
    def the_store_is_whole(self) -> None:
        stored, truth = self.stored(), self.vendor.closes
        assert set(stored) <= set(truth)
        if not stored:
            return
        lacking = {ts for ts in truth if min(stored) <= ts <= max(stored)} - set(stored)
        with self.runtime.database.read() as tx:
            rejected = {row["ts"] for row in tx.all("SELECT ts FROM bar_gap")}
        assert lacking <= rejected, "no hole between the first and the last bar but what was rejected"

    @invariant()
    def all_of_it_is_on_one_basis(self) -> None:
        """Today's, or that of an earlier day whose later splits no fetch has met yet; never a mixture."""
        stored, met = self.stored(), list(self.vendor.splits.items())
        assert any(stored == self.on_basis(set(stored), met[count:]) for count in range(len(met) + 1))

    def on_basis(self, stamps: set[int], unmet: list[tuple[int, float]]) -> dict[int, float]:
        return {
            ts: self.vendor.closes[ts] * math.prod(ratio for day, ratio in unmet if ts < day) for ts in sorted(stamps)
        }


def run(runtime: Runtime, examples: int) -> None:
    settings = hypothesis_settings(max_examples=examples, stateful_step_count=25)
    run_state_machine_as_test(lambda: Fetching(runtime), settings=settings)


def test_fetches_into_sqlite(runtime: Runtime) -> None:
    run(runtime, 60)


def test_fetches_into_postgresql(postgres_url: str) -> None:
    os.environ["MARKETJOBS_DATABASE__URL"] = postgres_url
    runtime = Runtime(config.load(), durable=False)
    run(runtime, 20)
    runtime.close()
