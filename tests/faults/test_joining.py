"""The same request from several processes at once is one job, and each of them is told which."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from faults.audit import audit
from faults.report import Record
from processes import Machine, eventually
from vendor import Vendor

REQUESTS = 300
FEW_REQUESTS = 30
PROCESSES = 3
SUBMIT = """
import json, sys, time
from pathlib import Path
import marketjobs
from marketjobs.tasks.runtime import runtime
gate, number = Path(sys.argv[1]), int(sys.argv[2])
with runtime().database.read() as tx:
    tx.now()
print("ready", flush=True)
while not gate.exists():
    time.sleep(0.002)
ids = [marketjobs.submit("fetch_market_data", symbols=[f"J{n:03}"], period="5d").id for n in range(number)]
print(json.dumps(ids), flush=True)
"""


@pytest.mark.pairs(few=("redis-postgresql",))
def test_three_processes_ask_for_the_same_at_once(pair: Machine, vendor: Vendor, full: bool, record: Record) -> None:
    number = REQUESTS if full else FEW_REQUESTS
    gate = pair.root / "gate"
    programs = [pair.start_python(SUBMIT, str(gate), str(number)) for _ in range(PROCESSES)]
    for program in programs:
        program.says("ready")
    gate.touch()
    answers = [json.loads(program.wait(300).ok().out.splitlines()[1]) for program in programs]
    assert answers[0] == answers[1] == answers[2]
    [ids, *_] = answers
    assert len(set(ids)) == number
    assert {row["id"] for row in pair.jobs()} == set(ids)
    assert [json.loads(pair.job(one)["arguments"])["symbols"] for one in ids] == [[f"J{n:03}"] for n in range(number)]
    pair.test_worker(2)
    pair.all_final(ids, seconds=300)
    assert Counter(one.symbol for one in vendor.charts()) == {f"J{n:03}": 1 for n in range(number)}
    assert len(pair.rows("SELECT DISTINCT symbol FROM price_bar_v")) == number
    assert audit(pair, ids) == {"succeeded": number}
    record(jobs=number)


def test_three_commands_at_once(machine: Machine, vendor: Vendor) -> None:
    command = ("fetch-market-data", "-s", "AAPL", "--no-wait", "--json")
    machine.run("init").ok()
    told = [one.wait().ok() for one in [machine.start(*command) for _ in range(3)]]
    [job_id] = {one.json["job_id"] for one in told}
    machine.worker("-c", "2")
    machine.in_state(job_id, "succeeded")
    eventually(lambda: len(vendor.charts()) == 1, "one request")
    assert audit(machine, [job_id]) == {"succeeded": 1}
