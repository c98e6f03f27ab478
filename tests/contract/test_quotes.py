"""Latest prices from vendors to the store, on both stores: who is asked, what is written, what is held back."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vendors_for_tests
from marketjobs import read
from marketjobs.domain.assets import AssetClass
from marketjobs.domain.bars import Bar
from marketjobs.domain.intervals import Interval
from marketjobs.domain.jobs import Job, JobState, JsonDict
from marketjobs.domain.quotes import Quote
from marketjobs.errors import (
    InvalidInput,
    MissingKey,
    ProviderError,
    RangeUnavailable,
    RateLimited,
    SymbolUnknown,
    Unsupported,
)
from marketjobs.providers import base
from marketjobs.sections import Secret
from marketjobs.services import attempts, jobs, vendors
from marketjobs.services.failover import Closed, Trail
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets, bars, quotes
from stores import asset_record, on_both_stores
from vendors_for_tests import Counter

__all__ = ["on_both_stores"]

NOW = time.time()


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


def knows(counter: Counter, name: str, **prices: float) -> None:
    known = counter.known.setdefault((name, "quotes"), {})
    for symbol, price in prices.items():
        known[symbol.replace("_", "-")] = {"price": price, "at": NOW, "currency": "USD"}


def update(runtime: Runtime, *symbols: str, **more: Any) -> Job:
    arguments = {"symbols": list(symbols) or None, "group": None, "provider": None, "force": False} | more
    job = jobs.submit(runtime, "marketjobs.update_prices", arguments)
    after = attempts.execute(runtime, job.id)
    assert after is not None
    return after


def outcomes(job: Job) -> dict[str, JsonDict]:
    assert job.result is not None, job
    return {one["symbol"]: one for one in job.result["symbols"]}


def stored(runtime: Runtime, *symbols: str) -> dict[str, tuple[float, str]]:
    return {symbol: (one.price, one.provider) for symbol, one in read.quotes(symbols, runtime=runtime).items()}


# -- the store ------------------------------------------------------------------------------------------------


def put(runtime: Runtime, symbol: str, quote: Quote, provider: str = "first", fetched_at: float = 1.0) -> set[int]:
    with runtime.database.write() as tx:
        asset = assets.ensure_in(tx, [symbol])[symbol]
        assets.lock(tx, [asset])
        return quotes.upsert_many(tx, [(asset, quote)], bars.provider_id(tx, provider), fetched_at)


def test_only_what_differs_is_written_and_never_an_older_price(runtime: Runtime) -> None:
    assert put(runtime, "AAPL", Quote(10.0, 100.0, "USD", volume=1e12))
    assert not put(runtime, "AAPL", Quote(10.0, 100.0, "USD", volume=1e12), fetched_at=2.0)
    assert read.quotes(["AAPL"], runtime=runtime)["AAPL"].fetched_at.timestamp() == 1.0
    assert put(runtime, "AAPL", Quote(10.0, 100.0, "USD"), fetched_at=3.0)
    assert not put(runtime, "AAPL", Quote(9.0, 99.9, "USD"), fetched_at=4.0)
    assert stored(runtime, "AAPL") == {"AAPL": (10.0, "first")}
    assert put(runtime, "AAPL", Quote(11.0, 100.5, "USD"), "second", fetched_at=5.0)
    assert stored(runtime, "AAPL") == {"AAPL": (11.0, "second")}


def test_a_purged_asset_takes_its_price_along(runtime: Runtime) -> None:
    put(runtime, "AAPL", Quote(10.0, 100.0))
    assert assets.purge(runtime.database, ["AAPL"]) == ["AAPL"]
    with runtime.database.read() as tx:
        assert quotes.read(tx, ["AAPL"]) == []


# -- one vendor -----------------------------------------------------------------------------------------------


def test_one_request_serves_many_symbols(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", **{f"S{number}": 10.0 + number for number in range(7)})
    job = update(runtime, *[f"S{number}" for number in range(7)])
    assert job.state is JobState.SUCCEEDED
    assert [len(query["symbols"].split(",")) for query in counter.asked("first")] in ([3, 3, 1], [3, 1, 3], [1, 3, 3])
    assert counter.counts() == {"first": 3}
    assert {one["status"] for one in outcomes(job).values()} == {"stored"}
    assert outcomes(job)["S3"]["price"] == 13.0
    assert "asked" not in outcomes(job)["S3"]
    assert len(stored(runtime, *[f"S{number}" for number in range(7)])) == 7
    again = update(runtime, *[f"S{number}" for number in range(7)])
    assert {one["status"] for one in outcomes(again).values()} == {"up_to_date"}


def test_without_symbols_all_active_assets_are_meant(runtime: Runtime, counter: Counter) -> None:
    with pytest.raises(InvalidInput, match="no asset is active"):
        update(runtime)
    knows(counter, "first", AAPL=1.0, IBM=2.0, OLD=3.0)
    assets.activate(runtime.database, ["AAPL", "IBM", "OLD"])
    assets.deactivate(runtime.database, ["OLD"])
    assert set(outcomes(update(runtime))) == {"AAPL", "IBM"}


def test_a_symbol_that_nobody_knows_leaves_no_trace(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", AAPL=1.0)
    update(runtime, "AAPL")
    job = update(runtime, "AAPLE")
    said = outcomes(job)["AAPLE"]
    assert (job.state, said["error"]["cause"], said["note"]) == (JobState.DEAD, "symbol_unknown", "did you mean AAPL?")
    assert [one["provider"] for one in said["asked"]] == ["first", "second", "third"]
    assert asset_record(runtime.database, "AAPLE") is None


def test_who_mistypes_many_is_advised_on_some(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", AAPL=1.0)
    update(runtime, "AAPL")
    said = outcomes(update(runtime, *[f"AAPL{letter}" for letter in "BCDEFGH"]))
    assert [one["note"] for one in said.values()].count("did you mean AAPL?") == 5


def test_what_a_vendor_leaves_out_is_no_price(runtime: Runtime, counter: Counter) -> None:
    counter.known["first", "quotes"] = {"AAPL": None}
    job = update(runtime, "AAPL", provider="first")
    assert job.state is JobState.WAITING
    assert job.error_cause == "malformed_answer"


@pytest.mark.parametrize(
    ("quote", "word"),
    [
        ({"price": 0.0, "at": NOW}, "not positive"),
        ({"price": float("nan"), "at": NOW}, "not finite"),
        ({"price": "12", "at": NOW}, "not a number"),
        ({"price": 12.0, "at": NOW + 4000}, "future"),
    ],
)
def test_a_price_that_breaks_a_rule_is_not_stored(
    runtime: Runtime, counter: Counter, quote: dict[str, Any], word: str
) -> None:
    counter.known["first", "quotes"] = {"AAPL": quote}
    job = update(runtime, "AAPL", provider="first")
    assert (job.state, job.error_cause) == (JobState.WAITING, "data_rejected")
    assert word in (job.error_message or "")
    assert asset_record(runtime.database, "AAPL") is None


def test_a_renamed_symbol_says_so(runtime: Runtime, counter: Counter) -> None:
    with runtime.database.write() as tx:
        assets.rename(tx, assets.ensure_in(tx, ["FB"])["FB"], "FB", "META", 86_400)
    said = outcomes(update(runtime, "FB"))["FB"]
    assert said["error"]["cause"] == "asset_renamed"
    assert counter.requests == []


# -- what is held back ----------------------------------------------------------------------------------------


def test_a_price_that_jumps_is_held_back_and_reported(runtime: Runtime, counter: Counter) -> None:
    put(runtime, "AAPL", Quote(190.0, NOW - 60, "USD"))
    knows(counter, "first", AAPL=1.9)
    job = update(runtime, "AAPL", provider="first")
    assert (job.state, job.error_cause) == (JobState.DEAD, "data_rejected")  # asking again would bring the same
    assert "--force" in (job.error_message or "")
    assert stored(runtime, "AAPL") == {"AAPL": (190.0, "first")}
    forced = update(runtime, "AAPL", provider="first", force=True)
    assert outcomes(forced)["AAPL"]["status"] == "stored"
    assert stored(runtime, "AAPL") == {"AAPL": (1.9, "first")}


def test_a_jump_against_the_newest_close_is_held_back_too(runtime: Runtime, counter: Counter) -> None:
    with runtime.database.write() as tx:
        asset = assets.ensure_in(tx, ["AAPL"])["AAPL"]
        day = Bar(86_400 * 20_000, 190.0, 191.0, 189.0, 190.0, None, None)
        bars.upsert(tx, asset, Interval.DAY_1, [day], bars.provider_id(tx, "first"), 1)
    knows(counter, "first", AAPL=0.019)
    assert update(runtime, "AAPL", provider="first").error_cause == "data_rejected"
    knows(counter, "second", AAPL=191.0)
    said = outcomes(update(runtime, "AAPL", force=False))["AAPL"]
    assert (said["status"], said["provider"]) == ("stored", "second")  # the next one has a sound price
    assert [(one["provider"], one["cause"]) for one in said["asked"]] == [("first", "data_rejected")]


def test_what_was_held_back_is_told_where_nobody_else_serves_or_is_waited_for(
    runtime: Runtime, counter: Counter
) -> None:
    put(runtime, "AAPL", Quote(190.0, NOW - 60, "USD"))
    knows(counter, "first", AAPL=1.9)
    job = update(runtime, "AAPL")
    assert (job.state, job.error_cause) == (JobState.DEAD, "data_rejected")
    assert counter.counts() == dict.fromkeys(("first", "second", "third"), 1)
    counter.fault("third", 503)
    job = update(runtime, "AAPL")
    assert (job.state, job.error_cause) == (JobState.WAITING, "provider_unavailable")


def test_pence_and_pounds_are_never_mixed_up(runtime: Runtime, counter: Counter) -> None:
    counter.known["first", "quotes"] = {"TSCO.L": {"price": 310.0, "at": NOW - 9, "currency": "GBp"}}
    update(runtime, "TSCO.L")
    assert (asset_record(runtime.database, "TSCO.L") or pytest.fail("none")).currency == "GBp"
    counter.known["first", "quotes"] = {
        "TSCO.L": {"price": 3.2, "at": NOW, "currency": "GBP", "previous_close": 3.1, "market_cap": 2e10}
    }
    said = outcomes(update(runtime, "TSCO.L"))["TSCO.L"]
    assert (said["price"], said["currency"]) == (pytest.approx(320.0), "GBp")
    found = read.quotes(["TSCO.L"], runtime=runtime)["TSCO.L"]
    assert (found.previous_close, found.market_cap) == (pytest.approx(310.0), 2e10)
    counter.known["first", "quotes"] = {"TSCO.L": {"price": 3.2, "at": NOW}}  # a unit that nobody named
    assert update(runtime, "TSCO.L", provider="first").error_cause == "data_rejected"


def test_a_price_without_a_unit_is_stored_in_the_assets(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", AAPL=190.0)
    update(runtime, "AAPL")
    counter.known["first", "quotes"] = {"AAPL": {"price": 191.0, "at": NOW + 1}}
    assert outcomes(update(runtime, "AAPL"))["AAPL"]["currency"] == "USD"
    assert read.quotes(["AAPL"], runtime=runtime)["AAPL"].currency == "USD"


def test_another_currency_is_refused_and_the_next_is_asked(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", AAPL=190.0)
    update(runtime, "AAPL")
    counter.known["first", "quotes"] = {"AAPL": {"price": 170.0, "at": NOW + 1, "currency": "EUR"}}
    knows(counter, "second", AAPL=190.5)
    said = outcomes(update(runtime, "AAPL"))["AAPL"]
    assert (said["provider"], said["asked"][0]["cause"]) == ("second", "data_rejected")


def test_a_coin_in_dollars_may_be_quoted_in_a_coin_for_dollars(runtime: Runtime, counter: Counter) -> None:
    counter.known["first", "quotes"] = {"BTC-USD": {"price": 60_000.0, "at": NOW, "currency": "USDT"}}
    said = outcomes(update(runtime, "BTC-USD"))["BTC-USD"]
    assert (said["status"], said["currency"], said["provider"]) == ("stored", "USDT", "first")
    assert (asset_record(runtime.database, "BTC-USD") or pytest.fail("none")).currency == "USD"


# -- when one fails -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "cause"), [(429, "rate_limited"), (403, "blocked"), (401, "unauthorised"), (503, "provider_unavailable")]
)
def test_the_next_is_asked_in_the_same_job(runtime: Runtime, counter: Counter, status: int, cause: str) -> None:
    counter.fault("first", status)
    knows(counter, "second", AAPL=190.0)
    job = update(runtime, "AAPL")
    assert job.state is JobState.SUCCEEDED
    said = outcomes(job)["AAPL"]
    assert (said["status"], said["provider"]) == ("stored", "second")
    assert [(one["provider"], one["cause"]) for one in said["asked"]] == [("first", cause)]
    assert stored(runtime, "AAPL") == {"AAPL": (190.0, "second")}


def test_only_those_that_failed_are_asked_of_the_next(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", AAPL=1.0, IBM=2.0)
    knows(counter, "second", MSFT=3.0)
    job = update(runtime, "AAPL", "IBM", "MSFT")
    assert job.state is JobState.SUCCEEDED
    assert counter.asked("second") == [{"symbols": "MSFT"}]
    assert counter.asked("third") == []


def test_a_provider_that_is_held_is_not_asked_again_in_the_job(runtime: Runtime, counter: Counter) -> None:
    symbols = [f"S{number}" for number in range(9)]
    counter.fault("first", 429, retry_after=600.0)
    knows(counter, "second", **dict.fromkeys(symbols, 5.0))
    assert update(runtime, *symbols).state is JobState.SUCCEEDED
    before = counter.counts()["first"]
    assert before <= 3  # requests that were under way together
    assert update(runtime, *symbols).state is JobState.SUCCEEDED
    assert counter.counts()["first"] == before


def test_a_named_provider_is_the_only_one_asked(runtime: Runtime, counter: Counter) -> None:
    counter.fault("first", 503)
    knows(counter, "second", AAPL=190.0)
    job = update(runtime, "AAPL", provider="first")
    assert (job.state, job.error_cause) == (JobState.WAITING, "provider_unavailable")
    assert counter.asked("second") == []


def test_what_is_kept_of_keys_is_told_apart_without_showing_them(runtime: Runtime) -> None:
    found = {}
    for keys in (["one-key"], ["another-key"], ["one-key", "another-key"]):
        vars(runtime.settings.providers.of("third"))["api_keys"] = tuple(map(Secret, keys))
        found[vendors.opened(runtime, "third").connection.keys_digest] = keys
    assert len(found) == 3
    assert not any(key in digest for digest, keys in found.items() for key in keys)
    assert vendors.opened(runtime, "first").connection.keys_digest == ""


def test_who_lacks_a_key_is_passed_by_and_named(runtime: Runtime, counter: Counter) -> None:
    vars(runtime.settings.providers.of("third"))["api_keys"] = []
    with pytest.raises(MissingKey, match="third wants a key"):
        update(runtime, "AAPL", provider="third")
    counter.fault("first", 404)
    said = outcomes(update(runtime, "AAPL"))["AAPL"]
    assert [(one["provider"], one["cause"]) for one in said["asked"]][-1] == ("third", "missing_key")
    assert said["error"]["cause"] == "symbol_unknown"
    assert counter.asked("third") == []


def test_a_job_waits_only_when_everybody_must_be_waited_for(runtime: Runtime, counter: Counter) -> None:
    for name, seconds in (("first", 300.0), ("second", 100.0), ("third", 200.0)):
        counter.fault(name, 429, retry_after=seconds)
    job = update(runtime, "AAPL")
    assert (job.state, job.attempt, job.error_cause) == (JobState.WAITING, 0, "rate_limited")
    with runtime.database.read() as tx:
        assert 90 < job.run_at - tx.now() < 101  # the first that may be asked again
    for name in ("first", "second", "third"):
        assert f"{name}: 429" in (job.waits_for or "")


def test_an_outage_beside_a_limit_is_a_plain_retry(runtime: Runtime, counter: Counter) -> None:
    counter.fault("first", 429, retry_after=300.0)
    counter.fault("second", 503)
    counter.fault("third", 503)
    job = update(runtime, "AAPL")
    assert (job.state, job.attempt) == (JobState.WAITING, 1)
    assert job.waits_for == "a retry"


def test_a_symbol_that_waits_keeps_nobody_from_being_stored(runtime: Runtime, counter: Counter) -> None:
    knows(counter, "first", AAPL=1.0)
    for name in ("second", "third"):
        counter.fault(name, 429, retry_after=60.0)
    job = update(runtime, "AAPL", "COIN")
    assert job.state is JobState.WAITING
    assert stored(runtime, "AAPL") == {"AAPL": (1.0, "first")}
    assert [one["symbol"] for one in job.outcomes] == ["AAPL"]


def test_a_symbol_that_one_does_not_know_waits_not_for_long_for_others() -> None:
    unknown = SymbolUnknown("first knows no X", provider="first")
    for seconds, waits in ((60.0, True), (5000.0, False)):
        trail = Trail(
            [("first", unknown), ("second", RateLimited("429", provider="second", retry_after_seconds=seconds))]
        )
        error, hold = trail.verdict()
        assert (hold is not None) is waits
        assert error.cause == ("rate_limited" if waits else "symbol_unknown")
        trail.is_stored = True  # it is not mistyped: who can't be asked now may well know it
        assert trail.verdict()[0].cause == "rate_limited"


def test_one_that_lacks_the_range_keeps_nobody_from_waiting_for_those_that_have_it() -> None:
    lacks = RangeUnavailable("first has 30 days", provider="first")
    limited = RateLimited("429", provider="second", retry_after_seconds=5000.0)
    error, hold = Trail([("first", lacks), ("second", limited)]).verdict()
    assert (error.cause, hold is not None) == ("rate_limited", True)


def test_a_closed_provider_opens_when_its_time_has_come() -> None:
    closed = Closed()
    closed.note("first", RateLimited("429", provider="first", retry_after_seconds=60.0))
    why = closed.why("first", "AAPL")
    assert isinstance(why, ProviderError)
    assert 59 < (why.retry_after_seconds or 0) <= 60
    assert closed.why("second", "AAPL") is None
    closed.note("second", SymbolUnknown("no", provider="second"))
    assert closed.why("second", "AAPL") is None
    closed.note("third", RateLimited("429", provider="third", retry_after_seconds=0.0))
    assert closed.why("third", "AAPL") is None


def test_who_has_no_quotes_can_not_be_named(runtime: Runtime) -> None:
    with pytest.raises(Unsupported, match="recorded has no quotes"):
        update(runtime, "AAPL", provider="recorded")


# -- names ----------------------------------------------------------------------------------------------------


def coin(counter: Counter, *matches: dict[str, Any]) -> None:
    """The second vendor must be asked what it calls a coin."""
    counter.fault("first", 503)
    counter.known["second", "lookup"] = lambda query: [{"symbol": "UNI", "class": "crypto"} | one for one in matches]
    knows(counter, "second", uniswap=7.0)


def test_a_name_that_had_to_be_asked_for_is_remembered(runtime: Runtime, counter: Counter) -> None:
    coin(counter, {"id": "uniswap", "rank": 20})
    assert outcomes(update(runtime, "UNI-USD"))["UNI-USD"]["price"] == 7.0
    update(runtime, "UNI-USD")
    assert [query["symbols"] for query in counter.asked("second", "quotes")] == ["uniswap", "uniswap"]
    assert len(counter.asked("second", "lookup")) == 1
    asset = asset_record(runtime.database, "UNI-USD")
    assert asset is not None
    with runtime.database.read() as tx:
        assert [(one.provider, one.symbol) for one in assets.aliases(tx, asset.id)] == [("second", "uniswap")]


@pytest.mark.parametrize(
    "others", [[{"id": "unicorn"}], [{"id": "unicorn", "rank": 900}], [{"id": "x", "symbol": "UNIX"}]]
)
def test_the_match_that_is_clearly_first_is_meant(
    runtime: Runtime, counter: Counter, others: list[dict[str, Any]]
) -> None:
    coin(counter, *others, {"id": "uniswap", "rank": 20})
    assert outcomes(update(runtime, "UNI-USD"))["UNI-USD"]["provider"] == "second"


def test_an_ambiguous_name_is_refused_with_the_choices(runtime: Runtime, counter: Counter) -> None:
    coin(counter, {"id": "uniswap", "rank": 20, "name": "Uniswap"}, {"id": "unicorn", "rank": 90, "name": "Unicorn"})
    job = update(runtime, "UNI-USD", provider="second")
    said = outcomes(job)["UNI-USD"]
    assert (job.state, said["error"]["cause"]) == (JobState.DEAD, "ambiguous_symbol")
    assert "uniswap (Uniswap, rank 20), unicorn (Unicorn, rank 90)" in said["error"]["message"]
    assert "marketjobs assets alias UNI-USD second uniswap" in said["note"]


def test_of_a_new_symbol_that_says_nothing_of_itself_both_commands_are_told(
    runtime: Runtime, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vendors_for_tests.Second, "listing", classmethod(lambda *_: None))
    counter.known["second", "lookup"] = {"UNI": [{"id": one, "symbol": "UNI", "rank": 20} for one in ("a", "b")]}
    note = outcomes(update(runtime, "UNI", provider="second"))["UNI"]["note"]
    assert note == "say which: marketjobs assets add UNI, then marketjobs assets alias UNI second a"


@pytest.mark.parametrize("task", ["update_prices", "fetch_market_data", "fetch_asset_info", "fetch_news"])
def test_what_a_vendor_calls_an_asset_becomes_no_second_asset(runtime: Runtime, counter: Counter, task: str) -> None:
    coin(counter, {"id": "bitcoin", "rank": 1, "symbol": "BTC"})
    knows(counter, "second", bitcoin=60_000.0)
    assert update(runtime, "BTC-USD").state is JobState.SUCCEEDED
    asked = len(counter.requests)
    job = jobs.submit(runtime, f"marketjobs.{task}", {"symbols": ["BITCOIN"]})
    after = attempts.execute(runtime, job.id)
    assert after is not None
    assert after.state is JobState.DEAD
    said = outcomes(after)["BITCOIN"]
    assert said["error"]["message"] == "BITCOIN is second's name of BTC-USD"
    assert (said["error"]["cause"], said["error"]["retryable"]) == ("vendors_name", False)
    assert said["note"] == "use BTC-USD (if another asset is meant, first: marketjobs assets add BITCOIN)"
    assert asset_record(runtime.database, "BITCOIN") is None
    assert len(counter.requests) == asked


def test_what_a_vendor_of_coins_alone_has_is_a_coin(
    runtime: Runtime, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_coins = replace(vendors_for_tests.First.capabilities, asset_classes=frozenset({AssetClass.CRYPTO}))
    monkeypatch.setattr(vendors_for_tests.First, "capabilities", only_coins)
    knows(counter, "first", BTCUSDT=60_000.0)
    assert update(runtime, "BTCUSDT", provider="first").state is JobState.SUCCEEDED
    record = asset_record(runtime.database, "BTCUSDT")
    assert record is not None
    assert record.asset_class == "crypto"


def test_a_joined_request_does_not_mind_the_order(runtime: Runtime) -> None:
    first = jobs.submit(runtime, "marketjobs.update_prices", {"symbols": ["AAPL", "IBM"]})
    assert jobs.submit(runtime, "marketjobs.update_prices", {"symbols": ["IBM", "aapl"]}).id == first.id


def test_a_large_request_has_parts_of_full_size(runtime: Runtime) -> None:
    job = jobs.submit(runtime, "marketjobs.update_prices", {"symbols": [f"S{number}" for number in range(1500)]})
    parts = jobs.listed(runtime, top_level=False)
    sizes = sorted(len(one.arguments["symbols"]) for one in parts if one.parent_id == job.id)
    assert sizes == [500, 1000]
