"""Steps that tests of several faults take."""

from __future__ import annotations

from processes import Machine, eventually
from vendor import Vendor

FETCH = ("fetch-market-data", "-s", "AAPL")


def hand_in(machine: Machine, *options: str) -> str:
    return str(machine.run(*(options or FETCH), "--no-wait", "--json").ok().json["job_id"])


def running(machine: Machine, job_id: str) -> int:
    """The process that runs a job, once one does."""
    return int(machine.in_state(job_id, "running")["owner"].split("/")[1])


def once_asked(vendor: Vendor, count: int = 1) -> None:
    eventually(lambda: vendor._faults and vendor._faults[0].left == 0, "the vendor hangs")


def hang(vendor: Vendor, seconds: float = 30.0, times: int = 1) -> None:
    vendor.fault("hang", times=times, seconds=seconds)


def naps(machine: Machine, seconds: float, count: int = 1) -> list[str]:
    return list(
        machine.python(
            "import json, sys; from jobs_for_tests import nap\n"
            "print(json.dumps([nap.delay(float(sys.argv[1]), f'n{i}').id for i in range(int(sys.argv[2]))]))",
            str(seconds),
            str(count),
        )
    )
