"""A worker's life: its row, its log, what it imports before it forks, and its end with its supervisor."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
import warnings
from typing import Any

from celery import signals
from celery.platforms import SecurityWarning

from marketjobs import __version__, config
from marketjobs import log as logs
from marketjobs.services import processes
from marketjobs.services.brokers import broker_label
from marketjobs.storage import workers
from marketjobs.tasks import memory
from marketjobs.tasks.runtime import WORKER_PROCESS, may_claim, runtime, stop_claiming

log = logging.getLogger(__name__)


def connect() -> None:
    """Called in a process that is about to be a worker."""
    os.environ[WORKER_PROCESS] = "1"
    runtime.cache_clear()
    # Celery warns root because of pickle, which is refused here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    signals.worker_init.connect(_before_pool, weak=False)
    signals.worker_process_init.connect(memory.limit_pool_process, weak=False)
    signals.worker_ready.connect(_ready, weak=False)
    signals.worker_shutting_down.connect(stop_claiming, weak=False)


def die_with_supervisor(by: int = signal.SIGTERM) -> None:
    """End this process by a signal when the one that started it is gone, even if that was killed."""
    parent = os.environ.get(processes.SUPERVISOR)
    if parent is None:
        return
    if sys.platform == "linux":
        from billiard.util import set_pdeathsig

        set_pdeathsig(by)
    else:
        threading.Thread(target=_watch_parent, args=(int(parent), by), daemon=True).start()
    if os.getppid() != int(parent):
        os.kill(os.getpid(), by)


def _watch_parent(parent: int, by: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), by)


def set_up_logging() -> None:
    logs.set_up(config.current(), name="celery", verbose=int(os.environ.get("MARKETJOBS_VERBOSE", "0")))
    # Our own events say what was received and how it ended, without the whole result.
    for chatty in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("celery.bootsteps").addFilter(_in_a_line)


def _in_a_line(record: logging.LogRecord) -> bool:
    """Celery's pool may be gone when a second signal comes while the first one's stop waits for it."""
    if record.getMessage().startswith("Error on stopping"):
        record.exc_info = None
    return True


def _before_pool(**_: Any) -> None:
    # At once: nobody is left who would end it if a job of it went on for ever.
    die_with_supervisor(signal.SIGQUIT)
    may_claim()
    # What every job needs is imported once, before the fork, and the collector leaves those pages shared.
    from marketjobs.providers import base

    for name in base.provider_names():
        base.provider_class(name).preload()
    gc.collect()
    gc.freeze()


def _ready(sender: Any = None, **_: Any) -> None:
    """The row that says: a worker is there.  The reaper beside it keeps its heart beating."""
    controller = getattr(sender, "controller", sender)
    queues = [str(name) for name in controller.app.amqp.queues.consume_from]
    pool = str(controller.pool_cls.__module__).rpartition(".")[2]
    worker_id = _register("worker", controller.hostname, queues, pool, int(controller.concurrency or 1))
    if processes.SUPERVISOR not in os.environ:
        # Started by Celery's own command: the ledger's mender comes along as a child.
        from marketjobs.tasks import supervisor

        supervisor.start_reaper(worker_id, parent=os.getpid())


def scheduler_started(**_: Any) -> None:
    """The same for a scheduler's process."""
    os.environ[WORKER_PROCESS] = "1"
    die_with_supervisor()
    _register("beat", f"beat-{os.getpid()}@{processes.host()}", [], "-", 0)


def _register(kind: str, name: str, queues: list[str], pool: str, concurrency: int) -> str:
    worker_id = os.environ.setdefault(processes.WORKER_ID, name)
    broker = broker_label(config.current())
    with runtime().database.write() as tx:
        workers.register(
            tx,
            {
                "id": worker_id,
                "kind": kind,
                "host": processes.host(),
                "pid": os.getpid(),
                "version": __version__,
                "broker": broker,
                "queues": ",".join(queues),
                "pool": pool,
                "concurrency": concurrency,
            },
        )
    log.info("%s.ready id=%s queues=%s broker=%s", kind, worker_id, ",".join(queues) or "-", broker)
    return worker_id
