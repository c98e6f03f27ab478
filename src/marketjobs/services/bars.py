"""Fetching bars into the store: the use case, and the functions that make it a kind of job.

`bar_request` says what may be asked for, `bar_plan` which days are asked for, `bar_fetch` does it.
"""

from __future__ import annotations

from collections.abc import Sequence

from marketjobs.domain.intervals import day_of, iso
from marketjobs.domain.jobs import BATCH_SYMBOLS, JsonDict, Part, batch_size
from marketjobs.domain.jobs import split as split_runs
from marketjobs.domain.reports import FetchReport, SymbolOutcome, collect, conclude, merge
from marketjobs.errors import AssetRenamed, Unsupported
from marketjobs.services.bar_fetch import Fetch
from marketjobs.services.bar_plan import is_only_by_name, plans, refuse_mixture
from marketjobs.services.bar_request import FetchRequest
from marketjobs.services.context import JobContext
from marketjobs.services.runtime import Runtime
from marketjobs.services.vendors import require_enabled
from marketjobs.storage import assets, bar_state, bars

# A fetch reports outcomes of symbols: these are a kind's functions too.
__all__ = ["collect", "conclude", "fetch", "identity", "merge", "plan", "prepare", "run", "split"]

FETCH = "marketjobs.fetch_market_data"


def prepare(runtime: Runtime, arguments: JsonDict) -> JsonDict:
    """Arguments complete and canonical.

    Raises:
        InvalidInput, UnknownProvider, Unsupported, ProviderMismatch: they can't be served.
    """
    request = FetchRequest.of(arguments)
    provider = require_enabled(runtime.settings, request.provider)
    why = provider.capabilities.refusal(request.interval, prepost=request.prepost)
    if why is not None:
        raise Unsupported(f"{request.provider} {why}", provider=provider.name)
    with runtime.database.read() as tx:
        others = [name for name in bars.providers(tx) if name != provider.name]
        if others and (provider.only_by_name or any(map(is_only_by_name, others))):
            known = assets.ids(tx, request.symbols)
            suppliers = bar_state.suppliers(tx, list(known.values()))
            for symbol, asset in known.items():
                refuse_mixture(symbol, provider, suppliers[asset])
    return request.to_json()


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
    work = Fetch(ctx, request, total=len(request.symbols), done=len(done))
    fresh = work.run(rest) if rest else []
    by_symbol = {one.symbol: one for one in (*settled, *fresh)}
    if work.hold is not None:
        ctx.hold = work.hold
    return FetchReport([by_symbol[symbol] for symbol in request.symbols], work.hold)


def plan(runtime: Runtime, arguments: JsonDict) -> list[tuple[str, list[tuple[str, str]]]]:
    """Per symbol what a fetch would ask for: first and last day, or for minutes and hours the instants from and to
    (ISO); asks nobody and writes nothing."""
    request = FetchRequest.of(prepare(runtime, arguments))
    provider = runtime.provider(request.provider)
    planned = []
    with runtime.database.read() as tx:
        for one in plans(tx, request, provider, request.symbols):
            if isinstance(one.refusal, AssetRenamed):
                raise one.refusal
            shown = [
                (iso(part.start), iso(part.end))
                if request.interval.is_intraday
                else (day_of(part.start).isoformat(), day_of(part.end - 1).isoformat())
                for part in one.ranges
            ]
            planned.append((one.symbol, shown))
    return planned
