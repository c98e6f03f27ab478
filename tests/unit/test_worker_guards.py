"""What a worker's processes do at bad moments: a time limit that comes between two steps, a flood of messages that are
no job."""

from __future__ import annotations

import os

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from marketjobs.errors import StorageUnavailable
from marketjobs.services import processes
from marketjobs.services.runtime import Runtime
from marketjobs.services.wakeups import Notes
from marketjobs.storage import workers
from marketjobs.storage.database import Transaction
from marketjobs.tasks import refusals
from marketjobs.tasks.limits import SoftLimit


class Racing(SoftLimit):
    """The signal comes right after each look whether it came."""

    @property
    def _passed(self) -> bool:
        before = self.__dict__["passed"]
        if self.__dict__["armed"]:
            self.__dict__["armed"] = False
            self._on_signal(0, None)
        return bool(before)

    @_passed.setter
    def _passed(self, value: bool) -> None:
        self.__dict__["passed"] = value


def test_a_soft_limit_that_comes_as_a_body_begins_ends_it() -> None:
    limit = Racing.__new__(Racing)
    limit.__dict__["armed"] = False
    limit.__init__()  # type: ignore[misc]
    body_ran = False
    with limit.of_attempt():
        limit.__dict__["armed"] = True
        with pytest.raises(SoftTimeLimitExceeded), limit.ends_body():
            body_ran = True
    assert not body_ran


def test_a_soft_limit_that_comes_while_the_job_is_claimed_ends_its_body_at_once() -> None:
    limit = SoftLimit()
    with limit.of_attempt():
        limit._on_signal(0, None)
        with pytest.raises(SoftTimeLimitExceeded), limit.ends_body():
            pytest.fail("the body ran")
        limit._on_signal(0, None)  # after the body: too late to end anything


def test_a_flood_of_messages_that_are_no_job_asks_a_store_that_is_away_once(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    away = True

    def count(_tx: Transaction, _worker_id: str, number: int) -> None:
        counted.append(number)
        if away:
            raise StorageUnavailable("away")

    now = [1000.0]
    monkeypatch.setenv(processes.WORKER_ID, "worker-1")
    monkeypatch.setattr(refusals, "runtime", lambda: runtime)
    monkeypatch.setattr(refusals.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(workers, "refused", count)
    monkeypatch.setattr(refusals._Count, "uncounted", 0)
    monkeypatch.setattr(refusals._Count, "not_before", 0.0)
    for _ in range(100):
        refusals.refuse("no message")
    assert counted == [1]
    away = False
    now[0] += refusals.AWAY_SECONDS
    refusals.refuse("no message")
    refusals.refuse("no message")
    assert counted == [1, 101, 1]


def test_a_forked_process_leaves_its_parents_notes_to_the_parent(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their lock may have been held at the fork: nobody would ever give it back."""
    notes = Notes(lambda: runtime.database)
    notes._later = ["a-job"]
    with notes._lock:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        notes.flush()
        monkeypatch.undo()
    assert notes._later == ["a-job"]
