"""Tasks about bars."""

from __future__ import annotations

from marketjobs.domain.jobs import JsonDict
from marketjobs.services import bars
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
) -> JsonDict:
    """Fetch bars and store them.  Safe to run twice: rows are upserted by natural key."""
    with job_context() as ctx:
        return bars.run(
            ctx,
            {
                "symbols": symbols,
                "interval": interval,
                "period": period,
                "start": start,
                "end": end,
                "provider": provider,
                "force": force,
            },
        )
