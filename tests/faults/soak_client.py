"""What hands in the soak's jobs: `python -m faults.soak_client RATE SEED LEDGER`, in a process that may be killed.

Each job that was accepted is a line ``kind id`` in the file LEDGER, written after the submit returned.  On SIGUSR1
the next submit is killed between its commit and its wake-up.  SIGTERM ends it with the job in hand.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import marketjobs
from jobs_for_tests import again, count, fail, nap
from marketjobs.errors import MarketJobsError
from marketjobs.services import jobs
from marketjobs.tasks import publish
from marketjobs.tasks.runtime import runtime

SYMBOLS = [f"SOAK{number:02}" for number in range(40)]
UNKNOWN = "NOSUCHSYMBOL"
KINDS = {"short": 56, "fetch": 12, "joined": 8, "failing": 7, "retried": 8, "cancelled": 6, "long": 2, "unknown": 1}
"""How often each kind comes, in a hundred."""
ENDS = {
    "short": {"succeeded"},
    "fetch": {"succeeded"},
    "joined": {"succeeded"},
    "failing": {"dead"},
    "retried": {"succeeded"},
    "cancelled": {"cancelled"},
    "long": {"succeeded"},
    "unknown": {"dead"},
}
"""How each kind has to end.  A job that was cancelled too late is ``short`` in the ledger."""
ATTEMPTS = {"failing": 3, "retried": 2}
"""How many each takes where nothing is killed; else one."""


class Client:
    """One process's submits."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._prefix = seed * 1_000_000

    def submit(self, number: int) -> Iterator[tuple[str, str]]:
        """Hand in a job of some kind: kind and id of each submit."""
        number += self._prefix
        [kind] = self._random.choices(list(KINDS), weights=list(KINDS.values()))
        if kind == "short":
            yield kind, count.delay(number, self._random.choice([0.0, 0.0, 0.02, 0.05])).id
        elif kind == "fetch":
            yield kind, self._fetch(self._random.sample(SYMBOLS, self._random.randint(1, 3)))
        elif kind == "joined":
            symbols = self._random.sample(SYMBOLS, 2)
            yield kind, self._fetch(symbols)
            yield kind, self._fetch(symbols)
        elif kind == "failing":
            yield kind, fail.delay(f"number {number} fails").id
        elif kind == "retried":
            yield kind, again.delay(1, 0.2).id
        elif kind == "long":
            yield kind, nap.delay(self._random.uniform(1.0, 3.0), f"nap{number}").id
        elif kind == "unknown":
            yield kind, self._fetch([UNKNOWN])
        else:
            yield from self._cancelled(number)

    def _fetch(self, symbols: list[str]) -> str:
        return marketjobs.submit("fetch_market_data", symbols=symbols, period="1mo", force=True).id

    def _cancelled(self, number: int) -> Iterator[tuple[str, str]]:
        job_id = count.delay(number, 0.5).id
        time.sleep(self._random.choice([0.0, 0.05]))  # queued still, or running already
        jobs.cancel(runtime(), job_id)
        while not (row := jobs.row(runtime(), job_id)) or not row.state.is_final:
            time.sleep(0.1)
        yield ("cancelled" if row.state == "cancelled" else "short"), job_id


def main(rate: float, seed: int, ledger: Path) -> None:
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    def die_at_the_next(_signal: int, _frame: FrameType | None) -> None:
        publish.send = lambda _jobs: os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR1, die_at_the_next)
    client = Client(seed)
    refused, began = 0, time.monotonic()
    with ledger.open("a", buffering=1) as lines:
        for number in range(1, sys.maxsize):
            try:
                for kind, job_id in client.submit(number):
                    lines.write(f"{kind} {job_id}\n")
            except MarketJobsError as exc:  # the store is away: told so, nothing was accepted
                refused += 1
                lines.write(f"refused {exc.cause}\n")
            # What a fault held up is made up for, not all at once.
            began = max(began, time.monotonic() - (number + 100) / rate)
            time.sleep(max(0.0, min(1.0, began + number / rate - time.monotonic())))
            if stopping:
                break


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
