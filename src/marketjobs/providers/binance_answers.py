"""Binance's answers, read without a network: klines, tickers, pairs, and what its refusals mean.

Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api and .../errors (read 2026-11), answers
recorded from 2018 to 2021.
"""

from __future__ import annotations

import re
import time
from array import array
from collections.abc import Iterable, MutableSequence, Sequence
from datetime import date
from typing import Any, NamedTuple

import orjson

from marketjobs.domain.assets import AssetClass, AssetFacts, Listing, Match
from marketjobs.domain.bars import BarAnswer, BarQuery, ColumnRows, Hours
from marketjobs.domain.intervals import DAY_SECONDS, Interval, day_of, next_period, period_start, stamp_of
from marketjobs.domain.quotes import Quote
from marketjobs.errors import (
    Blocked,
    ProviderError,
    ProviderUnavailable,
    RangeUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
)
from marketjobs.providers import answers
from marketjobs.providers.coins import utc_session
from marketjobs.providers.http import Answer

NAME = "binance"
SENT_AS = {
    Interval.MINUTE_1: "1m",
    Interval.MINUTE_5: "5m",
    Interval.MINUTE_15: "15m",
    Interval.MINUTE_30: "30m",
    Interval.MINUTE_60: "1h",
    Interval.HOUR_1: "1h",
    Interval.DAY_1: "1d",
    Interval.WEEK_1: "1w",
    Interval.MONTH_1: "1M",
}
"""Binance's weeks begin on Monday, its months on the first, all of them at 00:00Z, as ours do."""
FIRST_STAMP = stamp_of(date(2017, 7, 1))
"""It opened that month: nothing is older."""
ROWS_A_PAGE = 1000
KLINE_FIELDS, CLOSED_AT = 12, 6
_KINDS: dict[int, type[ProviderError]] = {
    -1121: SymbolUnknown,
    -1003: RateLimited,
    -1015: RateLimited,
    -1000: ProviderUnavailable,
    -1001: ProviderUnavailable,
    -1004: ProviderUnavailable,
    -1006: ProviderUnavailable,
    -1007: ProviderUnavailable,
    -1008: ProviderUnavailable,
    -1016: ProviderUnavailable,
    -1002: Unauthorised,
    -2014: Unauthorised,
    -2015: Unauthorised,
}
_BANNED = re.compile(r"banned until (\d{12,14})")


def refusal(answer: Answer, symbol: str | None) -> ProviderError | None:
    """What an answer means that is not what was asked for; ``None``: it is."""
    if answer.status == 200 and not answer.body.startswith(b'{"code":'):
        return None
    code, words = _code_and_words(answer.body)
    kind = _KINDS.get(code) or (RangeUnavailable if -1199 <= code <= -1100 else None)
    if code == -1100 and "'symbol" in words:
        kind = SymbolUnknown  # a character that no symbol of Binance's has
    if answer.status == 418 or _BANNED.search(words):
        kind = Blocked
    if kind is None:
        return answers.refusal(NAME, answer, symbol, words) or answers.malformed(NAME, symbol, f"code {code}")
    said = f': "{answers.printable(words)}"' if words else ""
    texts = {
        SymbolUnknown: f"binance does not know {symbol}{said}",
        RateLimited: "binance says: too many requests" + (f" ({answer.status})" if answer.status != 200 else ""),
        Blocked: f"binance banned this address for too many requests ({answer.status})",
        Unauthorised: f"binance refused access ({code}){said}",
        RangeUnavailable: f"binance does not give this of {symbol}{said}",
        ProviderUnavailable: f"binance answered {answer.status}{said}",
    }
    return kind(texts[kind], provider=NAME, symbol=symbol, retry_after_seconds=_wait(answer, words))


def _code_and_words(body: bytes) -> tuple[int, str]:
    """0 and nothing, where it is no error of Binance's own."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return 0, ""
    if not isinstance(document, dict) or type(document.get("code")) is not int:
        return 0, ""
    return document["code"], answers.text(document.get("msg"), most=400) or ""


def _wait(answer: Answer, words: str) -> float | None:
    told = answers.retry_after_seconds(answer.headers)
    until = _BANNED.search(words)
    if told is None and until is not None:
        return answers.seconds_until(int(until[1]) / 1000, answer.headers)
    return told


def used_weight(answer: Answer) -> int | None:
    """What this address has used of the minute that runs, by Binance's count."""
    told = answer.headers.get("x-mbx-used-weight-1m") or ""
    return int(told) if told.isdecimal() and len(told) < 10 else None


# Klines


def bar_starts(interval: Interval, start: int, bars: int) -> int:
    """The stamp of the bar so many after the one that ``start`` lies in."""
    if interval.is_intraday or interval is Interval.DAY_1:
        return start // interval.seconds * interval.seconds + bars * interval.seconds
    day = period_start(day_of(start), interval)
    if interval is Interval.WEEK_1:
        return stamp_of(day) + bars * 7 * DAY_SECONDS
    for _ in range(bars):
        day = next_period(day, interval)
    return stamp_of(day)


def pages(interval: Interval, start: int, end: int) -> list[tuple[int, int]]:
    """The range in parts of as many bars as one request gives, ascending."""
    found = []
    while start < end:
        after = min(bar_starts(interval, start, ROWS_A_PAGE), end)
        found.append((start, after))
        start = after
    return found


Columns = list[MutableSequence[Any]]
"""Stamps, opens, highs, lows, closes and volumes; arrays where all of a column are numbers."""


def parse_klines(answer: Answer, query: BarQuery) -> Columns:
    """One page by columns, as sent but for its decimals, which Binance writes as texts.  Raises MalformedAnswer."""
    page, kept = _read_at_once(answer.body), _packed
    if page is None:
        page, kept = answers.decoded(NAME, answer, query.symbol), _one_by_one
        if page == []:
            return [[] for _ in range(CLOSED_AT)]
        if not _are_klines(page):
            raise answers.malformed(NAME, query.symbol, "it is no list of bars")
    opened, closed = [row[0] for row in page], (row[CLOSED_AT] for row in page)
    if set(map(type, opened)) != {int} or not 0 <= min(opened) <= max(opened) < 1 << 46:
        raise answers.malformed(NAME, query.symbol, "bars without an instant")
    if _is_off_grid(query.interval, opened) or not _has_length(query.interval, opened, closed):
        raise answers.malformed(NAME, query.symbol, f"its bars are not of {query.interval}")
    stamps = array("q", [instant // 1000 for instant in opened])
    return [stamps, *(kept([row[field] for row in page]) for field in range(1, CLOSED_AT))]


def joined(pages: Sequence[Columns]) -> Columns:
    """The columns of several pages, one after the other."""
    return [_end_to_end(parts) for parts in zip(*pages, strict=True)]


def _end_to_end(parts: Sequence[MutableSequence[Any]]) -> MutableSequence[Any]:
    first, *further = parts
    if not all(type(part) is array for part in parts):
        return [value for part in parts for value in part]
    for part in further:
        first.extend(part)
    return first


def _packed(column: list[Any]) -> MutableSequence[Any]:
    """Numbers as a quarter of the memory that Python's own take; a column that lacks one as it is."""
    try:
        return array("d", column)
    except TypeError:
        return column


def _one_by_one(column: list[Any]) -> MutableSequence[Any]:
    return list(map(answers.as_number, column))


def _read_at_once(body: bytes) -> list[list[Any]] | None:
    """Without their quotes all decimals are read as numbers, at a quarter of the price of float() for each.

    ``None``: it must be read with more patience, because one of them is no number.
    """
    if b"e" in body:  # of a true or a false, which would pass for a number
        return None
    try:
        page = orjson.loads(body.translate(None, b'"'))
    except ValueError:
        return None
    return page if _are_klines(page) else None


def _are_klines(page: Any) -> bool:
    return isinstance(page, list) and set(map(type, page)) == {list} and set(map(len, page)) == {KLINE_FIELDS}


def _is_off_grid(interval: Interval, opened: Sequence[int]) -> bool:
    """Whether an instant of them, in milliseconds, is no start of a bar."""
    step = interval.seconds * 1000
    if any(instant % step for instant in opened):
        return True
    if interval.is_intraday or interval is Interval.DAY_1:
        return False
    days = (day_of(instant // 1000) for instant in opened)
    return any(day != period_start(day, interval) for day in days)


def _has_length(interval: Interval, opened: Sequence[int], closed: Iterable[Any]) -> bool:
    """Is any bar as long as it should be?  Single ones were cut short, when the exchange was closed."""
    ends: Iterable[int]
    if interval.is_intraday or interval is Interval.DAY_1:
        step = interval.seconds * 1000
        ends = (instant + step for instant in opened)
    else:
        ends = (stamp_of(next_period(day_of(instant // 1000), interval)) * 1000 for instant in opened)
    return any(type(told) is int and told + 1 == end for told, end in zip(closed, ends, strict=True))


def bar_answer(query: BarQuery, columns: Columns) -> BarAnswer:
    """Minutes and hours are final once over: what runs is a single bar."""
    stamps, first, high, low, last, volume = columns
    rows = ColumnRows((stamps, stamps, first, high, low, last, [None] * len(stamps), volume))
    step, now = query.interval.seconds, time.time()
    running = now // step * step
    return BarAnswer(
        query,
        rows,
        facts=AssetFacts(asset_class=AssetClass.CRYPTO, currency=query.currency, exchange="BINANCE", timezone="UTC"),
        session=None if query.interval.is_intraday else utc_session(now=now),
        hours=(Hours(running, running + step),) if query.interval.is_intraday else (),
    )


# Tickers


def parse_tickers(answer: Answer, listings: Sequence[Listing]) -> dict[Listing, Quote | ProviderError]:
    """24-hour tickers of one pair, of several or of all.  Raises MalformedAnswer."""
    asked = listings[0].symbol if len(listings) == 1 else None
    document = answers.decoded(NAME, answer, asked)
    rows = [document] if isinstance(document, dict) else document
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise answers.malformed(NAME, asked, "it is no list of tickers")
    by_symbol = {row.get("symbol"): row for row in rows if isinstance(row.get("symbol"), str)}
    wanted = {listing.symbol for listing in listings}
    if not wanted & by_symbol.keys() and rows:
        raise answers.malformed(NAME, asked, f"figures of {answers.printable(rows[0].get('symbol'))}")
    return {listing: _quote(listing, by_symbol.get(listing.symbol)) for listing in listings}


def _quote(listing: Listing, row: dict[str, Any] | None) -> Quote | ProviderError:
    if row is None:
        return SymbolUnknown(f"binance does not know {listing.symbol}", provider=NAME, symbol=listing.symbol)
    closed = row.get("closeTime")
    if type(closed) is not int:
        return answers.malformed(NAME, listing.symbol, "a price without an instant")

    def figure(name: str) -> float | None:
        return answers.number(answers.as_number(row.get(name)))

    return Quote(
        price=answers.as_number(row.get("lastPrice")),
        at=closed / 1000,
        currency=listing.currency,
        change_percent=figure("priceChangePercent"),
        previous_close=figure("prevClosePrice"),
        day_open=figure("openPrice"),
        day_high=figure("highPrice"),
        day_low=figure("lowPrice"),
        volume=figure("volume"),
    )


# Pairs


class Pair(NamedTuple):
    symbol: str
    coin: str
    unit: str


def parse_pairs(answer: Answer) -> list[Pair]:
    """The pairs that are traded.  Raises MalformedAnswer."""
    document = answers.decoded(NAME, answer, None)
    rows = document.get("symbols") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows:
        raise answers.malformed(NAME, None, "it is no list of pairs")
    found = []
    for row in rows:
        if isinstance(row, dict) and row.get("status", "TRADING") == "TRADING":
            pair = tuple(answers.text(row.get(name)) or "" for name in ("symbol", "baseAsset", "quoteAsset"))
            if all(pair):
                found.append(Pair(*pair))
    if not found:
        raise answers.malformed(NAME, None, "it is no list of pairs")
    return found


def match(pair: Pair, rank: int | None = None) -> Match:
    name = f"{pair.coin} in {pair.unit}"
    return Match(Listing(pair.symbol, pair.unit), pair.coin, name, AssetClass.CRYPTO, exchange="BINANCE", rank=rank)
