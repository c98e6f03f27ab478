"""Logging: events with fields, one formatter for people and one for programs, and no secret in either."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from marketjobs.config import MASK, Settings
from marketjobs.domain.texts import visible


class Redact(logging.Filter):
    """Replaces every secret of the settings in messages and tracebacks."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__()
        # Longest first: one secret may contain another.
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)

    def filter(self, record: logging.LogRecord) -> bool:
        if self._secrets:
            try:
                message = record.getMessage()
            except (TypeError, ValueError, KeyError):  # a wrong format string must not break who logs
                message = f"{record.msg} (its arguments do not fit)"
            record.msg, record.args = self.clean(message), None
            if record.exc_info and not record.exc_text:
                record.exc_text = self.clean(logging.Formatter().formatException(record.exc_info))
        return True

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line; ``action`` and the ``key=value`` fields of our events become keys."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        document = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": message,
        }
        action, *fields = message.split(" ")
        if record.name.startswith("marketjobs") and fields and all("=" in field for field in fields):
            document["action"] = action
            document |= {key: value for key, _, value in (field.partition("=") for field in fields)}
        if record.exc_info or record.exc_text:
            document["traceback"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        return json.dumps(document)


class TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # logging's name
        """On one line, whatever a message from outside has in it: nobody forges another."""
        record.message = visible(record.message)
        return super().formatMessage(record)


def set_up(settings: Settings, *, name: str | None = None, verbose: int = 0, quiet: bool = False) -> None:
    """Set up the root logger.

    Args:
        name: file to log to below ``[logging] folder``, where one is set.
        quiet: a command for people: warnings and worse only (``-v`` shows all).
    """
    level = (
        logging.DEBUG if verbose > 1 else logging.INFO if verbose else getattr(logging, settings.logging.level.upper())
    )
    if quiet and not verbose:
        level = logging.CRITICAL
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if name and settings.logging.folder:
        from logging.handlers import WatchedFileHandler

        folder = Path(settings.logging.folder).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        handlers.append(WatchedFileHandler(folder / f"{name}.log"))
    redact = Redact(list(settings.secrets()))
    for handler in handlers:
        handler.addFilter(redact)
        handler.setFormatter(JsonFormatter() if settings.logging.format == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=handlers, force=True)
    # The vendors' libraries have their own idea of what a user should read; our causes say it better.
    for noisy in ("yfinance", "peewee", "urllib3", "asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL if not verbose else logging.INFO)
