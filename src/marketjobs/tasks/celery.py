"""The Celery app.  Settings are read at the first use of ``app.conf``, not on import.

The job row is the truth; Celery carries wake-ups, forks and controls.  The hooks are spread over this
package: `job` (submit, claim, finish), `request` (lost children, hostile messages), `backend` (results are
read from the row), `control` (a revoke writes the row).
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_init, setup_logging
from kombu import Exchange, Queue

from marketjobs import config
from marketjobs.config import QUEUES, Settings
from marketjobs.tasks import amqp
from marketjobs.tasks.direct import QUORUM, amqp_tls, redis_tls

REDIS_OPTIONS = {
    # Measured against stalls and black holes: without timeouts a worker hangs for as long as the kernel likes.
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry_on_timeout": True,
    # How soon messages of a vanished worker come back; the ledger does not depend on it.
    "visibility_timeout": 3600,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,  # look each 10 s, not each 100 s
}
AMQP_HEARTBEAT_SECONDS = 10


class JobApp(Celery):
    """Celery whose results, control and tasks are the ledger's."""

    amqp_cls = "marketjobs.tasks.amqp:JobAMQP"
    backend_cls = "marketjobs.tasks.backend:JobBackend"
    control_cls = "marketjobs.tasks.control:JobControl"
    task_cls = "marketjobs.tasks.job:JobTask"

    def on_configure(self) -> None:
        settings = config.current()
        take_environment_out_of_the_way(settings)
        self.config_from_object(celery_settings(settings))

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """A task that is registered here is handed in like any other: row first, message second."""
        task = self.tasks.get(name) if options.get("task_type") is None and "headers" not in options else None
        if task is None:
            return super().send_task(name, args, kwargs, **options)
        return task.apply_async(args, kwargs, **options)


def take_environment_out_of_the_way(settings: Settings) -> None:
    """Celery reads these before any configuration, so that they would win over ours.

    What they said is in the settings already; it is passed on to child processes by our own name.
    """
    for name in (
        "CELERY_BROKER_URL",
        "CELERY_BROKER_READ_URL",
        "CELERY_BROKER_WRITE_URL",
        "CELERY_RESULT_BACKEND",
    ):
        os.environ.pop(name, None)
    if settings.broker.url:
        os.environ["MARKETJOBS_BROKER__URL"] = settings.broker.url
    if settings.cache.url:
        os.environ["MARKETJOBS_CACHE__URL"] = settings.cache.url


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Our settings in Celery's names."""
    worker = settings.worker
    return {
        **broker_settings(settings),
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "result_expires": None,  # results are job rows; retention is ours
        "enable_utc": True,
        "timezone": "UTC",
        "task_queues": task_queues(settings),
        "task_default_queue": "default",
        "task_always_eager": settings.eager,
        "task_store_eager_result": True,  # there is a row in any case: AsyncResult may read it
        "task_acks_late": worker.acks_late,
        "task_reject_on_worker_lost": worker.acks_late,
        "task_soft_time_limit": worker.soft_time_limit,
        "task_time_limit": worker.hard_time_limit,
        "task_publish_retry": False,
        "task_track_started": False,
        "worker_concurrency": worker.concurrency,
        "worker_consumer": "marketjobs.tasks.request:JobConsumer",
        "worker_prefetch_multiplier": 1,
        "worker_redirect_stdouts": False,
        "worker_soft_shutdown_timeout": 0,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
    }


def task_queues(settings: Settings) -> list[Queue]:
    arguments = QUORUM if settings.broker.url.startswith("amqp") else None
    exchange = Exchange("marketjobs", type="direct")
    return [Queue(name, exchange, routing_key=name, queue_arguments=arguments) for name in QUEUES]


def broker_settings(settings: Settings) -> dict[str, Any]:
    """Where the messages go: RabbitMQ, Redis, or files in the data folder."""
    url = settings.broker.url
    if url.startswith("amqp"):
        # Not confirmed: a worker's own messages (answers to inspect, events) may be lost, and waiting for a
        # confirm while an alarm holds publishers would stop the worker.  Wake-ups are confirmed: see `publish`.
        return {
            "broker_url": url,
            "broker_transport": "pyamqp",
            "broker_heartbeat": AMQP_HEARTBEAT_SECONDS,
            "broker_use_ssl": amqp_tls(settings) if url.startswith("amqps") else False,
        }
    if url:
        return {
            "broker_url": url,
            "broker_transport": amqp.REDIS,
            "broker_transport_options": dict(REDIS_OPTIONS),
            "broker_use_ssl": redis_tls(settings) if url.startswith("rediss") else False,
        }
    folder = config.ensure_home(settings) / "queue"
    for name in ("messages", "control", "processed"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "broker_url": "filesystem://embedded",
        "broker_transport": amqp.EMBEDDED,
        "broker_transport_options": {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
            "processed_folder": str(folder / "processed"),
            "polling_interval": 0.1,
        },
    }


NOUNS = ("bars", "quotes", "profiles", "news", "providers")
app = JobApp("marketjobs", include=[f"marketjobs.tasks.{noun}" for noun in NOUNS])


@celeryd_init.connect
def _prepare_worker(**_: Any) -> None:
    """Signals of a worker's life are connected in the processes that are workers only."""
    from marketjobs.tasks import worker

    worker.connect()


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    """In a worker's or scheduler's process: our handlers instead of Celery's, with no secret in them."""
    from marketjobs.tasks import worker

    worker.set_up_logging()


@beat_init.connect
def _prepare_scheduler(**_: Any) -> None:
    from marketjobs.tasks import worker

    worker.scheduler_started()
