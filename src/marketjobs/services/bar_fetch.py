"""What one provider is asked for in an attempt: fans out over symbols, checks and compares, stores in bulk as answers
come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING

from marketjobs.domain import currencies
from marketjobs.domain.assets import AssetFacts, Listing
from marketjobs.domain.bars import SPLIT, Action, Bar, BarAnswer, BarQuery, Rejected, StoredBar, check, in_unit
from marketjobs.domain.intervals import Interval, bar_end, period_start, stamp_of, stamp_text
from marketjobs.domain.jobs import JsonDict
from marketjobs.domain.ranges import Range, later_than, merge
from marketjobs.errors import DataRejected, HistoryCut, MarketJobsError, SymbolDelisted, SymbolUnknown
from marketjobs.providers.base import Provider
from marketjobs.services import bar_basis, bar_rebase, identity
from marketjobs.services.bar_found import Found
from marketjobs.services.bar_plan import Plan, earliest, narrowed, refuse_mixture, today, zone_of
from marketjobs.services.bar_rebase import Rebase
from marketjobs.services.bar_store import store
from marketjobs.services.held_back import held_back
from marketjobs.storage import bars

if TYPE_CHECKING:
    from marketjobs.services.bar_chain import Chains

STORE_EVERY = 25
STORE_AFTER_SECONDS = 2.0
"""Of a slow vendor less is stored at a time: whoever looks sees that it goes on."""
MOST_WITHDRAWN = 5
"""So many bars (or one in a hundred) may a forced restatement let go; a cut answer lacks more."""


class Fetch:
    """What one provider is asked for: ``all`` settles or fails every symbol of a plan, and tells its chain."""

    def __init__(self, chain: Chains, provider: Provider) -> None:
        self.chain = chain
        self.ctx = chain.ctx
        self.request = chain.request
        self.provider = provider
        self._ready: list[Found] = []
        self._waits_since = 0.0

    async def all(self, planned: Sequence[Plan]) -> None:
        section = self.ctx.runtime.settings.providers.of(self.provider.name)
        self.ctx.calls_ahead = sum(len(one.ranges) for one in planned if one.refusal is None)
        places = asyncio.Semaphore(getattr(section, "max_connections", 1) + self.provider.takes_ahead)
        async with asyncio.TaskGroup() as group:
            for one in planned:
                group.create_task(self._symbol(one, places))
        self.store()

    async def _symbol(self, one: Plan, places: asyncio.Semaphore) -> None:
        async with places:
            try:
                closed = self.chain.closed.why(self.provider.name, one.symbol)
                if closed is not None:
                    raise closed
                refuse_mixture(one.symbol, self.provider, one.suppliers)
                if one.refusal is not None:
                    raise one.refusal
                found = await self._ask(one)
            except MarketJobsError as exc:
                self.chain.failed(one, self.provider.name, exc)
                return
        if not self._ready:
            self._waits_since = time.monotonic()
        self._ready.append(found)
        if len(self._ready) >= STORE_EVERY or time.monotonic() - self._waits_since > STORE_AFTER_SECONDS:
            self.store()

    async def _ask(self, one: Plan) -> Found:
        """Ask for what is planned, and for the whole series when the answer restates it."""
        if one.ranges:
            bar_basis.refuse_as_traded(self.provider, one.symbol, one.ranges[0].start, bar_rebase.splits_of(one, ()))
        listing = await self._listing(one) if one.ranges else None
        answers: list[BarAnswer] = []
        for wanted in one.ranges:
            if listing is not None and not (answers and answers[-1].goes_on):
                answers.append(await self._query(one, listing, wanted))
        if one.zone is None:
            one, answers = self._in_its_zone(one, answers)
        found = self._checked(one, listing, answers)
        if one.rank.before and one.series.first is not None:
            return self._extension(one, found)
        why = self._restatement(one, found)
        if why is None:
            return found
        assert one.series.first is not None and one.series.last is not None and listing is not None
        whole = merge([*one.ranges, Range(one.series.first, bar_end(one.series.last, self.request.interval))])
        span = Range(whole[0].start, whole[-1].end)
        first = earliest(self.provider, self.request, one.zone or UTC)
        [span] = [span] if first is None else later_than([span], first)
        if len(one.ranges) != 1 or one.ranges[0] != span:
            found = self._checked(one, listing, [await self._query(one, listing, span, whole=True)])
        return replace(found, restated=why, withdrawn=self._withdrawn(one, found), rebase=self._rebase(one, found))

    async def _listing(self, one: Plan) -> Listing:
        return await self.chain.probes.asked(self.provider, lambda: identity.listing(one.named, self.provider))

    async def _query(self, one: Plan, listing: Listing, wanted: Range, *, whole: bool = False) -> BarAnswer:
        query = BarQuery(listing.symbol, self.request.interval, wanted, one.prepost, listing.currency, whole)
        try:
            return await self.chain.probes.asked(self.provider, lambda: self.provider.bars(query))
        except SymbolUnknown as exc:
            if self.provider.name in one.suppliers:
                raise SymbolDelisted(exc.message, provider=exc.provider, symbol=one.symbol) from exc
            raise

    def _extension(self, one: Plan, found: Found) -> Found:
        """What may stand in a series that others began.  Raises Unsupported."""
        if not found.asked:
            return found
        start, end = found.asked[0].start, found.asked[-1].end
        with self.ctx.runtime.database.read() as tx:
            stored = bars.stored_bars(tx, one.asset, self.request.interval, start, end)
        self._refuse_jump(one, found, stored)
        known = {key for key in one.actions if key[1] == SPLIT}
        new = [action for action in found.actions if action.kind == SPLIT and (action.ts, SPLIT) not in known]
        kept = bar_basis.extension(self.provider, one.symbol, self.request.interval, one.rank, found.bars, stored, new)
        return replace(found, bars=kept, actions=[])

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

    def _checked(self, one: Plan, listing: Listing | None, answers: Sequence[BarAnswer]) -> Found:
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
        facts = answers[-1].facts if answers else AssetFacts()
        good, facts = self._in_its_unit(one, good, facts)
        bar_basis.refuse_split(self.provider, one.symbol, self.request.interval, good)
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
            facts=facts,
            open_from=min([open_from, *[bar.ts for bar in good if bar.provisional]]),
            listing=listing,
            supplier=self.provider.name,
            goes_on=bool(answers) and answers[-1].goes_on,
        )

    def _in_its_unit(self, one: Plan, good: list[Bar], facts: AssetFacts) -> tuple[list[Bar], AssetFacts]:
        """Bars in the unit that the asset's prices are in.  Raises DataRejected for those in another currency."""
        unit = one.named.currency
        factor = currencies.factor(facts.currency, unit)
        if factor is None:
            raise held_back(f"{one.symbol} is in {unit}, {self.provider.name} has bars in {facts.currency}")
        if factor != 1.0:
            good = [in_unit(bar, factor) for bar in good]
        return good, facts if unit is None else replace(facts, currency=unit)

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
            self._refuse_jump(one, found, stored)
            stamp = bar_basis.contradiction(one.rank, found.bars, stored)
            if stamp is not None:
                return f"restated: the vendor changed {stamp_text(stamp, self.request.interval)}"
            if intraday and not stored and self._rebase(one, found) is not None:
                return "restated: a split since the last fetch"
        return None

    def _refuse_jump(self, one: Plan, found: Found, stored: Sequence[StoredBar]) -> None:
        """Raises DataRejected, unless a person says with --force that the prices are right."""
        if not self.request.force:
            splits = bar_rebase.splits_of(one, found.actions)
            bar_basis.refuse_jump(self.provider, one.symbol, self.request.interval, found.bars, stored, splits)

    def _withdrawn(self, one: Plan, found: Found) -> tuple[int, ...]:
        """Stored final bars that a restating answer lacks, and that a person's --force lets go.

        Raises:
            DataRejected: its prices are those of something else.
            HistoryCut: a series is rewritten only from an answer that holds all of it: bases are never mixed.
        """
        assert one.series.first is not None and one.series.last is not None
        with self.ctx.runtime.database.read() as tx:
            speaks_from = bar_rebase.speaks_from(
                tx, one, self.request.interval, self.provider.name, found.bars, found.asked[0].start
            )
            start = max(one.series.first, speaks_from)
            stored = bars.stored_bars(tx, one.asset, self.request.interval, start, one.series.last)
        self._refuse_jump(one, found, stored)
        if not self.request.force:
            bar_basis.refuse_other_series(one.symbol, one.rank, found.bars, stored)
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

    def store(self) -> None:
        """Everything that is ready, in one transaction with its outcomes."""
        ready, self._ready = self._ready, []
        if not ready:
            return
        outcomes: list[JsonDict] = []
        parts = {found.plan.symbol: found.asked[-1].end for found in ready if found.goes_on}
        with self.ctx.storing(outcomes, self.chain.share_done(len(ready) - len(parts))) as tx:
            stored, failed = store(tx, self.request, self.provider, ready)
            settled = [self.chain.summed(one) for one in stored if one.symbol not in parts]
            outcomes += [one.to_json() for one in settled]
        for one in stored:
            if one.symbol in parts:
                self.chain.goes_on(one, parts[one.symbol])
        self.chain.settle(settled)
        for plan, error in failed:
            self.chain.failed(plan, self.provider.name, error, for_good=True)
