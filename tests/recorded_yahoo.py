"""What each recorded answer of Yahoo's has to become: one line a file, written by hand from the file itself.

The recordings lie outside the project, in the folder that MARKETJOBS_RECORDED names; ``index.json`` there says
how each was answered (status, headers, path).  ``BARS``, ``QUOTES``, ``PROFILES``, ``SEARCHES`` and ``REFUSED`` hold
those that answer a question we ask; ``LATER`` those that answer another, with the reason why nothing asks it.  A file
in none fails a test.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from marketjobs.domain.bars import BarAnswer, BarQuery, check
from marketjobs.domain.intervals import Interval, day_of, iso, stamp_of
from marketjobs.domain.ranges import FIRST_DAY, Range
from marketjobs.errors import Blocked, NoData, ProviderError, ProviderUnavailable, RateLimited, SymbolUnknown

FOLDER = Path(os.environ.get("MARKETJOBS_RECORDED") or "")
needs_recordings = pytest.mark.skipif(
    not os.environ.get("MARKETJOBS_RECORDED"), reason="MARKETJOBS_RECORDED names no folder"
)

NOW = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
"""Later than every recording: nothing in them lies in the future or is provisional."""
EVER = Range(stamp_of(FIRST_DAY), stamp_of(date(2100, 1, 1)))


@dataclass(frozen=True)
class Bars:
    """An answer with rows: what is left of them after the check, and what else it says.

    ``first`` and ``last``: stamp (ISO 8601) and close of the outermost bars.  ``rejected``: as ``Checked.rules``
    words it.  ``facts``: kind of asset, currency, zone.  ``session``: the newest session that it speaks of.
    ``asked_at``: the instant of the request, where Yahoo gives only what is recent then.
    """

    symbol: str
    rows: int
    first: tuple[str, float] | None
    last: tuple[str, float] | None
    facts: tuple[str, str, str]
    session: str
    interval: str = "1d"
    dividends: int = 0
    splits: int = 0
    rejected: str = ""
    asked_at: str = field(default="", compare=False)


@dataclass(frozen=True)
class Refused:
    """An answer that becomes an error: its class, and words that a person then reads."""

    error: type[ProviderError]
    words: str


NEW_YORK = ("equity", "USD", "America/New_York")
XETRA = ("equity", "EUR", "Europe/Berlin")

BARS: dict[str, Bars] = {
    "chart_AAPL_1d_20200101_20200103.json": Bars(
        "AAPL", 1, ("2020-01-02", 75.0875015258789), ("2020-01-02", 75.0875015258789), NEW_YORK, "2025-02-20"
    ),
    "chart_AAPL_1d_20200831_20201107.json": Bars(
        "AAPL",
        49,
        ("2020-08-31", 129.0399932861328),
        ("2020-11-06", 118.69000244140625),
        NEW_YORK,
        "2025-02-20",
        dividends=1,
        splits=1,
    ),
    "chart_AAPL_1d_20220222.json": Bars(
        "AAPL", 1, ("2022-02-22", 164.32000732421875), ("2022-02-22", 164.32000732421875), NEW_YORK, "2025-03-24"
    ),
    "chart_AAPL_1d_202410.json": Bars(
        "AAPL", 10, ("2024-09-30", 233.0), ("2024-10-11", 227.5500030517578), NEW_YORK, "2024-10-14"
    ),
    "chart_AAPL_1d_swift2025.json": Bars(
        "AAPL",
        24,
        ("2025-07-21", 212.47999572753906),
        ("2025-08-21", 224.47999572753906),
        NEW_YORK,
        "2025-08-21",
    ),
    "chart_AAPL_1mo_dividends.json": Bars(
        "AAPL",
        60,
        ("2019-11-01", 66.8125),
        ("2024-10-01", 227.5500030517578),
        NEW_YORK,
        "2024-10-14",
        interval="1mo",
        dividends=20,
    ),
    # A 200 without timestamps: the vendor knows the symbol and has no bars of the range.
    "chart_AAPL_no_results.json": Bars(
        "AAPL", 0, None, None, NEW_YORK, "2021-05-04", interval="1h", asked_at="2021-05-03T20:00:00"
    ),
    "chart_AAPL_yfrs.json": Bars(
        "AAPL",
        127,
        ("2025-04-30", 212.5),
        ("2025-10-29", 269.70001220703125),
        NEW_YORK,
        "2025-10-29",
        dividends=2,
    ),
    "chart_BTC-USD_1d_20200101_20200103.json": Bars(
        "BTC-USD",
        3,
        ("2020-01-01", 7200.17431640625),
        ("2020-01-03", 7344.88427734375),
        ("crypto", "USD", "UTC"),
        "2025-02-20",
    ),
    "chart_EURUSD_X_1d_20200101_20200103.json": Bars(
        "EURUSD=X",
        3,
        ("2020-01-01", 1.1220825910568237),
        ("2020-01-03", 1.1171437501907349),
        ("currency", "USD", "Europe/London"),
        "2025-02-20",
    ),
    "chart_GOOG_1d_20200101_20200103.json": Bars(
        "GOOG", 1, ("2020-01-02", 68.36849975585938), ("2020-01-02", 68.36849975585938), NEW_YORK, "2025-02-20"
    ),
    # The live row is of the evening before the session that the answer speaks of.
    "chart_GS2C.DE_yfrs.json": Bars(
        "GS2C.DE",
        5,
        ("2025-10-23", 19.738000869750977),
        ("2025-10-29", 19.947999954223633),
        XETRA,
        "2025-10-30",
    ),
    "chart_IBM_1d_long_partial.json": Bars(
        "IBM",
        10,
        ("1962-01-02", 7.2912678718566895),
        ("2021-01-08", 122.87763214111328),
        NEW_YORK,
        "2024-09-13",
        dividends=10,
        splits=7,
    ),
    "chart_MSFT_1d_20210201_20220131.json": Bars(
        "MSFT",
        252,
        ("2021-02-01", 239.64999389648438),
        ("2022-01-28", 308.260009765625),
        NEW_YORK,
        "2025-02-21",
        dividends=4,
    ),
    # Closes alone, as old answers to `indicators=close` had them: nothing of it may be stored.
    "chart_MUV2.DE_1d_2018.json": Bars(
        "MUV2.DE", 124, None, None, XETRA, "2018-05-25", rejected="123 missing_price, 1 no_prices"
    ),
    "chart_OCDO.L_1d_20200101_20200103.json": Bars(
        "OCDO.L", 1, ("2020-01-02", 1259.5), ("2020-01-02", 1259.5), ("equity", "GBp", "Europe/London"), "2025-02-20"
    ),
    "chart_QQQ_1d_20200101_20200103.json": Bars(
        "QQQ",
        1,
        ("2020-01-02", 216.16000366210938),
        ("2020-01-02", 216.16000366210938),
        ("etf", "USD", "America/New_York"),
        "2025-02-20",
    ),
    "chart_SPOT_1d_20200101_20200103.json": Bars(
        "SPOT", 1, ("2020-01-02", 151.6199951171875), ("2020-01-02", 151.6199951171875), NEW_YORK, "2025-02-20"
    ),
    "chart_TNX_5m_1d.json": Bars(
        "^TNX",
        15,
        ("2026-02-02T18:45:00Z", 4.270999908447266),
        ("2026-02-02T19:55:00Z", 4.275000095367432),
        ("index", "USD", "America/Chicago"),
        "2026-02-02",
        interval="5m",
        asked_at="2026-02-02T20:00:00",
    ),
    "chart_TSLA_1d_202101.json": Bars(
        "TSLA", 5, ("2021-01-04", 243.2566680908203), ("2021-01-08", 293.3399963378906), NEW_YORK, "2024-09-13"
    ),
    "chart_WSKT.JK_1d_20200101_20200103.json": Bars(
        "WSKT.JK", 1, ("2020-01-02", 1505.0), ("2020-01-02", 1505.0), ("fund", "IDR", "Asia/Jakarta"), "2025-02-20"
    ),
}

REFUSED: dict[str, Refused] = {
    "chart_error_not_found.json": Refused(SymbolUnknown, "No data found, symbol may be delisted"),
    # The rest answered other addresses: served in the chart's place, each must be what it is.
    "error_429_too_many_requests.txt": Refused(RateLimited, "too many requests"),
    "quote_page_AAPL_307_to_consent.txt": Refused(Blocked, "asks for consent"),
    "consent_final_redirect_301.html": Refused(ProviderUnavailable, "redirects to finance.yahoo.com"),
    # A 404 without a word of the chart's own is an outage, never a delisting; nor is a 400 a range.
    "recommendations_ADH_404.json": Refused(ProviderUnavailable, "yahoo answered 404"),
    "download_SIMP_400.txt": Refused(ProviderUnavailable, "yahoo answered 400"),
    "search_error_missing_q.json": Refused(ProviderUnavailable, "Missing required query parameter=q"),
}

# Symbol: price, currency, instant, market capitalisation.
QUOTES: dict[str, dict[str, tuple[float, str, str, float | None]]] = {
    "quote_AAPL-BABA.json": {
        "AAPL": (244.6, "USD", "2025-02-14T21:00:00Z", 3_674_405_863_424),
        "BABA": (124.73, "USD", "2025-02-14T21:00:02Z", 302_870_626_304),
    },
    "quote_AAPL.json": {"AAPL": (244.6, "USD", "2025-02-14T21:00:00Z", 3_674_405_863_424)},
    "quote_AAPL_MSFT_2025.json": {
        "AAPL": (269.7, "USD", "2025-10-29T20:00:01Z", 4_002_453_389_312),
        "MSFT": (541.55, "USD", "2025-10-29T20:00:01Z", 4_025_388_367_872),
    },
    "quote_BTC-USD.json": {"BTC-USD": (96_077.45, "USD", "2025-02-17T10:53:00Z", 1_904_783_523_840)},
    "quote_EURUSD_X.json": {"EURUSD=X": (1.0489877, "USD", "2025-02-17T10:54:43Z", None)},
    "quote_GOOG.json": {"GOOG": (186.87, "USD", "2025-02-14T21:00:01Z", 2_266_975_961_088)},
    "quote_NONEXIST.json": {},
    "quote_OCDO.L.json": {"OCDO.L": (308.8, "GBp", "2025-02-17T10:38:44Z", 2_554_603_520)},
    "quote_QQQ.json": {"QQQ": (538.15, "USD", "2025-02-14T21:00:01Z", 211_546_767_360)},
}

# Symbol, and the figures that a recorded module holds; an error where it holds none.
PROFILES: dict[str, tuple[str, dict[str, float | str] | type[ProviderError]]] = {
    "quoteSummary_assetProfile_EURUSD_X.json": ("EURUSD=X", NoData),
    "quoteSummary_calendarEvents_AAPL.json": ("AAPL", {}),
    "quoteSummary_defaultKeyStatistics_AAPL.json": (
        "AAPL",
        {
            "enterprise_value": 3_731_694_026_752,
            "shares_outstanding": 15_022_100_480,
            "forward_price_to_earnings": 29.80388,
            "price_to_book": 55.328976,
            "earnings_per_share": 6.31,
            "book_value_per_share": 4.438,
            "beta": 1.2,
            "profit_margin": 0.24295,
            "fiscal_year_end": "2024-09-28",
        },
    ),
    "quoteSummary_financialData_AAPL.json": (
        "AAPL",
        {
            "profit_margin": 0.24295,
            "operating_margin": 0.34459,
            "return_on_assets": 0.22518998,
            "return_on_equity": 1.3652,
        },
    ),
    "quoteSummary_financialData_ADH.json": ("ADH", NoData),
    "quoteSummary_financialData_BTC-USD.json": ("BTC-USD", NoData),
    "quoteSummary_price_AAPL.json": ("AAPL", {"market_cap": 3_688_676_720_640}),
    "quoteSummary_price_BTC-USD.json": (
        "BTC-USD",
        {"market_cap": 1_903_960_915_968, "circulating_supply": 19_828_390},
    ),
    "quoteSummary_price_EURUSD_X.json": ("EURUSD=X", {}),
    "quoteSummary_quoteType_GOOG.json": ("GOOG", {}),
    "quoteSummary_summaryDetail_AAPL.json": (
        "AAPL",
        {
            "market_cap": 3_688_676_720_640,
            "price_to_earnings": 38.91442,
            "forward_price_to_earnings": 29.548735,
            "price_to_sales": 9.320489,
            "dividend_per_share": 1,
            "dividend_yield": 0.0041,
            "beta": 1.2,
            "high_52_weeks": 260.1,
            "low_52_weeks": 164.08,
            "ex_dividend_date": "2025-02-10",
        },
    ),
    "quoteSummary_summaryDetail_QQQ.json": (
        "QQQ",
        {"price_to_earnings": 34.286358, "dividend_yield": 0.0054, "high_52_weeks": 540.81, "low_52_weeks": 413.07},
    ),
}

# What was looked for: what it could be, and how many of the stories are about it.
SEARCHES: dict[str, tuple[str, list[str], int]] = {
    "search_AAPL.json": ("AAPL", ["AAPL", "AAPU"], 3),
    "search_BTC-USD.json": (
        "BTC-USD",
        ["BTC-USD", "HBTC-USD", "CBBTC32994-USD", "LBTC33652-USD", "PBTC-USD", "0P0001P539"],
        4,
    ),
    "search_EURUSD_X.json": ("EURUSD=X", ["EURUSD=X"], 4),
    "search_GOOG.json": ("GOOG", ["GOOG", "GOOGL", "GGLL"], 3),
    "search_news_AAPL_2025.json": ("AAPL", [], 10),
}

_NEVER = "nothing in the plan asks for options"
_STREAM = "another stream of the same stories, without the symbols that they are about"
_SPARK = "closes alone, of what the chart gives whole"
_FEED = "a feed: tests/recorded_feeds.py"
_TABLE = "a table as Yahoo once offered for download, no answer of the chart's"
_REPAIR = "a table of yfinance's own; its faults (a split not applied, pounds for pence) show in no single row"

LATER: dict[str, str] = {
    "getcrumb.txt": "the chart needs no crumb; that one is taken is tested with the vendor server",
    "ncp_pressRelease_AAPL.json": _STREAM,
    "options_AAPL-expire-2022-03-01.json": _NEVER,
    "options_GC_F.json": _NEVER,
    "spark_AAPL_5d.json": _SPARK,
    "history/AAPL_daily_raw_and_adjclose.csv": _TABLE,
    "history/GOOG_daily_raw_and_adjclose.csv": _TABLE,
    "history/ORCL_daily_yahoo_1995_2014.csv": _TABLE,
    "history/yf_repair/4063-T-1d-bad-stock-split.csv": _REPAIR,
    "history/yf_repair/8TRA-DE-1d-missing-div-adjust.csv": _REPAIR,
    "history/yf_repair/ADIG-L-1d-bad-div.csv": _REPAIR,
    "history/yf_repair/ALPHA-PA-1d-bad-stock-split.csv": _REPAIR,
    "history/yf_repair/ASAI-L-1h-bad-unit.csv": _REPAIR,
    "history/yf_repair/EWG-1d-no-bad-divs.csv": _REPAIR,
    "history/yf_repair/MOB-ST-1d-bad-stock-split.csv": _REPAIR,
    "history/yf_repair/VWILX-1d-cg-double-count.csv": _REPAIR,
    "news/rss_yahoo_news_20231203.xml": _FEED,
}


@cache
def index() -> dict[str, dict[str, Any]]:
    """The index's rows of whatever came from Yahoo, by file name in its folder (by path elsewhere)."""
    rows = json.loads((FOLDER / "index.json").read_bytes())
    ours = [row for row in rows if "yahoo" in f"{row['file']} {row['host']} {row['what']} {row['source']}".lower()]
    return {row["file"].removeprefix("yahoo/"): row for row in ours}


def body_of(name: str) -> bytes:
    return (FOLDER / "yahoo" / name).read_bytes()


def query_of(name: str) -> BarQuery:
    return BarQuery(BARS[name].symbol, Interval.of(BARS[name].interval), EVER)


def seen(answer: BarAnswer) -> Bars:
    """An answer in the words of an expectation."""
    checked = check(answer, NOW)
    ends = [(iso(bar.ts).removesuffix("T00:00:00Z"), bar.close) for bar in checked.bars]
    kinds = [action.kind for action in answer.actions]
    facts, session = answer.facts, answer.session
    return Bars(
        answer.query.symbol,
        len(answer.rows),
        ends[0] if ends else None,
        ends[-1] if ends else None,
        (str(facts.asset_class), str(facts.currency), str(facts.timezone)),
        "" if session is None else day_of(session.stamp).isoformat(),
        answer.query.interval.value,
        kinds.count("dividend"),
        kinds.count("split"),
        checked.rules(),
    )
