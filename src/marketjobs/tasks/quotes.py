"""Tasks about quotes."""

from __future__ import annotations

from marketjobs.domain.jobs import JsonDict
from marketjobs.services import cache_warming, quotes
from marketjobs.tasks.celery import app
from marketjobs.tasks.job import job_context


@app.task(name="marketjobs.update_prices", queue="market_data")
def update_prices(
    symbols: list[str] | None = None,
    group: str | None = None,
    provider: str | None = None,
    force: bool = False,
) -> JsonDict:
    """Latest prices of those named, of a group, or of all active assets.  Safe to run twice."""
    arguments = locals()  # the signature is the list of what may be asked for
    with job_context() as ctx:
        return quotes.run(ctx, arguments)


@app.task(name="marketjobs.warm_cache", queue="market_data")
def warm_cache(symbols: list[str] | None = None, group: str | None = None) -> JsonDict:
    """Stored prices of those named, of a group, or of all active assets into the cache.  Safe to run twice."""
    arguments = locals()  # the signature is the list of what may be asked for
    with job_context() as ctx:
        return cache_warming.run(ctx, arguments)
