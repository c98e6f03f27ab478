"""One attempt at a fetch: fans out over symbols, checks and compares, stores in bulk as answers come."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

from marketjobs.domain.assets import AssetFacts
from marketjobs.domain.bars import SPLIT, Action, Bar, BarAnswer, BarQuery, Rejected, check, restated
from marketjobs.domain.intervals import Interval, bar_end, period_start, stamp_of, stamp_text
from marketjobs.domain.jobs import JsonDict
from marketjobs.domain.ranges import Range, later_than, merge
from marketjobs.domain.reports import Hold, SymbolOutcome
from marketjobs.errors import (
    BudgetSpent,
    DataRejected,
    HistoryCut,
    LeaseLost,
    MarketJobsError,
    ProviderError,
    StorageError,
    SymbolDelisted,
    SymbolUnknown,
)
from marketjobs.services import bar_rebase, loop
from marketjobs.services.bar_found import Found
from marketjobs.services.bar_outcome import failure
from marketjobs.services.bar_plan import Plan, earliest, narrowed, plans, refuse_mixture, today, zone_of
from marketjobs.services.bar_rebase import Rebase
from marketjobs.services.bar_request import FetchRequest
from marketjobs.services.bar_store import store
from marketjobs.services.context import JobContext
from marketjobs.storage import bars

STORE_EVERY = 25
MOST_WITHDRAWN = 5
"""So many bars (or one in a hundred) may a forced restatement let go; a cut answer lacks more."""


class Fetch:
    """``run`` gives an outcome a symbol; ``hold`` is set when the rest must wait for a budget."""

    def __init__(self, ctx: JobContext, request: FetchRequest, total: int, done: int) -> None:
        self.ctx = ctx
        self.request = request
        self.provider = ctx.runtime.provider(request.provider)
        self.total, self.done = total, done
        self.outcomes: list[SymbolOutcome] = []
        self.hold: Hold | None = None
        self._ready: list[Found] = []

    def run(self, symbols: Sequence[str]) -> list[SymbolOutcome]:
        database = self.ctx.runtime.database
        with database.read() as tx:
            planned = plans(tx, self.request, self.provider, symbols)
        try:
            loop.run(self._all(planned), on_start=self.ctx.on_end)
        except (asyncio.CancelledError, KeyboardInterrupt):
            reason = self.ctx.why_ended()
            if not isinstance(reason, LeaseLost):
                self._store()  # what has been answered need not be asked for again
            raise reason or KeyboardInterrupt from None
        except BaseExceptionGroup as group:
            # Only what is no symbol's fault comes here: the store is away, the lease is lost, its time is over.
            raise self._kept(group.exceptions[0]) from None
        except Exception as exc:
            raise self._kept(exc) from None
        return self.outcomes

    def _kept(self, error: BaseException) -> BaseException:
        """What has been answered by then is stored, where it may be: it need not be asked for again."""
        if not isinstance(error, LeaseLost | StorageError):
            with contextlib.suppress(LeaseLost, StorageError):
                self._store()
        return error

    async def _all(self, planned: Sequence[Plan]) -> None:
        section = self.ctx.runtime.settings.providers.of(self.request.provider)
        self.ctx.calls_ahead = sum(len(one.ranges) for one in planned if one.refusal is None)
        places = asyncio.Semaphore(getattr(section, "max_connections", 1) + self.provider.takes_ahead)
        async with asyncio.TaskGroup() as group:
            for one in planned:
                group.create_task(self._symbol(one, places))
        self._store()

    async def _symbol(self, one: Plan, places: asyncio.Semaphore) -> None:
        async with places:
            try:
                if self.hold is not None:
                    raise BudgetSpent(
                        f"{self.provider.name} is held: {self.hold.why}",
                        provider=self.provider.name,
                        retry_after_seconds=self.hold.seconds_left(time.monotonic()),
                    )
                refuse_mixture(one.symbol, self.provider, one.suppliers)
                if one.refusal is not None:
                    raise one.refusal
                found = await self._ask(one)
            except MarketJobsError as exc:
                self._failed(one, exc)
                return
        self._ready.append(found)
        if len(self._ready) >= STORE_EVERY:
            self._store()

    async def _ask(self, one: Plan) -> Found:
        """Ask for what is planned, and for the whole series when the answer restates it."""
        answers = [await self._query(one, wanted) for wanted in one.ranges]
        if one.zone is None:
            one, answers = self._in_its_zone(one, answers)
        found = self._checked(one, answers)
        why = self._restatement(one, found)
        if why is None:
            return found
        assert one.series.first is not None and one.series.last is not None
        whole = merge([*one.ranges, Range(one.series.first, bar_end(one.series.last, self.request.interval))])
        span = Range(whole[0].start, whole[-1].end)
        first = earliest(self.provider, self.request, one.zone or UTC)
        [span] = [span] if first is None else later_than([span], first)
        if len(one.ranges) != 1 or one.ranges[0] != span:
            found = self._checked(one, [await self._query(one, span)])
        return replace(found, restated=why, withdrawn=self._withdrawn(one, found), rebase=self._rebase(one, found))

    async def _query(self, one: Plan, wanted: Range) -> BarAnswer:
        try:
            return await self.provider.bars(BarQuery(one.symbol, self.request.interval, wanted, one.prepost))
        except SymbolUnknown as exc:
            if self.provider.name in one.suppliers:
                raise SymbolDelisted(exc.message, provider=exc.provider, symbol=one.symbol) from exc
            raise

    def _in_its_zone(self, one: Plan, answers: Sequence[BarAnswer]) -> tuple[Plan, list[BarAnswer]]:
        """Cut what was asked for in every zone's days to those of the exchange, which the answer names."""
        named = next((answer.facts.timezone for answer in answers if answer.facts.timezone), None)
        one = narrowed(one, self.request, self.provider, zone_of(named) or UTC)
        cut = []
        for answer in answers:
            speaks_for = answer.query.range
            for part in one.ranges:
                start, end = max(part.start, speaks_for.start), min(part.end, speaks_for.end)
                if start < end:
                    cut.append(replace(answer, query=replace(answer.query, range=Range(start, end))))
        return one, cut

    def _checked(self, one: Plan, answers: Sequence[BarAnswer]) -> Found:
        now = time.time()
        good: list[Bar] = []
        rejected: list[Rejected] = []
        actions: dict[tuple[int, str], Action] = {}
        rules: list[str] = []
        for answer in answers:
            checked = check(answer, now)
            good += checked.bars
            rejected += checked.rejected
            rules += [checked.rules()] if checked.rejected else []
            actions.update(((action.ts, action.kind), action) for action in answer.actions)
        if rejected and not good:
            raise DataRejected(f"{one.symbol}: every row breaks a rule ({'; '.join(rules)})")
        if len(answers) > 1:  # of two answers about one bar the later one counts
            by_stamp = {bar.ts: bar for bar in good}
            good = [by_stamp[ts] for ts in sorted(by_stamp)]
        if self.request.interval.is_intraday:
            open_from = min((int(answer.open_from(now)) for answer in answers), default=0)
        else:
            open_from = stamp_of(period_start(today(self.provider), self.request.interval))
        return Found(
            plan=one,
            asked=tuple(answer.query.range for answer in answers),
            bars=good,
            rejected=rejected,
            rules="; ".join(rules),
            actions=list(actions.values()),
            facts=answers[-1].facts if answers else AssetFacts(),
            open_from=min([open_from, *[bar.ts for bar in good if bar.provisional]]),
        )

    def _restatement(self, one: Plan, found: Found) -> str | None:
        """Why the stored series must be asked for again, if it must."""
        series = one.series
        if series.first is None or not found.asked:
            return None
        intraday = self.request.interval.is_intraday
        for action in found.actions:
            if intraday and action.kind != SPLIT:
                continue  # there is no adjusted close that it would change
            known = one.actions.get((action.ts, action.kind))
            if known != action.value and action.ts > series.first:
                what = "split" if action.kind == SPLIT else "dividend"
                return f"restated: {what} of {action.value:g} on {stamp_text(action.ts, Interval.DAY_1)}"
        if found.bars:
            with self.ctx.runtime.database.read() as tx:
                stored = bars.stored_bars(tx, one.asset, self.request.interval, found.bars[0].ts, found.bars[-1].ts)
            stamp = restated(found.bars, stored)
            if stamp is not None:
                return f"restated: the vendor changed {stamp_text(stamp, self.request.interval)}"
            if intraday and not stored and self._rebase(one, found) is not None:
                return "restated: a split since the last fetch"
        return None

    def _withdrawn(self, one: Plan, found: Found) -> tuple[int, ...]:
        """Stored final bars that a restating answer lacks, and that a person's --force lets go.

        Raises:
            HistoryCut: a series is rewritten only from an answer that holds all of it: bases are never mixed.
        """
        assert one.series.first is not None and one.series.last is not None
        with self.ctx.runtime.database.read() as tx:
            speaks_from = bar_rebase.speaks_from(
                tx, one, self.request.interval, self.provider.name, found.bars, found.asked[0].start
            )
            start = max(one.series.first, speaks_from)
            stored = bars.stored_bars(tx, one.asset, self.request.interval, start, one.series.last)
        given = {bar.ts for bar in found.bars}
        lacking = [bar.ts for bar in stored if not bar.provisional and bar.ts not in given]
        if not lacking:
            return ()
        broken = {row.ts for row in found.rejected}.intersection(lacking)
        if broken:
            raise DataRejected(
                f"{one.symbol}: {len(broken)} rows of the restated history break a rule ({found.rules});"
                " the stored bars stay as they are"
            )
        if self.request.force and len(lacking) <= max(MOST_WITHDRAWN, len(stored) // 100):
            return tuple(lacking)
        raise HistoryCut(
            f"{one.symbol}: the restated history lacks {len(lacking)} of {len(stored)} stored bars (first"
            f" {stamp_text(lacking[0], self.request.interval)}); the"
            " stored ones stay as they are; if the vendor withdrew a few, use --force"
        )

    def _rebase(self, one: Plan, found: Found) -> Rebase | None:
        """What becomes of stored bars from before the time that the vendor gives.

        Raises:
            HistoryCut: that can't be told.
        """
        with self.ctx.runtime.database.read() as tx:
            return bar_rebase.decide(
                tx, one, self.request.interval, self.provider.name, found.bars, found.actions, found.asked[0].start
            )

    def _failed(self, one: Plan, error: MarketJobsError) -> None:
        if isinstance(error, ProviderError) and error.retry_after_seconds is not None:
            until = time.monotonic() + error.retry_after_seconds
            if self.hold is None or until > self.hold.until + 1.0:
                self.hold = Hold(until, error.message)
        self._settle([failure(self.request, self.provider, one, error)])

    def _store(self) -> None:
        """Everything that is ready, in one transaction with its outcomes."""
        ready, self._ready = self._ready, []
        if not ready:
            return
        outcomes: list[JsonDict] = []
        with self.ctx.storing(outcomes, (self.done + len(ready)) / self.total) as tx:
            settled, failed = store(tx, self.request, self.provider, ready)
            outcomes += [one.to_json() for one in settled]
        self._settle([*settled, *failed])

    def _settle(self, outcomes: Sequence[SymbolOutcome]) -> None:
        self.outcomes += outcomes
        self.done += len(outcomes)
        self.ctx.progress(self.done / self.total, f"{self.done} of {self.total} symbols")
