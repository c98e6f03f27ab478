"""What people's tables say: which column means what, and numbers as they are written.

Nothing is guessed: a cell that may mean two things decides nothing, and a table in which nothing decides has to be
explained by whoever brings it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from marketjobs.errors import InvalidInput

MISSING = frozenset({"", "-", "null", "none", "nan", "na", "n/a", "#n/a"})
"""How programs write that there is nothing."""

_COMMA_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")
_POINT_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?")
_COMMA_NUMBER = re.compile(r"[+-]?(?:\d+(?:,\d*)?|,\d+)(?:[eE][+-]?\d+)?")
# "1,234" and "1.234" tell nothing; every other number with a sign in it does.
_TELLS_NOTHING = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")


class BadCell(ValueError):
    """A cell that can't be read; its text says why, for people."""


def shown(text: str) -> str:
    """A cell in a message: short, printable, in quotes."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")


# -- columns ------------------------------------------------------------------------------------------------


def plain(name: str) -> str:
    """A column's name without case, blanks and signs: ``Adj Close`` and ``adj_close`` are ``adjclose``."""
    return re.sub(r"[\W_]+", "", name.lower())


def find_columns(
    header: Sequence[str], meanings: Mapping[str, Sequence[str]], required: Iterable[str]
) -> dict[str, int]:
    """Where each meaning stands, by the names that are usual for it.

    Raises:
        InvalidInput: a required one has no column, or one meaning has two.
    """
    found: dict[str, int] = {}
    by_name = {name: meaning for meaning, names in meanings.items() for name in names}
    for index, title in enumerate(header):
        meaning = by_name.get(plain(title))
        if meaning is None:
            continue
        if meaning in found:
            raise InvalidInput(
                f"columns {shown(header[found[meaning]])} and {shown(title)} both mean {meaning}: leave one out"
            )
        found[meaning] = index
    missing = [meaning for meaning in required if meaning not in found]
    if missing:
        named = ", ".join(shown(title) for title in header[:12]) + (" ..." if len(header) > 12 else "")
        raise InvalidInput(f"no column for {', '.join(missing)}; the first line names {named}")
    return found


# -- numbers ------------------------------------------------------------------------------------------------


def decimal_evidence(text: str) -> str | None:
    """The decimal sign that a cell proves, ``.`` or ``,``; ``?`` when a comma in it may mean either."""
    text = text.strip()
    if "," not in text and "." not in text:
        return None
    if _TELLS_NOTHING.fullmatch(text):
        return "?" if "," in text else None
    if _COMMA_GROUPS.fullmatch(text):
        return "."
    if _POINT_GROUPS.fullmatch(text) or ("," in text and _COMMA_NUMBER.fullmatch(text)):
        return ","
    return None if "," in text else "."


def read_number(text: str, decimal: str = ".") -> float | None:
    """A number with that decimal sign, also one with the other sign between its thousands; ``None``: nothing there.

    Raises:
        BadCell: it is no number.
    """
    if decimal == ".":
        try:
            value = float(text)
        except ValueError:
            return _written(text, _COMMA_GROUPS, ",")
        if "_" in text:  # Python's own way of writing, nobody's table
            raise BadCell(f"{shown(text)} is no number")
        return value if value == value else None  # noqa: PLR0124  NaN: nothing there
    stripped = text.strip()
    if _COMMA_NUMBER.fullmatch(stripped):
        return float(stripped.replace(",", "."))
    return _written(text, _POINT_GROUPS, ".")


def _written(text: str, groups: re.Pattern[str], separator: str) -> float | None:
    stripped = text.strip()
    if stripped.lower() in MISSING:
        return None
    if groups.fullmatch(stripped):
        return float(stripped.replace(separator, "").replace(",", "."))
    comma = " with a decimal comma" if separator == "." else ""
    raise BadCell(f"{shown(stripped)} is no number{comma}")
