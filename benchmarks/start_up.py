"""CPU of `marketjobs --help` and of the quick commands against `celery --help`.

python benchmarks/start_up.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from harness import child_cpu_seconds, environment, rounds, show

PROGRAMS = Path(sys.executable).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    commands = {
        "marketjobs --help": [str(PROGRAMS / "marketjobs"), "--help"],
        "marketjobs status": [str(PROGRAMS / "marketjobs"), "status"],
        "marketjobs jobs": [str(PROGRAMS / "marketjobs"), "jobs"],
        "marketjobs worker-stats": [str(PROGRAMS / "marketjobs"), "worker-stats"],
        "celery --help": [str(PROGRAMS / "celery"), "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    with environment():
        child_cpu_seconds(commands["marketjobs status"])  # makes the store
        measured = rounds(
            {name: partial(child_cpu_seconds, arguments) for name, arguments in commands.items()},
            options.rounds,
        )
    unit = "CPU s; ratio: how many times less than celery --help"
    show("start-up", unit, measured, "celery --help", more_is_better=False)


if __name__ == "__main__":
    main()
