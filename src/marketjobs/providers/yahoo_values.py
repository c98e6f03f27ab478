"""Values of a vendor's answer, which may be anything: read as what they should be, or not at all."""

from __future__ import annotations

import math
from typing import Any

from marketjobs.errors import MalformedAnswer

NAME = "yahoo"
SHOWN_CHARACTERS = 160
UNREADABLE = (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError)
"""What figures that are no figures raise on their way through json, zoneinfo and datetime."""


def number(value: Any) -> float | None:
    """A finite number as float, else ``None``."""
    if type(value) is not int and type(value) is not float:
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if math.isfinite(converted) else None


def text(value: Any) -> str | None:
    return (printable(value) or None) if isinstance(value, str) else None


def printable(value: Any) -> str:
    """Foreign text on one line, bounded, without what a terminal would obey."""
    line = " ".join("".join(char if char.isprintable() else " " for char in str(value)[:1000]).split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 3] + "..."


def malformed(symbol: str | None, what: str) -> MalformedAnswer:
    return MalformedAnswer(f"yahoo's answer for {symbol} can't be read: {what}", provider=NAME, symbol=symbol)
