"""Values of a vendor's answer, which may be anything: read as what they should be, or not at all."""

from __future__ import annotations

from typing import Any

from marketjobs.domain.assets import AssetClass
from marketjobs.errors import MalformedAnswer
from marketjobs.providers import answers
from marketjobs.providers.answers import number, printable, text

__all__ = ["ASSET_CLASSES", "NAME", "UNREADABLE", "asset_class", "malformed", "number", "printable", "text"]

NAME = "yahoo"
UNREADABLE = (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError)
"""What figures that are no figures raise on their way through json, zoneinfo and datetime."""

ASSET_CLASSES = {
    "EQUITY": AssetClass.EQUITY,
    "ETF": AssetClass.ETF,
    "MUTUALFUND": AssetClass.FUND,
    "INDEX": AssetClass.INDEX,
    "CURRENCY": AssetClass.CURRENCY,
    "CRYPTOCURRENCY": AssetClass.CRYPTO,
    "FUTURE": AssetClass.FUTURE,
}


def asset_class(kind: Any) -> AssetClass:
    """Of Yahoo's word for it, such as ``MUTUALFUND``."""
    return ASSET_CLASSES.get(kind, AssetClass.UNKNOWN) if isinstance(kind, str) else AssetClass.UNKNOWN


def malformed(symbol: str | None, what: str) -> MalformedAnswer:
    return answers.malformed(NAME, symbol, what)
