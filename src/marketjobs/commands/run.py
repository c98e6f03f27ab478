"""Commands that stay: `worker`, `beat`, `flower`, `up`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from marketjobs.commands import session

if TYPE_CHECKING:
    from marketjobs.tasks.supervisor import Options

CONCURRENCY = Annotated[
    int | None,
    typer.Option("--concurrency", "-c", min=1, max=256, metavar="N", help="Pool processes; default from the settings."),
]


def worker(
    concurrency: CONCURRENCY = None,
    queues: Annotated[
        str | None, typer.Option("--queues", "-Q", metavar="A,B", help="Queues to serve; default: all.")
    ] = None,
    pool: Annotated[str | None, typer.Option("--pool", "-P", metavar="P", help="prefork or solo.")] = None,
    autoscale: Annotated[
        str | None, typer.Option(metavar="MAX,MIN", help="Grow and shrink the pool between these.")
    ] = None,
) -> None:
    """Run jobs, under a supervisor that restarts what dies.  Ctrl-C: finish what runs; twice: hand it back."""
    _supervise("worker", {"concurrency": concurrency, "queues": queues, "pool": pool, "autoscale": autoscale})


def beat() -> None:
    """Hand in jobs that are due by schedule, and mend what dead workers left."""
    _supervise("beat")


def flower(port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web page.")] = 5555) -> None:
    """Celery's web monitor (extra `monitoring`)."""
    _supervise("flower", port=port)


def up(concurrency: CONCURRENCY = None) -> None:
    """Worker and scheduler (and Flower, where installed) in one terminal; Ctrl-C ends all of it."""
    _supervise("up", {"concurrency": concurrency})


def _supervise(what: str, options: Options | None = None, port: int = 5555) -> None:
    from marketjobs import log
    from marketjobs.tasks import supervisor

    runtime = session.runtime()
    log.set_up(runtime.settings, name=what, verbose=session.OPTIONS.verbose)
    runtime.ready()  # what would stop its processes, over and over, is said here once
    programs = supervisor.plan(runtime, what, options or {}, port)
    raise typer.Exit(supervisor.run(runtime, programs))


def register(app: typer.Typer) -> None:
    app.command("up")(up)
    app.command("worker")(worker)
    app.command("beat")(beat)
    app.command("flower")(flower)
