"""More jobs than are done at once: handed in together, or queued while no worker was there."""

from __future__ import annotations

import pytest

from faults.audit import audit
from faults.load import Load, Watch, all_end, backlog, extra_attempts
from faults.report import Record
from processes import Machine

MOST_MEMORY_MB = 300
MOST_EMBEDDED_MESSAGES = 200


@pytest.mark.slow
@pytest.mark.pairs(few=("redis-postgresql",))
def test_three_submitters_at_once(pair: Machine, full: bool, record: Record) -> None:
    jobs = 2000 if full else 240
    watch = Watch(pair, pair.test_worker(2))
    load = Load(pair, jobs, submitters=3)
    record(jobs=jobs)
    ids = load.ids()
    assert len(set(ids)) == jobs
    each_is_done_once(pair, ids, watch, record)


@pytest.mark.slow
@pytest.mark.pairs(few=("embedded-sqlite",))
def test_a_backlog_that_waited_for_a_worker(
    pair: Machine, full: bool, record: Record, request: pytest.FixtureRequest
) -> None:
    jobs = 300 if not full else 20_000 if "redis-postgresql" in request.node.name else 2000
    ids = backlog(pair, jobs)
    record(jobs=jobs)
    assert {row["state"] for row in pair.jobs()} == {"queued"}
    each_is_done_once(pair, ids, Watch(pair, pair.test_worker(2)), record)


def each_is_done_once(machine: Machine, ids: list[str], watch: Watch, record: Record) -> None:
    rows = all_end(machine, ids, watch.look)
    record(extra_attempts=extra_attempts(rows), pss_mb=round(watch.memory_mb))
    assert audit(machine, ids) == {"succeeded": len(ids)}
    assert {row["attempt"] for row in rows} == {1}
    assert sorted(line.split()[0] for line in machine.effects()) == sorted(ids)
    assert 0 < watch.memory_mb < MOST_MEMORY_MB
    assert watch.messages <= MOST_EMBEDDED_MESSAGES
