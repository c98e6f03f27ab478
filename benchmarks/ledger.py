"""The ledger's price: a short job through Celery with Redis, beside the same task on a bare Celery worker.

    python benchmarks/ledger.py [--rounds 5] [--jobs 200] [--children 5000] [--json]

Both run on workers of two processes started by the same command; the bare one keeps results in Redis.  A round is
some jobs one after the other (submit to finish), then a thousand as fast as they can be handed in while the worker
works (the submitter shares the machine's CPU with it), then one request of many child jobs against as many
`.delay()`.  `commits` is what no ledger can do without: the three commits of a job, measured in the same run.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import Table, Wanted, environment, options, postgres_database, print_tables, rounds

SERVER = os.environ.get("MARKETJOBS_TEST_POSTGRESQL_URL", "postgresql://127.0.0.1:5432/postgres")
HERE = Path(__file__).parent
PEER = "bare Celery, results in Redis"
HALF = Wanted(at_least=0.5)
PROCESSES = 2


class Contestant:
    """A worker and a program that hands in, both at one broker and store."""

    def __init__(self, module: str, folder: Path, variables: Mapping[str, str]) -> None:
        self.env = os.environ | variables | {"MARKETJOBS_HOME": str(folder)}
        self._log = (folder / "worker.log").open("w")
        queue = "default" if module == "ledger_tasks" else "celery"
        options = f"-A {module} worker -c {PROCESSES} -Q {queue} -l warning".split()
        command = [sys.executable, "-m", "celery", *options]
        self.worker = subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd=HERE, env=self.env)
        self._client = subprocess.Popen(
            [sys.executable, str(HERE / "ledger_client.py"), module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.env, cwd=HERE,
        )  # fmt: skip

    def ask(self, *request: object) -> Any:
        assert self._client.stdin and self._client.stdout
        print(json.dumps(request), file=self._client.stdin, flush=True)
        answer = self._client.stdout.readline()
        if not answer:
            raise SystemExit(f"the client ended: {Path(self._log.name).read_text()}")
        return json.loads(answer)

    def worker_cpu(self) -> float:
        """CPU seconds of the worker and its processes so far."""
        tree, found = [self.worker.pid], 0.0
        for pid in tree:
            tree += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return found

    def close(self) -> None:
        assert self._client.stdin
        self._client.stdin.close()
        self._client.wait(30)
        self.worker.terminate()
        self.worker.wait(60)
        self._log.close()


@contextmanager
def redis() -> Iterator[str]:
    """A Redis of our own, without persistence; its address without a database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def contestants() -> Iterator[dict[str, Contestant]]:
    with ExitStack() as stack:
        stack.enter_context(environment())
        broker = stack.enter_context(redis())
        postgres = stack.enter_context(postgres_database(SERVER))
        made = {}
        for number, (name, module, variables) in enumerate(
            (
                (PEER, "ledger_peer", {}),
                ("ledger in SQLite", "ledger_tasks", {}),
                ("ledger in PostgreSQL", "ledger_tasks", {"MARKETJOBS_DATABASE__URL": postgres}),
            )
        ):
            folder = Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
            url = f"{broker}/{number}"
            made[name] = Contestant(module, folder, variables | {"PEER_BROKER": url, "MARKETJOBS_BROKER__URL": url})
            stack.callback(made[name].close)
        for one in made.values():
            one.ask("latency", 20)  # waits for its worker
        yield made


def main() -> None:
    chosen = options(__doc__, rounds=5, jobs=200, burst=1000, children=5000)
    with contestants() as all_of_them:
        tables = measure(all_of_them, chosen.rounds, chosen.jobs, chosen.burst)
        tables.append(children(all_of_them, chosen.rounds, chosen.children))
    print_tables(tables, as_json=chosen.json)


def measure(made: dict[str, Contestant], count: int, jobs: int, burst: int) -> list[Table]:
    ours = [name for name in made if name != PEER]

    def latency(name: str) -> dict[str, float]:
        taken = made[name].ask("latency", jobs)
        figures = {"p50": statistics.median(taken), "p95": statistics.quantiles(taken, n=20)[-1]}
        if name != PEER:
            figures["commits"] = statistics.median(made[name].ask("commits", jobs))
        return {what: 1000 * seconds for what, seconds in figures.items()}

    def sustained(name: str) -> dict[str, float]:
        before = made[name].worker_cpu()
        figures = made[name].ask("sustained", burst)
        return {
            "rate": burst / figures["seconds"],
            "handed in": burst / figures["handed_in"],
            "worker": 1000 * (made[name].worker_cpu() - before) / burst,
            "client": 1000 * figures["cpu"] / burst,
        }

    one = rounds({name: lambda name=name: latency(name) for name in made}, count)
    many = rounds({name: lambda name=name: sustained(name) for name in made}, count)

    def column(measured: dict[str, list[dict[str, float]]], what: str) -> dict[str, list[float]]:
        return {name: [figures[what] for figures in found] for name, found in measured.items()}

    commits = {f"{name}: its commits": [figures["commits"] for figures in one[name]] for name in ours}
    beyond = {name: [figures["p50"] - figures["commits"] for figures in one[name]] for name in ours}
    half = dict.fromkeys(ours, HALF)
    latencies = Table(
        "submit to finish, median", "ms", column(one, "p50") | commits, PEER, more_is_better=False, wanted=half
    )
    # Twice the peer's time, or the commits' own and 3 ms: whoever keeps the one bound need not keep the other.
    over = [name for name in ours if not HALF.is_met(latencies, name)]
    few = dict.fromkeys(over, Wanted(at_most=3.0, of="median"))
    rate = {name: Wanted(at_least=least, of="median") for name, least in zip(ours, (100.0, 150.0), strict=True)}
    return [
        latencies,
        Table("the same less its commits (3 ms would do too)", "ms", beyond, more_is_better=False, wanted=few),
        Table("submit to finish, p95", "ms", column(one, "p95"), PEER, more_is_better=False, wanted=half),
        Table("short jobs, handed in while two processes work", "jobs/s", column(many, "rate"), PEER, wanted=rate),
        Table("of these, how fast they were handed in", "jobs/s", column(many, "handed in"), PEER),
        Table("CPU of the worker (and its reaper) a job", "ms", column(many, "worker"), PEER, more_is_better=False),
        Table("CPU of the submitter a job", "ms", column(many, "client"), PEER, more_is_better=False),
    ]


def children(made: dict[str, Contestant], count: int, number: int) -> Table:
    taken: dict[str, list[float]] = rounds(
        {name: lambda name=name: made[name].ask("delays" if name == PEER else "children", number) for name in made},
        count,
    )
    wanted = {name: 20.0 for name in made if name != PEER}
    title = f"one request of {number} child jobs, against {number} .delay()"
    return Table(title, "s", taken, PEER, more_is_better=False, wanted=wanted)


if __name__ == "__main__":
    main()
