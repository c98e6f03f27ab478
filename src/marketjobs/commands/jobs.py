"""Commands about jobs and workers: `status result cancel jobs list-active worker-stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import JSON, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketjobs.domain.jobs import Job, JobState, JsonDict


class JobLayout(TypedDict):
    fold: tuple[str, ...]
    spare: tuple[str, ...]


JOB = Annotated[str, typer.Argument(metavar="JOB", help="An id, or 4 or more characters of its beginning or end.")]
STATE = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="S", help="queued waiting running succeeded partial dead cancelled"),
]
TASK = Annotated[str | None, typer.Option("--task", metavar="T", help="Only this task.")]
QUEUE = Annotated[str | None, typer.Option("--queue", metavar="Q", help="Only this queue.")]
UTC = Annotated[bool, typer.Option("--utc", help="Times in UTC instead of the terminal's zone.")]


def status(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="A job; without it the whole system.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it ends.")] = False,
    utc: UTC = False,
    as_json: JSON = False,
) -> None:
    """The system at a glance, or one job."""
    if job is None:
        _system(watch=watch, utc=utc, as_json=as_json)
        return
    from marketjobs.commands import render
    from marketjobs.commands.progress import following
    from marketjobs.services import jobs
    from marketjobs.services.views import status_json

    runtime = session.runtime()
    found = jobs.get(runtime, job)
    if watch and not found.state.is_final:
        with following(runtime, found.id):
            found = _until_final(runtime, found)
    if as_json:
        render.json(status_json(found))
        return
    _show_job(found, utc=utc)


def _until_final(runtime, job: Job) -> Job:
    """Watching only: whoever watches does not run the job."""
    import time

    from marketjobs.commands import render
    from marketjobs.services import jobs, workers

    if not workers.alive(runtime, job.queue) and job.state.value != "running":
        render.note(
            f"no worker is alive to run it; go on with it here: marketjobs result {render.short(job.id)} --wait"
        )
    while not job.state.is_final:
        time.sleep(0.2)
        job = jobs.get(runtime, job.id)
    return job


def _show_job(job: Job, *, utc: bool) -> None:
    from marketjobs.commands import render
    from marketjobs.services.views import asked_of
    from marketjobs.services.watch import describe

    rows: list[tuple[str, str | None]] = [
        ("job", job.id),
        ("task", job.task),
        ("state", job.state.value),
        ("asked for", _arguments(job)),
        ("attempt", f"{job.attempt} of {job.max_attempts}"),
        ("submitted", render.instant(job.submitted_at, utc=utc)),
        ("started", render.instant(job.started_at, utc=utc)),
        ("finished", render.instant(job.finished_at, utc=utc)),
        ("part of", job.parent_id),
    ]
    if not job.state.is_final:
        rows.append(("now", describe(job)))
        rows.append(("progress", f"{job.progress:.0%}"))
        if job.state.value == "waiting" and job.waits_for != "children":
            rows.append(("next attempt", render.instant(job.run_at, utc=utc)))
    for one in asked_of((job.result or {}).get("symbols") or job.outcomes):
        which = render.some(one["symbols"], 4)
        rows.append((f"not by {one['provider']}", f"{which}: {one['cause']}: {one['message']}"))
    rows += [("worker", job.owner), ("error", job.error_cause and f"{job.error_cause}: {job.error_message}")]
    render.table(("what", "value"), [row for row in rows if row[1] is not None], fold=("value",))
    follow = "result" if job.state.is_final else "status"
    render.note(f"  next: marketjobs {follow} {render.short(job.id)}" + ("" if job.state.is_final else " --watch"))


def _first(symbols: Sequence[object], number: int) -> str:
    """Those that were refused may be of any length."""
    from marketjobs.domain.assets import MAX_SYMBOL_LENGTH
    from marketjobs.domain.texts import shortened

    return " ".join(shortened(str(one), MAX_SYMBOL_LENGTH) for one in symbols[:number])


def _asked_for(arguments: JsonDict) -> list[object]:
    """Symbols, feeds, providers."""
    return [one for name in ("symbols", "feeds", "names") for one in arguments.get(name) or ()]


def _arguments(job: Job) -> str:
    symbols = _asked_for(job.arguments)
    shown = _first(symbols, 6) + (f" and {len(symbols) - 6} more" if len(symbols) > 6 else "")
    rest = [str(job.arguments[key]) for key in ("interval", "period", "start", "end") if job.arguments.get(key)]
    return " ".join([shown, *rest]).strip() or "-"


def _system(*, watch: bool, utc: bool, as_json: bool) -> None:
    import sys
    import time

    from marketjobs.commands import render
    from marketjobs.services.views import system_json

    runtime = session.runtime()
    document = system_json(runtime)
    if as_json:
        render.json(document)
        return
    while True:
        if watch and sys.stdout.isatty():
            render.out().clear()
        _show_system(document, utc=utc)
        if not watch:
            return
        time.sleep(1.0)
        document = system_json(runtime)


def _show_system(document: JsonDict, *, utc: bool) -> None:
    from marketjobs.commands import render

    store, broker = document["store"], document["broker"]
    render.line(f"store   {store['url']}   {store['active']} of {store['assets']} assets active")
    if broker == "embedded":
        render.line("broker  embedded queue (this host only, about 25 short jobs a second)")
    else:
        away = document["broker_answers"] is False
        render.line(
            f"broker  {document['broker_kind']}, {broker}"
            + (": does not answer; jobs are kept, and sent when it is back" if away else ""),
            style="yellow" if away else None,
        )
    workers = [one for one in document["workers"] if one["kind"] == "worker"]
    if workers:
        names = ", ".join(f"{one['id']} ({one['health']})" for one in workers)
        render.line(f"workers {names}")
    else:
        render.line("workers none is running; start one: marketjobs worker", style="yellow")
    if document["queues"]:
        states = ("queued", "running", "waiting", "succeeded", "partial", "dead", "cancelled")
        render.table(
            ("queue", *(f"{state} " for state in states)),
            [(one["queue"], *(one.get(state, 0) for state in states)) for one in document["queues"]],
            spare=("cancelled", "partial", "waiting"),
        )
    if document["jobs"]:
        render.table(_JOB_COLUMNS, [_job_row(one, utc=utc) for one in document["jobs"]], **_JOB_LAYOUT)
    for one in document["waiting"]:
        if one["waits_for"] != "children":
            error = one["error"]["message"] if one["error"] else None
            why = "; ".join(dict.fromkeys(text for text in (one["waits_for"] or "its time", error) if text))
            when = render.instant(_epoch(one["next_attempt_at"]), utc=utc)
            render.line(f"{render.short(one['job_id'])} waits until {when}: {why}", style="yellow")
    if not document["jobs"]:
        render.note("no job yet; hand one in: marketjobs fetch-market-data -s AAPL")


_JOB_COLUMNS = ("job", "task", "asked for", "state", "done ", "tries ", "submitted", "error")
_JOB_LAYOUT: JobLayout = {"fold": ("asked for",), "spare": ("tries", "task", "submitted", "done", "error")}


def _job_row(one: JsonDict, *, utc: bool) -> tuple[object, ...]:
    from marketjobs.commands import render

    symbols = _asked_for(one["arguments"])
    asked = _first(symbols, 3) + (f" +{len(symbols) - 3}" if len(symbols) > 3 else "")
    return (
        render.short(one["job_id"]),
        one["task"].removeprefix("marketjobs."),
        asked,
        one["state"],
        f"{one['progress']:.0%}",
        one["attempts"],
        render.instant(_epoch(one["submitted_at"]), utc=utc),
        one["error"] and one["error"]["cause"],
    )


def _epoch(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def result(
    job: JOB,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for its end (and run it here if nobody else will).")
    ] = False,
    timeout: TIMEOUT = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only the symbols that failed, all of them.")] = False,
    as_json: JSON = False,
) -> None:
    """What a job brought; exits like the command that handed it in when it waits, else 0."""
    from marketjobs.commands import flow
    from marketjobs.commands.results import show_result
    from marketjobs.services import jobs

    runtime = session.runtime()
    found = jobs.get(runtime, job)
    if wait:
        found = flow.follow(runtime, found.id, timeout_seconds=timeout)
    code = show_result(jobs.with_its_parts(runtime, found), as_json=as_json, only_failed=failed)
    raise typer.Exit(code if wait else 0)


def jobs_list(
    state: STATE = None,
    task: TASK = None,
    queue: QUEUE = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")] = 20,
    children: Annotated[bool, typer.Option("--children", help="The parts of split jobs too.")] = False,
    utc: UTC = False,
    as_json: JSON = False,
) -> None:
    """List jobs, newest first."""
    states = states_of(state)
    check_queue(queue)
    nothing = (
        "no such job" if states or task or queue else "no job yet; hand one in: marketjobs fetch-market-data -s AAPL"
    )
    _list(states, task, queue, limit=limit, top_level=not children, utc=utc, as_json=as_json, nothing=nothing)


def states_of(texts: list[str] | None) -> list[JobState]:
    """States as they are typed, several with commas.  Raises InvalidInput, naming the choices."""
    from marketjobs.domain.jobs import JobState
    from marketjobs.errors import InvalidInput

    try:
        return [JobState(part) for text in texts or [] for part in text.split(",")]
    except ValueError as exc:
        raise InvalidInput(f"unknown state {','.join(texts or [])!r:.60}: one of {' '.join(JobState)}") from exc


def check_queue(queue: str | None) -> None:
    """Raises InvalidInput for a queue that there is not, naming the choices."""
    from marketjobs.config import QUEUES
    from marketjobs.errors import InvalidInput

    if queue is not None and queue not in QUEUES:
        raise InvalidInput(f"unknown queue {queue!r:.40}: one of {' '.join(QUEUES)}")


def list_active(utc: UTC = False, as_json: JSON = False) -> None:
    """List the jobs that are queued, waiting or running."""
    from marketjobs.domain.jobs import OPEN_STATES

    nothing = "nothing is queued, waiting or running"
    _list(sorted(OPEN_STATES), None, None, limit=200, top_level=True, utc=utc, as_json=as_json, nothing=nothing)


def _list(states, task, queue, *, limit, top_level, utc, as_json, nothing) -> None:
    from marketjobs.commands import render
    from marketjobs.services import jobs
    from marketjobs.services.kinds import full_name
    from marketjobs.services.views import status_json

    found = jobs.listed(
        session.runtime(),
        states=states,
        task=task and full_name(task),
        queue=queue,
        top_level=top_level,
        limit=limit,
    )
    rows = [status_json(job) for job in found]
    if as_json:
        render.json({"jobs": rows})
        return
    if not rows:
        render.note(nothing)
        return
    render.table(_JOB_COLUMNS, [_job_row(one, utc=utc) for one in rows], **_JOB_LAYOUT)


def worker_stats(as_json: JSON = False) -> None:
    """Workers and schedulers: alive, deaf (alive, but silent on the broker) or gone; what they did."""
    from marketjobs.commands import render
    from marketjobs.services import workers
    from marketjobs.services.brokers import broker_label

    runtime = session.runtime()
    found = [workers.to_json(one) for one in workers.stats(runtime)]
    if as_json:
        render.json({"workers": found, "broker": broker_label(runtime.settings)})
        return
    if found:
        render.table(
            (
                "worker",
                "kind",
                "health",
                "heartbeat",
                "answered",
                "processes ",
                "queues",
                "done/h ",
                "failed/h ",
                "refused ",
                "mean ",
                "version",
            ),
            [
                (
                    one["id"],
                    one["kind"],
                    one["health"],
                    f"{render.duration(one['heartbeat_age_seconds'])} ago",
                    None if one["answer_age_seconds"] is None else f"{render.duration(one['answer_age_seconds'])} ago",
                    one["concurrency"] if one["kind"] == "worker" else None,
                    " ".join(one["queues"]) if one["kind"] == "worker" else None,
                    one["done_last_hour"],
                    one["failed_last_hour"],
                    one["refused_messages"] or None,
                    render.duration(one["mean_seconds"]),
                    one["version"],
                )
                for one in found
            ],
            fold=("queues",),
            spare=("kind", "version", "mean", "failed/h", "refused", "processes", "queues", "done/h", "answered"),
        )
    if not any(one["kind"] == "worker" and one["health"] in ("alive", "deaf") for one in found):
        render.note("no worker is running", style="yellow")
        render.note("  start one: marketjobs worker")


def register(app: typer.Typer) -> None:
    app.command("status")(status)
    app.command("result")(result)
    app.command("jobs")(jobs_list)
    app.command("list-active")(list_active)
    app.command("worker-stats")(worker_stats)
