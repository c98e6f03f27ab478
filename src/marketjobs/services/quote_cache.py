"""Latest prices beside the store, for quick reading.  The database is the truth: a cache that is away, slow or full
costs whoever meets it a second at most, and is left alone for a while then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from marketjobs.errors import CacheUnavailable, StorageError
from marketjobs.services.bounded import within
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets, quotes
from marketjobs.storage.quote_cache import QuoteCache, prepare
from marketjobs.storage.quotes import ReadQuote

log = logging.getLogger(__name__)

T = TypeVar("T")
WRITE_SECONDS = 1.0
READ_SECONDS = 0.5
REST_SECONDS = 30.0


def read(runtime: Runtime, symbols: Sequence[str]) -> list[ReadQuote]:
    """Those of these symbols that the cache has; none where it is away."""
    cache = _awake(runtime)
    if cache is None or not symbols:
        return []
    try:
        return _bounded(READ_SECONDS, lambda: cache.read(symbols, READ_SECONDS))
    except CacheUnavailable as exc:
        _leave_alone(cache, exc)
        return []


def refresh(runtime: Runtime, symbols: Collection[str]) -> None:
    """Have the cache say of these symbols what the store says by now; to be called after a commit."""
    cache = _awake(runtime)
    if cache is None or not symbols:
        return
    try:
        with runtime.database.read() as tx:
            found = quotes.read(tx, list(symbols))
        write(runtime, cache, found)
    except CacheUnavailable as exc:
        _leave_alone(cache, exc)
    except StorageError as exc:  # what was stored is stored
        log.warning("cache.stale cause=%s message=%s", exc.cause, exc)


def write(runtime: Runtime, cache: QuoteCache, found: Sequence[ReadQuote]) -> int:
    """Write what was read from the store; how many: a newer price that the cache has stays.

    An asset that was renamed or forgotten since is taken out again: whoever did that may have been here before.

    Raises:
        CacheUnavailable: it does not answer in time, or refuses.
        StorageError: the store does not answer.
    """
    if not found:
        return 0
    written = _bounded(WRITE_SECONDS, lambda: cache.write(found, WRITE_SECONDS))
    symbols = [one.symbol for one in found]
    with runtime.database.read() as tx:
        known = assets.ids(tx, symbols)
    gone = [symbol for symbol in symbols if symbol not in known]
    if gone:
        _bounded(WRITE_SECONDS, lambda: cache.forget(gone, WRITE_SECONDS))
    return written


def forget(runtime: Runtime, symbols: Sequence[str]) -> None:
    """No asset is called like that any more, or is kept fresh; to be called after the commit."""
    cache = _awake(runtime)
    if cache is None or not symbols:
        return
    try:
        _bounded(WRITE_SECONDS, lambda: cache.forget(symbols, WRITE_SECONDS))
    except CacheUnavailable as exc:
        _leave_alone(cache, exc)


def version(cache: QuoteCache) -> str:
    """What answers there.  Raises CacheUnavailable."""
    return _bounded(WRITE_SECONDS, lambda: cache.version(WRITE_SECONDS))


def _awake(runtime: Runtime) -> QuoteCache | None:
    cache = runtime.quote_cache
    return cache if cache is not None and time.monotonic() >= cache.rests_until else None


def _bounded(seconds: float, work: Callable[[], T]) -> T:
    """In all: many short waits, and the look-up of a name, may take longer than one silence."""
    prepare()
    try:
        return within(seconds, work, "cache")
    except TimeoutError as exc:
        raise CacheUnavailable(f"the cache does not answer: {exc}") from exc


def _leave_alone(cache: QuoteCache, error: CacheUnavailable) -> None:
    cache.rests_until = time.monotonic() + REST_SECONDS
    log.warning("cache.away cause=%s message=%s", error.cause, error)
