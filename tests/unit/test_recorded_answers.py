"""Answers that Yahoo really gave, through the parser and the check (tests/recorded_yahoo.py says what each has
to become; tests/contract/test_recorded_yahoo.py sends them over HTTP)."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from marketjobs.domain.assets import Listing
from marketjobs.domain.bars import BarAnswer, BarQuery, check
from marketjobs.domain.intervals import Interval, day_of, iso, stamp_of
from marketjobs.domain.profiles import FIGURES
from marketjobs.domain.quotes import Quote, broken_rule
from marketjobs.errors import MalformedAnswer, ProviderError, SymbolUnknown
from marketjobs.providers.yahoo_answers import SUMMARY, refusal
from marketjobs.providers.yahoo_chart import parse_chart
from marketjobs.providers.yahoo_news import parse_matches, parse_news
from marketjobs.providers.yahoo_profile import parse_summary
from marketjobs.providers.yahoo_quotes import parse_quotes
from recorded_yahoo import (
    BARS,
    EVER,
    LATER,
    NOW,
    PROFILES,
    QUOTES,
    REFUSED,
    SEARCHES,
    body_of,
    index,
    needs_recordings,
    query_of,
    seen,
)

pytestmark = needs_recordings


def parsed(name: str) -> BarAnswer:
    return parse_chart(body_of(name), query_of(name))


def test_each_recording_of_yahoos_has_an_expectation_or_a_reason() -> None:
    listed = [*BARS, *QUOTES, *PROFILES, *SEARCHES, *REFUSED, *LATER]
    assert sorted(index()) == sorted(listed), "a new recording: say in recorded_yahoo.py what it has to become"


@pytest.mark.parametrize("name", BARS)
def test_recorded_bars(name: str) -> None:
    assert seen(parsed(name)) == BARS[name]


@pytest.mark.parametrize("name", BARS)
def test_recorded_figures_arrive_as_they_were_sent(name: str) -> None:
    """Read a second time, as plainly as can be: the columns side by side."""
    result: dict[str, Any] = json.loads(body_of(name))["chart"]["result"][0]
    quote, absent = result["indicators"]["quote"][0], [None] * len(result.get("timestamp", []))
    columns = [quote.get(key, absent) for key in ("open", "high", "low", "close")]
    adjusted = result["indicators"].get("adjclose", [{"adjclose": absent}])[0]["adjclose"]
    sent = list(zip(*columns, adjusted, quote.get("volume", absent), strict=True))
    rows = [row[2:] for row in parsed(name).rows]
    merged = len(sent) - len(rows)
    assert merged == (BARS[name].interval == "1mo"), "only the month's live row stands beside its period"
    assert rows[: len(rows) - merged] == sent[: len(rows) - merged]


@pytest.mark.parametrize(
    "name", [*QUOTES, *PROFILES, *SEARCHES, *REFUSED, *(name for name in LATER if "/" not in name)]
)
def test_what_answered_another_question_is_never_taken_for_days(name: str) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_chart(body_of(name), BarQuery("AAPL", Interval.DAY_1, EVER))
    assert "\n" not in caught.value.message


def test_recorded_months_volume_is_the_sum_of_its_days() -> None:
    """Why a live row adds no volume once its day is over."""
    month = check(parsed("chart_AAPL_1mo_dividends.json"), NOW).bars[-1]
    october = [
        bar for bar in check(parsed("chart_AAPL_1d_202410.json"), NOW).bars if bar.ts >= stamp_of(date(2024, 10, 1))
    ]
    assert month.volume == sum(bar.volume or 0 for bar in october) == 332_258_600.0
    assert (month.open, month.close) == (october[0].open, october[-1].close)
    assert (month.high, month.low) == (max(b.high for b in october), min(b.low for b in october))


def test_recorded_events_lie_on_their_sessions() -> None:
    assert parsed("chart_AAPL_1d_20200831_20201107.json").actions == (
        (stamp_of(date(2020, 8, 31)), "split", 4.0),
        (stamp_of(date(2020, 11, 6)), "dividend", 0.205),
    )
    months = parsed("chart_AAPL_1mo_dividends.json").actions
    assert months[0] == (stamp_of(date(2019, 11, 7)), "dividend", 0.1925), "of its day, not of its month"
    ibm = parsed("chart_IBM_1d_long_partial.json").actions
    assert [action.value for action in ibm if action.kind == "split"] == [1.25, 1.5, 2, 1.25, 4, 2, 2]
    assert ibm[0] == (stamp_of(date(1962, 2, 6)), "dividend", 0.000956)


@pytest.mark.parametrize("name", [name for name in BARS if BARS[name].interval == "1d"])
def test_recorded_days_are_weekdays_but_for_what_trades_always(name: str) -> None:
    weekdays = {day_of(row.stamp).weekday() for row in parsed(name).rows}
    assert weekdays <= set(range(5)) or BARS[name].facts[0] == "crypto"


@pytest.mark.parametrize(
    ("name", "symbol", "granularity"),
    [("chart_AAPL_no_results.json", "AAPL", "1h"), ("chart_TNX_5m_1d.json", "^TNX", "5m")],
)
def test_recorded_bars_of_another_interval_are_not_taken_for_days(name: str, symbol: str, granularity: str) -> None:
    with pytest.raises(MalformedAnswer, match=f"bars of {granularity} instead of 1d"):
        parse_chart(body_of(name), BarQuery(symbol, Interval.DAY_1, EVER))


@pytest.mark.parametrize("name", QUOTES)
def test_recorded_quotes(name: str) -> None:
    wanted = QUOTES[name] or {"NONEXIST": None}
    found = parse_quotes(body_of(name), [Listing(symbol) for symbol in wanted])
    for listing, one in found.items():
        if not QUOTES[name]:
            assert isinstance(one, SymbolUnknown)
            continue
        assert isinstance(one, Quote)
        assert (one.price, one.currency, iso(one.at), one.market_cap) == wanted[listing.symbol]
        assert one.day_low is not None
        assert one.day_high is not None
        assert one.day_low <= one.price <= one.day_high
        assert broken_rule(one, NOW) is None


@pytest.mark.parametrize("name", PROFILES)
def test_recorded_profiles(name: str) -> None:
    symbol, wanted = PROFILES[name]
    if not isinstance(wanted, dict):
        error = refusal(index()[name]["status"], body_of(name), symbol, part=SUMMARY)
        assert type(error) is wanted
        return
    found = parse_summary(body_of(name), symbol)
    assert found.figures == wanted
    assert set(wanted) <= set(FIGURES)


def test_recorded_descriptions() -> None:
    apple = parse_summary(body_of("quoteSummary_price_AAPL.json"), "AAPL").facts
    assert (apple.name, apple.currency, apple.exchange, str(apple.asset_class)) == (
        "Apple Inc.",
        "USD",
        "NMS",
        "equity",
    )
    google = parse_summary(body_of("quoteSummary_quoteType_GOOG.json"), "GOOG").facts
    assert (google.name, google.timezone) == ("Alphabet Inc.", "America/New_York")
    with pytest.raises(MalformedAnswer, match="figures of GOOG"):
        parse_summary(body_of("quoteSummary_quoteType_GOOG.json"), "AAPL")


@pytest.mark.parametrize("name", SEARCHES)
def test_recorded_searches(name: str) -> None:
    symbol, matches, stories = SEARCHES[name]
    body = body_of(name)
    assert [one.symbol for one in parse_matches(body)] == matches
    found = parse_news(body, symbol).stories
    assert len(found) == stories
    for one in found:
        assert one.url is not None
        assert one.guid is not None
        assert one.published_at is not None
        assert one.title
