"""Tasks about vendors."""

from __future__ import annotations

from marketjobs.domain.jobs import JsonDict
from marketjobs.services import provider_checks
from marketjobs.tasks.celery import app
from marketjobs.tasks.job import job_context


@app.task(name="marketjobs.check_providers", queue="default")
def check_providers(names: list[str] | None = None) -> JsonDict:
    """Do the vendors answer?  All of them, or those named."""
    arguments = locals()  # the signature is the list of what may be asked for
    with job_context() as ctx:
        return provider_checks.run(ctx, arguments)
