"""Latest prices into the store: the use case, and the functions that make it a kind of job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from marketjobs.domain import currencies
from marketjobs.domain.assets import AssetClass, AssetFacts, Listing, normalise_symbols
from marketjobs.domain.intervals import Interval, iso
from marketjobs.domain.jobs import Job, JobState, JsonDict, Part
from marketjobs.domain.quotes import Quote, broken_rule, jumps
from marketjobs.domain.reports import Outcome, SymbolFailure, SymbolStatus, collect, conclude
from marketjobs.domain.reports import merge as merge_reports
from marketjobs.errors import DataRejected, InvalidInput, MalformedAnswer, MarketJobsError, Unsupported
from marketjobs.providers.base import Capabilities, Provider, provider_class
from marketjobs.services import identity as identities
from marketjobs.services import loop, quote_cache, universe
from marketjobs.services.context import JobContext
from marketjobs.services.failover import Closed, Link, Trail, chain, require_usable
from marketjobs.services.held_back import held_back
from marketjobs.services.identity import Named
from marketjobs.services.probes import Probes
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets, bars, quotes
from marketjobs.storage.database import Transaction

__all__ = ["collect", "conclude", "identity", "merge", "prepare", "run", "split"]

UPDATE = "marketjobs.update_prices"
ARGUMENTS = ("symbols", "group", "provider", "force")
MOST_SYMBOLS = 1000
"""Of one part: whatever a vendor takes in one request goes into it without a rest."""
UNIT_JUMP = 20.0
"""Where nobody names the unit, pounds and pence must not be mistaken for each other."""
NOTHING = dict.fromkeys(("price", "currency", "at", "change_percent"))


def prepare(runtime: Runtime, arguments: JsonDict) -> JsonDict:
    """Arguments complete and canonical: the symbols that are named, a group's, else those of all active assets.

    Raises:
        InvalidInput, ConfigError, Unsupported: they can't be served.
        GroupNotFound: there is no such group.
    """
    unknown = set(arguments) - set(ARGUMENTS)
    if unknown:
        raise InvalidInput(f"unknown argument {', '.join(sorted(map(str, unknown)))}: there are {' '.join(ARGUMENTS)}")
    symbols = chosen_symbols(runtime, arguments.get("symbols"), arguments.get("group"))
    provider = arguments.get("provider")
    if provider is not None:
        why = _need(require_usable(runtime.settings, provider).capabilities)
        if why is not None:
            raise Unsupported(f"{provider} {why}", provider=provider)
    return {"symbols": symbols, "provider": provider, "force": bool(arguments.get("force"))}


def chosen_symbols(runtime: Runtime, symbols: Sequence[str] | None, group: str | None) -> list[str]:
    """The symbols that are named, and a group's; where nothing is chosen those of all active assets.

    Raises:
        InvalidInput: none of them, or no asset is active.
        GroupNotFound: there is no such group.
    """
    if symbols is not None:
        normalise_symbols(symbols)
    if symbols is not None or group is not None:
        return universe.symbols_of(runtime, symbols or (), group)
    active = universe.active_symbols(runtime)
    if not active:
        raise InvalidInput("no asset is active", hint="marketjobs assets add AAPL BTC-USD")
    return active


def identity(arguments: JsonDict) -> JsonDict:
    """The order of the symbols makes no other request."""
    return arguments | {"symbols": sorted(arguments["symbols"])}


def split(arguments: JsonDict, processes: int) -> Sequence[Part]:
    """Parts of full size: requests that serve many symbols are the better used."""
    symbols = arguments["symbols"]
    if len(symbols) <= MOST_SYMBOLS:
        return []
    return [
        Part(UPDATE, arguments | {"symbols": symbols[start : start + MOST_SYMBOLS]})
        for start in range(0, len(symbols), MOST_SYMBOLS)
    ]


def merge(children: Sequence[Job]) -> tuple[JobState, JsonDict]:
    return merge_reports(children, _lost)


def _lost(arguments: JsonDict, symbol: str, failure: SymbolFailure) -> JsonDict:
    return Outcome(symbol, SymbolStatus.FAILED, details=NOTHING, error=failure).to_json()


def run(ctx: JobContext, arguments: JsonDict) -> JsonDict:
    """Ask for what an earlier attempt has not settled, and store it.

    Symbols fail one by one, each with its cause.  Safe to run twice.
    """
    if ctx.job is None:  # a plain call: nothing has prepared its arguments
        arguments = prepare(ctx.runtime, arguments)
    settled = {one["symbol"]: one for one in ctx.settled}
    rest = [symbol for symbol in arguments["symbols"] if symbol not in settled]
    try:
        fresh = Update(ctx, arguments, len(settled)).run(rest) if rest else {}
    finally:  # what an attempt has stored, and others before it, even where it was cut short
        quote_cache.refresh(ctx.runtime, [one["symbol"] for one in ctx.settled])
    return collect([settled.get(symbol) or fresh[symbol] for symbol in arguments["symbols"]])


def _need(capabilities: Capabilities) -> str | None:
    return None if capabilities.quotes else "has no quotes"


@dataclass(slots=True)
class _Wanted:
    """A symbol on its way along its chain."""

    named: Named
    links: list[Link]
    references: tuple[float, ...]
    """Prices that are stored of it."""
    trail: Trail
    quote: Quote | None = None
    provider: str = ""
    listing: Listing | None = None

    @property
    def symbol(self) -> str:
        return self.named.symbol

    def failed(self, error: MarketJobsError) -> None:
        self.trail.add(self.links.pop(0).name, error)
        if self.trail.waits_a_moment:
            self.links.clear()


class Update:
    """One attempt.  In rounds: each symbol is asked of the next provider of its chain, many in one request."""

    def __init__(self, ctx: JobContext, arguments: JsonDict, done: int) -> None:
        self.ctx = ctx
        self.only: str | None = arguments["provider"]
        self.force: bool = arguments["force"]
        self.total, self.done = len(arguments["symbols"]), done
        self.closed = Closed()
        self.probes = Probes()
        self.advice = identities.Advice(ctx.runtime.database)
        self.outcomes: dict[str, JsonDict] = {}

    def run(self, symbols: Sequence[str]) -> dict[str, JsonDict]:
        with self.ctx.runtime.database.read() as tx:
            found = identities.named(tx, symbols)
            renamed = universe.renamings(tx, [symbol for symbol, one in found.items() if one.record is None])
            references = _references(tx, found)
        settings = self.ctx.runtime.settings
        wanted = []
        for symbol, one in found.items():
            if symbol in renamed:
                self._fail(symbol, renamed[symbol], Trail())
            else:
                links = chain(settings, one.asset_class, _need, self.only)
                trail = Trail(is_stored=one.record is not None)
                wanted.append(_Wanted(one, links, references.get(symbol, ()), trail))
        if wanted:
            try:
                loop.run(self._rounds(wanted), on_start=self.ctx.on_end)
            except (asyncio.CancelledError, KeyboardInterrupt):
                raise self.ctx.why_ended() or KeyboardInterrupt from None
            except BaseExceptionGroup as group:
                raise loop.first_of(group) from None
        return self.outcomes

    async def _rounds(self, wanted: list[_Wanted]) -> None:
        while wanted:
            by_provider: dict[str, list[_Wanted]] = {}
            for one in wanted:
                name = self._next(one)
                if name is not None:
                    by_provider.setdefault(name, []).append(one)
            async with asyncio.TaskGroup() as group:
                for name, some in by_provider.items():
                    group.create_task(self._ask(self.ctx.runtime.provider(name), some))
            self._store([one for one in wanted if one.quote is not None])
            wanted = [one for one in wanted if one.quote is None]
            self._give_up([one for one in wanted if not one.links])
            wanted = [one for one in wanted if one.links]

    def _next(self, one: _Wanted) -> str | None:
        """Who is asked next; those who can't serve it, or not now, are passed by."""
        while one.links:
            link = one.links[0]
            error = link.refusal or self.closed.why(link.name, one.symbol)
            if error is None:
                return link.name
            one.failed(error)
        return None

    async def _ask(self, provider: Provider, some: list[_Wanted]) -> None:
        async with asyncio.TaskGroup() as group:
            for one in some:
                group.create_task(self._name(provider, one))
        ready = [one for one in some if one.listing is not None]
        size = provider.capabilities.quotes
        batches = [ready[start : start + size] for start in range(0, len(ready), size)]
        self.ctx.calls_ahead += len(batches)
        async with asyncio.TaskGroup() as group:
            for batch in batches:
                group.create_task(self._request(provider, batch))

    async def _name(self, provider: Provider, one: _Wanted) -> None:
        one.listing = None
        try:
            one.listing = await self.probes.asked(provider, lambda: identities.listing(one.named, provider))
        except MarketJobsError as exc:
            self.closed.note(provider.name, exc)
            one.failed(exc)

    async def _request(self, provider: Provider, batch: Sequence[_Wanted]) -> None:
        """One request, for many symbols."""
        answers: dict[Listing, Any] = {}
        failure: MarketJobsError | None = None
        try:
            listings = list(dict.fromkeys(one.listing for one in batch if one.listing))
            answers = await self.probes.asked(provider, lambda: provider.quotes(listings))
        except MarketJobsError as exc:
            self.closed.note(provider.name, exc)
            failure = exc
        now = time.time()
        for one in batch:
            assert one.listing is not None
            answer = failure or answers.get(one.listing)
            if isinstance(answer, Quote):
                try:
                    one.quote, one.provider = self._judged(one, answer, provider.name, now), provider.name
                except DataRejected as exc:
                    one.failed(exc)
            else:
                error = answer or _unanswered(one.symbol, provider.name)
                one.failed(identities.by_our_symbol(one.named, one.listing, error))

    def _judged(self, one: _Wanted, quote: Quote, provider: str, now: float) -> Quote:
        """The quote in the asset's unit.  Raises DataRejected for one that may not be stored."""
        rule = broken_rule(quote, now)
        if rule is not None:
            raise DataRejected(f"{one.symbol}: {provider} gave a price that is {rule.replace('_', ' ')}")
        unit = one.named.currency
        factor = currencies.factor(quote.currency, unit)
        if factor is None:
            raise held_back(f"{one.symbol} is in {unit}, {provider} gave a price in {quote.currency}")
        if factor != 1.0:
            quote = quote.scaled(factor)._replace(currency=unit)
        if not self.force:
            require_plausible(one.symbol, quote, one.references, provider, unit)
        return quote

    # -- what becomes of it

    def _store(self, ready: Sequence[_Wanted]) -> None:
        """All that this round brought, in one transaction with its outcomes."""
        if not ready:
            return
        outcomes: list[JsonDict] = []
        held: list[tuple[_Wanted, MarketJobsError]] = []
        with self.ctx.storing(outcomes, (self.done + len(ready)) / self.total) as tx:
            # An asset is made once a vendor has spoken of it: a mistyped symbol leaves no trace.
            ids = assets.ensure_in(tx, [one.symbol for one in ready])
            assets.lock(tx, ids.values())
            before = quotes.prices(tx, ids.values())
            good = []
            for one in ready:
                try:
                    self._require_still(one, before.get(ids[one.symbol]))
                except DataRejected as exc:
                    held.append((one, exc))
                else:
                    good.append(one)
                    if one.quote and one.quote.currency is None:  # it was taken as being in the asset's unit
                        one.quote = one.quote._replace(currency=one.named.currency)
            written: set[int] = set()
            for provider in dict.fromkeys(one.provider for one in good):
                some = [one for one in good if one.provider == provider]
                source = bars.provider_id(tx, provider)
                rows = [(ids[one.symbol], one.quote) for one in some if one.quote]
                written |= quotes.upsert_many(tx, rows, source, time.time())
                asset_class = only_class(provider)
                facts = {one.symbol: AssetFacts(asset_class=asset_class, currency=_unit(one)) for one in some}
                listings = {one.symbol: one.listing for one in some if one.listing}
                assets.describe(tx, facts, provider, listings)
            outcomes += [_success(one, before.get(ids[one.symbol]), is_new=ids[one.symbol] in written) for one in good]
        for one, error in held:
            one.quote = None
            one.failed(error)
        self._settle(outcomes)

    def _require_still(self, one: _Wanted, stored: Quote | None) -> None:
        """Another job may have stored a price since the answer was weighed."""
        if stored is not None and one.quote is not None and not self.force and stored.price not in one.references:
            references = (stored.price, *one.references)
            require_plausible(one.symbol, one.quote, references, one.provider, one.named.currency)

    def _give_up(self, failed: Sequence[_Wanted]) -> None:
        for one in failed:
            error, hold = one.trail.verdict()
            self.ctx.wait_for(hold)
            self._fail(one.symbol, error, one.trail)

    def _fail(self, symbol: str, error: MarketJobsError, trail: Trail) -> None:
        note = self.advice.on(symbol, error)
        provider = next((name for name, one in trail.errors if one is error), None)
        asked = trail.asked() if len(trail.errors) > 1 else ()
        failure = SymbolFailure.of(error)
        self._settle(
            [Outcome(symbol, SymbolStatus.FAILED, provider, NOTHING, failure, note, asked).to_json()],
        )

    def _settle(self, outcomes: Sequence[JsonDict]) -> None:
        self.outcomes.update((one["symbol"], one) for one in outcomes)
        self.done += sum(1 for one in outcomes if not (one["error"] and one["error"]["retryable"]))
        self.ctx.progress(self.done / self.total, f"{self.done} of {self.total} symbols")


def require_plausible(
    symbol: str, quote: Quote, references: Sequence[float], provider: str, unit: str | None = None
) -> None:
    """Raises DataRejected for a price that is of something else than every price that is stored."""
    if not references:
        return
    wild = all(jumps(quote.price, known) for known in references)
    if quote.currency is None and currencies.is_minor(unit):
        wild = wild or not references[0] / UNIT_JUMP < quote.price < references[0] * UNIT_JUMP
    if wild:
        raise held_back(
            f"{symbol}: {provider} gives {quote.price:g} where {references[0]:g} is stored: held back"
            f" (if it is right: marketjobs update-prices -s {symbol} --force)"
        )


def _references(tx: Transaction, found: dict[str, Named]) -> dict[str, tuple[float, ...]]:
    """What prices are stored of each asset: its last quote, its newest close."""
    ids = {one.id: symbol for symbol, one in found.items() if one.record}
    closes = bars.latest_closes(tx, list(ids.values()), Interval.DAY_1)
    stored = {ids[asset]: quote.price for asset, quote in quotes.prices(tx, ids).items()}
    both = {symbol: (stored.get(symbol), closes.get(symbol)) for symbol in ids.values()}
    return {symbol: tuple(price for price in prices if price is not None) for symbol, prices in both.items()}


def _unanswered(symbol: str, provider: str) -> MalformedAnswer:
    return MalformedAnswer(f"{provider} left {symbol} out of its answer", provider=provider, symbol=symbol)


def only_class(provider: str) -> AssetClass:
    """What a vendor that has one class of assets only says of each by having it."""
    classes = provider_class(provider).capabilities.asset_classes
    return next(iter(classes)) if len(classes) == 1 else AssetClass.UNKNOWN


def _unit(one: _Wanted) -> str | None:
    """What the asset's prices are in: of a pair what its symbol says, else what the vendor says."""
    return one.named.currency or (one.quote.currency if one.quote else None)


def _success(one: _Wanted, before: Quote | None, *, is_new: bool) -> JsonDict:
    assert one.quote is not None
    shown, note = one.quote, None
    if not is_new and before is not None and before.at > one.quote.at:
        note = f"the stored price is newer than {one.provider}'s"
        shown = before
    details = {
        "price": shown.price,
        "currency": shown.currency,
        "at": iso(shown.at),
        "change_percent": shown.change_percent,
    }
    status = SymbolStatus.STORED if is_new else SymbolStatus.UP_TO_DATE
    return Outcome(one.symbol, status, one.provider, details, note=note, asked=one.trail.asked()).to_json()
