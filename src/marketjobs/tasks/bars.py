"""Tasks about bars."""

from __future__ import annotations

from marketjobs.domain.jobs import JsonDict
from marketjobs.services import bars, sync
from marketjobs.tasks.celery import app
from marketjobs.tasks.job import job_context


@app.task(name="marketjobs.fetch_market_data", queue="market_data")
def fetch_market_data(
    symbols: list[str],
    interval: str = "1d",
    period: str | None = None,
    start: str | None = None,
    end: str | None = None,
    provider: str | None = None,
    force: bool = False,
    prepost: bool = False,
) -> JsonDict:
    """Fetch bars and store them.  Safe to run twice: rows are upserted by natural key."""
    arguments = locals()  # the signature is the list of what may be asked for
    with job_context() as ctx:
        return bars.run(ctx, arguments)


@app.task(name="marketjobs.sync_history", queue="market_data")
def sync_history(
    symbols: list[str] | None = None,
    group: str | None = None,
    interval: str | None = None,
    period: str | None = None,
    start: str | None = None,
    end: str | None = None,
    provider: str | None = None,
    force: bool = False,
    batch_size: int | None = None,
    delay_seconds: float | None = None,
    prepost: bool = False,
) -> JsonDict:
    """Fetch bars of a day or more of all active assets (or those named), in child jobs.  Safe to run twice."""
    arguments = locals()  # the signature is the list of what may be asked for
    with job_context() as ctx:
        return sync.HISTORY.run(ctx, arguments)


@app.task(name="marketjobs.sync_intraday", queue="market_data")
def sync_intraday(
    symbols: list[str] | None = None,
    group: str | None = None,
    interval: str | None = None,
    period: str | None = None,
    start: str | None = None,
    end: str | None = None,
    provider: str | None = None,
    force: bool = False,
    batch_size: int | None = None,
    delay_seconds: float | None = None,
    prepost: bool = False,
) -> JsonDict:
    """The same for minutes and hours."""
    arguments = locals()  # the signature is the list of what may be asked for
    with job_context() as ctx:
        return sync.INTRADAY.run(ctx, arguments)
