"""Each way in which a vendor misbehaves, seen by whoever types the command: its own cause, good symbols stored,
stored rows untouched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from processes import Machine, machine_of
from vendor import Vendor

pytestmark = pytest.mark.xdist_group("misbehaviour")


@dataclass(frozen=True)
class Case:
    """A fault, and what becomes of its symbol.  ``cause`` ``None``: the row is rejected, the rest is stored."""

    fault: str
    args: dict[str, Any]
    cause: str | None
    rule: str | None = None


CASES = {
    "C400": Case("status", {"code": 400}, "provider_unavailable"),
    "C404PAGE": Case("status", {"code": 404}, "provider_unavailable"),
    "C422": Case("status", {"code": 422}, "range_unavailable"),
    "C500": Case("status", {"code": 500}, "provider_unavailable"),
    "C502": Case("status", {"code": 502}, "provider_unavailable"),
    "C503": Case("status", {"code": 503}, "provider_unavailable"),
    "HTML": Case("html", {}, "malformed_answer"),
    "BADJSON": Case("invalid_json", {}, "malformed_answer"),
    "CUT": Case("truncated", {}, "provider_unavailable"),
    "RESET": Case("reset", {}, "provider_unavailable"),
    "HANG": Case("hang", {"seconds": 30.0}, "provider_unavailable"),
    "EMPTY": Case("empty_result", {}, "malformed_answer"),
    "WRONG": Case("wrong_symbol", {}, "malformed_answer"),
    "COARSE": Case("wrong_interval", {}, "malformed_answer"),
    "MOVED": Case("redirect", {"location": "https://login.invalid/"}, "provider_unavailable"),
    "NAN": Case("nan", {}, None, "not_finite"),
    "NULLROW": Case("null_row", {}, None, "no_prices"),
    "NULLCLOSE": Case("null_close", {}, None, "missing_price"),
    "NEGATIVE": Case("negative", {}, None, "not_positive"),
    "ZERO": Case("zero", {}, None, "not_positive"),
    "STRINGS": Case("strings", {}, None, "not_a_number"),
    "TWICE": Case("duplicate", {}, None, "duplicate"),
    "CONFLICT": Case("duplicate", {"conflict": True}, None, "conflict"),
    "FUTURE": Case("future", {}, None, "future"),
    "UNORDERED": Case("unordered", {}, None, None),
}
GOOD = "GOOD"


@dataclass(frozen=True)
class Outcome:
    """The two fetches of all symbols: before the vendor misbehaved, and while it did."""

    code: int
    said: dict[str, dict[str, Any]]
    before: dict[str, list[tuple[Any, ...]]]
    after: dict[str, list[tuple[Any, ...]]]
    first: dict[str, dict[str, Any]]
    err: str


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """One request for all of them: a good symbol stands beside every bad one."""
    variables = {"MARKETJOBS_RETRY__MAX_ATTEMPTS": "2", "MARKETJOBS_PROVIDERS__YAHOO__TIMEOUT_SECONDS": "2"}
    with Vendor() as vendor, machine_of(tmp_path_factory.mktemp("vendor"), vendor, **variables) as machine:
        symbols = [*CASES, GOOD]
        options = [word for symbol in symbols for word in ("-s", symbol)]
        first = machine.run(
            "fetch-market-data", *options, "--start", "2026-01-05", "--end", "2026-10-30", "--json"
        ).ok()
        before = {symbol: machine.bars(symbol) for symbol in symbols}
        for symbol, case in CASES.items():
            vendor.fault(case.fault, symbol, **case.args)
        ran = machine.run("fetch-market-data", *options, "--json")
        after = {symbol: machine.bars(symbol) for symbol in symbols}
        by_symbol = [{one["symbol"]: one for one in run.json["result"]["symbols"]} for run in (ran, first)]
        yield Outcome(ran.code, by_symbol[0], before, after, by_symbol[1], ran.err)


def test_the_request_is_partly_done(outcome: Outcome) -> None:
    assert outcome.code == 3
    assert "Traceback" not in outcome.err


def test_the_good_symbol_is_stored(outcome: Outcome) -> None:
    assert outcome.said[GOOD]["status"] == "stored"
    assert len(outcome.after[GOOD]) > len(outcome.before[GOOD])


@pytest.mark.parametrize("symbol", [name for name, case in CASES.items() if case.cause])
def test_a_refused_symbol_has_its_cause_and_keeps_its_rows(outcome: Outcome, symbol: str) -> None:
    said = outcome.said[symbol]
    assert said["status"] == "failed"
    assert said["error"]["cause"] == CASES[symbol].cause
    assert "\n" not in said["error"]["message"]
    assert said["error"]["retryable"] is (CASES[symbol].cause != "range_unavailable")
    assert outcome.after[symbol] == outcome.before[symbol]
    assert outcome.before[symbol]


@pytest.mark.parametrize("symbol", [name for name, case in CASES.items() if not case.cause])
def test_a_bad_row_is_rejected_and_the_rest_stored(outcome: Outcome, symbol: str) -> None:
    said, rule = outcome.said[symbol], CASES[symbol].rule
    assert (said["status"], said["error"]) == ("stored", None)
    assert (said["rows_rejected"] > 0) is (rule is not None)
    if rule:
        assert rule in said["note"]
    before, after = outcome.before[symbol], outcome.after[symbol]
    assert len(after) > len(before)
    assert after[: len(before)] != [] and set(before) <= set(after)
    lacking = len(outcome.after[GOOD]) - len(after)
    assert lacking == (0 if rule in (None, "duplicate", "future") else 1)


def refused(machine: Machine, vendor: Vendor, fault: str, **args: Any) -> tuple[int, dict[str, Any], list, list]:
    """A good symbol and a bad one, which had rows before."""
    machine.run("fetch-market-data", "-s", "BAD", "--period", "3mo").ok()
    before = machine.bars("BAD")
    vendor.fault(fault, "BAD", **args)
    ran = machine.run("fetch-market-data", "-s", "GOOD", "-s", "BAD", "--json", MARKETJOBS_RETRY__MAX_ATTEMPTS="1")
    bad = ran.json["result"]["symbols"][1]
    assert ran.json["result"]["symbols"][0]["status"] == "stored"
    assert machine.bars("GOOD")
    return ran.code, bad, before, machine.bars("BAD")


@pytest.mark.parametrize(
    ("fault", "args", "cause"),
    [
        ("status", {"code": 401}, "unauthorised"),
        ("status", {"code": 403}, "blocked"),
        ("consent", {}, "blocked"),
        ("redirect", {}, "blocked"),
        ("chart_error", {}, "symbol_delisted"),
        ("huge", {}, "malformed_answer"),
    ],
)
def test_one_refused_symbol(machine: Machine, vendor: Vendor, fault: str, args: dict[str, Any], cause: str) -> None:
    code, bad, before, after = refused(machine, vendor, fault, **args)
    assert (code, bad["error"]["cause"]) == (3, cause)
    assert after == before


def test_an_unknown_symbol_is_yahoos_own_word(machine: Machine) -> None:
    ran = machine.run("fetch-market-data", "-s", "NOSUCH1", "-s", "GOOD", "--json").ok(3)
    assert ran.json["result"]["symbols"][0]["error"] == {
        "cause": "symbol_unknown",
        "message": 'yahoo does not know NOSUCH1: "No data found, symbol may be delisted"',
        "retryable": False,
    }


def test_an_outage_never_looks_like_a_delisting(machine: Machine, vendor: Vendor) -> None:
    machine.run("fetch-market-data", "-s", "AAPL").ok()
    for fault, args in (("status", {"code": 404}), ("status", {"code": 500}), ("empty_result", {}), ("reset", {})):
        vendor.clear()
        vendor.fault(fault, "AAPL", **args)
        ran = machine.run("fetch-market-data", "-s", "AAPL", "--json", MARKETJOBS_RETRY__MAX_ATTEMPTS="1").ok(1)
        cause = ran.json["result"]["symbols"][0]["error"]["cause"]
        assert cause in ("provider_unavailable", "malformed_answer")
    assert machine.run("assets", "list", "--json").ok().json["assets"][0]["status"] == "active"


def test_a_retry_asks_only_for_what_failed(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("status", "BAD", times=1, code=503)
    ran = machine.run("fetch-market-data", "-s", "GOOD", "-s", "BAD", "--json").ok()
    assert ran.json["attempts"] == 2
    assert sorted(one.symbol for one in vendor.charts()) == ["BAD", "BAD", "GOOD"]


def test_a_broken_answer_at_first_leaves_no_asset(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("html", "AAPL")
    machine.run("fetch-market-data", "-s", "AAPL", MARKETJOBS_RETRY__MAX_ATTEMPTS="1").ok(1)
    assert machine.rows("SELECT * FROM asset") == []
