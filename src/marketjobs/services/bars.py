"""Fetching bars into the store: the use case, and the four functions that make it a kind of job.

`bar_request` says what may be asked for, `bar_plan` which days are asked for, `bar_fetch` does it.
"""

from __future__ import annotations

from collections.abc import Sequence

from marketjobs.domain.intervals import day_of
from marketjobs.domain.jobs import BATCH_SYMBOLS, Job, JobState, JsonDict
from marketjobs.domain.jobs import split as split_runs
from marketjobs.domain.reports import FetchReport, SymbolFailure, SymbolOutcome, SymbolStatus, final_state
from marketjobs.errors import Unsupported
from marketjobs.services.bar_fetch import Fetch
from marketjobs.services.bar_plan import is_only_by_name, plan_symbol, refuse_mixture
from marketjobs.services.bar_request import FetchRequest
from marketjobs.services.jobs import JobContext
from marketjobs.services.runtime import Runtime
from marketjobs.services.universe import refuse_renamed
from marketjobs.storage import bars


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
        if others and (provider.only_by_name or any(map(is_only_by_name, others))):
            for symbol in request.symbols:
                asset = bars.asset_id(tx, symbol)
                if asset is not None:
                    refuse_mixture(symbol, provider, bars.suppliers(tx, asset))
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
    """Per symbol the days (first, last, ISO) that a fetch would ask for; asks nobody and writes nothing."""
    request = FetchRequest.of(prepare(runtime, arguments))
    provider = runtime.provider(request.provider)
    planned = []
    with runtime.database.read() as tx:
        for symbol in request.symbols:
            asset = bars.asset_id(tx, symbol)
            if asset is None:
                refuse_renamed(tx, symbol)
            one = plan_symbol(tx, request, provider, symbol, asset)
            planned.append((symbol, [(day_of(r.start).isoformat(), day_of(r.end - 1).isoformat()) for r in one.ranges]))
    return planned
