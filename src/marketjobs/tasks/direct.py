"""Speaking with a broker without Celery: for the questions of a person, who should not wait for its import.

Messages are never touched here; Celery's own connections carry them.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from marketjobs.config import BROKER_SCHEMES, QUEUES, Settings
from marketjobs.services.brokers import user_name, virtual_host

QUORUM = {"x-queue-type": "quorum"}
"""How our queues are declared on RabbitMQ: they outlive the loss of a node, and a confirm means that most have it."""
REDIS_PRIORITY_KEYS = ("", "\x06\x163", "\x06\x166", "\x06\x169")
"""kombu keeps a queue of Redis in four lists: what it adds to the queue's name for each step of priority."""


class Broker(Protocol):
    """An open connection.  Its methods raise whatever the broker's client raises."""

    def about(self) -> str:
        """What it is, with its version."""

    def check_queues(self) -> None:
        """Are our queues as they must be?  On RabbitMQ they are made where they are missing."""

    def messages(self, queue: str) -> int:
        """How many wake-ups wait in it."""


@contextmanager
def opened(settings: Settings, seconds: float) -> Iterator[Broker]:
    """A connection to the configured broker whose socket gives up after ``seconds``.

    Looking up a name, and a TLS handshake with a frozen host, may take longer.
    """
    kind = _Redis if settings.broker.url.startswith("redis") else _RabbitMQ
    broker = kind(settings, seconds)
    try:
        yield broker
    finally:
        broker.close()


class _Redis:
    def __init__(self, settings: Settings, seconds: float) -> None:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        url = settings.broker.url
        parts = urlsplit(url)
        if parts.scheme == "redis+socket":
            place = parse_qs(parts.query).get("virtual_host", ["0"])[0].strip("/")
            url = f"unix://{parts.path}?db={place or 0}"
        tls: dict[str, Any] = redis_tls(settings) if parts.scheme == "rediss" else {}
        self._client = Redis.from_url(
            url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 0), **tls
        )

    def about(self) -> str:
        return f"Redis {self._client.info('server')['redis_version']}"

    def check_queues(self) -> None:
        """Lists need no making."""

    def messages(self, queue: str) -> int:
        return sum(int(self._client.llen(f"{queue}{step}")) for step in REDIS_PRIORITY_KEYS)

    def close(self) -> None:
        self._client.close()


class _RabbitMQ:
    def __init__(self, settings: Settings, seconds: float) -> None:
        import amqp

        self._not_found = amqp.NotFound
        parts = urlsplit(settings.broker.url)
        self._connection = amqp.Connection(
            host=f"{parts.hostname}:{parts.port or BROKER_SCHEMES[parts.scheme]}",
            userid=user_name(settings),
            password=unquote(parts.password or "guest"),
            login_method="PLAIN",
            virtual_host=virtual_host(settings),
            ssl=amqp_tls(settings) if parts.scheme == "amqps" else False,
            connect_timeout=seconds,
            read_timeout=seconds,
            write_timeout=seconds,
        )
        try:
            self._connection.connect()
        except BaseException:
            self._connection.collect()
            raise

    def about(self) -> str:
        said = self._connection.server_properties
        return f"{said.get('product', 'AMQP')} {said.get('version', '')}".strip()

    def check_queues(self) -> None:
        channel = self._connection.channel()
        for name in QUEUES:
            channel.queue_declare(name, durable=True, auto_delete=False, arguments=QUORUM)

    def messages(self, queue: str) -> int:
        try:
            return int(self._connection.channel().queue_declare(queue, passive=True).message_count)
        except self._not_found:
            return 0  # nobody has sent anything to it yet

    def close(self) -> None:
        self._connection.collect()  # without a word: one that froze would not answer


def amqp_tls(settings: Settings) -> dict[str, Any]:
    """In py-amqp's words.  Left to itself it would not look at the host's name."""
    return {
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": urlsplit(settings.broker.url).hostname,
        "ca_certs": _authorities(settings),
    }


def redis_tls(settings: Settings) -> dict[str, Any]:
    """In redis-py's words.  Without them kombu would take any certificate."""
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": _authorities(settings)}


def _authorities(settings: Settings) -> str | None:
    """The file that brokers' certificates are checked against; none: the system's."""
    return settings.network.ca_bundle or os.environ.get("SSL_CERT_FILE") or None
