"""What the faults found, as a table: printed at the end of a run with ``--all-faults``, written to a file as Markdown
with ``--faults-report FILE`` (into a page that has it, below its heading: docs/faults.md).

A test tells its figures through the fixture ``record``; each test of this folder has a row, whatever it tells.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

PROPERTY = "fault"
HEADING = "## The last whole run\n"
COLUMNS = ("fault", "pair", "jobs", "kills", "extra attempts", "recovery s", "outcome", "seconds", "notes")
FIGURES = {"jobs": "jobs", "kills": "kills", "extra_attempts": "extra attempts", "recovery_seconds": "recovery s"}
OUTCOMES = {"passed": "passed", "failed": "FAILED", "error": "FAILED", "skipped": "skipped", "xfailed": "missed"}
Record = Callable[..., None]


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """``record(jobs=2000, kills=20, extra_attempts=17, recovery_seconds=0.8, pss_mb=210)`` adds figures to the test's
    row of the table, as often as wanted, each as soon as it is known: what a test has told stands there when it fails
    later.  The four named ones have columns; any other goes to the notes, as ``pss_mb 210``.  The pair is known."""

    def tell(**figures: float | str) -> None:
        request.node.user_properties.extend((f"{PROPERTY}.{name}", value) for name, value in figures.items())

    return tell


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Runs where the reports of all processes (xdist) come together."""
    target = config.getoption("faults_report")
    if not (target or config.getoption("all_faults")):
        return
    rows = sorted(_rows(terminalreporter.stats))
    if not rows:
        return
    if target:
        write(Path(target), rows)
    terminalreporter.section("faults")
    widths = [max(len(row[place]) for row in (COLUMNS, *rows)) for place in range(len(COLUMNS))]
    for row in (COLUMNS, *rows):
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


def write(page: Path, rows: Sequence[tuple[str, ...]]) -> None:
    """What stands above the heading of a page that is there stays."""
    head = page.read_text().partition(HEADING)[0] if page.exists() else ""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    where = f"{datetime.now(UTC):%Y-%m-%d}, {python}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    where += f", load {os.getloadavg()[2]:.0f}"
    page.write_text(f"{head}{HEADING}\n{where}; {len(rows)} faults.\n\n{markdown(rows)}")


def markdown(rows: Iterable[tuple[str, ...]]) -> str:
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def _rows(stats: dict[str, list[Any]]) -> Iterable[tuple[str, ...]]:
    for outcome, shown in OUTCOMES.items():
        for test in stats.get(outcome, []):
            if "faults/" in test.nodeid:
                yield _row(test, shown)


def _row(test: Any, outcome: str) -> tuple[str, ...]:
    file, _, name = test.nodeid.partition("::")
    fault, _, params = name.rpartition("::")[2].partition("[")
    told = {key.removeprefix(f"{PROPERTY}."): value for key, value in test.user_properties if key.startswith(PROPERTY)}
    columns = {FIGURES[key]: _shown(value) for key, value in told.items() if key in FIGURES}
    others = (f"{key.replace('_', ' ')} {_shown(value)}" for key, value in told.items() if key not in FIGURES)
    columns |= {
        "fault": f"{Path(file).stem.removeprefix('test_')}: {fault.removeprefix('test_').replace('_', ' ')}",
        "pair": params.rstrip("]"),
        "outcome": outcome,
        "seconds": f"{test.duration:.0f}",
        "notes": ", ".join(others),
    }
    return tuple(columns.get(column, "") for column in COLUMNS)


def _shown(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
