"""Many symbols, a year of days, through Celery with Redis into PostgreSQL: beside what people write, and no queue.

    python benchmarks/many_symbols.py [--symbols 500] [--rounds 3] [--latency-ms 80] [--growth-to 1000] [--json]

Everybody asks the same vendor server on loopback, works in two processes that are warm, has no limit on requests and
writes symbols that are new to the store.  Ours is one job, from before its submission to its end.  Beside it:

- a Celery task a symbol, yfinance, and rows saved one by one by the ORM (few symbols: it is slow);
- `yfinance.download` and `to_sql` into the same PostgreSQL (fewer symbols too);
- the same services without queue and ledger, in two processes with the same parts (`stages.py`); of these also
  fetching alone and storing alone, and yfinance's own HTTP, whose CPU is the floor of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from fetch_and_store import download
from harness import Table, Wanted, environment, options, postgres_database, print_tables, rounds, vendor
from memory import children, pss_mib, tree

SERVER = os.environ.get("MARKETJOBS_TEST_POSTGRESQL_URL", "postgresql://127.0.0.1:5432/postgres")
BROKER = os.environ.get("MARKETJOBS_TEST_REDIS_URL", "redis://127.0.0.1:6379")
HERE = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent
PROCESSES = 2
OURS, PEER = "marketjobs, through Celery", "a task a symbol, yfinance, rows by the ORM"
DOWNLOAD, WHOLE = "yfinance.download + to_sql", "the same without a queue"
FETCH, STORE = "fetching alone", "storing alone"
ABOVE, BARE, OURS_CPU = "ours above that", "yfinance's own HTTP", "ours"
SERVER_CPU = "the vendor's server"
FRESH = (f"BENCH{number:06d}" for number in count())


def fresh(size: int) -> list[str]:
    """Symbols that nobody has asked for yet."""
    return [next(FRESH) for _ in range(size)]


def cpu_seconds(pid: int) -> float:
    """User and system, of a process and all that descend from it."""
    fields = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in tree(pid)]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


@contextmanager
def worker(command: list[str], log: Path) -> Iterator[int]:
    """The process id of a worker that has said that it is ready; it ends with the block."""
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, cwd=HERE)
    try:
        give_up_at = time.monotonic() + 120
        while "ready" not in log.read_text():
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


class Ours:
    """The worker that is up, this process as the client, and the CPU that they and the vendor's server take."""

    def __init__(self, pid: int, server: int) -> None:
        from marketjobs import config
        from marketjobs.services.runtime import Runtime

        self.pid, self._server = pid, server
        self.runtime = Runtime(config.load())
        self.cpu_ms: list[float] = []
        self.server_cpu_ms: list[float] = []

    def rate(self, size: int) -> float:
        """Symbols a second; notes their CPU."""
        import marketjobs
        from marketjobs.services import watch

        symbols = fresh(size)
        cpu, server_cpu = cpu_seconds(self.pid) + time.process_time(), cpu_seconds(self._server)
        began = time.time()
        job = watch.follow(self.runtime, marketjobs.submit("fetch_market_data", symbols=symbols, period="1y").id)
        assert job.state == "succeeded", job.error_message
        assert job.finished_at is not None
        assert job.result is not None and all(one["rows_new"] > 240 for one in job.result["symbols"])
        self.cpu_ms.append(1000 * (cpu_seconds(self.pid) + time.process_time() - cpu) / size)
        self.server_cpu_ms.append(1000 * (cpu_seconds(self._server) - server_cpu) / size)
        return size / (job.finished_at - began)


class Stages:
    """The processes that run stages without a queue."""

    def __init__(self) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, str(HERE / "stages.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(PROCESSES)
        ]
        self._fetched: list[str] = []
        self.bare_cpu_ms: list[float] = []

    def _run(self, stage: str, symbols: Sequence[str]) -> tuple[float, float]:
        """Symbols a second, and CPU milliseconds a symbol."""
        from marketjobs.services import bars

        parts = [part.arguments["symbols"] for part in bars.split({"symbols": symbols}, PROCESSES)] or [list(symbols)]
        began = time.perf_counter()
        for number, process in enumerate(self._processes):
            assert process.stdin
            print(json.dumps([stage, parts[number::PROCESSES]]), file=process.stdin, flush=True)
        cpu = sum(float(process.stdout.readline()) for process in self._processes if process.stdout)
        return len(symbols) / (time.perf_counter() - began), 1000 * cpu / len(symbols)

    def whole(self, size: int) -> float:
        return self._run("whole", fresh(size))[0]

    def fetch(self, size: int) -> float:
        self._fetched = fresh(size)
        return self._run("fetch", self._fetched)[0]

    def store(self) -> float:
        """What was fetched last."""
        return self._run("store", self._fetched)[0]

    def bare(self, size: int) -> float:
        rate, cpu_ms = self._run("bare", fresh(size))
        self.bare_cpu_ms.append(cpu_ms)
        return rate

    def close(self) -> None:
        for process in self._processes:
            assert process.stdin
            process.stdin.close()
            process.wait(60)


def task_a_symbol(size: int) -> float:
    submit = [sys.executable, "-c", "import sys, peer_tasks; peer_tasks.run(sys.argv[1:])", *fresh(size)]
    took = subprocess.run(submit, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout
    return size / float(took)


def main() -> None:
    chosen = options(
        __doc__,
        symbols=500,
        peer_symbols=20,
        download_symbols=100,
        growth_to=1000,
        latency_ms=80.0,
        rounds=3,
        port=8118,
        server=SERVER,
        broker=f"{BROKER}/11",
    )
    size = chosen.symbols
    with ExitStack() as stack:
        enter = stack.enter_context
        url = enter(vendor(chosen.port, chosen.latency_ms, HERE / "chart_server.py"))
        [server] = children(os.getpid())
        database = enter(postgres_database(chosen.server))
        peer_database = enter(postgres_database(chosen.server, "peer"))
        settings = {
            "MARKETJOBS_DATABASE__URL": database,
            "MARKETJOBS_BROKER__URL": chosen.broker,
            "MARKETJOBS_PROVIDERS__YAHOO__BASE_URL": url,
            "MARKETJOBS_PROVIDERS__YAHOO__MAX_CONNECTIONS": "32",
            "MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT": '["1000000/m"]',  # no limit, in effect
            "PEER_BROKER": chosen.broker,
            "PEER_DATABASE": peer_database,
            "PEER_VENDOR": url,
        }
        home = enter(environment(**settings))
        os.environ["PEER_HOME"] = str(home)
        flags = ["worker", "-c", str(PROCESSES)]
        ours = Ours(enter(worker([str(PROGRAMS / "marketjobs"), *flags], home / "worker.log")), server)
        peer = [str(PROGRAMS / "celery"), "-A", "peer_tasks", *flags, "-l", "INFO"]
        enter(worker(peer, home / "peer.log"))
        stages = Stages()
        stack.callback(stages.close)
        store = peer_database.replace("postgresql:", "postgresql+psycopg:")
        contestants: dict[str, Callable[[], float]] = {
            OURS: lambda: ours.rate(size),
            PEER: lambda: task_a_symbol(chosen.peer_symbols),
            DOWNLOAD: lambda: download(fresh(chosen.download_symbols), url, store),
            WHOLE: lambda: stages.whole(size),
            FETCH: lambda: stages.fetch(size),
            STORE: stages.store,
            BARE: lambda: stages.bare(size),
        }
        ours.rate(500)
        memory = {"after 500": [pss_mib(tree(ours.pid))]}
        for name, run in contestants.items():  # connections, imports, and the answers that the vendor renders
            if name != OURS:
                run()
        for one in (ours.cpu_ms, ours.server_cpu_ms, stages.bare_cpu_ms):
            one.clear()
        measured = rounds(contestants, chosen.rounds)
        above = [one - bare for one, bare in zip(ours.cpu_ms, stages.bare_cpu_ms, strict=True)]
        cpu = {OURS_CPU: ours.cpu_ms[:], BARE: stages.bare_cpu_ms, ABOVE: above, SERVER_CPU: ours.server_cpu_ms[:]}
        sizes = [10**power for power in range(1, 6) if 10**power <= chosen.growth_to]
        growth = rounds({f"{one:,}": lambda one=one: ours.rate(one) for one in sizes}, chosen.rounds)
        memory[f"after {size:,} at once, and all the others"] = [pss_mib(tree(ours.pid))]
        ours.runtime.close()
    stage = min((FETCH, STORE), key=lambda name: sorted(measured[name])[chosen.rounds // 2])
    rates = {name: measured[name] for name in (OURS, PEER, DOWNLOAD, WHOLE, FETCH, STORE)}
    title = f"{size:,} symbols, a year of days, vendor {chosen.latency_ms:g} ms, Redis and PostgreSQL"

    def beside(peer: str, wanted: float) -> Table:
        return Table(f"{title}: beside {peer}", "symbols/s", {one: rates[one] for one in (OURS, peer)}, peer,
                     wanted={OURS: wanted})  # fmt: skip

    largest = list(memory)[1]
    tables = [
        Table(title, "symbols/s", rates, PEER, wanted={OURS: 100.0}),
        beside(DOWNLOAD, 15.0),
        beside(WHOLE, 0.9),
        beside(stage, 0.75),
        Table("CPU of a symbol, worker and client", "ms", cpu, wanted={ABOVE: Wanted(at_most=2.0, of="median")}),
        Table("a worker's memory", "MiB PSS", memory, "after 500", more_is_better=False, growth=True,
              wanted={largest: Wanted(at_least=0.833)}),
        Table("requests of more symbols", "symbols/s", growth, next(iter(growth)), growth=True),
    ]  # fmt: skip
    print_tables(tables, as_json=chosen.json)


if __name__ == "__main__":
    main()
