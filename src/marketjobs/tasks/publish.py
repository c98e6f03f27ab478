"""Sending wake-ups: bounded to well under a second, because the row is what counts."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from amqp.exceptions import ChannelError
from celery import Celery
from kombu.exceptions import KombuError

from marketjobs.config import Settings
from marketjobs.domain.jobs import Job
from marketjobs.services.wakeups import Publish
from marketjobs.tasks.celery import SUBMITTER_SOCKET_SECONDS, app
from marketjobs.tasks.job import HEADER

log = logging.getLogger(__name__)
MOST_SECONDS = 0.7
MOST_EMBEDDED_MESSAGES = 200
_lock = threading.Lock()


def publisher(settings: Settings) -> Publish:
    """The function that sends wake-ups to the broker of these settings."""

    def publish(jobs: Sequence[Job]) -> list[str]:
        return send(_fitting(settings, jobs))

    return publish


def send(jobs: Sequence[Job]) -> list[str]:
    """Send what can be sent in time; returns the ids that were.  A broker that is away is no error here."""
    sent: list[str] = []
    give_up_at = time.monotonic() + MOST_SECONDS
    with _lock:
        try:
            producer = _producer(os.getpid())
            for job in jobs:
                Celery.send_task(
                    app,
                    job.task,
                    args=(),
                    kwargs=job.arguments,
                    task_id=job.id,
                    queue=job.queue,
                    priority=job.priority,
                    headers={HEADER: 1},
                    producer=producer,
                    retry=False,
                    ignore_result=True,
                )
                sent.append(job.id)
                if time.monotonic() > give_up_at:
                    break
        except (OSError, KombuError, RuntimeError) as exc:
            _producer.cache_clear()
            log.warning("wakeup.failed jobs=%d error=%s", len(jobs) - len(sent), type(exc).__name__)
        except _redis_errors() as exc:
            _producer.cache_clear()
            log.warning("wakeup.failed jobs=%d error=%s", len(jobs) - len(sent), type(exc).__name__)
    return sent


def _redis_errors() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisError

    return (RedisError,)


@cache
def _producer(pid: int) -> Any:
    """A producer on a connection of its own whose sockets give up soon; a forked child makes its own."""
    options: dict[str, Any] = dict(app.conf.broker_transport_options)
    if "socket_timeout" in options:
        options |= {
            "socket_timeout": SUBMITTER_SOCKET_SECONDS,
            "socket_connect_timeout": SUBMITTER_SOCKET_SECONDS,
            "retry_on_timeout": False,
        }
    options |= {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    connection = app.connection_for_write().clone(transport_options=options)
    return app.amqp.Producer(connection, auto_declare=False)


def _fitting(settings: Settings, jobs: Sequence[Job]) -> Sequence[Job]:
    """The embedded queue is a folder that is listed at each look: it takes so many messages of each queue."""
    if not settings.is_embedded:
        return jobs
    try:
        names = os.listdir(app.conf.broker_transport_options["data_folder_out"])  # noqa: PTH208
    except OSError as exc:
        log.warning("wakeup.failed jobs=%d error=%s", len(jobs), type(exc).__name__)
        return []
    out = Counter(name.partition(".")[2].removesuffix(".msg") for name in names if not name.startswith("."))
    fitting = []
    for job in jobs:
        if out[job.queue] < MOST_EMBEDDED_MESSAGES:
            out[job.queue] += 1
            fitting.append(job)
    return fitting


def queue_is_empty(queue: str) -> bool:
    """Does the broker hold no message for a queue?  ``False`` when it does not answer: then nothing is sent."""
    try:
        with app.connection_for_write().clone(transport_options=_producer_options()) as connection:
            channel = connection.default_channel
            return int(channel.queue_declare(queue, passive=True).message_count) == 0
    except ChannelError:
        return True  # Redis has no key for an empty queue, and a queue that nobody declared yet holds nothing
    except (OSError, KombuError, RuntimeError, *_redis_errors()):
        return False


def _producer_options() -> dict[str, Any]:
    return dict(app.conf.broker_transport_options) | {"max_retries": 1}
