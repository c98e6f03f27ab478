"""What is said of one symbol's fetch, once its answers are stored or have failed."""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter

from marketjobs.domain.bars import OVERLAP_BARS
from marketjobs.domain.intervals import stamp_text
from marketjobs.domain.reports import Asked, SymbolFailure, SymbolOutcome, SymbolStatus
from marketjobs.errors import MarketJobsError
from marketjobs.providers.base import Provider
from marketjobs.services.bar_found import Found
from marketjobs.services.bar_request import FetchRequest
from marketjobs.storage.bars import Stored

Span = tuple[int | None, int | None]


def failure(
    request: FetchRequest,
    symbol: str,
    span: Span,
    provider: str | None,
    error: MarketJobsError,
    asked: tuple[Asked, ...] = (),
    note: str | None = None,
) -> SymbolOutcome:
    """Nothing of it was changed.  ``span``: the stored series' ends; ``provider``: whose error it is."""
    first, last = _ends(request, span)
    return SymbolOutcome(
        symbol=symbol,
        interval=request.interval.value,
        status=SymbolStatus.FAILED,
        provider=provider,
        first=first,
        last=last,
        error=SymbolFailure.of(error),
        note=note,
        asked=asked,
    )


def success(
    request: FetchRequest, provider: Provider, found: Found, stored: Stored, span: Span, *, is_empty: bool
) -> SymbolOutcome:
    """``span``: the stored series' first and last stamp; ``is_empty``: no bar of the wanted range is stored."""
    status = SymbolStatus.UP_TO_DATE
    if stored.new or stored.changed:
        status = SymbolStatus.STORED
    elif is_empty:
        status = SymbolStatus.EMPTY
    first, last = _ends(request, span)
    return SymbolOutcome(
        symbol=found.plan.symbol,
        interval=request.interval.value,
        status=status,
        provider=provider.name,
        rows_new=stored.new,
        rows_changed=stored.changed,
        rows_unchanged=stored.unchanged,
        rows_rejected=len(found.rejected),
        first=first,
        last=last,
        note="; ".join(note for note in _notes(request, found, stored) if note) or None,
        asked=found.plan.asked,
    )


def _notes(request: FetchRequest, found: Found, stored: Stored) -> list[str]:
    notes = [found.plan.note, found.restated or "", f"rejected: {found.rules}" if found.rules else ""]
    if found.rebase is not None:
        notes.append(found.rebase.text(request.interval))
    if found.verified:
        notes.append(f"{found.verified} bars of others are {found.supplier}'s now")
    if stored.new and not found.restated:
        notes.append(_filled(request, found))
    return notes


def _filled(request: FetchRequest, found: Found) -> str:
    """Said when more was stored than was wanted: up to the stored bars, that the history has no hole."""
    wanted, stamps = found.plan.wanted, attrgetter("ts")
    start, end = (bisect_left(found.bars, stamp, key=stamps) for stamp in (wanted.start, wanted.end))
    beyond = [*found.bars[:start], *found.bars[end:]]
    if len(beyond) <= 2 * OVERLAP_BARS:
        return ""
    first, last = (stamp_text(bar.ts, request.interval) for bar in (beyond[0], beyond[-1]))
    return f"filled {first} to {last} too, so that the history has no hole"


def _ends(request: FetchRequest, span: Span) -> tuple[str | None, str | None]:
    first, last = (None if stamp is None else stamp_text(stamp, request.interval) for stamp in span)
    return first, last
