"""The same short task on a bare Celery with Redis as broker and result backend, for ledger.py."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bare", broker=os.environ.get("PEER_BROKER"), backend=os.environ.get("PEER_BROKER"))


@app.task(name="bench.nothing")
def nothing(number: int) -> int:
    return number
