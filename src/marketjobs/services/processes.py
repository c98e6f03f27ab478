"""Processes as leases and heartbeats name them, and whether they still run."""

from __future__ import annotations

import os
import socket
import uuid
from functools import cache
from pathlib import Path

FIRST_PROCESS_TABLE = "4026531836"
"""The number of Linux's first pid namespace: whoever has it is in no container."""


@cache
def host() -> str:
    """This host, as far as process numbers mean something.

    Its name and six characters of its boot: machines may share a name, and numbers begin anew with each start.
    Containers of one machine have tables of their own.
    """
    try:
        table = os.readlink("/proc/self/ns/pid").strip("pid:[]")  # noqa: PTH115
    except OSError:
        table = FIRST_PROCESS_TABLE
    return f"{socket.gethostname()}.{_boot()}" + ("" if table == FIRST_PROCESS_TABLE else f"-{table}")


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:6]
    except OSError:  # no Linux: at least the machine, by its network card
        return f"{uuid.getnode():012x}"[-6:]


def started_at(pid: int) -> str | None:
    """When a process of this host began, in its system's own words; ``None``: there is no such process.

    Tells a process from a later one that was given the same number.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # ended, and nobody has asked how: it runs no more
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except PermissionError:
        return "?"
    except OSError:
        return None
    return "?"


WORKER_ID = "MARKETJOBS_WORKER_ID"
"""Set in a worker's processes: the id of its row."""
SUPERVISOR = "MARKETJOBS_SUPERVISOR_PID"
"""Set in what a supervisor started: whose end is theirs."""


def owner() -> str:
    """``host/pid/start``, and ``@worker`` where it is one: who holds a lease."""
    pid = os.getpid()
    worker = os.environ.get(WORKER_ID)
    return f"{host()}/{pid}/{_own_start(pid) or '?'}" + (f"@{worker}" if worker else "")


@cache
def _own_start(pid: int) -> str | None:
    """Of this process: asked for at each claim, and it does not change."""
    return started_at(pid)


def owner_lives(name: str | None) -> bool | None:
    """Does the process that holds a lease still run?  ``None``: it is on another host, nobody knows."""
    parts = (name or "").partition("@")[0].split("/")
    if len(parts) != 3 or parts[0] != host():
        return None
    return started_at(int(parts[1])) == parts[2]
