"""Steps that tests of several faults take."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

from processes import Machine, eventually
from vendor import Vendor

FETCH = ("fetch-market-data", "-s", "AAPL")
CALL = """
import json, sys
import jobs_for_tests
task, arguments, count = json.loads(sys.argv[1])
print(json.dumps([getattr(jobs_for_tests, task).delay(*arguments).id for _ in range(count)]))
"""


def begin_fetch(machine: Machine, *symbols: str, options: Sequence[str] = ()) -> str:
    """A fetch of AAPL, or of other symbols, that a command hands in: its job."""
    named = itertools.chain.from_iterable(("-s", symbol) for symbol in symbols or ("AAPL",))
    return str(machine.run("fetch-market-data", *named, *options, "--no-wait", "--json").ok().json["job_id"])


def called(machine: Machine, task: str, *arguments: object, count: int = 1) -> list[str]:
    """Jobs of a task of jobs_for_tests, all with the same arguments, that one program hands in."""
    return list(machine.python(CALL, json.dumps([task, arguments, count])))


def running(machine: Machine, job_id: str) -> int:
    """The process that runs a job, once one does."""
    return int(machine.in_state(job_id, "running")["owner"].split("/")[1])


def once_asked(vendor: Vendor) -> None:
    eventually(lambda: vendor._faults and vendor._faults[0].left == 0, "the vendor hangs")


def hang(vendor: Vendor, seconds: float = 30.0) -> None:
    vendor.fault("hang", times=1, seconds=seconds)
