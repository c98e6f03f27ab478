"""Minutes and hours from the command to the store: what is asked for, kept, refused, and put on one basis."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from processes import Machine
from vendor import Vendor

AFTER = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
"""A Friday, two hours after the close in New York."""
DURING = datetime(2026, 11, 20, 18, 2, 30, tzinfo=UTC)


def fetch(machine: Machine, vendor: Vendor, moment: datetime, *more: str, code: int = 0) -> dict[str, Any]:
    """One symbol's outcome of a fetch at that moment, of the vendor's clock too."""
    vendor.now = moment.timestamp()
    ran = machine.run_at(moment.isoformat(), "fetch-market-data", "-s", "AAPL", "--inline", "--json", *more).ok(code)
    [said] = ran.json["result"]["symbols"]
    return said


def stored(machine: Machine, interval: str = "5m") -> list[tuple[Any, ...]]:
    return [
        (row["ts"], row["open"], row["high"], row["low"], row["close"], row["volume"])
        for row in machine.rows(
            "SELECT * FROM price_bar_v WHERE symbol = 'AAPL' AND interval = ? ORDER BY ts", interval
        )
    ]


def truth(vendor: Vendor, since: str, interval: str = "5m", *, prepost: bool = False) -> list[tuple[Any, ...]]:
    start = datetime.fromisoformat(since).timestamp()
    return [
        (datetime.fromtimestamp(bar.ts, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), *bar[1:])
        for bar in vendor.minutes("AAPL", interval, prepost=prepost, since=start)
    ]


def asked_days(vendor: Vendor) -> list[float]:
    return [(int(one.query["period2"]) - int(one.query["period1"])) / 86_400 for one in vendor.charts()]


def test_a_first_fetch_stores_exactly_what_the_vendor_holds(machine: Machine, vendor: Vendor) -> None:
    said = fetch(machine, vendor, AFTER, "--interval", "5m", "--period", "5d")
    assert stored(machine) == truth(vendor, "2026-11-15T05:00:00+00:00")
    assert (said["rows_new"], said["rows_rejected"], said["note"]) == (5 * 78, 0, None)
    assert (said["first"], said["last"]) == ("2026-11-16T14:30:00Z", "2026-11-20T20:55:00Z")


def test_a_first_fetch_of_one_day_is_that_day_of_the_exchange(machine: Machine, vendor: Vendor) -> None:
    said = fetch(
        machine, vendor, AFTER, "--interval", "5m", "--start", "2026-11-18", "--end", "2026-11-18", "--prepost"
    )
    first, last = datetime.fromisoformat("2026-11-18T09:00:00Z"), datetime.fromisoformat("2026-11-19T00:55:00Z")
    assert datetime.fromisoformat(said["first"]) == first
    assert last - timedelta(hours=1) < datetime.fromisoformat(said["last"]) <= last


def test_a_second_fetch_asks_for_the_last_day_and_writes_nothing(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, vendor, AFTER, "--interval", "5m")
    before = machine.bars("AAPL", "5m")
    vendor.clear()
    said = fetch(machine, vendor, AFTER + timedelta(hours=14), "--interval", "5m")
    assert (said["status"], said["rows_new"], said["rows_changed"]) == ("up_to_date", 0, 0)
    assert machine.bars("AAPL", "5m") == before
    assert len(vendor.charts()) == 1
    assert asked_days(vendor)[0] <= 2


def test_a_running_session_is_provisional_and_becomes_final(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, vendor, DURING, "--interval", "5m", "--period", "3d")
    rows = machine.rows("SELECT ts FROM price_bar_v WHERE provisional = 1 ORDER BY ts")
    assert rows[0]["ts"] == "2026-11-20T14:30:00Z"
    assert rows[-1]["ts"] == "2026-11-20T18:00:00Z"
    said = fetch(machine, vendor, AFTER, "--interval", "5m", "--period", "3d")
    assert (said["rows_new"], said["rows_changed"]) == (78 - 43, 0)
    assert stored(machine) == truth(vendor, "2026-11-17T05:00:00+00:00")
    assert not machine.rows("SELECT 1 FROM price_bar_v WHERE provisional = 1")


def test_a_longer_period_stores_the_part_that_there_is_and_says_so(machine: Machine, vendor: Vendor) -> None:
    said = fetch(machine, vendor, AFTER, "--interval", "5m", "--period", "1y")
    assert said["note"] == "yahoo gives 5m bars of the last 60 days: asked from 2026-09-22 on"
    assert stored(machine) == truth(vendor, "2026-09-22T04:00:00+00:00")
    vendor.clear()
    again = fetch(machine, vendor, AFTER, "--interval", "5m", "--period", "1y")
    assert (again["status"], again["note"]) == ("up_to_date", said["note"])
    assert max(asked_days(vendor)) <= 2


def test_a_range_that_is_all_too_old_fails_once_and_is_not_sent(machine: Machine, vendor: Vendor) -> None:
    vendor.now = AFTER.timestamp()
    ran = machine.run_at(
        AFTER.isoformat(), "fetch-market-data", "-s", "AAPL", "--interval", "1m", "--start", "2026-06-01",
        "--end", "2026-06-05", "--inline", "--json",
    ).ok(1)  # fmt: skip
    [said] = ran.json["result"]["symbols"]
    assert (said["error"]["cause"], said["error"]["retryable"]) == ("range_unavailable", False)
    assert "1m bars of the last 30 days" in said["error"]["message"]
    assert ran.json["attempts"] == 1
    assert not vendor.requests


def test_what_was_fetched_in_time_is_no_failure_later(machine: Machine, vendor: Vendor) -> None:
    days = ("--interval", "1m", "--start", "2026-11-17", "--end", "2026-11-18")
    fetch(machine, vendor, AFTER, *days)
    vendor.clear()
    said = fetch(machine, vendor, AFTER + timedelta(days=90), *days)
    assert (said["status"], said["error"]) == ("up_to_date", None)
    assert not vendor.requests


def test_a_symbol_listed_lately_is_not_asked_for_its_past_again(machine: Machine, vendor: Vendor) -> None:
    vendor.now = AFTER.timestamp()
    for run in range(2):
        vendor.clear()
        ran = machine.run_at(
            AFTER.isoformat(), "fetch-market-data", "-s", "YOUNG", "--interval", "5m", "--inline", "--json"
        ).ok()
        [said] = ran.json["result"]["symbols"]
        assert said["rows_new"] == (0 if run else 10 * 78)
    assert max(asked_days(vendor)) <= 2


# Extended hours


def test_extended_hours_are_fetched_once_and_kept_by_plain_fetches(machine: Machine, vendor: Vendor) -> None:
    plain = ("--interval", "15m", "--period", "5d")
    fetch(machine, vendor, AFTER, *plain)
    assert stored(machine, "15m") == truth(vendor, "2026-11-15T05:00:00+00:00", "15m")
    later = AFTER + timedelta(hours=3)
    said = fetch(machine, vendor, later, *plain, "--prepost")
    extended = truth(vendor, "2026-11-15T05:00:00+00:00", "15m", prepost=True)
    assert stored(machine, "15m") == extended
    assert said["rows_changed"] == 0
    vendor.clear()
    for more in ((), ("--prepost",), ("--force",)):
        said = fetch(machine, vendor, later, *plain, *more)
        assert (said["rows_new"], said["rows_changed"], said["rows_rejected"]) == (0, 0, 0)
    assert stored(machine, "15m") == extended


def test_a_plain_fetch_does_not_count_as_one_with_extended_hours(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, vendor, AFTER, "--interval", "1h", "--period", "1mo")
    vendor.clear()
    fetch(machine, vendor, AFTER, "--interval", "1h", "--period", "1mo", "--prepost")
    assert max(asked_days(vendor)) > 28


# One basis


def test_a_split_restates_what_the_vendor_gives_and_older_bars_follow(machine: Machine, vendor: Vendor) -> None:
    early = AFTER - timedelta(days=40)
    fetch(machine, vendor, early, "--interval", "5m")
    fetch(machine, vendor, AFTER, "--interval", "5m", "--period", "40d")
    before = stored(machine)
    vendor.split("AAPL", 4.0, on=date(2026, 11, 20))
    said = fetch(machine, vendor, AFTER + timedelta(minutes=5), "--interval", "5m")
    assert "split of 4" in said["note"]
    assert "times 0.25" in said["note"]
    after = stored(machine)
    assert [row[0] for row in after] == [row[0] for row in before]
    expected = {row[0]: row for row in truth(vendor, "2026-09-01T00:00:00+00:00")}
    for row in after:  # the vendor's own: those that it no longer gives were divided by its own split
        assert row[1:5] == pytest.approx(expected[row[0]][1:5], rel=1e-6)
        assert row[5] == pytest.approx(expected[row[0]][5], rel=0.2, abs=8)
    assert said["rows_changed"] >= len(after) - 78
    again = fetch(machine, vendor, AFTER + timedelta(minutes=10), "--interval", "5m")
    assert again["rows_changed"] == 0


def test_a_split_in_a_gap_longer_than_yahoos_memory_reaches_older_bars_once(machine: Machine, vendor: Vendor) -> None:
    days = ("--interval", "1m", "--start", "2026-11-17", "--end", "2026-11-18")
    fetch(machine, vendor, AFTER, *days)
    before = stored(machine, "1m")
    later = AFTER + timedelta(days=90)
    vendor.now = later.timestamp()
    vendor.split("AAPL", 2.0, on=date(2027, 2, 10))
    said = fetch(machine, vendor, later, "--interval", "1m", "--period", "2wk")
    assert "times 0.5" in said["note"]
    for run in range(2):
        old = [row for row in stored(machine, "1m") if row[0] < "2026-12"]
        assert [row[4] for row in old] == [row[4] / 2 for row in before], run
        assert [row[5] for row in old] == [row[5] * 2 for row in before], run
        said = fetch(machine, vendor, later, "--interval", "1m", "--period", "2wk")
        assert said["rows_changed"] == 0


def test_a_change_that_no_split_explains_leaves_everything_as_it_is(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, vendor, AFTER - timedelta(days=40), "--interval", "5m")
    fetch(machine, vendor, AFTER, "--interval", "5m", "--period", "40d")
    before = machine.bars("AAPL", "5m")
    vendor.restate("AAPL", 1.1)
    said = fetch(machine, vendor, AFTER + timedelta(minutes=5), "--interval", "5m", code=1)
    assert said["error"]["cause"] == "history_cut"
    assert machine.bars("AAPL", "5m") == before


# Around it


def test_a_dry_run_names_instants(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, vendor, AFTER, "--interval", "5m", "--period", "5d")
    vendor.clear()
    ran = machine.run_at(
        AFTER.isoformat(),
        "fetch-market-data",
        "-s",
        "AAPL",
        "--interval",
        "5m",
        "--period",
        "5d",
        "--dry-run",
        "--json",
    ).ok()
    assert ran.json["symbols"][0]["requests"] == [{"start": "2026-11-20T05:00:00Z", "end": "2026-11-21T05:00:00Z"}]
    assert not vendor.requests


def test_prices_shows_times_in_the_terminals_zone_or_utc(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, vendor, AFTER, "--interval", "1h", "--period", "5d")
    day = ("prices", "AAPL", "--interval", "1h", "--start", "2026-11-20", "--end", "2026-11-20")
    lines = machine.run(*day, TZ="America/New_York").ok().out.splitlines()
    assert [line[:20] for line in lines[1:]] == [f"2026-11-20 {hour:02}:30 EST" for hour in range(9, 16)]
    assert machine.run(*day, "--utc").ok().out.splitlines()[1].startswith("2026-11-20 14:30 UTC")
    assert machine.run(*day, "--json").ok().json["bars"][0]["ts"] == "2026-11-20T14:30:00Z"
    assert "09:30 EST" in machine.run(*day, "--chart", TZ="America/New_York").ok().out


def test_programs_read_days_of_the_exchange_or_instants(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, vendor, AFTER, "--interval", "1h", "--period", "5d", "--prepost")
    code = """
import json
from datetime import UTC, date, datetime
from marketjobs import errors, read
day = read.bars("AAPL", "1h", date(2026, 11, 19), date(2026, 11, 19))
some = read.bars("AAPL", "1h", datetime(2026, 11, 19, 15, tzinfo=UTC), datetime(2026, 11, 19, 17, 30, tzinfo=UTC))
try:
    read.bars("AAPL", "1h", datetime(2026, 11, 19))
except errors.InvalidInput as exc:
    refused = exc.message
print(json.dumps([[bar.ts.isoformat() for bar in rows] for rows in (day, some)] + [refused]))
"""
    day, some, refused = machine.python(code)
    assert (day[0], day[-1]) == ("2026-11-19T09:00:00+00:00", "2026-11-20T00:00:00+00:00")
    assert some == ["2026-11-19T15:30:00+00:00", "2026-11-19T16:30:00+00:00"]
    assert "has no time zone" in refused
