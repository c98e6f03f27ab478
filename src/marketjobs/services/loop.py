"""The one event loop of a process: it lives as long as the process, so that connections do too."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_runners: dict[int, asyncio.Runner] = {}


def run(work: Coroutine[Any, Any, T], *, on_start: Callable[[Callable[[], None]], None] | None = None) -> T:
    """Run a coroutine to its end on this process's loop.

    Args:
        on_start: is handed a function that any thread may call to cancel the coroutine.

    Whatever interrupts it (a time limit raises in the middle of the loop), nothing of it is left running.
    """
    runner = _runners.setdefault(os.getpid(), asyncio.Runner())
    loop = runner.get_loop()

    async def main() -> T:
        if on_start is not None:
            task = asyncio.current_task()
            assert task is not None

            def cancel() -> None:
                loop.call_soon_threadsafe(task.cancel)

            on_start(cancel)
        return await work

    try:
        # A runner keeps the context that it was made in: each job has its own.
        return runner.run(main(), context=contextvars.copy_context())
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of errors that came together the first; groups may lie in groups."""
    error = group.exceptions[0]
    return first_of(error) if isinstance(error, BaseExceptionGroup) else error
