"""Stored minutes that the vendor no longer gives, after a split: what is done to them, and that it is done once."""

from __future__ import annotations

import pytest

from marketjobs.domain.bars import SPLIT, Bar
from marketjobs.domain.intervals import DAY_SECONDS, Interval
from marketjobs.errors import HistoryCut
from marketjobs.services import bar_rebase
from marketjobs.services.bar_plan import Plan
from marketjobs.services.bar_rebase import Rebase
from marketjobs.services.identity import named
from marketjobs.services.runtime import Runtime
from marketjobs.storage import bar_state, bars
from marketjobs.storage.database import Transaction
from stores import ensure_assets

FIVE = Interval.MINUTE_5
START = 1_795_132_800
"""Midnight of a day; the vendor gives bars from here on."""
SPLIT_ON = START + 3 * DAY_SECONDS


def row(ts: int, price: float) -> Bar:
    return Bar(ts, price, price, price, price, None, 100.0)


def older(price: float) -> list[Bar]:
    return [row(START - n * 300, price) for n in range(10, 0, -1)]


def both(price: float) -> list[Bar]:
    return [row(START + n * 300, price) for n in range(10)]


@pytest.fixture
def asset(runtime: Runtime) -> int:
    return ensure_assets(runtime.database, ["AAPL"])["AAPL"]


def put(runtime: Runtime, asset: int, rows: list[Bar], at: int) -> None:
    with runtime.database.write() as tx:
        bars.upsert(tx, asset, FIVE, rows, bars.provider_id(tx, "yahoo"), at)


def plan(tx: Transaction, asset: int, splits: dict[int, float]) -> Plan:
    series = bar_state.known(tx, ["AAPL"], FIVE, 3)["AAPL"].series
    known = {(ts, SPLIT): value for ts, value in splits.items()}
    [one] = named(tx, ["AAPL"]).values()
    return Plan(one, asset, series, ("yahoo",), known, (), wanted=None)  # type: ignore[arg-type]


def decide(runtime: Runtime, asset: int, given: list[Bar], splits: dict[int, float]) -> Rebase | None:
    with runtime.database.read() as tx:
        one = plan(tx, asset, splits)
        return bar_rebase.of_the_overlap(tx, one, FIVE, given, [], START)


def test_older_bars_follow_a_split_once(runtime: Runtime, asset: int) -> None:
    put(runtime, asset, older(100.0) + both(100.0), START)
    rebase = decide(runtime, asset, both(25.0), {SPLIT_ON: 4.0})
    assert rebase == Rebase(START, 0.25, 0.25)
    with runtime.database.write() as tx:
        written = bar_rebase.apply(tx, plan(tx, asset, {}), FIVE, rebase, SPLIT_ON)
        bars.upsert(tx, asset, FIVE, both(25.0), bars.provider_id(tx, "yahoo"), SPLIT_ON)
    assert written == 10
    with runtime.database.read() as tx:
        rows = [one.bar for one in bars.read(tx, "AAPL", FIVE, end=START)]
    assert {(one.close, one.volume) for one in rows} == {(25.0, 400.0)}
    # What another job decided meanwhile is decided anew before it is written, and comes to nothing.
    assert decide(runtime, asset, both(25.0), {SPLIT_ON: 4.0}) is None


def test_older_bars_stay_where_the_oldest_common_ones_agree(runtime: Runtime, asset: int) -> None:
    put(runtime, asset, older(100.0) + both(100.0), START)
    corrected = [*both(100.0)[:-1], row(START + 2700, 90.0)]
    assert decide(runtime, asset, corrected, {SPLIT_ON: 4.0}) is None


def test_a_change_without_a_split_is_refused(runtime: Runtime, asset: int) -> None:
    put(runtime, asset, older(100.0) + both(100.0), START)
    with pytest.raises(HistoryCut, match="no split says"):
        decide(runtime, asset, both(91.0), {SPLIT_ON: 4.0})


@pytest.mark.parametrize(
    ("fetched", "expected"),
    [(START, Rebase(START, 0.25, None)), (SPLIT_ON + DAY_SECONDS, None), (SPLIT_ON + 3600, HistoryCut)],
)
def test_without_a_common_bar_it_counts_when_they_were_fetched(
    runtime: Runtime, asset: int, fetched: int, expected: Rebase | type[Exception] | None
) -> None:
    put(runtime, asset, older(100.0), fetched)
    if isinstance(expected, type):
        with pytest.raises(expected, match="can't be told"):
            decide(runtime, asset, both(25.0), {SPLIT_ON: 4.0})
    else:
        assert decide(runtime, asset, both(25.0), {SPLIT_ON: 4.0}) == expected


def test_nothing_is_older(runtime: Runtime, asset: int) -> None:
    put(runtime, asset, both(100.0), START)
    assert decide(runtime, asset, both(25.0), {SPLIT_ON: 4.0}) is None
