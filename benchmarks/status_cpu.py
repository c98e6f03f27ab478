"""CPU of the commands that look, against `celery inspect stats`, with a worker alive on Redis; and how soon those that
ask the broker end after its last word.

python benchmarks/status_cpu.py [--rounds 9] [--broker redis://127.0.0.1:6379/12] [--json]
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from harness import Table, Wanted, child_cpu_seconds, environment, options, print_tables, rounds

PROGRAMS = Path(sys.executable).parent
PEER = "celery -A marketjobs.tasks inspect stats"
ASKING = ("marketjobs status", "marketjobs queues")
"""`jobs` and `worker-stats` ask the store alone."""


def main() -> None:
    chosen = options(__doc__, rounds=9, broker="redis://127.0.0.1:6379/12")
    names = ("status", "jobs", "worker-stats", "queues")
    ours = {f"marketjobs {name}": [str(PROGRAMS / "marketjobs"), name] for name in names}
    looking = {name: command for name, command in ours.items() if "queues" not in name}
    commands = looking | {PEER: [str(PROGRAMS / "celery"), *PEER.split()[1:]]}
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
            asking = {name: partial(ms_after_the_last_word, ours[name], chosen.broker) for name in ASKING}
            after = rounds(asking, chosen.rounds)
        finally:
            worker.terminate()
            worker.wait(60)
    wanted = dict.fromkeys(looking, 4.0)
    table = Table("a worker alive on Redis", "CPU s a command", measured, PEER, more_is_better=False, wanted=wanted)
    soon = dict.fromkeys(ASKING, Wanted(at_most=50, of="median"))
    ends = Table("from the broker's last word to the end of the command", "ms", after, wanted=soon)
    print_tables([table, ends], as_json=chosen.json)


def ms_after_the_last_word(command: list[str], broker: str) -> float:
    """The command speaks with its broker through a relay that knows when the broker said something last."""
    parts = urlsplit(broker)
    said_at: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=relay, args=(server, (parts.hostname, parts.port), said_at), daemon=True).start()
        through = parts._replace(netloc=f"127.0.0.1:{server.getsockname()[1]}").geturl()
        environ = os.environ | {"MARKETJOBS_BROKER__URL": through}
        subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        ended_at = time.perf_counter()
    if not said_at:
        raise SystemExit(f"{' '.join(command)}: the broker was not asked")
    return (ended_at - said_at[-1]) * 1000


def relay(server: socket.socket, broker: tuple[str, int], said_at: list[float]) -> None:
    """One connection, one way in this thread and the other in its own."""
    client, _ = server.accept()
    with client, socket.create_connection(broker) as there:
        threading.Thread(target=passed_on, args=(client, there), daemon=True).start()
        passed_on(there, client, said_at)


def passed_on(one: socket.socket, other: socket.socket, at: list[float] | None = None) -> None:
    try:
        while data := one.recv(65536):
            if at is not None:
                at.append(time.perf_counter())
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the command has ended


def wait_for_reply(inspect: list[str]) -> None:
    """The peer asks the worker: without one it would only wait."""
    for _ in range(60):
        if subprocess.run(inspect, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.5)
    raise SystemExit("no worker answers")


if __name__ == "__main__":
    main()
