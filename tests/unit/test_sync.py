"""The universe kept fresh: what is chosen when a sync is handed in, how it is split, when its parts start."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from marketjobs.commands.symbols import typed
from marketjobs.config import Settings, UniverseSettings
from marketjobs.domain.jobs import Job, JobState, JsonDict
from marketjobs.errors import GroupNotFound, InvalidInput, ProviderMismatch
from marketjobs.services import bars, jobs, mend, sync, universe, watch
from marketjobs.services.runtime import Runtime
from marketjobs.services.sync import HISTORY, INTRADAY, Skipped

TASK = "marketjobs.sync_history"
STOCKS = ["AAPL", "GOOG", "IBM", "MSFT"]


@pytest.fixture
def four(runtime: Runtime) -> Runtime:
    universe.add(runtime, STOCKS)
    return runtime


def prepared(runtime: Runtime, **arguments: object) -> JsonDict:
    return HISTORY.prepare(runtime, {"provider": "recorded", **arguments})


def test_without_symbols_it_is_for_all_active_assets(four: Runtime) -> None:
    universe.remove(four, ["GOOG"])
    assert prepared(four)["symbols"] == ["AAPL", "IBM", "MSFT"]


def test_a_group_chooses_of_the_active_ones(four: Runtime) -> None:
    universe.add_to_group(four, "tech", ["MSFT", "AAPL", "GOOG"])
    universe.remove(four, ["GOOG"])
    assert prepared(four, group="tech")["symbols"] == ["AAPL", "MSFT"]
    assert prepared(four, group="tech", symbols=["IBM", "AAPL"])["symbols"] == ["IBM", "AAPL", "MSFT"]
    with pytest.raises(GroupNotFound):
        prepared(four, group="none")


def test_symbols_that_are_named_need_not_be_assets(runtime: Runtime) -> None:
    assert prepared(runtime, symbols=["ibm"])["symbols"] == ["IBM"]


def test_defaults_are_settings(four: Runtime) -> None:
    got = prepared(four)
    assert (got["interval"], got["period"], got["batch_size"], got["delay_seconds"]) == ("1d", "1y", 100, 0)
    universe_settings = UniverseSettings(batch_size=7, delay_seconds=1.5, history_interval="1wk", history_period="5y")
    four.settings = Settings(universe=universe_settings)
    got = prepared(four)
    assert (got["interval"], got["period"], got["batch_size"], got["delay_seconds"]) == ("1wk", "5y", 7, 1.5)
    got = prepared(four, start="2012-05-01", batch_size=2)
    assert (got["period"], got["start"], got["batch_size"]) == (None, "2012-05-01", 2)


def test_what_the_provider_cannot_serve_is_left_out_with_its_reason(four: Runtime) -> None:
    universe.add(four, ["BTC-USD"], asset_class="crypto")
    arguments, skipped = HISTORY.choose(four, {"provider": "recorded"})
    assert arguments["symbols"] == STOCKS
    assert skipped == [Skipped("BTC-USD", "recorded has no crypto")]


def test_bars_of_two_bases_are_never_mixed_by_a_sync(four: Runtime) -> None:
    job = jobs.submit(four, bars.FETCH, {"symbols": ["AAPL"], "provider": "recorded"})
    watch.follow(four, job.id, inline=True)
    arguments, skipped = HISTORY.choose(four, {})
    assert arguments["symbols"] == ["GOOG", "IBM", "MSFT"]
    assert skipped == [Skipped("AAPL", "its bars are never mixed with yahoo's")]
    with pytest.raises(ProviderMismatch):
        HISTORY.prepare(four, {"symbols": ["AAPL"]})


def test_no_active_asset_is_said_with_what_to_type(runtime: Runtime) -> None:
    with pytest.raises(InvalidInput, match="no asset is active") as caught:
        prepared(runtime)
    assert caught.value.hint == "marketjobs assets add AAPL MSFT"
    universe.add(runtime, ["BTC-USD"], asset_class="crypto")
    with pytest.raises(InvalidInput, match=r"recorded can serve none of the 1 active assets: BTC-USD: .* no crypto"):
        prepared(runtime)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": 501},
        {"batch_size": 2.5},
        {"batch_size": True},
        {"delay_seconds": -1},
        {"delay_seconds": float("nan")},
        {"delay_seconds": "1"},
        {"symbol": "AAPL"},
        {"interval": "7d"},
        {"period": "1y", "start": "2012-05-01"},
    ],
)
def test_what_cannot_be_right_is_refused(four: Runtime, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        prepared(four, **wrong)


@pytest.mark.parametrize(("kind", "interval", "other"), [(HISTORY, "5m", "intraday"), (INTRADAY, "1d", "history")])
def test_each_is_for_its_own_intervals(four: Runtime, kind: sync.Sync, interval: str, other: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        kind.prepare(four, {"interval": interval})
    assert caught.value.hint == f"marketjobs sync-{other} --interval {interval}"


# -- parts ------------------------------------------------------------------------------------------------


def submitted(runtime: Runtime, sent: list[str], **arguments: object) -> Job:
    def publish(due: Sequence[Job]) -> list[str]:
        sent.extend(job.id for job in due)
        return [job.id for job in due]

    return jobs.submit(runtime, TASK, {"provider": "recorded", **arguments}, publish=publish)


def parts(runtime: Runtime, parent: Job) -> list[Job]:
    from marketjobs.storage import jobs as rows

    with runtime.database.read() as tx:
        return rows.children(tx, parent.id)


def test_parts_are_fetches_that_start_a_while_apart(four: Runtime) -> None:
    sent: list[str] = []
    parent = submitted(four, sent, batch_size=1, delay_seconds=60)
    children = parts(four, parent)
    assert (parent.state, parent.waits_for) == (JobState.WAITING, "children")
    assert {child.task for child in children} == {bars.FETCH}
    assert [child.arguments["symbols"] for child in children] == [[symbol] for symbol in STOCKS]
    assert [round(child.run_at - parent.submitted_at) for child in children] == [0, 60, 120, 180]
    assert [child.state.value for child in children] == ["queued", "waiting", "waiting", "waiting"]
    assert sent == [children[0].id], "nobody is woken for what is not due"


def test_the_reaper_wakes_a_part_when_its_time_has_come(four: Runtime) -> None:
    sent: list[str] = []
    parent = submitted(four, sent, batch_size=1, delay_seconds=60)
    children = parts(four, parent)
    with four.database.write() as tx:
        tx.run("UPDATE job SET run_at = run_at - 61, submitted_at = submitted_at - 61", {})

    def publish(due: Sequence[Job]) -> list[str]:
        sent.extend(job.id for job in due)
        return [job.id for job in due]

    mend.reap(four, publish, lambda queue: False)
    assert sent == [children[0].id, children[1].id]


def test_one_batch_is_fetched_by_the_job_itself(four: Runtime) -> None:
    job = submitted(four, [])
    assert job.state is JobState.QUEUED and parts(four, job) == []
    done = watch.follow(four, job.id, inline=True)
    assert done.result is not None and [one["symbol"] for one in done.result["symbols"]] == STOCKS


def test_the_parts_outcomes_are_the_parents(four: Runtime) -> None:
    universe.add(four, ["NOPE"])
    done = watch.follow(four, submitted(four, [], batch_size=2).id, inline=True)
    assert done.state is JobState.PARTIAL and done.error_cause == "symbol_unknown"
    assert done.result is not None
    said = {one["symbol"]: one["status"] for one in done.result["symbols"]}
    assert said == dict.fromkeys(STOCKS, "stored") | {"NOPE": "failed"}


def test_in_what_batches_it_runs_makes_no_other_request(four: Runtime) -> None:
    first = submitted(four, [], batch_size=1)
    assert submitted(four, [], batch_size=2, delay_seconds=5).id == first.id
    assert submitted(four, [], batch_size=1, force=True).id != first.id


def test_what_becomes_active_later_is_for_the_next_sync(four: Runtime) -> None:
    first = submitted(four, [], batch_size=2)
    universe.remove(four, ["IBM"])
    assert [child.arguments["symbols"] for child in parts(four, first)] == [["AAPL", "GOOG"], ["IBM", "MSFT"]]
    assert submitted(four, [], batch_size=2).id != first.id


# -- symbols as they are typed ----------------------------------------------------------------------------


def test_symbols_come_from_options_files_and_standard_input(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_bytes("\ufeffAAPL, msft\n# all of it a remark\nBRK-B\t^GSPC  # two\n".encode())

    class Stdin:
        class buffer:
            @staticmethod
            def read() -> bytes:
                return b"IBM\r\nGOOG\r\n"

    monkeypatch.setattr("sys.stdin", Stdin)
    got = typed(["A,B", f"@{tmp_path}/list.txt", "-"])
    assert got == ["A", "B", "AAPL", "msft", "BRK-B", "^GSPC", "IBM", "GOOG"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"# nothing\n", "holds no symbol"), (b"\xff\xfe", "no text in UTF-8")],
)
def test_a_list_that_cannot_be_right_is_named(tmp_path, content: bytes | None, said: str) -> None:
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=f"list.txt.*{said}"):
        typed([f"@{path}"])


@pytest.mark.filterwarnings(r"ignore:\s+The 'queue' task attribute:DeprecationWarning")  # Celery 5.7 wants routes
@pytest.mark.parametrize("kind", [HISTORY, INTRADAY])
def test_what_a_row_keeps_is_what_its_task_takes(four: Runtime, kind: sync.Sync) -> None:
    from marketjobs.tasks import bars as tasks

    task = getattr(tasks, kind.name)
    row = kind.prepare(four, {})
    assert task.bind_arguments((), row) == row
    [part, *_] = kind.split(row | {"batch_size": 1}, 2)
    assert tasks.fetch_market_data.bind_arguments((), part.arguments) == part.arguments
