"""Starting: CPU of `marketjobs --help`, and how soon a worker is ready, against Celery's own.

    python benchmarks/start_up.py [--rounds 9] [--broker redis://127.0.0.1:6379/12] [--json]

A worker is ready when it says so, after which its processes take jobs.  The bare worker has no app: Celery alone, two
processes, without the second in which it asks its neighbours (`--without-mingle`, as ours is started).
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from harness import Table, child_cpu_seconds, environment, options, print_tables, rounds

PROGRAMS = Path(sys.executable).parent
HELP, BARE_HELP, BARE = "marketjobs --help", "celery --help", "bare celery worker"
READY_WITHIN_SECONDS = 60


def seconds_to_ready(command: list[str]) -> float:
    """From the start of a worker to its word that it is ready."""
    with TemporaryFile("w+") as log:
        began = time.perf_counter()
        worker = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            while True:
                took = time.perf_counter() - began
                log.seek(0)
                said = log.read()
                if "ready" in said:
                    return took
                if worker.poll() is not None or took > READY_WITHIN_SECONDS:
                    raise SystemExit(f"{' '.join(command)}: {said}")
                time.sleep(0.01)
        finally:
            worker.terminate()
            worker.wait(60)


def main() -> None:
    chosen = options(__doc__, rounds=9, broker="redis://127.0.0.1:6379/12")
    marketjobs, celery = str(PROGRAMS / "marketjobs"), str(PROGRAMS / "celery")
    looks = {
        HELP: [marketjobs, "--help"],
        BARE_HELP: [celery, "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    quiet = ("--without-gossip", "--without-mingle")
    bare = [celery, "-b", chosen.broker, "worker", "-c", "2", "-Q", "bare", "-l", "INFO"]
    workers = {
        "marketjobs worker": [marketjobs, "worker", "-c", "2"],
        BARE: [*bare, *quiet],
        "bare celery worker, as it is without options": bare,
    }
    # An installed package is compiled once; a checkout must be allowed to keep what it compiled.
    with environment(MARKETJOBS_BROKER__URL=chosen.broker, PYTHONDONTWRITEBYTECODE=""):
        for command in looks.values():
            child_cpu_seconds(command)
        cpu = rounds({name: partial(child_cpu_seconds, command) for name, command in looks.items()}, chosen.rounds)
        ready = rounds({name: partial(seconds_to_ready, command) for name, command in workers.items()}, chosen.rounds)
    tables = [
        Table("what a command costs before it does anything", "CPU s", cpu, BARE_HELP, False, {HELP: 4.0}),
        Table("a worker of two processes, spawned to ready", "s", ready, BARE, False, {"marketjobs worker": 1 / 3}),
    ]
    print_tables(tables, as_json=chosen.json)


if __name__ == "__main__":
    main()
