"""The kinds of jobs there are: how each one's arguments are checked, split and run.

A new kind is a line here, a service function, a thin task and a command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from marketjobs.domain.jobs import Conclusion, Job, JobState, JsonDict, Part
from marketjobs.errors import InvalidInput

if TYPE_CHECKING:
    from marketjobs.services.context import JobContext
    from marketjobs.services.runtime import Runtime

PREFIX = "marketjobs."


@dataclass(frozen=True, slots=True)
class Kind:
    """What a service module (or an object of one) offers to the ledger, found by name so that nothing is imported
    early.

    ``prepare(runtime, arguments)`` checks and completes them (raises InvalidInput or ConfigError);
    ``identity(arguments)`` is what equal requests share; ``split(arguments, processes)`` gives the children of a
    large request (none: it runs whole), for so many processes; ``run(ctx, arguments)`` does it;
    ``conclude(result)`` says what the result means for the job; ``collect(outcomes)`` makes a result of what a job
    settled that never reached its end; ``merge(children)`` makes a parent's state and result.
    """

    name: str
    queue: str
    module: str
    max_attempts: int | None = None
    """Where it is not what the settings say."""

    @property
    def prepare(self) -> Callable[[Runtime, JsonDict], JsonDict]:
        return self._of("prepare")

    @property
    def identity(self) -> Callable[[JsonDict], JsonDict]:
        return self._of("identity")

    @property
    def split(self) -> Callable[[JsonDict, int], Sequence[Part]]:
        return self._of("split")

    @property
    def run(self) -> Callable[[JobContext, JsonDict], JsonDict]:
        return self._of("run")

    @property
    def conclude(self) -> Callable[[JsonDict], Conclusion]:
        return self._of("conclude")

    @property
    def collect(self) -> Callable[[Sequence[JsonDict]], JsonDict]:
        return self._of("collect")

    @property
    def merge(self) -> Callable[[Sequence[Job]], tuple[JobState, JsonDict]]:
        return self._of("merge")

    def _of(self, function: str) -> Callable[..., Any]:
        module, _, member = self.module.partition(":")
        found: Any = import_module(module)
        where: Any = getattr(found, member) if member else found
        answer: Callable[..., Any] = getattr(where, function)
        return answer


KINDS = {
    kind.name: kind
    for kind in (
        Kind(PREFIX + "fetch_market_data", "market_data", "marketjobs.services.bars"),
        Kind(PREFIX + "update_prices", "market_data", "marketjobs.services.quotes"),
        Kind(PREFIX + "fetch_asset_info", "market_data", "marketjobs.services.profiles"),
        Kind(PREFIX + "fetch_news", "news", "marketjobs.services.news"),
        Kind(PREFIX + "warm_cache", "market_data", "marketjobs.services.cache_warming"),
        Kind(PREFIX + "check_providers", "default", "marketjobs.services.provider_checks", max_attempts=1),
        Kind(PREFIX + "sync_history", "market_data", "marketjobs.services.sync:HISTORY"),
        Kind(PREFIX + "sync_intraday", "market_data", "marketjobs.services.sync:INTRADAY"),
    )
}


def kind_of(task: str) -> Kind | None:
    """The kind of a task's full name; ``None``: another program's own task."""
    return KINDS.get(task)


def full_name(task: str) -> str:
    """``fetch_market_data`` or its full name.  Raises InvalidInput, naming the choices."""
    name = task if task.startswith(PREFIX) else PREFIX + task
    if name not in KINDS:
        choices = ", ".join(sorted(one.removeprefix(PREFIX) for one in KINDS))
        raise InvalidInput(f"unknown task {task!r:.60}: one of {choices}")
    return name
