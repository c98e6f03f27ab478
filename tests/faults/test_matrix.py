"""Many symbols on each broker and store: two workers, one of them killed on the way, and a vendor with bad moments.

Afterwards each bar is the vendor's, each symbol is stored or says why not, and a second run asks for nothing of what
is there.
"""

from __future__ import annotations

import itertools
import json
import signal
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from faults.audit import audit
from processes import LONG, Machine, Running, eventually, kill
from vendor import ZONE, Vendor, midnight

MINUTES = "5m"
UNKNOWN, WEB_PAGE = "NOSUCH1", "PAGE"
CAUSES = {UNKNOWN: "symbol_unknown", WEB_PAGE: "malformed_answer"}
REFUSED_AT_FIRST = 4
SETTLED = datetime.now(ZONE).date() - timedelta(days=4)
"""The last day that is asked for: whatever the hour, its session is over and the vendor says the same all along."""


class Wanted(NamedTuple):
    interval: str
    symbols: list[str]
    start: date

    @property
    def command(self) -> tuple[str, ...]:
        named = itertools.chain.from_iterable(("-s", symbol) for symbol in self.symbols)
        days = "--start", self.start.isoformat(), "--end", SETTLED.isoformat()
        return "fetch-market-data", *named, "--interval", self.interval, *days


def with_bad_ones(names: Sequence[str]) -> list[str]:
    return [*names[:7], UNKNOWN, *names[7:], WEB_PAGE]


DAYS = Wanted("1d", with_bad_ones([f"D{number:03d}" for number in range(218)]), SETTLED - timedelta(days=365))
FIVE_MINUTES = Wanted(MINUTES, with_bad_ones([f"M{number:03d}" for number in range(10)]), SETTLED - timedelta(days=30))

Bar = tuple[float | None, ...]


def bars(machine: Machine, interval: str) -> dict[str, dict[float, Bar]]:
    """What is stored, by symbol and instant."""
    found: dict[str, dict[float, Bar]] = {}
    for row in machine.rows(
        "SELECT symbol, ts, open, high, low, close, adj_close, volume FROM price_bar_v WHERE interval = ?", interval
    ):
        symbol, ts, *figures = row.values()
        moment = ts if isinstance(ts, datetime) else datetime.fromisoformat(ts)
        found.setdefault(symbol, {})[moment.timestamp()] = tuple(figures)
    return found


def truth(vendor: Vendor, wanted: Wanted, symbol: str) -> dict[float, Bar]:
    if wanted.interval == MINUTES:
        stop = midnight(SETTLED + timedelta(days=1))
        minutes = vendor.minutes(symbol, MINUTES, since=midnight(wanted.start))
        return {one.ts: (*one[1:5], None, one.volume) for one in minutes if one.ts < stop}
    return {
        datetime(one.day.year, one.day.month, one.day.day, tzinfo=UTC).timestamp(): one[1:]
        for one in vendor.bars(symbol)
        if wanted.start <= one.day <= SETTLED
    }


def stopped_in_mid_job(machine: Machine, vendor: Vendor, wanted: Wanted) -> dict[str, Any] | None:
    """A job that has a part of its symbols; the process that runs it stands still, so that it stays in its midst."""
    for job in machine.rows("SELECT * FROM job WHERE state = 'running'"):
        if wanted is DAYS:
            is_midway = len(json.loads(job["outcomes"] or "[]")) > 1
        else:  # so few that they are stored at once
            is_midway = len({one.symbol for one in vendor.charts() if one.status == 200}) > len(wanted.symbols) // 2
        if not is_midway:
            continue
        kill(pid_of(job), signal.SIGSTOP)
        if machine.job(job["id"])["state"] == "running":
            return machine.job(job["id"])
        kill(pid_of(job), signal.SIGCONT)
    return None


def pid_of(job: dict[str, Any]) -> int:
    return int(job["owner"].split("/")[1])


def kill_its_worker(machine: Machine, workers: Sequence[Running], job: dict[str, Any]) -> None:
    """The supervisor and all its processes."""
    [worker] = [one for one in workers if one.runs and pid_of(job) in machine.children(one)["pool"]]
    everyone = itertools.chain.from_iterable(machine.children(worker).values())
    for pid in [worker.pid, *everyone]:
        kill(pid)
    worker.process.wait(10)


def fetch_with_a_kill(machine: Machine, vendor: Vendor, workers: Sequence[Running], wanted: Wanted) -> str:
    """The job's id once it has ended as it should."""
    vendor.clear()
    vendor.fault("html", WEB_PAGE)
    vendor.fault("status", times=REFUSED_AT_FIRST, code=429, retry_after=1)
    job_id = str(machine.run(*wanted.command, "--no-wait", "--json").ok().json["job_id"])
    killed = eventually(lambda: stopped_in_mid_job(machine, vendor, wanted), "a job is in its midst", every=0.01)
    assert killed is not None
    kill_its_worker(machine, workers, killed)
    machine.in_state(job_id, "partial", seconds=2 * LONG)
    assert machine.job(killed["id"])["attempt"] > 1
    statuses = Counter((one.symbol, one.status) for one in vendor.charts())
    assert sum(number for (_, status), number in statuses.items() if status == 429) == REFUSED_AT_FIRST
    settled = {one["symbol"] for one in json.loads(killed["outcomes"] or "[]") if not one["error"]}
    assert {statuses[symbol, 200] for symbol in settled} <= {1}, "what is settled is asked for again"
    return job_id


def each_symbol_is_explained(machine: Machine, job_id: str, wanted: Wanted) -> None:
    outcomes = machine.run("result", job_id, "--wait", "--json").ok(3).json["result"]["symbols"]
    assert [one["symbol"] for one in outcomes] == wanted.symbols
    assert {one["symbol"]: one["error"]["cause"] for one in outcomes if one["error"]} == CAUSES
    assert {one["status"] for one in outcomes if one["symbol"] not in CAUSES} == {"stored"}


def each_bar_is_the_vendors(machine: Machine, vendor: Vendor, wanted: Wanted) -> None:
    stored = bars(machine, wanted.interval)
    good = [symbol for symbol in wanted.symbols if symbol not in CAUSES]
    assert sorted(stored) == sorted(good)
    wrong = [symbol for symbol in good if stored[symbol] != truth(vendor, wanted, symbol)]
    assert wrong == []
    assert min(map(len, stored.values())) > 200


def a_second_run_asks_for_nothing_that_is_there(machine: Machine, vendor: Vendor, wanted: Wanted) -> str:
    vendor.requests.clear()
    rows = "SELECT * FROM price_bar ORDER BY asset_id, interval, ts"
    before = machine.rows(rows)
    again = machine.run(*wanted.command, "--json").ok(3).json
    assert {one.symbol for one in vendor.charts()} == set(CAUSES)
    outcomes = again["result"]["symbols"]
    assert {one["status"] for one in outcomes if one["symbol"] not in CAUSES} == {"up_to_date"}
    assert machine.rows(rows) == before
    return str(again["job_id"])


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.pairs(few=("redis-postgresql",))
def test_one_of_two_workers_is_killed_in_the_midst_of_many_symbols(pair: Machine, vendor: Vendor) -> None:
    vendor.latency_seconds = 0.15
    workers = [pair.start("worker", "-c", "1") for _ in range(2)]
    for one in workers:
        pair.once_alive(one)
    jobs = [fetch_with_a_kill(pair, vendor, workers, DAYS)]
    workers.append(pair.worker("-c", "1"))
    jobs += [fetch_with_a_kill(pair, vendor, workers, FIVE_MINUTES)]
    for job_id, wanted in zip(jobs, (DAYS, FIVE_MINUTES), strict=True):
        each_symbol_is_explained(pair, job_id, wanted)
        each_bar_is_the_vendors(pair, vendor, wanted)
    vendor.latency_seconds = 0.0
    jobs += [a_second_run_asks_for_nothing_that_is_there(pair, vendor, wanted) for wanted in (DAYS, FIVE_MINUTES)]
    assert audit(pair, jobs) == {"partial": 4}
