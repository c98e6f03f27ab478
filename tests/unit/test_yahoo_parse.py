"""What Yahoo's chart says, read without a network: stamps, live rows, events, errors, and nonsense."""

from __future__ import annotations

import copy
import json
from datetime import UTC, date, datetime, time, timedelta
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from marketjobs.domain.assets import AssetClass
from marketjobs.domain.bars import BarAnswer, BarQuery, RawRow, check
from marketjobs.domain.intervals import DAY_SECONDS, Interval, day_of, stamp_of
from marketjobs.domain.ranges import FIRST_DAY, Range, days
from marketjobs.errors import (
    Blocked,
    MalformedAnswer,
    ProviderError,
    ProviderUnavailable,
    RangeUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
)
from marketjobs.providers.yahoo_answers import redirection, refusal, retry_after_seconds
from marketjobs.providers.yahoo_chart import chart_params, parse_chart

EVER = Range(stamp_of(FIRST_DAY), stamp_of(date(2100, 1, 1)))
NEW_YORK = "America/New_York"
NOW = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
COLUMNS = ("open", "high", "low", "close", "volume")


def instant(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def asked(interval: str = "1d", wanted: Range = EVER, symbol: str = "AAPL") -> BarQuery:
    return BarQuery(symbol, Interval.of(interval), wanted)


def document(
    times: list[Any], *, zone: str = NEW_YORK, interval: str = "1d", live_at: int | None = None, **columns: Any
) -> dict[str, Any]:
    """A chart of one result; columns not given hold 10.0, volumes 100."""
    given = {name: [100 if name == "volume" else 10.0] * len(times) for name in COLUMNS} | columns
    adjusted = given.pop("adjclose", [9.5] * len(times))
    meta = {"symbol": "AAPL", "exchangeTimezoneName": zone, "dataGranularity": interval}
    if live_at is not None:
        meta["regularMarketTime"] = live_at  # type: ignore[assignment]
    result = {
        "meta": meta,
        "timestamp": times,
        "indicators": {"quote": [given], "adjclose": [{"adjclose": adjusted}]},
    }
    return {"chart": {"result": [result], "error": None}}


def parsed(content: dict[str, Any], interval: str = "1d", wanted: Range = EVER) -> BarAnswer:
    return parse_chart(json.dumps(content).encode(), asked(interval, wanted))


def dates(answer: BarAnswer) -> list[str]:
    return [day_of(row.stamp).isoformat() for row in answer.rows]


# Stamps


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        (NEW_YORK, "2026-03-06T14:30", "2026-03-06"),
        (NEW_YORK, "2026-03-09T13:30", "2026-03-09"),  # the Monday after the clocks changed
        (NEW_YORK, "2026-11-20T20:59:59", "2026-11-20"),
        ("America/New_York", "1962-01-02T14:30", "1962-01-02"),
        ("Europe/London", "2026-07-01T23:00", "2026-07-02"),  # a currency's midnight in summer
        ("Europe/London", "2026-01-05T00:00", "2026-01-05"),
        ("Asia/Tokyo", "2026-01-05T00:00", "2026-01-05"),
        ("Australia/Sydney", "2026-01-04T23:00", "2026-01-05"),
        ("Pacific/Auckland", "2026-01-04T21:00", "2026-01-05"),
        ("Asia/Kolkata", "2026-01-05T03:45", "2026-01-05"),
        ("America/Sao_Paulo", "2022-01-04T02:00", "2022-01-04"),  # meant midnight, missed by an hour
        ("America/Sao_Paulo", "2022-01-04T13:00", "2022-01-04"),
        ("America/Sao_Paulo", "2022-01-05T01:30", "2022-01-04"),  # 22:30 is nobody's midnight
    ],
)
def test_a_day_is_stamped_with_its_sessions_date(zone: str, at: str, expected: str) -> None:
    assert dates(parsed(document([instant(at)], zone=zone))) == [expected]


@given(
    day=st.dates(date(1930, 1, 1), date(2060, 12, 31)),
    zone=st.sampled_from(
        [NEW_YORK, "Europe/London", "Asia/Tokyo", "Australia/Sydney", "Asia/Kolkata", "America/Sao_Paulo"]
    ),
    opens=st.sampled_from([time(8, 0), time(9, 0), time(9, 30), time(10, 0), time(17, 0)]),
)
def test_whatever_the_zone_and_season_the_date_is_the_exchanges(day: date, zone: str, opens: time) -> None:
    at = int(datetime.combine(day, opens, ZoneInfo(zone)).timestamp())
    [row] = parsed(document([at], zone=zone)).rows
    assert (row.stamp, row.at) == (stamp_of(day), at)


@pytest.mark.parametrize("zone", ["", "Nowhere/Land", "../etc/passwd", "America", 5, None])
def test_without_a_zone_the_offset_decides(zone: Any) -> None:
    content = document([instant("2026-01-04T23:00")])
    content["chart"]["result"][0]["meta"] |= {"exchangeTimezoneName": zone, "gmtoffset": 39_600}
    answer = parsed(content)
    assert dates(answer) == ["2026-01-05"]
    assert answer.facts.timezone is None


@pytest.mark.parametrize("offset", [None, "x", 10**9, 1e400, [], float("nan")])
def test_without_zone_and_offset_it_is_utc(offset: Any) -> None:
    content = document([instant("2026-01-05T14:30")])
    content["chart"]["result"][0]["meta"] |= {"exchangeTimezoneName": None, "gmtoffset": offset}
    assert dates(parsed(content)) == ["2026-01-05"]


def test_weeks_are_stamped_with_their_monday_and_months_with_their_first() -> None:
    weeks = [instant("2026-03-02", NEW_YORK), instant("2026-03-09", NEW_YORK)]
    assert dates(parsed(document(weeks, interval="1wk"), "1wk")) == ["2026-03-02", "2026-03-09"]
    months = [instant("2026-02-01", NEW_YORK), instant("2026-03-01", NEW_YORK)]
    assert dates(parsed(document(months, interval="1mo"), "1mo")) == ["2026-02-01", "2026-03-01"]


def test_a_first_week_may_begin_with_the_listing() -> None:
    weeks = [instant("2026-03-05", NEW_YORK), instant("2026-03-09", NEW_YORK)]
    assert dates(parsed(document(weeks, interval="1wk"), "1wk")) == ["2026-03-02", "2026-03-09"]


def test_weeks_that_begin_on_another_weekday_are_not_taken_for_weeks() -> None:
    weeks = [instant(f"2026-03-{day:02}", NEW_YORK) for day in (4, 11, 18)]
    with pytest.raises(MalformedAnswer, match="begins on Wednesday 2026-03-11"):
        parsed(document(weeks, interval="1wk"), "1wk")


# The live row


def two_rows(interval: str, period_at: str, live_at: str, **columns: Any) -> list[RawRow]:
    times = [instant(period_at), instant(live_at)]
    return list(parsed(document(times, interval=interval, live_at=times[1], **columns), interval).rows)


def test_the_live_row_of_a_day_replaces_the_days_row() -> None:
    [row] = two_rows("1d", "2026-11-19T14:30", "2026-11-19T21:00:02", close=[10.0, 10.1], volume=[100, 110])
    assert (row.close, row.volume) == (10.1, 110)


def test_the_live_row_of_a_week_widens_it_and_adds_its_volume() -> None:
    [row] = two_rows(
        "1wk",
        "2026-11-16T05:00",
        "2026-11-19T18:22:22",
        open=[10, 12],
        high=[13, 14],
        low=[9, 11],
        close=[12, 13.5],
        adjclose=[11, 13],
        volume=[300, 50],
    )
    assert row == RawRow(stamp_of(date(2026, 11, 16)), instant("2026-11-19T18:22:22"), 10, 14, 9, 13.5, 13, 350)


def test_the_live_row_of_a_month_that_holds_the_day_already_adds_no_volume() -> None:
    """Once the day is over Yahoo repeats it beside a month that it is part of (recorded: AAPL, 2024-10-11)."""
    [row] = two_rows(
        "1mo",
        "2024-10-01T04:00",
        "2024-10-11T20:00:01",
        open=[229.52, 229.32],
        high=[229.75, 229.41],
        low=[221.33, 227.34],
        close=[227.55, 227.55],
        volume=[332_258_600, 31_759_188],
    )
    assert row[2:] == (229.52, 229.75, 221.33, 227.55, 9.5, 332_258_600)


@pytest.mark.parametrize("interval", ["1d", "1wk", "1mo"])
def test_a_live_row_without_prices_says_nothing(interval: str) -> None:
    nothing = {name: [10.0, None] for name in COLUMNS}
    [row] = two_rows(interval, "2026-11-19T14:30", "2026-11-19T18:00", **nothing)
    assert row.close == 10.0


@pytest.mark.parametrize("interval", ["1wk", "1mo"])
@pytest.mark.parametrize("bad", ["12.0", None, float("nan"), True, {}])
def test_a_live_row_that_is_no_number_is_left_for_the_check(interval: str, bad: Any) -> None:
    rows = two_rows(interval, "2026-11-16T05:00", "2026-11-19T18:00", close=[10.0, bad])
    assert len(rows) == 2


def test_duplicates_that_are_no_live_row_are_left_for_the_check() -> None:
    times = [instant("2026-11-18T14:30"), instant("2026-11-18T18:00"), instant("2026-11-19T14:30")]
    assert len(parsed(document(times, live_at=times[2])).rows) == 3
    same = [instant("2026-11-19T18:00")] * 2
    assert len(parsed(document(same, live_at=same[0])).rows) == 2
    late = [instant("2026-11-19T14:30"), instant("2026-11-19T18:00")]
    assert len(parsed(document(late, live_at=late[1] + 3600)).rows) == 2


def test_a_trade_at_a_full_late_hour_is_of_its_own_day() -> None:
    at = instant("2026-11-19T23:00")
    assert dates(parsed(document([at], zone="UTC", live_at=at))) == ["2026-11-19"]


# Columns


def test_values_go_through_as_sent() -> None:
    close = ["10.0", None, True, -1, 0, 1e300]
    answer = parsed(document([instant("2026-01-05T15:00") + i * DAY_SECONDS for i in range(6)], close=close))
    assert [row.close for row in answer.rows] == close
    assert len(check(answer, NOW).bars) == 0


def test_an_absent_column_is_none_in_each_row() -> None:
    content = document([instant("2026-01-05T15:00")], adjclose=None)
    assert parsed(content).rows[0].adj_close is None
    del content["chart"]["result"][0]["indicators"]["adjclose"]
    assert parsed(content).rows[0].adj_close is None
    del content["chart"]["result"][0]["indicators"]["quote"][0]["open"]
    answer = parsed(content)
    assert answer.rows[0].open is None
    assert check(answer, NOW).rules() == "1 missing_price"


@pytest.mark.parametrize("column", [[], [10.0], [10.0] * 3, "10.0", {"0": 1}, 10.0])
@pytest.mark.parametrize("name", ["close", "volume", "adjclose"])
def test_a_column_of_another_length_spoils_the_answer(name: str, column: Any) -> None:
    times = [instant("2026-01-05T15:00"), instant("2026-01-06T15:00")]
    with pytest.raises(MalformedAnswer, match=name):
        parsed(document(times, **{name: column}))


@pytest.mark.parametrize("times", [["x"], [None], [1e300], [float("inf")], [[1]], "12", 12, {"a": 1}])
def test_timestamps_that_are_none_spoil_the_answer(times: Any) -> None:
    content = document([1])
    content["chart"]["result"][0]["timestamp"] = times
    with pytest.raises(MalformedAnswer, match="timestamps"):
        parsed(content)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_a_literal_that_is_no_json_costs_only_its_row(literal: str) -> None:
    times = [instant("2026-01-05T15:00"), instant("2026-01-06T15:00")]
    body = json.dumps(document(times, close=[10.0, 123.456])).replace("123.456", literal).encode()
    checked = check(parse_chart(body, asked()), NOW)
    assert (len(checked.bars), checked.rules()) == (1, "1 not_finite")


def test_a_number_too_long_for_a_float_is_rejected_not_raised() -> None:
    times = [instant("2026-01-05T15:00"), instant("2026-01-06T15:00")]
    body = json.dumps(document(times, close=[1234567, float("nan")])).replace("1234567", "9" * 400).encode()
    assert check(parse_chart(body, asked()), NOW).rules() == "2 not_finite"


def test_meta_without_timestamps_is_an_empty_answer() -> None:
    content = document([])
    result = content["chart"]["result"][0]
    for change in ({"timestamp": None}, {"timestamp": []}, {"indicators": {"quote": [{}]}}, {"indicators": None}):
        result |= change
        assert parsed(content).rows == ()


# Facts, session, events


def test_facts_and_the_open_session() -> None:
    content = document([])
    content["chart"]["result"][0]["meta"] |= {
        "currency": "GBp",
        "exchangeName": "LSE",
        "instrumentType": "MUTUALFUND",
        "shortName": "Short",
        "exchangeTimezoneName": "Australia/Sydney",
        "currentTradingPeriod": {"regular": {"start": instant("2026-01-04T23:00"), "end": instant("2026-01-05T05:00")}},
    }
    answer = parsed(content)
    assert answer.facts.asset_class is AssetClass.FUND
    assert (answer.facts.name, answer.facts.currency, answer.facts.exchange) == ("Short", "GBp", "LSE")
    assert answer.facts.timezone == "Australia/Sydney"
    assert answer.session == (stamp_of(date(2026, 1, 5)), instant("2026-01-05T05:00"))


@pytest.mark.parametrize("kind", ["OPTION", None, 5, ["EQUITY"]])
def test_an_unknown_kind_of_asset_is_unknown(kind: Any) -> None:
    content = document([])
    content["chart"]["result"][0]["meta"]["instrumentType"] = kind
    assert parsed(content).facts.asset_class is AssetClass.UNKNOWN


def test_a_name_can_not_steer_the_terminal() -> None:
    content = document([])
    content["chart"]["result"][0]["meta"]["longName"] = "\x1b[31mRed\n\u202eHat\x00" + "x" * 5000
    name = parsed(content).facts.name
    assert name is not None
    assert name.startswith("[31mRed Hat")
    assert name.isprintable()
    assert len(name) <= 160


def test_events_have_their_sessions_dates_and_split_ratios() -> None:
    content = document([], interval="1mo")
    content["chart"]["result"][0]["events"] = {
        # The key of a month's event is the month's first day; its date is the session.
        "dividends": {"1572580800": {"amount": 0.1925, "date": 1573137000}},
        "splits": {"1598880600": {"date": 1598880600, "numerator": 4, "denominator": 1, "splitRatio": "4:1"}},
    }
    assert parsed(content, "1mo").actions == (
        (stamp_of(date(2019, 11, 7)), "dividend", 0.1925),
        (stamp_of(date(2020, 8, 31)), "split", 4.0),
    )
    assert parsed(content, "1mo", days(date(2020, 1, 1), date(2020, 12, 31))).actions[0].kind == "split"


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"amount": 1},
        {"amount": "1", "date": 1},
        {"amount": -1, "date": 1},
        {"amount": 1, "date": "x"},
        {"amount": 1e308, "date": 1e308},
        {"amount": float("nan"), "date": 1},
        {"numerator": 1, "denominator": 0, "date": 1},
        {"numerator": 1e308, "denominator": 1e-308, "date": 1},
    ],
)
def test_an_event_that_can_not_be_read_is_left_out(event: Any) -> None:
    good = {"amount": 0.5, "date": instant("2026-01-05T14:30")}
    content = document([])
    content["chart"]["result"][0]["events"] = {"dividends": {"a": event, "b": good}, "splits": {"a": event}}
    assert len(parsed(content).actions) == 1


# Answers that are none


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"chart"',
        b"Too Many Requests\r\n",
        b"\xff\xfe\x00",
        b"NaN",
        b"[" * 100_000 + b"NaN",
        b'{"chart":null}',
        b'{"chart":{"result":null,"error":null}}',
        b'{"chart":{"result":[],"error":null}}',
        b'{"chart":{"result":[null],"error":null}}',
        b'{"chart":{"result":[{}],"error":null}}',
        b'{"chart":{"result":[{"meta":{}}],"error":null}}',
        b'{"chart":{"result":[{"meta":{"symbol":"MSFT"}}],"error":null}}',
        b'{"chart":{"result":[{"meta":{"symbol":"AAPL","dataGranularity":"3mo"}}],"error":null}}',
        b'{"chart":{"result":[{"meta":{"symbol":"AAPL"},"timestamp":[1]}],"error":null}}',
        b'{"chart":{"result":[{"meta":{"symb',
        b"<!DOCTYPE html><html><body>Will be right back...</body></html>",
    ],
)
def test_what_can_not_be_read_is_malformed_and_may_be_asked_again(body: bytes) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        parse_chart(body, asked())
    assert caught.value.retryable


def test_the_symbols_case_is_no_difference() -> None:
    assert parse_chart(json.dumps(document([])).encode(), asked(symbol="aapl")).rows == ()


def test_the_consent_page_is_a_block() -> None:
    with pytest.raises(Blocked, match="consent"):
        parse_chart(b'\n <html><form class="consent-form"></form></html>', asked())


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("Not Found", SymbolUnknown),
        ("Bad Request", RangeUnavailable),
        ("Unprocessable Entity", RangeUnavailable),
        ("Unauthorized", Unauthorised),
        ("Forbidden", Blocked),
        ("Too Many Requests", RateLimited),
        ("Internal Server Error", ProviderUnavailable),
        (None, ProviderUnavailable),
        (5, ProviderUnavailable),
    ],
)
def test_an_error_in_a_200_counts_by_its_code(code: Any, expected: type[ProviderError]) -> None:
    content = {"chart": {"result": None, "error": {"code": code, "description": "Why\nnot"}}}
    with pytest.raises(ProviderError) as caught:
        parsed(content)
    assert type(caught.value) is expected
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("status", "body", "expected", "quoted"),
    [
        (401, b'{"finance":{"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}', Unauthorised, "Crumb"),
        (403, b"", Blocked, "403"),
        (404, b'{"chart":{"error":{"code":"Not Found","description":"No data found"}}}', SymbolUnknown, "No data"),
        (404, b'{"finance":{"result":[],"error":null}}', ProviderUnavailable, "404"),
        (404, b"<html>", ProviderUnavailable, "404"),
        (400, b'{"chart":{"error":{"code":"Bad Request","description":"x"}}}', RangeUnavailable, "x"),
        (422, b'{"chart":{"error":{"code":"Unprocessable Entity","description":"y"}}}', RangeUnavailable, "y"),
        (422, b"", ProviderUnavailable, "422"),
        (400, b'{"chart":{"error":"odd"}}', RangeUnavailable, "odd"),
        (429, b"Too Many Requests\r\n", RateLimited, "429"),
        (500, b"\xff", ProviderUnavailable, "500"),
        (503, b'{"chart":{"error":{"description":"down"}}}', ProviderUnavailable, "down"),
    ],
)
def test_a_refusal_is_named_by_its_status_and_quoted(
    status: int, body: bytes, expected: type[ProviderError], quoted: str
) -> None:
    error = refusal(status, body, "AAPL")
    assert type(error) is expected
    assert quoted in error.message
    assert (error.provider, error.symbol) == ("yahoo", "AAPL")


@time_machine.travel(datetime(2026, 11, 20, 12, 0, tzinfo=UTC), tick=False)
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("0", 0.0),
        (" 17 ", 17.0),
        ("999999999", 86_400.0),
        ("9" * 5000, None),
        ("Fri, 20 Nov 2026 12:01:30 GMT", 90.0),
        ("Fri, 20 Nov 2026 12:01:30 -0000", 90.0),
        ("Fri, 20 Nov 2020 12:00:00 GMT", 0.0),
        ("Fri, 20 Nov 2099 12:00:00 GMT", 86_400.0),
        ("Fri, 99 Nov 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(text) == seconds


def test_retry_after_reads_what_http_writes() -> None:
    later = datetime.now(UTC) + timedelta(minutes=5)
    assert retry_after_seconds(format_datetime(later, usegmt=True)) == pytest.approx(300, abs=2)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://guce.yahoo.com/consent?x=1", Blocked),
        ("https://consent.yahoo.com/v2/collectConsent", Blocked),
        ("https://guce.yahoo.com/copy", Blocked),
        ("https://login.corp.example/?next=yahoo", ProviderUnavailable),
        ("", ProviderUnavailable),
    ],
)
def test_a_redirect_is_consent_or_somebody_in_between(location: str, expected: type[ProviderError]) -> None:
    assert type(redirection(location, "AAPL")) is expected


# What is asked for


def asked_range(interval: str, wanted: Range) -> tuple[str, str]:
    params = chart_params(asked(interval, wanted))
    start, end = int(params["period1"]), int(params["period2"])
    assert start % DAY_SECONDS == end % DAY_SECONDS == 0
    return day_of(start).isoformat(), day_of(end).isoformat()


def test_days_are_asked_for_with_a_day_before_and_after() -> None:
    assert asked_range("1d", days(date(2026, 3, 4), date(2026, 3, 5))) == ("2026-03-03", "2026-03-07")


def test_weeks_are_asked_for_whole_from_a_monday_on() -> None:
    """Yahoo's weeks begin on the weekday of period1, and a last one is cut at period2."""
    assert asked_range("1wk", days(date(2026, 3, 4), date(2026, 3, 11))) == ("2026-02-23", "2026-03-17")


def test_months_are_asked_for_whole() -> None:
    assert asked_range("1mo", days(date(2026, 3, 4), date(2026, 5, 11))) == ("2026-02-01", "2026-06-02")


@given(
    start=st.dates(FIRST_DAY, date(2099, 1, 1)),
    length=st.integers(0, 80_000),
    interval=st.sampled_from(["1d", "1wk", "1mo"]),
)
def test_a_request_is_never_longer_than_yahoo_allows(start: date, length: int, interval: str) -> None:
    end = date.fromordinal(min(start.toordinal() + length, date(2099, 12, 31).toordinal()))
    first, last = asked_range(interval, days(start, end))
    assert date.fromisoformat(last) > end
    assert (date.fromisoformat(last) - date.fromisoformat(first)).days <= 36_135
    if interval == "1wk":
        assert date.fromisoformat(first).weekday() == 0
    if interval == "1mo":
        assert date.fromisoformat(first).day == 1
    if length < 36_000:
        assert date.fromisoformat(first) < start


def test_events_are_asked_for_as_yahoo_spells_them() -> None:
    params = chart_params(asked("1d"))
    assert (params["interval"], params["events"], params["includePrePost"]) == ("1d", "div,splits", "false")


# Nonsense

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(1573137000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
WHOLE = document(
    [instant("2026-11-17T14:30"), instant("2026-11-19T14:30"), instant("2026-11-19T21:00:01")],
    live_at=instant("2026-11-19T21:00:01"),
)
WHOLE["chart"]["result"][0]["meta"] |= {
    "gmtoffset": -18_000,
    "currentTradingPeriod": {"regular": {"start": 1795098600, "end": 1795122000}},
    "longName": "Apple Inc.",
}
WHOLE["chart"]["result"][0]["events"] = {
    "dividends": {"a": {"amount": 0.5, "date": 1573137000}},
    "splits": {"a": {"numerator": 4, "denominator": 1, "date": 1573137000}},
}


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


def replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.copy(node)
    changed[path[0]] = replaced(node[path[0]], path[1:], value)
    return changed


def survives(body: bytes, interval: str) -> None:
    try:
        answer = parse_chart(body, asked(interval))
    except ProviderError:
        return
    check(answer, NOW)


@given(body=st.binary(max_size=200), interval=st.sampled_from(["1d", "1wk", "1mo"]))
def test_any_bytes_are_an_answer_or_an_error_of_ours(body: bytes, interval: str) -> None:
    survives(body, interval)


@given(
    changes=st.lists(st.tuples(st.sampled_from(places(WHOLE)), JUNK), min_size=1, max_size=3),
    interval=st.sampled_from(["1d", "1wk", "1mo"]),
)
def test_any_damage_is_an_answer_or_an_error_of_ours(changes: list[tuple[tuple[Any, ...], Any]], interval: str) -> None:
    content = WHOLE
    content = replaced(content, ("chart", "result", 0, "meta", "dataGranularity"), interval)
    for place, value in changes:
        try:
            content = replaced(content, place, value)
        except (TypeError, KeyError, IndexError):
            continue  # an earlier change removed the place
    survives(json.dumps(content).encode(), interval)


@given(cut=st.integers(0, len(json.dumps(WHOLE)) - 1))
def test_a_cut_answer_is_malformed(cut: int) -> None:
    with pytest.raises(MalformedAnswer):
        parse_chart(json.dumps(WHOLE).encode()[:cut], asked())
