"""Bars when one vendor fails, on both stores: who steps in, which rows may stand beside others, what is asked again."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import vendors_for_tests
from marketjobs import config
from marketjobs.config import Settings
from marketjobs.domain.intervals import Interval, stamp_of
from marketjobs.domain.jobs import Job, JobState, JsonDict
from marketjobs.errors import Unsupported
from marketjobs.providers import base
from marketjobs.services import attempts, jobs, universe
from marketjobs.services.runtime import Runtime
from marketjobs.storage import bars
from stores import asset_record, on_both_stores
from vendors_for_tests import Counter

__all__ = ["on_both_stores"]

TODAY = datetime.now(UTC).date()
DAYS = 30


@pytest.fixture(autouse=True)
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    monkeypatch.setattr(sys, "path", [str(vendors_for_tests.installed(tmp_path / "plugins")), *sys.path])
    for known in (base.provider_names, base.provider_class):
        known.cache_clear()
    with Counter() as made:
        os.environ.update(vendors_for_tests.variables(made))
        yield made
    for known in (base.provider_names, base.provider_class):
        known.cache_clear()


def day(back: int) -> int:
    return stamp_of(TODAY - timedelta(days=back))


def close(back: int) -> float:
    return 100.0 + (DAYS - back) * 0.5


def row(back: int, factor: float = 1.0, adjusted: float | None = None) -> list[Any]:
    price = close(back) * factor
    return [day(back), price, price + 1, price - 1, price, adjusted, 1000]


def knows(
    counter: Counter, vendor: str, rows: list[list[Any]], actions: list[list[Any]] | None = None, **facts: str
) -> None:
    """A vendor's history of AAPL (or of whatever it is asked for)."""
    answer = {"rows": rows, "actions": actions or [], "facts": {"currency": "USD"} | facts}
    counter.known[vendor, "bars"] = lambda query: answer


def history(newest: int = 1, factor: float = 1.0, oldest: int = DAYS) -> list[list[Any]]:
    return [row(back, factor) for back in range(oldest, newest - 1, -1)]


def fetch(runtime: Runtime, symbol: str = "AAPL", **more: Any) -> Job:
    job = jobs.submit(runtime, "marketjobs.fetch_market_data", {"symbols": [symbol], "period": "1mo"} | more)
    after = attempts.execute(runtime, job.id)
    assert after is not None
    return after


def said(job: Job) -> JsonDict:
    assert job.result is not None, job
    [one] = job.result["symbols"]
    return one


def stored(runtime: Runtime, symbol: str = "AAPL") -> dict[int, tuple[float, str]]:
    """Days back -> close and supplier."""
    with runtime.database.read() as tx:
        rows = bars.read(tx, symbol, Interval.DAY_1)
    return {
        (TODAY - date.fromordinal(719_163 + one.bar.ts // 86_400)).days: (one.bar.close, one.provider) for one in rows
    }


def suppliers(runtime: Runtime, symbol: str = "AAPL") -> set[str]:
    return {name for _, name in stored(runtime, symbol).values()}


# -- what is of something else --------------------------------------------------------------------------------


def spiked(rows: list[list[Any]], back: int) -> list[list[Any]]:
    return [[one[0], *(price * 100 for price in one[1:5]), *one[5:]] if one[0] == day(back) else one for one in rows]


@pytest.mark.parametrize(
    "rows",
    [history(factor=100.0), spiked(history(), 4), spiked(history(), 1)],
    ids=["all", "a stored one", "a new one"],
)
def test_a_price_a_hundred_times_off_is_never_stored_over_good_data(
    runtime: Runtime, counter: Counter, rows: list[list[Any]]
) -> None:
    knows(counter, "first", history(newest=3))
    fetch(runtime)
    before = stored(runtime)
    knows(counter, "first", rows)
    for name in ("second", "third"):
        counter.fault(name, 404)
    job = fetch(runtime)
    # Nobody is asked again: it would bring the same.  What the others did not know is not what a person is told.
    assert (job.state, job.error_cause) == (JobState.DEAD, "data_rejected")
    assert stored(runtime) == before
    forced = said(fetch(runtime, force=True))
    assert (forced["status"], forced["provider"]) == ("stored", "first")


def test_a_split_explains_a_jump(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", history(newest=3))
    fetch(runtime)
    knows(counter, "first", history(factor=100.0), [[day(2), "split", 0.01]])
    assert said(fetch(runtime))["rows_changed"] == len(history(newest=3))


def of_another_company(newest: int = 1) -> list[list[Any]]:
    """At prices like AAPL's, with days of its own."""
    return [row(back, 1 + 0.1 * math.sin(back * back)) for back in range(DAYS, newest - 1, -1)]


@pytest.mark.parametrize("interval", ["1d", "1h"])
def test_another_company_s_history_never_replaces_the_stored_one(
    runtime: Runtime, counter: Counter, interval: str
) -> None:
    knows(counter, "first", history(newest=3), name="Apple Inc.")
    fetch(runtime, interval=interval)
    before = bars_of(runtime, "AAPL", interval)
    universe.rename(runtime, "AAPL", "AAPLX", (TODAY - timedelta(days=2)).isoformat())
    knows(counter, "first", of_another_company(), [[day(9), "dividend", 0.5]], name="Another Inc.")
    for name in ("second", "third"):
        counter.fault(name, 404)
    job = fetch(runtime, "AAPLX", interval=interval)
    assert (job.state, job.error_cause) == (JobState.DEAD, "data_rejected")
    told = said(job)["error"]["message"]
    assert "AAPLX looks like another series than the one stored" in told
    assert "assets rename AAPLX" in told
    assert bars_of(runtime, "AAPLX", interval) == before
    kept = asset_record(runtime.database, "AAPLX")
    assert kept is not None
    assert kept.name == "Apple Inc."
    forced = said(fetch(runtime, "AAPLX", interval=interval, force=True))
    assert (forced["status"], forced["rows_changed"] > 20) == ("stored", True)


def bars_of(runtime: Runtime, symbol: str, interval: str) -> list[float]:
    with runtime.database.read() as tx:
        return [one.bar.close for one in bars.read(tx, symbol, Interval(interval))]


# -- who steps in ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "cause"),
    [(429, "rate_limited"), (403, "blocked"), (503, "provider_unavailable"), (404, "symbol_unknown")],
)
def test_another_begins_a_series_where_the_first_fails(
    runtime: Runtime, counter: Counter, status: int, cause: str
) -> None:
    counter.fault("first", status)
    knows(counter, "second", history())
    job = fetch(runtime)
    assert job.state is JobState.SUCCEEDED
    assert (said(job)["status"], said(job)["provider"]) == ("stored", "second")
    assert [(one["provider"], one["cause"]) for one in said(job)["asked"]] == [("first", cause)]
    assert suppliers(runtime) == {"second"}


def test_nothing_is_said_where_the_first_answered(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", history())
    assert "asked" not in said(fetch(runtime))
    assert counter.counts() == {"first": 1}


def test_who_can_not_do_it_is_passed_by(runtime: Runtime, counter: Counter) -> None:
    counter.fault("first", 503)
    job = fetch(runtime, interval="1h", period="5d")
    assert (job.state, job.error_cause) == (JobState.WAITING, "provider_unavailable")
    assert set(counter.counts()) == {"first"}
    with pytest.raises(Unsupported, match="first has no 1wk bars"):
        fetch(runtime, interval="1wk")


def test_a_class_that_nobody_serves_fails_alone(runtime: Runtime, counter: Counter) -> None:
    vars(runtime.settings.chains)["crypto"] = ["recorded"]
    knows(counter, "first", history())
    job = fetch(runtime, symbols=["BTC-USD", "AAPL"])
    assert job.result is not None
    assert job.state is JobState.PARTIAL
    coin, share = job.result["symbols"]
    assert (coin["error"]["cause"], share["status"]) == ("unsupported", "stored")
    with pytest.raises(Unsupported, match="recorded has no crypto"):
        fetch(runtime, "BTC-USD")


def test_a_job_waits_only_when_everybody_must_be_waited_for(runtime: Runtime, counter: Counter) -> None:
    for name, seconds in (("first", 300.0), ("second", 100.0), ("third", 200.0)):
        counter.fault(name, 429, retry_after=seconds)
    job = fetch(runtime)
    assert (job.state, job.attempt) == (JobState.WAITING, 0)
    with runtime.database.read() as tx:
        assert 90 < job.run_at - tx.now() < 101


def test_a_named_provider_is_the_only_one_asked(runtime: Runtime, counter: Counter) -> None:
    counter.fault("first", 503)
    knows(counter, "second", history())
    assert fetch(runtime, provider="first").state is JobState.WAITING
    assert set(counter.counts()) == {"first"}


# -- whose rows may stand beside whose ------------------------------------------------------------------------


def begun_by_the_first(runtime: Runtime, counter: Counter, newest: int = 10) -> None:
    knows(counter, "first", history(newest))
    fetch(runtime)
    assert suppliers(runtime) == {"first"}
    counter.fault("first", 503)


def test_another_extends_a_series_and_leaves_the_rows_of_the_first_alone(runtime: Runtime, counter: Counter) -> None:
    begun_by_the_first(runtime, counter)
    knows(counter, "second", [row(back, 1.00001, adjusted=50.0) for back in range(DAYS, 0, -1)])
    job = fetch(runtime)
    assert said(job)["provider"] == "second"
    found = stored(runtime)
    assert found[10] == (close(10), "first")
    assert {found[back][1] for back in range(9, 0, -1)} == {"second"}
    with runtime.database.read() as tx:
        assert {one.bar.adj_close for one in bars.read(tx, "AAPL", Interval.DAY_1)} == {None}


@pytest.mark.parametrize(
    ("rows", "actions", "told"),
    [
        (history(factor=1.01), [], "is not what is stored"),
        (history(factor=0.5), [], "is not what is stored"),
        (history(oldest=12), [], "bars in common are too few"),
        (history(), [[day(5), "split", 4.0]], "a split of 4"),
    ],
)
def test_another_basis_is_never_mixed_in(
    runtime: Runtime, counter: Counter, rows: list[list[Any]], actions: list[list[Any]], told: str
) -> None:
    begun_by_the_first(runtime, counter)
    before = stored(runtime)
    knows(counter, "third", rows, actions)
    counter.fault("second", 503)
    job = fetch(runtime)
    assert (job.state, job.error_cause) == (JobState.WAITING, "provider_unavailable")
    assert stored(runtime) == before
    counter.fault("first", 404)
    counter.fault("second", 404)
    ended = said(fetch(runtime, period="3mo"))
    assert ended["error"]["cause"] == "symbol_delisted"
    assert told in ended["asked"][-1]["message"]
    assert stored(runtime) == before


def test_prices_as_traded_serve_no_range_that_a_later_split_touches(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", history(10), [[day(12), "split", 2.0]])
    fetch(runtime)
    counter.fault("first", 503)
    knows(counter, "second", history())
    counter.fault("third", 404)
    # The tail overlaps the five bars before it, which the split touches.
    job = fetch(runtime)
    assert job.error_cause == "provider_unavailable"
    assert counter.asked("second", "bars") == []
    assert stored(runtime)[10] == (close(10), "first")


def test_prices_as_traded_with_a_step_may_hide_a_split(runtime: Runtime, counter: Counter) -> None:
    counter.fault("first", 404)
    counter.fault("third", 404)
    knows(counter, "second", [row(back, 2.0 if back > 9 else 1.0) for back in range(DAYS, 0, -1)])
    job = fetch(runtime)
    assert job.state is JobState.DEAD
    assert "may be a split" in said(job)["asked"][1]["message"]
    assert asset_record(runtime.database, "AAPL") is None


def test_a_coin_in_a_coin_for_dollars_may_extend_one_in_dollars(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", history(10))
    fetch(runtime, "BTC-USD")
    counter.fault("first", 503)
    counter.known["second", "lookup"] = lambda query: [{"id": "bitcoin", "symbol": "BTC", "class": "crypto"}]
    knows(counter, "second", history(factor=1.01), currency="USDT")
    one = said(fetch(runtime, "BTC-USD"))
    assert (one["status"], one["provider"]) == ("stored", "second")
    assert counter.asked("second", "bars")[0]["symbol"] == "bitcoin"
    assert suppliers(runtime, "BTC-USD") == {"first", "second"}
    assert (asset_record(runtime.database, "BTC-USD") or pytest.fail("none")).currency == "USD"
    # Once it is back the first has the say: its prices replace the others', and nothing else is asked for again.
    counter.heal("first")
    knows(counter, "first", history())
    again = said(fetch(runtime, "BTC-USD"))
    assert "9 bars of others are first's now" in again["note"]
    assert "restated" not in again["note"]
    assert stored(runtime, "BTC-USD") == {back: (close(back), "first") for back in range(DAYS, 0, -1)}


def test_bars_in_pence_are_not_mixed_with_bars_in_pounds(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", history(10), currency="GBp")
    fetch(runtime)
    counter.fault("first", 503)
    knows(
        counter,
        "second",
        [[stamp, *(price / 100 for price in prices), adj, volume] for stamp, *prices, adj, volume in history()],
        currency="GBP",
    )
    assert said(fetch(runtime))["status"] == "stored"
    assert stored(runtime)[1] == (pytest.approx(close(1)), "second")
    assert (asset_record(runtime.database, "AAPL") or pytest.fail("none")).currency == "GBp"


def test_bars_in_another_currency_are_refused(runtime: Runtime, counter: Counter) -> None:
    begun_by_the_first(runtime, counter)
    counter.fault("first", 404)
    counter.fault("third", 404)
    knows(counter, "second", history(), currency="EUR")
    job = fetch(runtime)
    assert job.error_cause == "data_rejected"
    assert suppliers(runtime) == {"first"}


# -- when the first is back -----------------------------------------------------------------------------------


def test_rows_of_another_are_asked_for_again_when_the_first_is_back(runtime: Runtime, counter: Counter) -> None:
    begun_by_the_first(runtime, counter)
    knows(counter, "second", history())
    fetch(runtime)
    assert suppliers(runtime) == {"first", "second"}
    counter.heal("first")
    knows(counter, "first", history())
    one = said(fetch(runtime))
    assert one["note"] == "9 bars of others are first's now"
    assert (one["rows_changed"], suppliers(runtime)) == (0, {"first"})
    assert said(fetch(runtime))["note"] is None


def test_a_series_that_another_began_on_another_basis_is_rewritten_whole(runtime: Runtime, counter: Counter) -> None:
    counter.fault("first", 503)
    knows(counter, "second", history(factor=3.0))
    fetch(runtime)
    counter.heal("first")
    knows(counter, "first", history())
    one = said(fetch(runtime))
    assert "restated" in one["note"]
    assert stored(runtime) == {back: (close(back), "first") for back in range(DAYS, 0, -1)}


def test_rows_that_the_first_does_not_have_stay_and_are_not_asked_for_for_ever(
    runtime: Runtime, counter: Counter
) -> None:
    begun_by_the_first(runtime, counter, newest=3)
    knows(counter, "second", history())
    fetch(runtime)
    counter.heal("first")
    knows(counter, "first", [one for one in history() if one[0] != day(2)])
    widths = []
    for _ in range(5):
        with runtime.database.read() as tx:
            asset = bars.asset_id(tx, "AAPL")
            assert asset is not None
            behind = [bars.provider_ids(tx)["second"]]
            widths.append(bars.supplied_span(tx, asset, Interval.DAY_1, behind, 3))
        fetch(runtime)
    assert widths[0] == (day(2), day(1))
    assert widths[1] == widths[2] == (day(2), day(2))
    assert widths[-1] is None
    assert stored(runtime)[2] == (close(2), "second")


def test_the_pace_of_a_rate_is_kept_and_a_used_up_one_is_passed_by(
    counter: Counter, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second until the next call is no reason to spend another vendor's; an hour is."""
    for rate, state in (("1/20s", JobState.WAITING), ("1/h", JobState.SUCCEEDED)):
        monkeypatch.setenv("MARKETJOBS_PROVIDERS__FIRST__RATE_LIMIT", f'["{rate}"]')
        runtime = Runtime(config.load(), patience_seconds=1.0)
        for name in ("first", "second"):
            knows(counter, name, history())
        fetch(runtime, "IBM", force=True)
        job = fetch(runtime, "AAPL", force=True)
        assert (job.state, len(counter.asked("second", "bars"))) == (state, int(state is JobState.SUCCEEDED)), rate
        assert job.attempt == (0 if state is JobState.WAITING else 1)
        with runtime.database.write() as tx:
            tx.run("DELETE FROM provider_budget_use")
            tx.run("UPDATE job SET state = 'cancelled', finished_at = 1 WHERE state = 'waiting'")
        runtime.close()
