"""The check that vendors answer, as a job: what it says of each, whom it does not ask, and what it comes to."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vendors_for_tests
from marketjobs import config
from marketjobs.domain.jobs import Job, JobState, JsonDict
from marketjobs.errors import InvalidInput, UnknownProvider
from marketjobs.providers import base
from marketjobs.services import attempts, jobs, vendors
from marketjobs.services.runtime import Runtime
from vendors_for_tests import Counter, First, Second, Small, Third

OTHERS = ("YAHOO", "BINANCE", "COINGECKO", "COINMARKETCAP", "ALPHAVANTAGE", "RSS")


async def probe(self: Small) -> None:
    await self._get("probe", symbol="X")


@pytest.fixture(autouse=True)
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    monkeypatch.setattr(sys, "path", [str(vendors_for_tests.installed(tmp_path / "plugins")), *sys.path])
    for cls in (First, Second, Third):
        monkeypatch.setattr(cls, "probe", probe)
    for known in (base.provider_names, base.provider_class):
        known.cache_clear()
    with Counter() as made:
        os.environ.update(vendors_for_tests.variables(made))
        os.environ.update({f"MARKETJOBS_PROVIDERS__{name}__ENABLED": "false" for name in OTHERS})
        for name in vendors_for_tests.NAMES:
            made.known[name, "probe"] = {"X": {}}
        yield made
    for known in (base.provider_names, base.provider_class):
        known.cache_clear()


@pytest.fixture
def limited(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """The same store, with few calls of the second a day and of the third a minute."""
    monkeypatch.setenv("MARKETJOBS_PROVIDERS__SECOND__RATE_LIMIT", '["50/s", "25/d"]')
    monkeypatch.setenv("MARKETJOBS_PROVIDERS__THIRD__RATE_LIMIT", '["4/m"]')
    _ = runtime.database
    made = Runtime(config.load(), patience_seconds=3.0)
    yield made
    made.close()


def check(runtime: Runtime, *names: str) -> tuple[Job, dict[str, JsonDict]]:
    job = attempts.execute(runtime, jobs.submit(runtime, "marketjobs.check_providers", {"names": list(names)}).id)
    assert job is not None and job.result is not None, job
    return job, {one["name"]: one for one in job.result["providers"]}


def test_all_are_asked_at_once_and_told_of(runtime: Runtime, counter: Counter) -> None:
    job, found = check(runtime)
    assert job.state is JobState.SUCCEEDED
    assert counter.counts() == {"first": 1, "second": 1, "third": 1}
    assert list(found) == sorted(found)
    assert list(found["first"]) == ["name", "verdict", "found", "fix", "seconds"]
    assert (found["first"]["verdict"], found["first"]["found"][:7]) == ("ok", "answers")
    assert 0 < found["first"]["seconds"] < 5
    assert (found["yahoo"]["verdict"], found["yahoo"]["found"]) == ("ok", "switched off")
    assert found["yahoo"]["seconds"] is None


def test_some_that_fail_are_partial_and_all_are_dead(runtime: Runtime, counter: Counter) -> None:
    counter.fault("second", 403)
    job, found = check(runtime)
    assert (job.state, job.error_cause) == (JobState.PARTIAL, "provider")
    assert job.error_message == "second: blocked: second: 403"
    assert (found["second"]["verdict"], found["third"]["verdict"]) == ("error", "ok")
    assert found["second"]["fix"]
    for name in ("first", "third"):
        counter.fault(name, 500)
    job, found = check(runtime)
    assert job.state is JobState.DEAD, "never tried again"
    assert (job.attempt, job.max_attempts) == (1, 1)
    assert found["first"]["found"].startswith("provider_unavailable")


def test_who_says_wait_has_not_failed_and_is_left_alone(runtime: Runtime, counter: Counter) -> None:
    counter.fault("first", 429, retry_after=60)
    job, found = check(runtime)
    assert (job.state, found["first"]["verdict"]) == (JobState.SUCCEEDED, "warning")
    began = time.monotonic()
    job, found = check(runtime, "first")
    assert time.monotonic() - began < 1.5, "nobody waits for the hold"
    assert (job.state, found["first"]["verdict"]) == (JobState.SUCCEEDED, "warning")
    assert "not asked: held for" in found["first"]["found"]
    assert len(counter.asked("first")) == 1


def test_an_open_circuit_is_told_for_as_long_as_it_is_open(runtime: Runtime, counter: Counter) -> None:
    gate = vendors.gate(runtime, "first")
    for _ in range(5):
        gate.failed("no answer")
    with runtime.database.write() as tx:
        tx.run("UPDATE provider_breaker SET open_until = {now} + 100")
    job, found = check(runtime)
    assert (job.state, found["first"]["verdict"]) == (JobState.PARTIAL, "error")
    assert "not asked: it failed again and again (no answer)" in found["first"]["found"]
    assert counter.asked("first") == []
    with runtime.database.write() as tx:
        tx.run("UPDATE provider_breaker SET open_until = 1")
    job, found = check(runtime)
    assert (job.state, found["first"]["verdict"]) == (JobState.SUCCEEDED, "ok"), "a half-open one is probed, and closes"
    assert len(counter.asked("first")) == 1


def test_calls_that_are_few_a_day_are_spared_unless_named(limited: Runtime, counter: Counter) -> None:
    job, found = check(limited)
    assert (job.state, found["second"]["verdict"]) == (JobState.SUCCEEDED, "ok")
    assert found["second"]["found"] == "not asked, to spare its calls; left 50 of 50/s, 25 of 25/d"
    assert found["second"]["seconds"] is None
    assert counter.asked("second") == []
    check(limited, "second")
    assert len(counter.asked("second")) == 1
    assert "24 of 25/d" in check(limited)[1]["second"]["found"]
    for _ in range(24):
        vendors.gate(limited, "second").spend()
    assert check(limited)[1]["second"]["verdict"] == "warning"


def test_calls_that_jobs_are_using_are_left_to_them(limited: Runtime, counter: Counter) -> None:
    for _ in range(6):
        _, found = check(limited)
    assert len(counter.asked("third")) == 3, "half of a minute's, and the one that crosses it"
    assert "its calls are in use" in found["third"]["found"]
    assert len(counter.asked("first")) == 6


def test_a_plug_in_that_breaks_hides_nobody(
    runtime: Runtime, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Small) -> None:
        raise ZeroDivisionError("a-secret-detail")

    monkeypatch.setattr(Second, "probe", broken)
    job, found = check(runtime)
    assert job.state is JobState.PARTIAL
    assert found["second"]["found"] == "internal_error: ZeroDivisionError"
    assert found["third"]["verdict"] == "ok"


def test_overlapping_checks_join(runtime: Runtime) -> None:
    first = jobs.submit(runtime, "marketjobs.check_providers", {})
    assert jobs.submit(runtime, "marketjobs.check_providers", {"names": None}).id == first.id
    named = jobs.submit(runtime, "marketjobs.check_providers", {"names": ["third", "first"]})
    assert jobs.submit(runtime, "marketjobs.check_providers", {"names": ["first", "third", "first"]}).id == named.id
    assert named.id != first.id


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [({"names": ["nix"]}, UnknownProvider), ({"names": "first"}, InvalidInput), ({"name": ["first"]}, InvalidInput)],
)
def test_what_can_not_be_right_is_refused(runtime: Runtime, arguments: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        jobs.submit(runtime, "marketjobs.check_providers", arguments)


def test_who_is_named_and_switched_off_is_an_error(runtime: Runtime) -> None:
    job, found = check(runtime, "yahoo")
    assert (job.state, found["yahoo"]["verdict"]) == (JobState.DEAD, "error")
    assert found["yahoo"]["fix"] == "providers.yahoo.enabled = true"
