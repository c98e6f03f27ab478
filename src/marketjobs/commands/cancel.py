"""Ending jobs: `cancel`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import JSON
from marketjobs.commands.jobs import QUEUE, TASK, check_queue, states_of

if TYPE_CHECKING:
    from marketjobs.domain.jobs import Job, JsonDict
    from marketjobs.services.runtime import Runtime

MANY = 10


def cancel(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[JOB...]", help="Ids of jobs.")] = None,
    state: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="S", help="All that are queued, waiting or running, as `jobs` lists them."),
    ] = None,
    task: TASK = None,
    queue: QUEUE = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before many are cancelled.")] = False,
    as_json: JSON = False,
) -> None:
    """End jobs: those that wait at once, those that run within seconds; what they stored stays."""
    from marketjobs.commands import render
    from marketjobs.services import jobs

    runtime = session.runtime()
    chosen = _chosen(runtime, ids or [], state, task, queue)
    if not ids and chosen and not yes:
        _confirm(chosen)
    rows: list[JsonDict] = []
    for before, after in zip(chosen, jobs.cancel_all(runtime, [job.id for job in chosen]), strict=True):
        asked = after.state.value == "running" or after.cancel_requested
        rows.append({"job_id": after.id, "state": after.state.value, "cancelled": asked and not before.state.is_final})
    if as_json:
        render.json({"jobs": rows})
        return
    if len(rows) > MANY or not ids:
        _show_count(rows)
        return
    for row in rows:
        said = {"cancelled": "cancelled", "running": "will stop within seconds"}.get(
            row["state"], f"is {row['state']} already"
        )
        if row["state"] == "cancelled" and not row["cancelled"]:
            said = "is cancelled already"
        render.line(f"job {render.short(row['job_id'])} {said}")


def _chosen(
    runtime: Runtime, ids: Sequence[str], state: list[str] | None, task: str | None, queue: str | None
) -> list[Job]:
    """The jobs that are named, or all open ones that `jobs` would list."""
    from marketjobs.domain.jobs import OPEN_STATES
    from marketjobs.errors import InvalidInput
    from marketjobs.services import jobs
    from marketjobs.services.kinds import full_name

    filtered = bool(state or task or queue)
    if ids and filtered:
        raise InvalidInput("ids and --state, --task or --queue name jobs in two ways: give one of them")
    if ids:
        return list({job.id: job for job in (jobs.get(runtime, text) for text in ids)}.values())
    if not filtered:
        raise InvalidInput("no job is named", hint="marketjobs cancel JOB, or --state queued --task T --queue Q")
    states = states_of(state)
    ended = [one.value for one in states if one.is_final]
    if ended:
        raise InvalidInput(f"what is {ended[0]} has ended: --state is one of queued waiting running")
    check_queue(queue)
    return jobs.listed(runtime, states=states or sorted(OPEN_STATES), task=task and full_name(task), queue=queue)


def _confirm(chosen: Sequence[Job]) -> None:
    """Ask a person at a terminal; a program has said what it wants."""
    import sys

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    kinds = Counter((job.task.removeprefix("marketjobs."), job.state.value) for job in chosen)
    listed = ", ".join(f"{number} {task} {state}" for (task, state), number in sorted(kinds.items()))
    if not typer.confirm(f"cancel {len(chosen)} jobs ({listed})?", err=True):
        raise typer.Abort


def _show_count(rows: Sequence[JsonDict]) -> None:
    from marketjobs.commands import render

    done = Counter(str(row["state"]) for row in rows if row["cancelled"])
    if not rows:
        render.line("no such job: nothing was cancelled")
        return
    said = [f"{done['cancelled']} job{'' if done['cancelled'] == 1 else 's'} cancelled"]
    if done["running"]:
        said.append(f"{done['running']} run and will stop within seconds")
    before = len(rows) - sum(done.values())
    if before:
        said.append(f"{before} had ended before")
    render.line(", ".join(said))


def register(app: typer.Typer) -> None:
    app.command("cancel")(cancel)
