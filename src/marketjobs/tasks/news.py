"""Tasks about news."""

from __future__ import annotations

from marketjobs.domain.jobs import JsonDict
from marketjobs.services import news
from marketjobs.tasks.celery import app
from marketjobs.tasks.job import job_context


@app.task(name="marketjobs.fetch_news", queue="news")
def fetch_news(
    symbols: list[str] | None = None,
    group: str | None = None,
    feeds: list[str] | None = None,
    provider: str | None = None,
) -> JsonDict:
    """Stories about assets, and of feeds.  Safe to run twice: each story is stored once."""
    arguments = locals()  # the signature is the list of what may be asked for
    with job_context() as ctx:
        return news.run(ctx, arguments)
