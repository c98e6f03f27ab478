"""Symbols as people type them: `A,B`, `@FILE`, `-` for standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def typed(texts: Iterable[str]) -> list[str]:
    """The symbols of options, in their order.

    A file has symbols between blanks, commas or line ends; what follows a ``#`` in a line is a remark.  So many
    symbols fit that no command line would hold.

    Raises:
        InvalidInput: the file can't be read, or holds no symbol.
    """
    found: list[str] = []
    for text in texts:
        if text == "-" or text.startswith("@"):
            found += _listed(text)
        else:
            found += text.split(",")
    return found


def chosen(texts: Iterable[str] | None) -> list[str] | None:
    """The same of an option that may be left out: nothing was chosen then."""
    return None if texts is None else typed(texts)


def _listed(text: str) -> list[str]:
    from marketjobs.errors import InvalidInput

    name = "standard input" if text == "-" else text[1:]
    try:
        content = sys.stdin.buffer.read() if text == "-" else Path(name).expanduser().read_bytes()
        symbols = list(_words(content.decode("utf-8-sig")))
    except OSError as exc:
        raise InvalidInput(f"{name}: can't be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"{name}: is no text in UTF-8") from exc
    except RuntimeError as exc:  # ~somebody who does not exist
        raise InvalidInput(f"{name}: can't be read: {exc}") from exc
    if not symbols:
        raise InvalidInput(f"{name}: holds no symbol")
    return symbols


def _words(content: str) -> Iterator[str]:
    for line in content.splitlines():
        yield from line.partition("#")[0].replace(",", " ").split()
