"""Brokers as the rest of the house sees them: by name and by address.  Only ``tasks`` speaks with one."""

from __future__ import annotations

import socket
from urllib.parse import unquote, urlsplit

from marketjobs.config import BROKER_SCHEMES, Settings
from marketjobs.services.bounded import within

EMBEDDED = "embedded"
KINDS = {"redis": "Redis", "rediss": "Redis", "redis+socket": "Redis", "amqp": "RabbitMQ", "amqps": "RabbitMQ"}

KNOCK_SECONDS = 0.4
KNOCKS = {"Redis": b"PING\r\n", "RabbitMQ": b"AMQP\x00\x00\x09\x01"}
"""What makes each of them say something, also to somebody whose password it does not know yet."""


def broker_kind(settings: Settings) -> str:
    """``embedded``, ``Redis`` or ``RabbitMQ``."""
    return EMBEDDED if settings.is_embedded else KINDS[urlsplit(settings.broker.url).scheme]


def broker_label(settings: Settings) -> str:
    """The broker as workers and clients compare it: ``embedded``, or its address written out, without who asks.

    ``redis://localhost`` and ``redis://:secret@127.0.0.1:6379/0`` are one broker.
    """
    if settings.is_embedded:
        return EMBEDDED
    parts = urlsplit(settings.broker.url)
    if parts.scheme not in BROKER_SCHEMES:
        return f"{parts.scheme}://{parts.path}"  # a socket's file
    host = (parts.hostname or "").lower()
    host = "localhost" if host in ("127.0.0.1", "::1") else host
    host = f"[{host}]" if ":" in host else host
    port = parts.port or BROKER_SCHEMES[parts.scheme]
    place = virtual_host(settings) if broker_kind(settings) == "RabbitMQ" else parts.path.strip("/") or "0"
    return f"{parts.scheme}://{host}:{port}/{place}"


def virtual_host(settings: Settings) -> str:
    """RabbitMQ's vhost, ``/`` where none is named."""
    return unquote(urlsplit(settings.broker.url).path[1:]) or "/"


def user_name(settings: Settings) -> str:
    """Who asks RabbitMQ; its own default where none is named."""
    return unquote(urlsplit(settings.broker.url).username or "guest")


def answers(settings: Settings) -> bool | None:
    """Does the configured broker say anything, within half a second?  ``None``: there is none.

    For `status`, which must be quick and import no broker's client: nothing is said about passwords and queues.
    """
    if settings.is_embedded:
        return None
    try:
        return within(KNOCK_SECONDS, lambda: _knock(settings), "knock")
    except (OSError, UnicodeError):  # TimeoutError too; a host that can't be a name
        return False


def _knock(settings: Settings) -> bool:
    parts = urlsplit(settings.broker.url)
    if parts.scheme == "redis+socket":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(KNOCK_SECONDS)
        connection.connect(parts.path)
    else:
        host = parts.hostname or ""
        # Given as text, a name is encoded by way of Unicode's tables, whose import costs more than the knock.
        name = host.encode() if host.isascii() else host
        address = (name, parts.port or BROKER_SCHEMES[parts.scheme])
        connection = socket.create_connection(address, timeout=KNOCK_SECONDS)  # type: ignore[arg-type]
    with connection:
        if parts.scheme in ("rediss", "amqps"):
            import ssl

            context = ssl.create_default_context()
            # Nothing is told to whoever answers; whether it may be trusted is found out where something is.
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = context.wrap_socket(connection)
        connection.sendall(KNOCKS[broker_kind(settings)])
        return bool(connection.recv(1))
