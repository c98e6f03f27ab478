"""Foreign texts made fit for a store, a terminal and a page: plain, bounded, without markup; and addresses that a
browser may be sent to.  All of it is linear in the text's length."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlsplit

ADDRESS_CHARACTERS = 2000
_TAG = re.compile(r"<(/[^<>]*|[a-zA-Z!?][^<>]*)>?")
"""Also one that is never closed: a page would close it with what follows; and an end of nothing (``</>``)."""
_NAME = re.compile(r"/?[a-zA-Z0-9:-]+")
_UNSEEN = frozenset({"script", "style", "template", "noscript", "iframe", "object", "head", "title", "svg", "math"})
"""What stands between these and their end is no text."""
_INLINE = frozenset({"a", "abbr", "b", "big", "code", "em", "font", "i", "mark", "s", "small", "span", "strong", "sub"})
"""Tags that part no words."""


def web_address(value: object) -> str | None:
    """An http or https address without a password, as it was written; ``None``: it is none (``javascript:``, ``data:``,
    ``file:``, a path, a text)."""
    if not isinstance(value, str):
        return None
    address = value.strip()
    if not 0 < len(address) <= ADDRESS_CHARACTERS or not address.isprintable() or " " in address:
        return None
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        _ = parts.port
    except ValueError:
        return None
    return address if is_one else None


def plain_text(markup: str, most: int) -> str:
    """The text of a piece of HTML on one line, of at most so many characters; empty where there is none."""
    text = markup[: most * 20]  # markup may be many times its text, but not without end
    if "<" in text:
        text = _without_tags(text)
    if "&" in text:
        text = unescape(text)
        if "<" in text:  # markup that was escaped twice
            text = _TAG.sub(" ", text)
    if not text.isprintable():
        text = "".join([char if char.isprintable() else " " for char in text])
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."


def _without_tags(text: str) -> str:
    pieces: list[str] = []
    unseen: str | None = None
    # Text, tag, text, tag ..., text.
    for index, piece in enumerate(_TAG.split(_without_comments(text))):
        if index % 2 == 0:
            if unseen is None:
                pieces.append(piece)
            continue
        found = _NAME.match(piece)
        name = found[0].lower() if found else ""
        if unseen is not None:
            unseen = None if name == f"/{unseen}" else unseen
        elif name in _UNSEEN and not piece.endswith("/"):
            unseen = name
        if name.lstrip("/") not in _INLINE:
            pieces.append(" ")
    return "".join(pieces)


def _without_comments(text: str) -> str:
    """Also one that is never closed takes what follows with it."""
    if "<!--" not in text:
        return text
    pieces: list[str] = []
    at = 0
    while (begins := text.find("<!--", at)) >= 0:
        pieces.append(text[at:begins])
        ends = text.find("-->", begins + 4)
        if ends < 0:
            return "".join(pieces)
        at = ends + 3
    return "".join([*pieces, text[at:]])
