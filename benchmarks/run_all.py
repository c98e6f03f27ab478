"""Every benchmark, one after the other, and the page that tells what came of it.

    python benchmarks/run_all.py             about 20 minutes; writes docs/performance.md
    python benchmarks/run_all.py --quick     small sizes, 2 minutes: do they all run?  Writes nothing
    python benchmarks/run_all.py --largest   the sizes that take long; writes their part of the page
    python benchmarks/run_all.py --only upserts,memory     those; the rest of the page stays
    python benchmarks/run_all.py --page      measures nothing, writes the page anew from benchmarks/results.json

Each script also runs by itself.  It prints ``{"tables": [...]}`` with ``--json``; what is kept here is that, with the
machine and the date, in `results.json`.  Why a figure is missed stands in `misses.toml`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
RESULTS, MISSES = HERE / "results.json", HERE / "misses.toml"
BEGIN, END = "<!-- figures: written by benchmarks/run_all.py -->", "<!-- /figures -->"
POSTGRESQL = os.environ.get("MARKETJOBS_TEST_POSTGRESQL_URL", "postgresql://127.0.0.1:5432/postgres")
REDIS = os.environ.get("MARKETJOBS_TEST_REDIS_URL", "redis://127.0.0.1:6379")
BAR_WIDTH = 30


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A script and its options for each size; ``largest=None``: it has no size that takes long."""

    name: str
    about: str
    quick: str = "--rounds 1"
    default: str = ""
    largest: str | None = None

    @property
    def script(self) -> Path:
        return HERE / f"{self.name}.py"

    def options(self, size: str) -> list[str] | None:
        words = {"quick": self.quick, "default": self.default, "largest": self.largest}[size]
        return None if words is None else words.split()


BENCHMARKS = [
    Benchmark("start_up", "Starting: commands that look, and a worker", quick="--rounds 1"),
    Benchmark("status_cpu", "Asking a worker that is alive", quick="--rounds 1"),
    Benchmark("memory", "Memory of a worker with four processes", quick="--rounds 1 --latency-ms 50"),
    Benchmark(
        "upserts",
        "Bars into the store",
        quick="--rounds 1 --symbols 40",
    ),
    Benchmark(
        "store_growth",
        "A store that grows",
        quick="--rounds 1 --bars 100000 --assets 100",
        largest="--rounds 1 --bars 10000000",
    ),
    Benchmark(
        "fetch_and_store",
        "Fetching, without a queue",
        quick="--rounds 1 --symbols 20",
    ),
    Benchmark(
        "coins",
        "Coins: minutes, days and quotes",
        quick="--rounds 1 --days 30 --pairs 40 --latency-ms 20",
    ),
    Benchmark(
        "many_symbols",
        "Fetching through Celery",
        quick="--rounds 1 --symbols 20 --peer-symbols 2 --download-symbols 5 --growth-to 10",
        largest="--rounds 1 --symbols 5000 --growth-to 10000",
    ),
    Benchmark(
        "feeds",
        "Reading feeds",
        quick="--rounds 1 --entries 500",
    ),
    Benchmark(
        "budget_check",
        "A budget's price",
        quick="--rounds 1 --checks 20",
    ),
    Benchmark(
        "ledger",
        "The ledger's price",
        quick="--rounds 1 --jobs 30 --burst 100 --children 500",
    ),
    Benchmark(
        "ledger_growth",
        "The ledger, as it grows",
        quick="--rounds 1 --times 3",
        largest="--rounds 3 --largest",
    ),
]


def run(benchmark: Benchmark, size: str) -> dict[str, Any] | None:
    """What it measured; its progress goes to our stderr.  ``None``: it failed, and has said why."""
    command = [sys.executable, str(benchmark.script), "--json", *(benchmark.options(size) or [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=HERE)
    if done.returncode:
        return None
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    cpu = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal: *(\d+)", _read("/proc/meminfo"))
    found = {
        "processor": f"{cpu[1] if cpu else platform.processor()}, {os.cpu_count()} cores",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": _postgresql(),
        "Redis": _redis(),
        "RabbitMQ": _said(["rabbitmqctl", "version"])
        or _said(["dpkg-query", "-W", "-f=${Version}", "rabbitmq-server"]),
        "marketjobs": version("marketjobs"),
        "celery": version("celery"),
        "yfinance": version("yfinance"),
    }
    return {name: value for name, value in found.items() if value}


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def _said(command: list[str]) -> str:
    """The first line of a command's answer; empty: it is not here, or refuses us."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else ""


def _postgresql() -> str:
    import psycopg

    try:
        with psycopg.connect(POSTGRESQL, connect_timeout=2) as connection:
            row = connection.execute("SHOW server_version").fetchone()
    except psycopg.Error:
        return ""
    return str(row[0]) if row else ""


def _redis() -> str:
    import redis

    try:
        return str(redis.Redis.from_url(REDIS).info("server")["redis_version"])
    except redis.RedisError:
        return ""


# -- the page ---------------------------------------------------------------------------------------------


def page_part(results: dict[str, Any]) -> str:
    """Everything between the markers."""
    misses = tomllib.loads(MISSES.read_text()).get("miss", [])
    parts = [_summary(results)]
    for one in BENCHMARKS:
        for key, title in ((one.name, one.about), (f"{one.name} --largest", f"{one.about}: the largest sizes")):
            if key in results:
                parts += _section(one.name, title, results[key], misses)
    return "\n\n".join(parts)


def _summary(results: dict[str, Any]) -> str:
    rows = [row for result in results.values() for table in result["tables"] for row in table["results"]]
    judged = [row for row in rows if row["met"] is not None]
    missed = sum(not row["met"] for row in judged)
    return f"{len(judged)} figures have a bound: {len(judged) - missed} are met, {missed} missed."


def _section(name: str, title: str, result: dict[str, Any], misses: Sequence[dict[str, str]]) -> Iterator[str]:
    yield f"### {title}"
    where = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    yield f"`benchmarks/{name}.py`, {result['date']}, load {result['load']}: {where}."
    for table in result["tables"]:
        yield f"**{table['title']}** ({table['unit']})"
        yield "\n".join(_growth(table) if table["growth"] else _rows(table))
        for row in table["results"]:
            if row["met"] is False:
                yield f"Missed, {row['name']}: {reason(misses, name, table['title'], row['name'])}"


def _rows(table: dict[str, Any]) -> Iterator[str]:
    yield "| what | median | lowest to highest | ratio | wanted | |"
    yield "|---|--:|--:|--:|--:|---|"
    for row in table["results"]:
        spread = f"{_figure(row['min'])} to {_figure(row['max'])}"
        yield f"| {row['name']} | {_figure(row['median'])} | {spread} | {_judged(row, table)} |"


def _growth(table: dict[str, Any]) -> Iterator[str]:
    most = max(row["median"] for row in table["results"]) or 1
    yield "| size | median | | ratio | wanted | |"
    yield "|---|--:|---|--:|--:|---|"
    for row in table["results"]:
        bar = "█" * max(1, round(BAR_WIDTH * row["median"] / most))
        yield f"| {row['name']} | {_figure(row['median'])} | {bar} | {_judged(row, table)} |"


def _judged(row: dict[str, Any], table: dict[str, Any]) -> str:
    """The last three cells: ratio, what was wanted, and whether it is so."""
    ratio = "peer" if row["name"] == table["peer"] else "" if row["ratio"] is None else f"{row['ratio']:.3g}"
    verdict = "" if row["met"] is None else "met" if row["met"] else "**missed**"
    return f"{ratio} | {row['wanted'] or ''} | {verdict}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def reason(misses: Iterable[dict[str, str]], benchmark: str, title: str, name: str) -> str:
    """The first entry whose patterns fit."""
    for miss in misses:
        if miss["benchmark"] == benchmark and re.search(miss["table"], title) and re.search(miss["name"], name):
            return miss["reason"]
    return "no reason is known yet."


def write_page(results: dict[str, Any]) -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{page_part(results)}\n\n{END}{rest.partition(END)[2]}")


def kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    for flag in ("quick", "largest", "page"):
        size.add_argument(f"--{flag}", action="store_const", const=flag, dest="size", default="default")
    parser.add_argument(
        "--only", metavar="NAMES", help="these, with commas: " + " ".join(one.name for one in BENCHMARKS)
    )
    chosen = parser.parse_args()
    if chosen.size == "page":
        write_page(kept())
        return 0
    only = set(chosen.only.split(",")) if chosen.only else {one.name for one in BENCHMARKS}
    if unknown := only - {one.name for one in BENCHMARKS}:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    todo = [one for one in BENCHMARKS if one.name in only and one.options(chosen.size) is not None]
    where, failed = machine(), []
    for number, benchmark in enumerate(todo, 1):
        print(f"[{number}/{len(todo)}] {benchmark.name}", file=sys.stderr, flush=True)
        load, began = f"{os.getloadavg()[0]:.1f}", time.monotonic()
        found = run(benchmark, chosen.size)
        took = time.monotonic() - began
        print(f"[{number}/{len(todo)}] {benchmark.name}: {took:.0f} s", file=sys.stderr, flush=True)
        if found is None:
            failed.append(benchmark.name)
            continue
        for table in found["tables"]:
            for row in table["results"]:
                if row["met"] is not None:
                    print(f"  {'met   ' if row['met'] else 'MISSED'}  {table['title']}: {row['name']}", flush=True)
        if chosen.size != "quick":
            key = benchmark.name if chosen.size == "default" else f"{benchmark.name} --largest"
            entry = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "load": load, "machine": where, "tables": found["tables"]}
            results = kept() | {key: entry}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            write_page(results)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
