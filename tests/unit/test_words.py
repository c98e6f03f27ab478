"""What people are told, word for word: how long, when, how much, what to do."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import time_machine

from marketjobs.commands.data import figure
from marketjobs.commands.jobs import _job_row
from marketjobs.domain.assets import AssetClass, Listing
from marketjobs.domain.jobs import Job, JobState
from marketjobs.domain.moments import clock, lasting
from marketjobs.errors import Blocked, NoData, ProviderUnavailable, RateLimited, Unauthorised
from marketjobs.services.identity import Named, by_our_symbol
from marketjobs.services.providers import _fix
from marketjobs.services.views import status_json
from marketjobs.services.watch import describe

NOON = 1_795_262_400.0  # 2026-11-21 12:00:00 UTC

WAITING = Job(
    id="0b9c6a1e-0000-4000-8000-0000deadbeef",
    task="marketjobs.fetch_news",
    queue="news",
    arguments={"symbols": []},
    attempt=1,
    max_attempts=3,
    token=1,
    submitted_at=NOON,
    run_at=NOON,
    state=JobState.WAITING,
)


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.42, "0.4 s"), (99, "99 s"), (200, "3 min 20 s"), (24_226, "6 h 43 min"), (300_000, "83 h 20 min")],
)
def test_how_long(seconds: float, told: str) -> None:
    assert lasting(seconds) == told


def test_a_wait_until_tomorrow_says_the_day_and_one_of_today_the_time() -> None:
    with time_machine.travel(NOON, tick=False):
        assert clock(NOON + 60) == "12:01:00"
        assert describe(replace(WAITING, run_at=NOON + 24_226)) == "waits until 18:43:46 (6 h 43 min): its time"
        late = describe(replace(WAITING, run_at=NOON + 61_200, waits_for="25/day is used up"))
        assert late == "waits until 2026-11-22 05:00:00 (17 h 0 min): 25/day is used up"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1.403e12, "1.403 T"),
        (2.5e9, "2.5 B"),
        (16_200_000, "16.2 M"),
        (164_000, "164,000"),
        (1234.5, "1,234"),
        (31.5, "31.5"),
        (0.0004567, "0.0004567"),
        (-7.25e9, "-7.25 B"),
        (1.2e17, "120,000 T"),
        ("2026-09-30", "2026-09-30"),
    ],
)
def test_how_much(value: float | str, told: str) -> None:
    assert figure(value) == told


@pytest.mark.parametrize(
    ("kind", "fix"),
    [
        (Blocked, "wait, or lower providers.yahoo.rate_limit"),
        (ProviderUnavailable, "check the network, [network] proxy and ca_bundle"),
        (Unauthorised, "look at the key and its plan"),
    ],
)
def test_what_to_do_about_a_vendor(kind: Any, fix: str) -> None:
    assert fix in _fix("yahoo", kind("it said no", provider="yahoo"))


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({"symbols": [], "feeds": ["https://a.example/x"]}, "https://a.example/x"),
        (
            {"symbols": ["A", "B"], "feeds": ["https://a.example/x", "https://b.example/x"]},
            "A B https://a.example/x +1",
        ),
        ({"names": ["yahoo", "rss"]}, "yahoo rss"),
        ({"names": None}, ""),
    ],
)
def test_a_list_of_jobs_shows_feeds_and_providers_too(arguments: dict[str, Any], shown: str) -> None:
    assert _job_row(status_json(replace(WAITING, arguments=arguments)), utc=True)[2] == shown


def test_what_a_vendor_says_of_its_own_number_names_the_symbol() -> None:
    xrp, listing = Named("XRP-USD", None, AssetClass.CRYPTO, {}), Listing("7", "USD")
    told = by_our_symbol(xrp, listing, NoData("coinmarketcap has no price of 7 now", provider="x", symbol="7"))
    assert isinstance(told, NoData)
    assert (told.message, told.symbol, told.provider) == (
        "XRP-USD: coinmarketcap has no price of 7 now",
        "XRP-USD",
        "x",
    )
    for same in (
        NoData("yahoo has no price of XRP-USD", provider="x", symbol="XRP-USD"),
        RateLimited("too many requests", provider="x", symbol="7", retry_after_seconds=5.0),  # is of all symbols
    ):
        assert by_our_symbol(xrp, listing, same) is same
