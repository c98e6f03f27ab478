"""Answers of Yahoo's about quotes, profiles and stories, damaged in every way: what comes out is sound, or an error of
our tree; never another exception, never figures of another symbol."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketjobs.domain.assets import Listing
from marketjobs.domain.news import NewsAnswer
from marketjobs.domain.profiles import FIGURES, Profile
from marketjobs.domain.quotes import Quote, broken_rule
from marketjobs.errors import ProviderError
from marketjobs.providers.yahoo_news import parse_matches, parse_news
from marketjobs.providers.yahoo_profile import parse_summary
from marketjobs.providers.yahoo_quotes import parse_quotes
from unit.test_yahoo_nonsense import NONSENSE, assert_tellable, damaged, places

NOW = 1_795_200_000.0
ASKED = [Listing("AAPL"), Listing("BTC-USD", "USD")]
QUOTES: dict[str, Any] = {
    "quoteResponse": {
        "error": None,
        "result": [
            {
                "symbol": symbol,
                "currency": "USD",
                "regularMarketPrice": 12.5,
                "regularMarketTime": 1_795_100_000,
                "regularMarketChangePercent": -0.5,
                "regularMarketPreviousClose": 12.6,
                "regularMarketVolume": 10**12,
                "marketCap": 4 * 10**12,
            }
            for symbol in ("AAPL", "BTC-USD")
        ],
    }
}
SUMMARY: dict[str, Any] = {
    "quoteSummary": {
        "error": None,
        "result": [
            {
                "price": {"symbol": "AAPL", "currency": "USD", "quoteType": "EQUITY", "marketCap": {"raw": 4e12}},
                "assetProfile": {"sector": "Technology", "website": "https://apple.com", "fullTimeEmployees": 161_000},
                "summaryDetail": {"trailingPE": 21.5, "exDividendDate": 1_739_145_600},
                "financialData": {"financialCurrency": "USD", "totalRevenue": 1e11},
            }
        ],
    }
}
SEARCH: dict[str, Any] = {
    "quotes": [{"symbol": "AAPL", "quoteType": "EQUITY", "longname": "Apple Inc.", "exchange": "NMS"}],
    "news": [
        {
            "uuid": "1",
            "title": "A title",
            "link": "https://example.com/1",
            "providerPublishTime": 1_795_000_000,
            "relatedTickers": ["AAPL"],
        }
    ],
}


def damages(document: dict[str, Any]) -> st.SearchStrategy[Any]:
    kinds = st.sampled_from(["set", "drop", "repeat", "swap", "text", "wrap", "deepen", "shuffle"])
    return st.lists(st.tuples(kinds, st.sampled_from(places(document)), NONSENSE), min_size=1, max_size=4)


def body_of(document: Any, changes: list[Any]) -> bytes:
    for change in changes:
        document = damaged(document, change)
    return json.dumps(document).encode()


def is_text(value: Any, most: int) -> bool:
    return value is None or (isinstance(value, str) and 0 < len(value) <= most and value.isprintable())


@given(changes=damages(QUOTES))
def test_quotes(changes: list[Any]) -> None:
    try:
        found = parse_quotes(body_of(QUOTES, changes), ASKED)
    except ProviderError as error:
        assert_tellable(error)
        return
    assert list(found) == ASKED
    for one in found.values():
        if isinstance(one, ProviderError):
            assert_tellable(one)
            continue
        assert is_text(one.currency, 160)
        for value in one[3:]:
            assert value is None or (type(value) is float and math.isfinite(value))
        if broken_rule(one, NOW) is None:
            assert 0 < one.price < math.inf
            assert math.isfinite(one.at)


@given(changes=damages(SUMMARY))
def test_profiles(changes: list[Any]) -> None:
    try:
        found = parse_summary(body_of(SUMMARY, changes), "AAPL")
    except ProviderError as error:
        assert_tellable(error)
        return
    assert set(found.figures) <= set(FIGURES)
    for value in found.figures.values():
        assert isinstance(value, str) or (type(value) is float and math.isfinite(value))
    assert found.employees is None or 0 <= found.employees < 10**8
    assert found.website is None or found.website.startswith(("http://", "https://"))
    texts = (found.sector, found.industry, found.country, found.facts.name, found.facts.currency)
    assert all(is_text(one, 160) for one in texts)
    assert is_text(found.summary, 5000)


@given(changes=damages(SEARCH))
def test_stories_and_matches(changes: list[Any]) -> None:
    body = body_of(SEARCH, changes)
    try:
        stories, matches = parse_news(body, "AAPL").stories, parse_matches(body)
    except ProviderError as error:
        assert_tellable(error)
        return
    for one in stories:
        assert one.title
        assert is_text(one.title, 300)
        assert is_text(one.guid, 160)
        assert one.url is None or one.url.startswith(("http://", "https://"))
        assert one.published_at is None or math.isfinite(one.published_at)
    for match in matches:
        assert match.symbol
        assert is_text(match.symbol, 160)
        assert match.listing == Listing(match.symbol)


@given(body=st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    for parse in (
        lambda: parse_quotes(body, ASKED),
        lambda: parse_summary(body, "AAPL"),
        lambda: parse_news(body, "AAPL"),
        lambda: parse_matches(body),
    ):
        try:
            assert isinstance(parse(), dict | Profile | NewsAnswer | list)
        except ProviderError as error:
            assert_tellable(error)


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "//evil", "https://u:p@x/", 5, None])
def test_a_link_that_no_browser_should_follow_is_none(address: Any) -> None:
    document = {"news": [{"title": "A title", "link": address, "uuid": "1"}], "quotes": []}
    [story] = parse_news(json.dumps(document).encode(), "AAPL").stories
    assert story.url is None


def test_undamaged_they_are_good() -> None:
    assert all(isinstance(one, Quote) for one in parse_quotes(body_of(QUOTES, []), ASKED).values())
    assert len(parse_summary(body_of(SUMMARY, []), "AAPL").figures) == 4
    assert len(parse_news(body_of(SEARCH, []), "AAPL").stories) == len(parse_matches(body_of(SEARCH, []))) == 1


def test_large_answers_cost_no_more_than_their_size() -> None:
    many = {"quoteResponse": {"result": [{"symbol": f"S{number}"} for number in range(200_000)], "error": None}}
    body, began = json.dumps(many).encode(), time.thread_time()
    parse_quotes(body, ASKED)
    parse_news(json.dumps({"news": [{"title": "x" * 1000}] * 100_000}).encode(), "AAPL")
    assert time.thread_time() - began < 6, "about 0.5 s each where this was written"
