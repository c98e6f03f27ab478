"""Jobs that put one question about each symbol (its profile, its news): along its chain, some symbols at a time.

An :class:`Errand` says what is asked and how an answer is stored; the rest is the same for all.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from marketjobs.domain.assets import Listing
from marketjobs.domain.jobs import JsonDict
from marketjobs.domain.reports import Outcome, SymbolFailure, SymbolStatus
from marketjobs.errors import AssetRenamed, InvalidInput, MarketJobsError
from marketjobs.providers.base import Capabilities, Provider
from marketjobs.services import identity, loop, universe
from marketjobs.services.context import JobContext
from marketjobs.services.failover import Closed, Link, Trail, chain
from marketjobs.services.identity import Named
from marketjobs.services.probes import Probes
from marketjobs.storage.database import Transaction

T = TypeVar("T")
STORE_EVERY = 25
STORE_AFTER_SECONDS = 2.0
AT_ONCE = 16
"""Questions under way; a provider has its own limit, which is less."""


@dataclass(slots=True)
class Found(Generic[T]):
    """An answer about a symbol (``name``: its symbol, or a feed's address), ready to be stored."""

    name: str
    named: Named | None
    provider: str
    listing: Listing | None
    answer: T
    trail: Trail = field(default_factory=Trail)


class Errand(ABC, Generic[T]):
    """One attempt at a job of this kind."""

    nothing: ClassVar[Mapping[str, Any]] = {}
    """The details of an outcome that failed."""
    then: ClassVar[Sequence[str]] = ()
    """Providers that come after every chain."""

    def __init__(self, ctx: JobContext, only: str | None, total: int, done: int) -> None:
        self.ctx = ctx
        self.only = only
        self.total, self.done = total, done
        self.closed = Closed()
        self.probes = Probes()
        self.advice = identity.Advice(ctx.runtime.database)
        self.outcomes: dict[str, JsonDict] = {}
        self._ready: list[Found[T]] = []
        self._waits_since = 0.0

    @staticmethod
    @abstractmethod
    def need(capabilities: Capabilities) -> str | None:
        """Why a provider can't serve, in words; ``None``: it can."""

    @abstractmethod
    async def ask(self, provider: Provider, one: Named, listing: Listing) -> T:
        """Raises MarketJobsError."""

    @abstractmethod
    def store(self, tx: Transaction, ready: Sequence[Found[T]]) -> list[Outcome]:
        """In the order of what is ready."""

    def run(self, symbols: Sequence[str], more: Sequence[str] = ()) -> dict[str, JsonDict]:
        """Outcomes by symbol; ``more``: what :meth:`ask_else` is asked about."""
        with self.ctx.runtime.database.read() as tx:
            found = identity.named(tx, symbols)
            renamed = universe.renamings(tx, [symbol for symbol, one in found.items() if one.record is None])
        try:
            loop.run(self._all(list(found.values()), renamed, more), on_start=self.ctx.on_end)
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise self.ctx.why_ended() or KeyboardInterrupt from None
        except BaseExceptionGroup as group:
            raise loop.first_of(group) from None
        return self.outcomes

    async def _all(self, wanted: Sequence[Named], renamed: Mapping[str, AssetRenamed], more: Sequence[str]) -> None:
        self.ctx.calls_ahead = len(wanted) + len(more)
        places = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for one in wanted:
                if one.symbol in renamed:
                    self._fail(one.symbol, renamed[one.symbol], Trail())
                else:
                    group.create_task(self._symbol(one, places))
            for name in more:
                group.create_task(self._else(name, places))
        self._store()

    async def _symbol(self, one: Named, places: asyncio.Semaphore) -> None:
        links: list[Link] = chain(self.ctx.runtime.settings, one.asset_class, self.need, self.only, self.then)
        trail = Trail(is_stored=one.record is not None)
        async with places:
            for link in links:
                if trail.waits_a_moment:
                    break
                error = link.refusal or self.closed.why(link.name, one.symbol)
                if error is None:
                    provider = self.ctx.runtime.provider(link.name)
                    try:
                        listing, answer = await self.probes.asked(provider, partial(self._asked, provider, one))
                    except MarketJobsError as exc:
                        self.closed.note(link.name, exc)
                        error = exc
                    else:
                        self._done(Found(one.symbol, one, link.name, listing, answer, trail))
                        return
                trail.add(link.name, error)
        error, hold = trail.verdict()
        self.ctx.wait_for(hold)
        self._fail(one.symbol, error, trail)

    async def _asked(self, provider: Provider, one: Named) -> tuple[Listing, T]:
        listing = await identity.listing(one, provider)
        try:
            return listing, await self.ask(provider, one, listing)
        except MarketJobsError as exc:
            told = identity.by_our_symbol(one, listing, exc)
            if told is exc:
                raise
            raise told from exc

    async def ask_else(self, name: str) -> tuple[str, T]:
        """The provider and its answer about what is no symbol.  Raises MarketJobsError."""
        raise InvalidInput(f"{name}: only symbols can be asked about")

    async def _else(self, name: str, places: asyncio.Semaphore) -> None:
        async with places:
            try:
                provider, answer = await self.ask_else(name)
            except MarketJobsError as exc:
                self.ctx.wait_for(Trail([("", exc)]).verdict()[1])
                self._fail(name, exc, Trail())
            else:
                self._done(Found(name, None, provider, None, answer))

    # -- what becomes of it

    def _done(self, found: Found[T]) -> None:
        if not self._ready:
            self._waits_since = time.monotonic()
        self._ready.append(found)
        if len(self._ready) >= STORE_EVERY or time.monotonic() - self._waits_since > STORE_AFTER_SECONDS:
            self._store()

    def _store(self) -> None:
        ready, self._ready = self._ready, []
        if not ready:
            return
        outcomes: list[JsonDict] = []
        with self.ctx.storing(outcomes, (self.done + len(ready)) / self.total) as tx:
            outcomes += [one.to_json() for one in self.store(tx, ready)]
        self._settle(outcomes)

    def _fail(self, name: str, error: MarketJobsError, trail: Trail) -> None:
        note = self.advice.on(name, error)
        provider = next((who for who, one in trail.errors if one is error), None)
        asked = trail.asked() if len(trail.errors) > 1 else ()
        failure = SymbolFailure.of(error)
        self._settle([Outcome(name, SymbolStatus.FAILED, provider, self.nothing, failure, note, asked).to_json()])

    def _settle(self, outcomes: Sequence[JsonDict]) -> None:
        self.outcomes.update((one["symbol"], one) for one in outcomes)
        self.done += sum(1 for one in outcomes if not (one["error"] and one["error"]["retryable"]))
        self.ctx.progress(self.done / self.total, f"{self.done} of {self.total} symbols")
