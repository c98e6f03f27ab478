"""From a request to its shown outcome: hand in, follow with progress, print, exit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketjobs.commands import render
from marketjobs.commands.progress import following
from marketjobs.commands.results import show_result

if TYPE_CHECKING:
    from marketjobs.domain.jobs import Job, JsonDict
    from marketjobs.services.runtime import Runtime


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
    from marketjobs.errors import InvalidInput
    from marketjobs.services import jobs, workers
    from marketjobs.services.kinds import KINDS

    queue = KINDS[task].queue
    if inline and not wait:
        raise InvalidInput("--inline runs the job here, --no-wait leaves it to a worker: give one of them")
    inline = inline or runtime.settings.eager
    wait = wait or runtime.settings.eager  # handing in is running, then
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

    inline = inline or runtime.settings.eager
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
        require_broker(runtime, "the job is kept until it takes its wake-up")
    except BrokerUnavailable as exc:
        render.note(f"  {exc.message}", style="yellow", always=True)
