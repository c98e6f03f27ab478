"""From a request to its shown outcome: hand in, follow with progress, print, exit."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from marketjobs.commands import render
from marketjobs.commands.session import OPTIONS

if TYPE_CHECKING:
    from marketjobs.domain.jobs import Job, JsonDict
    from marketjobs.services.runtime import Runtime

SHOWN_SYMBOLS = 30


def submit_and_show(
    runtime: Runtime,
    task: str,
    arguments: JsonDict,
    *,
    wait: bool,
    inline: bool,
    timeout_seconds: float | None,
    as_json: bool,
    say_next: bool = True,
) -> int:
    """Hand in a job and show it; the exit code."""
    from marketjobs.services import jobs, workers
    from marketjobs.services.kinds import KINDS

    queue = KINDS[task].queue
    inline = inline or runtime.settings.eager
    # Without a worker on the embedded queue this process will do it: no message, and no Celery to import.
    here = inline or (runtime.settings.is_embedded and wait and not workers.alive(runtime, queue))
    publish = None
    if not here:
        from marketjobs.tasks.publish import publisher

        publish = publisher(runtime.settings)
    job = jobs.submit(runtime, task, arguments, publish=publish)
    if not wait:
        if as_json:
            render.json({"job_id": job.id, "state": job.state.value})
        else:
            render.line(f"job {job.id} {job.state}")
            render.note(f"  follow it: marketjobs status {render.short(job.id)} --watch")
            if not workers.alive(runtime, queue):
                render.note("  no worker is alive yet: marketjobs worker")
            if job.published_at is None and not runtime.settings.is_embedded:
                _warn_of_broker(runtime)
        return 0
    if not as_json:
        render.line(f"job {job.id}")
    job = follow(runtime, job.id, inline=inline, timeout_seconds=timeout_seconds)
    return show_result(job, as_json=as_json, say_next=say_next)


def follow(runtime: Runtime, job_id: str, *, inline: bool = False, timeout_seconds: float | None = None) -> Job:
    """Wait for a job's end with progress.  Ctrl-C ends the watching; the job goes on, or waits to be gone on with."""
    from marketjobs.errors import Interrupted, NoWorker
    from marketjobs.services import watch, workers

    try:
        with following(runtime, job_id):
            return watch.follow(runtime, job_id, inline=inline, timeout_seconds=timeout_seconds, say=render.note)
    except NoWorker:
        require_broker(runtime, f"job {job_id} stays queued")
        raise
    except KeyboardInterrupt as exc:
        queue = watch.current(runtime, job_id).queue
        short = render.short(job_id)
        if workers.alive(runtime, queue):
            raise Interrupted(f"job {job_id} goes on", hint=f"marketjobs status {short} --watch") from exc
        raise Interrupted(f"job {job_id} stays queued", hint=f"marketjobs result {short} --wait") from exc


def require_broker(runtime: Runtime, consequence: str) -> None:
    """Raises BrokerUnavailable, saying what it means, when the broker does not answer."""
    from marketjobs.errors import BrokerUnavailable
    from marketjobs.tasks.probe import broker_check

    try:
        broker_check(runtime.settings)
    except BrokerUnavailable as exc:
        raise BrokerUnavailable(f"{exc.message}; {consequence}", hint=exc.hint) from exc


def _warn_of_broker(runtime: Runtime) -> None:
    from marketjobs.errors import BrokerUnavailable

    try:
        require_broker(runtime, "the job is kept, and sent when it is back")
    except BrokerUnavailable as exc:
        render.note(f"  {exc.message}", style="yellow", always=True)


def show_result(job: Job, *, as_json: bool, say_next: bool = True) -> int:
    """Print a job with its result; the exit code that its state has for whoever waited for it."""
    from marketjobs.services.views import result_json

    if as_json:
        render.json(result_json(job))
    else:
        _show_text(job, result_json(job), say_next=say_next)
    return {"succeeded": 0, "partial": 3, "dead": 1, "cancelled": 1}.get(job.state.value, 5)


def _show_text(job: Job, document: JsonDict, *, say_next: bool) -> None:
    symbols = (document["result"] or {}).get("symbols") or []
    failed = [one for one in symbols if one["error"]]
    shown = symbols if len(symbols) <= SHOWN_SYMBOLS else failed[:SHOWN_SYMBOLS]
    if shown:
        render.table(
            (
                "symbol",
                "interval",
                "status",
                "new ",
                "changed ",
                "same ",
                "rejected ",
                "first",
                "last",
                "said",
            ),
            [
                (
                    one["symbol"],
                    one["interval"],
                    one["status"],
                    one["rows_new"],
                    one["rows_changed"],
                    one["rows_unchanged"],
                    one["rows_rejected"],
                    one["first"],
                    one["last"],
                    f"{one['error']['cause']}: {one['error']['message']}" if one["error"] else one["note"],
                )
                for one in shown
            ],
            fold="said",
            spare=("interval", "rejected", "first", "same", "changed", "last"),
        )
    if len(symbols) > len(shown):
        render.line(f"{len(symbols) - len(failed)} of {len(symbols)} symbols done, {len(failed)} failed")
    took = None if job.finished_at is None else render.duration(job.finished_at - (job.started_at or job.submitted_at))
    ending = f"job {render.short(job.id)} {job.state}" + (f" in {took}" if took else "")
    if job.error_cause and not failed:
        ending += f": {job.error_cause}: {job.error_message}"
    render.note(ending, style=render.STATE_STYLES.get(job.state.value, ""), always=job.state.value != "succeeded")
    stored = next((one for one in symbols if one["status"] in ("stored", "up_to_date")), None)
    if stored and say_next:
        interval = "" if stored["interval"] == "1d" else f" --interval {stored['interval']}"
        render.note(f"  look: marketjobs prices {stored['symbol']}{interval}")


@contextmanager
def following(runtime: Runtime, job_id: str) -> Iterator[None]:
    """Progress on standard error while a job is followed: a bar at a terminal, a line a change elsewhere."""
    if OPTIONS.quiet:
        yield
        return
    stop = threading.Event()
    show = _bar if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=show, args=(runtime, job_id, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=2)


def _bar(runtime: Runtime, job_id: str, stop: threading.Event) -> None:
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from marketjobs.services.watch import describe

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=render.err(), transient=True) as progress:
        bar = progress.add_task("handed in", total=1.0)
        while not stop.wait(0.15):
            job = _look(runtime, job_id)
            if job is not None:
                progress.update(bar, completed=job.progress, description=describe(job))


def _lines(runtime: Runtime, job_id: str, stop: threading.Event) -> None:
    from marketjobs.services.watch import describe

    last: tuple[object, ...] = ("queued", None, 0)  # nothing is said of what goes without saying
    while not stop.wait(0.25):
        job = _look(runtime, job_id)
        if job is None or job.state.is_final:
            continue
        # A line for each tenth of a long job, not for each symbol.
        now = (job.state.value, job.waits_for, int(job.progress * 10))
        if now != last:
            last = now
            render.note(f"job {render.short(job.id)} {describe(job)}")


def _look(runtime: Runtime, job_id: str) -> Job | None:
    from marketjobs.errors import StorageError
    from marketjobs.services import jobs

    try:
        return jobs.row(runtime, job_id)
    except StorageError:
        return None  # the command itself will say so
