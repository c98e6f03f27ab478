"""Sending wake-ups: bounded to well under a second, because the row is what counts.

A broker's client has many places to hang in: looking a name up, a TLS handshake with a host that froze, a confirm that
never comes because an alarm holds publishers.  So it works in a thread, and whoever hands in a job waits for that
thread for a bounded time.  What was not confirmed by then is sent again by the reaper; a message too many does nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from amqp.exceptions import ChannelError
from celery import Celery

from marketjobs.config import Settings
from marketjobs.domain.jobs import Job
from marketjobs.services.wakeups import Publish
from marketjobs.tasks.amqp import ONCE_MORE
from marketjobs.tasks.celery import app
from marketjobs.tasks.job import HEADER

log = logging.getLogger(__name__)
MOST_SECONDS = 0.7
SOCKET_SECONDS = 0.3
CONFIRM_SECONDS = 0.6
STUCK_SECONDS = 10.0
SAY_AGAIN_SECONDS = 30.0
MOST_EMBEDDED_MESSAGES = 200
_lock = threading.Lock()
_producers: dict[int, Any] = {}
"""The producer of each process: a forked child makes its own."""
_said: list[Any] = [None, 0.0]
"""The last error that was logged, and when."""
_stuck: list[tuple[threading.Thread, float]] = []
"""The thread that did not come back in time, and when it began: while it hangs, nobody else waits for the broker."""


def publisher(settings: Settings) -> Publish:
    """The function that sends wake-ups to the broker of these settings."""

    def publish(jobs: Sequence[Job]) -> list[str]:
        return send(_fitting(settings, jobs))

    return publish


def send(jobs: Sequence[Job]) -> list[str]:
    """Send what can be sent in time; returns the ids that were.  A broker that is away is no error here."""
    sent: list[str] = []
    give_up_at = time.monotonic() + MOST_SECONDS

    def work(producer: Any) -> None:
        for job in jobs[len(sent) :]:
            if time.monotonic() > give_up_at:
                return
            Celery.send_task(
                app,
                job.task,
                args=(),
                kwargs=job.arguments,
                task_id=job.id,
                queue=job.queue,
                priority=broker_priority(job.priority, producer.connection.transport.driver_type),
                headers={HEADER: 1},
                producer=producer,
                retry=False,
                ignore_result=True,
                timeout=CONFIRM_SECONDS,
                confirm_timeout=CONFIRM_SECONDS,
            )
            sent.append(job.id)

    if jobs:
        _say(_in_time(work, give_up_at), len(jobs) - len(sent))
    return list(sent)


def _say(error: str | None, jobs: int) -> None:
    """Once, and again each half minute: a reaper tries twice a second."""
    before, said_at = _said
    again = error != before or time.monotonic() - said_at > SAY_AGAIN_SECONDS
    if error and again:
        log.warning("wakeup.failed jobs=%d error=%s", jobs, error)
    if again:
        _said[:] = error, time.monotonic()


def queue_is_empty(queue: str) -> bool:
    """Does the broker hold no message for a queue?  ``False`` when it does not answer: then nothing is sent."""
    found: list[int] = []

    def work(producer: Any) -> None:
        try:
            with producer.connection.channel() as channel:
                found.append(int(channel.queue_declare(queue, passive=True).message_count))
        except ChannelError:
            found.append(0)  # Redis has no key for an empty queue, and a queue that nobody declared yet holds nothing

    _in_time(work, time.monotonic() + MOST_SECONDS)
    return found == [0]


def broker_priority(priority: int, driver_type: str) -> int:
    """The ledger serves high numbers first, and so does RabbitMQ; Redis serves 0 first."""
    return 9 - priority if driver_type == "redis" else priority


def _in_time(work: Callable[[Any], None], give_up_at: float) -> str | None:
    """Do something with the producer, until an instant; the error's name, or ``None``.

    What was not done by then may still be done later: nobody waits for it.
    """
    if not _lock.acquire(timeout=max(0.0, give_up_at - time.monotonic())):
        return "busy"
    try:
        if any(thread.is_alive() and time.monotonic() - began < STUCK_SECONDS for thread, began in _stuck):
            return "still silent"
        _stuck.clear()
        errors: list[str] = []
        began = time.monotonic()
        thread = threading.Thread(target=_work, args=(work, errors), name="marketjobs-publish", daemon=True)
        thread.start()
        thread.join(max(0.0, give_up_at - time.monotonic()))
        if thread.is_alive():
            _stuck.append((thread, began))
            _producers.clear()
            return "silent"
        return errors[0] if errors else None
    finally:
        _lock.release()


def _work(work: Callable[[Any], None], errors: list[str]) -> None:
    """In the thread.  A connection that was kept may have been closed meanwhile: a second try is on a new one."""
    while True:
        producer = _producers.pop(os.getpid(), None)
        is_new = producer is None
        try:
            if producer is None:
                producer = _new_producer()
            work(producer)
            if _producers.setdefault(os.getpid(), producer) is not producer:
                _drop(producer)  # it was silent for so long that another took its place
            return
        except Exception as exc:  # a door: whatever a broker's client raises, it was not done
            if producer is not None:
                _drop(producer)
            if is_new:
                errors.append(type(exc).__name__)
                return


def _drop(producer: Any) -> None:
    """Close without a word: the other side may not answer."""
    try:
        producer.connection.collect(SOCKET_SECONDS)
    except Exception as exc:  # it is gone in any case
        log.debug("connection.dropped error=%s", type(exc).__name__)


def _new_producer() -> Any:
    """A producer on a connection of its own whose sockets give up soon, and that has RabbitMQ confirm."""
    connection = app.connection_for_write()
    options = dict(app.conf.broker_transport_options)
    driver = connection.transport.driver_type
    if driver == "amqp":
        options |= {"confirm_publish": True, "read_timeout": CONFIRM_SECONDS, "write_timeout": CONFIRM_SECONDS}
    elif driver == "redis":
        options |= {
            "socket_timeout": SOCKET_SECONDS,
            "socket_connect_timeout": SOCKET_SECONDS,
            "retry_on_timeout": False,
        }
    options |= ONCE_MORE
    connection = connection.clone(transport_options=options, connect_timeout=SOCKET_SECONDS)
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
