"""Adopting a file of bars: what its rows mean, what is refused, and what the store looks like afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from marketjobs import read
from marketjobs.domain.bars import SPLIT, Action, Bar, Rejected
from marketjobs.domain.intervals import Interval, stamp_of
from marketjobs.domain.ranges import Range
from marketjobs.errors import AssetRenamed, BadRows, InvalidInput, MarketJobsError, ProviderMismatch
from marketjobs.services import universe
from marketjobs.services.bar_file import BarFile, BarFileOptions
from marketjobs.services.bar_import import ImportReport, ImportRequest, import_bars
from marketjobs.services.runtime import Runtime
from marketjobs.storage import bars
from marketjobs.storage.staging import Staging
from stores import ensure_assets, on_both_stores

runtime = on_both_stores

HEAD = "Date,Open,High,Low,Close,Adj Close,Volume\n"
Importer = Callable[..., ImportReport]


def rows(first: date, closes: list[float], adjusted: float = 0.5) -> str:
    """Lines of daily bars, weekdays only."""
    lines, day = [], first
    for close in closes:
        while day.weekday() > 4:
            day += timedelta(days=1)
        lines.append(f"{day},{close},{close + 1},{close - 1},{close},{close * adjusted},1000\n")
        day += timedelta(days=1)
    return "".join(lines)


@pytest.fixture
def put(runtime: Runtime, tmp_path: Path) -> Importer:
    def run(text: str, *, symbol: str | None = "AAPL", interval: str = "1d", **options: Any) -> ImportReport:
        path = tmp_path / "bars.csv"
        path.write_text(text)
        of_file = {name: options.pop(name) for name in ("decimal", "date_format", "timezone") if name in options}
        request = ImportRequest(BarFileOptions(Interval.of(interval), symbol, **of_file), **options)
        return import_bars(runtime, path, request)

    return run


def stored(runtime: Runtime, symbol: str = "AAPL", interval: str = "1d") -> list[read.Bar]:
    return read.bars(symbol, interval, runtime=runtime)


def by_a_vendor(runtime: Runtime, found: list[Bar], symbol: str = "AAPL", provider: str = "yahoo") -> int:
    asset = ensure_assets(runtime.database, [symbol])[symbol]
    with runtime.database.write() as tx:
        bars.upsert(tx, asset, Interval.DAY_1, found, bars.provider_id(tx, provider), 1)
    return asset


def bar(day: str, close: float, **changed: Any) -> Bar:
    ts = stamp_of(date.fromisoformat(day))
    return Bar(ts, close, close + 1, close - 1, close, close / 2, 1000.0)._replace(**changed)


def coverage(runtime: Runtime, interval: Interval = Interval.DAY_1) -> list[tuple[str, str]]:
    found = universe.view(runtime, "AAPL").series
    parts = next(one.covered for one in found if one.interval is interval)
    return [tuple(datetime.fromtimestamp(at, UTC).isoformat()[:16] for at in (one.start, one.end)) for one in parts]  # type: ignore[misc]


def refused(put: Importer, text: str, message: str, kind: type[MarketJobsError] = BadRows, **options: Any) -> None:
    with pytest.raises(kind) as caught:
        put(text, **options)
    assert caught.value.message == message


# -- what is stored --


def test_a_file_becomes_a_series(runtime: Runtime, put: Importer) -> None:
    report = put(HEAD + rows(date(2024, 1, 1), [10, 11, 12]))
    assert report.to_json() == {
        "rows": 3,
        "rows_rejected": 0,
        "rejected": [],
        "columns_unused": [],
        "result": {
            "symbols": [
                {
                    "symbol": "AAPL",
                    "interval": "1d",
                    "status": "stored",
                    "provider": "import",
                    "rows_new": 3,
                    "rows_changed": 0,
                    "rows_unchanged": 0,
                    "rows_rejected": 0,
                    "first": "2024-01-01",
                    "last": "2024-01-03",
                    "error": None,
                    "note": None,
                }
            ]
        },
    }
    one = stored(runtime)[1]
    assert (one.ts, one.open, one.high, one.low, one.close) == (datetime(2024, 1, 2, tzinfo=UTC), 11, 12, 10, 11)
    assert (one.adj_close, one.volume, one.provider, one.provisional) == (5.5, 1000, "import", False)
    assert universe.active_symbols(runtime) == ["AAPL"]


def test_the_same_file_again_changes_nothing(runtime: Runtime, put: Importer) -> None:
    text = HEAD + rows(date(2024, 1, 1), [10, 11, 12])
    put(text, label="first")
    [outcome] = put(text, label="second").outcomes
    assert (outcome.status, outcome.rows_new, outcome.rows_unchanged) == ("up_to_date", 0, 3)
    assert {one.provider for one in stored(runtime)} == {"first"}


def test_several_symbols_in_any_order_of_rows(runtime: Runtime, put: Importer) -> None:
    lines = [
        f"{symbol};{day};1,5;2,5;0,5;{close}\n"
        for day, close in (("03.01.2024", "2,25"), ("02.01.2024", "1,75"), ("15.01.2024", "2"))
        for symbol in ("msft", "AAPL")
    ]
    report = put("Ticker;Date;Open;High;Low;Close\n" + "".join(lines), symbol=None)
    assert [(one.symbol, one.rows_new) for one in report.outcomes] == [("MSFT", 3), ("AAPL", 3)]
    assert [(one.ts.day, one.close, one.volume) for one in stored(runtime)] == [
        (2, 1.75, None),
        (3, 2.25, None),
        (15, 2.0, None),
    ]


def test_what_yfinance_s_download_writes(runtime: Runtime, put: Importer) -> None:
    put(
        "Price,Adj Close,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,,\n"
        "2024-01-02,5,10,11,9,10,7\n",
        symbol=None,
    )
    assert [(one.close, one.adj_close, one.volume) for one in stored(runtime)] == [(10, 5, 7)]


def test_what_yfinance_s_history_writes(runtime: Runtime, put: Importer) -> None:
    report = put(
        "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits\n"
        "2024-07-01 00:00:00-04:00,10,11,9,10,7,0.0,0.0\n2024-07-02 00:00:00-04:00,10,11,9,10,7,0.0,0.0\n"
    )
    assert [one.ts.day for one in stored(runtime)] == [1, 2]
    assert report.unused == ["Dividends", "Stock Splits"]


def test_intraday_with_date_and_time_apart(runtime: Runtime, put: Importer) -> None:
    text = "<TICKER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>\n" + "".join(
        f"AAPL.US,20240702,{time},10,11,9,10,5\n" for time in ("093000", "093500")
    )
    with pytest.raises(InvalidInput, match="row 2: '20240702 093000' does not say in which time zone"):
        put(text, interval="5m")
    put(text, interval="5m", timezone="America/New_York")
    assert [one.ts for one in stored(runtime, interval="5m")] == [
        datetime(2024, 7, 2, 13, 30, tzinfo=UTC),
        datetime(2024, 7, 2, 13, 35, tzinfo=UTC),
    ]


def test_a_bar_of_today_is_provisional_and_not_covered(runtime: Runtime, put: Importer) -> None:
    with time_machine.travel(datetime(2024, 1, 3, 23, tzinfo=UTC), tick=True):
        put(HEAD + rows(date(2024, 1, 1), [10, 11, 12]))
        assert [one.provisional for one in stored(runtime)] == [False, True, True]
        assert coverage(runtime) == [("2024-01-01T00:00", "2024-01-02T00:00")]


# -- how it is written --


def test_the_order_of_day_and_month_is_found_out_or_asked_for(runtime: Runtime, put: Importer) -> None:
    lines = ["02/01/2024,1,1,1,1\n", "03/01/2024,1,1,1,1\n"]
    head = "Date,Open,High,Low,Close\n"
    refused(
        put,
        head + "".join(lines),
        "bars.csv: row 2: in '02/01/2024' day or month may come first, and no row of the file tells",
        InvalidInput,
    )
    put(head + "".join(lines) + "15/01/2024,1,1,1,1\n")
    assert [one.ts.day for one in stored(runtime)] == [2, 3, 15]
    put(head + "".join(lines), symbol="MSFT", date_format="mdy")
    assert [one.ts.month for one in stored(runtime, "MSFT")] == [2, 3]


def test_a_date_that_belies_the_order_of_the_others_is_a_bad_row(put: Importer) -> None:
    refused(
        put,
        "Date,Open,High,Low,Close\n15/01/2024,1,1,1,1\n01/16/2024,1,1,1,1\n",
        "bars.csv: 1 of 2 rows can't be taken: row 3: '01/16/2024' is no date (dmy)",
    )


def test_a_comma_that_may_be_either_is_asked_for(runtime: Runtime, put: Importer) -> None:
    text = "Date;Open;High;Low;Close\n2024-01-02;1,234;1,236;1,231;1,235\n"
    refused(
        put,
        text,
        "bars.csv: row 2: in '1,234' the comma may stand before decimals or between thousands, and no row of the file"
        " tells",
        InvalidInput,
    )
    put(text, decimal=",")
    put(text, symbol="MSFT", decimal=".")
    assert (stored(runtime)[0].close, stored(runtime, "MSFT")[0].close) == (1.235, 1235)


def test_thousands_are_read_where_the_file_proves_its_decimal_sign(runtime: Runtime, put: Importer) -> None:
    put('Date,Open,High,Low,Close,Volume\n2024-01-02,10.5,11.5,9.5,10.5,"12,345,678"\n')
    assert stored(runtime)[0].volume == 12_345_678


# -- what is refused --


def test_bad_rows_are_named_with_their_reasons_and_nothing_is_stored(runtime: Runtime, put: Importer) -> None:
    text = HEAD + (
        "2024-01-02,10,11,9,10,5,1000\n"
        "2024-01-03,10,9,11,10,5,1000\n"
        "2024-01-04,10,11,9,10,5,-1\n"
        "2024-01-05,-10,11,-11,10,5,1\n"
        "2024-01-08,,,,,,\n"
        "2024-01-09,10,11,9,,5,1\n"
        "2024-01-10,10,inf,9,10,5,1\n"
        "2024-02-30,10,11,9,10,5,1\n"
        "2024-01-11,10,11,9,10,5\n"
        "2024-01-12,ten,11,9,10,5,1\n"
        "2199-01-12,10,11,9,10,5,1\n"
        "2024-01-02,10,11,9,10,5,1000\n"
    )
    refused(
        put,
        text,
        "bars.csv: 11 of 12 rows can't be taken: row 3: open or close lies outside of low and high;"
        " row 4: the volume is negative; row 5: a price is not above zero; row 6: it has no prices;"
        " row 7: a price is missing; row 8: a number is not finite; row 9: '2024-02-30' is no date (iso);"
        " row 10: it has 6 cells where the first line names 7 columns; row 11: 'ten' is no number;"
        " row 12: it lies in the future; and 1 more",
    )
    assert universe.listed(runtime) == []
    report = put(text, skip_bad=True)
    assert (report.rows, report.rows_rejected, report.outcomes[0].rows_new) == (12, 11, 1)
    assert [row.number for row in report.rejected] == list(range(3, 14))
    assert report.rejected[-1].reason == "it repeats row 2 (AAPL 2024-01-02)"
    assert len(stored(runtime)) == 1


def test_of_rows_that_contradict_each_other_none_is_taken(runtime: Runtime, put: Importer) -> None:
    text = HEAD + "2024-01-02,10,11,9,10,5,1\n2024-01-03,10,11,9,10,5,1\n2024-01-02,10,11,9,10.5,5,1\n"
    refused(
        put,
        text,
        "bars.csv: 2 of 3 rows can't be taken: row 2: it contradicts row 4 (AAPL 2024-01-02);"
        " row 4: it contradicts row 2 (AAPL 2024-01-02)",
    )
    put(text, skip_bad=True)
    assert [one.ts.day for one in stored(runtime)] == [3]


def test_a_symbol_whose_rows_are_all_bad_fails_and_leaves_no_asset(runtime: Runtime, put: Importer) -> None:
    text = "Symbol,Date,Open,High,Low,Close\nAAPL,2024-01-02,1,1,1,1\nMSFT,2024-01-02,1,1,1,0\na b,2024-01-02,1,1,1,1\n"
    report = put(text, symbol=None, skip_bad=True)
    assert [(one.symbol, one.status.value, one.rows_rejected) for one in report.outcomes] == [
        ("AAPL", "stored", 0),
        ("MSFT", "failed", 1),
    ]
    assert report.rows_rejected == 2
    assert universe.active_symbols(runtime) == ["AAPL"]
    refused(
        put,
        HEAD + "2024-01-02,0,0,0,0,0,0\n",
        "bars.csv: no row can be taken: row 2: a price is not above zero",
        skip_bad=True,
    )


def test_header_only(put: Importer) -> None:
    refused(put, HEAD, "bars.csv has no rows below its first line", InvalidInput)


def test_columns_that_are_missing(put: Importer) -> None:
    refused(
        put,
        "Date,Close\n2024-01-02,1\n",
        "bars.csv: row 1: no column for open, high, low; the first line names 'Date', 'Close'",
        InvalidInput,
    )
    with pytest.raises(InvalidInput, match="row 1: no column for symbol; ") as caught:
        put(HEAD + "2024-01-02,10,11,9,10,5,1\n", symbol=None)
    assert caught.value.hint == "say whose bars they are: --symbol AAPL"
    refused(
        put,
        "2024-01-02,10,11,9,10\n",
        "bars.csv: row 1: no column for date, open, high, low, close; the first line names '2024-01-02', '10', '11',"
        " '9', '10'",
        InvalidInput,
    )


def test_a_stated_symbol_stands_for_one_only(put: Importer) -> None:
    text = "Symbol,Date,Open,High,Low,Close\nAAPL.US,2024-01-02,1,1,1,1\nMSFT.US,2024-01-02,1,1,1,1\n"
    refused(
        put, text, "bars.csv: row 3: it is of 'MSFT.US', rows before of 'AAPL.US': --symbol names one", InvalidInput
    )


def test_rows_of_another_interval(put: Importer) -> None:
    text = "symbol,interval,ts,open,high,low,close\nAAPL,1wk,2024-01-01,1,1,1,1\n"
    refused(put, text, "bars.csv: 1 of 1 rows can't be taken: row 2: its interval is '1wk', not 1d", symbol=None)


@pytest.mark.parametrize("label", ["", "Yahoo", "a b", "x" * 33, "recorded"])
def test_labels_that_nobody_can_have(put: Importer, label: str) -> None:
    with pytest.raises(InvalidInput, match="provider"):
        put(HEAD + rows(date(2024, 1, 1), [10]), label=label)


def test_a_renamed_symbol(runtime: Runtime, put: Importer) -> None:
    universe.add(runtime, ["FB"])
    universe.rename(runtime, "FB", "META")
    with pytest.raises(AssetRenamed, match="FB was renamed META"):
        put(HEAD + rows(date(2024, 1, 1), [10]), symbol="FB")


# -- beside what is stored --


def test_final_bars_that_differ_refuse_the_whole_file(runtime: Runtime, put: Importer) -> None:
    by_a_vendor(runtime, [bar("2024-01-03", 24.0), bar("2024-01-04", 13.0)])
    before = stored(runtime)
    text = (
        "Symbol,"
        + HEAD
        + "".join(
            f"{symbol},{line}\n"
            for symbol in ("MSFT", "AAPL")
            for line in rows(date(2024, 1, 1), [10, 11, 12]).splitlines()
        )
    )
    refused(
        put,
        text,
        "bars.csv: row 7: AAPL of 2024-01-03 closes at 12, but at 24 in the store: prices on different bases are not"
        " mixed; nothing was stored",
        ProviderMismatch,
        symbol=None,
    )
    assert stored(runtime) == before
    assert universe.active_symbols(runtime) == ["AAPL"]


def test_bars_that_agree_stay_as_they_are_and_the_rest_comes_beside_them(runtime: Runtime, put: Importer) -> None:
    by_a_vendor(runtime, [bar("2024-01-03", 12.0005, high=13.123456)])
    [outcome] = put(HEAD + rows(date(2024, 1, 1), [10, 11, 12, 13])).outcomes
    assert (outcome.rows_new, outcome.rows_unchanged, outcome.note) == (3, 1, None)
    assert [(one.provider, one.close) for one in stored(runtime)] == [
        ("import", 10),
        ("import", 11),
        ("yahoo", 12.0005),
        ("import", 13),
    ]


def test_a_provisional_bar_gives_way(runtime: Runtime, put: Importer) -> None:
    by_a_vendor(runtime, [bar("2024-01-03", 99.0, provisional=True)])
    put(HEAD + rows(date(2024, 1, 1), [10, 11, 12]))
    assert [(one.close, one.provisional) for one in stored(runtime)] == [(10, False), (11, False), (12, False)]


@pytest.mark.parametrize(
    ("held", "kept"),
    [
        ([bar("2024-01-03", 12.0, adj_close=6.0)], True),
        ([bar("2024-01-03", 12.0, adj_close=5.9)], False),  # a dividend lies between the two
        ([bar("2024-03-04", 12.0, adj_close=6.0)], False),  # nothing tells
        ([bar("2024-01-03", 12.0, adj_close=None)], False),
    ],
)
def test_adjusted_closes_are_kept_only_on_the_stored_basis(
    runtime: Runtime, put: Importer, held: list[Bar], kept: bool
) -> None:
    by_a_vendor(runtime, held)
    [outcome] = put(HEAD + rows(date(2024, 1, 1), [10, 11, 12])).outcomes
    assert [one.adj_close for one in stored(runtime)][:2] == ([5, 5.5] if kept else [None, None])
    assert outcome.note == (None if kept else "adjusted closes were left out: not on the basis of what is stored")


def test_recorded_bars_are_not_mixed(runtime: Runtime, put: Importer) -> None:
    by_a_vendor(runtime, [bar("2010-01-04", 10.0)], provider="recorded")
    with pytest.raises(ProviderMismatch, match="AAPL has bars from recorded"):
        put(HEAD + rows(date(2024, 1, 1), [10]))


def test_prices_as_traded_before_a_split_are_refused(runtime: Runtime, put: Importer) -> None:
    asset = by_a_vendor(runtime, [])
    with runtime.database.write() as tx:
        split = [Action(stamp_of(date(2024, 1, 3)), SPLIT, 4.0)]
        bars.upsert_actions(tx, [(asset, split)], bars.provider_id(tx, "yahoo"), 1)
    text = HEAD + rows(date(2024, 1, 1), [10, 11])
    with pytest.raises(ProviderMismatch, match="AAPL was split on 2024-01-03"):
        put(text, as_traded=True)
    put(HEAD + rows(date(2024, 1, 3), [10, 11]), as_traded=True)
    assert len(stored(runtime)) == 2
    put(text)
    assert len(stored(runtime)) == 4


# -- what need not be asked for again --


def test_days_between_rows_are_known_but_not_longer_gaps(runtime: Runtime, put: Importer) -> None:
    put(HEAD + rows(date(2024, 1, 4), [10, 11, 12]) + rows(date(2024, 1, 15), [13]) + rows(date(2024, 1, 18), [14]))
    assert coverage(runtime) == [
        ("2024-01-04T00:00", "2024-01-09T00:00"),
        ("2024-01-15T00:00", "2024-01-19T00:00"),
    ]


def test_a_gap_that_was_rejected_before_is_filled(runtime: Runtime, put: Importer) -> None:
    asset = by_a_vendor(runtime, [bar("2024-01-03", 12.0)])
    with runtime.database.write() as tx:
        bars.note_gaps(tx, asset, Interval.DAY_1, [], [Rejected(stamp_of(date(2024, 1, 2)), "not_positive")])
    put(HEAD + rows(date(2024, 1, 1), [10, 11, 12]))
    with runtime.database.read() as tx:
        assert tx.all("SELECT ts FROM bar_gap WHERE asset_id = :asset", {"asset": asset}) == []


def test_coverage_over_many_chunks_is_one_range(
    runtime: Runtime, put: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketjobs.storage.staging.CHUNK", 7)
    put(HEAD + rows(date(2023, 1, 2), [10.0 + number for number in range(100)]))
    assert len(stored(runtime)) == 100
    assert coverage(runtime) == [("2023-01-02T00:00", "2023-05-20T00:00")]


def test_weeks_and_months_follow_each_other(runtime: Runtime, put: Importer) -> None:
    head = "Date,Open,High,Low,Close\n"
    put(
        head + "".join(f"{day},1,1,1,1\n" for day in ("2023-01-31", "2023-02-28", "2023-03-31", "2023-05-31")),
        interval="1mo",
    )
    assert coverage(runtime, Interval.MONTH_1) == [
        ("2023-01-01T00:00", "2023-04-01T00:00"),
        ("2023-05-01T00:00", "2023-06-01T00:00"),
    ]


def test_two_bases_that_touch_in_one_series_are_told_and_the_seam_is_not_known(runtime: Runtime, put: Importer) -> None:
    """Monday to Friday from a vendor, a week of a file on either side."""
    put(HEAD + rows(date(2024, 1, 8), [544.47, 540, 541, 542, 543]), label="stooq")
    [outcome] = put(HEAD + rows(date(2024, 1, 1), [1.3, 1.4, 1.5, 1.4, 1.5], adjusted=1)).outcomes
    assert outcome.note == (
        "adjusted closes were left out: not on the basis of what is stored; its last close 1.5 is far from the next"
        " stored one 544.47: another basis? marketjobs fetch-market-data -s AAPL --force --start 2024-01-05 compares"
        " them"
    )
    text = "Date,Open,High,Low,Close\n2024-01-15,9,9,9,9\n2024-01-16,9,9,9,9\n"
    [outcome] = put(text).outcomes
    assert outcome.note == (
        "its first close 9 is far from the stored one before 543: another basis?"
        " marketjobs fetch-market-data -s AAPL --start 2024-01-15 compares them"
    )
    known = [
        ("2024-01-01T00:00", "2024-01-05T00:00"),
        ("2024-01-08T00:00", "2024-01-13T00:00"),
        ("2024-01-16T00:00", "2024-01-17T00:00"),
    ]
    assert coverage(runtime) == known
    assert put(text).outcomes[0].note is None
    assert coverage(runtime) == known, "the same file again tells no more about its seam"


@pytest.mark.parametrize("chunk", [1, 2, 1000])
def test_a_file_around_stored_bars_is_not_known_beside_them(
    runtime: Runtime, put: Importer, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("marketjobs.storage.staging.CHUNK", chunk)
    by_a_vendor(runtime, [bar("2024-01-03", 12.0), bar("2024-01-04", 13.0)])
    [outcome] = put(HEAD + rows(date(2024, 1, 1), [10, 11]) + rows(date(2024, 1, 5), [14, 30, 31])).outcomes
    assert outcome.note == "adjusted closes were left out: not on the basis of what is stored"
    assert coverage(runtime) == [
        ("2024-01-01T00:00", "2024-01-02T00:00"),
        ("2024-01-03T00:00", "2024-01-05T00:00"),
        ("2024-01-06T00:00", "2024-01-10T00:00"),
    ]


def test_bars_that_lie_in_a_vendor_s_known_days_make_a_seam_unknown_too(runtime: Runtime, put: Importer) -> None:
    """Such as rows that it rejected: nobody would ask for them again."""
    asset = by_a_vendor(runtime, [bar("2024-01-02", 12.0), bar("2024-01-04", 12.0)])
    with runtime.database.write() as tx:
        week = Range(stamp_of(date(2024, 1, 1)), stamp_of(date(2024, 1, 6)))
        bars.add_coverage(tx, asset, Interval.DAY_1, (), week)
    [outcome] = put("Date,Open,High,Low,Close\n2024-01-03,5,5,5,5\n").outcomes
    assert outcome.note is not None
    assert "--start 2024-01-03 compares them" in outcome.note
    assert coverage(runtime) == [
        ("2024-01-01T00:00", "2024-01-03T00:00"),
        ("2024-01-04T00:00", "2024-01-06T00:00"),
    ]


def test_a_file_that_overlaps_and_agrees_has_no_seam(runtime: Runtime, put: Importer) -> None:
    """Its last bar is the vendor's own, which a crash follows."""
    by_a_vendor(runtime, [bar("2024-01-03", 12.0, adj_close=6.0), bar("2024-01-04", 3.0)])
    [outcome] = put(HEAD + rows(date(2024, 1, 1), [10, 11, 12])).outcomes
    assert outcome.note is None
    assert coverage(runtime) == [("2024-01-01T00:00", "2024-01-03T00:00")]


def test_the_command_at_a_seam_of_weeks_names_their_interval(runtime: Runtime, put: Importer) -> None:
    head = "Date,Open,High,Low,Close\n"
    put(head + "2024-01-08,9,9,9,9\n", interval="1wk")
    [outcome] = put(head + "2024-01-01,1,1,1,1\n", interval="1wk").outcomes
    assert outcome.note is not None
    assert "fetch-market-data -s AAPL --interval 1wk --start 2024-01-01 compares" in outcome.note


# -- any table --

PRICES = st.floats(0.01, 1e6).map(lambda value: round(value, 4))
DAYS = st.dates(date(1990, 1, 1), date(2020, 1, 1)).filter(lambda day: day.day > 12)


@given(
    table=st.dictionaries(DAYS, st.tuples(PRICES, PRICES, st.integers(0, 10**12)), min_size=1, max_size=12),
    separator=st.sampled_from(";\t|,"),
    decimal=st.sampled_from(".,"),
    thousands=st.booleans(),
    pattern=st.sampled_from(["%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%m/%d/%Y", "%d-%b-%Y", "%Y-%m-%d 00:00:00+00:00"]),
    titles=st.sampled_from(
        [("Date", "Open", "High", "Low", "Close", "Volume"), ("TIMESTAMP", "o", "h", "l", "c", "Vol.")]
    ),
    mark=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_table_in_any_dialect_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    table: dict[date, tuple[float, float, int]],
    separator: str,
    decimal: str,
    thousands: bool,
    pattern: str,
    titles: tuple[str, ...],
    mark: str,
) -> None:
    def written(value: float) -> str:
        text = f"{value:,.4f}" if thousands else f"{value:.4f}"
        return f'"{text.translate(str.maketrans(",.", ".,")) if decimal == "," else text}"'

    lines = [separator.join(titles)]
    expected = []
    for day, (one, two, volume) in table.items():
        low, high = min(one, two), max(one, two)
        cells = [day.strftime(pattern), written(low), written(high), written(low), written(high), str(volume)]
        lines.append(separator.join(cells))
        expected.append((stamp_of(day), low, high, low, high, None, float(volume)))
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes("\n".join(lines).encode(mark))
    file = BarFile(path, BarFileOptions(Interval.DAY_1, "AAPL"))
    with Staging() as staging:
        assert file.stage(staging) == len(table)
        found = [tuple(one)[:7] for part in staging.chunks(0) for _, one in part]
    assert file.rejected.rows == []
    assert found == sorted(expected)
