"""Forgetting what is old: `cleanup`."""

from __future__ import annotations

from typing import Annotated

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import JSON


def cleanup(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: JSON = False,
) -> None:
    """Delete finished jobs that are older, or more, than [retention] keeps.  Workers do it by themselves."""
    from marketjobs.commands import render
    from marketjobs.services import retention

    runtime = session.runtime()
    pruned = retention.overdue(runtime)
    if not dry_run and pruned.rows:
        all_of_them = pruned.rows
        with render.progress("deleting") as tell:
            pruned = retention.prune(runtime, tell=lambda so_far: tell(so_far.rows / all_of_them))
    if as_json:
        counts = {"done": pruned.done, "dead": pruned.dead, "parts": pruned.parts}
        render.json({"dry_run": dry_run, "jobs": counts})
        return
    verb = "would delete" if dry_run else "deleted"
    render.line(f"{verb} {pruned.done:,} finished jobs and {pruned.dead:,} dead ones, with {pruned.parts:,} parts")
    kept = runtime.settings.retention
    render.note(
        f"  kept: {_days(kept.jobs_days)} and {f'{kept.jobs_kept:,}' if kept.jobs_kept else 'any number'} of finished"
        f" jobs, {_days(kept.dead_days)} of dead ones; change it: [retention] in the configuration"
    )


def _days(days: float) -> str:
    return f"{days:g} days" if days else "all days"


def register(app: typer.Typer) -> None:
    app.command("cleanup")(cleanup)
