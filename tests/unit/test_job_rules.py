"""Retries, splitting, states, and reports as a job's result carries them."""

from __future__ import annotations

import random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketjobs.domain.jobs import FINAL_STATES, OPEN_STATES, JobState, RetryPolicy, batch_size, is_job_id, split
from marketjobs.domain.reports import FetchReport, Hold, SymbolFailure, SymbolOutcome, SymbolStatus, conclude
from marketjobs.domain.texts import visible
from marketjobs.errors import SymbolUnknown

seconds = st.floats(min_value=0.001, max_value=10_000)


@given(seconds, seconds, st.integers(1, 10_000), st.randoms(use_true_random=False))
def test_a_retry_waits_between_half_and_all_of_its_step(
    base: float, cap: float, attempt: int, rng: random.Random
) -> None:
    policy = RetryPolicy(base_seconds=base, cap_seconds=cap)
    step = min(cap, base * 2.0 ** min(attempt - 1, 40))
    assert step / 2 <= policy.delay_seconds(attempt, rng) <= step


def test_steps_double_until_the_cap() -> None:
    class Longest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    policy = RetryPolicy(base_seconds=2, cap_seconds=15)
    assert [policy.delay_seconds(attempt, Longest()) for attempt in (1, 2, 3, 4, 50)] == [2, 4, 8, 15, 15]


def test_jitter_spreads_a_herd() -> None:
    delays = {RetryPolicy().delay_seconds(1) for _ in range(100)}
    assert len(delays) > 90


@given(st.lists(st.integers()), st.integers(1, 50))
def test_split_keeps_order_and_makes_even_runs(items: list[int], size: int) -> None:
    runs = split(items, size)
    assert [item for run in runs for item in run] == items
    lengths = [len(run) for run in runs]
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1
    assert len(runs) == max(1, -(-len(items) // size))


@pytest.mark.parametrize(
    ("symbols", "processes", "parts"),
    [(126, 2, 2), (300, 2, 4), (500, 2, 4), (500, 8, 8), (500, 64, 10), (5000, 2, 40), (1000, 3, 9), (130, 1, 2)],
)
def test_parts_are_few_and_go_evenly_over_the_processes(symbols: int, processes: int, parts: int) -> None:
    runs = split(range(symbols), batch_size(symbols, processes))
    assert len(runs) == parts
    assert all(50 <= len(run) <= 125 for run in runs)


def test_states_are_final_or_open() -> None:
    assert {state for state in JobState if state.is_final} == FINAL_STATES
    assert set(JobState) == FINAL_STATES | OPEN_STATES
    assert {state.value for state in FINAL_STATES} == {"succeeded", "partial", "dead", "cancelled"}


# -- reports ----------------------------------------------------------------------------------------------

texts = st.text(max_size=20)
counts = st.integers(0, 10**6)
failures = st.builds(SymbolFailure, texts, texts, st.booleans())
outcomes = st.builds(
    SymbolOutcome,
    symbol=texts,
    interval=texts,
    status=st.sampled_from(SymbolStatus),
    provider=st.none() | texts,
    rows_new=counts,
    rows_changed=counts,
    rows_unchanged=counts,
    rows_rejected=counts,
    first=st.none() | texts,
    last=st.none() | texts,
    error=st.none() | failures,
    note=st.none() | texts,
)


@given(outcomes)
def test_an_outcome_survives_the_ledger(outcome: SymbolOutcome) -> None:
    assert SymbolOutcome.from_json(orjson.loads(orjson.dumps(outcome.to_json()))) == outcome


def test_an_outcome_has_the_promised_keys() -> None:
    error = SymbolFailure.of(SymbolUnknown("no such symbol", provider="yahoo"))
    written = SymbolOutcome("X", "1d", SymbolStatus.FAILED, error=error).to_json()
    promised = [
        *("symbol", "interval", "status", "provider", "rows_new", "rows_changed", "rows_unchanged", "rows_rejected"),
        *("first", "last", "error"),
    ]
    assert list(written)[: len(promised)] == promised
    assert written["error"] == {"cause": "symbol_unknown", "message": "no such symbol", "retryable": False}
    assert SymbolOutcome("X", "1d", SymbolStatus.STORED).to_json()["error"] is None


def made(*statuses: str) -> list[SymbolOutcome]:
    failure = SymbolFailure("no_data", "none", retryable=False)
    return [
        SymbolOutcome(str(number), "1d", SymbolStatus(status), error=failure if status == "failed" else None)
        for number, status in enumerate(statuses)
    ]


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        ((), JobState.SUCCEEDED),
        (("stored",), JobState.SUCCEEDED),
        (("stored", "up_to_date", "empty"), JobState.SUCCEEDED),
        (("stored", "failed"), JobState.PARTIAL),
        (("empty", "failed"), JobState.PARTIAL),
        (("failed",), JobState.DEAD),
        (("failed", "failed"), JobState.DEAD),
    ],
)
def test_the_state_of_a_job_follows_from_its_symbols(statuses: tuple[str, ...], state: JobState) -> None:
    assert conclude(FetchReport(made(*statuses)).to_json()).state is state


def test_a_report_is_in_the_order_of_the_request() -> None:
    outcomes = [SymbolOutcome(symbol, "1d", SymbolStatus.STORED) for symbol in "BAC"]
    assert [one["symbol"] for one in FetchReport(outcomes).to_json()["symbols"]] == ["B", "A", "C"]


def test_a_hold_ends_at_an_instant() -> None:
    hold = Hold(1000.0, "429")
    assert (hold.seconds_left(990.0), hold.seconds_left(1000.0), hold.seconds_left(1100.0)) == (10.0, 0.0, 0.0)


def test_what_may_do_better_is_tried_again_and_the_rest_is_settled() -> None:
    later = SymbolOutcome("A", "1d", SymbolStatus.FAILED, error=SymbolFailure("timeout", "slow", retryable=True))
    never = SymbolOutcome("B", "1d", SymbolStatus.FAILED, error=SymbolFailure("symbol_unknown", "who?", False))
    good = SymbolOutcome("C", "1d", SymbolStatus.STORED)
    end = conclude(FetchReport([never, good, later, good]).to_json())
    assert end.state is JobState.PARTIAL and end.error == ("symbol_unknown", "who?")
    assert end.again == ("timeout", "slow")
    assert [one["symbol"] for one in end.settled] == ["B", "C", "C"] and end.progress == 0.75
    assert conclude(FetchReport([never, good]).to_json()).again is None


@pytest.mark.parametrize(
    "text", ["", "a\nb", "\x1b[31mRED", "'; drop table job; --", "a b", "\ud800x", "x" * 201, "$(id)", "-n", None, 5]
)
def test_what_is_no_id_of_a_job(text: object) -> None:
    assert not is_job_id(text)


@pytest.mark.parametrize(
    "text", ["x1", "9b2e...", "order:17/2026@shop", "0b8c3f3e-3f0e-4b53-9a32-6a1a2d1b7c55", "x" * 200]
)
def test_an_id_that_a_program_may_choose(text: str) -> None:
    assert is_job_id(text)


@given(st.text())
def test_a_foreign_text_is_shown_on_one_line_that_no_terminal_obeys(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(text) == text or not text.isprintable()


def test_what_is_not_printable_is_written_out() -> None:
    assert visible("\x1b[31mRED\nb\u202ec") == "\\x1b[31mRED\\nb\\u202ec"
