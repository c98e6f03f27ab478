"""marketjobs: durable background jobs that keep a market-data store fresh and trustworthy.

``marketjobs.submit("fetch_market_data", symbols=["AAPL"])`` hands in a job,
``marketjobs.read.bars("AAPL")`` reads what is stored.  Importing this opens nothing and reads no setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from marketjobs import read as read
    from marketjobs.tasks.submit import submit as submit

__all__ = ["__version__", "read", "submit"]


def __getattr__(name: str) -> Any:
    # Late, so that `import marketjobs` costs nothing and `--help` needs neither SQL nor Celery.
    if name == "submit":
        from marketjobs.tasks.submit import submit

        return submit
    if name == "read":
        import importlib

        return importlib.import_module("marketjobs.read")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
