"""The peer of memory.py: our worker as it would be if each of its processes imported what a fetch needs."""

from __future__ import annotations

import gc

from marketjobs.providers.yahoo import Yahoo
from marketjobs.tasks.celery import app

__all__ = ["app"]
Yahoo.preload = classmethod(lambda cls: None)  # type: ignore[method-assign,assignment]
gc.freeze = lambda: None
