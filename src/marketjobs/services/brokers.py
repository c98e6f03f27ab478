"""Brokers as the rest of the house sees them: by name and by address.  Only ``tasks`` speaks with one."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from marketjobs.config import BROKER_SCHEMES, Settings

EMBEDDED = "embedded"
KINDS = {"redis": "Redis", "rediss": "Redis", "redis+socket": "Redis", "amqp": "RabbitMQ", "amqps": "RabbitMQ"}


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
