"""What every provider is: its declarations, the one question it answers here, and how it is found.

A provider builds the request, fetches and parses; only the middle move touches the network, and before each
real request it spends one call through the gate that it was handed.  It never sees storage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Protocol

from marketjobs.domain.assets import AssetClass
from marketjobs.domain.bars import BarAnswer, BarQuery
from marketjobs.domain.intervals import Interval
from marketjobs.errors import UnknownProvider, Unsupported

GROUP = "marketjobs.providers"


class Gate(Protocol):
    """A provider's budget, as much of it as the provider may know."""

    def spend(self) -> None:
        """Wait for the next call's instant.  To be called right before each request, on any thread.

        Raises:
            BudgetSpent: the next call lies further ahead than a worker should be held.
        """

    def hold(self, why: str, seconds: float | None = None) -> float:
        """No call may leave before ``seconds`` from now (``None``: a step that doubles with each hold in a
        row); returns the seconds."""

    def passed(self) -> None:
        """An answer came: the next hold starts at the shortest step again."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider does; it raises ``Unsupported`` for the rest."""

    bars: frozenset[Interval] = frozenset()
    asset_classes: frozenset[AssetClass] = frozenset()
    reach_days: Mapping[Interval, int] = field(default_factory=dict)
    """How many days back its bars of an interval go, where the vendor gives only so many."""
    prepost: bool = False
    """Does it have minutes and hours of the pre- and post-market?"""
    why_not: Mapping[Interval, str] = field(default_factory=dict)
    """What keeps it from an interval that the vendor has."""

    def refusal(self, interval: Interval, *, prepost: bool = False) -> str | None:
        """Why bars like that can't be had, in words; ``None``: they can."""
        if interval not in self.bars:
            why = self.why_not.get(interval)
            return f"has no {interval} bars here" + (f": {why}" if why else f"; it has: {self.bars_text()}")
        return "has no pre- and post-market" if prepost and not self.prepost else None

    def bars_text(self) -> str:
        """The intervals in words, shortest first."""
        by_length: list[Interval] = sorted(self.bars, key=attrgetter("code"))
        return " ".join(by_length) or "none"


@dataclass(frozen=True, slots=True)
class Connection:
    """What a provider is opened with.  ``proxy`` and ``ca_bundle`` are ``None`` where the environment decides;
    ``cache_folder`` may be written."""

    gate: Gate
    base_url: str
    api_keys: tuple[str, ...] = ()
    timeout_seconds: float = 15.0
    max_connections: int = 8
    proxy: str | None = None
    ca_bundle: str | None = None
    cache_folder: Path = field(default_factory=Path)


class Provider(ABC):
    """A vendor's adapter; opening it (``__init__``) opens no socket."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    only_by_name: ClassVar[bool] = False
    """Is it asked only when a person names it?"""
    needs_network: ClassVar[bool] = True
    takes_ahead: ClassVar[int] = 0
    """Questions that it takes beyond its connections, so that these have work while answers are being stored."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    def preload(cls) -> None:
        """Import what a first question would import: a worker does so once, before it forks."""

    @property
    def as_of(self) -> date | None:
        """The day that counts as today for this vendor; ``None``: the real one."""
        return None

    def require_bars(self, query: BarQuery) -> None:
        """Raises Unsupported when the capabilities do not hold what is asked for."""
        why = self.capabilities.refusal(query.interval, prepost=query.prepost)
        if why is not None:
            raise Unsupported(f"{self.name} {why}", provider=self.name, symbol=query.symbol)

    @abstractmethod
    async def bars(self, query: BarQuery) -> BarAnswer:
        """Rows as the vendor sent them, unchecked; an empty answer means the vendor said so.

        Raises:
            ProviderError: of the class that says why; ``Unsupported`` for what is not declared.
        """

    async def probe(self) -> None:
        """One cheap request for `doctor`.  Raises ProviderError when the vendor does not answer."""

    def close(self) -> None:
        """Give back sockets and threads."""


@cache
def provider_names() -> tuple[str, ...]:
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


@cache
def provider_class(name: str) -> type[Provider]:
    """The adapter registered under ``name``, ours or a plug-in's.

    Raises:
        UnknownProvider: none is, or its package can't be imported.
    """
    for point in entry_points(group=GROUP):
        if point.name == name:
            try:
                loaded: Any = point.load()
            except Exception as exc:  # a plug-in may raise anything on import
                raise UnknownProvider(f"provider {name} can't be loaded: {exc}") from exc
            return _checked(name, loaded)
    raise UnknownProvider(f"unknown provider {name!r:.40}: installed are {', '.join(provider_names())}")


def _checked(name: str, loaded: Any) -> type[Provider]:
    if not (isinstance(loaded, type) and issubclass(loaded, Provider)):
        raise UnknownProvider(f"provider {name} is no Provider class")
    return loaded
