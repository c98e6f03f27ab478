"""Symbols as people (and programs that mean no good) type them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketjobs.domain.assets import MAX_SYMBOL_LENGTH, normalise_symbol, normalise_symbols
from marketjobs.errors import InvalidInput


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("AAPL", "AAPL"),
        ("aapl", "AAPL"),
        ("  aapl\t", "AAPL"),
        ("BTC-USD", "BTC-USD"),
        ("brk-b", "BRK-B"),
        ("^GSPC", "^GSPC"),
        ("EURUSD=X", "EURUSD=X"),
        ("ES=F", "ES=F"),
        ("M&M.NS", "M&M.NS"),
        ("7203.T", "7203.T"),
        ("A+B", "A+B"),
        ("BRK_A", "BRK_A"),
        ("A" * MAX_SYMBOL_LENGTH, "A" * MAX_SYMBOL_LENGTH),
    ],
)
def test_symbols_that_exchanges_use_are_taken(typed: str, meant: str) -> None:
    assert normalise_symbol(typed) == meant


HOSTILE = {
    "empty": "",
    "blank": "   \t ",
    "huge": "A" * 10_240,
    "one too long": "A" * (MAX_SYMBOL_LENGTH + 1),
    "nul inside": "AA\0PL",
    "nul behind": "AAPL\0",
    "line break inside": "AA\nPL",
    "sql": "'; DROP TABLE asset; --",
    "sql without blanks": "A'OR'1'='1",
    "sql wildcard": "A%",
    "path": "../../etc/passwd",
    "absolute path": "/etc/passwd",
    "windows path": "C:\\AUTOEXEC",
    "dots": "..",
    "url": "https://example.com/",
    "query": "AAPL?x=1",
    "fragment": "AAPL#1",
    "percent": "AAPL%00",
    "blank inside": "AA PL",
    "comma": "AAPL,MSFT",
    "option": "-s",
    "full-width letters": "\uff21\uff21\uff30\uff2c",
    "cyrillic lookalike": "\u0410APL",
    "greek lookalike": "\u0391\u0391PL",
    "dotless i, whose upper case is ascii": "\u0131bm",
    "long s, whose upper case is ascii": "\u017fpy",
    "sharp s": "stra\u00dfe",
    "zero width": "AA\u200bPL",
    "right to left": "\u202eLPAA",
    "combining": "AAPL\u0301",
    "emoji": "\U0001f680",
    "surrogate": "\ud800",
    "arabic digits": "\u0661\u0662",
    "escape": "\x1b[31mAAPL",
    "markup": "<script>",
    "template": "{{7*7}}",
    "shell": "$(id)",
    "backtick": "`id`",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_no_exchange_uses_is_refused_in_one_short_printable_line(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        normalise_symbol(text)
    message = caught.value.message
    assert len(message) < 200
    assert message.isascii() and message.isprintable()


@pytest.mark.parametrize("value", [None, 5, 1.5, b"AAPL", ["AAPL"], {"a": 1}, True])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match=f"not {type(value).__name__}"):
        normalise_symbol(value)  # type: ignore[arg-type]


def test_each_symbol_once_in_the_order_given() -> None:
    assert normalise_symbols(["msft", "AAPL", "MSFT", " aapl "]) == ("MSFT", "AAPL")


@pytest.mark.parametrize("value", [[], (), iter([])])
def test_no_symbol_at_all_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="no symbol was given"):
        normalise_symbols(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["AAPL", "", None, 5, [None], [["AAPL"]], ["AAPL", 5]])
def test_a_list_of_texts_is_wanted(value: object) -> None:
    with pytest.raises(InvalidInput):
        normalise_symbols(value)  # type: ignore[arg-type]


def test_one_bad_symbol_refuses_the_request_and_is_named() -> None:
    with pytest.raises(InvalidInput, match="'B D'"):
        normalise_symbols(["AAPL", "B D", "MSFT"])


@given(st.text(max_size=60))
def test_whatever_is_typed_becomes_a_plain_symbol_or_is_refused(text: str) -> None:
    try:
        symbol = normalise_symbol(text)
    except InvalidInput:
        return
    assert re.fullmatch(r"[A-Z0-9^][A-Z0-9.^=&+_-]{0,31}", symbol)
    assert normalise_symbol(symbol) == symbol
