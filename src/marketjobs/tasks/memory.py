"""How much memory a job may take: a pool process that asks for more is refused it by the kernel, and only that job
fails.  Without a limit the machine runs out, and the kernel ends whichever process it likes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from marketjobs import config

MEGABYTE = 1 << 20


def limit_pool_process(**_: Any) -> None:
    """Called in a new process of a pool.  Linux only: elsewhere the kernel counts something else, or nothing."""
    megabytes = config.current().worker.memory_limit_mb
    if not megabytes or sys.platform != "linux":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = _data_bytes() + megabytes * MEGABYTE
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _data_bytes() -> int:
    """What this process has taken already, as the limit counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
