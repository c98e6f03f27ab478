"""Profiles and fundamentals into the store: the use case, and the functions that make it a kind of job."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from marketjobs.domain.assets import Listing
from marketjobs.domain.jobs import BATCH_SYMBOLS, Job, JobState, JsonDict, Part, batch_size
from marketjobs.domain.jobs import split as split_runs
from marketjobs.domain.profiles import Profile
from marketjobs.domain.reports import Outcome, SymbolFailure, SymbolStatus, collect, conclude
from marketjobs.domain.reports import merge as merge_reports
from marketjobs.errors import InvalidInput, Unsupported
from marketjobs.providers.base import Capabilities, Provider
from marketjobs.services import quote_cache
from marketjobs.services.context import JobContext
from marketjobs.services.errands import Errand, Found
from marketjobs.services.failover import require_usable
from marketjobs.services.identity import Named
from marketjobs.services.quotes import chosen_symbols
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets, bars, profiles
from marketjobs.storage.database import Transaction

__all__ = ["collect", "conclude", "identity", "merge", "prepare", "run", "split"]

FETCH = "marketjobs.fetch_asset_info"
ARGUMENTS = ("symbols", "group", "provider")


def prepare(runtime: Runtime, arguments: JsonDict) -> JsonDict:
    """Arguments complete and canonical: the symbols that are named, a group's, else those of all active assets.

    Raises:
        InvalidInput, ConfigError, Unsupported: they can't be served.
        GroupNotFound: there is no such group.
    """
    unknown = set(arguments) - set(ARGUMENTS)
    if unknown:
        raise InvalidInput(f"unknown argument {', '.join(sorted(map(str, unknown)))}: there are {' '.join(ARGUMENTS)}")
    provider = arguments.get("provider")
    if provider is not None:
        why = Profiles.need(require_usable(runtime.settings, provider).capabilities)
        if why is not None:
            raise Unsupported(f"{provider} {why}", provider=provider)
    return {
        "symbols": chosen_symbols(runtime, arguments.get("symbols"), arguments.get("group")),
        "provider": provider,
    }


def identity(arguments: JsonDict) -> JsonDict:
    """The order of the symbols makes no other request."""
    return arguments | {"symbols": sorted(arguments["symbols"])}


def split(arguments: JsonDict, processes: int) -> Sequence[Part]:
    """One task's worth of symbols each; none where one task has room for all."""
    symbols = arguments["symbols"]
    if len(symbols) <= BATCH_SYMBOLS:
        return []
    runs = split_runs(symbols, batch_size(len(symbols), processes))
    return [Part(FETCH, arguments | {"symbols": list(run)}) for run in runs]


def merge(children: Sequence[Job]) -> tuple[JobState, JsonDict]:
    return merge_reports(children, _lost)


def _lost(arguments: JsonDict, symbol: str, failure: SymbolFailure) -> JsonDict:
    return Outcome(symbol, SymbolStatus.FAILED, details=Profiles.nothing, error=failure).to_json()


def run(ctx: JobContext, arguments: JsonDict) -> JsonDict:
    """Ask for what an earlier attempt has not settled, and store it.  Safe to run twice."""
    if ctx.job is None:  # a plain call: nothing has prepared its arguments
        arguments = prepare(ctx.runtime, arguments)
    symbols = arguments["symbols"]
    settled = {one["symbol"]: one for one in ctx.settled}
    rest = [symbol for symbol in symbols if symbol not in settled]
    fresh = Profiles(ctx, arguments["provider"], len(symbols), len(settled)).run(rest) if rest else {}
    quote_cache.refresh(ctx.runtime, fresh)  # the names that were learnt
    return collect([settled.get(symbol) or fresh[symbol] for symbol in symbols])


class Profiles(Errand[Profile]):
    nothing: ClassVar[Mapping[str, Any]] = dict.fromkeys(("name", "sector", "figures"))

    @staticmethod
    def need(capabilities: Capabilities) -> str | None:
        return None if capabilities.profiles else "has no profiles"

    async def ask(self, provider: Provider, one: Named, listing: Listing) -> Profile:
        return await provider.profile(listing)

    def store(self, tx: Transaction, ready: Sequence[Found[Profile]]) -> list[Outcome]:
        ids = assets.ensure_in(tx, [one.name for one in ready])
        assets.lock(tx, ids.values())
        written: set[int] = set()
        for provider in dict.fromkeys(one.provider for one in ready):
            some = [one for one in ready if one.provider == provider]
            rows = [(ids[one.name], one.answer) for one in some]
            written |= profiles.upsert_many(tx, rows, bars.provider_id(tx, provider), time.time())
            facts = {one.name: _facts(one) for one in some}
            assets.describe(tx, facts, provider, {one.name: one.listing for one in some if one.listing})
        return [_success(one, is_new=ids[one.name] in written) for one in ready]


def _facts(one: Found[Profile]) -> Any:
    """What the profile says of the asset; what its prices are in is told by its symbol where that says so."""
    facts, known = one.answer.facts, one.named.currency if one.named else None
    return replace(facts, currency=known or facts.currency)


def _success(one: Found[Profile], *, is_new: bool) -> Outcome:
    profile = one.answer
    details = {"name": profile.facts.name, "sector": profile.sector, "figures": len(profile.figures)}
    status = SymbolStatus.STORED if is_new else SymbolStatus.UP_TO_DATE
    return Outcome(one.name, status, one.provider, details, asked=one.trail.asked())
