"""The pieces put together, once a process: settings, store, providers.

Commands that only look use it too, so what knows vendors is imported at the first one (`vendors.py`).
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from marketjobs import config
from marketjobs.config import Settings
from marketjobs.domain.jobs import RetryPolicy
from marketjobs.errors import ConfigError
from marketjobs.services.wakeups import Notes
from marketjobs.storage import schema
from marketjobs.storage.database import Database, open_database

if TYPE_CHECKING:
    from marketjobs.providers.base import Provider
    from marketjobs.storage.quote_cache import QuoteCache

INLINE_PATIENCE_SECONDS = 60.0
WORKER_PATIENCE_SECONDS = 5.0


class Runtime:
    """What use cases run on.

    Args:
        durable: ``True`` in processes that accept jobs, ``False`` in workers.
        patience_seconds: longest wait for a budget while holding the process.
    """

    def __init__(
        self, settings: Settings, *, durable: bool = True, patience_seconds: float = INLINE_PATIENCE_SECONDS
    ) -> None:
        self.settings = settings
        self.durable = durable
        self.patience_seconds = patience_seconds
        self._providers: dict[tuple[int, str], Provider] = {}

    @cached_property
    def database(self) -> Database:
        """The store, at this version's schema: a SQLite file is made or migrated where needed.

        Raises:
            ConfigError: the data folder can't be used.
            SchemaMismatch: the database is of a newer version, or a server's that must be migrated first.
            StorageError: it does not answer.
        """
        database = self.unchecked_database()
        schema.ensure(database)
        return database

    @cached_property
    def quote_cache(self) -> QuoteCache | None:
        """Where latest prices are kept for quick reading; ``None``: nowhere but in the store."""
        section = self.settings.cache
        if not section.url:
            return None
        from marketjobs.storage.quote_cache import QuoteCache

        authorities = self.settings.network.ca_bundle or os.environ.get("SSL_CERT_FILE") or None
        return QuoteCache(section.url, section.ttl_seconds, authorities)

    @cached_property
    def notes(self) -> Notes:
        """Which wake-ups were sent."""
        return Notes(lambda: self.database)

    def ready(self) -> None:
        """Raises what :attr:`database` raises."""
        _ = self.database

    def unchecked_database(self) -> Database:
        """The store, whatever its schema."""
        config.ensure_home(self.settings)
        file = self.settings.database_file
        if file is not None and not file.parent.is_dir():
            raise ConfigError(f"database.url: the folder {file.parent} does not exist")
        return open_database(self.settings.database_url, durable=self.durable)

    @property
    def is_worker(self) -> bool:
        """Does this process live on after a job that it could not finish?"""
        return not self.durable

    @property
    def retry(self) -> RetryPolicy:
        retry = self.settings.retry
        return RetryPolicy(retry.max_attempts, retry.base_seconds, retry.cap_seconds)

    def provider(self, name: str) -> Provider:
        """The provider of this process, opened at the first call; a forked child opens its own.

        Raises:
            UnknownProvider: none has that name.
            ConfigError: it is switched off.
        """
        key = (os.getpid(), name)
        if key not in self._providers:
            from marketjobs.services import vendors

            self._providers[key] = vendors.opened(self, name)
        return self._providers[key]

    def close(self) -> None:
        """Close what this process opened."""
        if "notes" in self.__dict__:
            self.notes.flush()
        pid = os.getpid()
        for key in [key for key in self._providers if key[0] == pid]:
            self._providers.pop(key).close()
        if "database" in self.__dict__:
            self.database.close()
