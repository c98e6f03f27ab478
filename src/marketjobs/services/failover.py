"""Who is asked about a symbol, in what order, and what their refusals come to.

A chain of providers per class of asset stands in the settings.  Where one can't serve a symbol, the next is asked
within the same job; why each was or was not asked is kept with the symbol's outcome.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from marketjobs.config import ProviderSettings, Settings
from marketjobs.domain.assets import AssetClass, told_class
from marketjobs.domain.reports import Asked, Hold
from marketjobs.errors import (
    AmbiguousSymbol,
    Blocked,
    BudgetSpent,
    CircuitOpen,
    ConfigError,
    DataRejected,
    MarketJobsError,
    MissingKey,
    NoData,
    ProviderError,
    QuotaExhausted,
    RangeUnavailable,
    RateLimited,
    SymbolDelisted,
    SymbolUnknown,
    Unauthorised,
    Unsupported,
)
from marketjobs.providers.base import Capabilities, Provider
from marketjobs.services.vendors import require_enabled

LEAST_WAIT_SECONDS = 0.5
PATIENT_SECONDS = 120.0
"""A symbol that one vendor does not know, and of which nothing is stored, waits no longer than that for the others; and
one that a vendor refuses waits so long for another's budget."""
_WORDS = (SymbolUnknown, SymbolDelisted, RangeUnavailable, NoData)
"""A vendor's own word about a symbol."""
_LIMITS = (RateLimited, BudgetSpent, CircuitOpen, QuotaExhausted)
_REFUSALS = (Blocked, Unauthorised)
"""Nobody knows when these end, or whether they do."""

Need = Callable[[Capabilities], str | None]
"""Why a provider can't do what a job is about, as part of a sentence (``has no quotes``); ``None``: it can."""


@dataclass(frozen=True, slots=True)
class Link:
    """One provider of a chain.  ``refusal``: why it is not asked at all."""

    name: str
    refusal: MarketJobsError | None = None


def class_of(symbol: str, stored: str | None) -> AssetClass:
    """An asset's class as it is stored, else as far as its symbol tells."""
    known = AssetClass(stored) if stored in set(AssetClass) else AssetClass.UNKNOWN
    return told_class(symbol) if known is AssetClass.UNKNOWN else known


def chain(
    settings: Settings, asset_class: AssetClass, need: Need, only: str | None = None, then: Sequence[str] = ()
) -> list[Link]:
    """The providers of a class in their order; ``only``: this one, whatever the chain says; ``then``: who comes after
    it, for what all classes have."""
    names = dict.fromkeys((*settings.chains.of(asset_class), *then)) if only is None else (only,)
    return [Link(name, _refusal(settings, name, asset_class, need)) for name in names]


def _refusal(settings: Settings, name: str, asset_class: AssetClass, need: Need) -> MarketJobsError | None:
    try:
        provider = require_usable(settings, name)
    except ConfigError as exc:
        return exc
    why = need(provider.capabilities)
    if why is None and asset_class is not AssetClass.UNKNOWN and asset_class not in provider.capabilities.asset_classes:
        why = f"has no {asset_class}"
    return None if why is None else Unsupported(f"{name} {why}", provider=name)


def require_usable(settings: Settings, name: str) -> type[Provider]:
    """The class of a provider that may be asked.

    Raises:
        UnknownProvider: none has that name.
        MissingKey: it wants a key, and has none.
        ConfigError: it is switched off.
    """
    cls = require_enabled(settings, name)
    section = settings.providers.of(name)
    if cls.capabilities.needs_key and not (isinstance(section, ProviderSettings) and section.api_keys):
        raise MissingKey(f"{name} wants a key, and none is set", hint=f"[providers.{name}] api_keys")
    return cls


@dataclass(slots=True)
class Trail:
    """Who did not serve one symbol, in the order of asking.  ``is_stored``: there is an asset of that name, so that it
    is not mistyped."""

    errors: list[tuple[str, MarketJobsError]] = field(default_factory=list)
    is_stored: bool = False

    def add(self, provider: str, error: MarketJobsError) -> None:
        self.errors.append((provider, error))

    @property
    def waits_a_moment(self) -> bool:
        """Nobody else is asked because of a wait that is over as soon as his answer would be here."""
        return any(isinstance(error, BudgetSpent) and error.is_pace for _, error in self.errors)

    def asked(self) -> tuple[Asked, ...]:
        return tuple(Asked(provider, error.cause, error.message) for provider, error in self.errors)

    def verdict(self) -> tuple[MarketJobsError, Hold | None]:
        """The one error that stands for all, and when to come back where everybody who could serve has said to wait
        (``None``: a plain retry, or none)."""
        again = [(name, error) for name, error in self.errors if error.retryable]
        said = [error for _, error in self.errors if isinstance(error, _WORDS)]
        held = [error for _, error in self.errors if isinstance(error, DataRejected)]
        waits = {name: wait for name, error in again if (wait := _wait_of(error)) is not None}
        if again and len(waits) == len(again):
            seconds = min(waits.values())
            unknown = [error for error in said if isinstance(error, SymbolUnknown)]
            if unknown and not self.is_stored and seconds > PATIENT_SECONDS:
                return (held or unknown)[0], None  # most likely nobody knows it: who asked is told so now
            why = "; ".join(dict.fromkeys(error.message for _, error in again))
            served_at = [waits[name] for name, error in again if not isinstance(error, _REFUSALS)]
            is_refused = len(served_at) < len(again)
            if is_refused and served_at and min(served_at) <= PATIENT_SECONDS:
                seconds, is_refused = min(served_at), False  # somebody else serves it sooner or later
            return again[0][1], Hold(time.monotonic() + max(LEAST_WAIT_SECONDS, seconds), why, is_refused)
        if again:
            return again[0][1], None
        errors = [error for _, error in self.errors]
        ambiguous = [error for error in errors if isinstance(error, AmbiguousSymbol)]
        asked = [error for error in errors if not isinstance(error, Unsupported | ConfigError)]
        # Of an answer that was held back a person is told, and not of who did not know the symbol.
        return (held or ambiguous or said or asked or errors)[0], None


def _wait_of(error: MarketJobsError) -> float | None:
    return error.retry_after_seconds if isinstance(error, ProviderError) else None


class Closed:
    """Providers that nobody needs to ask again in this job: they have said when to come back."""

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[ProviderError, float]] = {}

    def note(self, provider: str, error: MarketJobsError) -> None:
        """A limit of ours or theirs closes a provider; a refusal does when the provider is held for it."""
        if not isinstance(error, ProviderError):
            return
        wait = error.retry_after_seconds
        if wait is not None or isinstance(error, _LIMITS):
            until = time.monotonic() + (wait or 0.0)
            known = self._by_name.get(provider)
            if known is None or until > known[1]:
                self._by_name[provider] = error, until

    def why(self, provider: str, symbol: str) -> ProviderError | None:
        """The error of a symbol that it need not be asked about."""
        found = self._by_name.get(provider)
        if found is None:
            return None
        error, until = found
        left = until - time.monotonic()
        if left <= 0:  # the time has come
            del self._by_name[provider]
            return None
        again = type(error)(error.message, provider=provider, symbol=symbol, retry_after_seconds=left, hint=error.hint)
        again.retryable = error.retryable
        if isinstance(error, BudgetSpent) and isinstance(again, BudgetSpent):
            again.is_pace = error.is_pace
        return again
