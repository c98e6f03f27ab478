"""Stories, profiles and search by the installed command, from vendors that are plug-ins."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vendors_for_tests
from processes import TESTS, Machine, machine_of
from vendors_for_tests import Counter

NOW = time.time()
STORIES = [
    {"title": "Apple opens a shop", "url": "https://n.example/1", "published_at": NOW - 60, "symbols": ["AAPL"]},
    {"title": "Rates stay", "url": "https://n.example/2", "published_at": NOW - 30},
]


@pytest.fixture
def counter() -> Iterator[Counter]:
    with Counter() as made:
        made.known["first", "news"] = lambda query: {"stories": STORIES}
        made.known["first", "profile"] = {
            "AAPL": {
                "facts": {"name": "Apple Inc.", "asset_class": "equity", "currency": "USD"},
                "sector": "Technology",
                "summary": "It makes telephones.",
                "figures": {"market_cap": 3.2e12, "price_to_earnings": 31.5},
            }
        }
        made.known["first", "quotes"] = {"AAPL": {"price": 190.5, "at": NOW, "currency": "USD"}}
        made.known["first", "search"] = {"apple": [{"id": "AAPL", "symbol": "AAPL", "name": "Apple Inc."}]}
        yield made


@pytest.fixture
def machine(tmp_path: Path, counter: Counter) -> Iterator[Machine]:
    plugins = vendors_for_tests.installed(tmp_path / "plugins")
    found = vendors_for_tests.variables(counter) | {"PYTHONPATH": f"{TESTS}:{plugins}"}
    with machine_of(tmp_path / "machine", **found) as made:
        yield made


def test_news_come_and_are_shown(machine: Machine) -> None:
    ran = machine.run("fetch-news", "-s", "AAPL", "--json").ok()
    [said] = ran.json["result"]["symbols"]
    assert [said[f"stories_{name}"] for name in ("new", "changed", "same")] == [2, 0, 0]
    shown = machine.run("news", "--json").ok().json["stories"]
    assert [(one["title"], one["symbols"]) for one in shown] == [
        ("Rates stay", ["AAPL"]),
        ("Apple opens a shop", ["AAPL"]),
    ]
    assert "Apple opens a shop" in machine.run("news", "aapl", "-n", "5").ok().out
    assert "up_to_date" in machine.run("fetch-news").ok().out
    machine.run("news", "NOSUCH").refused(4, "nothing is stored of NOSUCH")
    ran = machine.run("fetch-news", "--feed", "file:///etc/passwd")
    ran.refused(2, "no address of a feed")
    ran = machine.run("fetch-news", "--feed", "https://host.example/feed?token=t0pSecret")
    ran.refused(2, "stands in the settings only")
    assert "t0pSecret" not in ran.out + ran.err


def test_an_asset_is_shown_with_all_that_is_known(machine: Machine) -> None:
    ran = machine.run("fetch-asset-info", "-s", "AAPL").ok()
    assert "Apple Inc." in ran.out
    machine.run("update-prices", "-s", "AAPL").ok()
    machine.run("fetch-news", "-s", "AAPL").ok()
    text = machine.run("asset", "AAPL").ok().out
    for words in ("190.5 USD", "Technology", "It makes telephones.", "price to earnings 31.5", "2 stories", "by first"):
        assert words in text
    document = machine.run("asset", "AAPL", "--json").ok().json
    assert document["profile"]["figures"]["market_cap"] == 3.2e12
    assert (document["quote"]["price"], document["stories"]) == (190.5, 2)


def test_search_asks_those_that_can(machine: Machine, counter: Counter) -> None:
    [found] = machine.run("search", "apple", "--json").ok().json["matches"]
    assert (found["symbol"], found["name"], found["provider"]) == ("AAPL", "Apple Inc.", "first")
    assert "Apple Inc." in machine.run("search", "apple").ok().out
    counter.fault("first", 503)
    machine.run("search", "apple").refused(1, "first: 503")


def test_news_run_in_a_worker_of_their_own_queue(machine: Machine) -> None:
    machine.worker("-c", "1", "-Q", "news")
    job = machine.run("fetch-news", "-s", "AAPL", "--no-wait", "--json").ok().json["job_id"]
    assert machine.run("result", job, "--wait", "--json").ok().json["state"] == "succeeded"
