"""Who hands in, for ledger.py: a program of a user, in a process of its own.

Reads one request a line (`["latency", 100]`) and answers with a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
import uuid
from typing import Any


class Client:
    """``module``: ledger_tasks or ledger_peer."""

    def __init__(self, module: str) -> None:
        self.module = importlib.import_module(module)

    def latency(self, count: int) -> list[float]:
        """Seconds from `.delay()` to the value that `.get()` gives, one job after the other."""
        taken = []
        for number in range(count):
            began = time.perf_counter()
            assert self._value(self.module.nothing.delay(number).get(timeout=60)) == number
            taken.append(time.perf_counter() - began)
        return taken

    def sustained(self, count: int) -> dict[str, float]:
        """Hand in as fast as it goes while a worker works, until all are done."""
        began, cpu = time.perf_counter(), _cpu()
        results = [self.module.nothing.delay(number) for number in range(count)]
        handed_in, cpu = time.perf_counter() - began, _cpu() - cpu
        for result in results:
            result.get(timeout=300)
        return {"seconds": time.perf_counter() - began, "handed_in": handed_in, "cpu": cpu}

    def delays(self, count: int) -> float:
        """Seconds of so many `.delay()`; to a queue that nobody serves, so that no worker takes CPU meanwhile."""
        began = time.perf_counter()
        for number in range(count):
            self.module.nothing.apply_async((number,), queue="analytics")
        return time.perf_counter() - began

    def children(self, count: int) -> float:
        """Seconds of handing in one request that becomes so many child jobs; to a queue that nobody serves."""
        import marketjobs
        from marketjobs.services import jobs
        from marketjobs.tasks.runtime import runtime

        symbols = [f"S{uuid.uuid4().hex[:7].upper()}" for _ in range(count)]
        began = time.perf_counter()
        request = marketjobs.submit("sync_history", symbols=symbols, batch_size=1)
        taken = time.perf_counter() - began
        jobs.cancel(runtime(), request.id)  # else its reaper goes on sending wake-ups
        return taken

    def commits(self, count: int) -> list[float]:
        """Seconds of what no ledger can do without: the commits of a submit, a claim and a finish."""
        from marketjobs.domain.jobs import JobRequest, JobState
        from marketjobs.storage import jobs
        from marketjobs.storage.database import open_database
        from marketjobs.tasks.runtime import runtime

        accepts = runtime().database
        works = open_database(runtime().settings.database_url, durable=False)
        taken = []
        for _ in range(count):
            request = JobRequest(str(uuid.uuid4()), "bench.commits", "default", {})
            began = time.perf_counter()
            with accepts.statement() as tx:
                jobs.insert(tx, request)
            with works.statement() as tx:
                job = jobs.claim(tx, request.id, "benchmark", 30.0)
            assert job is not None
            with works.statement() as tx:
                jobs.finish(tx, job, JobState.SUCCEEDED, {"value": 1})
            taken.append(time.perf_counter() - began)
        works.close()
        return taken

    @staticmethod
    def _value(result: Any) -> Any:
        return result["value"] if isinstance(result, dict) else result


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    client = Client(sys.argv[1])
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(client, name)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
