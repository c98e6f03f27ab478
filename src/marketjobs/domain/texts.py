"""Foreign texts as they may be shown: what a terminal would obey, or a log take for a new line, is written out."""

from __future__ import annotations


def visible(text: str) -> str:
    """The text, with escapes such as ``\\x1b`` and ``\\n`` in place of what is not printable."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else ascii(char)[1:-1] for char in text])


def shortened(text: str, most: int) -> str:
    """At most so many characters of it."""
    return text if len(text) <= most else text[: most - 3] + "..."
