"""Stories and profiles from vendors to the store, on both stores: each once, linked, edited, explained."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vendors_for_tests
from marketjobs import read
from marketjobs.domain.jobs import Job, JobState, JsonDict
from marketjobs.domain.news import Story, canonical_link, names
from marketjobs.errors import InvalidInput, Unsupported
from marketjobs.providers import base
from marketjobs.services import attempts, jobs, universe
from marketjobs.services.runtime import Runtime
from marketjobs.services.search import search
from marketjobs.storage import assets, bars, news
from stores import asset_record, on_both_stores
from vendors_for_tests import Counter

__all__ = ["on_both_stores"]

FEED = "https://feed.example/rss"
DAY = 86_400.0
LONG_GUID = "0f8c6a52-7d1e-4b0a"


@pytest.fixture(autouse=True)
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    monkeypatch.setattr(sys, "path", [str(vendors_for_tests.installed(tmp_path / "plugins")), *sys.path])
    for known in (base.provider_names, base.provider_class):
        known.cache_clear()
    with Counter() as made:
        os.environ.update(vendors_for_tests.variables(made))
        os.environ["MARKETJOBS_PROVIDERS__RSS__ENABLED"] = "0"
        yield made
    for known in (base.provider_names, base.provider_class):
        known.cache_clear()


def tells(counter: Counter, *stories: dict[str, Any], **more: Any) -> None:
    counter.known["first", "news"] = lambda query: {"stories": list(stories)} | more


def run(runtime: Runtime, task: str, **arguments: Any) -> Job:
    job = jobs.submit(runtime, f"marketjobs.{task}", arguments)
    after = attempts.execute(runtime, job.id)
    assert after is not None
    return after


def outcomes(job: Job) -> dict[str, JsonDict]:
    assert job.result is not None, job
    return {one["symbol"]: one for one in job.result["symbols"]}


def counted(said: JsonDict) -> tuple[int, int, int]:
    return said["stories_new"], said["stories_changed"], said["stories_same"]


# -- what makes two stories the same --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://www.news.example/a/1/?utm_source=x&utm_medium=y#top",
        "https://news.example/a/1?.tsrc=rss",
        "https://NEWS.example:443/a/1?fbclid=3&gclid=4&guccounter=1",
    ],
)
def test_an_address_is_the_page_that_it_names(url: str) -> None:
    assert canonical_link(url) == "news.example/a/1"
    assert canonical_link("https://news.example/a?id=1&p=2") == "news.example/a?id=1&p=2"
    assert canonical_link("http://[broken") == "http://[broken"


def test_short_guids_are_their_feeds_own() -> None:
    one, two = (Story("t", f"https://{host}.example/x", guid="7") for host in ("a", "b"))
    assert names(one)[0] != names(two)[0]
    one, two = (Story("t", f"https://{host}.example/x", guid=LONG_GUID) for host in ("a", "b"))
    assert names(one)[0] == names(two)[0]


def write(runtime: Runtime, *stories: Story, provider: str = "first", now: float = 10.0) -> tuple[int, int, int]:
    with runtime.database.write() as tx:
        done = news.upsert_many(tx, stories, bars.provider_id(tx, provider), now)
    assert len(done.articles) == len(stories)
    return done.new, done.changed, done.same


@pytest.mark.parametrize(
    ("again", "is_same"),
    [
        (Story("Other title", "https://other.example/", guid=LONG_GUID), True),
        (Story("Title", "http://www.news.example/a/?utm_source=x", guid="another-guid-of-it"), True),
        (Story("Title", "https://news.example/b", guid="another-guid-of-it"), False),
        (Story("Title", "https://news.example/a"), True),
        (Story("Title", published_at=DAY), False),
    ],
)
def test_by_guid_else_by_link(runtime: Runtime, again: Story, is_same: bool) -> None:
    write(runtime, Story("Title", "https://news.example/a", guid=LONG_GUID, published_at=DAY))
    assert write(runtime, again)[0] == (not is_same)


@pytest.mark.parametrize(
    ("again", "is_same"),
    [
        (Story("  a TITLE ", published_at=DAY + 3600), True),
        (Story("A title", published_at=3 * DAY), False),
        (Story("A title"), False),
    ],
)
def test_else_by_title_and_day(runtime: Runtime, again: Story, is_same: bool) -> None:
    write(runtime, Story("A title", published_at=DAY))
    assert write(runtime, again)[0] == (not is_same)


def test_a_story_that_comes_twice_in_one_answer_is_stored_once(runtime: Runtime) -> None:
    one = Story("A", "https://n.example/a", guid=LONG_GUID)
    other = Story("A", "https://n.example/a?utm_campaign=z")
    assert write(runtime, one, other, one) == (1, 0, 0)
    assert len(read.news(runtime=runtime)) == 1


@pytest.mark.parametrize("url", ["https://n.example/", "https://n.example/live-blog", None])
@pytest.mark.parametrize("guids", [("guid-of-the-first-one", "guid-of-the-second"), (None, None)])
def test_stories_at_one_address_are_not_one_story(
    runtime: Runtime, url: str | None, guids: tuple[str | None, str | None]
) -> None:
    told = [Story(title, url, guid=guid, published_at=DAY) for title, guid in zip("AB", guids, strict=True)]
    assert write(runtime, *told) == (2, 0, 0)
    assert write(runtime, *told) == (0, 0, 2)
    assert {one.title for one in read.news(runtime=runtime)} == {"A", "B"}


def test_edits_replace_what_was_told_and_others_only_fill_in(runtime: Runtime) -> None:
    url = "https://n.example/a"
    assert write(runtime, Story("A", url)) == (1, 0, 0)
    assert write(runtime, Story("A", url)) == (0, 0, 1)
    assert write(runtime, Story("A, corrected", url, published_at=DAY)) == (0, 1, 0)
    assert write(runtime, Story("Theirs", url, summary="Their words"), provider="second") == (0, 1, 0)
    assert write(runtime, Story("Theirs", url, summary="Their words"), provider="second") == (0, 0, 1)
    [found] = read.news(runtime=runtime)
    assert (found.title, found.summary, found.published_at.timestamp(), found.is_dated, found.provider) == (
        *("A, corrected", "Their words", DAY, True, "first"),
    )


def test_feeds_of_two_hosts_with_the_same_stories_do_not_rewrite_each_other(runtime: Runtime, counter: Counter) -> None:
    universe.add(runtime, ["AAPL"])
    feeds = [FEED, "https://other.example/feed", FEED.replace("https://", "http://www.") + "?page=2"]
    stories = {feeds[0]: "Told first", feeds[1]: "Rewritten", feeds[2]: "Corrected"}

    def told(query: dict[str, str]) -> JsonDict:
        symbols = ["AAPL"] if query["feed"] == feeds[1] else []
        link = f"https://n.example/{len(symbols)}"
        story = {"title": stories[query["feed"]], "url": link, "guid": LONG_GUID, "summary": "its words"}
        return {"stories": [story | {"symbols": symbols}]}

    counter.known["first", "news"] = told

    def fetched(feed: str) -> tuple[int, int, int]:
        return counted(outcomes(run(runtime, "fetch_news", feeds=[feed], provider="first"))[feed])

    assert fetched(feeds[0]) == (1, 0, 0)
    assert fetched(feeds[1]) == (0, 0, 1)
    assert fetched(feeds[0]) == (0, 0, 1)
    [one] = read.news("AAPL", runtime=runtime)  # what another says it is about counts
    assert (one.title, one.url) == ("Told first", "https://n.example/0")
    assert fetched(feeds[2]) == (0, 1, 0)
    assert [one.title for one in read.news(runtime=runtime)] == ["Corrected"]


def test_two_that_tell_the_same_stories_do_not_wait_for_each_other_in_a_ring(runtime: Runtime) -> None:
    one, another = Story("one", guid="a guid of one that is long"), Story("another", guid="a guid of another one")
    made: list[news.Written] = []
    with runtime.database.write() as tx:
        source = bars.provider_id(tx, "first")

    def tell_both() -> None:
        with runtime.database.write() as tx:
            made.extend(news.upsert_many(tx, [story], source, 1.0) for story in (another, one))

    other = threading.Thread(target=tell_both)
    with runtime.database.write() as tx:
        made.append(news.upsert_many(tx, [one], source, 1.0))
        other.start()
        other.join(0.3)
        made.append(news.upsert_many(tx, [another], source, 1.0))
    other.join()
    assert sorted(written.new for written in made) == [0, 0, 1, 1]


def test_ten_thousand_stories_are_stored_once(runtime: Runtime) -> None:
    stories = [Story(f"T {n}", f"https://n.example/{n}", guid=f"{LONG_GUID}-{n}") for n in range(10_000)]
    assert write(runtime, *stories) == (10_000, 0, 0)
    assert write(runtime, *stories) == (0, 0, 10_000)


# -- jobs -----------------------------------------------------------------------------------------------------


def test_stories_are_linked_to_the_assets_that_they_name(runtime: Runtime, counter: Counter) -> None:
    universe.add(runtime, ["IBM", "MSFT"])
    tells(
        counter,
        {"title": "Both", "url": "https://n.example/1", "symbols": ["AAPL", "IBM", "NOBODY"], "published_at": 2 * DAY},
        {"title": "One", "url": "https://n.example/2", "published_at": DAY},
    )
    said = outcomes(run(runtime, "fetch_news", symbols=["AAPL"]))["AAPL"]
    assert (said["status"], counted(said), said["provider"]) == ("stored", (2, 0, 0), "first")
    assert [one.title for one in read.news("AAPL", runtime=runtime)] == ["Both", "One"]
    assert [one.symbols for one in read.news("IBM", runtime=runtime)] == [("AAPL", "IBM")]
    assert read.news("MSFT", runtime=runtime) == []
    again = outcomes(run(runtime, "fetch_news", symbols=["AAPL"]))["AAPL"]
    assert (again["status"], counted(again)) == ("up_to_date", (0, 0, 2))
    assets.purge(runtime.database, ["AAPL"])
    assert [one.symbols for one in read.news(runtime=runtime)] == [("IBM",), ()]


def test_stories_that_name_nothing_make_no_asset(runtime: Runtime, counter: Counter) -> None:
    tells(counter, {"title": "Weather", "url": "https://n.example/1"})
    said = outcomes(run(runtime, "fetch_news", symbols=["NOSUCH"]))["NOSUCH"]
    assert "no story names NOSUCH" in said["note"]
    assert asset_record(runtime.database, "NOSUCH") is None


def test_a_vendor_that_blocks_is_asked_again_later(runtime: Runtime, counter: Counter) -> None:
    counter.fault("first", 403)
    job = run(runtime, "fetch_news", symbols=["AAPL"])
    assert (job.state, job.error_cause) == (JobState.WAITING, "blocked")
    assert set(counter.counts()) == {"first"}  # the others have no news, and rss is switched off


def test_a_feed_is_asked_for_what_is_new(runtime: Runtime, counter: Counter) -> None:
    universe.add(runtime, ["AAPL"])
    tells(counter, {"title": "A", "url": "https://n.example/1", "symbols": ["AAPL"]}, etag='"v1"')
    said = outcomes(run(runtime, "fetch_news", feeds=[FEED], provider="first"))[FEED]
    assert (said["status"], counted(said)) == ("stored", (1, 0, 0))
    assert len(read.news("AAPL", runtime=runtime)) == 1
    counter.known["first", "news"] = lambda query: {"is_unchanged": query["etag"] == '"v1"', "etag": query["etag"]}
    again = outcomes(run(runtime, "fetch_news", feeds=[FEED], provider="first"))[FEED]
    assert (again["status"], counted(again)) == ("up_to_date", (0, 0, 0))
    assert counter.asked("first", "news")[1]["etag"] == '"v1"'
    tells(counter)
    assert outcomes(run(runtime, "fetch_news", feeds=[FEED], provider="first"))[FEED]["status"] == "empty"


@pytest.mark.parametrize(
    ("feed", "told"),
    [
        ("ftp://feed.example/x", "no address of a feed"),
        ("file:///etc/passwd", "no address of a feed"),
        ("https://me:secret@feed.example/x", "stands in the settings only"),
        ("http://[broken", "no address"),
    ],
)
def test_addresses_that_can_not_be_asked(runtime: Runtime, feed: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as refused:
        run(runtime, "fetch_news", feeds=[feed])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("provider", "what", "told"),
    [
        ("yahoo", {"feeds": [FEED]}, "yahoo has no feeds"),
        ("yahoo", {"feeds": [FEED], "symbols": ["AAPL"]}, "yahoo has no feeds"),
        ("binance", {"feeds": [FEED], "symbols": ["AAPL"]}, "binance has no news and no feeds"),
        ("binance", {"symbols": ["AAPL"]}, "binance has no news"),
    ],
)
def test_a_provider_that_lacks_something_is_told_what(
    runtime: Runtime, provider: str, what: dict[str, Any], told: str
) -> None:
    with pytest.raises(Unsupported) as caught:
        run(runtime, "fetch_news", provider=provider, **what)
    assert caught.value.message == told


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("fetch_news", {"feeds": 5}),
        ("fetch_news", {"feeds": FEED}),
        ("fetch_news", {"feeds": [["a"]]}),
        ("fetch_news", {"feeds": [FEED], "provider": ["first"]}),
        ("fetch_asset_info", {"symbols": ["AAPL"], "provider": {}}),
        ("update_prices", {"symbols": ["AAPL"], "provider": ["first"]}),
        ("update_prices", {"symbols": ["AAPL"], "group": 5}),
    ],
)
def test_arguments_of_another_kind_are_refused(runtime: Runtime, task: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        run(runtime, task, **arguments)


def test_a_password_of_a_configured_feed_is_in_no_row(runtime: Runtime, counter: Counter) -> None:
    section = runtime.settings.providers.of("rss")
    vars(section)["feeds"] = ["https://me:secret@feed.example/x"]
    tells(counter, {"title": "A", "url": "https://n.example/1"}, etag='"v1"')
    job = run(runtime, "fetch_news", provider="first")
    assert "secret" not in str(job)
    assert counter.asked("first", "news")[0]["feed"] == "https://me:secret@feed.example/x"
    with runtime.database.read() as tx:
        assert "secret" not in str(tx.all("SELECT * FROM news_feed"))


def test_feeds_that_differ_by_their_tokens_only_are_all_read(runtime: Runtime, counter: Counter) -> None:
    addresses = [f"https://feed.example/x?token=secret-{number}" for number in (1, 2)]
    vars(runtime.settings.providers.of("rss"))["feeds"] = [*addresses, "https://secret-3@feed.example/x"]
    tells(counter, {"title": "A", "url": "https://n.example/1"})
    job = run(runtime, "fetch_news", provider="first")
    assert "secret" not in str(job)
    assert {one["feed"] for one in counter.asked("first", "news")} >= set(addresses)
    with pytest.raises(InvalidInput, match="stands in the settings only"):
        run(runtime, "fetch_news", feeds=["https://secret-4@feed.example/x"])


def test_without_anything_all_that_is_kept_fresh_is_meant(runtime: Runtime, counter: Counter) -> None:
    with pytest.raises(InvalidInput, match="no asset is active"):
        run(runtime, "fetch_news")
    universe.add(runtime, ["AAPL", "IBM"])
    tells(counter)
    assert {one["status"] for one in outcomes(run(runtime, "fetch_news")).values()} == {"empty"}


def test_many_symbols_and_feeds_are_parts_of_one_request(runtime: Runtime) -> None:
    job = jobs.submit(
        runtime, "marketjobs.fetch_news", {"symbols": [f"S{number}" for number in range(200)], "feeds": [FEED]}
    )
    parts = [one for one in jobs.listed(runtime, top_level=False) if one.parent_id == job.id]
    assert sorted((len(one.arguments["symbols"]), len(one.arguments["feeds"])) for one in parts)[0] == (0, 1)
    assert {one.queue for one in parts} == {"news"}


# -- profiles -------------------------------------------------------------------------------------------------


def test_a_profile_is_stored_and_shown_with_the_asset(runtime: Runtime, counter: Counter) -> None:
    told = {
        "facts": {"name": "Apple Inc.", "asset_class": "equity", "currency": "USD"},
        "sector": "Technology",
        "employees": 150_000,
        "figures": {"market_cap": 3e12, "fiscal_year_end": "2026-09-30"},
    }
    counter.known["first", "profile"] = {"AAPL": told}
    said = outcomes(run(runtime, "fetch_asset_info", symbols=["AAPL"]))["AAPL"]
    assert (said["status"], said["name"], said["figures"], said["provider"]) == ("stored", "Apple Inc.", 2, "first")
    view = universe.view(runtime, "AAPL")
    assert (view.record.name, view.record.asset_class, view.record.currency) == ("Apple Inc.", "equity", "USD")
    assert view.profile is not None
    assert (view.profile.profile.employees, view.profile.profile.figures["market_cap"]) == (150_000, 3e12)
    assert outcomes(run(runtime, "fetch_asset_info", symbols=["AAPL"]))["AAPL"]["status"] == "up_to_date"


def test_a_profile_that_nobody_has(runtime: Runtime, counter: Counter) -> None:
    job = run(runtime, "fetch_asset_info", symbols=["AAPL"])
    said = outcomes(job)["AAPL"]
    assert (job.state, said["error"]["cause"]) == (JobState.DEAD, "symbol_unknown")
    assert [one["provider"] for one in said["asked"]] == ["first", "second", "third"]
    assert asset_record(runtime.database, "AAPL") is None


# -- search ---------------------------------------------------------------------------------------------------


def test_what_vendors_know_by_a_name(runtime: Runtime, counter: Counter) -> None:
    counter.known["first", "search"] = {"apple inc": [{"id": "AAPL", "symbol": "AAPL", "name": "Apple Inc."}]}
    [found] = search(runtime, " apple  inc ")
    assert (found.provider, [one.name for one in found.matches]) == ("first", ["Apple Inc."])
    counter.fault("first", 503)
    [failed] = search(runtime, "apple inc")
    assert failed.error is not None
    with pytest.raises(Unsupported, match="second can't search"):
        search(runtime, "apple", "second")
    with pytest.raises(InvalidInput):
        search(runtime, "  ")
