"""`python -m supervised CONCURRENCY [worker|up]`: that command, with the tasks of jobs_for_tests too in its Celery
processes.

The supervisor, its plan and its children are the product's own; only the app's module is another.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from marketjobs import config, log
from marketjobs.services.runtime import Runtime
from marketjobs.tasks import supervisor


def main(concurrency: int, what: str = "worker") -> int:
    runtime = Runtime(config.current())
    log.set_up(runtime.settings, name=what)
    programs = [
        replace(
            program,
            arguments=tuple("jobs_for_tests" if word == "marketjobs.tasks" else word for word in program.arguments),
        )
        for program in supervisor.plan(runtime, what, {"concurrency": concurrency})
    ]
    return supervisor.run(runtime, programs)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
