"""Stored prices into the cache (after it was lost, or was away): the use case, and what makes it a kind of job."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from marketjobs.domain.assets import normalise_symbols
from marketjobs.domain.jobs import Conclusion, Job, JobState, JsonDict, Part
from marketjobs.errors import ConfigError, InvalidInput
from marketjobs.services import quote_cache, universe
from marketjobs.services.context import JobContext
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets, quotes
from marketjobs.storage.many import CHUNK, chunks
from marketjobs.storage.quote_cache import QuoteCache
from marketjobs.storage.quotes import ReadQuote

ARGUMENTS = ("symbols", "group")


def prepare(runtime: Runtime, arguments: JsonDict) -> JsonDict:
    """Arguments complete and canonical: the symbols that are named and a group's; ``None``: all active assets, which
    are looked up when the job runs.

    Raises:
        ConfigError: there is no cache.
        InvalidInput: the symbols can't be right.
        AssetNotFound, AssetRenamed, GroupNotFound: there is no such asset or group.
    """
    unknown = set(arguments) - set(ARGUMENTS)
    if unknown:
        raise InvalidInput(f"unknown argument {', '.join(sorted(map(str, unknown)))}: there are {' '.join(ARGUMENTS)}")
    _cache(runtime)
    symbols, group = arguments.get("symbols"), arguments.get("group")
    if symbols is None and group is None:
        return {"symbols": None}
    if symbols is not None:
        normalise_symbols(symbols)
    chosen = universe.symbols_of(runtime, symbols or (), group)
    with runtime.database.read() as tx:
        known = assets.ids(tx, chosen)
        for symbol in chosen:
            if symbol not in known:
                universe.refuse_unknown(tx, symbol, "warm-cache -s", "update-prices")
    return {"symbols": chosen}


def _cache(runtime: Runtime) -> QuoteCache:
    if runtime.quote_cache is None:
        raise ConfigError(
            "there is no cache: [cache] url is empty", hint="MARKETJOBS_CACHE__URL=redis://localhost:6379/0"
        )
    return runtime.quote_cache


def identity(arguments: JsonDict) -> JsonDict:
    """The order of the symbols makes no other request."""
    symbols = arguments["symbols"]
    return {"symbols": None if symbols is None else sorted(symbols)}


def split(arguments: JsonDict, processes: int) -> Sequence[Part]:
    """It is one job, however much there is: a batch takes milliseconds."""
    return []


def run(ctx: JobContext, arguments: JsonDict) -> JsonDict:
    """Copy batch by batch.  Safe to run twice: a newer price that the cache has stays.

    Raises:
        CacheUnavailable: it is away; what was written stays.
    """
    if ctx.job is None:  # a plain call: nothing has prepared its arguments
        arguments = prepare(ctx.runtime, arguments)
    cache, began = _cache(ctx.runtime), time.monotonic()
    symbols = arguments["symbols"]
    with ctx.runtime.database.read() as tx:
        total = quotes.count_active(tx) if symbols is None else len(symbols)
    found = written = 0
    for batch in _batches(ctx.runtime, symbols):
        found += len(batch)
        written += quote_cache.write(ctx.runtime, cache, batch)
        ctx.progress(min(1.0, found / max(1, total)), f"{found} of {total} prices")
    # Whoever left the cache alone here need not do so any longer.
    cache.rests_until = 0.0
    return {
        "cached": written,
        "newer_there": found - written,
        "without_price": 0 if symbols is None else len(symbols) - found,
        "seconds": round(time.monotonic() - began, 3),
    }


def _batches(runtime: Runtime, symbols: Sequence[str] | None) -> Iterator[list[ReadQuote]]:
    """Each read by itself, so that neither memory nor a transaction grows with the universe."""
    if symbols is not None:
        for part in chunks(symbols):
            with runtime.database.read() as tx:
                batch = quotes.read(tx, part)
            yield batch
        return
    last: int | None = 0
    while last is not None:
        with runtime.database.read() as tx:
            batch, last = quotes.read_active(tx, last, CHUNK)
        yield batch


def conclude(result: JsonDict) -> Conclusion:
    return Conclusion(JobState.SUCCEEDED)


def collect(outcomes: Sequence[JsonDict]) -> JsonDict:
    """Nothing is settled before its end."""
    return {}


def merge(children: Sequence[Job]) -> tuple[JobState, JsonDict]:
    raise InvalidInput("a job of this kind has no parts")
