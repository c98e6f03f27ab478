"""Feeds' bytes into stories: recorded ones, hostile ones, damaged ones."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feed_vendor import NEWEST, feed, item, rss
from marketjobs.domain.news import NewsAnswer
from marketjobs.errors import MalformedAnswer
from marketjobs.providers.feed_text import MOST_ENTRIES, parse_feed
from recorded_feeds import FEEDS, FOLDER, REFUSED

needs_recordings = pytest.mark.skipif(
    not os.environ.get("MARKETJOBS_RECORDED"), reason="MARKETJOBS_RECORDED names no folder"
)
NOW = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
ENTITIES = b'<!ENTITY a "1234567890">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + step, b"&%c;" % (97 + step) * 10) for step in range(8)
)
LAUGHS = b"<rss version='2.0'><channel><item><title>&i;</title></item></channel></rss>"
START = b"<rss version='2.0'><channel><title>t</title>"


def parse(body: bytes, content_type: str = "application/rss+xml", symbol: str | None = None) -> NewsAnswer:
    return parse_feed(body, content_type, "https://feeds.example/dir/feed.xml", "feeds.example", symbol, NOW)


# -- recorded ---------------------------------------------------------------------------------------------


@needs_recordings
def test_each_recorded_feed_has_an_expectation() -> None:
    found = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    assert found == {*FEEDS, *REFUSED}, "a new recording: say in recorded_feeds.py what it has to become"


@needs_recordings
@pytest.mark.parametrize("name", FEEDS)
def test_recorded_feeds(name: str) -> None:
    answer = parse((FOLDER / name).read_bytes(), "")
    stories = answer.stories
    assert (len(stories), sum(story.published_at is not None for story in stories)) == FEEDS[name][:2]
    assert not stories or stories[0].title.startswith(FEEDS[name].title)
    assert_clean(answer)


@needs_recordings
@pytest.mark.parametrize("name", REFUSED)
def test_recorded_attacks_and_what_is_no_feed(name: str) -> None:
    with pytest.raises(MalformedAnswer, match=REFUSED[name]):
        parse((FOLDER / name).read_bytes(), "")


MARKUP = re.compile(r"<[a-zA-Z/!?]")


def assert_clean(answer: NewsAnswer) -> None:
    """Plain, bounded, each once, no link that a browser should not follow."""
    guids = [story.guid for story in answer.stories if story.guid]
    assert len(guids) == len(set(guids))
    for story in answer.stories:
        assert story.title
        for value, most in ((story.title, 300), (story.summary, 2000), (story.source, 160), (story.guid, 320)):
            assert value is None or (0 < len(value) <= most and value.isprintable() and not MARKUP.search(value))
        assert story.url is None or story.url.startswith(("http://", "https://"))
        assert story.published_at is None or 0 < story.published_at <= NOW + 300


# -- what feeds do ----------------------------------------------------------------------------------------


def test_ten_thousand_entries_are_all_there() -> None:
    answer = parse(feed(MOST_ENTRIES))
    assert len(answer.stories) == MOST_ENTRIES
    assert [story.guid for story in answer.stories[::2500]] == ["id-0", "id-2500", "id-5000", "id-7500"]
    assert answer.notes == ()


def test_more_are_cut_with_a_word_about_it() -> None:
    answer = parse(rss(f"<item><title>x</title><guid>{number}</guid></item>" for number in range(MOST_ENTRIES + 500)))
    assert len(answer.stories) == MOST_ENTRIES
    assert answer.notes == ("it has more than 10000 entries: the rest was left out",)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Fri, 20 Nov 2026 12:00:00 GMT", NEWEST.timestamp()),
        ("Fri, 20 Nov 2026 07:00:00 -0500", NEWEST.timestamp()),
        ("2026-11-20T12:00:00Z", NEWEST.timestamp()),
        (None, None),
        ("2 hours ago", None),
        ("yesterday", None),
        ("Fri, 20 Nov 2027 12:00:00 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("0000-00-00", None),
        ("99999999999999999999", None),
    ],
)
def test_dates(date: str | None, expected: float | None) -> None:
    [story] = parse(rss([item(1, date=date)])).stories
    assert story.published_at == expected


def test_a_guid_that_comes_twice_is_one_story() -> None:
    answer = parse(rss([item(1, guid="same"), item(2, guid="same"), item(3, guid=None), item(3, guid=None)]))
    assert [story.title for story in answer.stories] == ["Story 1", "Story 3"]
    assert answer.notes == ("2 came twice",)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("<b>Bold</b> &amp; brave", "Bold & brave"),
        ("AT&amp;T up 5%", "AT&T up 5%"),
        ("a <script>alert(1)</script> b", "a b"),
        ("<img src=x onerror=alert(1)> Title", "Title"),
        ("&lt;script&gt;alert(1)&lt;/script&gt; Title", "alert(1) Title"),
        ("Title <img src=x onerror=alert(1) ", "Title"),
        ("a\n\n  b\t c", "a b c"),
        ("Zeile\u2028eins\u202e\x85", "Zeile eins"),
        ("Profits <10% of sales", "Profits <10% of sales"),
        ("x" * 400, "x" * 297 + "..."),
    ],
)
def test_titles_are_plain(title: str, expected: str) -> None:
    [story] = parse(rss([item(1, title=title)])).stories
    assert story.title == expected


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "https://u:p@x.example/"]
)
def test_a_link_that_no_browser_should_follow_is_none(link: str) -> None:
    [story] = parse(rss([item(1, link=link)])).stories
    assert story.url is None


@pytest.mark.parametrize(
    ("encoding", "content_type", "declared"),
    [
        ("utf-8", "application/xml", "utf-8"),
        ("utf-8", "application/xml; charset=iso-8859-1", "iso-8859-1"),
        ("utf-8", "text/xml", ""),
        ("iso-8859-1", "application/xml; charset=ISO-8859-1", "utf-8"),
        ("windows-1252", "", "utf-8"),
        ("windows-1252", "text/html; charset=bogus", "nonsense"),
        ("utf-16", "application/xml", "utf-16"),
        ("utf-16-le", "application/xml", "utf-8"),
        ("utf-8-sig", "", ""),
        ("iso-8859-15", "application/xml", "iso-8859-15"),
    ],
)
def test_encodings_right_and_wrong(encoding: str, content_type: str, declared: str) -> None:
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else '<?xml version="1.0"?>'
    body = rss([item(1, title="Café Zürich")], head=head).decode().encode(encoding)
    assert parse(body, content_type).stories[0].title == "Café Zürich"


def test_the_source_is_the_feeds_title_else_its_host() -> None:
    assert parse(feed(1)).stories[0].source == "A & B News"
    assert parse(rss([item(1)], title="")).stories[0].source == "feeds.example"


def test_htmls_own_entities_are_read() -> None:
    [story] = parse(
        rss(["<item><title>Caf&eacute;&nbsp;&mdash; open</title><link>https://x.example/</link></item>"])
    ).stories
    assert story.title == "Café — open"


def test_a_feed_that_is_cut_keeps_what_came() -> None:
    whole = feed(50)
    answer = parse(whole[: len(whole) // 2])
    assert 20 < len(answer.stories) < 30
    assert answer.notes == ("it is no XML: what could be read of it was taken",)
    assert_clean(answer)


# -- hostile ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"<?xml version='1.0'?><!DOCTYPE l [" + ENTITIES + b"]>" + LAUGHS,
        b"<?xml version='1.0'?>\n<!DOCTYPE l [\n" + ENTITIES.replace(b"<!", b"\n<!") + b"]>\n" + LAUGHS,
        b"<!-- <rss> --><!DOCTYPE l [" + ENTITIES + b"]>" + LAUGHS,
        (b"<?xml version='1.0' encoding='utf-16'?><!DOCTYPE l [" + ENTITIES + b"]>" + LAUGHS).decode().encode("utf-16"),
        b"<!DOCTYPE l [<!ENTITY i SYSTEM 'file:///etc/passwd'>]>" + LAUGHS,
        b"<!DOCTYPE l [<!ENTITY % i SYSTEM 'http://127.0.0.1/x'> %i;]>" + LAUGHS,
    ],
    ids=["one line", "lines", "behind a comment", "utf-16", "external", "parameter"],
)
def test_entities_are_not_expanded(body: bytes) -> None:
    began = time.thread_time()
    with pytest.raises(MalformedAnswer, match="declares entities") as caught:
        parse(body)
    assert time.thread_time() - began < 0.5
    assert not caught.value.retryable, "a second try would bring the same"


def test_a_document_type_alone_does_no_harm() -> None:
    body = b"<!DOCTYPE rss SYSTEM 'file:///etc/passwd'>" + rss([item(1)], head="")
    assert len(parse(body).stories) == 1


def _of(piece: bytes, megabytes: int = 16) -> bytes:
    return piece * ((megabytes << 20) // len(piece))


@pytest.mark.parametrize(
    "body",
    [
        lambda: _of(b"\n") + START,
        lambda: START + _of(b"<a>"),
        lambda: START + _of(b"<item/>"),
        lambda: START + _of(b"<"),
        lambda: START + _of(b"&"),
        lambda: START + _of(b"<!--"),
        lambda: START + _of(b"<![CDATA["),
        lambda: START + _of(b"<a b="),
        lambda: START + _of(b"<a '"),
        lambda: START + b"<item><title>" + _of(b"&lt;") + b"</title></item></channel></rss>",
        lambda: (
            START + b"<a " + b" ".join(b"xmlns:a%d='u'" % number for number in range(100_000)) + b">" + _of(b"<c/>", 4)
        ),
        lambda: START + _of(b"<item><title>x</title><pubDate>" + b" 1:" * 2000 + b"</pubDate></item>"),
        lambda: b"<?xml version='1.0' encoding='punycode'?>" + START + _of(b"a"),
        lambda: b"<?xml version='1.0' encoding='idna'?>" + START + _of(b"a."),
        lambda: _of(b"\0"),
        lambda: _of(b"\xff"),
        lambda: b"<feed xmlns='http://www.w3.org/2005/Atom'><entry>" + _of(b"<link href='x'/>"),
    ],
    ids=lambda make: "",
)
def test_hostile_bodies_are_cut_within_two_seconds(body: Callable[[], bytes]) -> None:
    content = body()
    began = time.thread_time()
    try:
        assert_clean(parse(content))
    except MalformedAnswer as error:
        assert len(error.message) < 200
    assert time.thread_time() - began < 4, "2 s where this was written"


GOOD = feed(4)


@example(at=89, length=5, other=b"")  # an end of nothing in a title
@given(at=st.integers(0, len(GOOD)), length=st.integers(0, 40), other=st.binary(max_size=40))
def test_bytes_overwritten_anywhere(at: int, length: int, other: bytes) -> None:
    try:
        assert_clean(parse(GOOD[:at] + other + GOOD[at + length :]))
    except MalformedAnswer as error:
        assert error.message.isprintable()


PIECES = st.sampled_from(
    [
        b"<item>",
        b"</item>",
        b"<title>",
        b"</title>",
        b"<link>",
        b"<guid>",
        b"<entry>",
        b"</entry>",
        b"<pubDate>",
        b"<a:b ",
        b"<content type='xhtml'>",
        b"<summary type='html'>",
        b"<![CDATA[",
        b"]]>",
        b"&lt;b&gt;",
        b"&nbsp;",
        b"<!--",
        b"-->",
        b"<image>",
        b"<source>",
        b"<media:content url='x'>",
        b"<link href='y' rel='z'/>",
        b"<enclosure/>",
        b"javascript:x",
        b"\x00",
    ]
)


@given(
    pieces=st.lists(PIECES | st.binary(max_size=6), max_size=40),
    head=st.sampled_from([START, b"<feed>", b"", b"<rdf:RDF>"]),
)
def test_any_order_of_a_feeds_pieces(pieces: list[bytes], head: bytes) -> None:
    try:
        assert_clean(parse(head + b"".join(pieces)))
    except MalformedAnswer as error:
        assert error.message.isprintable()


@given(body=st.binary(max_size=300), content_type=st.text(max_size=40))
def test_any_bytes(body: bytes, content_type: str) -> None:
    try:
        assert_clean(parse(body, content_type))
    except MalformedAnswer as error:
        assert error.message.isprintable()


def test_a_symbols_feed_says_whose_it_is() -> None:
    found: Any = parse(feed(2), symbol="AAPL").stories
    assert [story.symbols for story in found] == [("AAPL",)] * 2
