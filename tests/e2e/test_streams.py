"""What surrounds a command: full, closed and odd streams, and Ctrl-C before it has begun."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from processes import COMMAND, Machine

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", ["status --json", "status", "config show --all", "jobs --json"])
def test_a_full_disk_behind_a_redirection_is_one_line(machine: Machine, command: str) -> None:
    machine.run("status").ok()
    with FULL.open("w") as sink:
        done = subprocess.run(
            [COMMAND, *command.split()],
            env=machine.env,
            cwd=machine.work,
            stdout=sink,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "marketjobs: the output can't be written: No space left on device\n"


def test_a_closed_output_is_no_error(machine: Machine) -> None:
    done = machine.run_any("/bin/sh", "-c", f"{COMMAND} jobs >&-")
    assert done.code == 0
    assert "unexpected" not in done.err


def test_characters_that_the_terminal_lacks_are_replaced(machine: Machine) -> None:
    machine.run("fetch-market-data", "-s", "AAPL").ok()
    shown = machine.run("prices", "AAPL", "--chart", PYTHONIOENCODING="ascii").ok()
    assert "?" in shown.out
    assert "unexpected" not in shown.err


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5])
def test_ctrl_c_at_any_moment_gives_no_traceback(machine: Machine, after: float) -> None:
    process = subprocess.Popen(
        [COMMAND, "status"],
        env=machine.env,
        cwd=machine.work,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    # Python's own first milliseconds, before the entry point has begun, are not ours to guard.
    assert "marketjobs/cli.py" not in err, err
    assert "marketjobs/commands" not in err, err
    assert process.returncode in (0, 130, -signal.SIGINT) or "KeyboardInterrupt" in err


def test_inline_and_no_wait_contradict_each_other(machine: Machine) -> None:
    machine.run("fetch-market-data", "-s", "AAPL", "--inline", "--no-wait").refused(2, "give one of them")


def test_a_switch_that_is_neither_on_nor_off(machine: Machine) -> None:
    machine.run("status", CELERY_TASK_ALWAYS_EAGER="maybe").refused(2, "CELERY_TASK_ALWAYS_EAGER: 'maybe' is neither")
