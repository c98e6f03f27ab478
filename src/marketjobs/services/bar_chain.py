"""One attempt at a fetch of bars: each symbol is asked of the providers of its chain, one after the other.

In rounds: what one provider could not serve is asked of the next, many symbols at a time (`bar_fetch`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from marketjobs.domain.intervals import stamp_text
from marketjobs.domain.reports import Asked, Hold, SymbolOutcome
from marketjobs.errors import (
    AmbiguousSymbol,
    ConfigError,
    DataRejected,
    HistoryCut,
    LeaseLost,
    MarketJobsError,
    ProviderError,
    StorageError,
)
from marketjobs.providers.base import Capabilities
from marketjobs.services import identity, loop
from marketjobs.services.bar_fetch import Fetch
from marketjobs.services.bar_outcome import Span, failure
from marketjobs.services.bar_plan import Plan, plans
from marketjobs.services.bar_request import FetchRequest
from marketjobs.services.context import JobContext
from marketjobs.services.failover import Closed, Link, Need, Trail, chain
from marketjobs.services.identity import Named
from marketjobs.services.probes import Probes

_ASK_THE_NEXT = (ProviderError, DataRejected, AmbiguousSymbol, ConfigError)


def need(request: FetchRequest) -> Need:
    """What a provider must be able to do for a fetch."""

    def why_not(capabilities: Capabilities) -> str | None:
        return capabilities.refusal(request.interval, prepost=request.prepost)

    return why_not


@dataclass(slots=True)
class _Track:
    """A symbol on its way along its chain."""

    named: Named
    links: list[Link]
    trail: Trail
    span: Span = (None, None)
    done_until: int | None = None
    """So far the vendor's answers have gone, of which there are more to come."""
    stored: list[SymbolOutcome] = field(default_factory=list)

    def asked(self) -> tuple[Asked, ...]:
        return self.trail.asked()


class Chains:
    """``run`` gives an outcome a symbol; what must wait, its context is told."""

    def __init__(self, ctx: JobContext, request: FetchRequest, total: int, done: int) -> None:
        self.ctx = ctx
        self.request = request
        self.total, self.done = total, done
        self.closed = Closed()
        self.probes = Probes()
        self.advice = identity.Advice(ctx.runtime.database)
        self.outcomes: list[SymbolOutcome] = []
        self._legs: list[Fetch] = []
        self._tracks: dict[str, _Track] = {}

    def run(self, symbols: Sequence[str]) -> list[SymbolOutcome]:
        settings = self.ctx.runtime.settings
        with self.ctx.runtime.database.read() as tx:
            found = identity.named(tx, symbols)
        why_not = need(self.request)
        self._tracks = {
            symbol: _Track(
                one,
                chain(settings, one.asset_class, why_not, self.request.provider),
                Trail(is_stored=one.record is not None),
            )
            for symbol, one in found.items()
        }
        try:
            loop.run(self._rounds(), on_start=self.ctx.on_end)
        except (asyncio.CancelledError, KeyboardInterrupt):
            reason = self.ctx.why_ended()
            if not isinstance(reason, LeaseLost):
                self._store()  # what has been answered need not be asked for again
            raise reason or KeyboardInterrupt from None
        except BaseExceptionGroup as group:
            # Only what is no symbol's fault comes here: the store is away, the lease is lost, its time is over.
            raise self._kept(loop.first_of(group)) from None
        except Exception as exc:
            raise self._kept(exc) from None
        return self.outcomes

    def _kept(self, error: BaseException) -> BaseException:
        """What has been answered by then is stored, where it may be: it need not be asked for again."""
        if not isinstance(error, LeaseLost | StorageError):
            with contextlib.suppress(LeaseLost, StorageError):
                self._store()
        return error

    def _store(self) -> None:
        for leg in self._legs:
            leg.store()

    async def _rounds(self) -> None:
        while self._tracks:
            by_provider: dict[str, list[_Track]] = {}
            for track in list(self._tracks.values()):
                name = self._next(track)
                if name is None:
                    self._give_up(track)
                else:
                    by_provider.setdefault(name, []).append(track)
            self._legs = [Fetch(self, self.ctx.runtime.provider(name)) for name in by_provider]
            async with asyncio.TaskGroup() as group:
                for leg, tracks in zip(self._legs, by_provider.values(), strict=True):
                    group.create_task(leg.all(self._planned(leg, tracks)))

    def _next(self, track: _Track) -> str | None:
        """Who is asked next; those who can't serve it, or not now, are passed by."""
        while track.links and not track.trail.waits_a_moment:
            link = track.links[0]
            error = link.refusal or self.closed.why(link.name, track.named.symbol)
            if error is None:
                return link.name
            track.trail.add(link.name, error)
            track.links.pop(0)
        return None

    def _planned(self, leg: Fetch, tracks: Sequence[_Track]) -> list[Plan]:
        runtime = self.ctx.runtime
        wanted = [one.named for one in tracks]
        done = {one.named.symbol: one.done_until for one in tracks if one.done_until is not None}
        with runtime.database.read() as tx:
            found = plans(tx, self.request, leg.provider, wanted, runtime.settings.chains, done)
        for track, one in zip(tracks, found, strict=True):
            track.span = one.series.first, one.series.last
        return [replace(one, asked=track.asked()) for track, one in zip(tracks, found, strict=True)]

    # -- what a leg tells

    def failed(self, one: Plan, provider: str, error: MarketJobsError, *, for_good: bool = False) -> None:
        """A provider did not serve a symbol: the next one is asked, unless the reason is not the provider's."""
        track = self._tracks[one.symbol]
        self.closed.note(provider, error)
        track.trail.add(provider, error)
        track.links.pop(0)
        if for_good or isinstance(error, HistoryCut) or not isinstance(error, _ASK_THE_NEXT):
            self._settle_failure(track, error, None)

    def goes_on(self, outcome: SymbolOutcome, until: int) -> None:
        """A part of a long series is stored: the next one is asked of the same provider."""
        track = self._tracks[outcome.symbol]
        track.stored.append(outcome)
        track.done_until = until
        there = stamp_text(until, self.request.interval)
        self.ctx.progress(
            self.done / self.total, f"{self.done} of {self.total} symbols; {outcome.symbol} up to {there}"
        )

    def summed(self, outcome: SymbolOutcome) -> SymbolOutcome:
        """An outcome with the parts before it."""
        return outcome.after(self._tracks[outcome.symbol].stored)

    def settle(self, outcomes: Sequence[SymbolOutcome]) -> None:
        for one in outcomes:
            self._tracks.pop(one.symbol, None)
        self.outcomes += outcomes
        self.done += sum(1 for one in outcomes if not (one.error and one.error.retryable))
        self.ctx.progress(self.done / self.total, f"{self.done} of {self.total} symbols")

    def share_done(self, more: int) -> float:
        return (self.done + more) / self.total

    def _give_up(self, track: _Track) -> None:
        error, hold = track.trail.verdict()
        self._settle_failure(track, error, hold)

    def _settle_failure(self, track: _Track, error: MarketJobsError, hold: Hold | None) -> None:
        self.ctx.wait_for(hold)
        note = self.advice.on(track.named.symbol, error)
        provider = next((name for name, one in track.trail.errors if one is error), None)
        asked = track.asked() if len(track.trail.errors) > 1 else ()
        self.settle([failure(self.request, track.named.symbol, track.span, provider, error, asked, note)])
