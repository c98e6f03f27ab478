"""A store in a file that another program locks, on a disk that is full, or where nothing may be written."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from faults.audit import audit
from faults.outage import QUESTIONS, at_once, hand_in, in_time, resumes
from faults.report import Record
from faults.steps import FETCH
from processes import SQLITE, Machine, eventually, kill

BOUNDED_SECONDS = 15.0
"""The patience of a writer (10 s), and what starting takes."""
LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(600)
"""


@contextmanager
def locked(machine: Machine, seconds: float) -> Iterator[None]:
    """Another program holds the file for so long, and as long as the body takes."""
    other = machine.start_python(LOCK, str(machine.database))
    other.says("locked")
    release_at = time.monotonic() + seconds
    yield
    time.sleep(max(0.0, release_at - time.monotonic()))
    kill(other.pid)
    other.wait()


def test_locked_for_8_seconds(machine: Machine, record: Record) -> None:
    """Within everybody's patience: whoever writes waits, and nobody sees an error."""
    worker = machine.test_worker(2)
    ids = hand_in(machine, 20, 0.2)
    eventually(lambda: len(machine.effects()) >= 2, "some have run")
    with resumes(machine, record), locked(machine, 8):
        submitter = machine.start(*FETCH, "--no-wait", "--json")
    ids.append(submitter.wait().ok().json["job_id"])
    machine.all_final(ids)
    assert audit(machine, ids) == {"succeeded": 21}
    assert {row["attempt"] for row in machine.jobs()} == {1}
    assert worker.runs
    record(jobs=21)


@pytest.mark.whole
def test_locked_for_60_seconds(machine: Machine, full: bool, record: Record) -> None:
    """Longer than anybody's patience, and than a job's lease."""
    worker = machine.test_worker(2)
    ids = hand_in(machine, 20, 0.2)
    eventually(lambda: len(machine.effects()) >= 2, "some have run")
    with resumes(machine, record), locked(machine, 60 if full else 15):
        for command in ((*FETCH, "--no-wait"), ("cancel", ids[-1])):
            ran = in_time(machine, *command, seconds=BOUNDED_SECONDS).refused(6, "is locked by another program")
            assert str(machine.database) in ran.err
        for ran in at_once(machine, *QUESTIONS):  # reading is not waiting
            ran.ok()
    machine.all_final(ids)
    assert audit(machine, ids) == {"succeeded": 20}
    assert len(machine.effects()) == 20, "what ran while the file was locked ran again"
    assert worker.runs
    record(jobs=20)


# -- the disk: a real one, small


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(machine: Machine) -> Iterator[Path]:
    """What the machine's store lies on, and nothing else of it; not in the test's own folder, which pytest could not
    remove if this process were killed."""
    if os.getuid() != 0 or sys.platform != "linux":
        pytest.skip("only root may mount a disk")
    place = tempfile.mkdtemp(prefix="marketjobs-disk-")
    mount("-t", "tmpfs", "-o", "size=8m", "none", place)
    try:
        machine.env["MARKETJOBS_DATABASE__URL"] = f"{SQLITE}{place}/store.db"
        yield Path(place)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        Path(place).rmdir()


def fill(disk: Path) -> Path:
    """A file that takes all there is."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as sink, suppress(OSError):
        while True:
            sink.write(b"\0" * 4096)
    return filler


UNTIL_REFUSED = """
import json
from jobs_for_tests import count
from marketjobs.errors import StorageFull
ids = []
try:
    while len(ids) < 2000:  # a file has some room inside
        ids.append(count.delay(len(ids)).id)
except StorageFull as exc:
    print(json.dumps([ids, exc.message]))
"""


def test_a_full_disk_refuses_and_loses_nothing(machine: Machine, disk: Path, record: Record) -> None:
    worker = machine.test_worker(2)
    ids = hand_in(machine, 20, 0.2)
    eventually(lambda: len(machine.effects()) >= 2, "some have run")
    filler = fill(disk)
    more, why = machine.python(UNTIL_REFUSED)
    assert "can't be written" in why
    said = in_time(machine, *FETCH, "--no-wait").refused(6, "can't be written")
    assert "free some disk space" in said.err
    for ran in at_once(machine, *QUESTIONS):
        ran.ok()
    with resumes(machine, record):
        filler.unlink()
    ids += more
    machine.all_final(ids)
    assert audit(machine, ids) == {"succeeded": len(ids)}
    assert len(machine.effects()) == len(ids)
    assert worker.runs
    record(jobs=len(ids))


def test_read_only(machine: Machine, disk: Path) -> None:
    """Nothing is accepted, and each command that writes says why not."""
    machine.run(*FETCH).ok()
    before = machine.jobs()
    mount("-o", "remount,ro", str(disk))
    try:
        in_time(machine, *FETCH, "--no-wait").refused(6, "read-only")
        in_time(machine, "assets", "add", "IBM").refused(6, "read-only")
        for ran in at_once(machine, *QUESTIONS, ("prices", "AAPL")):  # reading goes on
            ran.ok()
        assert "read-only" in in_time(machine, "doctor").ok(1).out
        for command in ("worker", "up"):  # each of its processes would end at its start
            in_time(machine, command).refused(6, "read-only")
    finally:
        mount("-o", "remount,rw", str(disk))
    assert machine.jobs() == before
    machine.run(*FETCH, "--force").ok()
    assert audit(machine, [row["id"] for row in machine.jobs()]) == {"succeeded": 2}


def test_a_data_folder_on_a_read_only_disk(machine: Machine, disk: Path) -> None:
    """The embedded queue too; the store was closed, and SQLite opens none there."""
    del machine.env["MARKETJOBS_DATABASE__URL"]
    machine.home = disk
    machine.env["MARKETJOBS_HOME"] = str(disk)
    machine.run("init").ok()
    mount("-o", "remount,ro", str(disk))
    try:
        for command in ((*FETCH, "--no-wait"), ("status",), ("worker",)):
            in_time(machine, *command).refused(6, str(disk), "read-only")
        assert "read-only" in in_time(machine, "doctor").ok(1).out
    finally:
        mount("-o", "remount,rw", str(disk))
    machine.run(*FETCH).ok()
    assert audit(machine, [row["id"] for row in machine.jobs()]) == {"succeeded": 1}
