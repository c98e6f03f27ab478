"""Fetching bars into the store: what is missing is asked for, checked, compared and written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from marketjobs.domain.assets import AssetFacts, normalise_symbols
from marketjobs.domain.bars import (
    OVERLAP_BARS,
    SPLIT,
    Action,
    Bar,
    BarAnswer,
    BarQuery,
    Rejected,
    check,
    restated,
)
from marketjobs.domain.intervals import DAY_SECONDS, Interval, day_of, next_period, period_start, stamp_of
from marketjobs.domain.jobs import BATCH_SYMBOLS, Job, JobState, JsonDict
from marketjobs.domain.jobs import split as split_runs
from marketjobs.domain.ranges import (
    DEFAULT_PERIOD,
    Range,
    check_period,
    days,
    parse_day,
    period_before,
    subtract,
)
from marketjobs.domain.ranges import (
    merge as merge_ranges,
)
from marketjobs.domain.reports import (
    FetchReport,
    Hold,
    SymbolFailure,
    SymbolOutcome,
    SymbolStatus,
    final_state,
)
from marketjobs.errors import (
    BudgetSpent,
    DataRejected,
    InvalidInput,
    LeaseLost,
    MarketJobsError,
    ProviderError,
    ProviderMismatch,
    SymbolDelisted,
    SymbolUnknown,
    Unsupported,
)
from marketjobs.providers.base import Provider, provider_class
from marketjobs.services import loop
from marketjobs.services.jobs import JobContext
from marketjobs.services.runtime import DEFAULT_PROVIDER, Runtime
from marketjobs.storage import assets, bars
from marketjobs.storage.bars import Series, Stored
from marketjobs.storage.database import Transaction

STORE_EVERY = 16
GAP_TRIES = 3
ARGUMENTS = ("symbols", "interval", "period", "start", "end", "provider", "force")


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Checked arguments of a fetch.  ``period`` or ``start`` is set; ``end`` is included, ``None``: today."""

    symbols: tuple[str, ...]
    interval: Interval
    period: str | None
    start: date | None
    end: date | None
    provider: str
    force: bool

    @classmethod
    def of(cls, arguments: JsonDict) -> FetchRequest:
        """Raises InvalidInput for anything that can't be right whatever is stored."""
        unknown = set(arguments) - set(ARGUMENTS)
        if unknown:
            raise InvalidInput(
                f"unknown argument {', '.join(sorted(map(str, unknown)))}: there are {' '.join(ARGUMENTS)}"
            )
        period, start, end = (arguments.get(name) for name in ("period", "start", "end"))
        if period is not None and (start is not None or end is not None):
            raise InvalidInput("period and start or end say the same thing twice: give one of them")
        if end is not None and start is None:
            raise InvalidInput("an end needs a start", hint="--start 2026-01-02 --end 2026-01-31")
        first = None if start is None else parse_day(start)
        last = None if end is None else parse_day(end)
        today = datetime.now(UTC).date()
        for name, day in (("start", first), ("end", last)):
            if day is not None and day > today:
                raise InvalidInput(f"the {name} {day} lies in the future")
        if first is not None and last is not None and first > last:
            raise InvalidInput(f"the start {first} lies after the end {last}")
        provider = arguments.get("provider") or DEFAULT_PROVIDER
        if not isinstance(provider, str):
            raise InvalidInput("provider is a name")
        return cls(
            symbols=normalise_symbols(arguments.get("symbols") or ()),
            interval=Interval.of(arguments.get("interval") or "1d"),
            period=check_period(period or DEFAULT_PERIOD) if first is None else None,
            start=first,
            end=last,
            provider=provider,
            force=bool(arguments.get("force")),
        )

    def to_json(self) -> JsonDict:
        return {
            "symbols": list(self.symbols),
            "interval": self.interval.value,
            "period": self.period,
            "start": self.start and self.start.isoformat(),
            "end": self.end and self.end.isoformat(),
            "provider": self.provider,
            "force": self.force,
        }

    def wanted(self, today: date) -> Range:
        """The stamps that are wanted, from the start of the first period to the last day, when that is ``today``."""
        first = self.start or period_before(today, self.period or DEFAULT_PERIOD)
        return days(period_start(first, self.interval), max(self.end or today, first))


# -- the kind's four functions (services/kinds.py) --------------------------------------------------------


def prepare(runtime: Runtime, arguments: JsonDict) -> JsonDict:
    """Arguments complete and canonical.

    Raises:
        InvalidInput, UnknownProvider, Unsupported, ProviderMismatch: they can't be served.
    """
    request = FetchRequest.of(arguments)
    provider = runtime.require_enabled(request.provider)
    if request.interval not in provider.capabilities.bars:
        can = provider.capabilities.bars_text()
        raise Unsupported(
            f"{request.provider} has no {request.interval} bars here; it has: {can}", provider=provider.name
        )
    with runtime.database.read() as tx:
        others = [name for name in bars.providers(tx) if name != provider.name]
        if others and (provider.only_by_name or any(map(_only_by_name, others))):
            for symbol in request.symbols:
                asset = bars.asset_id(tx, symbol)
                if asset is not None:
                    _refuse_mixture(symbol, provider, bars.series(tx, asset, request.interval, GAP_TRIES))
    return request.to_json()


def split(arguments: JsonDict) -> Sequence[JsonDict]:
    """One task's worth of symbols each."""
    return [arguments | {"symbols": list(part)} for part in split_runs(arguments["symbols"], BATCH_SYMBOLS)]


def run(ctx: JobContext, arguments: JsonDict) -> JsonDict:
    """Fetch what an earlier attempt has not settled; see :func:`fetch`."""
    return fetch(ctx, FetchRequest.of(arguments)).to_json()


def merge(children: Sequence[Job]) -> tuple[JobState, JsonDict]:
    """A parent's state and result from its children's, in the order of the request."""
    outcomes: list[SymbolOutcome] = []
    for child in children:
        known = [SymbolOutcome.from_json(one) for one in (child.result or {}).get("symbols", child.outcomes)]
        settled = {one.symbol for one in known}
        cause = child.error_cause or child.state.value
        failure = SymbolFailure(cause, child.error_message or f"its job was {child.state}", retryable=True)
        interval = child.arguments["interval"]
        outcomes += known + [
            SymbolOutcome(symbol, interval, SymbolStatus.FAILED, error=failure)
            for symbol in child.arguments["symbols"]
            if symbol not in settled
        ]
    if children and all(child.state is JobState.CANCELLED for child in children):
        return JobState.CANCELLED, {"symbols": [one.to_json() for one in outcomes]}
    return final_state(outcomes), {"symbols": [one.to_json() for one in outcomes]}


# -- plan -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be asked for one symbol: nothing, when the range is known and lies in the past."""

    symbol: str
    asset: int
    series: Series
    actions: dict[tuple[int, str], float]
    ranges: tuple[Range, ...]


def plan(runtime: Runtime, arguments: JsonDict) -> list[tuple[str, list[tuple[str, str]]]]:
    """Per symbol the days (first, last, ISO) that a fetch would ask for; asks nobody and writes nothing."""
    request = FetchRequest.of(prepare(runtime, arguments))
    provider = runtime.provider(request.provider)
    planned = []
    with runtime.database.read() as tx:
        for symbol in request.symbols:
            one = _plan(tx, request, provider, symbol, bars.asset_id(tx, symbol))
            planned.append((symbol, [(day_of(r.start).isoformat(), day_of(r.end - 1).isoformat()) for r in one.ranges]))
    return planned


def _today(provider: Provider) -> date:
    return provider.as_of or datetime.now(UTC).date()


def _plan(tx: Transaction, request: FetchRequest, provider: Provider, symbol: str, asset: int | None) -> Plan:
    wanted = request.wanted(_today(provider))
    if asset is None:
        return Plan(symbol, 0, Series(None, None, 0, (), (), ()), {}, (wanted,))
    series = bars.series(tx, asset, request.interval, GAP_TRIES)
    known = bars.actions(tx, asset)
    if request.force or (series.rows == 0 and not series.coverage):
        return Plan(symbol, asset, series, known, (wanted,))
    return Plan(symbol, asset, series, known, tuple(_missing(tx, request, provider, asset, series, wanted)))


def _missing(
    tx: Transaction, request: FetchRequest, provider: Provider, asset: int, series: Series, wanted: Range
) -> list[Range]:
    """What is not covered, what was rejected, and the tail; each overlapping what is stored beside it."""
    interval = request.interval
    missing = subtract(wanted, series.coverage)
    reaches_now = wanted.end > stamp_of(_today(provider))
    if reaches_now and not (missing and missing[-1].end == wanted.end):
        missing.append(Range(wanted.end - DAY_SECONDS, wanted.end))
    gaps = [stamp for stamp in series.gaps if stamp in wanted]
    if gaps:
        missing.append(Range(gaps[0], stamp_of(next_period(day_of(gaps[-1]), interval))))
    padded = []
    for part in missing:
        before = bars.overlap_start(tx, asset, interval, part.start, OVERLAP_BARS)
        after = bars.overlap_end(tx, asset, interval, part.end, OVERLAP_BARS)
        padded.append(
            Range(
                part.start if before is None else before,
                part.end if after is None else stamp_of(next_period(day_of(after), interval)),
            )
        )
    return merge_ranges(padded)


def _refuse_mixture(symbol: str, provider: type[Provider] | Provider, series: Series) -> None:
    """Recorded bars have their own basis and period: never beside another provider's."""
    for other in series.providers:
        if other != provider.name and (provider.only_by_name or _only_by_name(other)):
            raise ProviderMismatch(
                f"{symbol} has bars from {other}: bars of {provider.name} are not mixed with them",
                hint=f"marketjobs assets remove {symbol} --purge",
            )


def _only_by_name(name: str) -> bool:
    try:
        return provider_class(name).only_by_name
    except MarketJobsError:
        return False  # its plug-in is gone; its bars are like any other's


# -- fetch ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """One symbol's checked answers, ready to be stored."""

    plan: Plan
    asked: tuple[Range, ...]
    bars: list[Bar]
    rejected: list[Rejected]
    rules: str
    actions: list[Action]
    facts: AssetFacts
    open_from: int
    restated: str | None = None


def fetch(ctx: JobContext, request: FetchRequest) -> FetchReport:
    """Bring the series of the request's symbols up to date.

    Symbols fail one by one, each with its cause; what is good is stored, and what is stored already is never
    touched by an answer that failed.  Safe to run twice.
    """
    settled = [SymbolOutcome.from_json(one) for one in ctx.settled]
    done = {one.symbol for one in settled}
    rest = [symbol for symbol in request.symbols if symbol not in done]
    work = _Fetch(ctx, request, total=len(request.symbols), done=len(done))
    fresh = work.run(rest) if rest else []
    by_symbol = {one.symbol: one for one in (*settled, *fresh)}
    if work.hold is not None:
        ctx.hold = work.hold
    return FetchReport([by_symbol[symbol] for symbol in request.symbols], work.hold)


class _Fetch:
    """One attempt at a request: fans out over symbols, stores in bulk as answers come."""

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
            plans = [_plan(tx, self.request, self.provider, symbol, bars.asset_id(tx, symbol)) for symbol in symbols]
        try:
            loop.run(self._all(plans), on_start=self.ctx.on_end)
        except (asyncio.CancelledError, KeyboardInterrupt):
            reason = self.ctx.why_ended()
            if not isinstance(reason, LeaseLost):
                self._store()  # what has been answered need not be asked for again
            raise reason or KeyboardInterrupt from None
        except BaseExceptionGroup as group:
            # Only what is no symbol's fault comes here: the store is away, the lease is lost, a defect.
            raise group.exceptions[0] from None
        return self.outcomes

    async def _all(self, plans: Sequence[Plan]) -> None:
        section = self.ctx.runtime.settings.providers.of(self.request.provider)
        places = asyncio.Semaphore(getattr(section, "max_connections", 1))
        async with asyncio.TaskGroup() as group:
            for one in plans:
                group.create_task(self._symbol(one, places))
        self._store()

    async def _symbol(self, one: Plan, places: asyncio.Semaphore) -> None:
        async with places:
            try:
                if self.hold is not None:
                    raise BudgetSpent(
                        f"{self.provider.name} is held: {self.hold.why}",
                        provider=self.provider.name,
                        retry_after_seconds=self.hold.seconds,
                    )
                _refuse_mixture(one.symbol, self.provider, one.series)
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
        found = self._checked(one, answers)
        why = self._restatement(one, found)
        if why is None:
            return found
        assert one.series.first is not None and one.series.last is not None
        after_last = stamp_of(next_period(day_of(one.series.last), self.request.interval))
        whole = merge_ranges([*one.ranges, Range(one.series.first, after_last)])
        span = Range(whole[0].start, whole[-1].end)
        if len(one.ranges) != 1 or one.ranges[0] != span:
            found = self._checked(one, [await self._query(one, span)])
        self._require_whole(one, found)
        return replace(found, restated=why)

    async def _query(self, one: Plan, wanted: Range) -> BarAnswer:
        try:
            return await self.provider.bars(BarQuery(one.symbol, self.request.interval, wanted))
        except SymbolUnknown as exc:
            if self.provider.name in one.series.providers:
                raise SymbolDelisted(exc.message, provider=exc.provider, symbol=one.symbol) from exc
            raise

    def _checked(self, one: Plan, answers: Sequence[BarAnswer]) -> Found:
        now = time.time()
        good: dict[int, Bar] = {}
        rejected: list[Rejected] = []
        actions: dict[tuple[int, str], Action] = {}
        rules: list[str] = []
        for answer in answers:
            checked = check(answer, now)
            good.update((bar.ts, bar) for bar in checked.bars)
            rejected += checked.rejected
            rules += [checked.rules()] if checked.rejected else []
            actions.update(((action.ts, action.kind), action) for action in answer.actions)
        if rejected and not good:
            raise DataRejected(f"{one.symbol}: every row breaks a rule ({'; '.join(rules)})")
        today = period_start(_today(self.provider), self.request.interval)
        open_from = min((bar.ts for bar in good.values() if bar.provisional), default=stamp_of(today))
        return Found(
            plan=one,
            asked=one.ranges
            if len(answers) == len(one.ranges) and not _wider(answers, one)
            else (answers[0].query.range,),
            bars=[good[ts] for ts in sorted(good)],
            rejected=rejected,
            rules="; ".join(rules),
            actions=list(actions.values()),
            facts=answers[-1].facts if answers else AssetFacts(),
            open_from=min(open_from, stamp_of(today)),
        )

    def _restatement(self, one: Plan, found: Found) -> str | None:
        """Why the stored series must be asked for again, if it must."""
        series = one.series
        if series.first is None or not found.asked:
            return None
        for action in found.actions:
            known = one.actions.get((action.ts, action.kind))
            if known != action.value and action.ts > series.first:
                what = "split" if action.kind == SPLIT else "dividend"
                return f"restated: {what} of {action.value:g} on {day_of(action.ts)}"
        if found.bars:
            with self.ctx.runtime.database.read() as tx:
                stored = bars.stored_bars(tx, one.asset, self.request.interval, found.bars[0].ts, found.bars[-1].ts)
            stamp = restated(found.bars, stored)
            if stamp is not None:
                return f"restated: the vendor changed {day_of(stamp)}"
        return None

    def _require_whole(self, one: Plan, found: Found) -> None:
        """A series is rewritten only from an answer that holds all of it: bases are never mixed."""
        assert one.series.first is not None and one.series.last is not None
        with self.ctx.runtime.database.read() as tx:
            stored = bars.stored_bars(tx, one.asset, self.request.interval, one.series.first, one.series.last)
        given = {bar.ts for bar in found.bars}
        lacking = [bar.ts for bar in stored if not bar.provisional and bar.ts not in given]
        if lacking:
            raise DataRejected(
                f"{one.symbol}: the restated history lacks {len(lacking)} of {len(stored)} stored bars"
                f" (first {day_of(lacking[0])}); the stored bars stay as they are"
            )

    def _failed(self, one: Plan, error: MarketJobsError) -> None:
        if isinstance(error, ProviderError) and error.retry_after_seconds is not None:
            seconds = max(error.retry_after_seconds, self.hold.seconds if self.hold else 0.0)
            why = self.hold.why if self.hold else error.message
            self.hold = Hold(seconds, why)
        self._settle([self._outcome(one, SymbolStatus.FAILED, error=SymbolFailure.of(error))], record=False)

    def _store(self) -> None:
        """Everything that is ready, in one transaction with its outcomes."""
        ready, self._ready = self._ready, []
        if not ready:
            return
        # An asset is made once a vendor has spoken of it: a mistyped symbol leaves no trace.
        new = [found.plan.symbol for found in ready if not found.plan.asset]
        ids = assets.ensure(self.ctx.runtime.database, new) if new else {}
        ready = [
            found if found.plan.asset else replace(found, plan=replace(found.plan, asset=ids[found.plan.symbol]))
            for found in ready
        ]
        settled: list[SymbolOutcome] = []
        fetched_at = int(time.time())
        progress = (self.done + len(ready)) / self.total
        outcomes: list[JsonDict] = []
        with self.ctx.storing(outcomes, progress) as tx:
            provider = bars.provider_id(tx, self.provider.name)
            settled += [self._write(tx, found, provider, fetched_at) for found in ready]
            outcomes += [one.to_json() for one in settled]
        assets.describe(
            self.ctx.runtime.database,
            {found.plan.symbol: found.facts for found in ready if found.facts != AssetFacts()},
            self.provider.name,
        )
        self._settle(settled, record=True)

    def _write(self, tx: Transaction, found: Found, provider: int, fetched_at: int) -> SymbolOutcome:
        one, interval = found.plan, self.request.interval
        stored = bars.upsert(tx, one.asset, interval, found.bars, provider, fetched_at)
        bars.upsert_actions(tx, one.asset, found.actions, provider, fetched_at)
        if found.restated:
            # The whole series was given anew: an event that the vendor no longer lists was withdrawn.
            listed = {(action.ts, action.kind) for action in found.actions}
            gone = [key for key in one.actions if key not in listed and key[0] in found.asked[0]]
            bars.drop_actions(tx, one.asset, gone, provider)
        bars.note_gaps(tx, one.asset, interval, found.bars, found.rejected)
        coverage = bars.series(tx, one.asset, interval, GAP_TRIES).coverage
        for asked in found.asked:
            known = Range(asked.start, min(asked.end, max(found.open_from, asked.start)))
            if known.start < known.end:
                bars.add_coverage(tx, one.asset, interval, coverage, known)
                coverage = tuple(merge_ranges([*coverage, known]))
        self._drop_unconfirmed(tx, found)
        after = bars.series(tx, one.asset, interval, GAP_TRIES)
        status = SymbolStatus.STORED if stored.new or stored.changed else SymbolStatus.UP_TO_DATE
        if not after.rows:
            status = SymbolStatus.EMPTY
        return self._outcome(one, status, stored=stored, found=found, after=after)

    def _drop_unconfirmed(self, tx: Transaction, found: Found) -> None:
        # A provisional bar that the vendor passes over while it gives later ones never became a session.
        if not found.bars:
            return
        given = {bar.ts for bar in found.bars} | {row.ts for row in found.rejected}
        stored = bars.stored_bars(tx, found.plan.asset, self.request.interval, found.bars[0].ts, found.bars[-1].ts)
        gone = [bar.ts for bar in stored if bar.provisional and bar.ts not in given]
        if gone:
            bars.drop_provisional(tx, found.plan.asset, self.request.interval, gone)

    def _outcome(
        self,
        one: Plan,
        status: SymbolStatus,
        *,
        stored: Stored | None = None,
        found: Found | None = None,
        after: Series | None = None,
        error: SymbolFailure | None = None,
    ) -> SymbolOutcome:
        stored = stored or Stored()
        series = after or one.series
        notes = [found.restated or "", f"rejected: {found.rules}" if found.rules else ""] if found else []
        return SymbolOutcome(
            symbol=one.symbol,
            interval=self.request.interval.value,
            status=status,
            provider=self.provider.name,
            rows_new=stored.new,
            rows_changed=stored.changed,
            rows_unchanged=stored.unchanged,
            rows_rejected=len(found.rejected) if found else 0,
            first=None if series.first is None else day_of(series.first).isoformat(),
            last=None if series.last is None else day_of(series.last).isoformat(),
            error=error,
            note="; ".join(note for note in notes if note) or None,
        )

    def _settle(self, outcomes: Sequence[SymbolOutcome], *, record: bool) -> None:
        self.outcomes += outcomes
        self.done += len(outcomes)
        self.ctx.progress(self.done / self.total, f"{self.done} of {self.total} symbols")


def _wider(answers: Sequence[BarAnswer], one: Plan) -> bool:
    return [answer.query.range for answer in answers] != list(one.ranges)
