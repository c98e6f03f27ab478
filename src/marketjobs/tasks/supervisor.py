"""Starts the processes of a worker or scheduler, restarts what dies, and ends all of it on a signal.

Each child is the leader of a process group of its own, so that Ctrl-C reaches the supervisor alone: the first
is a warm stop (what runs is finished, if that takes no longer than the soft time limit), the second a cold one (what
runs goes back to the queue at once), the third kills.  Children end when their supervisor dies, however that happens.
Nothing of Celery is imported here: its children do, and a worker is ready that much sooner.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TypedDict

from marketjobs.config import QUEUES
from marketjobs.errors import BrokerUnavailable, BrokerUnusable, ConfigError, InvalidInput, MarketJobsError
from marketjobs.services import processes
from marketjobs.services.brokers import broker_label
from marketjobs.services.runtime import Runtime
from marketjobs.services.workers import stats
from marketjobs.storage import workers
from marketjobs.tasks.probe import broker_check

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.1
QUICK_DEATH_SECONDS = 10.0
MOST_QUICK_DEATHS = 10
LONGEST_BACKOFF_SECONDS = 4.0
REAPER_STOPS_SECONDS = 5.0
COLD_STOP_SECONDS = 4.0
"""A cold stop hands the jobs back at once; what still runs after so long hangs.  (billiard's pool waits for ever on a
lock that a process which was just ended may have held.)"""
SIGNALS = {1: signal.SIGTERM, 2: signal.SIGQUIT, 3: signal.SIGKILL}


@dataclass(frozen=True, slots=True)
class Program:
    """A child to keep running.  ``worker_id``: its row in the store; ``needed``: without it the rest ends too."""

    name: str
    arguments: tuple[str, ...]
    worker_id: str | None = None
    needed: bool = True


class Options(TypedDict, total=False):
    """How a worker runs; what is left out or ``None`` comes from the settings."""

    concurrency: int | None
    queues: str | None
    pool: str | None
    autoscale: str | None


def plan(runtime: Runtime, what: str, options: Options, port: int = 5555) -> list[Program]:
    """The programs of ``worker``, ``beat``, ``flower`` or ``up``.

    Raises:
        InvalidInput: an option that can't be right.
        ConfigError: Flower is asked for and not installed.
    """
    here = f"{os.getpid()}@{processes.host()}"
    settings = runtime.settings.worker
    programs: list[Program] = []
    if what in ("worker", "up"):
        programs.append(
            _worker(
                f"worker-{here}",
                options.get("concurrency") or settings.concurrency,
                _queues(options.get("queues"), settings.queues),
                options.get("pool") or settings.pool,
                options.get("autoscale"),
            )
        )
    if what in ("beat", "up"):
        beat = ("-m", "celery", "-q", "-A", "marketjobs.tasks", "beat", "-S", "celery.beat:Scheduler")
        programs.append(Program("beat", beat, worker_id=f"beat-{here}"))
    ids = [program.worker_id for program in programs if program.worker_id]
    if ids:
        programs.append(Program("reaper", ("-m", "marketjobs.tasks.reaper", *ids)))
    installed = importlib.util.find_spec("flower") is not None
    if what == "flower" and not installed:
        raise ConfigError("Flower is not installed", hint="pip install flower")
    if what == "flower" or (what == "up" and installed):
        flower = ("-m", "celery", "-A", "marketjobs.tasks", "flower", "--address=127.0.0.1", f"--port={port}")
        programs.append(Program("flower", flower, needed=what == "flower"))
    return programs


def _worker(worker_id: str, concurrency: int, queues: Sequence[str], pool: str, autoscale: str | None) -> Program:
    if pool not in ("prefork", "solo"):
        raise InvalidInput(f"unknown pool {pool!r:.40}: prefork or solo")
    size = ("--autoscale", _autoscale(autoscale)) if autoscale else ("-c", str(concurrency))
    arguments = (
        "-m",
        "celery",
        "-q",
        "-A",
        "marketjobs.tasks",
        "worker",
        "-n",
        worker_id,
        *size,
        "-Q",
        ",".join(queues),
    )
    return Program("worker", (*arguments, "-P", pool, "--without-gossip", "--without-mingle"), worker_id=worker_id)


def _queues(text: str | None, default: Sequence[str]) -> list[str]:
    names = [name.strip() for name in text.split(",")] if text else list(default)
    unknown = [name for name in names if name not in QUEUES]
    if unknown:
        raise InvalidInput(f"unknown queue {unknown[0]!r:.40}: there are {' '.join(QUEUES)}")
    return names


def _autoscale(text: str) -> str:
    most, _, least = text.partition(",")
    if not (most.isdigit() and least.isdigit() and 0 < int(least) <= int(most)):
        raise InvalidInput(f"autoscale {text!r:.40} is not MAX,MIN such as 8,2")
    return text


class _Child:
    """A program and its process, with what is known of its deaths."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.quick_deaths = 0
        self.start_at = 0.0
        self.started_at = 0.0
        self.sent = 0

    def start(self) -> None:
        environment = os.environ | {processes.SUPERVISOR: str(os.getpid())}
        if self.program.worker_id:
            environment[processes.WORKER_ID] = self.program.worker_id
        self.process = subprocess.Popen(
            [sys.executable, *self.program.arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        self.started_at = time.monotonic()
        log.info("child.started name=%s pid=%d", self.program.name, self.process.pid)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        if not self.runs or self.process is None:
            return
        try:
            if number == signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)
        except ProcessLookupError:
            pass  # it ended by itself just now

    def died(self) -> bool:
        """Note a death; ``True`` when it has died so often, so quickly, that starting it again is no use."""
        assert self.process is not None
        lived = time.monotonic() - self.started_at
        self.quick_deaths = self.quick_deaths + 1 if lived < QUICK_DEATH_SECONDS else 1
        pause = min(LONGEST_BACKOFF_SECONDS, 0.5 * 2 ** (self.quick_deaths - 1))
        self.start_at = time.monotonic() + pause
        code = self.process.returncode
        self.process = None
        log.warning("child.died name=%s code=%d lived=%.1f again_in=%.1f", self.program.name, code, lived, pause)
        return self.quick_deaths >= MOST_QUICK_DEATHS


class Supervisor:
    """Keeps programs running until it is told to stop."""

    def __init__(self, runtime: Runtime, programs: Sequence[Program]) -> None:
        self._runtime = runtime
        self._children = [_Child(program) for program in programs]
        self._stops = 0
        self._failed = False

    def run(self) -> int:
        """Exit code: 0 after a stop that was asked for, 1 when a needed program can't be kept running."""
        handlers = {
            number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
        }
        try:
            while not self._stops:
                self._keep_running()
                time.sleep(LOOK_SECONDS)
            self._stop_all()
        finally:
            for child in self._children:
                child.signal(signal.SIGKILL)
            self._say_stopped()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return 1 if self._failed else 0

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._stops = max(self._stops + 1, 2 if number == signal.SIGQUIT else 1)

    def _keep_running(self) -> None:
        for child in self._children:
            if child.process is None:
                if time.monotonic() >= child.start_at:
                    child.start()
            elif not child.runs and child.died():
                name = child.program.name
                if child.program.needed:
                    say(f"{name} ended {child.quick_deaths} times within seconds of its start: giving up")
                    say("  look at the lines above, or run it with: marketjobs -v worker")
                    self._failed, self._stops = True, max(self._stops, 1)
                    return
                say(f"{name} does not stay up; going on without it")
                child.start_at = float("inf")

    def _stop_all(self) -> None:
        """Workers first: the reaper keeps their leases' world going until they are done."""
        first = [child for child in self._children if child.program.name != "reaper"]
        # Celery's own limits rest while a worker stops: a job that hangs would be waited for without an end.
        patience = {1: self._runtime.settings.worker.soft_time_limit, 2: COLD_STOP_SECONDS, 3: float("inf")}
        said, hurry_at = 0, float("inf")
        while any(child.runs for child in first):
            if time.monotonic() > hurry_at:
                self._stops = said + 1
            if said < min(self._stops, 3):
                said = min(self._stops, 3)
                hurry_at = time.monotonic() + patience[said]
                say(
                    {
                        1: "stopping: what runs is finished first (Ctrl-C again: hand it back)",
                        2: "stopping now: what runs goes back to the queue (Ctrl-C again: kill)",
                        3: "killing",
                    }[said]
                )
                for child in first:
                    child.signal(SIGNALS[said])
            time.sleep(LOOK_SECONDS)
        reapers = [child for child in self._children if child.program.name == "reaper"]
        for child in reapers:
            child.signal(signal.SIGTERM)
        give_up_at = time.monotonic() + REAPER_STOPS_SECONDS
        while any(child.runs for child in reapers) and time.monotonic() < give_up_at:
            time.sleep(LOOK_SECONDS)

    def _say_stopped(self) -> None:
        try:
            with self._runtime.database.write() as tx:
                for child in self._children:
                    if child.program.worker_id:
                        workers.stop(tx, child.program.worker_id)
        except MarketJobsError as exc:
            log.warning("worker.row cause=%s", exc.cause)  # its heartbeat ends all the same


def run(runtime: Runtime, programs: Sequence[Program]) -> int:
    """Keep programs running until a signal; the exit code.

    Raises:
        StorageError: the store is away, or can't be written.
        BrokerUnusable: the broker refuses us, which waiting would not change.
    """
    _look_at_store(runtime)
    _look_at_broker(runtime)
    names = ", ".join(program.name for program in programs if program.name != "reaper")
    works = any(program.name == "worker" for program in programs)
    if works and runtime.settings.is_embedded and not any(one.health == "alive" for one in stats(runtime)):
        from marketjobs.tasks.embedded import sweep

        sweep(runtime.settings.home / "queue")
    say(f"{names} starting on {broker_label(runtime.settings)}; Ctrl-C stops")
    return Supervisor(runtime, programs).run()


def _look_at_store(runtime: Runtime) -> None:
    """One that can't be written would stop each program at its start, over and over."""
    with runtime.database.write() as tx:
        workers.forget(tx)


def _look_at_broker(runtime: Runtime) -> None:
    """One that is away is waited for, visibly; one that refuses us ends the command with the reason."""
    try:
        broker_check(runtime.settings)
    except BrokerUnusable:
        raise
    except BrokerUnavailable as exc:
        say(f"{exc.message}; waiting for it")


def start_reaper(worker_id: str, parent: int) -> None:
    """For a worker that Celery's own command started: a reaper that ends with it."""
    subprocess.Popen(
        [sys.executable, "-m", "marketjobs.tasks.reaper", worker_id],
        env=os.environ | {processes.SUPERVISOR: str(parent)},
        stdin=subprocess.DEVNULL,
        process_group=0,
    )


def say(text: str) -> None:
    sys.stderr.write(f"marketjobs: {text}\n")
    sys.stderr.flush()
