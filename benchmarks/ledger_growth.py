"""How the ledger's cost grows with the jobs that it remembers: it should not.

    python benchmarks/ledger_growth.py [--rounds 5] [--times 50] [--largest] [--json]

On each store tables of 1,000, 10,000 and 100,000 finished jobs (a million with --largest), a tenth of them dead and
a third of them parts of requests, one each hundred seconds; on top of each the steps that everything goes through,
each `--times` a round (the median counts).
Ratios are against the smallest table of the same store.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

from harness import Table, environment, postgres_database, print_tables, rounds
from ledger import SERVER
from marketjobs import config
from marketjobs.domain.jobs import JobState
from marketjobs.services import jobs, mend, views
from marketjobs.services.runtime import Runtime
from marketjobs.storage import jobs as rows
from marketjobs.storage import retention

SIZES = (1_000, 10_000, 100_000)
LARGEST = 1_000_000
WANTED = 0.5
"""Flat: at most twice the time of the smallest table."""
KEPT = 100_000
FILL = """
INSERT INTO job (id, task, queue, state, arguments, parent_id, priority, attempt, max_attempts, token, submitted_at,
                 run_at, started_at, finished_at, claimed_at, published_at, owner, cancel_requested, progress, result)
WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < :count),
    named AS (SELECT i, ((i * 2654435761) % 4294967296) || '-' || i AS id, {now} - 100.0 * (:count - i) AS ended,
                     i - i % 10 AS first FROM numbers)
SELECT id, 'bench.nothing', 'default', CASE WHEN i % 10 = 0 THEN 'dead' ELSE 'succeeded' END, '{}',
       CASE WHEN i % 10 > 6 THEN ((first * 2654435761) % 4294967296) || '-' || first END, 5, 1, 3, 1, ended - 1,
       ended - 1, ended - 0.5, ended, ended - 0.5, ended - 1, 'benchmark/1/1', 0, 1, '{"value": 1}'
FROM named
"""


def fill(runtime: Runtime, count: int) -> None:
    with runtime.database.write() as tx:
        tx.run(FILL, {"count": count})
    with runtime.database.write() as tx:
        if tx.dialect == "postgresql":
            tx.run("ANALYZE")  # as the server does by itself, in its own time; SQLite is never told to


def submit(runtime: Runtime) -> str:
    return jobs.submit(runtime, "bench.nothing", {"number": 1}).id


def claim_and_finish(runtime: Runtime, job_id: str) -> None:
    with runtime.database.statement() as tx:
        job = rows.claim(tx, job_id, "benchmark/1/1", 30.0)
    assert job is not None
    with runtime.database.statement() as tx:
        rows.finish(tx, job, JobState.SUCCEEDED, {"value": 1})


class Undone(Exception):
    """Rolls a transaction back."""


def prune(runtime: Runtime) -> None:
    """A slice of 500, and back."""
    try:
        with runtime.database.write() as tx:
            assert sum(retention.forget(tx, retention.Ended.DONE, tx.now())) >= retention.SLICE
            raise Undone
    except Undone:
        pass


def look_for_too_many(runtime: Runtime) -> None:
    with runtime.database.read() as tx:
        retention.newest_end(tx, retention.Ended.DONE, KEPT)


def steps(runtime: Runtime) -> dict[str, Callable[[], object]]:
    """What is measured."""
    known = submit(runtime)
    ready: list[str] = []
    return {
        "submit": lambda: ready.append(submit(runtime)),
        "claim and finish": lambda: claim_and_finish(runtime, ready.pop()),
        "status of a job": lambda: views.status_json(jobs.get(runtime, known)),
        "status of a job by the end of its id": lambda: views.status_json(jobs.get(runtime, known[-8:])),
        "status of the system": lambda: views.system_json(runtime),
        "list of fifty": lambda: jobs.listed(runtime, limit=50),
        "list of fifty dead": lambda: jobs.listed(runtime, states=[JobState.DEAD], limit=50),
        "reaper, a pass": lambda: mend.reap(runtime, lambda due: [job.id for job in due], lambda _queue: False),
        "pruning a slice of 500": lambda: prune(runtime),
        f"looking for more than {KEPT:,} (each half minute)": lambda: look_for_too_many(runtime),
    }


@contextmanager
def stores(sizes: tuple[int, ...]) -> Iterator[dict[str, dict[int, Runtime]]]:
    with ExitStack() as stack:
        made: dict[str, dict[int, Runtime]] = {"SQLite": {}, "PostgreSQL": {}}
        for name, by_size in made.items():
            for size in sizes:
                variables = {"MARKETJOBS_RETENTION__JOBS_KEPT": "0"}
                if name == "PostgreSQL":
                    variables["MARKETJOBS_DATABASE__URL"] = stack.enter_context(postgres_database(SERVER, f"_{size}"))
                folder = stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
                with environment(**variables):
                    os.environ["MARKETJOBS_HOME"] = folder
                    runtime = Runtime(config.load())
                stack.callback(runtime.close)
                fill(runtime, size)
                by_size[size] = runtime
        yield made


def milliseconds(step: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--largest", action="store_true", help="a million jobs too")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    chosen = parser.parse_args()
    sizes = (*SIZES, LARGEST) if chosen.largest else SIZES
    tables = []
    with stores(sizes) as made:
        for store, by_size in made.items():
            prepared = {size: steps(runtime) for size, runtime in by_size.items()}
            for step in prepared[SIZES[0]]:
                names = {f"{size:,} jobs": prepared[size][step] for size in sizes}
                peer = next(iter(names))
                measured = rounds(
                    {name: (lambda run=run: milliseconds(run, chosen.times)) for name, run in names.items()},
                    chosen.rounds,
                )
                wanted = {} if "looking" in step else {name: WANTED for name in names if name != peer}
                tables.append(Table(f"{store}: {step}", "ms", measured, peer, False, wanted, growth=True))
    print_tables(tables, as_json=chosen.json)


if __name__ == "__main__":
    main()
