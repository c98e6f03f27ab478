"""Many symbols, a year of days, through Celery with Redis into PostgreSQL: one request, or one task a symbol.

    python benchmarks/many_symbols.py [--symbols 500] [--peer-symbols 20] [--latency-ms 80] [--rounds 3] [--json]

Both ask the same vendor server on loopback, run on a worker of the same concurrency, and have no limit on requests.
Ours is one job, timed from its submission to its end.  The peer is what people write: a task fetches one symbol with
yfinance (one `Ticker.history`), and saves row by row with SQLAlchemy's ORM: `session.merge`, then a commit.  It is
given fewer symbols, because it is slow; what is compared are symbols a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness import Table, environment, options, postgres_database, print_tables, rounds, vendor

SERVER = os.environ.get("MARKETJOBS_TEST_POSTGRESQL_URL", "postgresql://127.0.0.1:5432/postgres")
BROKER = os.environ.get("MARKETJOBS_TEST_REDIS_URL", "redis://127.0.0.1:6379")
HERE = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent
PEER = "one task a symbol, yfinance, rows merged by the ORM"


@contextmanager
def worker(command: list[str], log: Path) -> Iterator[None]:
    """A worker that has said that it is ready; it ends with the block."""
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, cwd=HERE)
    try:
        for _ in range(600):
            if "ready" in log.read_text():
                break
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(60)


def ours(symbols: list[str], url: str, server: str, broker: str, concurrency: int) -> float:
    with postgres_database(server) as database:
        settings = {
            "MARKETJOBS_DATABASE__URL": database,
            "MARKETJOBS_BROKER__URL": broker,
            "MARKETJOBS_PROVIDERS__YAHOO__BASE_URL": url,
            "MARKETJOBS_PROVIDERS__YAHOO__MAX_CONNECTIONS": "32",
            "MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT": '["1000000/m"]',  # no limit, in effect
        }
        with environment(**settings) as home:
            command = [str(PROGRAMS / "marketjobs"), "worker", "-c", str(concurrency)]
            with worker(command, home / "worker.log"):
                names = [word for symbol in symbols for word in ("-s", symbol)]
                submit = [str(PROGRAMS / "marketjobs"), "fetch-market-data", *names, "--period", "1y", "--json"]
                began = time.perf_counter()
                done = subprocess.run(submit, capture_output=True, text=True, check=True)
                took = time.perf_counter() - began
        fetched = json.loads(done.stdout)["result"]["symbols"]
        assert len(fetched) == len(symbols)
        assert all(one["rows_new"] > 240 for one in fetched), fetched[0]
    return len(symbols) / took


def theirs(symbols: list[str], url: str, server: str, broker: str, concurrency: int) -> float:
    with postgres_database(server) as database, environment() as home:
        os.environ |= {"PEER_BROKER": broker, "PEER_DATABASE": database, "PEER_VENDOR": url, "PEER_HOME": str(home)}
        command = [str(PROGRAMS / "celery"), "-A", "peer_tasks", "worker", "-c", str(concurrency), "-l", "INFO"]
        with worker(command, home / "worker.log"):
            submit = [sys.executable, "-c", "import sys, peer_tasks; peer_tasks.run(sys.argv[1:])", *symbols]
            began = time.perf_counter()
            subprocess.run(submit, cwd=HERE, check=True)
            took = time.perf_counter() - began
    return len(symbols) / took


def main() -> None:
    chosen = options(
        __doc__,
        symbols=500,
        peer_symbols=20,
        latency_ms=80.0,
        rounds=3,
        concurrency=2,
        port=8118,
        server=SERVER,
        broker=f"{BROKER}/11",
    )
    symbols = [f"BENCH{number:04d}" for number in range(chosen.symbols)]
    where = (chosen.server, chosen.broker, chosen.concurrency)
    with vendor(chosen.port, chosen.latency_ms) as url:
        theirs(symbols[:2], url, *where)  # yfinance learns zones, the vendor renders
        ours(symbols, url, *where)
        measured = rounds(
            {
                "marketjobs fetch-market-data": partial(ours, symbols, url, *where),
                PEER: partial(theirs, symbols[: chosen.peer_symbols], url, *where),
            },
            chosen.rounds,
        )
    title = f"{chosen.symbols} symbols, a year of days, vendor {chosen.latency_ms:g} ms, Redis and PostgreSQL"
    wanted = {"marketjobs fetch-market-data": 100.0}
    print_tables([Table(title, "symbols/s", measured, PEER, wanted=wanted)], as_json=chosen.json)


if __name__ == "__main__":
    main()
