"""What the benchmarks share: interleaved rounds, medians, a table with ratios against a peer of the same run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

Result = TypeVar("Result")
TESTS = Path(__file__).parents[1] / "tests"


@contextmanager
def vendor(port: int, latency_ms: float, program: Path = TESTS / "vendor.py") -> Iterator[str]:
    """The tests' vendor server, or another program, in a process of its own; its address."""
    arguments = [sys.executable, str(program), "--port", str(port), "--latency-ms", str(latency_ms)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def environment(**values: str) -> Iterator[Path]:
    """An empty data folder, no settings of the caller's, and these variables."""
    kept = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("MARKETJOBS_", "CELERY_")) or name.upper().endswith("_PROXY") or name == "REDIS_URL":
            del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(MARKETJOBS_HOME=folder, MARKETJOBS_CONFIG=os.devnull, **values)
        try:
            yield Path(folder)
        finally:
            os.environ.clear()
            os.environ.update(kept)


@contextmanager
def postgres_database(server: str, name: str = "") -> Iterator[str]:
    """A database of our own at the newest schema, dropped at the end; its address.  ``name`` tells several apart."""
    import psycopg

    from marketjobs.storage import schema
    from marketjobs.storage.database import open_database

    name = f"marketjobs_bench_{os.getpid()}{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        url = urlsplit(server)._replace(path=f"/{name}").geturl()
        database = open_database(url)
        schema.upgrade(database)
        database.close()
        yield url
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def options(description: str | None, **numbers: float) -> argparse.Namespace:
    """``--json``, and an option for each number, with its default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    for name, default in numbers.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args()


def rounds(contestants: Mapping[str, Callable[[], Result]], count: int) -> dict[str, list[Result]]:
    """Run each ``count`` times, taking turns, so that a busy moment hits all of them."""
    measured: dict[str, list[Result]] = {name: [] for name in contestants}
    for number in range(count):
        for name, run in contestants.items():
            result = run()
            measured[name].append(result)
            shown = f"{result:.4g}" if isinstance(result, float) else result
            print(f"  round {number + 1}: {name}: {shown}", file=sys.stderr, flush=True)
    return measured


@dataclass(frozen=True)
class Wanted:
    """What a figure has to reach: ``of`` is the ratio to the peer, or the median itself."""

    at_least: float | None = None
    at_most: float | None = None
    of: Literal["ratio", "median"] = "ratio"

    def is_met(self, table: Table, name: str) -> bool:
        figure = table.ratio(name) if self.of == "ratio" else statistics.median(table.measured[name])
        return (self.at_least is None or figure >= self.at_least) and (self.at_most is None or figure <= self.at_most)

    def text(self, unit: str) -> str:
        """Such as ``>= 5x`` of the peer, or ``<= 65 bytes``."""
        unit = "x" if self.of == "ratio" else f" {unit}"
        bounds = (">=", self.at_least), ("<=", self.at_most)
        return " and ".join(f"{sign} {bound:g}{unit}" for sign, bound in bounds if bound is not None)


@dataclass(frozen=True)
class Table:
    """What was measured of some contestants, beside ``peer`` (one of them; none: figures that stand for themselves).

    Args:
        wanted: what those reach that have to; a bare number is the least ratio to the peer.
        growth: the contestants are sizes, ascending, and the peer the one that the others are compared with.
    """

    title: str
    unit: str
    measured: Mapping[str, list[float]]
    peer: str | None = None
    more_is_better: bool = True
    wanted: Mapping[str, float | Wanted] = field(default_factory=dict)
    growth: bool = False

    def ratio(self, name: str) -> float:
        """How many times better than the peer, by medians."""
        assert self.peer is not None, f"{self.title}: a ratio to nothing"
        ours, theirs = (statistics.median(self.measured[one]) for one in (name, self.peer))
        ours, theirs = (ours, theirs) if self.more_is_better else (theirs, ours)
        return ours / theirs if theirs else float("inf")

    def to_json(self) -> dict[str, object]:
        return {
            "title": self.title,
            "unit": self.unit,
            "peer": self.peer,
            "growth": self.growth,
            "results": self._rows(),
        }

    def _rows(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for name, values in self.measured.items():
            wanted = self.wanted.get(name)
            bound = Wanted(at_least=wanted) if isinstance(wanted, float | int) else wanted
            rows.append(
                {
                    "name": name,
                    "median": statistics.median(values),
                    "min": min(values),
                    "max": max(values),
                    "ratio": None if self.peer is None else min(self.ratio(name), 1e9),  # JSON knows no infinity
                    "wanted": None if bound is None else bound.text(self.unit),
                    "met": None if bound is None else bound.is_met(self, name),
                }
            )
        return rows

    def text(self) -> str:
        head = f"{'':48} {'median':>10} {'min':>10} {'max':>10} {'ratio':>8}  wanted  [{self.unit}]"
        lines = [self.title, head]
        for row in self._rows():
            figures = " ".join(f"{row[one]:10.4g}" for one in ("median", "min", "max"))
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
            verdict = "" if row["met"] is None else f"{row['wanted']}: {'met' if row['met'] else 'MISSED'}"
            lines.append(f"{row['name']:48} {figures} {ratio:>8}  {verdict}".rstrip())
        return "\n".join(lines)


def print_tables(tables: Iterable[Table], *, as_json: bool) -> None:
    machine = f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores"
    if as_json:
        print(json.dumps({"machine": machine, "tables": [table.to_json() for table in tables]}, indent=2))
    else:
        print("\n\n".join([f"\n{machine}", *(table.text() for table in tables)]))


def loopback_session(url: str) -> Any:
    """A session for yfinance, whose hosts are constants: the same requests, sent to the vendor on loopback."""
    from curl_cffi import requests

    class Rewriting(requests.Session):  # type: ignore[misc]
        def request(self, method: str, address: str | None = None, **options: Any) -> Any:
            address = address or options.pop("url")
            path = address.split("/", 3)[3] if address.count("/") > 2 else ""
            return super().request(method, f"{url}/{path}", **options)

    return Rewriting()


def child_cpu_seconds(arguments: list[str]) -> float:
    """CPU time, user and system, of a command."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
