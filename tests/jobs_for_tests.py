"""Tasks that only tests have, on the product's own app: `celery -A jobs_for_tests worker` serves them."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from typing import Any

from marketjobs import config
from marketjobs.services import processes
from marketjobs.tasks.celery import REDIS_OPTIONS, app

# What a test can't wait for, or has only one of.
if "TESTS_EXIT" in os.environ:
    raise SystemExit(int(os.environ["TESTS_EXIT"]))
if "TESTS_VISIBILITY_SECONDS" in os.environ:
    REDIS_OPTIONS["visibility_timeout"] = float(os.environ["TESTS_VISIBILITY_SECONDS"])
    REDIS_OPTIONS["unacked_restore_interval"] = 1
if "TESTS_HOST" in os.environ:
    processes.host = lambda: os.environ["TESTS_HOST"]


def leave(text: str) -> None:
    """Write a line that stays whatever becomes of this process."""
    path = config.home_folder() / "effects"
    with path.open("a") as sink:
        sink.write(text + "\n")


@app.task(name="tests.add", queue="default")
def add(a: int, b: int = 0) -> int:
    leave(f"add {a} {b}")
    return a + b


@app.task(name="tests.count", queue="default", bind=True)
def count(self: Any, number: int, seconds: float = 0.0) -> int:
    """Leaves a line at its end."""
    time.sleep(seconds)
    leave(f"{self.request.id} {number}")
    return number


@app.task(name="tests.nap", queue="default")
def nap(seconds: float, name: str = "nap") -> str:
    leave(f"{name} began {os.getpid()}")
    time.sleep(seconds)
    leave(f"{name} ended {os.getpid()}")
    return name


@app.task(name="tests.wait_at_gate", queue="default", soft_time_limit=300, time_limit=360)
def wait_at_gate() -> None:
    """Goes on once a test has made the file that is the gate, and for nothing else that settings say."""
    leave(f"at the gate {os.getpid()}")
    while not config.home_folder().joinpath("gate").exists():
        time.sleep(0.05)


@app.task(name="tests.fail", queue="default")
def fail(message: str) -> None:
    raise ValueError(message)


@app.task(name="tests.again", queue="default", bind=True)
def again(self: Any, times: int, countdown: float = 0.05) -> int:
    """Asks for ``times`` retries, then says how many there were."""
    leave(f"again {self.request.retries}")
    if self.request.retries < times:
        raise self.retry(countdown=countdown)
    return int(self.request.retries)


@app.task(name="tests.auto", queue="default", bind=True, autoretry_for=(LookupError,), retry_backoff=False)
def auto(self: Any, times: int) -> int:
    if self.request.retries < times:
        raise LookupError("not yet")
    return int(self.request.retries)


@app.task(name="tests.poison", queue="default")
def poison() -> None:
    leave("poison")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="tests.hang", queue="default", time_limit=2, soft_time_limit=None)
def hang() -> None:
    leave(f"hang {os.getpid()}")
    while True:
        time.sleep(1)


@app.task(name="tests.soft", queue="default", time_limit=30, soft_time_limit=1)
def soft() -> None:
    leave("soft")
    time.sleep(20)


@app.task(name="tests.locks", queue="default", time_limit=60, soft_time_limit=1)
def locks(seconds: float) -> None:
    """Holds the store (a file) for some seconds beyond its end, so that its outcome has to wait."""
    file = config.current().database_file
    assert file is not None
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    threading.Timer(seconds, connection.close).start()


@app.task(name="tests.nested", queue="default")
def nested(a: int) -> str:
    return str(add.delay(a, 1).id)


kept: list[bytearray] = []


@app.task(name="tests.eat", queue="default")
def eat(megabytes: int) -> None:
    """Takes memory and does not give it back."""
    leave(f"eat {os.getpid()}")
    kept.extend(bytearray(b"x" * (10 << 20)) for _ in range(megabytes // 10))


@app.task(name="tests.large_result", queue="default")
def large_result(megabytes: int) -> str:
    """Its result has room in memory, a copy of it has not."""
    leave(f"large_result {os.getpid()}")
    return "x" * (megabytes << 20)
