"""Two at once, where one store locks a file and the other rows: what one has looked at, another must not change."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path

import pytest

from marketjobs.domain.assets import AssetFacts
from marketjobs.domain.bars import SPLIT, Action, Bar
from marketjobs.domain.intervals import DAY_SECONDS, Interval
from marketjobs.domain.ranges import Range
from marketjobs.errors import StorageUnavailable
from marketjobs.services import bar_import, jobs
from marketjobs.services.bar_file import BarFileOptions
from marketjobs.services.bar_found import Found
from marketjobs.services.bar_plan import plans
from marketjobs.services.bar_request import FetchRequest
from marketjobs.services.bar_store import store
from marketjobs.services.identity import named
from marketjobs.services.runtime import Runtime
from marketjobs.storage import bars
from marketjobs.storage import jobs as rows
from stores import ensure_assets, on_both_stores

__all__ = ["on_both_stores"]
DAY = Interval.DAY_1
FIRST = 20_000 * DAY_SECONDS


def bar(number: int, close: float) -> Bar:
    return Bar(FIRST + number * DAY_SECONDS, close, close, close, close, close, 100.0)


def put(runtime: Runtime, asset: int, *given: Bar) -> None:
    with runtime.database.write() as tx:
        bars.upsert(tx, asset, DAY, given, bars.provider_id(tx, "yahoo"), 1)


def closes(runtime: Runtime) -> list[float]:
    with runtime.database.read() as tx:
        return [row.bar.close for row in bars.read(tx, "AAPL", DAY)]


def test_one_id_handed_in_by_many_at_once_makes_its_parts_once(runtime: Runtime) -> None:
    symbols = [f"S{number}" for number in range(250)]
    for _ in range(5):
        job_id = str(uuid.uuid4())
        start = threading.Barrier(4)

        def hand_in(job_id: str = job_id, start: threading.Barrier = start) -> None:
            start.wait()
            jobs.submit(runtime, "marketjobs.fetch_market_data", {"symbols": symbols}, job_id=job_id)

        threads = [threading.Thread(target=hand_in) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with runtime.database.read() as tx:
            parts = rows.children(tx, job_id)
        assert len(parts) == 2
        assert sorted(symbol for part in parts for symbol in part.arguments["symbols"]) == sorted(symbols)


def test_an_import_keeps_its_series_from_others_while_it_compares(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = ensure_assets(runtime.database, ["AAPL"])["AAPL"]
    put(runtime, asset, bar(0, 100.0))
    file = tmp_path / "bars.csv"
    days = (time.strftime("%Y-%m-%d", time.gmtime(FIRST + number * DAY_SECONDS)) for number in range(3))
    file.write_text("date,open,high,low,close\n" + "".join(f"{day},100,100,100,100\n" for day in days))
    impatient = runtime.database.impatient(0.2)
    refused = []
    compare = bar_import._Store._compare

    def compared(self: bar_import._Store, *given: object) -> bool:
        answer = compare(self, *given)  # type: ignore[arg-type]
        try:
            with impatient.write() as tx:
                bars.upsert(tx, asset, DAY, [bar(1, 25.0)], bars.provider_id(tx, "yahoo"), 1)
        except StorageUnavailable as exc:
            refused.append(exc)
        return answer

    monkeypatch.setattr(bar_import._Store, "_compare", compared)
    bar_import.import_bars(runtime, file, bar_import.ImportRequest(BarFileOptions(DAY, "AAPL")))
    impatient.close()
    assert len(refused) == 1
    assert closes(runtime) == [100.0, 100.0, 100.0]


def test_a_restatement_is_refused_when_older_bars_came_meanwhile(runtime: Runtime) -> None:
    asset = ensure_assets(runtime.database, ["AAPL"])["AAPL"]
    put(runtime, asset, bar(3, 100.0), bar(4, 100.0))
    request = FetchRequest.of({"symbols": ["AAPL"], "start": "2024-10-01", "end": "2024-10-20"})
    provider = runtime.provider("yahoo")
    with runtime.database.read() as tx:
        [plan] = plans(tx, request, provider, [*named(tx, ["AAPL"]).values()], runtime.settings.chains)
    put(runtime, asset, bar(0, 100.0), bar(1, 100.0))
    split = Action(FIRST + 5 * DAY_SECONDS, SPLIT, 4.0)
    whole = Range(FIRST + 3 * DAY_SECONDS, FIRST + 6 * DAY_SECONDS)
    restated = [bar(3, 25.0), bar(4, 25.0), bar(5, 25.0)]
    found = Found(plan, (whole,), restated, [], "", [split], AssetFacts(), whole.end, restated="restated: a split")
    with runtime.database.write() as tx:
        settled, failed = store(tx, request, provider, [found])
    assert settled == []
    [(_, error)] = failed
    assert error.retryable
    assert closes(runtime) == [100.0, 100.0, 100.0, 100.0]


def test_cancelling_many_and_noting_their_wake_ups_wait_for_each_other(runtime: Runtime) -> None:
    ids = [jobs.submit(runtime, "marketjobs.fetch_market_data", {"symbols": [f"S{n}"]}).id for n in range(40)]
    errors: list[BaseException] = []

    def often(what: object) -> None:
        try:
            for _ in range(15):
                what()  # type: ignore[operator]
        except BaseException as exc:
            errors.append(exc)

    def note() -> None:
        with runtime.database.write() as tx:
            rows.mark_published(tx, ids)

    def cancel() -> None:
        jobs.cancel_all(runtime, list(reversed(ids)))

    threads = [threading.Thread(target=often, args=(what,)) for what in (note, cancel, note, cancel)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
