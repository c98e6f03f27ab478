"""The recorded stocks: what the files hold, what is made of them, and that they can be made again."""

from __future__ import annotations

import asyncio
import csv
import gzip
import importlib.util
import zlib
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from marketjobs.domain.assets import AssetClass
from marketjobs.domain.bars import Action, BarAnswer, BarQuery, RawRow, broken_rule, check
from marketjobs.domain.intervals import DAY_SECONDS, Interval, day_of, stamp_of
from marketjobs.domain.ranges import Range, days, period_before
from marketjobs.errors import ProviderUnavailable, SymbolUnknown, Unsupported
from marketjobs.providers import recorded
from marketjobs.providers.base import Connection
from marketjobs.providers.recorded import Recorded

NOW = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
EVER = days(date(1990, 1, 1), date(2030, 1, 1))
COUNTS = {
    "AAPL": (3270, date(2000, 3, 1)),
    "FB": (196, date(2012, 5, 18)),
    "GOOG": (2148, date(2004, 8, 19)),
    "IBM": (3270, date(2000, 3, 1)),
    "MSFT": (3270, date(2000, 3, 1)),
}
SPLIT_DAYS = {
    "AAPL": [date(2000, 6, 21), date(2005, 2, 28)],
    "FB": [],
    "GOOG": [],
    "IBM": [],
    "MSFT": [date(2003, 2, 18)],
}
DIVIDENDS = {"AAPL": 3, "FB": 0, "GOOG": 0, "IBM": 52, "MSFT": 37}


class NoGate:
    """A budget of which nothing may be taken."""

    def spend(self) -> None:
        raise AssertionError("recorded figures cost nothing")

    def hold(self, why: str, seconds: float | None = None) -> float:
        raise AssertionError("nothing is ever held")

    def passed(self) -> None:
        raise AssertionError("nothing was sent")


@pytest.fixture
def provider() -> Recorded:
    return Recorded(Connection(gate=NoGate(), base_url=""))


def ask(symbol: str, interval: str = "1d", within: Range = EVER) -> BarAnswer:
    provider = Recorded(Connection(gate=NoGate(), base_url=""))
    return asyncio.run(provider.bars(BarQuery(symbol, Interval.of(interval), within)))


def by_day(answer: BarAnswer) -> dict[date, RawRow]:
    return {day_of(row.stamp): row for row in answer.rows}


def splits_of(answer: BarAnswer) -> list[Action]:
    return [action for action in answer.actions if action.kind == "split"]


def dividends_of(answer: BarAnswer) -> list[Action]:
    return [action for action in answer.actions if action.kind == "dividend"]


# ---------------------------------------------------------------- declarations


def test_what_it_declares(provider: Recorded) -> None:
    assert provider.name == "recorded"
    assert provider.only_by_name
    assert not provider.needs_network
    assert provider.as_of == date(2013, 3, 1)
    assert provider.capabilities.bars == {Interval.DAY_1, Interval.WEEK_1, Interval.MONTH_1}
    assert provider.capabilities.asset_classes == {AssetClass.EQUITY}
    asyncio.run(provider.probe())
    provider.close()


def test_an_unknown_symbol_is_told_the_five() -> None:
    with pytest.raises(SymbolUnknown, match=r"TSLA.*AAPL FB GOOG IBM MSFT") as caught:
        ask("TSLA")
    assert (caught.value.provider, caught.value.symbol) == ("recorded", "TSLA")


@pytest.mark.parametrize("interval", [one.value for one in Interval if one not in ("1d", "1wk", "1mo")])
def test_other_intervals_are_unsupported(interval: str) -> None:
    with pytest.raises(Unsupported, match="1d 1wk 1mo"):
        ask("AAPL", interval)


def test_facts() -> None:
    facts = {symbol: ask(symbol).facts for symbol in COUNTS}
    assert {symbol: fact.exchange for symbol, fact in facts.items()} == {
        "AAPL": "NMS",
        "FB": "NMS",
        "GOOG": "NMS",
        "IBM": "NYQ",
        "MSFT": "NMS",
    }
    assert facts["IBM"].name == "International Business Machines Corporation"
    assert {fact.currency for fact in facts.values()} == {"USD"}
    assert {fact.timezone for fact in facts.values()} == {"America/New_York"}
    assert {fact.asset_class for fact in facts.values()} == {AssetClass.EQUITY}


# ---------------------------------------------------------------- the record


@pytest.mark.parametrize("symbol", COUNTS)
def test_counts_and_order(symbol: str) -> None:
    answer = ask(symbol)
    stamps = [row.stamp for row in answer.rows]
    assert (len(stamps), day_of(stamps[0])) == COUNTS[symbol]
    assert day_of(stamps[-1]) == date(2013, 3, 1)
    assert stamps == sorted(set(stamps))
    assert all(stamp % DAY_SECONDS == 0 and day_of(stamp).weekday() < 5 for stamp in stamps)


@pytest.mark.parametrize("symbol", COUNTS)
def test_no_session_is_missing(symbol: str) -> None:
    """Against IBM's sessions, and those against the weekdays on which the New York exchanges were closed:
    holidays, four days from 2001-09-11, mourning in 2004 and 2007, the hurricane's two days of 2012."""
    sessions = by_day(ask("IBM"))
    span = (date(2013, 3, 1) - date(2000, 3, 1)).days + 1
    weekdays = [day for day in (date(2000, 3, 1) + timedelta(n) for n in range(span)) if day.weekday() < 5]
    closed = Counter(day.year for day in weekdays if day not in sessions)
    assert [closed[year] for year in range(2000, 2014)] == [6, 13, 9, 9, 10, 8, 9, 10, 9, 9, 9, 8, 11, 3]
    assert list(by_day(ask(symbol))) == [day for day in sessions if day >= COUNTS[symbol][1]]


@pytest.mark.parametrize("interval", ["1d", "1wk", "1mo"])
@pytest.mark.parametrize("symbol", COUNTS)
def test_no_row_breaks_a_rule_and_none_is_provisional(symbol: str, interval: str) -> None:
    answer = ask(symbol, interval)
    assert [row for row in answer.rows if broken_rule(row, NOW)] == []
    checked = check(answer, NOW)
    assert len(checked.bars) == len(answer.rows) > 0
    assert not any(bar.provisional for bar in checked.bars)


def test_the_last_day_is_final_soon_after_its_close() -> None:
    closed = datetime(2013, 3, 1, 21, 0, tzinfo=UTC).timestamp()
    last = days(date(2013, 2, 28), date(2013, 3, 1))
    answer = ask("AAPL", within=last)
    assert [bar.provisional for bar in check(answer, closed + 19 * 60).bars] == [False, True]
    assert [bar.provisional for bar in check(answer, closed + 21 * 60).bars] == [False, False]


@pytest.mark.parametrize(
    ("symbol", "day", "field", "value"),
    [
        ("AAPL", date(2013, 3, 1), "close", 430.47),
        ("AAPL", date(2012, 9, 19), "close", 702.1),  # its highest close of those years
        ("IBM", date(2013, 3, 1), "close", 202.91),
        ("MSFT", date(2013, 3, 1), "close", 27.95),
        ("GOOG", date(2013, 3, 1), "close", 806.19),
        ("FB", date(2012, 5, 18), "open", 42.05),  # offered at 38
        ("FB", date(2012, 5, 18), "volume", 573_576_400),
        ("AAPL", date(2005, 2, 25), "close", 88.99 / 2),  # the last day before the second split
        ("AAPL", date(2005, 2, 25), "volume", 16_348_400 * 2),
        ("AAPL", date(2005, 2, 28), "close", 44.86),  # the first day after it, as traded
        ("AAPL", date(2000, 6, 20), "close", 101.25 / 4),
        ("AAPL", date(2000, 6, 21), "close", 55.63 / 2),
        ("AAPL", date(2000, 3, 1), "volume", 9_616_100 * 4),
        ("MSFT", date(2003, 2, 14), "close", 48.3 / 2),
        ("MSFT", date(2003, 2, 18), "close", 24.96),
        ("IBM", date(2000, 3, 1), "close", 100.25),
    ],
)
def test_known_figures(symbol: str, day: date, field: str, value: float) -> None:
    assert getattr(by_day(ask(symbol))[day], field) == value  # exactly: halves and quarters round nothing


# ---------------------------------------------------------------- splits and dividends


@pytest.mark.parametrize("symbol", COUNTS)
def test_events(symbol: str) -> None:
    answer = ask(symbol)
    assert [day_of(split.ts) for split in splits_of(answer)] == SPLIT_DAYS[symbol]
    assert all(split.value == 2.0 for split in splits_of(answer))
    assert len(dividends_of(answer)) == DIVIDENDS[symbol]
    stamps = [action.ts for action in answer.actions]
    assert stamps == sorted(set(stamps))
    assert {day_of(stamp) for stamp in stamps} <= set(by_day(answer))


def test_known_dividends() -> None:
    apple = {day_of(action.ts): action.value for action in dividends_of(ask("AAPL"))}
    assert apple == {date(2012, 8, 9): 2.65, date(2012, 11, 7): 2.65, date(2013, 2, 7): 2.65}
    microsoft = {day_of(action.ts): action.value for action in dividends_of(ask("MSFT"))}
    assert microsoft[date(2004, 11, 15)] == 3.08  # the special one of 3.00 with the regular one
    ibm = [action.value for action in dividends_of(ask("IBM")) if day_of(action.ts).year == 2012]
    assert ibm == [0.75, 0.85, 0.85, 0.85]


def test_a_dividend_before_a_split_is_told_in_new_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    def events(_symbol: str) -> tuple[Action, ...]:
        return (
            Action(1, "dividend", 1.0),
            Action(2, "split", 2.0),
            Action(3, "dividend", 1.0),
            Action(4, "split", 4.0),
        )

    monkeypatch.setattr(recorded, "_events", events)
    assert [action.value for action in recorded._actions.__wrapped__("AAPL")] == [0.125, 2.0, 0.25, 4.0]


@pytest.mark.parametrize("symbol", COUNTS)
def test_no_split_shows_as_a_jump(symbol: str) -> None:
    """A split forgotten, or applied twice, halves or doubles the price from one close to the next."""
    rows = ask(symbol).rows
    moves = {day_of(after.stamp): after.close / before.close - 1 for before, after in pairwise(rows)}
    large = {day for day, move in moves.items() if not -0.3 < move < 0.3}
    assert large == ({date(2000, 9, 29)} if symbol == "AAPL" else set())  # that one was a profit warning
    assert all(abs(moves[day]) < 0.12 for day in SPLIT_DAYS[symbol])


@pytest.mark.parametrize("symbol", COUNTS)
def test_volume_is_on_the_basis_of_the_prices(symbol: str) -> None:
    """Dollars traded do not know of splits: two months before and after one they are of one size."""
    rows = ask(symbol).rows
    for split in splits_of(ask(symbol)):
        dollars: dict[bool, list[float]] = {True: [], False: []}
        for row in rows:
            if abs(row.stamp - split.ts) < 60 * DAY_SECONDS:
                dollars[row.stamp < split.ts].append(row.close * row.volume)
        before, after = (sum(one) / len(one) for one in dollars.values())
        assert 0.55 < before / after < 1.8


@pytest.mark.parametrize("symbol", COUNTS)
def test_adj_close_is_close_less_later_dividends(symbol: str) -> None:
    """Rebuilt backwards from the last close and the dividends alone, by the source's formula."""
    answer = ask(symbol)
    paid = {action.ts: action.value for action in dividends_of(answer)}
    factor = 1.0
    for row in reversed(answer.rows):
        assert row.adj_close == pytest.approx(row.close * factor, rel=1e-8)
        if row.stamp in paid:
            factor *= row.close / (row.close + paid[row.stamp])
    assert (factor < 1) == bool(paid)


@pytest.mark.parametrize("symbol", COUNTS)
def test_adj_close_meets_close_on_the_last_day(symbol: str) -> None:
    answer = ask(symbol)
    last_dividend = max((action.ts for action in dividends_of(answer)), default=0)
    for row in answer.rows:
        assert (row.adj_close == row.close) if row.stamp >= last_dividend else (row.adj_close < row.close)
    ratios = [row.adj_close / row.close for row in answer.rows]
    rounding = 1e-8
    assert all(after >= before - rounding for before, after in pairwise(ratios))


# ---------------------------------------------------------------- ranges


def test_a_range_is_honoured() -> None:
    week = ask("IBM", within=days(date(2013, 2, 4), date(2013, 2, 8)))
    assert [day.day for day in by_day(week)] == [4, 5, 6, 7, 8]
    assert [(day_of(ts), kind, value) for ts, kind, value in week.actions] == [(date(2013, 2, 6), "dividend", 0.85)]
    without_end = ask("IBM", within=Range(stamp_of(date(2013, 2, 4)), stamp_of(date(2013, 2, 6))))
    assert [day.day for day in by_day(without_end)] == [4, 5]
    assert without_end.actions == ()


def test_the_last_year_is_the_last_recorded_year(provider: Recorded) -> None:
    answer = ask("AAPL", within=days(period_before(provider.as_of, "1y"), provider.as_of))
    assert len(answer.rows) == 251
    assert day_of(answer.rows[0].stamp) == date(2012, 3, 1)


@pytest.mark.parametrize("interval", ["1d", "1wk", "1mo"])
@pytest.mark.parametrize(
    "within",
    [
        days(date(2013, 3, 2), date(2026, 1, 1)),
        days(date(1990, 1, 1), date(1999, 12, 31)),
        days(date(2012, 5, 5), date(2012, 5, 6)),
    ],
)
def test_a_range_without_bars_is_an_empty_answer(interval: str, within: Range) -> None:
    answer = ask("MSFT", interval, within)
    assert list(answer.rows) == []
    assert list(answer.actions) == []
    assert answer.facts.name == "Microsoft Corporation"


# ---------------------------------------------------------------- weeks and months


@pytest.mark.parametrize("interval", ["1wk", "1mo"])
@pytest.mark.parametrize("symbol", COUNTS)
def test_weeks_and_months_are_their_days(symbol: str, interval: str) -> None:
    grouped: dict[date, list[RawRow]] = defaultdict(list)
    for day, row in by_day(ask(symbol)).items():
        year, week, _ = day.isocalendar()
        first = date.fromisocalendar(year, week, 1) if interval == "1wk" else date(day.year, day.month, 1)
        grouped[first].append(row)
    cut = date(2013, 3, 1) if interval == "1mo" else date(2000, 2, 28)
    expected = {
        first: (
            rows[0].open,
            max(row.high for row in rows),
            min(row.low for row in rows),
            rows[-1].close,
            rows[-1].adj_close,
            sum(row.volume for row in rows),
        )
        for first, rows in grouped.items()
        if first != cut
    }
    assert {day: row[2:] for day, row in by_day(ask(symbol, interval)).items()} == expected


def test_what_the_record_cuts_is_left_out() -> None:
    weeks, months = by_day(ask("IBM", "1wk")), by_day(ask("IBM", "1mo"))
    assert (min(weeks), max(weeks)) == (date(2000, 3, 6), date(2013, 2, 25))  # the last ends on 2013-03-01
    assert (min(months), max(months)) == (date(2000, 3, 1), date(2013, 2, 1))
    assert len(months) == 13 * 12


def test_a_listing_starts_a_whole_week_and_month() -> None:
    assert min(by_day(ask("FB", "1wk"))) == date(2012, 5, 14)
    assert min(by_day(ask("GOOG", "1mo"))) == date(2004, 8, 1)


@pytest.mark.parametrize("interval", ["1wk", "1mo"])
def test_events_of_weeks_and_months_keep_their_days(interval: str) -> None:
    assert list(ask("MSFT", interval).actions) == list(ask("MSFT").actions)


# ---------------------------------------------------------------- the files


def _nothing(_data: bytes) -> None:
    return None


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_nothing, id="missing"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut"),
        pytest.param(lambda data: data[:500] + b"\0\1\2\3" + data[504:], id="overwritten"),
        pytest.param(lambda data: b"<html>", id="foreign"),
        pytest.param(lambda data: gzip.compress(b"date,open\n"), id="no rows"),
        pytest.param(lambda data: gzip.compress(b"date\n2000-03-01,1,2\n"), id="other columns"),
    ],
)
def test_damaged_files_are_told_and_not_remembered(spoil: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = files("marketjobs.providers") / "recorded_data"
    folder = tmp_path / "recorded_data"
    folder.mkdir()
    good = (shipped / "FB.csv.gz").read_bytes()
    (folder / "events.csv").write_bytes((shipped / "events.csv").read_bytes())
    spoiled = spoil(good)
    if spoiled is not None:
        (folder / "FB.csv.gz").write_bytes(spoiled)
    monkeypatch.setattr(recorded, "files", lambda _package: tmp_path)
    recorded._series.cache_clear()
    try:
        with pytest.raises(ProviderUnavailable, match="FB"):
            ask("FB")
        (folder / "FB.csv.gz").write_bytes(good)
        assert len(ask("FB").rows) == 196
    finally:
        recorded._series.cache_clear()


def test_the_files_are_small_and_bear_no_time() -> None:
    data = files("marketjobs.providers") / "recorded_data"
    packed = {one.name: one.read_bytes() for one in data.iterdir() if one.name.endswith(".gz")}
    assert set(packed) == {f"{symbol}.csv.gz" for symbol in COUNTS}
    assert sum(map(len, packed.values())) < 400_000
    for name, content in packed.items():
        assert content[3:8] == bytes(5), f"{name}: a gzip header with a name or a time"


def _script() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "scripts" / "make_recorded_data.py"
    if not path.exists():
        pytest.skip("scripts/ is not beside the tests")
    spec = importlib.util.spec_from_file_location("make_recorded_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_makes_the_committed_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("bokeh_sampledata") is None:
        pytest.skip("bokeh_sampledata is not installed")
    assert _script().main(["--out", str(tmp_path)]) == 0
    assert "12154 bars" in capsys.readouterr().out
    shipped = files("marketjobs.providers") / "recorded_data"
    made = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    assert set(made) == {one.name for one in shipped.iterdir()} - {"README.md"}
    # zlib-ng packs the same text into other bytes; what is inside is compared everywhere.
    same_packer = zlib.ZLIB_RUNTIME_VERSION.startswith(("1.2.", "1.3")) and "ng" not in zlib.ZLIB_RUNTIME_VERSION
    for name, content in made.items():
        committed = (shipped / name).read_bytes()
        if name.endswith(".gz"):
            assert gzip.decompress(content) == gzip.decompress(committed), name
        if same_packer or not name.endswith(".gz"):
            assert content == committed, name


def _source(folder: Path, change: Any = None) -> Path:
    """The committed figures in the source's own layout, with ``change`` applied to each row."""
    path = folder / "stocks.csv.gz"
    shipped = files("marketjobs.providers") / "recorded_data"
    with gzip.open(path, "wt", encoding="ascii", newline="", compresslevel=1) as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["Ticker", "Date", "Open", "High", "Low", "Close", "Volume", "Adj Close"])
        for symbol in COUNTS:
            text = gzip.decompress((shipped / f"{symbol}.csv.gz").read_bytes()).decode("ascii")
            for row in list(csv.reader(text.splitlines()))[1:]:
                out.writerow([symbol, *(change(symbol, row) if change else row)])
    return path


def test_the_script_makes_the_same_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _script().main(["--source", str(_source(tmp_path)), "--out", str(out)]) == 0
    shipped = files("marketjobs.providers") / "recorded_data"
    assert (out / "events.csv").read_bytes() == (shipped / "events.csv").read_bytes()
    for symbol in COUNTS:
        name = f"{symbol}.csv.gz"
        assert gzip.decompress((out / name).read_bytes()) == gzip.decompress((shipped / name).read_bytes())


def _unknown_split(symbol: str, row: list[str]) -> list[str]:
    if symbol == "FB" and row[0] < "2012-10-01":
        return [*row[:6], str(float(row[6]) / 3)]
    return row


def _odd_dividend(symbol: str, row: list[str]) -> list[str]:
    if symbol == "FB" and row[0] < "2012-10-01":
        return [*row[:6], str(float(row[6]) * 0.99)]
    return row


def _no_split(symbol: str, row: list[str]) -> list[str]:
    if symbol == "MSFT" and row[0] < "2003-02-18":
        return [*row[:6], str(float(row[6]) * 2)]
    return row


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_unknown_split, "FB 2012-10-01"),
        (_odd_dividend, "FB 2012-10-01"),
        (_no_split, "MSFT 2003-02-18"),
    ],
)
def test_the_script_refuses_another_source(
    change: Any, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _script().main(["--source", str(_source(tmp_path, change)), "--out", str(out)]) == 1
    assert told in capsys.readouterr().err
    assert not out.exists()
