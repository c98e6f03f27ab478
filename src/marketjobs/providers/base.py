"""What every provider is: its declarations, the questions it answers, and how it is found.

A provider builds the request, fetches and parses; only the middle move touches the network, and before each
real request it spends one call through the gate that it was handed.  It never sees storage.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Protocol

from marketjobs.domain.assets import AssetClass, Listing, Match
from marketjobs.domain.bars import BarAnswer, BarQuery
from marketjobs.domain.intervals import Interval
from marketjobs.domain.news import NewsAnswer, NewsQuery
from marketjobs.domain.profiles import Profile
from marketjobs.domain.quotes import Quote
from marketjobs.errors import ProviderError, UnknownProvider, Unsupported

GROUP = "marketjobs.providers"


@dataclass(frozen=True, slots=True)
class Grant:
    """A call that may be sent now.  ``api_key``: the key that it was taken from (empty: the vendor wants none), of how
    many."""

    api_key: str = field(default="", repr=False)
    keys: int = 1


class Gate(Protocol):
    """A provider's budgets and its circuit breaker, as much of them as the provider may know."""

    def spend(self, weight: int = 1, *, part: str = "") -> Grant:
        """Wait for the next call's instant.  To be called right before each request, on any thread.

        Args:
            weight: how many calls the request counts as, by the vendor's own word.
            part: which of many hosts is asked, each of which may be held by itself.

        Raises:
            BudgetSpent: the next call lies further ahead than a worker should be held.
            CircuitOpen: the vendor is failing; nothing may be sent yet.
            MissingKey: the vendor wants a key and none is configured.
        """

    def sent(self, grant: Grant, at: float) -> None:
        """A request left at that instant (monotonic), later than granted, or may leave as late as that: it has to
        connect."""

    def unused(self, grant: Grant) -> None:
        """The call was not sent: others may."""

    def hold(
        self,
        why: str,
        seconds: float | None = None,
        *,
        grant: Grant | None = None,
        until_reset: bool = False,
        cause: str = "",
    ) -> float:
        """No call may leave before ``seconds`` from now (``None``: a step that doubles with each hold in a
        row, or with ``until_reset`` the next reset of the longest budget); returns the seconds.  With ``grant`` only
        its key, or its part, is held: others go on.  ``cause``: that of the refusal, which others are told."""

    def passed(self, grant: Grant | None = None) -> None:
        """An answer came: the next hold starts at the shortest step again, the breaker closes."""

    def failed(self, why: str) -> None:
        """No answer came (an outage, not a refusal): the breaker opens after several in a row."""

    def used(self, calls: int, window_seconds: int, *, grant: Grant | None = None) -> None:
        """The vendor's own count of what was used in the window that runs now.  Where it is above ours, others spend
        from the same key: it is booked."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider does; it raises ``Unsupported`` for the rest."""

    bars: frozenset[Interval] = frozenset()
    asset_classes: frozenset[AssetClass] = frozenset()
    reach_days: Mapping[Interval, int] = field(default_factory=dict)
    """How many days back its bars of an interval go, where the vendor gives only so many."""
    quotes: int = 0
    """Listings whose quotes fit into one request; 0: it has none."""
    profiles: bool = False
    news: bool = False
    """Stories about one asset."""
    feeds: bool = False
    """Stories of a feed's address."""
    search: bool = False
    takes_keys: bool = False
    """Do requests carry a key, and does the vendor count by it?  Else by address, and keys of the settings are none."""
    needs_key: bool = False
    """Does it answer nobody without one?"""
    as_traded: bool = False
    """Are its prices those of their day, so that a later split makes them another basis?"""
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
    ``cache_folder`` may be written; ``keys_digest`` (empty: it has none) tells whether what stands there of keys is of
    these; ``options`` are the settings of its section that are not everybody's."""

    gate: Gate
    base_url: str
    timeout_seconds: float = 15.0
    max_connections: int = 8
    proxy: str | None = None
    ca_bundle: str | None = None
    cache_folder: Path = field(default_factory=Path)
    keys_digest: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


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

    @classmethod
    def listing(cls, symbol: str, asset_class: AssetClass = AssetClass.UNKNOWN) -> Listing | None:
        """The vendor's spelling of a symbol of ours where it follows from the symbol alone; ``None``: the vendor must
        be asked (:meth:`lookup`), or can't have it.  A class that is not known yet must be told from the symbol."""
        return Listing(symbol)

    async def lookup(self, symbol: str) -> list[Match]:
        """What a symbol of ours could be at this vendor, most likely first; empty: it knows nothing of the name."""
        raise self._unsupported("can't look up symbols", symbol)

    async def bars(self, query: BarQuery) -> BarAnswer:
        """Rows as the vendor sent them, unchecked; an empty answer means the vendor said so.

        Raises:
            ProviderError: of the class that says why; ``Unsupported`` for what is not declared.
        """
        raise self._unsupported("has no bars", query.symbol)

    async def quotes(self, listings: Sequence[Listing]) -> dict[Listing, Quote | ProviderError]:
        """For each of at most ``capabilities.quotes`` listings its quote, unchecked, or why there is none; one request.

        Raises:
            ProviderError: the whole request failed.
        """
        raise self._unsupported("has no quotes", listings[0].symbol)

    async def profile(self, listing: Listing) -> Profile:
        """Raises ProviderError of the class that says why there is none."""
        raise self._unsupported("has no profiles", listing.symbol)

    async def news(self, query: NewsQuery) -> NewsAnswer:
        """Raises ProviderError of the class that says why there is none."""
        raise self._unsupported("has no news", query.symbol)

    async def search(self, text: str) -> list[Match]:
        """What the vendor knows by a name or a part of it, most likely first."""
        raise self._unsupported("can't search", None)

    def _unsupported(self, what: str, symbol: str | None) -> Unsupported:
        return Unsupported(f"{self.name} {what}", provider=self.name, symbol=symbol)

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
