"""The process beside a worker or scheduler that mends the ledger and keeps the worker's heart beating.

`python -m marketjobs.tasks.reaper WORKER_ID...`: one of all reapers acts at a time, by a lease in the database.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

from marketjobs import config
from marketjobs import log as logs
from marketjobs.errors import MarketJobsError
from marketjobs.services import mend, processes, retention
from marketjobs.storage import leases, workers
from marketjobs.tasks.runtime import WORKER_PROCESS, runtime

log = logging.getLogger(__name__)
ROUND_SECONDS = 0.5
LEASE_SECONDS = 5.0
HEARTBEAT_SECONDS = 5.0
PING_SECONDS = 15.0
PRUNE_SECONDS = 30.0
PRUNED_SLICES = 20
"""Of one look: some thousand jobs within a second, as fast as jobs can end, and the mending goes on."""
CLOCK_SECONDS = 5.0


class Reaper:
    """One process's rounds.  ``worker_ids``: the rows it beats for."""

    def __init__(self, worker_ids: Sequence[str]) -> None:
        self.worker_ids = tuple(worker_ids)
        self.stop = threading.Event()
        self._me = processes.owner()
        self._beaten_at = -HEARTBEAT_SECONDS
        self._pinged_at = time.monotonic()
        self._pruned_at = -PRUNE_SECONDS
        self._looked_at_clock_at = -CLOCK_SECONDS
        self._mine_until = 0.0
        self._answered: set[str] = set()

    def run(self) -> None:
        """Until told to stop.  A store that is away for a while is waited for."""
        while not self.stop.wait(ROUND_SECONDS):
            try:
                self._round()
            except MarketJobsError as exc:
                log.warning("reaper.waits cause=%s message=%s", exc.cause, exc)
                self.stop.wait(2.0)
            except Exception:  # a door: whatever it was, the next round may fare better
                log.exception("reaper.crashed")
                self.stop.wait(2.0)
        try:
            with runtime().database.write() as tx:
                leases.drop(tx, "reaper", self._me)
        except MarketJobsError:
            pass  # the lease ends by itself

    def _round(self) -> None:
        now = time.monotonic()
        if now - self._beaten_at >= HEARTBEAT_SECONDS:
            self._beaten_at = now
            self._beat()
        if now - self._pinged_at >= PING_SECONDS:
            self._pinged_at = now
            # Not in this thread: a broker that hangs must not stop the mending.
            threading.Thread(target=self._ping, daemon=True).start()
        if self._may_act(now):
            from marketjobs.tasks.publish import publisher, queue_is_empty

            if now - self._looked_at_clock_at >= CLOCK_SECONDS:
                self._looked_at_clock_at = now
                mend.redate(runtime())
            mend.reap(runtime(), publisher(runtime().settings), queue_is_empty)
            if now - self._pruned_at >= PRUNE_SECONDS:
                self._pruned_at = now
                retention.prune(runtime(), slices=PRUNED_SLICES)

    def _may_act(self, now: float) -> bool:
        """Do we hold the lease?  It is written only when it is to be had, or half over."""
        if now < self._mine_until - LEASE_SECONDS / 2:
            return True
        with runtime().database.read() as tx:
            free = leases.is_free(tx, "reaper", self._me, LEASE_SECONDS)
        if not free:
            return False
        with runtime().database.write() as tx:
            mine = leases.take(tx, "reaper", self._me, LEASE_SECONDS)
        self._mine_until = now + LEASE_SECONDS if mine else 0.0
        return mine

    def _beat(self) -> None:
        with runtime().database.read() as tx:
            rows = [workers.get(tx, worker_id) for worker_id in self.worker_ids]
        living = [row for row in rows if row and not row.stopped and processes.started_at(row.pid) is not None]
        with runtime().database.write() as tx:
            for row in living:
                workers.beat(tx, row.id, answered=row.id in self._answered)
                self._answered.discard(row.id)
            workers.forget(tx)

    def _ping(self) -> None:
        """Ask the workers through the broker: one that lives and does not answer is deaf."""
        from marketjobs.tasks.celery import app

        wanted = [worker_id for worker_id in self.worker_ids if not worker_id.startswith("beat-")]
        try:
            replies = app.control.ping(destination=wanted, timeout=5.0, limit=len(wanted)) if wanted else []
        except Exception as exc:  # whatever a broker's client raises, it was no answer
            log.debug("ping.failed error=%s", type(exc).__name__)
            return
        self._answered.update(name for reply in replies or [] for name in reply)


def main(worker_ids: Sequence[str]) -> None:
    from marketjobs.tasks.worker import die_with_supervisor

    os.environ[WORKER_PROCESS] = "1"
    logs.set_up(config.current(), name="reaper", verbose=int(os.environ.get("MARKETJOBS_VERBOSE", "0")))
    reaper = Reaper(worker_ids)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        reaper.stop.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_supervisor()
    reaper.run()


if __name__ == "__main__":
    main(sys.argv[1:])
