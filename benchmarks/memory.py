"""Memory of a worker with four processes, each of which has fetched: against the same with imports in each process.

    python benchmarks/memory.py [--processes 4] [--bars 5] [--rounds 3] [--latency-ms 300] [--json]

PSS, the share of each process in the pages it uses, summed over Celery's main process and its pool.  The peer is the
same program without what the product does before it forks: `memory_unshared.py`.  Another table says what all
processes of `marketjobs worker` take, its supervisor and reaper included.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness import Table, environment, options, print_tables, rounds, vendor

PROGRAMS = Path(sys.executable).parent
OURS, PEER = "marketjobs", "imports in each process"
WITHIN_SECONDS = 120


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for one in found:
        found += children(one)
    return found


def pss_mib(pids: list[int]) -> float:
    shares = [re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M) for pid in pids]
    return sum(int(share[1]) for share in shares if share) / 1024


@contextmanager
def worker(command: list[str]) -> Iterator[int]:
    """A worker's process id; it ends with the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path(__file__).parent)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def wait_until(what: str, is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + WITHIN_SECONDS
    while not is_so():
        if time.monotonic() > give_up_at:
            raise SystemExit(f"not within {WITHIN_SECONDS} s: {what}")
        time.sleep(0.1)


def fetch_in_each(processes: int) -> None:
    """Hand in fetches of one symbol until so many processes have run one."""
    from marketjobs import config
    from marketjobs.services import jobs
    from marketjobs.services.runtime import Runtime

    runtime = Runtime(config.load())
    handed_in: list[str] = []

    def looked() -> bool:
        with runtime.database.read() as tx:
            rows = tx.tuples("SELECT state, owner FROM job")
        if all(state == "succeeded" for state, _ in rows):
            owners = {str(owner) for _, owner in rows}
            if len(owners) >= processes:
                return True
            for _ in range(2 * processes):
                symbol = f"BENCH{len(handed_in):04d}"
                handed_in.append(symbol)
                jobs.submit(runtime, "marketjobs.fetch_market_data", {"symbols": [symbol], "period": "1y"})
        assert all(state in ("queued", "running", "succeeded") for state, _ in rows), rows
        return False

    wait_until(f"a fetch in each of {processes} processes", looked)
    runtime.close()


def measured(command: list[str], url: str, broker: str, processes: int, *, whole: bool) -> float:
    settings = {
        "MARKETJOBS_BROKER__URL": broker,
        "MARKETJOBS_PROVIDERS__YAHOO__BASE_URL": url,
        "MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT": '["1000000/m"]',  # no limit, in effect
    }
    with environment(**settings), worker(command) as pid:
        fetch_in_each(processes)
        pool = children(pid)
        return pss_mib(tree(pid) if whole else [pid, *(one for one in pool if b"reaper" not in _command(one))])


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def main() -> None:
    chosen = options(__doc__, processes=4, rounds=3, latency_ms=300.0, port=8119, broker="redis://127.0.0.1:6379/13")
    size = ["worker", "-c", str(chosen.processes)]
    celery = [str(PROGRAMS / "celery"), "-q", "-A"]
    flags = ["-Q", "market_data", "--without-gossip", "--without-mingle"]
    with vendor(chosen.port, chosen.latency_ms) as url:
        where = (url, chosen.broker, chosen.processes)
        ours = partial(measured, [*celery, "marketjobs.tasks", *size, *flags], *where, whole=False)
        theirs = partial(measured, [*celery, "memory_unshared", *size, *flags], *where, whole=False)
        whole = partial(measured, [str(PROGRAMS / "marketjobs"), *size], *where, whole=True)
        found = rounds({OURS: ours, PEER: theirs, "marketjobs worker": whole}, chosen.rounds)
    all_of_it = {"marketjobs worker": found.pop("marketjobs worker")}
    title = f"Celery's main process and {chosen.processes} that have fetched"
    tables = [
        Table(title, "MiB PSS", found, PEER, more_is_better=False, wanted={OURS: 2.0}),
        Table("the same with supervisor and reaper", "MiB PSS", all_of_it, more_is_better=False),
    ]
    print_tables(tables, as_json=chosen.json)


if __name__ == "__main__":
    main()
