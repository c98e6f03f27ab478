"""What waits where: `queues`."""

from __future__ import annotations

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import JSON


def queues(as_json: JSON = False) -> None:
    """What waits in each queue: jobs in the store, their wake-ups in the broker, and the workers that serve it."""
    from marketjobs.commands import render
    from marketjobs.services.views import queues_json
    from marketjobs.tasks.probe import messages

    document = queues_json(session.runtime(), messages)
    if as_json:
        render.json(document)
        return
    render.table(
        ("queue", "queued ", "waiting ", "running ", "oldest due ", "messages ", "workers"),
        [
            (
                one["queue"],
                *(one[state] for state in ("queued", "waiting", "running")),
                render.duration(one["oldest_due_seconds"]),
                one["messages"],
                " ".join(one["workers"]) or None,
            )
            for one in document["queues"]
        ],
        fold=("workers",),
        spare=("messages", "waiting"),
    )
    if document["note"]:
        render.note(f"{document['note']}; jobs are kept until it takes their wake-ups", style="yellow", always=True)


def register(app: typer.Typer) -> None:
    app.command("queues")(queues)
