"""Answers that Yahoo really gave, where MARKETJOBS_RECORDED names the folder that holds them."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from marketjobs.domain.assets import AssetClass
from marketjobs.domain.bars import BarAnswer, BarQuery, check
from marketjobs.domain.intervals import Interval, day_of, stamp_of
from marketjobs.domain.ranges import FIRST_DAY, Range
from marketjobs.errors import (
    MalformedAnswer,
    ProviderUnavailable,
    RateLimited,
    SymbolUnknown,
)
from marketjobs.providers.yahoo import parse_chart, refusal

RECORDED = os.environ.get("MARKETJOBS_RECORDED")
pytestmark = pytest.mark.skipif(not RECORDED, reason="MARKETJOBS_RECORDED names no folder")

EVER = Range(stamp_of(FIRST_DAY), stamp_of(date(2100, 1, 1)))
NOW = datetime(2026, 11, 20, tzinfo=UTC).timestamp()


def body_of(name: str) -> bytes:
    return (Path(RECORDED or "") / "yahoo" / name).read_bytes()


def parsed(name: str, symbol: str, interval: str = "1d") -> BarAnswer:
    return parse_chart(body_of(name), BarQuery(symbol, Interval.of(interval), EVER))


@pytest.mark.parametrize(
    ("name", "symbol", "first", "last", "count"),
    [
        ("chart_AAPL_1d_20200101_20200103.json", "AAPL", "2020-01-02", "2020-01-02", 1),
        ("chart_AAPL_1d_20200831_20201107.json", "AAPL", "2020-08-31", "2020-11-06", 49),
        ("chart_AAPL_1d_20220222.json", "AAPL", "2022-02-22", "2022-02-22", 1),
        ("chart_AAPL_1d_202410.json", "AAPL", "2024-09-30", "2024-10-11", 10),
        ("chart_AAPL_1d_swift2025.json", "AAPL", "2025-07-21", "2025-08-21", 24),
        ("chart_AAPL_yfrs.json", "AAPL", "2025-04-30", "2025-10-29", 127),
        ("chart_BTC-USD_1d_20200101_20200103.json", "BTC-USD", "2020-01-01", "2020-01-03", 3),
        ("chart_EURUSD_X_1d_20200101_20200103.json", "EURUSD=X", "2020-01-01", "2020-01-03", 3),
        ("chart_GOOG_1d_20200101_20200103.json", "GOOG", "2020-01-02", "2020-01-02", 1),
        ("chart_GS2C.DE_yfrs.json", "GS2C.DE", "2025-10-23", "2025-10-29", 5),
        ("chart_IBM_1d_long_partial.json", "IBM", "1962-01-02", "2021-01-08", 10),
        ("chart_MSFT_1d_20210201_20220131.json", "MSFT", "2021-02-01", "2022-01-28", 252),
        ("chart_OCDO.L_1d_20200101_20200103.json", "OCDO.L", "2020-01-02", "2020-01-02", 1),
        ("chart_QQQ_1d_20200101_20200103.json", "QQQ", "2020-01-02", "2020-01-02", 1),
        ("chart_SPOT_1d_20200101_20200103.json", "SPOT", "2020-01-02", "2020-01-02", 1),
        ("chart_TSLA_1d_202101.json", "TSLA", "2021-01-04", "2021-01-08", 5),
        ("chart_WSKT.JK_1d_20200101_20200103.json", "WSKT.JK", "2020-01-02", "2020-01-02", 1),
    ],
)
def test_recorded_days_are_all_taken(name: str, symbol: str, first: str, last: str, count: int) -> None:
    answer = parsed(name, symbol)
    checked = check(answer, NOW)
    assert checked.rejected == []
    assert (len(checked.bars), len(answer.rows)) == (count, count)
    assert [day_of(checked.bars[i].ts).isoformat() for i in (0, -1)] == [first, last]
    assert all(day_of(bar.ts).weekday() < 5 for bar in checked.bars) or symbol == "BTC-USD"


def test_recorded_months_end_with_one_bar_of_the_running_month() -> None:
    answer = parsed("chart_AAPL_1mo_dividends.json", "AAPL", "1mo")
    checked = check(answer, NOW)
    assert checked.rejected == []
    assert (len(checked.bars), checked.bars[-1].volume) == (60, 332_258_600.0)
    assert [day_of(checked.bars[i].ts) for i in (0, -1)] == [date(2019, 11, 1), date(2024, 10, 1)]
    assert len(answer.actions) == 20
    assert (stamp_of(date(2019, 11, 7)), "dividend", 0.1925) in answer.actions


def test_recorded_months_volume_is_the_sum_of_its_days() -> None:
    """Why a live row adds no volume once its day is over."""
    month = check(parsed("chart_AAPL_1mo_dividends.json", "AAPL", "1mo"), NOW).bars[-1]
    october = [
        bar
        for bar in check(parsed("chart_AAPL_1d_202410.json", "AAPL"), NOW).bars
        if bar.ts >= stamp_of(date(2024, 10, 1))
    ]
    assert month.volume == sum(bar.volume or 0 for bar in october)
    assert (month.open, month.close) == (october[0].open, october[-1].close)
    assert (month.high, month.low) == (max(b.high for b in october), min(b.low for b in october))


def test_recorded_events() -> None:
    apple = parsed("chart_AAPL_1d_20200831_20201107.json", "AAPL")
    assert apple.actions == (
        (stamp_of(date(2020, 8, 31)), "split", 4.0),
        (stamp_of(date(2020, 11, 6)), "dividend", 0.205),
    )
    ibm = parsed("chart_IBM_1d_long_partial.json", "IBM")
    assert [action.value for action in ibm.actions if action.kind == "split"] == [1.25, 1.5, 2, 1.25, 4, 2, 2]


def test_recorded_facts() -> None:
    pence = parsed("chart_OCDO.L_1d_20200101_20200103.json", "OCDO.L")
    assert (pence.facts.currency, pence.facts.timezone) == ("GBp", "Europe/London")
    assert pence.session is not None
    assert pence.session.stamp == stamp_of(date(2025, 2, 20))
    kinds = {
        "chart_QQQ_1d_20200101_20200103.json": ("QQQ", AssetClass.ETF),
        "chart_BTC-USD_1d_20200101_20200103.json": ("BTC-USD", AssetClass.CRYPTO),
        "chart_EURUSD_X_1d_20200101_20200103.json": ("EURUSD=X", AssetClass.CURRENCY),
        "chart_WSKT.JK_1d_20200101_20200103.json": ("WSKT.JK", AssetClass.FUND),
    }
    assert {name: (symbol, parsed(name, symbol).facts.asset_class) for name, (symbol, _) in kinds.items()} == kinds


def test_recorded_closes_without_the_other_prices_are_rejected_row_by_row() -> None:
    checked = check(parsed("chart_MUV2.DE_1d_2018.json", "MUV2.DE"), NOW)
    assert (checked.bars, checked.rules()) == ([], "123 missing_price, 1 no_prices")


@pytest.mark.parametrize(
    ("name", "symbol", "interval"),
    [("chart_AAPL_no_results.json", "AAPL", "1h"), ("chart_TNX_5m_1d.json", "^TNX", "5m")],
)
def test_recorded_bars_of_another_interval_are_not_taken_for_days(name: str, symbol: str, interval: str) -> None:
    with pytest.raises(MalformedAnswer, match=f"bars of {interval} instead of 1d"):
        parsed(name, symbol)


def test_recorded_answer_without_rows_is_empty() -> None:
    assert parsed("chart_AAPL_no_results.json", "AAPL", "1h").rows == ()


def test_recorded_refusals() -> None:
    unknown = refusal(404, body_of("chart_error_not_found.json"), "XYZ")
    assert isinstance(unknown, SymbolUnknown)
    assert "No data found, symbol may be delisted" in unknown.message
    assert isinstance(refusal(404, body_of("recommendations_ADH_404.json"), "ADH"), ProviderUnavailable)
    assert isinstance(refusal(429, body_of("error_429_too_many_requests.txt"), "A"), RateLimited)


@pytest.mark.parametrize("name", ["error_429_too_many_requests.txt", "consent_final_redirect_301.html"])
def test_recorded_texts_are_no_figures(name: str) -> None:
    with pytest.raises(MalformedAnswer):
        parsed(name, "AAPL")
