"""A good answer of Yahoo's, damaged in every way: what comes out is a sound answer or an error of our tree.

Never another exception, never a bar that breaks a rule, never work that grows out of proportion.
"""

from __future__ import annotations

import copy
import json
import math
import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from marketjobs.domain.bars import BarAnswer, BarQuery, check
from marketjobs.domain.intervals import Interval, day_of, period_start, stamp_of
from marketjobs.domain.ranges import Range, days
from marketjobs.errors import MarketJobsError, ProviderError
from marketjobs.providers.yahoo_answers import refusal
from marketjobs.providers.yahoo_chart import parse_chart

NOW = datetime(2026, 11, 20, 23, tzinfo=UTC).timestamp()
WANTED = days(date(2026, 10, 1), date(2026, 11, 20))
INTERVALS = ("1m", "5m", "30m", "1d", "1wk", "1mo")
SENT_AS = {"30m": "15m"}
ZONE = ZoneInfo("America/New_York")


def good_answer(interval: str) -> dict[str, Any]:
    """Eight periods up to today with a live row beside the last, a dividend and a split; all different figures."""
    sent_as = Interval.of(SENT_AS.get(interval, interval))
    opens, closes = (int(datetime(2026, 11, 20, *at, tzinfo=ZONE).timestamp()) for at in ((9, 30), (16, 0)))
    if sent_as.is_intraday:
        stamps = [closes - back * sent_as.seconds for back in range(8, 0, -1)]
        live_at = closes - sent_as.seconds // 2 + 1
    else:
        stamps, live_at = openings(interval), closes + 1
    times = [*stamps, live_at]
    first = [100.0 + number for number in range(len(times))]
    quote = {
        "open": first,
        "high": [value + 3.5 for value in first],
        "low": [value - 2.25 for value in first],
        "close": [value + 1.125 for value in first],
        "volume": [1_000_000 + number for number in range(len(times))],
    }
    meta = {
        "currency": "USD",
        "symbol": "AAPL",
        "exchangeName": "NMS",
        "instrumentType": "EQUITY",
        "regularMarketTime": live_at,
        "gmtoffset": -18_000,
        "exchangeTimezoneName": "America/New_York",
        "longName": "Apple Inc.",
        "currentTradingPeriod": {"regular": {"start": opens, "end": closes}},
        "tradingPeriods": [[{"start": opens, "end": closes}]],
        "dataGranularity": sent_as.value,
    }
    events = {
        "dividends": {"1": {"amount": 0.5, "date": stamps[2]}},
        "splits": {"1": {"numerator": 4, "denominator": 1, "date": stamps[4], "splitRatio": "4:1"}},
    }
    indicators = {"quote": [quote], "adjclose": [{"adjclose": [value + 1.0 for value in first]}]}
    result = {"meta": meta, "timestamp": times, "events": events, "indicators": indicators}
    return {"chart": {"result": [result], "error": None}}


def openings(interval: str) -> list[int]:
    """Of eight days, weeks or months up to today."""
    today = date(2026, 11, 20)
    first_days = {
        "1d": [today - timedelta(days=back) for back in (9, 8, 7, 4, 3, 2, 1, 0)],
        "1wk": [today - timedelta(days=4 + 7 * back) for back in range(7, -1, -1)],
        "1mo": [date(2026, month, 1) for month in range(4, 12)],
    }[interval]
    at = (9, 30) if interval == "1d" else (0, 0)
    return [int(datetime(day.year, day.month, day.day, *at, tzinfo=ZONE).timestamp()) for day in first_days]


GOOD = {interval: good_answer(interval) for interval in INTERVALS}


def query(interval: str) -> BarQuery:
    wanted = Range(stamp_of(date(2026, 4, 1)), WANTED.end) if interval in ("1wk", "1mo") else WANTED
    return BarQuery("AAPL", Interval.of(interval), wanted)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


# -- damage -----------------------------------------------------------------------------------------------

HUGE = [10**400, -(10**400), 2**63, 2**64, 1e308, -1e308, 5e-324, 10**18, 253402300800, -(10**15), 1e16]
NOT_FINITE = [math.nan, math.inf, -math.inf]
NEAR = [0, -0.0, -1, 0.1, True, False, None, "", "12.5", "NaN", "2026-11-20", [], {}, [[]], "\x1b[2J\n\u202e"]
NONSENSE = (
    st.sampled_from([*HUGE, *NOT_FINITE, *NEAR])
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.recursive(
        st.none() | st.integers() | st.floats(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    )
)

BEYOND_DOUBLES = re.compile(rb"\d{309}")

Damage = tuple[str, tuple[Any, ...], Any]
DAMAGES = st.tuples(
    st.sampled_from(["set", "drop", "repeat", "swap", "text", "wrap", "deepen", "shuffle"]),
    st.sampled_from(sorted({place[:9] for interval in INTERVALS for place in places(GOOD[interval])}, key=str)),
    NONSENSE,
)


def damaged(document: Any, damage: Damage) -> Any:
    """The document with one place changed; as it was where an earlier damage took the place away."""
    kind, path, nonsense = damage
    document = copy.deepcopy(document)
    if not path:
        return nonsense if kind == "set" else [document] if kind == "wrap" else document
    parent = document
    try:
        for key in path[:-1]:
            parent = parent[key]
        value = parent[path[-1]]
    except (TypeError, KeyError, IndexError):
        return document
    if not isinstance(parent, dict | list):
        return document
    last = path[-1]
    if kind == "set":
        parent[last] = nonsense
    elif kind == "drop":
        del parent[last]
    elif kind == "repeat" and isinstance(value, list):
        parent[last] = value + value[-2:]
    elif kind == "swap" and isinstance(parent, list):
        parent[last], parent[0] = parent[0], parent[last]
    elif kind == "text":
        parent[last] = json.dumps(value)
    elif kind == "wrap":
        parent[last] = {"0": value} if isinstance(value, list) else [value]
    elif kind == "deepen":
        for _ in range(60):
            value = [value]
        parent[last] = value
    elif kind == "shuffle" and isinstance(value, list):
        parent[last] = value[::-1]
    return document


# -- what must hold ---------------------------------------------------------------------------------------


def outcome(body: bytes, asked: BarQuery) -> BarAnswer | ProviderError:
    try:
        answer = parse_chart(body, asked)
    except ProviderError as error:
        assert_tellable(error)
        return error
    assert_sound(answer)
    return answer


def assert_tellable(error: ProviderError) -> None:
    assert error.message.isprintable()
    assert len(error.message) < 400
    assert error.provider == "yahoo"
    wait = error.retry_after_seconds
    assert wait is None or 0 <= wait <= 86_400


def assert_sound(answer: BarAnswer) -> None:
    """The rules again, in other words than the check's."""
    checked = check(answer, NOW)
    stamps = [bar.ts for bar in checked.bars]
    assert stamps == sorted(set(stamps))
    for bar in checked.bars:
        assert type(bar.ts) is int
        assert bar.ts in answer.query.range
        if not answer.query.interval.is_intraday:
            assert period_start(day_of(bar.ts), answer.query.interval) == day_of(bar.ts)
            assert bar.ts == stamp_of(day_of(bar.ts))
        prices = (bar.open, bar.high, bar.low, bar.close)
        assert all(type(price) is float and 0 < price < math.inf for price in prices)
        slack = 1.000_001
        assert bar.low <= min(bar.open, bar.close) * slack
        assert max(bar.open, bar.close) <= bar.high * slack
        assert bar.adj_close is None or (type(bar.adj_close) is float and 0 < bar.adj_close < math.inf)
        assert bar.volume is None or (type(bar.volume) is float and 0 <= bar.volume < math.inf)
        assert bar.ts <= NOW + 86_400
    accounted = {bar.ts for bar in checked.bars} | {row.ts for row in checked.rejected}
    assert {row.stamp for row in answer.rows if row.stamp in answer.query.range} <= accounted, "no row is lost unsaid"
    for action in answer.actions:
        assert action.ts in answer.query.range
        assert action.kind in ("dividend", "split")
        assert type(action.value) is float
        assert 0 < action.value < math.inf
    for text in (answer.facts.name, answer.facts.currency, answer.facts.exchange, answer.facts.timezone):
        assert text is None or (0 < len(text) <= 160 and text.isprintable())
    if answer.session is not None:
        assert math.isfinite(answer.session.closes_at)
        day_of(answer.session.stamp)


# -- the tests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", INTERVALS)
def test_undamaged_it_is_good(interval: str) -> None:
    """Else everything below would only test errors."""
    answer = outcome(json.dumps(GOOD[interval]).encode(), query(interval))
    assert isinstance(answer, BarAnswer)
    checked = check(answer, NOW)
    assert (len(checked.bars), checked.rejected, len(answer.actions)) == (4 if interval == "30m" else 8, [], 2)


@given(interval=st.sampled_from(INTERVALS), damages=st.lists(DAMAGES, min_size=1, max_size=4))
@example(interval="1d", damages=[("set", ("chart", "result", 0, "timestamp", 8), 10**400)])
@example(interval="1wk", damages=[("set", ("chart", "result", 0, "indicators", "quote", 0, "volume", 8), math.nan)])
def test_any_damage_to_a_good_answer(interval: str, damages: list[Damage]) -> None:
    document = GOOD[interval]
    for damage in damages:
        document = damaged(document, damage)
    outcome(json.dumps(document).encode(), query(interval))


@given(
    interval=st.sampled_from(INTERVALS),
    column=st.sampled_from(["open", "high", "low", "close", "volume", "adjclose", "timestamp"]),
    row=st.integers(0, 8),
    nonsense=NONSENSE,
)
def test_one_bad_figure_costs_no_other_row(interval: str, column: str, row: int, nonsense: Any) -> None:
    document = copy.deepcopy(GOOD[interval])
    result = document["chart"]["result"][0]
    group = (
        result if column == "timestamp" else result["indicators"]["adjclose" if column == "adjclose" else "quote"][0]
    )
    group[column][row] = nonsense
    body = json.dumps(document).encode()
    answer = outcome(body, query(interval))
    if BEYOND_DOUBLES.search(body):
        return  # no JSON to a reader that keeps numbers in 64 bits
    if column == "timestamp":
        return  # a bad instant may spoil the whole: nothing says where the others belong
    assert isinstance(answer, BarAnswer)
    whole = parse_chart(json.dumps(GOOD[interval]).encode(), query(interval))
    number = row // 2 if interval == "30m" else row
    damaged_stamp = whole.rows[min(number, len(whole.rows) - 1)].stamp
    others = [bar for bar in check(whole, NOW).bars if bar.ts != damaged_stamp]
    assert [bar for bar in check(answer, NOW).bars if bar.ts != damaged_stamp] == others


@given(interval=st.sampled_from(INTERVALS), cut=st.integers(0, 3000), tail=st.binary(max_size=6))
def test_a_cut_answer(interval: str, cut: int, tail: bytes) -> None:
    whole = json.dumps(GOOD[interval]).encode()
    cut = min(cut, len(whole) - 1)
    result = outcome(whole[:cut] + tail, query(interval))
    assert isinstance(result, ProviderError) or whole[cut:].strip(b"}] ") == b""
    if isinstance(result, ProviderError):
        assert result.retryable, "an answer that was cut says nothing about the symbol"


@given(
    interval=st.sampled_from(INTERVALS),
    at=st.integers(0, 3000),
    length=st.integers(0, 12),
    other=st.binary(max_size=12),
)
def test_bytes_overwritten_anywhere(interval: str, at: int, length: int, other: bytes) -> None:
    whole = json.dumps(GOOD[interval]).encode()
    at = min(at, len(whole))
    outcome(whole[:at] + other + whole[at + length :], query(interval))


@given(body=st.binary(max_size=300), status=st.sampled_from([400, 401, 403, 404, 418, 422, 429, 500, 503, 999]))
def test_any_bytes_with_any_status(body: bytes, status: int) -> None:
    outcome(body, query("1d"))
    error = refusal(status, body, "AAPL", body.decode("latin-1"))
    assert_tellable(error)


@given(chart=NONSENSE, finance=NONSENSE, status=st.sampled_from([400, 404, 429, 500]))
def test_any_word_of_refusal(chart: Any, finance: Any, status: int) -> None:
    body = json.dumps({"chart": {"error": chart, "result": None}, "finance": {"error": finance}}).encode()
    outcome(body, query("1d"))
    assert_tellable(refusal(status, body, "AAPL"))


def _rows_of(count: int, value: bytes) -> bytes:
    column = b"[" + b",".join([value] * count) + b"]"
    times = b"[" + b",".join(b"%d" % (1_700_000_000 + number) for number in range(count)) + b"]"
    names = (b"open", b"high", b"low", b"close", b"volume")
    quote = b",".join(b'"%s":%s' % (name, column) for name in names)
    return (
        b'{"chart":{"error":null,"result":[{"meta":{"symbol":"AAPL"},"timestamp":%s,"indicators":{"quote":[{%s}]}}]}}'
        % (times, quote)
    )


@pytest.mark.parametrize(
    "body",
    [
        lambda: b"[" * 2_000_000,
        lambda: b'{"chart":' * 200_000,
        lambda: b'{"chart":{"result":[{"meta":{"symbol":"AAPL"},"timestamp":[' + b"[" * 900 + b"]" * 900 + b"]}]}}",
        lambda: b"9" * 2_000_000,
        lambda: b'{"a":NaN,"b":' + b"9" * 2_000_000 + b"}",
        lambda: b'{"a":NaN,"b":' + b"[" * 200_000,
        lambda: b'"' + b"\\" * 2_000_000,
        lambda: b" " * 5_000_000,
        lambda: b"<" + b"x" * 5_000_000,
        lambda: b"\xff" * 2_000_000,
        lambda: _rows_of(20_000, b"1e400"),
        lambda: _rows_of(20_000, b"NaN"),
        lambda: _rows_of(20_000, b"9" * 30),
        lambda: _rows_of(20_000, b"null"),
        lambda: _rows_of(20_000, b"1.5"),
    ],
    ids=lambda make: "",
)
def test_hostile_bodies_cost_no_more_than_their_size(body: Callable[[], bytes]) -> None:
    content = body()
    began = time.thread_time()
    try:
        answer = parse_chart(content, query("1d"))
        check(answer, NOW)
    except MarketJobsError as error:
        assert len(error.message) < 400
    assert time.thread_time() - began < 3, "about 0.1 s each where this was written"
