"""Tasks about profiles."""

from __future__ import annotations

from marketjobs.domain.jobs import JsonDict
from marketjobs.services import profiles
from marketjobs.tasks.celery import app
from marketjobs.tasks.job import job_context


@app.task(name="marketjobs.fetch_asset_info", queue="market_data")
def fetch_asset_info(
    symbols: list[str] | None = None,
    group: str | None = None,
    provider: str | None = None,
) -> JsonDict:
    """Profile and fundamentals of those named, of a group, or of all active assets.  Safe to run twice."""
    arguments = locals()  # the signature is the list of what may be asked for
    with job_context() as ctx:
        return profiles.run(ctx, arguments)
