"""Do the vendors answer?  A measurement that may be taken each half minute: it joins one that is under way, is never
repeated, and spares what jobs need."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from marketjobs.domain.jobs import Conclusion, Job, JobState, JsonDict, Part
from marketjobs.domain.moments import lasting
from marketjobs.domain.rates import Rate
from marketjobs.errors import InvalidInput, MarketJobsError, ProviderError
from marketjobs.providers.base import provider_class, provider_names
from marketjobs.services import loop, providers
from marketjobs.services.context import JobContext
from marketjobs.services.providers import ERROR, OK, WAIT, WARNING, Overview, Probe
from marketjobs.services.runtime import Runtime

log = logging.getLogger(__name__)

DAY_SECONDS = 86_400
MINUTE_SECONDS = 60


def prepare(runtime: Runtime, arguments: JsonDict) -> JsonDict:
    """The names, each once, in their order; ``None``: all that are installed.

    Raises:
        UnknownProvider: one of them is none.
    """
    unknown = set(arguments) - {"names"}
    if unknown:
        raise InvalidInput(f"unknown argument {', '.join(sorted(map(str, unknown)))}: there is names")
    names = arguments.get("names") or None
    if names is not None and not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
        raise InvalidInput("names are a list of providers")
    for name in names or ():
        provider_class(name)
    return {"names": names and list(dict.fromkeys(names))}


def identity(arguments: JsonDict) -> JsonDict:
    """The order of the names makes no other request."""
    return {"names": arguments["names"] and sorted(arguments["names"])}


def split(arguments: JsonDict, processes: int) -> Sequence[Part]:
    return []


def run(ctx: JobContext, arguments: JsonDict) -> JsonDict:
    """Ask all of them at once."""
    if ctx.job is None:  # a plain call: nothing has prepared its arguments
        arguments = prepare(ctx.runtime, arguments)
    try:
        found = loop.run(_all(ctx.runtime, arguments["names"]), on_start=ctx.on_end)
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise ctx.why_ended() or KeyboardInterrupt from None
    except BaseExceptionGroup as group:
        raise loop.first_of(group) from None
    return {"providers": [one.to_json() for one in found]}


async def _all(runtime: Runtime, names: Sequence[str] | None) -> list[Probe]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_checked(runtime, name, is_named=bool(names))) for name in names or provider_names()]
    return [task.result() for task in tasks]


async def _checked(runtime: Runtime, name: str, *, is_named: bool) -> Probe:
    try:
        provider_class(name)
    except MarketJobsError:
        return await providers.probed(runtime, name)  # which says what is wrong with it
    told = _told(providers.overview(runtime, name), is_named=is_named)
    if told is not None:
        return told
    try:
        return await providers.probed(runtime, name, wanted=is_named)
    except Exception as exc:  # a plug-in may raise anything, and the others are to be told of all the same
        log.exception("provider.crashed provider=%s", name)
        return Probe(name, ERROR, f"internal_error: {type(exc).__name__}", "mend the package that brings it")


def _told(found: Overview, *, is_named: bool) -> Probe | None:
    """What is known without asking; ``None``: it takes a question."""
    state, hold = found.state()
    if state == "failing" and hold is not None:  # open for as long as the outage lasts: to be seen all the time
        why = f"not asked: it failed again and again ({hold.why}); tried again in {lasting(hold.seconds)}"
        return Probe(found.name, ERROR, why, WAIT)
    holds = [one.hold for _, one in found.usages()]
    if hold is None and holds and all(holds):
        hold = min(filter(None, holds), key=lambda one: one.seconds)
        state = "held"
    if state == "held" and hold is not None:
        return Probe(found.name, WARNING, f"not asked: held for {lasting(hold.seconds)} ({hold.why})", WAIT)
    if state != "ok" or is_named:
        return None
    keys = [one.left for _, one in found.usages()]
    if any(rate.seconds >= DAY_SECONDS for left in keys for rate, _ in left):
        # A check each half minute would use a budget of days up.
        spent = all(any(not calls for rate, calls in left if rate.seconds >= DAY_SECONDS) for left in keys)
        left = providers.left_text(found)
        return Probe(found.name, WARNING if spent else OK, f"not asked, to spare its calls; left {left}")
    if keys and all(any(_is_in_use(rate, calls) for rate, calls in left) for left in keys):
        return Probe(found.name, OK, f"not asked, its calls are in use; left {providers.left_text(found)}")
    return None


def _is_in_use(rate: Rate, left: int) -> bool:
    """Less than half of a window is left that nobody waits for in passing."""
    return rate.seconds >= MINUTE_SECONDS and 2 * left < rate.calls


def conclude(result: JsonDict) -> Conclusion:
    """Dead when each that could be asked has failed, partial when some have; never tried again."""
    told = [one for one in result["providers"] if one["verdict"] != OK or one["seconds"] is not None]
    failed = [one for one in told if one["verdict"] == ERROR]
    if not failed:
        return Conclusion(JobState.SUCCEEDED)
    state = JobState.DEAD if len(failed) == len(told) else JobState.PARTIAL
    return Conclusion(state, (ProviderError.cause, "; ".join(f"{one['name']}: {one['found']}" for one in failed)))


def collect(outcomes: Sequence[JsonDict]) -> JsonDict:
    """Nothing is settled before its end."""
    return {}


def merge(children: Sequence[Job]) -> tuple[JobState, JsonDict]:
    raise InvalidInput("a job of this kind has no parts")
