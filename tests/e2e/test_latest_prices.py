"""Latest prices by the installed command, from vendors that are plug-ins: exit codes, tables, JSON, who was asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vendors_for_tests
from processes import TESTS, Machine, eventually, machine_of
from vendors_for_tests import Counter

KEYS = ["symbol", "status", "provider", "price", "currency", "at", "change_percent", "error", "note"]


@pytest.fixture
def counter() -> Iterator[Counter]:
    with Counter() as made:
        made.known["first", "quotes"] = {
            "AAPL": {"price": 190.5, "at": time.time() - 90, "currency": "USD", "change_percent": -1.25},
            "IBM": {"price": 1500.0, "at": time.time() - 90, "currency": "USD", "change_percent": 0.5},
        }
        yield made


@pytest.fixture
def machine(tmp_path: Path, counter: Counter) -> Iterator[Machine]:
    plugins = vendors_for_tests.installed(tmp_path / "plugins")
    found = vendors_for_tests.variables(counter) | {"PYTHONPATH": f"{TESTS}:{plugins}"}
    with machine_of(tmp_path / "machine", **found) as made:
        yield made


def test_prices_come_and_are_shown(machine: Machine) -> None:
    ran = machine.run("update-prices", "-s", "AAPL,IBM", "--json").ok()
    apple, ibm = ran.json["result"]["symbols"]
    assert list(apple) == KEYS
    assert (apple["status"], apple["price"], apple["provider"], ibm["price"]) == ("stored", 190.5, "first", 1500.0)
    shown = machine.run("quote", "aapl", "IBM", "--json").ok().json["quotes"]
    assert [(one["symbol"], one["price"], one["provider"]) for one in shown] == [
        ("AAPL", 190.5, "first"),
        ("IBM", 1500.0, "first"),
    ]
    assert machine.run("update-prices", "--json").ok().json["result"]["symbols"][1]["status"] == "up_to_date"
    text = machine.run("quote", "AAPL").ok().out
    for word in ("190.5", "-1.25 %", "USD", "first"):
        assert word in text
    terminal = machine.terminal("quote", "AAPL", "IBM")
    assert terminal.wait() == 0
    seen = terminal.text
    assert "1,500.00" in seen
    assert "\x1b[31m-1.25 %" in seen
    assert "\x1b[32m+0.50 %" in seen


def test_who_was_asked_in_vain_is_told(machine: Machine, counter: Counter) -> None:
    counter.fault("first", 403)
    counter.known["second", "quotes"] = {"AAPL": {"price": 190.0, "at": time.time(), "currency": "USD"}}
    ran = machine.run("update-prices", "-s", "AAPL").ok()
    assert "first: blocked: first: 403" in ran.out
    job = ran.out.split()[1]
    document = machine.run("result", job, "--json").ok().json["result"]["symbols"][0]
    assert document["provider"] == "second"
    assert document["asked"] == [{"provider": "first", "cause": "blocked", "message": "first: 403"}]
    assert machine.run("status", job, "--json").ok().json["asked"] == [
        {"provider": "first", "cause": "blocked", "message": "first: 403", "symbols": ["AAPL"]}
    ]
    text = machine.run("status", job).ok().out
    assert "not by first" in text
    assert "AAPL: blocked: first: 403" in text


def test_some_that_fail_are_partly_done(machine: Machine) -> None:
    ran = machine.run("update-prices", "-s", "AAPL", "-s", "AAPLE").ok(3)
    assert "symbol_unknown" in ran.out
    assert "did you mean AAPL?" in ran.out


def test_a_name_of_several_things_is_for_a_person_to_settle(machine: Machine, counter: Counter) -> None:
    two = [{"id": "uniswap", "symbol": "UNI", "rank": 20}, {"id": "unicorn", "symbol": "UNI", "rank": 30}]
    counter.known["second", "lookup"] = {"UNI-USD": two}
    ran = machine.run("update-prices", "-s", "UNI-USD", "--provider", "second").ok(2)
    assert "marketjobs assets alias UNI-USD second uniswap" in ran.out
    counter.known["second", "quotes"] = {"unicorn": {"price": 3.0, "at": time.time(), "currency": "USDT"}}
    machine.run("assets", "alias", "UNI-USD", "second", "unicorn", "--currency", "USDT").ok()
    ran = machine.run("update-prices", "-s", "UNI-USD", "--provider", "second", "--json").ok()
    [said] = ran.json["result"]["symbols"]
    assert (said["price"], said["currency"]) == (3.0, "USDT")
    assert "unicorn at second" in machine.run("asset", "UNI-USD").ok().out
    machine.run("update-prices", "-s", "unicorn").ok(1)
    machine.run("quote", "unicorn").refused(4, "UNICORN is second's name of UNI-USD")
    ran = machine.run("assets", "alias", "UNI-USD", "second", "--remove").ok()
    assert "UNI-USD is no longer unicorn at second" in ran.out
    machine.run("assets", "alias", "UNI-USD", "second", "--remove").refused(4, "no name of UNI-USD at second is stored")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["alias", "UNI-USD", "nobody", "uniswap"], 2, "unknown provider"),
        (["alias", "UNI-USD", "second"], 2, "give its NAME there, or --remove"),
        (["alias", "UNI-USD", "second", "uniswap", "--remove"], 2, "takes no NAME"),
        (["alias", "AAPLE", "second", "uniswap"], 4, "no such asset: AAPLE; did you mean AAPL?"),
        (["alias", "UNI-USD", "second", " "], 2, "printable"),
        (["alias", "UNI-USD", "second", "uniswap,unicorn"], 2, "no comma"),
        (["alias", "UNI-USD", "second", "uniswap", "--currency", "US$"], 2, "is no currency"),
        (["alias", "UNI-USD", "second", "uniswap", "--from", "2999-01-01"], 2, "future"),
        (["rename", "AAPL", "APL", "--from", "2999-01-01"], 2, "future"),
        (["rename", "AAPL", "APL", "--from", "soon"], 2, "soon"),
    ],
)
def test_names_that_can_not_be_right(machine: Machine, words: list[str], code: int, told: str) -> None:
    machine.run("assets", "add", "AAPL").ok()
    machine.run("assets", *words).refused(code, told)


def test_a_renamed_asset_keeps_its_price_and_is_asked_for_by_its_new_name(machine: Machine, counter: Counter) -> None:
    machine.run("update-prices", "-s", "AAPL").ok()
    machine.run("assets", "rename", "AAPL", "APL", "--from", "2026-01-05").ok()
    assert machine.run("quote", "APL", "--json").ok().json["quotes"][0]["price"] == 190.5
    machine.run("quote", "AAPL").refused(4, "AAPL was renamed APL on 2026-01-05")
    counter.known["first", "quotes"]["APL"] = {"price": 191.0, "at": time.time(), "currency": "USD"}
    [said] = machine.run("update-prices", "--json").ok().json["result"]["symbols"]
    assert (said["symbol"], said["price"]) == ("APL", 191.0)
    assert counter.asked("first")[-1] == {"symbols": "APL"}
    shown = machine.run("asset", "APL", "--json").ok().json["aliases"]
    assert [(one["provider"], one["symbol"], one["valid_to"]) for one in shown] == [
        ("first", "AAPL", "2026-01-05"),
        ("marketjobs", "AAPL", "2026-01-05"),
        ("first", "APL", None),
    ]


def test_a_price_that_is_not_there_yet(machine: Machine) -> None:
    machine.run("assets", "add", "AAPL").ok()
    ran = machine.run("quote", "AAPL").ok()
    assert "marketjobs update-prices -s AAPL" in ran.err
    machine.run("quote", "AAPLE").refused(4, "nothing is stored of AAPLE", "did you mean AAPL?")


def test_what_is_not_stored_names_the_command_that_gets_it(machine: Machine) -> None:
    machine.run("update-prices", "-s", "AAPL").ok()
    for look, get in {"quote": "update-prices", "news": "fetch-news", "prices": "fetch-market-data"}.items():
        assert f"  try: marketjobs {get} -s NOPE\n" in machine.run(look, "NOPE").refused(4, "nothing is stored").err
    told = "  try: marketjobs asset AAPL, or, if AAPLL is right, marketjobs fetch-market-data -s AAPLL"
    assert told in machine.run("asset", "AAPLL").refused(4, "did you mean AAPL?").err
    ran = machine.run("quote", "AAPL", "NOPE").ok(3)
    assert "190.5" in ran.out
    assert "nothing is stored of NOPE" in ran.err
    assert "marketjobs update-prices -s NOPE" in ran.err
    document = machine.run("quote", "NOPE", "AAPL", "--json").ok(3).json
    assert [one["symbol"] for one in document["quotes"]] == ["AAPL"]
    assert [(one["symbol"], one["cause"]) for one in document["failed"]] == [("NOPE", "asset_not_found")]
    machine.run("quote", "NOPE", "NADA").refused(4, "nothing is stored of NOPE")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-s", "A B"], "character"),
        (["--provider", "nobody"], "unknown provider"),
        (["--provider", "recorded"], "recorded has no quotes"),
        ([], "no asset is active"),
    ],
)
def test_what_can_not_be_right_is_refused(machine: Machine, words: list[str], told: str) -> None:
    symbols = [] if "-s" in words or not words else ["-s", "AAPL"]
    machine.run("update-prices", *symbols, *words).refused(2, told)


def test_a_job_that_must_wait_goes_on_by_itself(machine: Machine, counter: Counter) -> None:
    for name in ("first", "second", "third"):
        counter.fault(name, 429, retry_after=3.0)
    machine.worker("-c", "1")
    job = machine.run("update-prices", "-s", "AAPL", "--no-wait", "--json").ok().json["job_id"]
    eventually(lambda: machine.job(job)["state"] == "waiting", "it waits")
    assert machine.job(job)["attempt"] == 0
    for name in ("first", "second", "third"):
        counter.heal(name)
    assert machine.run("result", job, "--wait", "--json").ok().json["result"]["symbols"][0]["price"] == 190.5
    counts = counter.counts()
    assert counts["first"] == 2
    assert counts["second"] == counts["third"] == 1
