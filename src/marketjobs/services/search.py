"""What vendors know by a name: asked at once, nothing is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from marketjobs.config import Settings
from marketjobs.domain.assets import Match
from marketjobs.errors import InvalidInput, MarketJobsError, Unsupported
from marketjobs.services import loop
from marketjobs.services.failover import require_usable
from marketjobs.services.probes import Probes
from marketjobs.services.runtime import Runtime

LONGEST_TEXT = 100


@dataclass(frozen=True, slots=True)
class Searched:
    """What one provider found, most likely first; or why it did not answer."""

    provider: str
    matches: Sequence[Match] = ()
    error: MarketJobsError | None = None


def search(runtime: Runtime, text: str, provider: str | None = None) -> list[Searched]:
    """Ask one provider, or all of the chains that can, each once.

    Raises:
        InvalidInput: nothing to look for.
        ConfigError, Unsupported: the named one can't be asked, or nobody can.
    """
    words = " ".join(text.split())
    if not words or not words.isprintable() or len(words) > LONGEST_TEXT:
        raise InvalidInput(f"what is looked for has 1 to {LONGEST_TEXT} printable characters")
    if provider is not None and not require_usable(runtime.settings, provider).capabilities.search:
        raise Unsupported(f"{provider} can't search", provider=provider)
    names = [provider] if provider is not None else _able(runtime.settings)
    if not names:
        raise Unsupported("no provider of the chains can search", provider="")
    return loop.run(_all(runtime, words, names))


def _able(settings: Settings) -> list[str]:
    """In the order of the chains."""
    found = []
    for name in dict.fromkeys(name for kind in settings.chains.keys for name in settings.chains.of(kind)):
        try:
            if require_usable(settings, name).capabilities.search:
                found.append(name)
        except MarketJobsError:
            continue  # switched off, or without a key
    return found


async def _all(runtime: Runtime, text: str, names: Sequence[str]) -> list[Searched]:
    return list(await asyncio.gather(*(_one(runtime, text, name) for name in names)))


async def _one(runtime: Runtime, text: str, name: str) -> Searched:
    try:
        provider = runtime.provider(name)
        return Searched(name, await Probes().asked(provider, lambda: provider.search(text)))
    except MarketJobsError as exc:
        return Searched(name, error=exc)
