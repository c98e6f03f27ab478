"""Yahoo's v1 search, read without a network: what a text could mean, and stories about a symbol.

Yahoo documents none of it.  Source: yfinance 1.7.0 (``search.py``), answers recorded in 2025 (read 2026-11).  Stories
are taken from the search and not from the page's own stream, which yfinance asks: the search wants neither cookie nor
crumb, and names the symbols that a story is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marketjobs.domain.assets import Listing, Match
from marketjobs.domain.news import NewsAnswer, Story
from marketjobs.providers.plain import web_address
from marketjobs.providers.yahoo_answers import SEARCH, decoded, raise_error
from marketjobs.providers.yahoo_values import ASSET_CLASSES, asset_class, malformed, number, text

STORIES = 20
MATCHES = 10
TITLE_CHARACTERS = 300


def search_params(words: str) -> dict[str, str]:
    return {"q": words, "quotesCount": str(MATCHES), "newsCount": "0", "enableFuzzyQuery": "true"}


def news_params(symbol: str) -> dict[str, str]:
    return {"q": symbol, "quotesCount": "0", "newsCount": str(STORIES), "enableFuzzyQuery": "false"}


def parse_matches(body: bytes) -> list[Match]:
    """What the vendor's search found, in its order, without options and what is not quoted.

    Raises:
        MalformedAnswer, Blocked: it can't be read.
    """
    found = [one for one in _group(body, "quotes", None) if _is_quoted(one)]
    return [_match(one, rank) for rank, one in enumerate(found, start=1)]


def _is_quoted(found: Mapping[str, Any]) -> bool:
    kind = found.get("quoteType")
    return text(found.get("symbol")) is not None and isinstance(kind, str) and kind in ASSET_CLASSES


def _match(found: Mapping[str, Any], rank: int) -> Match:
    symbol = text(found["symbol"]) or ""
    return Match(
        Listing(symbol),
        symbol,
        name=text(found.get("longname")) or text(found.get("shortname")),
        asset_class=asset_class(found.get("quoteType")),
        exchange=text(found.get("exchange")),
        rank=rank,
    )


def parse_news(body: bytes, symbol: str) -> NewsAnswer:
    """Stories that name the symbol, or no symbol at all, in the vendor's order, each once; the search also finds what
    its words only resemble.

    Raises:
        MalformedAnswer, Blocked: it can't be read.
    """
    stories: dict[str, Story] = {}
    for one in _group(body, "news", symbol):
        story = _story(one)
        if story is not None and (not story.symbols or symbol.upper() in story.symbols):
            stories.setdefault(story.guid or story.url or story.title, story)
    return NewsAnswer(list(stories.values()))


def _story(found: Mapping[str, Any]) -> Story | None:
    title = text(found.get("title"), TITLE_CHARACTERS)
    if title is None:
        return None
    named = found.get("relatedTickers")
    symbols = [text(one) for one in named] if isinstance(named, list) else []
    return Story(
        title=title,
        url=web_address(found.get("link")),
        guid=text(found.get("uuid")),
        source=text(found.get("publisher")),
        published_at=number(found.get("providerPublishTime")),
        symbols=tuple(dict.fromkeys(one.upper() for one in symbols if one)),
    )


def _group(body: bytes, name: str, symbol: str | None) -> list[dict[str, Any]]:
    document = decoded(body, symbol)
    raise_error(document, SEARCH, symbol)
    group = document.get(name) if isinstance(document, dict) else None
    if not isinstance(group, list):
        raise malformed(symbol, f"no list of {name}")
    return [one for one in group if isinstance(one, dict)]
