"""What every command shares: the global options, the runtime, and how errors become an exit code."""

from __future__ import annotations

import atexit
import os
import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marketjobs.services.runtime import Runtime


@dataclass(slots=True)
class Options:
    """Global options of this call."""

    verbose: int = 0
    quiet: bool = False


OPTIONS = Options()


@cache
def runtime() -> Runtime:
    """Settings and store of this call.  Raises ConfigError, StorageError."""
    from marketjobs import config, log
    from marketjobs.services.runtime import Runtime

    settings = config.current()
    log.set_up(settings, verbose=OPTIONS.verbose, quiet=True)
    made = Runtime(settings)
    atexit.register(made.close)  # the last to close a SQLite file takes its log into it
    return made


def exit_code(error: BaseException) -> int:
    """The promised exit code of an error (DESIGN 3)."""
    from marketjobs import errors

    codes: tuple[tuple[type[BaseException], int], ...] = (
        (errors.JobFailed, 1),
        (errors.JobCancelled, 1),
        (errors.ConfigError, 2),
        (errors.InvalidInput, 2),
        (errors.Unsupported, 2),
        (errors.NotFound, 4),
        (errors.JobNotFinished, 5),
        (errors.Interrupted, 130),
        (errors.StorageError, 6),
        (errors.QueueError, 6),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), 1)


def redacted(text: str) -> str:
    """A text of somebody else's making without our secrets."""
    from marketjobs import config, log
    from marketjobs.errors import MarketJobsError

    try:
        secrets = list(config.current().secrets())
    except MarketJobsError:
        return text  # settings that can't be read gave nobody a secret
    return log.Redact(secrets).clean(text)


def wants_json() -> bool:
    """Was ``--json`` typed?  Asked where an error must be shaped before any command ran."""
    return "--json" in sys.argv[1:]


def show_error(cause: str, message: str, hint: str | None) -> None:
    """One line (and what to type next) on standard error; with ``--json`` a document on standard output."""
    from marketjobs.commands import render

    message = redacted(message)
    if wants_json():
        render.json({"error": {"cause": cause, "message": message, "hint": hint}})
        return
    render.note(f"marketjobs: {message}", style="bold red", always=True)
    if hint:
        render.note(f"  try: {hint}", always=True)


def leave(code: int) -> None:
    """End the process at once: threads that wait for a vendor are not waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
