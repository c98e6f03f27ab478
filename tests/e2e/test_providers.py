"""`providers list` and `providers test`: what is left, what keeps a provider from being asked, and no key anywhere."""

from __future__ import annotations

import json
import re
from datetime import datetime

from processes import Machine
from vendor import Vendor

KEYS = ["k3y-that-nobody-may-see", "an0ther-k3y"]
YAHOO = "MARKETJOBS_PROVIDERS__YAHOO__"


def listed(machine: Machine, name: str = "yahoo", **variables: str) -> dict:
    found = machine.run("providers", "list", "--json", **variables).ok().json["providers"]
    return {one["name"]: one for one in found}[name]


def test_list_shows_what_is_left_and_sends_nothing(machine: Machine, vendor: Vendor) -> None:
    limits = {f"{YAHOO}RATE_LIMIT": '["100/s", "50/d", "60/day"]'}
    machine.run("fetch-market-data", "-s", "AAPL", "-s", "IBM", **limits).ok()
    asked = len(vendor.requests)
    yahoo = listed(machine, **limits)
    assert len(vendor.requests) == asked
    assert (yahoo["state"], yahoo["limits"], yahoo["failures"]) == ("ok", ["100/s", "50/d", "60/day"], 0)
    [budget] = yahoo["budgets"]
    left = {one["limit"]: one["left"] for one in budget["left"]}
    assert left.pop("100/s") >= 100 - asked, "a second later"
    assert left == {"50/d": 50 - asked, "60/day": 60 - asked}
    assert "bars" in yahoo["serves"]
    text = machine.run("providers", "list", **limits).ok().out
    assert re.search(rf"^yahoo +ok .*{50 - asked} of 50/d", text, re.MULTILINE), text


def test_a_hold_is_shown_until_when_and_why(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("status", times=1, code=429, retry_after="900")
    machine.run("fetch-market-data", "-s", "AAPL").ok(5)
    yahoo = listed(machine)
    assert yahoo["state"] == "held"
    assert "429" in yahoo["hold"]["why"] or "too many" in yahoo["hold"]["why"].lower()
    ahead = datetime.fromisoformat(yahoo["hold"]["until"]).timestamp() - datetime.now().timestamp()
    assert 800 < ahead <= 900
    assert re.search(r"^yahoo +held .*\d\d:\d\d:\d\d UTC", machine.run("providers", "list", "--utc").ok().out, re.M)
    said = machine.run("providers", "test", "yahoo", "--json").ok().json["providers"]
    assert [(one["name"], one["verdict"]) for one in said] == [("yahoo", "warning")]


def test_keys_have_budgets_of_their_own_and_are_named_by_their_place(machine: Machine, vendor: Vendor) -> None:
    keys = {f"MARKETJOBS_PROVIDERS__{name}__API_KEYS": json.dumps(KEYS) for name in ("COINMARKETCAP", "YAHOO")}
    budgets = listed(machine, "coinmarketcap", **keys)["budgets"]
    assert [one["key"] for one in budgets] == ["#1", "#2"]
    assert [one["left"] for one in budgets] == [
        [{"limit": "30/m", "left": 30}, {"limit": "10000/month", "left": 10_000}]
    ] * 2
    text = machine.run("providers", "list", **keys).ok().out
    assert len(re.findall(r"^coinmarketcap +ok .* #[12] ", text, re.MULTILINE)) == 2
    machine.run("fetch-market-data", "-s", "AAPL", **keys).ok()
    assert [one["key"] for one in listed(machine, **keys)["budgets"]] == [None], "a key that is not sent counts nothing"
    for command in (["providers", "list"], ["providers", "list", "--json"], ["providers", "test", "yahoo"]):
        ran = machine.run(*command, **keys)
        assert not any(key in ran.out + ran.err for key in KEYS), str(ran)
    for table in ("provider_budget", "provider_budget_use"):
        assert not any(key in str(dict(row)) for row in machine.rows(f"SELECT * FROM {table}") for key in KEYS)


def test_a_provider_that_wants_a_key_says_where_it_goes(machine: Machine) -> None:
    found = listed(machine, "coinmarketcap")
    assert (found["state"], found["why_not"]) == ("inactive", "not used: it wants a key, and has none")
    ran = machine.run("providers", "test", "coinmarketcap").ok(1)
    assert "providers.coinmarketcap.api_keys" in ran.out
    assert "MARKETJOBS_PROVIDERS__COINMARKETCAP__API_KEYS" in ran.out


def test_a_switched_off_provider_says_so_and_how_to_have_it(machine: Machine) -> None:
    off = {f"{YAHOO}ENABLED": "false"}
    yahoo = listed(machine, **off)
    assert (yahoo["state"], yahoo["why_not"], yahoo["fix"]) == (
        *("inactive", "switched off"),
        "providers.yahoo.enabled = true",
    )
    ran = machine.run("providers", "test", "yahoo", **off).ok(1)
    assert "providers.yahoo.enabled = true" in ran.out


def test_test_asks_each_and_says_what_to_do(machine: Machine, vendor: Vendor) -> None:
    off = {f"MARKETJOBS_PROVIDERS__{name}__ENABLED": "false" for name in ("BINANCE", "COINGECKO", "RSS")}
    said = machine.run("providers", "test", "--json", **off, **{f"{YAHOO}RATE_LIMIT": '["9/m"]'}).ok().json
    found = {one["name"]: one for one in said["providers"]}
    assert len(vendor.requests) == 1
    assert found["yahoo"]["found"] == "answers; budget left 8 of 9/m"
    assert found["recorded"]["found"] == "needs no network"
    assert found["binance"]["found"] == "switched off"
    away = {f"{YAHOO}BASE_URL": "http://127.0.0.1:9"}
    ran = machine.run("providers", "test", "yahoo", **away).ok(1)
    assert "provider_unavailable" in ran.out and "check the network" in ran.out
    assert "Traceback" not in ran.err


def test_an_unknown_provider(machine: Machine) -> None:
    machine.run("providers", "test", "nix").refused(2, "unknown provider 'nix'", "yahoo")


def test_six_outages_open_the_circuit_and_a_good_test_closes_it(machine: Machine, vendor: Vendor) -> None:
    away = {f"{YAHOO}BASE_URL": "http://127.0.0.1:9", f"{YAHOO}RATE_LIMIT": '["100/s"]'}
    for _ in range(6):
        ran = machine.run("providers", "test", "yahoo", **away)
    assert ran.code in (0, 1)
    yahoo = listed(machine)
    assert yahoo["state"] == "failing"
    assert yahoo["failures"] >= 5
    asked = len(vendor.requests)
    ran = machine.run("providers", "test", "yahoo").ok()
    assert "failed again and again" in ran.out and len(vendor.requests) == asked
    machine.write("UPDATE provider_breaker SET open_until = 1")
    assert listed(machine)["state"] == "probing"
    assert "answers" in machine.run("providers", "test", "yahoo").ok().out
    assert (listed(machine)["state"], len(vendor.requests)) == ("ok", asked + 1)
