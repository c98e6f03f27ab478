"""The store's contract, on SQLite: schema, bars, assets, transactions, and what befalls a file.

:class:`StoreContract` says what every store must do; a subclass for another database hands in ``database`` and
``open_again`` and inherits all of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from marketjobs.domain.assets import AssetClass, AssetFacts
from marketjobs.domain.bars import DIVIDEND, SPLIT, Action, Bar, Rejected
from marketjobs.domain.intervals import Interval, stamp_of
from marketjobs.domain.jobs import WAITS_FOR_CHILDREN, JobRequest, JobState
from marketjobs.domain.ranges import Range
from marketjobs.errors import SchemaMismatch, StorageError, StorageFull, StorageUnavailable
from marketjobs.storage import assets, bar_state, bars, jobs, schema, sqlite, totals
from marketjobs.storage.bar_state import Series
from marketjobs.storage.bar_upsert import Batch, Stored, upsert_many
from marketjobs.storage.database import Database, open_database
from marketjobs.storage.sqlite import SqliteDatabase, SqliteTransaction
from stores import asset_record, ensure_assets, listed_assets

Python = Callable[..., "subprocess.Popen[str]"]
DAY = Interval.DAY_1
FIRST = date(2026, 3, 2)


def bar(number: int, close: float = 10.0, **changed: Any) -> Bar:
    ts = stamp_of(FIRST + timedelta(days=number))
    return Bar(ts, 9.5, max(close, 9.5) + 1, min(close, 9.5) - 1, close, close / 2, 100.0)._replace(**changed)


def stamp(number: int) -> int:
    return stamp_of(FIRST + timedelta(days=number))


def put(database: Database, asset: int, rows: list[Bar], *, provider: str = "yahoo", at: int = 1000) -> Stored:
    with database.write() as tx:
        return bars.upsert(tx, asset, DAY, rows, bars.provider_id(tx, provider), at)


def series(database: Database, asset: int, give_up_after: int = 3) -> Series:
    with database.read() as tx:
        [found] = bar_state.known(tx, ["AAPL"], DAY, give_up_after).values()
        return found.series


def stored(database: Database, symbol: str = "AAPL", **options: Any) -> list[bars.ReadBar]:
    with database.read() as tx:
        return bars.read(tx, symbol, DAY, **options)


def sqlalchemy_engine(database: Database) -> Any:
    """For alembic's eyes: connections of the store's own driver."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    return create_engine(database.sqlalchemy_url, creator=database.driver_connection, poolclass=NullPool)


class StoreContract:
    """What every store does.  A subclass has the fixture ``open_again``: an object on an empty store at the newest
    schema, the same store at each call, as another process would have it."""

    @pytest.fixture
    def opened(self) -> Iterator[list[Database]]:
        """What a test has opened; closed at its end."""
        opened: list[Database] = []
        yield opened
        for database in opened:
            database.close()

    @pytest.fixture
    def database(self, open_again: Callable[..., Database]) -> Database:
        return open_again()

    @pytest.fixture
    def open_again(self) -> Callable[..., Database]:
        raise NotImplementedError

    def instant(self, text: str) -> object:
        """How the view gives an instant."""
        return text

    def session(self, text: str) -> object:
        """How the view gives a session's date."""
        return text

    def kept(self, text: str) -> str:
        """What the store keeps of a text."""
        return text

    @pytest.fixture
    def asset(self, database: Database) -> int:
        return ensure_assets(database, ["AAPL"])["AAPL"]

    # -- transactions --

    def test_what_is_committed_is_seen_by_others(self, database: Database, open_again: Callable[..., Database]) -> None:
        with database.write() as tx:
            bars.provider_id(tx, "yahoo")
        with open_again().read() as tx:
            assert bars.providers(tx) == ["yahoo"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_an_exception_undoes_all_of_a_transaction(self, database: Database, error: type[BaseException]) -> None:
        with pytest.raises(error), database.write() as tx:
            bars.provider_id(tx, "yahoo")
            raise error
        with database.write() as tx:
            assert bars.providers(tx) == []
            bars.provider_id(tx, "rss")
        with database.read() as tx:
            assert bars.providers(tx) == ["rss"]

    def test_a_statement_by_itself_is_committed_when_it_returns(
        self, database: Database, open_again: Callable[..., Database]
    ) -> None:
        insert = "INSERT INTO lease (name, owner, until) VALUES (:name, '', 0) RETURNING name"
        with pytest.raises(ValueError, match="after it"), database.statement() as tx:
            assert tx.first(insert, {"name": "first"}) is not None
            tx.run(insert.removesuffix(" RETURNING name"), {"name": "second"})
            with open_again(busy_seconds=0.2).statement() as others:
                assert others.run("UPDATE lease SET owner = 'me'") == 2
            raise ValueError("after it")

    def test_a_reader_keeps_its_snapshot_and_does_not_wait_for_a_writer(
        self, database: Database, open_again: Callable[..., Database]
    ) -> None:
        other = open_again()
        with database.write() as tx:
            bars.provider_id(tx, "yahoo")
        with other.read() as reading, database.write() as tx:
            assert bars.providers(reading) == ["yahoo"]
            bars.provider_id(tx, "rss")
            began = time.monotonic()
            assert bars.providers(reading) == ["yahoo"]
            with other.read() as another:
                assert bars.providers(another) == ["yahoo"]
            assert time.monotonic() - began < 1
        with other.read() as reading:
            assert bars.providers(reading) == ["rss", "yahoo"]

    def test_assets_are_listed_while_somebody_writes(
        self, database: Database, open_again: Callable[..., Database]
    ) -> None:
        ensure_assets(database, ["AAPL"])
        other = open_again(busy_seconds=0.2)
        with database.write() as tx:
            bars.provider_id(tx, "yahoo")
            assert [one.symbol for one in listed_assets(other)] == ["AAPL"]
            found = asset_record(other, "AAPL")
            assert found is not None and found.symbol == "AAPL"

    def test_a_transaction_that_reads_first_may_still_write(
        self, database: Database, open_again: Callable[..., Database]
    ) -> None:
        with database.write() as tx:
            tx.run("INSERT INTO lease (name, owner, until) VALUES ('count', '0', 0)")

        def add(times: int) -> None:
            mine = open_again()
            for _ in range(times):
                with mine.write() as tx:
                    row = tx.first("SELECT owner FROM lease WHERE name = 'count' {for_update}")
                    assert row is not None
                    tx.run("UPDATE lease SET owner = :n WHERE name = 'count'", {"n": str(int(row["owner"]) + 1)})

        threads = [threading.Thread(target=add, args=(25,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        with database.read() as tx:
            row = tx.first("SELECT owner FROM lease WHERE name = 'count'")
        assert row is not None and row["owner"] == "100"

    def test_the_stores_clock_is_the_time_of_day(self, database: Database) -> None:
        with database.read() as tx:
            assert abs(tx.now() - time.time()) < 2

    # -- bars: counts --

    def test_new_rows_are_counted_and_read_back_as_they_were(self, database: Database, asset: int) -> None:
        rows = [bar(0), bar(1, 11.0, adj_close=None, volume=None), bar(2, provisional=True)]
        assert put(database, asset, rows, at=1234) == Stored(new=3)
        assert [one.bar for one in stored(database)] == rows
        assert {(one.provider, one.fetched_at) for one in stored(database)} == {("yahoo", 1234)}

    def test_the_same_again_is_unchanged_and_keeps_who_said_it_first(self, database: Database, asset: int) -> None:
        rows = [bar(0), bar(1, adj_close=None, volume=None), bar(2, provisional=True)]
        put(database, asset, rows, at=1000)
        assert put(database, asset, rows, provider="rss", at=2000) == Stored(unchanged=3)
        assert {(one.provider, one.fetched_at) for one in stored(database)} == {("yahoo", 1000)}

    @pytest.mark.parametrize(
        "field, value",
        [("open", 9.6), ("high", 12.5), ("low", 8.0), ("close", 10.0001), ("adj_close", 4.9), ("adj_close", None),
         ("volume", 101.0), ("volume", None)],
    )  # fmt: skip
    def test_a_final_bar_that_differs_is_a_change(
        self, database: Database, asset: int, field: str, value: float | None
    ) -> None:
        put(database, asset, [bar(0), bar(1)])
        changed = bar(1)._replace(**{field: value})
        assert put(database, asset, [bar(0), changed], at=2000) == Stored(changed=1, unchanged=1)
        assert [one.bar for one in stored(database)] == [bar(0), changed]
        assert [one.fetched_at for one in stored(database)] == [1000, 2000]

    def test_a_value_that_was_missing_and_comes_is_a_change(self, database: Database, asset: int) -> None:
        put(database, asset, [bar(0, adj_close=None, volume=None)])
        assert put(database, asset, [bar(0)]) == Stored(changed=1)

    def test_a_provisional_bar_that_becomes_final_is_no_change_of_history(self, database: Database, asset: int) -> None:
        put(database, asset, [bar(0), bar(1, 10.0, provisional=True)])
        assert put(database, asset, [bar(0), bar(1, 12.0)], at=2000) == Stored(unchanged=2)
        assert [one.bar for one in stored(database)] == [bar(0), bar(1, 12.0)]
        assert stored(database)[1].fetched_at == 2000

    def test_mixed_batches_add_up(self, database: Database, asset: int) -> None:
        put(database, asset, [bar(0), bar(1), bar(2, provisional=True)])
        went = put(database, asset, [bar(0), bar(1, 20.0), bar(2, 30.0), bar(3), bar(4)])
        assert went == Stored(new=2, changed=1, unchanged=2)

    def test_nothing_is_a_batch_too(self, database: Database, asset: int) -> None:
        assert put(database, asset, []) == Stored()

    def test_series_do_not_touch_each_other(self, database: Database, asset: int) -> None:
        other = ensure_assets(database, ["MSFT"])["MSFT"]
        put(database, asset, [bar(0)])
        put(database, other, [bar(0, 20.0)])
        with database.write() as tx:
            bars.upsert(tx, asset, Interval.WEEK_1, [bar(0, 30.0)], bars.provider_id(tx, "yahoo"), 1)
        assert [one.bar.close for one in stored(database)] == [10.0]
        assert [one.bar.close for one in stored(database, "MSFT")] == [20.0]

    def test_only_provisional_bars_are_ever_dropped(self, database: Database, asset: int) -> None:
        put(database, asset, [bar(0), bar(1, provisional=True)])
        with database.write() as tx:
            assert bars.drop_provisional(tx, asset, DAY, [stamp(0), stamp(1), stamp(9)]) == 1
        assert [one.bar for one in stored(database)] == [bar(0)]

    # -- bars: reading --

    def test_reading_a_part(self, database: Database, asset: int) -> None:
        put(database, asset, [bar(number) for number in range(6)])
        stamps = [stamp(number) for number in range(6)]
        assert [one.bar.ts for one in stored(database, start=stamps[2])] == stamps[2:]
        assert [one.bar.ts for one in stored(database, end=stamps[2])] == stamps[:2]
        assert [one.bar.ts for one in stored(database, last=2)] == stamps[4:]
        assert [one.bar.ts for one in stored(database, end=stamps[4], last=1)] == [stamps[3]]
        assert stored(database, "NONE") == []

    def test_the_latest_closes_of_many(self, database: Database, asset: int) -> None:
        others = ensure_assets(database, ["MSFT", "EMPTY", "WEEKLY", *(f"MORE{number}" for number in range(600))])
        put(database, asset, [bar(0), bar(1, 11.0), bar(2, 12.0, provisional=True)])
        put(database, others["MSFT"], [bar(5, 20.0)])
        put(database, others["MORE599"], [bar(5, 30.0)])
        with database.write() as tx:
            provider = bars.provider_id(tx, "yahoo")
            bars.upsert(tx, others["WEEKLY"], Interval.WEEK_1, [bar(0, 40.0)], provider, 1)
        with database.read() as tx:
            found = bars.latest_closes(tx, ["AAPL", "UNKNOWN", *others], DAY)
            assert bars.latest_closes(tx, [], DAY) == {}
        assert found == {"AAPL": 12.0, "MSFT": 20.0, "MORE599": 30.0}

    def test_what_overlaps_is_found_on_both_sides(self, database: Database, asset: int) -> None:
        put(database, asset, [bar(number) for number in (0, 1, 2, 10, 11)])
        with database.read() as tx:
            assert bars.overlap_start(tx, asset, DAY, stamp(10), 2) == stamp(1)
            assert bars.overlap_start(tx, asset, DAY, stamp(10), 99) == stamp(0)
            assert bars.overlap_start(tx, asset, DAY, stamp(0), 2) is None
            assert bars.overlap_end(tx, asset, DAY, stamp(3), 1) == stamp(10)
            assert bars.overlap_end(tx, asset, DAY, stamp(3), 99) == stamp(11)
            assert bars.overlap_end(tx, asset, DAY, stamp(12), 1) is None
            found = bars.stored_bars(tx, asset, DAY, stamp(1), stamp(10))
            assert [one.ts for one in found] == [stamp(1), stamp(2), stamp(10)]

    def test_is_anything_of_a_range_stored(self, database: Database, asset: int) -> None:
        put(database, asset, [bar(1)])
        with database.read() as tx:
            assert bars.holds_any(tx, asset, DAY, Range(stamp(1), stamp(2)))
            assert not bars.holds_any(tx, asset, DAY, Range(stamp(0), stamp(1)))
            assert not bars.holds_any(tx, asset, DAY, Range(stamp(2), stamp(9)))
            assert not bars.holds_any(tx, asset, Interval.WEEK_1, Range(stamp(0), stamp(9)))

    def test_what_is_known_of_a_series(self, database: Database, asset: int) -> None:
        assert series(database, asset) == Series(None, None, (), ())
        put(database, asset, [bar(0), bar(1)])
        put(database, asset, [bar(2)], provider="rss")
        found = series(database, asset)
        assert (found.first, found.last) == (stamp(0), stamp(2))
        with database.read() as tx:
            assert bar_state.suppliers(tx, [asset])[asset] == ("rss", "yahoo")

    def test_the_view_for_people(self, database: Database, asset: int) -> None:
        put(database, asset, [bar(0), bar(1, provisional=True)], at=stamp(1))
        with database.read() as tx:
            rows = [dict(row) for row in tx.all("SELECT * FROM price_bar_v ORDER BY ts")]
        assert rows[1] == {
            "symbol": "AAPL",
            "interval": "1d",
            "ts": self.instant("2026-03-03T00:00:00Z"),
            "session": self.session("2026-03-03"),
            "open": 9.5,
            "high": 11.0,
            "low": 8.5,
            "close": 10.0,
            "adj_close": 5.0,
            "volume": 100.0,
            "provider": "yahoo",
            "provisional": 1,
            "fetched_at": self.instant("2026-03-03T00:00:00Z"),
        }
        assert len(rows) == 2

    def test_the_view_names_every_interval(self, database: Database, asset: int) -> None:
        with database.write() as tx:
            for interval in Interval:
                bars.upsert(tx, asset, interval, [bar(0)], bars.provider_id(tx, "yahoo"), 1)
            named = {row["interval"] for row in tx.all("SELECT interval FROM price_bar_v")}
        assert named == {one.value for one in Interval}

    def test_each_series_is_listed_with_its_ends(self, database: Database, asset: int) -> None:
        other = ensure_assets(database, ["A"])["A"]
        put(database, asset, [bar(0), bar(5)])
        with database.write() as tx:
            for one in (asset, other):
                bars.add_coverage(tx, one, DAY, (), Range(stamp(0), stamp(6)))
            assert bars.latest(tx) == [("AAPL", "1d", stamp(0), stamp(5))]
            assert totals.assets(tx) == {"active": 2, "assets": 2}

    # -- coverage and gaps --

    def test_when_older_bars_were_fetched(self, database: Database, asset: int) -> None:
        put(database, asset, [bar(0), bar(1)], at=1000)
        put(database, asset, [bar(2), bar(3)], at=2000)
        with database.read() as tx:
            assert bars.fetched_span(tx, asset, DAY, stamp(3)) == (1000, 2000)
            assert bars.fetched_span(tx, asset, DAY, stamp(2)) == (1000, 1000)
            assert bars.fetched_span(tx, asset, DAY, stamp(0)) is None
            assert bars.timezone(tx, asset) is None

    def test_a_job_is_found_by_the_end_of_its_id(self, database: Database) -> None:
        """Eight characters mean a request, and are looked up; whatever is not found so is looked for everywhere."""
        names = ("one-12345678", "two-12345678", "three-0012345678", "short", "part-12345678", "part-abcdefgh")
        with database.write() as tx:
            for name in names:
                parent = "one-12345678" if name.startswith("part") else None
                jobs.insert(tx, JobRequest(name, "t", "default", {}, parent_id=parent))
            texts = ("12345678", "0012345678", "345678", "abcdefgh", "part-123", "short", "hort", "nothing-at-all")
            found = {text: sorted(job.id for job in jobs.find(tx, text)) for text in texts}
        assert found == {
            "12345678": ["one-12345678", "three-0012345678", "two-12345678"],
            "0012345678": ["three-0012345678"],
            "345678": ["one-12345678", "part-12345678", "three-0012345678", "two-12345678"],
            "abcdefgh": ["part-abcdefgh"],
            "part-123": ["part-12345678"],
            "short": ["short"],
            "hort": ["short"],
            "nothing-at-all": [],
        }

    def test_a_cancelled_parent_keeps_the_share_that_its_children_have_done(self, database: Database) -> None:
        names = ("done", "halfway", "queued", "also queued")
        with database.write() as tx:
            jobs.insert(tx, JobRequest("parent", "t", "default", {}, waits_for=WAITS_FOR_CHILDREN))
            jobs.insert_many(tx, [JobRequest(name, "t", "default", {}, parent_id="parent") for name in names])
            done, halfway = (jobs.claim(tx, name, "me", 60.0) for name in names[:2])
            assert done is not None
            assert halfway is not None
            jobs.finish(tx, done, JobState.SUCCEEDED, None)
            jobs.beat(tx, halfway, 60.0, 0.5, None)
            jobs.cancel(tx, "parent")
        with database.read() as tx:
            parent = jobs.get(tx, "parent")
        assert parent is not None
        assert (parent.state, parent.progress) == (JobState.CANCELLED, pytest.approx(1.5 / 4))
        assert parent.started_at is not None

    def test_coverage_grows_together(self, database: Database, asset: int) -> None:
        def add(start: int, end: int) -> tuple[Range, ...]:
            known = series(database, asset).coverage
            with database.write() as tx:
                bars.add_coverage(tx, asset, DAY, known, Range(start, end))
            return series(database, asset).coverage

        assert add(10, 20) == (Range(10, 20),)
        assert add(40, 50) == (Range(10, 20), Range(40, 50))
        assert add(12, 15) == (Range(10, 20), Range(40, 50))
        assert add(20, 30) == (Range(10, 30), Range(40, 50))
        assert add(25, 45) == (Range(10, 50),)
        assert add(5, 60) == (Range(5, 60),)

    def test_a_gap_is_asked_for_until_it_is_filled_or_hopeless(self, database: Database, asset: int) -> None:
        def note(good: list[Bar], bad: list[Rejected]) -> tuple[int, ...]:
            with database.write() as tx:
                bars.note_gaps(tx, asset, DAY, good, bad)
            return series(database, asset).gaps

        assert note([bar(0)], [Rejected(stamp(1), "no_prices"), Rejected(stamp(2), "future")]) == (stamp(1), stamp(2))
        assert note([bar(1)], []) == (stamp(2),)
        assert note([], [Rejected(stamp(2), "no_prices")]) == (stamp(2),)
        assert note([], [Rejected(stamp(2), "no_prices")]) == ()
        assert series(database, asset, give_up_after=4).gaps == (stamp(2),)

    def test_two_rejected_rows_of_one_stamp_are_one_gap_tried_once(self, database: Database, asset: int) -> None:
        with database.write() as tx:
            twice = [Rejected(stamp(1), "duplicate"), Rejected(stamp(1), "conflict")]
            bars.note_gaps(tx, asset, DAY, [], twice)
        assert series(database, asset, give_up_after=2).gaps == (stamp(1),)

    def test_a_duplicate_of_a_good_bar_is_no_gap(self, database: Database, asset: int) -> None:
        with database.write() as tx:
            bars.note_gaps(tx, asset, DAY, [bar(1)], [Rejected(stamp(1), "duplicate")])
        assert series(database, asset).gaps == ()

    # -- corporate actions --

    def test_actions_are_kept_once_and_corrected(self, database: Database, asset: int) -> None:
        found = [Action(stamp(1), DIVIDEND, 0.25), Action(stamp(1), SPLIT, 4.0)]
        with database.write() as tx:
            provider = bars.provider_id(tx, "yahoo")
            assert bars.upsert_actions(tx, [(asset, found)], provider, 1) == 2
            assert bars.upsert_actions(tx, [(asset, found)], provider, 2) == 0
            assert bars.upsert_actions(tx, [(asset, [found[0]._replace(value=0.3)])], provider, 3) == 1
            assert bars.actions(tx, asset) == {(stamp(1), DIVIDEND): 0.3, (stamp(1), SPLIT): 4.0}

    def test_an_action_is_withdrawn_only_by_who_told_of_it(self, database: Database, asset: int) -> None:
        with database.write() as tx:
            mine, other = bars.provider_id(tx, "yahoo"), bars.provider_id(tx, "rss")
            bars.upsert_actions(tx, [(asset, [Action(stamp(1), DIVIDEND, 0.25)])], mine, 1)
            assert bars.drop_actions(tx, asset, [(stamp(1), DIVIDEND)], other) == 0
            assert bars.drop_actions(tx, asset, [(stamp(1), DIVIDEND), (stamp(2), SPLIT)], mine) == 1
            assert bars.actions(tx, asset) == {}

    # -- assets --

    def test_assets_are_made_once(self, database: Database) -> None:
        first = ensure_assets(database, ["AAPL", "MSFT", "AAPL"])
        assert sorted(first) == ["AAPL", "MSFT"]
        assert ensure_assets(database, ["MSFT", "IBM"]) | first == ensure_assets(database, ["IBM", "MSFT", "AAPL"])
        assert [one.symbol for one in listed_assets(database)] == ["AAPL", "IBM", "MSFT"]

    def test_a_thousand_assets_at_once(self, database: Database) -> None:
        symbols = [f"S{number}" for number in range(1200)]
        assert sorted(ensure_assets(database, symbols)) == sorted(symbols)
        assert len(ensure_assets(database, symbols)) == 1200
        assert len(assets.deactivate(database, symbols)) == 1200
        assert len(assets.purge(database, symbols)) == 1200

    def test_several_who_make_the_same_assets(self, database: Database, open_again: Callable[..., Database]) -> None:
        symbols = [f"S{number}" for number in range(50)]
        found: list[dict[str, int]] = []
        threads = [
            threading.Thread(target=lambda: found.append(ensure_assets(open_again(), symbols))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(found) == 4
        assert all(one == found[0] for one in found)

    def test_active_and_not(self, database: Database) -> None:
        assert assets.activate(database, ["AAPL", "MSFT"]) == ["AAPL", "MSFT"]
        assert assets.activate(database, ["AAPL", "IBM"], asset_class=AssetClass.EQUITY) == ["IBM"]
        assert assets.deactivate(database, ["MSFT", "NONE"]) == ["MSFT"]
        assert [one.symbol for one in listed_assets(database, active_only=True)] == ["AAPL", "IBM"]
        record = asset_record(database, "AAPL")
        assert record is not None and record.asset_class == "equity"
        assert assets.activate(database, ["MSFT"]) == ["MSFT"]

    def test_an_asset_named_twice_is_activated_once(self, database: Database) -> None:
        assert assets.activate(database, ["AAPL", "AAPL"]) == ["AAPL"]

    def test_fetching_again_does_not_wake_an_inactive_asset(self, database: Database) -> None:
        ensure_assets(database, ["AAPL"])
        assets.deactivate(database, ["AAPL"])
        ensure_assets(database, ["AAPL"])
        record = asset_record(database, "AAPL")
        assert record is not None and record.status == "inactive"

    def test_a_purge_leaves_nothing_of_an_asset_and_all_of_others(self, database: Database, asset: int) -> None:
        other = ensure_assets(database, ["MSFT"])["MSFT"]
        for one in (asset, other):
            put(database, one, [bar(0)])
            with database.write() as tx:
                bars.add_coverage(tx, one, DAY, (), Range(0, 10))
                bars.note_gaps(tx, one, DAY, [], [Rejected(stamp(3), "future")])
                bars.upsert_actions(tx, [(one, [Action(stamp(1), DIVIDEND, 0.2)])], bars.provider_id(tx, "yahoo"), 1)
        with database.write() as tx:
            assets.describe(tx, {"AAPL": AssetFacts(name="Apple"), "MSFT": AssetFacts()}, "yahoo")
        assert assets.purge(database, ["AAPL", "NONE"]) == ["AAPL"]
        assert asset_record(database, "AAPL") is None
        with database.read() as tx:
            for table in ("price_bar", "bar_coverage", "bar_gap", "corporate_action", "asset_alias"):
                assert [row["asset_id"] for row in tx.all(f"SELECT asset_id FROM {table}")] == [other], table
        assert assets.purge(database, ["AAPL"]) == []

    def test_what_a_vendor_said_is_kept_and_silence_erases_nothing(self, database: Database, asset: int) -> None:
        said = AssetFacts("Apple Inc.", AssetClass.EQUITY, "USD", "NMS", "America/New_York")
        with database.write() as tx:
            assets.describe(tx, {"AAPL": said, "NONE": said}, "yahoo")
        with database.write() as tx:
            assets.describe(tx, {"AAPL": AssetFacts(exchange="NYQ", currency="EUR")}, "yahoo")
        record = asset_record(database, "AAPL")
        assert record is not None
        assert (record.name, record.asset_class) == ("Apple Inc.", "equity")
        assert record.currency == "USD", "its prices are in that"
        assert (record.exchange, record.timezone, record.status) == ("NYQ", "America/New_York", "active")
        with database.read() as tx:
            aliases = [dict(row) for row in tx.all("SELECT asset_id, provider, symbol, currency FROM asset_alias")]
        assert aliases == [{"asset_id": asset, "provider": "yahoo", "symbol": "AAPL", "currency": "USD"}]

    def test_what_is_said_of_no_asset_is_nobodys(self, database: Database) -> None:
        """PostgreSQL takes an empty list for a mistake."""
        with database.write() as tx:
            assets.describe(tx, {"GONE": AssetFacts(name="Gone Inc.")}, "yahoo")
            assert bars.with_gaps(tx, [], DAY) == set()
            assert tx.all("SELECT * FROM asset_alias") == []

    def test_hostile_text_is_only_text(self, database: Database) -> None:
        name = "'; DROP TABLE asset; -- \0 \N{ROCKET} " + "x" * 10_000
        ensure_assets(database, ["AAPL"])
        with database.write() as tx:
            assets.describe(tx, {"AAPL": AssetFacts(name=name)}, "ya'hoo")
        record = asset_record(database, "AAPL")
        assert record is not None and record.name == self.kept(name)


class TestPostgresStore(StoreContract):
    """And what a server has of its own."""

    @pytest.fixture
    def open_again(self, postgres_url: str, opened: list[Database]) -> Callable[..., Database]:
        def open_again(**options: Any) -> Database:
            opened.append(open_database(postgres_url, **options))
            return opened[-1]

        return open_again

    def instant(self, text: str) -> object:
        return datetime.fromisoformat(text)

    def session(self, text: str) -> object:
        return date.fromisoformat(text)

    def kept(self, text: str) -> str:
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")

    # -- schema --

    def test_migrations_from_nothing_are_what_the_code_declares(self, database: Database) -> None:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        from marketjobs.storage.tables import SQLModel

        with sqlalchemy_engine(database).connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []

    def test_a_database_without_tables_is_left_alone_and_named(self, bare_postgres_url: str) -> None:
        database = open_database(bare_postgres_url)
        with pytest.raises(SchemaMismatch, match="has no tables yet") as caught:
            schema.ensure(database)
        assert caught.value.hint == "marketjobs db upgrade"
        assert schema.version(database) is None
        assert schema.upgrade(database) is True
        assert schema.upgrade(database) is False
        assert schema.ensure(database) is False
        database.close()

    def test_several_processes_upgrade_at_once(self, python: Python, bare_postgres_url: str) -> None:
        code = """
        import sys
        from marketjobs.storage import schema
        from marketjobs.storage.database import open_database
        print(schema.upgrade(open_database(sys.argv[1])))
        """
        processes = [python(code, bare_postgres_url) for _ in range(4)]
        said = [process.communicate(timeout=60) for process in processes]
        assert sorted(out.strip() for out, _ in said) == ["False", "False", "False", "True"], said

    @pytest.mark.parametrize("step", [schema.ensure, schema.upgrade])
    def test_a_newer_schema_is_refused(self, database: Database, step: Callable[[Database], bool]) -> None:
        with database.write() as tx:
            tx.run("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(SchemaMismatch, match="written by a newer marketjobs"):
            step(database)

    def test_a_failed_migration_leaves_nothing(
        self, bare_postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        next_version(tmp_path, monkeypatch, "op.execute('no such statement')")
        database = open_database(bare_postgres_url)
        with pytest.raises(StorageError, match="syntax error"):
            schema.upgrade(database)
        assert schema.version(database) is None
        with database.read() as tx:
            assert tx.first("SELECT count(*) AS n FROM pg_tables WHERE schemaname = 'public'") == {"n": 0}
        database.close()

    # -- bulk --

    def test_unchanged_rows_cost_no_write(self, database: Database, asset: int) -> None:
        rows = [bar(number) for number in range(500)]
        put(database, asset, rows)
        versions = "SELECT ts, xmin::text, ctid::text FROM price_bar ORDER BY ts"
        with database.read() as tx:
            before = tx.tuples(versions)
        assert put(database, asset, rows) == Stored(unchanged=500)
        with database.read() as tx:
            assert tx.tuples(versions) == before

    def test_a_batch_of_new_and_known_series_is_counted_one_by_one(self, database: Database) -> None:
        ids = ensure_assets(database, ["A", "B", "C", "D"])
        put(database, ids["B"], [bar(0), bar(1), bar(2, provisional=True)])
        with database.write() as tx:
            provider = bars.provider_id(tx, "yahoo")
            found = upsert_many(
                tx,
                [
                    Batch(ids["A"], DAY, [bar(0), bar(1)], provider, 5),
                    Batch(ids["B"], DAY, [bar(0), bar(1, 20.0), bar(2, 30.0), bar(3)], provider, 5),
                    Batch(ids["C"], DAY, [], provider, 5),
                    Batch(ids["D"], Interval.WEEK_1, [bar(0, adj_close=None, volume=None)], provider, 5),
                ],
            )
        assert found == [Stored(new=2), Stored(new=1, changed=1, unchanged=2), Stored(), Stored(new=1)]
        assert [row.bar.close for row in stored(database, "B")] == [10.0, 20.0, 30.0, 10.0]
        with database.read() as tx:
            only = bars.read(tx, "D", Interval.WEEK_1)
        assert only[0].bar == bar(0, adj_close=None, volume=None)

    # -- addresses and refusals --

    def test_nothing_listens(self, free_port: int) -> None:
        database = open_database(f"postgresql://me:secret@127.0.0.1:{free_port}/data")
        with pytest.raises(StorageUnavailable, match=r"does not answer: .*refused") as caught, database.read():
            pass
        assert "secret" not in str(caught.value) and f"me@127.0.0.1:{free_port}/data" in str(caught.value)

    def test_no_such_database(self, require: Callable[[str], str]) -> None:
        url = urlsplit(require("postgresql"))._replace(path="/marketjobs_no_such").geturl()
        with pytest.raises(StorageUnavailable, match="does not exist") as caught, open_database(url).read():
            pass
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("createdb -h ")
        assert caught.value.hint.endswith(" marketjobs_no_such; marketjobs db upgrade")

    @pytest.mark.parametrize("how", ["read", "write", "statement"])
    def test_a_connection_that_the_server_ended_is_replaced(self, database: Database, how: str) -> None:
        with database.read() as tx:
            mine = tx.first("SELECT pg_backend_pid() AS pid")
        assert mine is not None
        other = database.impatient(1.0)
        with other.statement() as tx:
            assert tx.first("SELECT pg_terminate_backend(:pid, 30000) AS ended", mine) == {"ended": True}
        other.close()
        with getattr(database, how)() as tx:
            assert tx.first("SELECT 1 AS one") == {"one": 1}

    def test_an_upgrade_refuses_no_statement_that_was_prepared_before_it(self, database: Database) -> None:
        for step in range(12):
            if step == 6:
                with database.write() as tx:
                    tx.run("ALTER TABLE job ADD COLUMN later text")
            with database.statement() as tx:
                job, _ = jobs.insert(tx, JobRequest(f"job-{step}", "nothing", "default", {}))
                claimed = jobs.claim(tx, job.id, "host/1/1", 30.0)
                assert claimed is not None and jobs.get(tx, job.id) == claimed
                assert jobs.finish(tx, claimed, JobState.SUCCEEDED, {}) is not None
        with database.read() as tx:
            prepared = tx.all("SELECT statement FROM pg_prepared_statements")
        assert len([row for row in prepared if " job" in row["statement"]]) == 4

    def test_a_connection_that_ends_in_a_transaction_is_one_line_and_nothing_is_written(
        self, database: Database
    ) -> None:
        other = database.impatient(1.0)
        with pytest.raises(StorageUnavailable, match="does not answer"), database.write() as tx:
            bars.provider_id(tx, "yahoo")
            mine = tx.first("SELECT pg_backend_pid() AS pid")
            assert mine is not None
            with other.write() as others:
                others.run("SELECT pg_terminate_backend(:pid)", mine)
            time.sleep(0.1)
            bars.provider_id(tx, "rss")
        with other.read() as tx:
            assert bars.providers(tx) == []
        other.close()

    def test_a_row_that_another_holds_is_waited_for_and_then_named(self, database: Database, asset: int) -> None:
        other = database.impatient(0.3)
        with database.write() as tx:
            assets.lock(tx, [asset])
            with pytest.raises(StorageUnavailable, match="held by another transaction"), other.write() as waiting:
                assets.lock(waiting, [asset])
        with other.write() as waiting:
            assert assets.lock(waiting, [asset]) == {asset}
        other.close()

    def test_a_forked_child_does_not_end_its_parents_connection(self, database: Database) -> None:
        with database.read() as tx:
            mine = tx.first("SELECT pg_backend_pid() AS pid")
        child = os.fork()
        if child == 0:
            try:
                with database.read() as tx:
                    theirs = tx.first("SELECT pg_backend_pid() AS pid")
                database.close()
                os._exit(0 if theirs != mine else 3)
            except BaseException:
                os._exit(4)
        assert os.waitpid(child, 0)[1] == 0
        with database.read() as tx:
            assert tx.first("SELECT pg_backend_pid() AS pid") == mine


class TestSqliteStore(StoreContract):
    """And what a file has of its own."""

    @pytest.fixture
    def path(self, tmp_path: Path, empty_store: Path) -> Path:
        path = tmp_path / "store.db"
        shutil.copyfile(empty_store, path)
        return path

    @pytest.fixture
    def open_again(self, path: Path, opened: list[Database]) -> Callable[..., Database]:
        def open_again(**options: Any) -> Database:
            opened.append(SqliteDatabase(path, **options))
            return opened[-1]

        return open_again

    # -- schema --

    @pytest.mark.filterwarnings("ignore:(Skipped unsupported reflection|autogenerate skipping).*ix_job_tail")
    def test_migrations_from_nothing_are_what_the_code_declares(self, database: Database) -> None:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        from marketjobs.storage.tables import SQLModel

        with sqlalchemy_engine(database).connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, SQLModel.metadata) == []
            connection.exec_driver_sql("ALTER TABLE asset ADD COLUMN surprise TEXT")
            assert len(compare_metadata(context, SQLModel.metadata)) == 1

    def test_migrations_build_the_same_file_as_the_declarations(self, database: Database, tmp_path: Path) -> None:
        from sqlalchemy import create_engine

        from marketjobs.storage.tables import SQLModel

        declared = create_engine(f"sqlite:///{tmp_path / 'declared.db'}")
        SQLModel.metadata.create_all(declared)
        declared.dispose()
        assert layout(database.path) == layout(tmp_path / "declared.db")

    def test_the_newest_migration_is_the_one_the_code_knows(self) -> None:
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
        scripts = ScriptDirectory.from_config(config)
        assert scripts.get_heads() == [schema.HEAD]
        assert tuple(sorted(one.revision for one in scripts.walk_revisions())) == tuple(sorted(schema.KNOWN))

    def test_a_new_file_is_made_once(self, tmp_path: Path) -> None:
        database = SqliteDatabase(tmp_path / "new.db")
        assert schema.version(database) is None
        assert schema.ensure(database) is True
        assert schema.version(database) == schema.HEAD
        assert schema.ensure(database) is False
        database.close()

    def test_several_processes_make_a_new_file_together(self, python: Python, tmp_path: Path) -> None:
        code = """
        import sys, time
        from pathlib import Path
        import alembic.command, sqlmodel
        from marketjobs.storage import schema
        from marketjobs.storage.sqlite import SqliteDatabase
        folder = Path(sys.argv[1])
        print("ready", flush=True)
        sys.stdin.readline()
        print(schema.ensure(SqliteDatabase(folder / "new.db")))
        """
        processes = [python(code, tmp_path) for _ in range(4)]
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=60) for process in processes]
        assert sorted(out.strip() for out, _ in answers) == ["False", "False", "False", "True"], answers
        assert layout(tmp_path / "new.db")

    def test_a_newer_schema_is_refused_and_left_alone(self, database: Database) -> None:
        with database.write() as tx:
            tx.run("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(SchemaMismatch, match="schema 9999, this version knows") as caught:
            schema.ensure(database)
        assert "newer marketjobs" in caught.value.message
        assert caught.value.hint
        assert schema.version(database) == "9999"
        assert list(database.path.parent.glob("*.before-*")) == []

    def test_a_copy_is_made_before_an_upgrade(
        self, database: Database, asset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(database, asset, [bar(0)])
        database.path.chmod(0o600)
        next_version(tmp_path / "code", monkeypatch, "op.add_column('asset', sa.Column('note', sa.Text()))")
        assert schema.ensure(database) is True
        assert schema.version(database) == "9000"
        copy = database.path.with_name(f"{database.path.name}.before-{schema.KNOWN[-2]}")
        assert copy.stat().st_mode & 0o777 == 0o600
        before = SqliteDatabase(copy)
        assert schema.version(before) == schema.KNOWN[-2]
        assert [one.bar for one in stored(before)] == [one.bar for one in stored(database)] == [bar(0)]
        before.close()
        with database.read() as tx:
            assert tx.all("SELECT note FROM asset")[0]["note"] is None

    def test_bars_of_a_file_of_an_older_version_are_all_there_after_the_upgrade(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        older = SqliteDatabase(tmp_path / "older.db")
        with monkeypatch.context() as patch:
            patch.setattr(schema, "HEAD", "0005")
            assert schema.ensure(older) is True
        with older.write() as tx:
            asset = assets.ensure_in(tx, ["AAPL", "MSFT"])["AAPL"]
        put(older, asset, [bar(0), bar(1), bar(2)])
        assert schema.ensure(older) is True
        assert [one.bar for one in stored(older)] == [bar(0), bar(1), bar(2)]
        with older.read() as tx:
            assert tx.tuples("SELECT symbol, count(*) FROM price_bar_v GROUP BY symbol") == [("AAPL", 3)]
            assert tx.tuples("PRAGMA foreign_key_list(price_bar)") == []
            assert not tx.has_table("price_bar_before")
        older.close()

    def test_an_upgrade_that_fails_changes_nothing(
        self, database: Database, asset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(database, asset, [bar(0)])
        before = layout(database.path)
        next_version(
            tmp_path / "code",
            monkeypatch,
            "op.add_column('asset', sa.Column('note', sa.Text()))\n    op.execute('INSERT INTO nowhere VALUES (1)')",
        )
        with pytest.raises(StorageError, match="no such table: nowhere"):
            schema.ensure(database)
        assert schema.version(database) == schema.KNOWN[-2]
        assert layout(database.path) == before
        assert [one.bar for one in stored(database)] == [bar(0)]

    def test_a_migration_that_is_killed_can_be_done_again(self, python: Python, tmp_path: Path) -> None:
        code = """
        import os, signal, sys
        from pathlib import Path
        from marketjobs.storage import schema, sqlite
        from marketjobs.storage.sqlite import SqliteDatabase
        connect, seen = sqlite.connect, []
        def dying(*args, **options):
            def watch(statement):
                seen.append(statement)
                if "CREATE TABLE worker" in statement:
                    os.kill(os.getpid(), signal.SIGKILL)
            connection = connect(*args, **options)
            connection.set_trace_callback(watch)
            return connection
        sqlite.connect = dying
        schema.ensure(SqliteDatabase(Path(sys.argv[1])))
        """
        path = tmp_path / "new.db"
        assert python(code, path).wait(30) == -signal.SIGKILL
        database = SqliteDatabase(path)
        assert schema.version(database) is None
        assert schema.ensure(database) is True
        database.close()

    def test_another_programs_database_is_refused_and_not_touched(self, tmp_path: Path) -> None:
        path = tmp_path / "theirs.db"
        with sqlite3.connect(path) as theirs:
            theirs.execute("CREATE TABLE job (x INTEGER)")
            theirs.execute("INSERT INTO job VALUES (5)")
        theirs.close()
        database = SqliteDatabase(path)
        with pytest.raises(StorageError) as caught:
            schema.ensure(database)
        assert str(path) in caught.value.message
        with database.read() as tx:
            assert [row["x"] for row in tx.all("SELECT x FROM job")] == [5]
            assert [row["name"] for row in tx.all("SELECT name FROM sqlite_master")] == ["job"]
        database.close()

    # -- what an upsert writes --

    def test_unchanged_rows_are_not_written(self, database: Database, asset: int) -> None:
        rows = [bar(number) for number in range(50)]
        put(database, asset, rows)
        connection = database.driver_connection()
        tx = SqliteTransaction(connection)
        before = connection.total_changes
        assert bars.upsert(tx, asset, DAY, rows, 1, 9999) == Stored(unchanged=50)
        assert connection.total_changes == before
        changed = [*rows[:49], rows[49]._replace(close=10.5)]
        assert bars.upsert(tx, asset, DAY, changed, 1, 9999) == Stored(changed=1, unchanged=49)
        assert connection.total_changes == before + 1
        connection.close()

    def test_a_row_takes_few_bytes(self, database: Database, asset: int) -> None:
        with database.read() as tx:
            for table in ("price_bar", "bar_coverage", "bar_gap", "corporate_action", "provider_budget_use"):
                row = tx.first("SELECT sql FROM sqlite_master WHERE name = :name", {"name": table})
                assert row is not None and "WITHOUT ROWID" in row["sql"], table

    # -- what befalls a file --

    def test_a_locked_file_is_waited_for_and_then_told(
        self, database: Database, open_again: Callable[..., Database]
    ) -> None:
        impatient = open_again(busy_seconds=0.3)
        with impatient.read() as tx:
            assert bars.providers(tx) == []
        with database.write():
            for attempt in (lambda: impatient.write().__enter__(), lambda: ensure_assets(impatient, ["X"])):
                began = time.monotonic()
                with pytest.raises(StorageUnavailable, match="is locked by another program") as caught:
                    attempt()
                assert 0.2 < time.monotonic() - began < 3
                assert str(database.path) in caught.value.message
        with impatient.write() as tx:
            bars.provider_id(tx, "yahoo")

    def test_a_writer_gets_its_turn_within_the_busy_time(
        self, database: Database, open_again: Callable[..., Database]
    ) -> None:
        patient, began = open_again(busy_seconds=10), threading.Event()

        def hold() -> None:
            with database.write() as tx:
                bars.provider_id(tx, "first")
                began.set()
                time.sleep(0.2)

        thread = threading.Thread(target=hold)
        thread.start()
        assert began.wait(5)
        with patient.write() as tx:
            bars.provider_id(tx, "second")
            assert bars.providers(tx) == ["first", "second"]
        thread.join(5)

    @pytest.mark.parametrize("content", [b"this is no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
    def test_a_file_that_is_no_database(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "store.db"
        path.write_bytes(content)
        database = SqliteDatabase(path)
        for attempt in (lambda: schema.ensure(database), lambda: listed_assets(database)):
            with pytest.raises(StorageUnavailable, match="is no sound SQLite database") as caught:
                attempt()
            assert str(path) in caught.value.message
        assert path.read_bytes() == content

    def test_a_damaged_database(self, database: Database, asset: int) -> None:
        put(database, asset, [bar(number) for number in range(2000)])
        database.close()
        with sqlite3.connect(database.path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        size = database.path.stat().st_size
        with database.path.open("r+b") as file:
            file.seek(size // 2)
            file.write(b"\xa5" * (size // 2))
        with pytest.raises(StorageUnavailable, match="is no sound SQLite database"):
            stored(database)

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        database = SqliteDatabase(tmp_path / "missing" / "store.db")
        with pytest.raises(StorageUnavailable, match="can't be opened"):
            schema.ensure(database)

    def test_a_folder_in_the_place_of_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(StorageUnavailable, match="can't be opened"):
            schema.ensure(SqliteDatabase(tmp_path))

    def test_a_file_that_may_only_be_read(self, path: Path, opened: list[Database]) -> None:
        class ReadOnly(SqliteDatabase):
            """As the driver finds a file on a read-only mount (file modes do not bind a superuser)."""

            def _connect(self, busy_seconds: float | None = None) -> sqlite3.Connection:
                connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, isolation_level=None)
                connection.row_factory = sqlite3.Row
                return connection

        database = ReadOnly(path)
        opened.append(database)
        with database.read() as tx:
            assert bars.providers(tx) == []
        with pytest.raises(StorageUnavailable, match="is read-only"), database.write() as tx:
            bars.provider_id(tx, "yahoo")
        with pytest.raises(StorageUnavailable, match="is read-only"):
            ensure_assets(database, ["AAPL"])

    @pytest.mark.skipif(os.geteuid() == 0, reason="file modes do not bind a superuser")
    def test_a_file_without_permission(self, database: Database) -> None:
        database.close()
        database.path.chmod(0o400)
        with pytest.raises(StorageUnavailable), database.write() as tx:
            bars.provider_id(tx, "yahoo")

    def test_a_full_disk_loses_nothing(self, database: Database, asset: int, opened: list[Database]) -> None:
        put(database, asset, [bar(0)])
        full = Full(database.path)
        opened.append(full)
        many = [bar(number, 11.0) for number in range(5000)]
        with pytest.raises(StorageFull, match="disk is full") as caught:
            put(full, asset, many)
        assert "free some disk space" in (caught.value.hint or "")
        with pytest.raises(StorageFull):
            ensure_assets(full, [f"SYMBOL-{number}" for number in range(5000)])
        assert [one.bar for one in stored(full)] == [bar(0)], "reading goes on"
        assert [one.symbol for one in listed_assets(full)] == ["AAPL"]
        with full.read() as tx:
            assert [row[0] for row in tx.tuples("PRAGMA integrity_check")] == ["ok"]
        # Space was made: the same object goes on.
        full.pages = None
        full.close()
        assert put(full, asset, many) == Stored(new=4999, changed=1)

    def test_a_full_disk_while_the_schema_is_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def small(path: Path, **options: Any) -> sqlite3.Connection:
            connection = connect(path, **options)
            connection.execute("PRAGMA max_page_count = 5")
            return connection

        connect = sqlite.connect
        database = SqliteDatabase(tmp_path / "new.db")
        with monkeypatch.context() as patch:
            patch.setattr(sqlite, "connect", small)
            with pytest.raises(StorageFull, match="disk is full"):
                schema.ensure(database)
        assert schema.ensure(database) is True
        database.close()

    def test_a_lost_table_is_a_storage_error(self, database: Database) -> None:
        with pytest.raises(StorageError, match="no such table"), database.read() as tx:
            tx.all("SELECT * FROM nowhere")

    # -- threads and processes --

    def test_threads_that_take_turns_do_not_steal_each_others_connection(self, database: Database) -> None:
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        errors: list[BaseException] = []

        def look() -> None:
            try:
                for _ in range(300):
                    with database.read() as tx:
                        tx.first("SELECT 1")
            except BaseException as exc:
                errors.append(exc)

        try:
            threads = [threading.Thread(target=look) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        finally:
            sys.setswitchinterval(before)
        assert errors == []

    def test_a_forked_child_has_connections_of_its_own(self, python: Python, database: Database) -> None:
        code = """
        import os, sys
        from pathlib import Path
        from marketjobs.errors import StorageUnavailable
        from marketjobs.storage import assets, bars
        from marketjobs.storage.sqlite import SqliteDatabase

        database = SqliteDatabase(Path(sys.argv[1]), busy_seconds=0.2)
        with database.read() as tx:
            assert assets.listed_in(tx) == []
        mine = {id(one) for one in database._pool.idle}

        def in_child(work):
            pid = os.fork()
            if pid == 0:
                try:
                    work()
                except BaseException as exc:
                    print(type(exc).__name__, exc, file=sys.stderr, flush=True)
                    os._exit(1)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

        def child_writes():
            assert not database._pool.idle
            with database.write() as tx:
                bars.provider_id(tx, "child")
                assets.ensure_in(tx, ["CHILD"])
            assert not mine & {id(one) for one in database._pool.idle}
            database.close()

        in_child(child_writes)
        with database.write() as tx:
            assert bars.providers(tx) == ["child"]
            bars.provider_id(tx, "parent")

        # A child that comes and goes while its parent writes must not take the parent's lock along.
        def child_reads():
            with database.read() as tx:
                assert bars.providers(tx) == ["child", "parent"]
                assets.listed_in(tx)
            database.close()

        def stranger():
            try:
                with SqliteDatabase(database.path, busy_seconds=0.2).write():
                    raise AssertionError("the lock is gone")
            except StorageUnavailable:
                pass

        with database.write() as tx:
            bars.provider_id(tx, "third")
            in_child(child_reads)
            in_child(stranger)
        in_child(lambda: None)
        with database.read() as tx:
            assert [one.symbol for one in assets.listed_in(tx)] == ["CHILD"]
            assert bars.providers(tx) == ["child", "parent", "third"]
            assert [row[0] for row in tx.tuples("PRAGMA integrity_check")] == ["ok"]
        """
        process = python(code, database.path)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err

    def test_a_writer_that_is_killed_leaves_nothing_half_done(self, python: Python, database: Database) -> None:
        code = """
        import os, signal, sys
        from pathlib import Path
        from marketjobs.storage import bars
        from marketjobs.storage.sqlite import SqliteDatabase
        with SqliteDatabase(Path(sys.argv[1])).write() as tx:
            bars.provider_id(tx, "half")
            os.kill(os.getpid(), signal.SIGKILL)
        """
        process = python(code, database.path)
        process.wait(30)
        with database.write() as tx:
            assert bars.providers(tx) == []

    @pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
    def test_where_jobs_are_accepted_a_commit_survives_a_power_cut(
        self, open_again: Callable[..., Database], durable: bool, level: int
    ) -> None:
        with open_again(durable=durable).read() as tx:
            assert tx.tuples("PRAGMA synchronous") == [(level,)]
            assert tx.tuples("PRAGMA journal_mode") == [("wal",)]
            assert tx.tuples("PRAGMA foreign_keys") == [(1,)]


class Full(SqliteDatabase):
    """A store on a disk with room for two pages more."""

    pages: int | None = 2

    def _connect(self, busy_seconds: float | None = None) -> sqlite3.Connection:
        connection = super()._connect(busy_seconds)
        if self.pages is not None:
            (now,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {now + self.pages}")
        return connection


def layout(path: Path) -> dict[str, Any]:
    """Everything that a file's tables are: columns, keys, indexes with their conditions, foreign keys."""
    connection = sqlite3.connect(path)
    found: dict[str, Any] = {}
    names = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'alembic%' ORDER BY name"
    for name, sql in connection.execute(names).fetchall():
        indexes = []
        for _, index, unique, origin, partial in connection.execute(f"PRAGMA index_list({name})").fetchall():
            row = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (index,)).fetchone()
            condition = row[0].partition("WHERE")[2].split() if row and row[0] else []
            columns = [one[2] for one in connection.execute(f"PRAGMA index_info({index})").fetchall()]
            indexes.append((None if origin != "c" else index, unique, origin, partial, columns, condition))
        keys = [one[2:] for one in connection.execute(f"PRAGMA foreign_key_list({name})").fetchall()]
        found[name] = {
            "columns": sorted(one[1:] for one in connection.execute(f"PRAGMA table_info({name})").fetchall()),
            "indexes": sorted(indexes, key=repr),
            "foreign keys": sorted(keys),
            "without rowid": "WITHOUT ROWID" in sql,
        }
    connection.close()
    return found


def next_version(folder: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Let the code be of a later version, whose one more migration does a step."""
    shutil.copytree(
        Path(schema.__file__).parent / "migrations", folder / "migrations", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "migrations" / "versions" / "9000_next.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\n\nrevision = '9000'\ndown_revision = '{schema.HEAD}'\n\n\n"
        f"def upgrade():\n    {step}\n"
    )
    monkeypatch.setattr(schema, "__file__", str(folder / "schema.py"))
    monkeypatch.setattr(schema, "KNOWN", (*schema.KNOWN, "9000"))
    monkeypatch.setattr(schema, "HEAD", "9000")
