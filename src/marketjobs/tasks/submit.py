"""Handing in jobs from programs and notebooks: `marketjobs.submit("fetch_market_data", symbols=["AAPL"])`."""

from __future__ import annotations

from typing import Any

from marketjobs.domain.jobs import Job
from marketjobs.errors import JobNotFinished
from marketjobs.services import jobs
from marketjobs.services.kinds import full_name
from marketjobs.tasks.runtime import runtime


def submit(task: str, **arguments: Any) -> Job:
    """Accept a job and return its row; from then on nothing that happens to a broker loses it.

    An equal request that is still open is joined: its job is returned.  The result is read with
    ``AsyncResult(job.id)``, ``marketjobs result`` or, once stored, ``marketjobs.read``.

    Args:
        task: such as ``fetch_market_data``.
        arguments: as the command takes them: ``symbols=["AAPL"], period="1y"``.

    Raises:
        InvalidInput, ConfigError: the task or its arguments can't be right.
        StorageError: the store did not take it; nothing was accepted.
    """
    name = full_name(task)
    if runtime().settings.eager:
        job = jobs.submit(runtime(), name, arguments)
        from marketjobs.services.watch import current, follow

        try:
            return follow(runtime(), job.id, inline=True)
        except JobNotFinished:  # it waits for a budget, for longer than anybody waits here
            return current(runtime(), job.id)
    from marketjobs.tasks.publish import publisher

    return jobs.submit(runtime(), name, arguments, publish=publisher(runtime().settings))
