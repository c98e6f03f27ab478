"""Providers with what they run on: their section of the settings, their budget, the way out to the network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from marketjobs.config import ProviderSettings, Settings
from marketjobs.errors import ConfigError, InvalidInput
from marketjobs.providers.base import Connection, Provider, provider_class
from marketjobs.services.budgets import BudgetGate
from marketjobs.services.runtime import Runtime


def require_enabled(settings: Settings, name: str) -> type[Provider]:
    """The class of a provider that may be asked.

    Raises:
        InvalidInput: what a program sent is no name.
        UnknownProvider: none has that name.
        ConfigError: it is switched off.
    """
    if not isinstance(name, str):
        raise InvalidInput("provider is a name")
    cls = provider_class(name)
    if not settings.providers.of(name).enabled:
        raise ConfigError(f"provider {name} is switched off (providers.{name}.enabled)")
    return cls


def gate(runtime: Runtime, name: str) -> BudgetGate:
    """Raises UnknownProvider."""
    section = runtime.settings.providers.of(name)
    if not isinstance(section, ProviderSettings):
        return BudgetGate(runtime.database, name, (), runtime.patience_seconds)
    return BudgetGate(
        runtime.database,
        name,
        section.rates,
        runtime.patience_seconds,
        api_keys=api_keys(runtime, name),
        needs_key=provider_class(name).capabilities.needs_key,
        answer_seconds=section.timeout_seconds,
    )


def api_keys(runtime: Runtime, name: str) -> list[str]:
    """The keys that a provider's requests carry, each once.  Raises UnknownProvider."""
    section = runtime.settings.providers.of(name)
    has = provider_class(name).capabilities
    if not isinstance(section, ProviderSettings) or not (has.takes_keys or has.needs_key):
        return []
    return list(dict.fromkeys(key.reveal() for key in section.api_keys))


def _digest(base_url: str, keys: Sequence[str]) -> str:
    return hashlib.sha256("\n".join([base_url, *keys]).encode()).hexdigest()[:24] if keys else ""


def opened(runtime: Runtime, name: str) -> Provider:
    """A new one, to be closed by the caller.  Raises what :func:`require_enabled` does."""
    settings = runtime.settings
    cls = require_enabled(settings, name)
    section = settings.providers.of(name)
    cache_folder = settings.home / "cache" / name
    if not isinstance(section, ProviderSettings):
        return cls(Connection(gate=gate(runtime, name), base_url="", cache_folder=cache_folder))
    return cls(
        Connection(
            gate=gate(runtime, name),
            base_url=section.base_url,
            timeout_seconds=section.timeout_seconds,
            max_connections=section.max_connections,
            proxy=settings.network.proxy or None,
            ca_bundle=settings.network.ca_bundle or None,
            cache_folder=cache_folder,
            keys_digest=_digest(section.base_url, api_keys(runtime, name)),
            options={name: getattr(section, name) for name in section.keys if name not in ProviderSettings.keys},
        )
    )
