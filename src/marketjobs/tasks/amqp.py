"""How the app names its connections: a transport of ours is called what it is, in logs and in `inspect`."""

from __future__ import annotations

from typing import ClassVar

from celery.app.amqp import AMQP
from kombu import Connection

REDIS = "marketjobs.tasks.redis_transport:Transport"
EMBEDDED = "marketjobs.tasks.embedded:Transport"


class JobConnection(Connection):
    resolve_aliases: ClassVar[dict[str, str]] = {**Connection.resolve_aliases, REDIS: "redis", EMBEDDED: "filesystem"}


class JobAMQP(AMQP):
    Connection = JobConnection
    BrokerConnection = JobConnection  # Celery's older name for it
