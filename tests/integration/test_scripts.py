"""scripts/start_task_queue.sh for real: it starts what it says, refuses to start twice, and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "start_task_queue.sh"
MARKETJOBS = Path(sys.executable).parent / "marketjobs"
PATIENCE_SECONDS = 60.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a bash script")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs the script in an empty folder, with a home of its own; stops at the end whatever it started."""
    environment = _environment(tmp_path)
    folder = tmp_path / "queue"
    folder.mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(SCRIPT), *arguments],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    yield run
    run("stop")


def _environment(tmp_path: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MARKETJOBS_", "CELERY_")) and name not in ("REDIS_URL", "DATABASE_URL")
    }
    return kept | {
        "MARKETJOBS_HOME": str(tmp_path / "data"),
        "MARKETJOBS_CONFIG": os.devnull,
        "MARKETJOBS_COMMAND": str(MARKETJOBS),
    }


def _command(tmp_path: Path, *arguments: str) -> dict:
    done = subprocess.run(
        [MARKETJOBS, *arguments, "--json"],
        env=_environment(tmp_path), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _health(tmp_path: Path) -> dict[str, str]:
    return {one["kind"]: one["health"] for one in _command(tmp_path, "worker-stats")["workers"]}


def _until(is_so: Callable[[], object], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < give_up_at, f"not within {PATIENCE_SECONDS:.0f} s: {what}"
        time.sleep(0.2)


def _processes_with(text: str) -> list[str]:
    """Commands of living processes whose environment holds a text (Linux; elsewhere none is seen)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended meanwhile, or is not ours
    return found


@pytest.mark.slow
def test_start_runs_worker_and_scheduler_and_stop_leaves_nothing(queue, tmp_path: Path) -> None:
    logs = tmp_path / "queue" / "logs"

    started = queue("start")
    assert started.returncode == 0, started.stderr
    assert "stop: " in started.stdout
    _until(lambda: _health(tmp_path) == {"worker": "alive", "beat": "alive"}, "worker and scheduler are alive")
    assert (logs / "celery_worker.log").read_text().count("worker starting") == 1
    assert (logs / "celery_beat.log").is_file()
    assert (logs / "flower.log").is_file() == (importlib.util.find_spec("flower") is not None)
    assert queue("status").returncode == 0

    again = queue("start")
    assert again.returncode == 1
    assert "runs already: worker beat" in again.stderr
    assert len(again.stderr.splitlines()) == 1

    job = _command(tmp_path, "fetch-market-data", "-s", "IBM", "--provider", "recorded", "--period", "1mo")
    assert job["result"]["symbols"][0]["status"] == "stored"
    assert f"job.succeeded job={job['job_id']}" in (logs / "celery_worker.log").read_text(), "the worker ran it"

    stopped = queue("stop")
    assert stopped.returncode == 0
    assert stopped.stdout.splitlines()[-1] == "stopped"
    assert _health(tmp_path) == {"worker": "stopped", "beat": "stopped"}
    assert not list(logs.glob("*.pid"))
    assert queue("status").returncode == 1
    _until(lambda: not _processes_with(str(tmp_path / "data")), "no process of it is left")


@pytest.mark.slow
def test_foreground_stays_until_ctrl_c_and_then_ends_all_of_it(queue, tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["bash", str(SCRIPT), "foreground"],
        cwd=tmp_path / "queue", env=_environment(tmp_path), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0,
    )  # fmt: skip
    try:
        _until(lambda: _health(tmp_path).get("worker") == "alive", "the worker is alive")
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 0, said
    assert said.splitlines()[-1] == "stopped"
    _until(lambda: not _processes_with(str(tmp_path / "data")), "no process of it is left")


def test_stop_does_not_end_a_process_that_it_did_not_start(queue, tmp_path: Path) -> None:
    """A pid file outlives a reboot; its number belongs to somebody else by then."""
    logs = tmp_path / "queue" / "logs"
    logs.mkdir()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (logs / "worker.pid").write_text(f"{stranger.pid}\n1\n")
        stopped = queue("stop")
        assert stopped.returncode == 0
        assert "nothing of ours runs" in stopped.stdout
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_start_with_settings_that_cannot_be_right_says_so_and_starts_nothing(
    queue, tmp_path: Path, monkeypatch
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[worker]\nconcurrency = 0\n")
    done = subprocess.run(
        ["bash", str(SCRIPT)],
        cwd=tmp_path / "queue", env=_environment(tmp_path) | {"MARKETJOBS_CONFIG": str(bad)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "worker.concurrency" in done.stderr
    assert not (tmp_path / "queue" / "logs").exists()


def test_an_unknown_word_is_refused_with_the_choices(queue) -> None:
    done = queue("launch")
    assert done.returncode == 2
    assert "usage: " in done.stderr


@pytest.mark.slow
def test_of_two_that_start_at_once_one_does(queue, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as threads:
        ran = list(threads.map(lambda _: queue("start"), range(3)))
    assert sorted(one.returncode for one in ran) == [0, 1, 1], [one.stderr for one in ran]
    refused = [one.stderr for one in ran if one.returncode]
    assert all("another start is at work" in text or "runs already" in text for text in refused)
    log = tmp_path / "queue" / "logs" / "celery_worker.log"
    _until(lambda: "worker starting" in log.read_text(), "a worker starts")
    assert log.read_text().count("worker starting") == 1
    assert not list((tmp_path / "queue" / "logs").glob("start.*"))


def test_a_start_that_was_killed_blocks_no_other(queue, tmp_path: Path) -> None:
    logs = tmp_path / "queue" / "logs"
    logs.mkdir()
    (logs / "start.pid").write_text("999999\n12345\n")
    assert queue("start").returncode == 0
    assert not (logs / "start.pid").exists()
