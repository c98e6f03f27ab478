"""Foreign markup into plain text, and which addresses are ones to follow."""

from __future__ import annotations

import re
import time
from html import escape
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketjobs.providers.feed_address import is_open, literal
from marketjobs.providers.plain import plain_text, web_address

MARKUP = re.compile(r"<[a-zA-Z/!?]")


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("plain", "plain"),
        ("<p>One</p><p>Two</p>", "One Two"),
        ("un<b>believ</b>able", "unbelievable"),
        ("a<br/>b<br>c", "a b c"),
        ("5 &lt; 6 &amp; 7 &gt; 6", "5 < 6 & 7 > 6"),
        ("5 < 6 and 7 > 6", "5 < 6 and 7 > 6"),
        ("<style>p { color: red }</style>Text", "Text"),
        ("<script>if (a < b) alert('</p>')</script>Text", "Text"),
        ("<script>never ends", ""),
        ("<script/>Text", "Text"),
        ("<SCRIPT SRC=x></SCRIPT >Text", "Text"),
        ("a<!-- <b>hidden</b> -->b", "ab"),
        ("a<!-- never ends", "a"),
        ("<img src='x' onerror='alert(1)'>Text", "Text"),
        ("Text <a href='javascript:alert(1)", "Text"),
        ("&amp;lt;b&amp;gt;Text", "&lt;b&gt;Text"),
        ("&lt;b&gt;Text&lt;/b&gt;", "Text"),
        ("<svg><script>x</script></svg>Text", "Text"),
        ("a\x00b\x1b[2Jc\u202ed", "a b [2Jc d"),
        ("", ""),
    ],
)
def test_markup_becomes_text(markup: str, expected: str) -> None:
    assert plain_text(markup, 100) == expected


PIECES = st.sampled_from(
    [
        "<b>",
        "</b>",
        "<script>",
        "</script>",
        "<!--",
        "-->",
        "<",
        ">",
        "&lt;",
        "&gt;",
        "&amp;",
        "&#60;",
        "<a href='",
        "'",
        "x",
        " ",
        "\x00",
        "\u2028",
    ]
)


@given(st.lists(PIECES | st.text(max_size=4), max_size=40).map("".join), st.integers(4, 60))
def test_no_tag_is_left(markup: str, most: int) -> None:
    text = plain_text(markup, most)
    assert len(text) <= most
    assert text.isprintable()
    assert text == text.strip()
    assert not MARKUP.search(text)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=50))
def test_text_survives_its_escaping(text: str) -> None:
    if not MARKUP.search(text) and "&" not in text:
        assert plain_text(escape(text), 100) == " ".join(text.split())


@pytest.mark.parametrize("piece", ["<", "<a ", "<!--", "<script>", "&lt;", "&", "<a '", " ", "<b></b>"])
def test_hostile_markup_costs_no_more_than_its_size(piece: str) -> None:
    markup = piece * (40_000 // len(piece))
    began = time.thread_time()
    for _ in range(20):
        plain_text(markup, 2000)
    assert time.thread_time() - began < 2, "0.1 s where this was written"


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        ("https://example.com/a?b=c#d", True),
        ("http://[2001:db8::1]:8080/", True),
        (" https://example.com/ ", True),
        ("HTTPS://EXAMPLE.COM/", True),
        ("https://münchen.example/ä", True),
        ("javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("data:text/html,x", False),
        ("file:///etc/passwd", False),
        ("//example.com/", False),
        ("/path", False),
        ("https://", False),
        ("https://user:password@example.com/", False),
        ("https://example.com:99999/", False),
        ("https://example.com/a b", False),
        ("https://[::1", False),
        ("https://example.com/" + "x" * 3000, False),
        (None, False),
        (5, False),
    ],
)
def test_addresses(address: object, is_one: bool) -> None:
    assert web_address(address) == (str(address).strip() if is_one else None)


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_judged_by_itself(address: IPv4Address) -> None:
    inside = [
        IPv6Address(f"::ffff:{address}"),
        IPv6Address(f"::{address}"),
        IPv6Address(int(IPv6Address("64:ff9b::")) + int(address)),
        IPv6Address((0x2002 << 112) + (int(address) << 80)),
    ]
    assert {is_open(one) for one in inside} == {is_open(address)}


@given(st.ip_addresses())
def test_an_open_address_is_none_of_the_own_network(address: IPv4Address | IPv6Address) -> None:
    if is_open(address):
        assert not (address.is_private or address.is_loopback or address.is_link_local or address.is_multicast)
        assert not address.is_unspecified


@pytest.mark.parametrize("host", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_the_open_network_is_open(host: str) -> None:
    assert is_open(ip_address(host))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("example.com", None),
        ("1.2.3.4.5", None),
    ],
)
def test_hosts_that_are_addresses(host: str, expected: str | None) -> None:
    found = literal(host)
    assert found == (None if expected is None else ip_address(expected))
