"""What the benchmarks share: interleaved rounds, medians, a table with ratios against a peer of the same run."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

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


def rounds(contestants: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """Run each ``count`` times, taking turns, so that a busy moment hits all of them."""
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(count):
        for name, run in contestants.items():
            measured[name].append(run())
            print(f"  round {number + 1}: {name}: {measured[name][-1]:.4g}", file=sys.stderr, flush=True)
    return measured


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
