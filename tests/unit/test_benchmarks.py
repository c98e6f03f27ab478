"""Figures are judged as they should be, and a benchmark runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return pytest.importorskip("harness")


def judged(table) -> dict[str, bool | None]:
    return {row["name"]: row["met"] for row in table.to_json()["results"]}


def test_a_ratio_says_how_many_times_better_whichever_way_is_better(harness) -> None:
    measured = {"ours": [2.0, 1.0, 50.0], "peer": [8.0]}
    assert harness.Table("t", "s", measured, "peer", more_is_better=False).ratio("ours") == 4.0
    assert harness.Table("t", "rows/s", measured, "peer").ratio("ours") == 0.25


def test_a_bare_number_is_the_least_ratio(harness) -> None:
    measured = {"ours": [5.0], "other": [4.9], "peer": [1.0]}
    wanted = {"ours": 5, "other": 5.0}
    assert judged(harness.Table("t", "rows/s", measured, "peer", wanted=wanted)) == {
        "ours": True,
        "other": False,
        "peer": None,
    }


@pytest.mark.parametrize(("bound", "met"), [(65, True), (64.9, False)])
def test_a_figure_without_a_peer_has_a_bound_of_its_own(harness, bound: float, met: bool) -> None:
    wanted = {"ours": harness.Wanted(at_most=bound, of="median")}
    table = harness.Table("t", "bytes", {"ours": [65.0]}, wanted=wanted)
    [row] = table.to_json()["results"]
    assert (row["met"], row["ratio"], row["wanted"]) == (met, None, f"<= {bound:g} bytes")
    assert ("MISSED" in table.text()) is not met


def test_a_benchmark_prints_one_document() -> None:
    size = ["--symbols", "3", "--bars", "20", "--rounds", "1", "--server", ""]
    command = [sys.executable, str(BENCHMARKS / "upserts.py"), "--json", *size]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    tables = json.loads(done.stdout)["tables"]
    assert {table["title"].partition(":")[0] for table in tables} >= {
        "SQLite, 60 rows, fresh",
        "SQLite, 60 rows, unchanged",
    }
    assert all(row["median"] > 0 for table in tables for row in table["results"])
