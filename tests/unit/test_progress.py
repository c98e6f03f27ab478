"""What somebody who watches a job is told, and what it costs; a result of many symbols as people read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from marketjobs.commands.results import show_result
from marketjobs.domain.jobs import Job, JobState, JsonDict
from marketjobs.domain.reports import SymbolFailure, SymbolOutcome, SymbolStatus
from marketjobs.services import attempts, jobs, mend, universe
from marketjobs.services import progress as progresses
from marketjobs.services.progress import Watched, in_words
from marketjobs.services.runtime import Runtime
from marketjobs.storage import jobs as rows

SYNC = "marketjobs.sync_history"


@pytest.fixture
def parent(runtime: Runtime) -> Job:
    """Three parts: AAPL GOOG, IBM MSFT, NOPE."""
    universe.add(runtime, ["AAPL", "GOOG", "IBM", "MSFT", "NOPE"])
    return jobs.submit(runtime, SYNC, {"provider": "recorded", "batch_size": 2})


def parts(runtime: Runtime, parent: Job) -> list[Job]:
    with runtime.database.read() as tx:
        return rows.children(tx, parent.id)


def test_progress_counts_parts_symbols_and_failures(runtime: Runtime, parent: Job) -> None:
    watched = Watched(runtime, parent.id)
    _, at = watched.look()
    assert (at.parts, at.parts_done, at.parts_running, at.symbols, at.done, at.failed) == (3, 0, 0, 5, 0, 0)
    first, second, third = parts(runtime, parent)
    attempts.execute(runtime, third.id)
    job, at = watched.look()
    assert (at.parts_done, at.done, at.failed) == (1, 1, 1)
    assert job.progress == pytest.approx(1 / 3) and job.started_at is not None
    assert in_words(job, at) == "1 of 3 parts, 1 of 5 symbols, 1 failed, none runs"
    with runtime.database.write() as tx:
        claimed = rows.claim(tx, first.id, "host/1/1", 30)
        assert claimed is not None and rows.beat(tx, claimed, 30, 0.5, "1 of 2 symbols") is not None
    job, at = watched.look()
    assert (at.parts_done, at.parts_running, at.done) == (1, 1, 2)
    assert in_words(job, at) == "1 of 3 parts, 2 of 5 symbols, 1 failed"
    attempts.execute(runtime, second.id)
    assert watched.look()[1].done == 4


def test_speed_is_what_was_seen_to_move(runtime: Runtime, parent: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progresses.time, "monotonic", lambda: now)
    watched = Watched(runtime, parent.id)
    assert watched.look()[1].per_second is None
    attempts.execute(runtime, parts(runtime, parent)[0].id)
    now = 101.0
    assert watched.look()[1].per_second is None, "a second tells nothing"
    now = 104.0
    _, at = watched.look()
    assert (at.per_second, at.seconds_left) == (0.5, 6.0)


def test_what_has_ended_is_read_once(runtime: Runtime, parent: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(runtime, parent.id)
    for child in parts(runtime, parent)[:2]:
        attempts.execute(runtime, child.id)
    watched.look()
    read: list[str] = []
    get = rows.get
    monkeypatch.setattr(rows, "get", lambda tx, job_id: read.append(job_id) or get(tx, job_id))
    for _ in range(3):
        watched.look()
    assert read == [parent.id] * 3


def test_a_look_at_a_list_leaves_results_in_the_store(runtime: Runtime, parent: Job) -> None:
    attempts.execute(runtime, parts(runtime, parent)[0].id)
    listed = jobs.listed(runtime, top_level=False, limit=10)
    assert len(listed) == 4 and all(job.result is None for job in listed)
    assert next(job for job in listed if job.id == parent.id).progress == pytest.approx(1 / 3)


def test_the_end_of_a_part_writes_nothing_to_its_parent(runtime: Runtime, parent: Job) -> None:
    with runtime.database.read() as tx:
        before = tx.first("SELECT * FROM job WHERE id = :id", {"id": parent.id})
        attempts.execute(runtime, parts(runtime, parent)[0].id)
    with runtime.database.read() as tx:
        assert tx.first("SELECT * FROM job WHERE id = :id", {"id": parent.id}) == before


def test_a_cancelled_parent_shows_what_its_parts_had_brought(runtime: Runtime, parent: Job) -> None:
    attempts.execute(runtime, parts(runtime, parent)[0].id)
    job = jobs.cancel(runtime, parent.id)
    assert job.state is JobState.CANCELLED and job.result is None
    shown = jobs.with_its_parts(runtime, job).result
    assert shown is not None
    assert [(one["symbol"], one["status"]) for one in shown["symbols"][:2]] == [("AAPL", "stored"), ("GOOG", "stored")]
    assert {one["error"]["cause"] for one in shown["symbols"][2:]} == {"cancelled"}
    assert not mend.finish_parent(runtime, parent.id)


# -- results ----------------------------------------------------------------------------------------------


def outcomes(good: int, **causes: int) -> list[JsonDict]:
    made = [SymbolOutcome(f"S{n}", "1d", SymbolStatus.STORED, rows_new=10).to_json() for n in range(good)]
    for cause, number in causes.items():
        failure = SymbolFailure(cause, f"why {cause}", retryable=False)
        made += [
            SymbolOutcome(f"{cause[0].upper()}{n}", "1d", SymbolStatus.FAILED, error=failure).to_json()
            for n in range(number)
        ]
    return made


def finished(symbols: list[JsonDict], **values: Any) -> Job:
    given: dict[str, Any] = {"state": JobState.PARTIAL, "started_at": 10.0, "finished_at": 100.0} | values
    return Job(
        id="0b9c6a1e-0000-4000-8000-0000deadbeef",
        task="marketjobs.fetch_market_data",
        queue="market_data",
        arguments={"symbols": []},
        attempt=1,
        max_attempts=3,
        token=1,
        submitted_at=5.0,
        run_at=5.0,
        result={"symbols": symbols},
        **given,
    )


@pytest.fixture
def many() -> Iterator[Job]:
    yield finished(outcomes(1990, symbol_unknown=7, timeout=3))


def test_many_symbols_are_a_summary_and_failures_by_cause(many: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_result(many, as_json=False) == 3
    out, err = capsys.readouterr()
    assert "2,000 symbols: 1,990 stored, 10 failed; rows: 19,900 new, 0 changed" in out
    assert "symbol_unknown  7        S0, S1, S2, S3 and 3 more  why symbol_unknown" in out
    assert "timeout         3        T0, T1, T2                 why timeout" in out
    assert len(out.splitlines()) == 4, "not a line a symbol"
    assert "marketjobs result deadbeef --failed" in err


def test_all_failures_are_shown_when_asked_for(many: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_result(many, as_json=False, only_failed=True) == 3
    assert len(capsys.readouterr().out.splitlines()) == 11
    show_result(many, as_json=True, only_failed=True)
    assert len(json.loads(capsys.readouterr().out)["result"]["symbols"]) == 10
    show_result(many, as_json=True)
    assert len(json.loads(capsys.readouterr().out)["result"]["symbols"]) == 2000


def test_a_few_symbols_are_shown_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    show_result(finished(outcomes(29, timeout=1)), as_json=False)
    assert len(capsys.readouterr().out.splitlines()) == 31
