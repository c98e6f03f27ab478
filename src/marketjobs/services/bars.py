"""Fetching bars into the store: the use case, and the functions that make it a kind of job.

`bar_request` says what may be asked for, `bar_chain` who is asked, `bar_plan` for which days, `bar_fetch` does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from marketjobs.domain.assets import AssetClass
from marketjobs.domain.intervals import day_of, iso
from marketjobs.domain.jobs import BATCH_SYMBOLS, JsonDict, Part, batch_size
from marketjobs.domain.jobs import split as split_runs
from marketjobs.domain.reports import FetchReport, SymbolOutcome, collect, conclude, merge
from marketjobs.errors import AssetRenamed
from marketjobs.providers.base import provider_class
from marketjobs.services import identity as identities
from marketjobs.services import quote_cache
from marketjobs.services.bar_chain import Chains, need
from marketjobs.services.bar_plan import is_only_by_name, plans, refuse_mixture
from marketjobs.services.bar_request import FetchRequest
from marketjobs.services.context import JobContext
from marketjobs.services.failover import chain
from marketjobs.services.identity import Named
from marketjobs.services.runtime import Runtime
from marketjobs.storage import bar_state, bars

# A fetch reports outcomes of symbols: these are a kind's functions too.
__all__ = ["collect", "conclude", "fetch", "identity", "merge", "plan", "prepare", "run", "split"]

FETCH = "marketjobs.fetch_market_data"


def prepare(runtime: Runtime, arguments: JsonDict) -> JsonDict:
    """Arguments complete and canonical.

    Raises:
        InvalidInput, UnknownProvider, Unsupported, ProviderMismatch: they can't be served.
    """
    request = FetchRequest.of(arguments)
    with runtime.database.read() as tx:
        wanted = identities.named(tx, request.symbols)
        by_class = _first_by_class(runtime, request, wanted.values())
        names = {*bars.providers(tx), *by_class.values()}
        if len(names) > 1 and any(map(is_only_by_name, names)):
            suppliers = bar_state.suppliers(tx, [one.id for one in wanted.values() if one.record])
            for symbol, one in wanted.items():
                first = by_class.get(one.asset_class)
                if first is not None:
                    refuse_mixture(symbol, provider_class(first), suppliers.get(one.id, ()))
    return request.to_json()


def _first_by_class(runtime: Runtime, request: FetchRequest, wanted: Iterable[Named]) -> dict[AssetClass, str]:
    """The first provider of each class's chain that can be asked; symbols of a class without one fail by themselves.

    Raises:
        ConfigError, Unsupported: no symbol can be served; the reason of the first provider.
    """
    found: dict[AssetClass, str] = {}
    refusals = []
    for asset_class in dict.fromkeys(one.asset_class for one in wanted):
        links = chain(runtime.settings, asset_class, need(request), request.provider)
        usable = [link.name for link in links if link.refusal is None]
        if usable:
            found[asset_class] = usable[0]
        refusals += [link.refusal for link in links if link.refusal is not None]
    if not found:
        raise refusals[0]
    return found


def identity(arguments: JsonDict) -> JsonDict:
    """The order of the symbols makes no other request."""
    return arguments | {"symbols": sorted(arguments["symbols"])}


def split(arguments: JsonDict, processes: int) -> Sequence[Part]:
    """One task's worth of symbols each; none where one task has room for all."""
    symbols = arguments["symbols"]
    if len(symbols) <= BATCH_SYMBOLS:
        return []
    return [
        Part(FETCH, arguments | {"symbols": list(run)})
        for run in split_runs(symbols, batch_size(len(symbols), processes))
    ]


def run(ctx: JobContext, arguments: JsonDict) -> JsonDict:
    """Fetch what an earlier attempt has not settled; see :func:`fetch`."""
    return fetch(ctx, FetchRequest.of(arguments)).to_json()


def fetch(ctx: JobContext, request: FetchRequest) -> FetchReport:
    """Bring the series of the request's symbols up to date.

    Symbols fail one by one, each with its cause; what is good is stored, and what is stored already is never
    touched by an answer that failed.  Safe to run twice.
    """
    settled = [SymbolOutcome.from_json(one) for one in ctx.settled]
    done = {one.symbol for one in settled}
    rest = [symbol for symbol in request.symbols if symbol not in done]
    work = Chains(ctx, request, total=len(request.symbols), done=len(done))
    fresh = work.run(rest) if rest else []
    quote_cache.refresh(ctx.runtime, [one.symbol for one in fresh])  # the names that were learnt
    by_symbol = {one.symbol: one for one in (*settled, *fresh)}
    return FetchReport([by_symbol[symbol] for symbol in request.symbols])


def plan(runtime: Runtime, arguments: JsonDict) -> list[tuple[str, list[tuple[str, str]]]]:
    """Per symbol what a fetch would ask for: first and last day, or for minutes and hours the instants from and to
    (ISO); asks nobody and writes nothing."""
    request = FetchRequest.of(prepare(runtime, arguments))
    planned: dict[str, list[tuple[str, str]]] = {}
    with runtime.database.read() as tx:
        wanted = identities.named(tx, request.symbols).values()
        by_class = _first_by_class(runtime, request, wanted)
        by_provider: dict[str, list[Named]] = {}
        for one in wanted:
            if one.asset_class in by_class:
                by_provider.setdefault(by_class[one.asset_class], []).append(one)
        for name, some in by_provider.items():
            for found in plans(tx, request, runtime.provider(name), some, runtime.settings.chains):
                if isinstance(found.refusal, AssetRenamed):
                    raise found.refusal
                planned[found.symbol] = [
                    (iso(part.start), iso(part.end))
                    if request.interval.is_intraday
                    else (day_of(part.start).isoformat(), day_of(part.end - 1).isoformat())
                    for part in found.ranges
                ]
    return [(symbol, planned.get(symbol, [])) for symbol in request.symbols]
