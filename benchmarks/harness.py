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
from typing import TypeVar
from urllib.parse import urlsplit

Result = TypeVar("Result")
TESTS = Path(__file__).parents[1] / "tests"


@contextmanager
def vendor(port: int, latency_ms: float) -> Iterator[str]:
    """The tests' vendor server in a process of its own; its address."""
    arguments = [sys.executable, str(TESTS / "vendor.py"), "--port", str(port), "--latency-ms", str(latency_ms)]
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
def postgres_database(server: str) -> Iterator[str]:
    """A database of our own at the newest schema, dropped at the end; its address."""
    import psycopg

    from marketjobs.storage import schema
    from marketjobs.storage.database import open_database

    name = f"marketjobs_bench_{os.getpid()}"
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
class Table:
    """What was measured of some contestants, beside ``peer``; ``wanted``: the least ratio of those that have one."""

    title: str
    unit: str
    measured: Mapping[str, list[float]]
    peer: str
    more_is_better: bool = True
    wanted: Mapping[str, float] = field(default_factory=dict)

    def ratio(self, name: str) -> float:
        """How many times better than the peer, by medians."""
        ours, theirs = (statistics.median(self.measured[one]) for one in (name, self.peer))
        ours, theirs = (ours, theirs) if self.more_is_better else (theirs, ours)
        return ours / theirs if theirs else float("inf")

    def to_json(self) -> dict[str, object]:
        results = [
            {
                "name": name,
                "median": statistics.median(values),
                "min": min(values),
                "max": max(values),
                "ratio": self.ratio(name),
                "wanted": self.wanted.get(name),
            }
            for name, values in self.measured.items()
        ]
        return {"title": self.title, "unit": self.unit, "peer": self.peer, "results": results}

    def text(self) -> str:
        lines = [
            self.title,
            f"{'':48} {'median':>10} {'min':>10} {'max':>10} {'ratio':>8} {'wanted':>7}  [{self.unit}]",
        ]
        for name, values in self.measured.items():
            figures = " ".join(f"{one:10.4g}" for one in (statistics.median(values), min(values), max(values)))
            wanted = f"{self.wanted[name]:7.4g}" if name in self.wanted else ""
            lines.append(f"{name:48} {figures} {self.ratio(name):8.2f} {wanted}".rstrip())
        return "\n".join(lines)


def print_tables(tables: Iterable[Table], *, as_json: bool) -> None:
    machine = f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores"
    if as_json:
        print(json.dumps({"machine": machine, "tables": [table.to_json() for table in tables]}, indent=2))
    else:
        print("\n\n".join([f"\n{machine}", *(table.text() for table in tables)]))


def show(title: str, unit: str, measured: Mapping[str, list[float]], peer: str, *, more_is_better: bool) -> float:
    """Print medians, spread and the ratio of each against ``peer``; returns the first contestant's ratio."""
    base = statistics.median(measured[peer])
    print(f"\n{title}\n{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    print(f"{'':44} {'median':>10} {'min':>10} {'max':>10}  {'ratio':>8}   [{unit}]")
    first = None
    for name, values in measured.items():
        middle = statistics.median(values)
        ratio = middle / base if more_is_better else base / middle
        first = ratio if first is None else first
        print(f"{name:44} {middle:10.4g} {min(values):10.4g} {max(values):10.4g}  {ratio:8.2f}")
    assert first is not None
    return first


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
