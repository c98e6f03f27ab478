"""Feeds over HTTP: what is read, what is refused before anything is sent, and what a bad host may cost."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from contract.providers import RecordingGate
from feed_vendor import FeedVendor, Page, feed, item, rss
from marketjobs.domain.news import NewsAnswer, NewsQuery
from marketjobs.errors import (
    Blocked,
    BudgetSpent,
    MalformedAnswer,
    NoData,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Unauthorised,
    Unsupported,
)
from marketjobs.providers.base import Connection
from marketjobs.providers.rss import Rss

SECRET = "s3cr3t-t0k3n"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


@pytest.fixture
def vendor() -> Iterator[FeedVendor]:
    with FeedVendor() as vendor:
        vendor.pages["/feed.xml"] = Page(feed(3))
        yield vendor


@pytest.fixture
def gate() -> RecordingGate:
    return RecordingGate()


def made(gate: RecordingGate, *allowed: str, base_url: str = "http://127.0.0.1:1", **options: Any) -> Rss:
    options = {"timeout_seconds": 10.0, **options}
    return Rss(Connection(gate, base_url, options={"allow_hosts": list(allowed)}, **options))


@pytest.fixture
def provider(gate: RecordingGate, vendor: FeedVendor) -> Rss:
    """One that may ask 127.0.0.1."""
    return made(gate, "127.0.0.1", base_url=vendor.url)


def read(provider: Rss, feed: str | None = None, **query: Any) -> NewsAnswer:
    return asyncio.run(provider.news(NewsQuery(feed=feed, **query)))


# -- what is read -----------------------------------------------------------------------------------------


def test_a_feed(provider: Rss, vendor: FeedVendor, gate: RecordingGate) -> None:
    found = read(provider, f"{vendor.url}/feed.xml")
    assert [story.title for story in found.stories] == ["Story 0", "Story 1", "Story 2"]
    first = found.stories[0]
    assert (first.url, first.guid) == ("https://news.example.com/0", "id-0")
    assert first.summary == "What happened for the 0. time."
    assert first.source == "A & B News"
    assert first.symbols == ()
    assert found.notes == ()
    assert gate.spent == len(vendor.requests) == 1
    assert gate.passes == 1


def test_a_symbols_feed_is_below_the_base_url(gate: RecordingGate, vendor: FeedVendor) -> None:
    vendor.pages["/rss/2.0/headline?s=BRK-B&region=US&lang=en-US"] = Page(feed(2))
    provider = made(gate, base_url=vendor.url)  # what the settings name needs no permission
    found = read(provider, symbol="BRK-B")
    assert [story.symbols for story in found.stories] == [("BRK-B",), ("BRK-B",)]


def test_what_has_not_changed_is_not_sent_again(provider: Rss, vendor: FeedVendor) -> None:
    vendor.pages["/feed.xml"] = Page(feed(3), etag='"v1"')
    first = read(provider, f"{vendor.url}/feed.xml")
    assert (first.etag, first.last_modified) == ('"v1"', "Fri, 20 Nov 2026 12:00:00 GMT")
    again = read(provider, f"{vendor.url}/feed.xml", etag=first.etag, last_modified=first.last_modified)
    assert again == NewsAnswer(is_unchanged=True, etag=first.etag, last_modified=first.last_modified)
    assert vendor.requests[-1].headers["if-modified-since"] == first.last_modified
    vendor.pages["/feed.xml"].etag = '"v2"'
    assert len(read(provider, f"{vendor.url}/feed.xml", etag=first.etag).stories) == 3


def test_redirects_are_followed_five_times(provider: Rss, vendor: FeedVendor, gate: RecordingGate) -> None:
    for number in range(6):
        vendor.pages[f"/{number}"] = Page(status=301 + number % 2, headers={"Location": f"/{number + 1}"})
    vendor.pages["/5"] = Page(feed(1))
    assert len(read(provider, f"{vendor.url}/0").stories) == 1
    assert gate.spent == 6, "each is a request"
    vendor.pages["/5"] = Page(status=307, headers={"Location": "/0"})
    with pytest.raises(ProviderUnavailable, match="more than 5 times"):
        read(provider, f"{vendor.url}/0")
    assert gate.spent == 12


def test_relative_links_are_the_feeds(provider: Rss, vendor: FeedVendor) -> None:
    vendor.pages["/blog/feed.xml"] = Page(rss([item(0, link="story.html"), item(1, link="/top.html")]))
    found = read(provider, f"{vendor.url}/blog/feed.xml?key={SECRET}")
    assert [one.url for one in found.stories] == [f"{vendor.url}/blog/story.html", f"{vendor.url}/top.html"]
    assert SECRET not in repr(found)


def test_a_login_stays_with_its_host(gate: RecordingGate, vendor: FeedVendor) -> None:
    with FeedVendor() as other:
        other.pages["/"] = Page(feed(1))
        vendor.pages["/moved"] = Page(status=302, headers={"Location": f"{other.url}/"})
        provider = made(gate, "127.0.0.1")
        assert len(read(provider, f"http://me:{SECRET}@127.0.0.1:{vendor.port}/feed.xml").stories) == 3
        assert vendor.requests[-1].headers["authorization"].startswith("Basic ")
        read(provider, f"http://me:{SECRET}@127.0.0.1:{vendor.port}/moved")
        assert "authorization" not in other.requests[-1].headers


# -- what is not asked ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://example.com/feed",
        "gopher://example.com/",
        "javascript:alert(1)",
        "/etc/passwd",
        "feed.xml",
        "",
        "http://",
        "http://[::1",
        "http://exa mple.com/",
        "http://127.0.0.1:99999/",
    ],
)
def test_what_is_no_address_of_a_host(gate: RecordingGate, address: str) -> None:
    with pytest.raises(Unsupported):
        read(made(gate, "127.0.0.1"), address)
    assert gate.spent == 0


LOCAL = [
    "127.0.0.1",
    "127.1",
    "0x7f.1",
    "2130706433",
    "0177.0.0.1",
    "127.0.0.1.",
    "localhost",
    "LOCALHOST.",
    "0.0.0.0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[fe80::1]",
    "[fc00::1]",
    "[ff02::1]",
    "good.example@127.0.0.1",
    "good.example\\@127.0.0.1",
    "\uff11\uff12\uff17.0.0.1",
]


@pytest.mark.parametrize("host", LOCAL)
def test_this_host_and_its_network(gate: RecordingGate, vendor: FeedVendor, host: str) -> None:
    with pytest.raises(Unsupported, match="no host of the open network") as caught:
        read(made(gate), f"http://{host}:{vendor.port}/feed.xml?key={SECRET}")
    assert SECRET not in caught.value.message
    assert "unless providers.rss.allow_hosts names it" in caught.value.message
    assert "allow_hosts" in (caught.value.hint or "")
    assert (gate.spent, vendor.requests) == (0, [])


@pytest.mark.parametrize("host", [host for host in LOCAL if host != "127.0.0.1"])
def test_nor_by_redirect(gate: RecordingGate, vendor: FeedVendor, host: str) -> None:
    vendor.pages["/moved"] = Page(status=302, headers={"Location": "http://127.0.0.2/"})
    location = f"http://{host}:{vendor.port}/feed.xml".encode("idna" if host.isascii() else "utf-8").decode("latin-1")
    vendor.pages["/moved"].headers["Location"] = location
    provider = made(gate, base_url=vendor.url)  # only the vendor's own feed is free
    vendor.pages["/rss/2.0/headline"] = vendor.pages["/moved"]
    with pytest.raises(Unsupported):
        read(provider, symbol="AAPL")
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("location", ["file:///etc/passwd", "//127.0.0.1/feed", "ftp://x/", "", "http://[", "data:,x"])
def test_nor_to_another_kind_of_address(gate: RecordingGate, vendor: FeedVendor, location: str) -> None:
    vendor.pages["/rss/2.0/headline"] = Page(status=301, headers={"Location": location})
    with pytest.raises(ProviderError) as caught:
        read(made(gate, base_url=vendor.url), symbol="AAPL")
    assert isinstance(caught.value, Unsupported)


def test_nor_by_a_name_of_which_one_address_is_private(gate: RecordingGate, monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve(monkeypatch, {"feeds.example": ["93.184.216.34", "10.0.0.1"]})
    with pytest.raises(Unsupported, match=r"feeds\.example is no host"):
        read(made(gate), "https://feeds.example/x")


def test_what_was_judged_is_what_is_connected_to(
    gate: RecordingGate, vendor: FeedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name exists for the look-up alone: curl, which could not resolve it, goes where that pointed."""
    _resolve(monkeypatch, {"feeds.invalid": ["127.0.0.1"]})
    found = read(made(gate, "127.0.0.0/8"), f"http://feeds.invalid:{vendor.port}/feed.xml")
    assert len(found.stories) == 3
    assert vendor.requests[0].headers["host"] == f"feeds.invalid:{vendor.port}"


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.0/8", " 127.0.0.1 "])
def test_who_wants_one_of_the_own_network_says_so(gate: RecordingGate, vendor: FeedVendor, allowed: str) -> None:
    assert len(read(made(gate, allowed), f"{vendor.url}/feed.xml").stories) == 3
    with pytest.raises(Unsupported):
        read(made(gate, allowed), "http://10.0.0.1/feed.xml")


def test_a_name_may_be_allowed(gate: RecordingGate, vendor: FeedVendor) -> None:
    assert len(read(made(gate, "Localhost"), f"http://localhost:{vendor.port}/feed.xml").stories) == 3


def test_behind_a_proxy_names_are_the_proxys(gate: RecordingGate, vendor: FeedVendor) -> None:
    provider = made(gate, proxy=vendor.url)
    assert len(read(provider, "http://feeds.invalid/feed.xml").stories) == 3
    assert vendor.requests[0].target.startswith("http://feeds.invalid")
    for host in ("127.0.0.1", "[::1]", "10.0.0.1", "localhost", "x.localhost", "localhost.localdomain", "127.1"):
        with pytest.raises(Unsupported):
            read(provider, f"http://{host}/feed.xml")
    vendor.pages["/moved"] = Page(status=302, headers={"Location": "http://169.254.169.254/latest"})
    with pytest.raises(Unsupported):
        read(provider, "http://feeds.invalid/moved")
    assert len(vendor.requests) == 2


def test_the_environments_proxy_counts_unless_a_host_is_excepted(
    gate: RecordingGate, vendor: FeedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", vendor.url)
    assert len(read(made(gate), "http://feeds.invalid/feed.xml").stories) == 3
    monkeypatch.setenv("no_proxy", "feeds.invalid")
    _resolve(monkeypatch, {"feeds.invalid": ["10.0.0.1"]})
    with pytest.raises(Unsupported):
        read(made(gate), "http://feeds.invalid/feed.xml")


def test_without_budget_nothing_is_sent(provider: Rss, vendor: FeedVendor, gate: RecordingGate) -> None:
    gate.spend_raises = BudgetSpent("later", provider="rss", retry_after_seconds=60)
    with pytest.raises(BudgetSpent):
        read(provider, f"{vendor.url}/feed.xml")
    assert not vendor.requests


# -- bad answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (Page(status=401), Unauthorised),
        (Page(status=403), Blocked),
        (Page(status=404), NoData),
        (Page(status=410), NoData),
        (Page(status=429, headers={"Retry-After": "17"}), RateLimited),
        (Page(status=500), ProviderUnavailable),
        (Page(status=503), ProviderUnavailable),
        (Page(b""), MalformedAnswer),
        (Page(b"<!DOCTYPE html><html><body>Hello</body></html>", content_type="text/html"), MalformedAnswer),
        (Page(b'{"a": 1}'), MalformedAnswer),
        (Page(b"\x00\x01\x02" * 1000), MalformedAnswer),
    ],
)
def test_a_bad_answer_becomes(
    provider: Rss, vendor: FeedVendor, gate: RecordingGate, page: Page, expected: type[ProviderError]
) -> None:
    vendor.pages["/feed.xml"] = page
    with pytest.raises(ProviderError) as caught:
        read(provider, f"{vendor.url}/feed.xml?key={SECRET}")
    assert type(caught.value) is expected
    assert "127.0.0.1" in caught.value.message
    assert SECRET not in caught.value.message
    assert "\n" not in caught.value.message
    if page.status == 429:
        assert caught.value.retry_after_seconds == 17.0
    assert gate.failures == [], "one host's trouble is nobody else's"
    assert [seconds for _, seconds in gate.holds] == ([17.0] if page.status == 429 else []), "only that host is held"


def test_a_limit_of_the_vendors_feeds_is_waited_for(gate: RecordingGate, vendor: FeedVendor) -> None:
    vendor.pages["/rss/2.0/headline"] = Page(status=429)
    with pytest.raises(RateLimited) as caught:
        read(made(gate, base_url=vendor.url), symbol="AAPL")
    assert caught.value.retry_after_seconds == 60.0


def test_a_gzip_bomb_is_cut_while_it_is_unpacked(provider: Rss, vendor: FeedVendor) -> None:
    bomb = gzip.compress(b"<rss>" + b" " * (50 << 20), 9)
    assert len(bomb) < 100_000
    vendor.pages["/feed.xml"] = Page(bomb, headers={"Content-Encoding": "gzip"})
    read_warm(provider, vendor)
    began = time.monotonic()
    with pytest.raises(MalformedAnswer, match="larger than 16 MiB") as caught:
        read(provider, f"{vendor.url}/feed.xml")
    assert time.monotonic() - began < 5, "0.2 s where this was written"
    assert not caught.value.retryable, "a second try would bring the same"


def test_a_web_page_in_place_of_a_feed_may_be_gone_the_next_time(provider: Rss, vendor: FeedVendor) -> None:
    vendor.pages["/feed.xml"] = Page(b"<html><body>Back in five minutes</body></html>")
    with pytest.raises(MalformedAnswer, match="a web page") as caught:
        read(provider, f"{vendor.url}/feed.xml")
    assert caught.value.retryable


def read_warm(provider: Rss, vendor: FeedVendor) -> None:
    """What a first question imports is not what is timed."""
    vendor.pages["/warm.xml"] = Page(feed(1))
    read(provider, f"{vendor.url}/warm.xml")


def test_packed_as_it_should_be(provider: Rss, vendor: FeedVendor) -> None:
    vendor.pages["/feed.xml"] = Page(gzip.compress(feed(5)), headers={"Content-Encoding": "gzip"})
    assert len(read(provider, f"{vendor.url}/feed.xml").stories) == 5


def test_no_answer_in_time_is_an_outage(gate: RecordingGate, vendor: FeedVendor) -> None:
    vendor.pages["/feed.xml"] = Page(feed(1), pause_seconds=1.0)
    with pytest.raises(ProviderUnavailable, match=r"rss \(127\.0\.0\.1\): no answer within 0\.3 s"):
        read(made(gate, "127.0.0.1", timeout_seconds=0.3), f"{vendor.url}/feed.xml?key={SECRET}")


def test_nobody_there_and_no_such_name(gate: RecordingGate, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ProviderUnavailable, match="no connection"):
            read(made(gate, "127.0.0.1"), f"http://127.0.0.1:{unused.getsockname()[1]}/?key={SECRET}")
    _resolve(monkeypatch, {})
    with pytest.raises(ProviderUnavailable, match="can't be resolved"):
        read(made(gate), f"http://feeds.invalid/?key={SECRET}")


def test_the_address_shows_in_no_log(provider: Rss, vendor: FeedVendor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    vendor.pages["/feed.xml"] = Page(b"nonsense")
    with pytest.raises(MalformedAnswer) as caught:
        read(provider, f"{vendor.url}/feed.xml?key={SECRET}")
    assert SECRET not in caplog.text + repr(caught.value) + str(caught.value.__dict__)


def test_many_feeds_at_once(gate: RecordingGate, vendor: FeedVendor) -> None:
    async def many() -> list[NewsAnswer]:
        provider = made(gate, "127.0.0.1", max_connections=3)
        return await asyncio.gather(*(provider.news(NewsQuery(feed=f"{vendor.url}/feed.xml")) for _ in range(20)))

    assert [len(one.stories) for one in asyncio.run(many())] == [3] * 20
    assert gate.spent == len(vendor.requests) == 20


def _resolve(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> None:
    """A name server of our own: names are looked up through the loop."""

    async def getaddrinfo(self: Any, host: str, port: int, **options: Any) -> list[Any]:
        if host not in names:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in names[host]]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
