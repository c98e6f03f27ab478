"""Progress on standard error while a job is followed: a bar at a terminal, a line a change elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from marketjobs.commands import render
from marketjobs.commands.session import OPTIONS

if TYPE_CHECKING:
    from marketjobs.domain.jobs import Job
    from marketjobs.services.progress import Progress, Watched
    from marketjobs.services.runtime import Runtime


@contextmanager
def following(runtime: Runtime, job_id: str) -> Iterator[None]:
    if OPTIONS.quiet:
        yield
        return
    from marketjobs.services.progress import Watched

    stop = threading.Event()
    show = _bar if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=show, args=(Watched(runtime, job_id), stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=2)


def _bar(watched: Watched, stop: threading.Event) -> None:
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from marketjobs.services.progress import in_words

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=render.err(), transient=True) as progress:
        bar = progress.add_task("handed in", total=1.0, speed="")
        while not stop.wait(0.25):
            seen = _look(watched)
            if seen is not None:
                job, at = seen
                progress.update(bar, completed=job.progress, description=in_words(job, at), speed=_speed(at))


def _speed(at: Progress) -> str:
    if at.per_second is None or at.seconds_left is None or at.symbols < 2:
        return ""
    return f"{at.per_second:.1f} symbols/s, {render.duration(at.seconds_left)} left"


def _lines(watched: Watched, stop: threading.Event) -> None:
    from marketjobs.services.progress import in_words

    last: tuple[object, ...] = ("queued", None, 0)  # nothing is said of what goes without saying
    while not stop.wait(0.25):
        seen = _look(watched)
        if seen is None or seen[0].state.is_final:
            continue
        job, at = seen
        # A line for each tenth of a long job, not for each symbol.
        now = (job.state.value, job.waits_for, int(job.progress * 10))
        if now != last:
            last = now
            speed = _speed(at)
            render.note(f"job {render.short(job.id)} {in_words(job, at)}" + (f" ({speed})" if speed else ""))


def _look(watched: Watched) -> tuple[Job, Progress] | None:
    from marketjobs.errors import MarketJobsError

    try:
        return watched.look()
    except MarketJobsError:
        return None  # the command itself will say so
