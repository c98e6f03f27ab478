"""What the answers to one symbol's questions came to."""

from __future__ import annotations

from dataclasses import dataclass

from marketjobs.domain.assets import AssetFacts, Listing
from marketjobs.domain.bars import Action, Bar, Rejected
from marketjobs.domain.ranges import Range
from marketjobs.services.bar_plan import Plan
from marketjobs.services.bar_rebase import Rebase


@dataclass(frozen=True, slots=True)
class Found:
    """One symbol's checked answers, ready to be stored."""

    plan: Plan
    asked: tuple[Range, ...]
    bars: list[Bar]
    rejected: list[Rejected]
    rules: str
    actions: list[Action]
    facts: AssetFacts
    open_from: int
    restated: str | None = None
    withdrawn: tuple[int, ...] = ()
    rebase: Rebase | None = None
    listing: Listing | None = None
    supplier: str = ""
    verified: int = 0
    """Bars of providers behind it that became its own."""
    goes_on: bool = False
    """The vendor has more after what was ``asked``."""
