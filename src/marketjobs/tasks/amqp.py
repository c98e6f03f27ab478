"""The app's connections: a transport of ours is called what it is, in logs and in `inspect`, and a broker that is away
is waited for where that holds nothing up, for a bounded time."""

from __future__ import annotations

from typing import Any, ClassVar

from celery.app.amqp import AMQP
from kombu import Connection

REDIS = "marketjobs.tasks.redis_transport:Transport"
EMBEDDED = "marketjobs.tasks.embedded:Transport"
ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
"""How often what could not be sent is tried again: on a new connection, at once."""
MOST_SECONDS_BETWEEN_TRIES = 5
"""Of a worker that waits for its broker; Celery's own half minute is longer than work may rest."""


class JobConnection(Connection):
    resolve_aliases: ClassVar[dict[str, str]] = {**Connection.resolve_aliases, REDIS: "redis", EMBEDDED: "filesystem"}

    def ensure(self, *args: Any, **policy: Any) -> Any:
        """Celery sends workers' heartbeat events and answers with `retry`, and without a policy that is for ever: a
        worker's main process slept in it while its broker was away, heard of nothing, and slept on when the broker
        was back.  An event that can't be sent is kept by its sender; an answer is lost."""
        return super().ensure(*args, **(ONCE_MORE | policy))

    def ensure_connection(self, *args: Any, **policy: Any) -> Any:
        return super().ensure_connection(*args, **({"interval_max": MOST_SECONDS_BETWEEN_TRIES} | policy))


class JobAMQP(AMQP):
    Connection = JobConnection
    BrokerConnection = JobConnection  # Celery's older name for it
