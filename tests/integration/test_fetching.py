"""A fetch from the command to the store, against a vendor on loopback: what is asked for, written and left alone."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime

import pytest

from processes import Machine, eventually
from vendor import Request, Vendor

DURING = datetime(2026, 11, 18, 17, 0, tzinfo=UTC)
"""A Wednesday, 12:00 in New York: the session runs."""
AFTER = datetime(2026, 11, 18, 22, 0, tzinfo=UTC)
"""The same day, an hour after the close."""


def fetch(machine: Machine, *symbols: str, more: tuple[str, ...] = (), **variables: str) -> list[dict]:
    options = [word for symbol in symbols for word in ("-s", symbol)]
    ran = machine.run("fetch-market-data", *options, "--json", *more, **variables)
    assert "Traceback" not in ran.err, str(ran)
    return ran.json["result"]["symbols"]


def stored_days(machine: Machine, symbol: str) -> list[str]:
    return [
        row["session"] for row in machine.rows("SELECT session FROM price_bar_v WHERE symbol = ? ORDER BY ts", symbol)
    ]


def test_a_first_fetch_stores_exactly_what_the_vendor_holds(machine: Machine, vendor: Vendor) -> None:
    [said] = fetch(machine, "AAPL", more=("--period", "1y"))
    first = date.fromisoformat(said["first"])
    truth = [bar for bar in vendor.bars("AAPL") if bar.day >= first]
    rows = machine.rows("SELECT * FROM price_bar_v WHERE symbol = 'AAPL' ORDER BY ts")
    assert [row["session"] for row in rows] == [bar.day.isoformat() for bar in truth]
    for row, bar in zip(rows, truth, strict=True):
        assert [row[name] for name in ("open", "high", "low", "close", "adj_close", "volume")] == [
            *(bar.open, bar.high, bar.low, bar.close, bar.adj_close, bar.volume)
        ]
    assert {row["provider"] for row in rows} == {"yahoo"}
    assert said["rows_new"] == len(truth)


def test_a_second_fetch_asks_for_little_and_writes_nothing(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, "AAPL")
    before, asked = machine.bars("AAPL"), len(vendor.charts())
    [said] = fetch(machine, "AAPL")
    assert (said["status"], said["rows_new"], said["rows_changed"]) == ("up_to_date", 0, 0)
    assert machine.bars("AAPL") == before  # fetched_at too
    [again] = vendor.charts()[asked:]
    assert int(again.query["period2"]) - int(again.query["period1"]) < 30 * 86_400


def test_a_longer_period_asks_for_the_head_only(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, "AAPL", more=("--period", "3mo"))
    first = stored_days(machine, "AAPL")[0]
    vendor.clear()
    [said] = fetch(machine, "AAPL", more=("--period", "6mo"))
    assert said["rows_changed"] == 0
    assert stored_days(machine, "AAPL")[0] < first
    days_asked = sum(int(one.query["period2"]) - int(one.query["period1"]) for one in vendor.charts()) / 86_400
    assert days_asked < 150


def test_force_asks_for_all_and_writes_nothing_that_is_the_same(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, "AAPL")
    before = machine.bars("AAPL")
    vendor.clear()
    [said] = fetch(machine, "AAPL", more=("--force",))
    [asked] = vendor.charts()
    assert int(asked.query["period2"]) - int(asked.query["period1"]) > 360 * 86_400
    assert (said["rows_new"], said["rows_changed"], said["rows_unchanged"]) == (0, 0, len(before))
    assert machine.bars("AAPL") == before


@pytest.mark.parametrize("interval", ["1wk", "1mo"])
def test_weeks_and_months(machine: Machine, vendor: Vendor, interval: str) -> None:
    [said] = fetch(machine, "AAPL", more=("--interval", interval, "--period", "2y"))
    rows = machine.rows("SELECT session FROM price_bar_v WHERE interval = ? ORDER BY ts", interval)
    days = [date.fromisoformat(row["session"]) for row in rows]
    assert said["rows_new"] == len(days) > 20
    assert all(day.weekday() == 0 if interval == "1wk" else day.day == 1 for day in days)
    before = machine.bars("AAPL", interval)
    fetch(machine, "AAPL", more=("--interval", interval, "--period", "2y"))
    assert machine.bars("AAPL", interval) == before


def test_a_split_is_restated_by_the_next_plain_fetch(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, "AAPL", "IBM")
    before, other = machine.bars("AAPL"), machine.bars("IBM")
    vendor.split("AAPL", 4.0)
    apple, ibm = fetch(machine, "AAPL", "IBM")
    assert apple["rows_changed"] >= len(before) - 1
    assert "split" in apple["note"]
    truth = {bar.day.isoformat(): bar.close for bar in vendor.bars("AAPL")}
    rows = machine.rows("SELECT session, close FROM price_bar_v WHERE symbol = 'AAPL'")
    assert len(rows) == len(before)
    assert all(truth[row["session"]] == row["close"] for row in rows)
    assert (ibm["rows_changed"], machine.bars("IBM")) == (0, other)
    [again] = fetch(machine, "AAPL")
    assert again["rows_changed"] == 0


def test_a_dividend_puts_adjusted_closes_on_one_basis(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, "AAPL")
    vendor.dividend("AAPL", 1.5)
    [said] = fetch(machine, "AAPL")
    assert "dividend" in said["note"]
    truth = {bar.day.isoformat(): (bar.close, bar.adj_close) for bar in vendor.bars("AAPL")}
    rows = machine.rows("SELECT session, close, adj_close FROM price_bar_v WHERE symbol = 'AAPL'")
    assert all(truth[row["session"]] == (row["close"], row["adj_close"]) for row in rows)


def test_changed_closes_are_restated_and_counted(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, "AAPL")
    count = len(machine.bars("AAPL"))
    vendor.restate("AAPL", 1.01)
    [said] = fetch(machine, "AAPL")
    assert said["rows_changed"] == count


def test_a_split_with_a_broken_answer_changes_nothing(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, "AAPL", "IBM")
    before = machine.bars("AAPL")
    vendor.split("AAPL", 4.0)
    vendor.fault("zero", "AAPL", index=-3)
    apple, _ = fetch(machine, "AAPL", "IBM", MARKETJOBS_RETRY__MAX_ATTEMPTS="1")
    assert (apple["status"], apple["error"]["cause"]) == ("failed", "data_rejected")
    assert machine.bars("AAPL") == before


def test_a_provisional_bar_is_marked_and_replaced(machine: Machine, vendor: Vendor) -> None:
    vendor.now = DURING.timestamp()
    ran = machine.run_at(DURING.isoformat(), "fetch-market-data", "-s", "AAPL", "--json").ok()
    assert ran.json["result"]["symbols"][0]["last"] == "2026-11-18"
    rows = machine.rows("SELECT * FROM price_bar_v WHERE symbol = 'AAPL' ORDER BY ts")
    assert [row["provisional"] for row in rows] == [0] * (len(rows) - 1) + [1]
    vendor.now = AFTER.timestamp()
    ran = machine.run_at(AFTER.isoformat(), "fetch-market-data", "-s", "AAPL", "--json").ok()
    [said] = ran.json["result"]["symbols"]
    assert (said["rows_new"], said["rows_changed"]) == (0, 0)
    [last] = machine.rows("SELECT * FROM price_bar_v WHERE session = '2026-11-18'")
    assert last["provisional"] == 0
    assert last["close"] == vendor.bars("AAPL")[-1].close != rows[-1]["close"]


def test_a_rejected_row_is_asked_for_again_and_healed(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("nan", "AAPL", times=1, index=-30)
    [said] = fetch(machine, "AAPL")
    assert (said["status"], said["rows_rejected"]) == ("stored", 1)
    lacking = len(machine.bars("AAPL"))
    [healed] = fetch(machine, "AAPL")
    assert (healed["rows_new"], healed["rows_rejected"]) == (1, 0)
    first = said["first"]
    assert stored_days(machine, "AAPL") == [
        bar.day.isoformat() for bar in vendor.bars("AAPL") if bar.day.isoformat() >= first
    ]
    assert len(machine.bars("AAPL")) == lacking + 1


def test_a_gap_in_the_middle_is_healed_by_the_next_fetch(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, "AAPL", more=("--start", "2026-01-05", "--end", "2026-01-30"))
    fetch(machine, "AAPL", more=("--start", "2026-06-01", "--end", "2026-06-30"))
    vendor.clear()
    fetch(machine, "AAPL", more=("--start", "2026-01-05", "--end", "2026-06-30"))
    truth = [bar.day.isoformat() for bar in vendor.bars("AAPL") if date(2026, 1, 5) <= bar.day <= date(2026, 6, 30)]
    assert stored_days(machine, "AAPL") == truth
    spans = [int(one.query["period2"]) - int(one.query["period1"]) for one in vendor.charts()]
    assert sum(spans) / 86_400 < 150


def test_a_young_symbol_and_a_range_without_bars(machine: Machine, vendor: Vendor) -> None:
    [young] = fetch(machine, "YOUNG1", more=("--period", "max"))
    assert (young["status"], young["rows_new"]) == ("stored", 10)
    [empty] = fetch(machine, "AAPL", more=("--start", "2010-01-04", "--end", "2010-01-08"))
    assert (empty["status"], empty["error"]) == ("empty", None)


def test_dry_run_asks_nobody_and_writes_nothing(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, "AAPL")
    vendor.clear()
    before = machine.rows("SELECT * FROM job")
    planned = machine.run("fetch-market-data", "-s", "AAPL", "-s", "IBM", "--dry-run", "--json").ok().json
    assert [one["symbol"] for one in planned["symbols"]] == ["AAPL", "IBM"]
    assert list(vendor.requests) == []
    assert machine.rows("SELECT * FROM job") == before


# -- recorded beside yahoo --------------------------------------------------------------------------------


def test_recorded_bars_are_not_mixed_with_others(machine: Machine, vendor: Vendor) -> None:
    fetch(machine, "AAPL")
    ran = machine.run("fetch-market-data", "-s", "AAPL", "--provider", "recorded", "--period", "max")
    ran.refused(2, "AAPL", "yahoo", "recorded")


def test_yahoos_bars_are_not_mixed_with_recorded_ones(machine: Machine, vendor: Vendor) -> None:
    machine.run("fetch-market-data", "-s", "AAPL", "--provider", "recorded", "--period", "max").ok()
    before = machine.bars("AAPL")
    ran = machine.run("fetch-market-data", "-s", "AAPL")
    ran.refused(2, "AAPL", "recorded")
    assert machine.bars("AAPL") == before
    assert list(vendor.requests) == []


# -- large requests ---------------------------------------------------------------------------------------

MANY = tuple(f"S{number:03d}" for number in range(250))


def check_large(machine: Machine, job_id: str, symbols: list[dict]) -> None:
    assert tuple(one["symbol"] for one in symbols) == MANY
    children = machine.rows("SELECT * FROM job WHERE parent_id = ?", job_id)
    assert len(children) == 2
    assert sorted(len(json.loads(child["arguments"])["symbols"]) for child in children) == [125, 125]
    assert {child["state"] for child in children} == {"succeeded"}
    assert machine.rows("SELECT count(DISTINCT symbol) AS n FROM price_bar_v") == [{"n": 250}]


def test_a_large_request_is_split_and_run_inline(machine: Machine, vendor: Vendor) -> None:
    options = [word for symbol in MANY for word in ("-s", symbol)]
    ran = machine.run("fetch-market-data", *options, "--period", "5d", "--inline", "--json").ok()
    check_large(machine, ran.json["job_id"], ran.json["result"]["symbols"])
    assert Counter(request.symbol for request in vendor.charts()) == Counter(MANY)


def test_a_large_request_is_split_over_a_worker_and_its_progress_seen(machine: Machine, vendor: Vendor) -> None:
    machine.worker("-c", "2", MARKETJOBS_PROVIDERS__YAHOO__MAX_CONNECTIONS="4")
    vendor.latency_seconds = 0.05
    options = [word for symbol in MANY for word in ("-s", symbol)]
    job_id = machine.run("fetch-market-data", *options, "--period", "5d", "--no-wait", "--json").ok().json["job_id"]
    seen = set()

    def ended() -> bool:
        said = machine.run("status", job_id, "--json").ok().json
        seen.add(said["progress"])
        return said["state"] not in ("queued", "waiting", "running")

    eventually(ended, "the large job ends", every=0.01)
    assert any(0 < progress < 1 for progress in seen), seen
    ran = machine.run("result", job_id, "--json").ok()
    check_large(machine, job_id, ran.json["result"]["symbols"])


def test_cancelling_a_large_request_ends_its_parts(machine: Machine, vendor: Vendor) -> None:
    machine.worker("-c", "1")
    vendor.latency_seconds = 0.5
    options = [word for symbol in MANY for word in ("-s", symbol)]
    job_id = machine.run("fetch-market-data", *options, "--period", "5d", "--no-wait", "--json").ok().json["job_id"]
    eventually(lambda: vendor.charts(), "the vendor is asked")
    said = machine.run("cancel", job_id, "--json").ok().json
    assert said == {"jobs": [{"job_id": job_id, "state": "cancelled", "cancelled": True}]}
    eventually(
        lambda: machine.rows("SELECT count(*) AS n FROM job WHERE state <> 'cancelled'") == [{"n": 0}],
        "all parts are cancelled",
        15,
    )
    machine.run("result", job_id, "--wait").ok(1)
    asked = len(vendor.charts())
    machine.run("fetch-market-data", "-s", "LAST", "--period", "5d", "--json").ok()
    assert {one.symbol for one in list(vendor.charts())[asked + 8 :]} <= {"LAST"}


def test_a_cancelled_fetch_sends_nothing_more(machine: Machine, vendor: Vendor) -> None:
    limit = {"MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT": '["1/s"]'}
    machine.worker("-c", "1", **limit)
    options = [word for number in range(8) for word in ("-s", f"S{number}")]
    ran = machine.run("fetch-market-data", *options, "--period", "5d", "--no-wait", "--json", **limit).ok()
    eventually(lambda: len(vendor.charts()) >= 2, "the vendor is asked")
    machine.run("cancel", ran.json["job_id"]).ok()
    machine.in_state(ran.json["job_id"], "cancelled")
    eventually(lambda: machine.job(ran.json["job_id"])["lease_until"] is None, "its process is done with it")
    asked = len(vendor.charts())
    assert asked < 8
    others = [word for number in range(3) for word in ("-s", f"N{number}")]
    machine.run("fetch-market-data", *others, "--period", "5d", "--json", **limit).ok()
    since = [one.symbol for one in list(vendor.charts())[asked:]]
    assert set(since) == {"N0", "N1", "N2"}, "threads that the first left behind had their turn in between"


def test_what_a_fetch_had_at_its_soft_limit_is_stored(machine: Machine, vendor: Vendor) -> None:
    machine.worker("-c", "1", MARKETJOBS_WORKER__SOFT_TIME_LIMIT="4")
    vendor.fault("hang", symbol="SLOW", seconds=20, times=1)
    options = [word for symbol in ("A", "B", "C", "SLOW") for word in ("-s", symbol)]
    ran = machine.run("fetch-market-data", *options, "--period", "5d", "--json").ok().json
    assert (ran["state"], ran["attempts"]) == ("succeeded", 2)
    asked = Counter(one.symbol for one in vendor.charts())
    assert asked["A"] == asked["B"] == asked["C"] == 1, "what was answered is not asked for again"


# -- refusals -----------------------------------------------------------------------------------------------


def waiting(machine: Machine, job_id: str) -> dict:
    """The job's status once it waits for the vendor."""

    def look() -> dict | None:
        said: dict = machine.run("status", job_id, "--json").ok().json
        return said if said["state"] == "waiting" else None

    return eventually(look, "the job waits", 15)


@pytest.mark.parametrize("served", [0, 5])
def test_too_many_requests_is_waited_for_visibly(machine: Machine, vendor: Vendor, served: int) -> None:
    """At once, and in mid-run: what was good is stored, the rest comes after Retry-After, without a second job."""
    machine.worker("-c", "1", MARKETJOBS_PROVIDERS__YAHOO__MAX_CONNECTIONS="1")
    symbols = [f"R{number}" for number in range(12)]
    vendor.fault("status", None if not served else f"R{served}", times=1, code=429, retry_after=4)
    options = [word for symbol in symbols for word in ("-s", symbol)]
    job_id = machine.run("fetch-market-data", *options, "--period", "5d", "--no-wait", "--json").ok().json["job_id"]
    said = waiting(machine, job_id)
    assert said["next_attempt_at"] is not None
    assert "429" in said["waits_for"]
    assert said["error"]["cause"] == "rate_limited"
    assert len(vendor.charts()) == served + 1
    assert machine.rows("SELECT count(DISTINCT symbol) AS n FROM price_bar_v") == [{"n": served}]
    [refused] = [one for one in vendor.charts() if one.status == 429]
    row = machine.in_state(job_id, "succeeded", seconds=30)
    assert row["attempt"] == 1
    later = [one.time for one in vendor.charts() if one.time > refused.time + 0.001]
    assert min(later) >= refused.time + 4
    assert Counter(one.symbol for one in vendor.charts() if one.status == 200) == Counter(symbols)


def test_an_inline_fetch_waits_for_a_short_hold_by_itself(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("status", times=1, code=429, retry_after=3)
    ran = machine.run("fetch-market-data", "-s", "AAPL", "--inline", "--json").ok()
    assert ran.json["result"]["symbols"][0]["status"] == "stored"
    first, second = vendor.charts()
    assert second.time - first.time >= 3
    assert "waits" in ran.err


def test_an_inline_fetch_leaves_a_long_hold(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("status", times=1, code=429, retry_after=900)
    ran = machine.run("fetch-market-data", "-s", "AAPL", "--inline")
    ran.ok(5)
    assert "marketjobs" in ran.err.splitlines()[-1]
    [job] = machine.jobs()
    assert job["state"] == "waiting"


def test_a_hold_is_seen_by_another_process(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("status", times=1, code=429, retry_after=600)
    machine.run("fetch-market-data", "-s", "AAPL", "--inline").ok(5)
    other = machine.run("fetch-market-data", "-s", "IBM", "--inline", "--json")
    other.ok(5)
    assert other.json["error"]["cause"] == "not_finished"
    assert [one.symbol for one in vendor.charts()] == ["AAPL"]


@pytest.mark.timeout(60)
def test_a_vendor_that_says_come_back_at_once_is_not_hammered(machine: Machine, vendor: Vendor) -> None:
    """Retry-After: 0 with each refusal is no leave to ask for ever as fast as the budget allows."""
    vendor.fault("status", code=429, retry_after=0)
    machine.run("fetch-market-data", "-s", "AAPL", "--inline", "--timeout", "6").ok(5)
    assert len(vendor.charts()) <= 8


@pytest.mark.parametrize(("code", "cause"), [(401, "unauthorised"), (403, "blocked")])
def test_two_symbols_refused_hold_the_provider(machine: Machine, vendor: Vendor, code: int, cause: str) -> None:
    vendor.fault("status", code=code)
    symbols = [f"H{number}" for number in range(10)]
    options = [word for symbol in symbols for word in ("-s", symbol)]
    one = {"MARKETJOBS_PROVIDERS__YAHOO__MAX_CONNECTIONS": "1"}
    machine.run("fetch-market-data", *options, "--inline", "--timeout", "8", **one).ok(5)
    assert len(vendor.charts()) <= 3
    [job] = machine.jobs()
    assert job["state"] in ("waiting", "queued")
    assert machine.bars("H0") == []


# -- budgets ------------------------------------------------------------------------------------------------


def most_within(seconds: float, requests: list[Request]) -> int:
    times = sorted(one.time for one in requests)
    return max(sum(1 for other in times if one <= other < one + seconds) for one in times)


def test_the_budget_is_kept_over_processes_and_restarts(machine: Machine, vendor: Vendor) -> None:
    """Two commands at once and a third after them, all on 2/s: never more than two calls in any second.

    Counted in the vendor's log, whose own threads may be late on a busy machine: by up to 0.2 s here.
    """
    budget = {"MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT": '["2/s", "2000/h"]'}
    running = [
        machine.start("fetch-market-data", *(w for n in range(4) for w in ("-s", f"P{p}N{n}")), "--inline", **budget)
        for p in range(2)
    ]
    for one in running:
        one.wait().ok()
    machine.run("fetch-market-data", "-s", "AFTER1", "-s", "AFTER2", "-s", "AFTER3", **budget).ok()
    requests = list(vendor.requests)
    assert len(requests) == 11  # cookies and crumbs, were any asked for, count too
    assert most_within(0.8, requests) <= 2
    assert requests[-1].time - requests[0].time > (11 - 2) / 2 * 0.95


def test_an_hourly_budget_outlives_its_process(machine: Machine, vendor: Vendor) -> None:
    budget = {"MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT": '["1000/s", "3/h"]'}
    machine.run("fetch-market-data", "-s", "A1", "-s", "A2", **budget).ok()
    ran = machine.run("fetch-market-data", "-s", "A3", "-s", "A4", "--json", **budget)
    ran.ok(5)
    assert len(vendor.requests) == 3
    assert machine.bars("A3") != machine.bars("A4")  # one of them was still affordable
    said = machine.run("status", machine.jobs()[-1]["id"], "--json", **budget).ok().json
    assert (said["state"], said["error"]["cause"]) == ("waiting", "budget_spent")
    assert "3/h" in said["waits_for"]


# -- the breaker --------------------------------------------------------------------------------------------


def as_if_it_were_time(machine: Machine) -> None:
    """The circuit's open time is over, and so is every job's wait."""
    machine.write("UPDATE provider_breaker SET open_until = 1 WHERE open_until > 0")
    machine.write("UPDATE job SET run_at = 1 WHERE state = 'waiting'")


def test_an_outage_costs_a_few_requests_and_the_job_goes_on_by_itself(machine: Machine, vendor: Vendor) -> None:
    symbols = [f"S{n}" for n in range(30)]
    vendor.fault("status", code=503)
    machine.worker()
    options = [word for symbol in symbols for word in ("-s", symbol)]
    options += ["--provider", "yahoo", "--no-wait", "--json"]
    job = machine.run("fetch-market-data", *options).ok().json["job_id"]

    def said() -> dict:
        return machine.run("status", job, "--json").ok().json

    waiting = eventually(
        lambda: (now := said())["state"] == "waiting" and "failed again and again" in now["waits_for"] and now,
        "the job waits",
    )
    assert waiting["attempts"] <= 1, "a wait for the vendor uses up no attempt"
    assert waiting["worker"] is None, "nor does it hold a worker"
    asked = len(vendor.requests)
    assert 6 <= asked <= 6 + 8, "the probe, and those that were under way when the fifth failed"
    assert "SPY" in {one.symbol for one in vendor.charts()}, "the probe is about none of the job's symbols"

    as_if_it_were_time(machine)  # still away: one probe, and it waits for longer
    eventually(lambda: len(vendor.requests) > asked, "the probe")
    again = eventually(
        lambda: (now := said())["state"] == "waiting" and now["next_attempt_at"] != waiting["next_attempt_at"] and now,
        "the job waits again",
    )
    assert len(vendor.requests) == asked + 1
    assert again["attempts"] == waiting["attempts"]

    vendor.clear()
    as_if_it_were_time(machine)
    done = machine.run("result", job, "--wait", "--json").ok().json
    assert (done["state"], done["attempts"]) == ("succeeded", waiting["attempts"] + 1)
    assert [one["symbol"] for one in done["result"]["symbols"]] == symbols
    assert all(machine.bars(symbol) for symbol in symbols)


def test_a_symbol_that_always_fails_holds_no_other(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("status", symbol="BAD", code=500)
    symbols = ["BAD", *(f"G{n}" for n in range(6))]
    for _ in range(4):
        said = fetch(
            machine, *symbols, more=("--provider", "yahoo", "--force", "--inline"), MARKETJOBS_RETRY__MAX_ATTEMPTS="2"
        )
        assert [one["error"] and one["error"]["cause"] for one in said] == ["provider_unavailable", *[None] * 6]
