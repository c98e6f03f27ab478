"""CPU of the commands that look, against `celery inspect stats`, with a worker alive on Redis.

python benchmarks/status_cpu.py [--rounds 9] [--broker redis://127.0.0.1:6379/12] [--json]
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from harness import Table, child_cpu_seconds, environment, options, print_tables, rounds

PROGRAMS = Path(sys.executable).parent
PEER = "celery -A marketjobs.tasks inspect stats"


def main() -> None:
    chosen = options(__doc__, rounds=9, broker="redis://127.0.0.1:6379/12")
    ours = {f"marketjobs {name}": [str(PROGRAMS / "marketjobs"), name] for name in ("status", "jobs", "worker-stats")}
    commands = ours | {PEER: [str(PROGRAMS / "celery"), *PEER.split()[1:]]}
    # An installed package is compiled once; a checkout must be allowed to keep what it compiled.
    with environment(MARKETJOBS_BROKER__URL=chosen.broker, PYTHONDONTWRITEBYTECODE=""):
        worker = subprocess.Popen(
            [str(PROGRAMS / "marketjobs"), "worker"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for_reply(commands[PEER])
            measured = rounds(
                {name: partial(child_cpu_seconds, command) for name, command in commands.items()}, chosen.rounds
            )
        finally:
            worker.terminate()
            worker.wait(60)
    wanted = dict.fromkeys(ours, 4.0)
    table = Table("a worker alive on Redis", "CPU s a command", measured, PEER, more_is_better=False, wanted=wanted)
    print_tables([table], as_json=chosen.json)


def wait_for_reply(inspect: list[str]) -> None:
    """The peer asks the worker: without one it would only wait."""
    for _ in range(60):
        if subprocess.run(inspect, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.5)
    raise SystemExit("no worker answers")


if __name__ == "__main__":
    main()
