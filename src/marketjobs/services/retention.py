"""How long finished jobs are remembered: `[retention]`, kept by the reaper and by `cleanup`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from marketjobs.services.runtime import Runtime
from marketjobs.storage import retention
from marketjobs.storage.database import Transaction
from marketjobs.storage.retention import Ended

log = logging.getLogger(__name__)
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went: requests that were done (or cancelled), dead ones, and parts of both."""

    done: int = 0
    dead: int = 0
    parts: int = 0

    @property
    def rows(self) -> int:
        return self.done + self.dead + self.parts


def overdue(runtime: Runtime) -> Pruned:
    """What :func:`prune` would delete now."""
    with runtime.database.read() as tx:
        (done, its_parts), (dead, dead_parts) = (
            (0, 0) if before is None else retention.count(tx, ended, before)
            for ended, before in _limits(runtime, tx).items()
        )
    return Pruned(done, dead, its_parts + dead_parts)


def prune(
    runtime: Runtime, *, slices: int | None = None, tell: Callable[[Pruned], None] = lambda _so_far: None
) -> Pruned:
    """Delete what is older, or more, than the settings keep.  A transaction takes one slice, so that nobody waits
    for it; ``slices``: at most so many of them."""
    pruned = Pruned()
    with runtime.database.read() as tx:
        limits = _limits(runtime, tx)
    for ended, before in limits.items():
        while before is not None and (slices is None or slices > 0):
            with runtime.database.write() as tx:
                requests, parts = retention.forget(tx, ended, before)
            if not requests and not parts:
                break
            is_dead = ended is Ended.DEAD
            pruned = Pruned(
                pruned.done + (0 if is_dead else requests),
                pruned.dead + (requests if is_dead else 0),
                pruned.parts + parts,
            )
            slices = None if slices is None else slices - 1
            tell(pruned)
    if pruned.rows:
        log.info("jobs.pruned done=%d dead=%d parts=%d", pruned.done, pruned.dead, pruned.parts)
    return pruned


def _limits(runtime: Runtime, tx: Transaction) -> dict[Ended, float | None]:
    """The instant before which jobs that ended are forgotten; ``None``: all are kept."""
    settings, now = runtime.settings.retention, tx.now()
    done = [now - settings.jobs_days * DAY_SECONDS] if settings.jobs_days else []
    if settings.jobs_kept:
        newest = retention.newest_end(tx, Ended.DONE, settings.jobs_kept)
        done += [] if newest is None else [newest]
    return {
        Ended.DONE: max(done, default=None),
        Ended.DEAD: now - settings.dead_days * DAY_SECONDS if settings.dead_days else None,
    }
