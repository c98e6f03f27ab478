"""Answers that Alpha Vantage really gave, read.  They lie outside the project (MARKETJOBS_RECORDED)."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from marketjobs.domain.assets import AssetClass, Listing
from marketjobs.domain.bars import BarQuery, check
from marketjobs.domain.intervals import Interval, day_of, iso, stamp_of
from marketjobs.domain.profiles import FIGURES
from marketjobs.domain.ranges import days
from marketjobs.errors import QuotaExhausted, SymbolUnknown
from marketjobs.providers import alphavantage_answers as reading
from marketjobs.providers.http import Answer

FOLDER = Path(os.environ.get("MARKETJOBS_RECORDED") or "") / "alphavantage"
pytestmark = pytest.mark.skipif(not os.environ.get("MARKETJOBS_RECORDED"), reason="MARKETJOBS_RECORDED names no folder")
EVER = days(date(2000, 1, 1), date(2026, 11, 20))
NOW = stamp_of(date(2026, 11, 21))
NOT_ASKED = {
    "CURRENCY_EXCHANGE_RATE.json": "currencies are Yahoo's",
    "MARKET_STATUS_2026.json": "nothing needs it",
    "DIGITAL_CURRENCY_DAILY_2026.csv": "coins are the other vendors'",
    "DIVIDENDS_IBM_2026.csv": "they come with the adjusted days",
    "SPLITS_IBM_2026.csv": "they come with the adjusted days",
    "TIME_SERIES_DAILY_IBM_2026.csv": "JSON is asked for",
    "TIME_SERIES_INTRADAY_IBM_5min_2026.csv": "JSON is asked for",
    "TIME_SERIES_MONTHLY_ADJUSTED_IBM_2026.csv": "months are made of nothing here",
}
READ = {
    "GLOBAL_QUOTE_MSFT_2018.json",
    "OVERVIEW_IBM_2026.json",
    "SYMBOL_SEARCH.json",
    "TIME_SERIES_DAILY_ADJUSTED_IBM_2021_partial.json",
    "TIME_SERIES_DAILY_IBM_202311.json",
    "TIME_SERIES_INTRADAY_MSFT_1min_2017.json",
    "error_message_TIME_SERIES_DAILY_2017.json",
    "information_rate_limit_25_per_day.json",
}


def recorded(name: str) -> Answer:
    return Answer(200, {}, (FOLDER / name).read_bytes())


def test_each_has_an_expectation_or_a_reason() -> None:
    assert {path.name for path in FOLDER.iterdir()} == READ | set(NOT_ASKED)


def test_days() -> None:
    answer = recorded("TIME_SERIES_DAILY_IBM_202311.json")
    assert reading.refusal(answer, "IBM") is None
    found = reading.parse_daily(answer, BarQuery("IBM", Interval.DAY_1, EVER))
    checked = check(found, NOW)
    assert (len(checked.bars), checked.rejected) == (100, [])
    first, last = checked.bars[0], checked.bars[-1]
    assert (day_of(first.ts), day_of(last.ts)) == (date(2023, 6, 22), date(2023, 11, 10))
    assert last[1:7] == (147.44, 149.17, 146.85, 149.02, None, 3_179_541.0)
    assert found.facts.timezone == "America/New_York"


def test_adjusted_days() -> None:
    found = reading.parse_adjusted(
        recorded("TIME_SERIES_DAILY_ADJUSTED_IBM_2021_partial.json"), BarQuery("IBM", Interval.DAY_1, EVER)
    )
    checked = check(found, NOW)
    assert (len(checked.bars), checked.rejected, found.actions) == (7, [], ())
    assert checked.bars[-1][1:7] == (127.95, 129.675, 127.66, 128.58, 125.471469081, 5_602_466.0)


def test_minutes_are_new_yorks() -> None:
    found = reading.parse_intraday(
        recorded("TIME_SERIES_INTRADAY_MSFT_1min_2017.json"), BarQuery("MSFT", Interval.MINUTE_1, EVER)
    )
    checked = check(found, NOW)
    assert (len(checked.bars), checked.rejected) == (100, [])
    assert iso(checked.bars[0].ts) == "2017-12-18T18:17:00Z"
    assert (iso(checked.bars[-1].ts), checked.bars[-1].close) == ("2017-12-18T19:56:00Z", 86.5)


def test_a_quote() -> None:
    found = reading.parse_quote(recorded("GLOBAL_QUOTE_MSFT_2018.json"), Listing("MSFT"), NOW)
    assert (found.price, found.previous_close, found.change_percent, found.volume) == (
        112.13,
        112.79,
        -0.5852,
        29_062_853.0,
    )
    assert iso(found.at) == "2018-10-05T20:00:00Z"


def test_an_overview() -> None:
    found = reading.parse_overview(recorded("OVERVIEW_IBM_2026.json"), "IBM")
    assert (found.facts.name, found.facts.exchange) == ("International Business Machines", "NYSE")
    assert found.facts.asset_class is AssetClass.EQUITY
    assert found.website == "https://www.ibm.com"
    assert set(found.figures) == {
        name for name in FIGURES if name in reading._FIGURES or name in ("ex_dividend_date", "fiscal_year_end")
    }
    assert found.figures["revenue"] == 68_910_998_000.0
    assert found.figures["ex_dividend_date"] == "2026-05-08"


def test_a_search() -> None:
    found = reading.parse_search(recorded("SYMBOL_SEARCH.json"))
    assert [one.symbol for one in found][:4] == ["BA", "BABA", "BSVN", "6190.HKG"]
    assert found[3].listing.currency == "HKD"


def test_messages() -> None:
    assert isinstance(reading.refusal(recorded("error_message_TIME_SERIES_DAILY_2017.json"), "X"), SymbolUnknown)
    assert isinstance(reading.refusal(recorded("information_rate_limit_25_per_day.json"), "X"), QuotaExhausted)
