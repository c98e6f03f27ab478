"""A few words with Redis, on a connection of their own each time: nothing is kept over a fork, nothing goes stale.

Its protocol (RESP2) is read here because importing redis-py costs more CPU than the whole of a command that looks a
price up (0.35 s); whoever speaks with a broker uses that.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, BinaryIO
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from marketjobs.errors import CacheUnavailable

Command = Sequence[bytes | str | int]
DEFAULT_PORT = 6379


class Refused(Exception):
    """A reply of Redis: its word why it did not do something."""


def ask(url: str, commands: Sequence[Command], seconds: float, ca_bundle: str | None = None) -> list[Any]:
    """The replies to commands that are sent together: bytes, integers, None, or lists of them.

    Args:
        seconds: longest silence of the other side.

    Raises:
        CacheUnavailable: it does not answer, or refuses one of them; others may have been done.
    """
    parts = urlsplit(url)
    greeting = _greeting(parts)
    words = [*greeting, *commands]
    try:
        with _connected(parts, seconds, ca_bundle) as connection, connection.makefile("rb") as stream:
            connection.sendall(b"".join(map(_packed, words)))
            replies = [_reply(stream) for _ in words]
    except (OSError, ValueError) as exc:  # a name that can't be one, and a reply of something else, are values
        raise CacheUnavailable(
            f"the cache at {_place(parts)} does not answer: {str(exc) or type(exc).__name__}"
        ) from exc
    for reply in replies:
        if isinstance(reply, Refused):
            raise CacheUnavailable(f"the cache at {_place(parts)} refuses: {reply}")
    return replies[len(greeting) :]


def _greeting(parts: SplitResult) -> list[Command]:
    """Who asks, and for which database."""
    found: list[Command] = []
    if parts.password:
        name = [unquote(parts.username)] if parts.username else []
        found.append(["AUTH", *name, unquote(parts.password)])
    chosen = parts.path if parts.scheme != "redis+socket" else parse_qs(parts.query).get("virtual_host", ["0"])[0]
    number = chosen.strip("/") or "0"
    return found if number == "0" else [*found, ["SELECT", number]]


def _connected(parts: SplitResult, seconds: float, ca_bundle: str | None) -> socket.socket:
    if parts.scheme == "redis+socket":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        try:
            connection.connect(parts.path)
        except OSError:
            connection.close()
            raise
        return connection
    connection = socket.create_connection((parts.hostname or "", parts.port or DEFAULT_PORT), timeout=seconds)
    if parts.scheme == "rediss":
        import ssl

        # Certificates are always checked, whatever options of Celery's the address has.
        context = ssl.create_default_context(cafile=ca_bundle)
        return context.wrap_socket(connection, server_hostname=parts.hostname)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _place(parts: SplitResult) -> str:
    return parts.path if parts.scheme == "redis+socket" else f"{parts.hostname}:{parts.port or DEFAULT_PORT}"


def _packed(command: Command) -> bytes:
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"*%d\r\n%b" % (len(words), b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))


def _reply(stream: BinaryIO) -> Any:
    line = stream.readline(65_536)
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("it hung up")
    kind, text = line[:1], line[1:-2]
    if kind == b"+":
        return text
    if kind == b"-":
        return Refused(text.decode(errors="replace"))
    if kind == b":":
        return int(text)
    if kind == b"$":
        size = int(text)
        if size < 0:
            return None
        body = stream.read(size + 2)
        if len(body) < size + 2:
            raise ConnectionResetError("it hung up")
        return body[:-2]
    if kind == b"*":
        return [_reply(stream) for _ in range(int(text))]
    raise ValueError("something else answers there")
