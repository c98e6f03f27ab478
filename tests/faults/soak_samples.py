"""Memory and open files of processes over time, and whether they grow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

WARM_UP = 2
"""Samples of a process that don't count: it is still importing and opening."""
FEWEST = 6
"""Samples after that, for a process to be judged: the first half against the last."""
MOST_GROWTH = 0.10
SPARE_FILES = 3
"""Connections come and go: so many more than at first are no leak."""


@dataclass(frozen=True, slots=True)
class Sample:
    rss_kb: int
    pss_kb: int
    files: int


@dataclass(slots=True)
class Growth:
    """How a role's processes grew, each against itself: the medians of the first and the last part of its life."""

    role: str
    processes: int = 0
    judged: int = 0
    longest: int = 0
    rss_kb: tuple[float, float] = (0, 0)
    files: tuple[float, float] = (0, 0)
    complaints: list[str] = field(default_factory=list)


def sample(pid: int) -> Sample | None:
    """``None``: it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        kilobytes = {}
        for line in (folder / "smaps_rollup").read_text().splitlines()[1:]:
            name, value, *_ = line.split()
            kilobytes[name] = int(value)
        return Sample(kilobytes["Rss:"], kilobytes["Pss:"], len(list((folder / "fd").iterdir())))
    except (OSError, KeyError):
        return None


class Samples:
    """What was seen of each process, by role."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], list[Sample]] = defaultdict(list)
        self._totals: list[Sample] = []

    def take(self, roles: Mapping[str, Iterable[int]], counted: Iterable[str]) -> Sample:
        """Look at the processes of each role; the sum of those of the ``counted`` roles."""
        parts = []
        for role, pids in roles.items():
            for pid in pids:
                seen = sample(pid)
                if seen is not None:
                    self._seen[role, pid].append(seen)
                    parts += [seen] if role in counted else []
        total = Sample(*(sum(getattr(one, name) for one in parts) for name in Sample.__slots__))
        self._totals.append(total)
        return total

    def growth(self) -> list[Growth]:
        """A line a role, and the sum of all in PSS: what one process hands on to its successor grows there."""
        found: dict[str, Growth] = {}
        for (role, pid), seen in self._seen.items():
            one = found.setdefault(role, Growth(role))
            one.processes += 1
            settled = seen[WARM_UP:]
            if len(settled) < FEWEST:
                continue
            one.judged += 1
            first, last = settled[: len(settled) // 3], settled[-(len(settled) // 3) :]
            rss = _medians(first, last, "rss_kb")
            files = _medians(first, last, "files")
            if len(seen) > one.longest:
                one.longest, one.rss_kb, one.files = len(seen), rss, files
            if _grows(rss):
                one.complaints.append(f"{role} {pid}: {rss[0] / 1024:.1f} to {rss[1] / 1024:.1f} MB")
            if files[1] - files[0] > SPARE_FILES:
                one.complaints.append(f"{role} {pid}: {files[0]:g} to {files[1]:g} open files")
        return [*found.values(), self._total()]

    def _total(self) -> Growth:
        one = Growth("all workers (PSS)", 1, 0, len(self._totals))
        settled = self._totals[WARM_UP:]
        if len(settled) >= FEWEST:
            first, last = settled[: len(settled) // 3], settled[-(len(settled) // 3) :]
            one.judged = 1
            one.rss_kb, one.files = _medians(first, last, "pss_kb"), _medians(first, last, "files")
            if _grows(one.rss_kb):
                one.complaints.append(
                    f"all workers: {one.rss_kb[0] / 1024:.1f} to {one.rss_kb[1] / 1024:.1f} MB of PSS"
                )
        return one


def _medians(first: list[Sample], last: list[Sample], name: str) -> tuple[float, float]:
    return median(getattr(one, name) for one in first), median(getattr(one, name) for one in last)


def _grows(kilobytes: tuple[float, float]) -> bool:
    first, last = kilobytes
    return last > first * (1 + MOST_GROWTH)
