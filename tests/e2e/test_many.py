"""Requests of many symbols, as a person types them: split, summed up, resumed after anything."""

from __future__ import annotations

from collections import Counter

import pytest

from processes import Machine, eventually, kill
from vendor import Vendor

MANY = [f"S{number:03d}" for number in range(240)]
BAD = "NOSUCH1"


@pytest.fixture
def listed(machine: Machine) -> str:
    """240 good symbols and a bad one among them, in a file."""
    (machine.work / "many.txt").write_text("\n".join([*MANY[:100], BAD, *MANY[100:]]))
    return "@many.txt"


def statuses(machine: Machine, job_id: str) -> Counter[str]:
    document = machine.run("result", job_id, "--json").ok().json
    return Counter(one["status"] for one in document["result"]["symbols"])


def test_one_bad_symbol_of_many_is_told_with_its_cause(machine: Machine, vendor: Vendor, listed: str) -> None:
    ran = machine.run("fetch-market-data", "-s", listed, "--period", "1mo").ok(3)
    job_id = ran.out.split()[1]
    assert "241 symbols: 240 stored, 1 failed" in ran.out
    assert "symbol_unknown  1        NOSUCH1" in ran.out
    assert "of 2 parts" in ran.err and "of 241 symbols" in ran.err
    assert len(ran.out.splitlines()) < 8
    failed = machine.run("result", job_id, "--failed").ok(0)
    assert [line.split()[0] for line in failed.out.splitlines()[1:]] == [BAD]
    asked = len(vendor.charts())
    again = machine.run("fetch-market-data", "-s", listed, "--period", "1mo", "--json").ok(3).json
    assert Counter(one["status"] for one in again["result"]["symbols"]) == {"up_to_date": 240, "failed": 1}
    assert len(vendor.charts()) <= 2 * asked


def test_a_client_killed_once_its_id_is_out_is_gone_on_with(machine: Machine, vendor: Vendor, listed: str) -> None:
    vendor.latency_seconds = 0.02
    client = machine.start("fetch-market-data", "-s", listed, "--period", "1mo")
    client.says("job ")
    job_id = client.out.split()[1]
    kill(client.pid)
    client.wait()
    assert machine.job(job_id)["state"] == "waiting"
    vendor.latency_seconds = 0.0
    ran = machine.run("result", job_id, "--wait").ok(3)
    assert "241 symbols: 240 stored, 1 failed" in ran.out
    assert statuses(machine, job_id) == {"stored": 240, "failed": 1}


def test_a_client_killed_in_the_middle_of_a_part_is_gone_on_with(machine: Machine, vendor: Vendor, listed: str) -> None:
    vendor.latency_seconds = 0.05
    client = machine.start("fetch-market-data", "-s", listed, "--period", "1mo")
    eventually(lambda: len(vendor.charts()) > 30, "requests of the first part")
    kill(client.pid)
    client.wait()
    job_id = client.out.split()[1]
    vendor.latency_seconds = 0.0
    asked = Counter(request.symbol for request in vendor.charts())
    machine.run("result", job_id, "--wait").ok(3)
    assert statuses(machine, job_id) == {"stored": 240, "failed": 1}
    twice = [one for one, n in Counter(r.symbol for r in vendor.charts()).items() if n > 1 and asked[one]]
    assert len(twice) < 100, "what was stored is not asked for again"


def test_workers_go_on_by_themselves_when_the_client_is_killed(machine: Machine, vendor: Vendor, listed: str) -> None:
    machine.worker("-c", "2")
    vendor.latency_seconds = 0.02
    client = machine.start("fetch-market-data", "-s", listed, "--period", "1mo")
    client.says("job ")
    job_id = client.out.split()[1]
    kill(client.pid)
    client.wait()
    row = machine.in_state(job_id, "partial", "succeeded", "dead")
    assert row["state"] == "partial"
    assert statuses(machine, job_id) == {"stored": 240, "failed": 1}
    parts = machine.rows("SELECT owner, task FROM job WHERE parent_id = ?", job_id)
    assert len(parts) == 2


def test_sync_history_is_for_the_active_assets(machine: Machine, vendor: Vendor) -> None:
    machine.run("sync-history").refused(2, "no asset is active")
    machine.run("assets", "add", *MANY[:5], BAD).ok()
    machine.run("assets", "remove", MANY[4]).ok()
    plan = machine.run("sync-history", "--period", "1mo", "--dry-run", "--json").ok().json
    assert [one["symbol"] for one in plan["symbols"]] == [BAD, *MANY[:4]]
    assert vendor.charts() == []
    ran = machine.run("sync-history", "--period", "1mo", "--batch-size", "2", "--delay", "0.3", "--json").ok(3).json
    assert ran["task"] == "marketjobs.sync_history"
    assert [one["symbol"] for one in ran["result"]["symbols"]] == [BAD, *MANY[:4]]
    parts = machine.rows("SELECT task, run_at, submitted_at FROM job WHERE parent_id = ? ORDER BY id", ran["job_id"])
    assert [part["task"] for part in parts] == ["marketjobs.fetch_market_data"] * 3
    assert [round(part["run_at"] - part["submitted_at"], 1) for part in parts[:1]] == [0.0]
    machine.run("sync-history", "--batch-size", "0").refused(2)
    machine.run("sync-history", "--interval", "5m").refused(2, "a day or more")
