"""A short job on the product's app, for ledger.py: `celery -A ledger_tasks worker` serves it."""

from __future__ import annotations

from marketjobs.tasks.celery import app


@app.task(name="bench.nothing", queue="default")
def nothing(number: int) -> int:
    return number
