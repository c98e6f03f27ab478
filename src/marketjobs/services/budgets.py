"""The gate that providers spend their calls through: the store decides, one thread of a process asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from marketjobs.domain.rates import Rate
from marketjobs.errors import BudgetSpent
from marketjobs.services.context import current_context
from marketjobs.storage import budgets
from marketjobs.storage.database import Database

FIRST_HOLD_SECONDS = 30.0
LONGEST_HOLD_SECONDS = 1800.0
LOOK_AGAIN_SECONDS = 0.02
HOLD_PATIENCE_SECONDS = 2.0
GRANTED_AT_ONCE = 25
KEPT_SECONDS = 0.1
SHARE_OF_A_RATE = 5


class BudgetGate:
    """One provider's budget in this process; a :class:`marketjobs.providers.base.Gate`.

    Args:
        key: names the budget in the store, the same in all processes.
        patience_seconds: a call that lies further ahead raises instead of holding its thread.
    """

    def __init__(self, database: Database, provider: str, key: str, rates: Sequence[Rate], patience_seconds: float):
        self._database = database
        self._provider = provider
        self._key = key
        self._rates = tuple(rates)
        self._patience = patience_seconds
        self._turn = threading.Lock()
        self._after_hold = False
        shortest = min((rate.seconds for rate in self._rates), default=1)
        # Half the shortest window: so late a call can still be restamped before its successors are out.
        self._horizon = min(shortest / 2, patience_seconds)
        self._slack = min((rate.guard_seconds for rate in self._rates), default=1.0) / 3
        self._lead = 0.0
        # Calls granted together, for the threads that ask next, with the instant (monotonic) that they leave at: only
        # where a call may be late for as long as they are kept, which is so short that a hold is seen by all soon.
        fewest = min((rate.calls for rate in self._rates), default=GRANTED_AT_ONCE * SHARE_OF_A_RATE)
        self._at_once = min(GRANTED_AT_ONCE, fewest // SHARE_OF_A_RATE) if self._slack >= KEPT_SECONDS else 1
        self._kept: list[tuple[budgets.Slot, float]] = []
        self._kept_until = 0.0

    def spend(self) -> None:
        """Wait for the next call's instant.  Raises BudgetSpent when it lies beyond the patience."""
        while True:
            slot, leaves_at = self._granted()
            if not self._leaves(slot, leaves_at):
                continue
            if self._is_unwanted():
                with self._database.write() as tx:
                    budgets.give_back(tx, slot)
                self._require_wanted()
            self._after_hold = slot.after_hold
            return

    def _granted(self) -> tuple[budgets.Slot, float]:
        """A slot and the instant (monotonic) that it leaves at.  Threads ask in turn, and each waits for its own."""
        with self._turn:
            began = time.monotonic()
            self._require_wanted()
            if began > self._kept_until:
                self._give_back_kept()
            with suppress(IndexError):  # whoever holds the provider takes them away
                return self._counted(*self._kept.pop())
            while True:
                self._require_wanted()
                began_asking = time.monotonic()
                with self._database.write() as tx:
                    # Delays count from the store's clock, which is read once its lock is had.
                    locked_at = time.monotonic()
                    answer = budgets.reserve(
                        tx,
                        self._key,
                        self._rates,
                        self._wanted(),
                        horizon_seconds=self._horizon,
                        lead_seconds=self._lead,
                    )
                # The answer should be here before its instant: the next call is asked for that much ahead.
                self._lead = min(0.02, time.monotonic() - began_asking)
                if not isinstance(answer, budgets.Later):
                    granted = [(slot, locked_at + slot.delay_seconds) for slot in answer]
                    self._kept, self._kept_until = granted[1:], locked_at + KEPT_SECONDS
                    return self._counted(*granted[0])
                # A rate is waited for here; a hold is the job's to wait for, where people see it.
                patience = min(self._patience, HOLD_PATIENCE_SECONDS) if answer.held else self._patience
                self._wait(answer, began + patience)

    def _wanted(self) -> int:
        """How many calls to ask for: no more than the job in hand is about to make."""
        ctx = current_context.get()
        return max(1, min(self._at_once, ctx.calls_ahead)) if ctx is not None else 1

    def _counted(self, slot: budgets.Slot, leaves_at: float) -> tuple[budgets.Slot, float]:
        ctx = current_context.get()
        if ctx is not None:
            ctx.calls_ahead -= 1
        return slot, leaves_at

    def _give_back_kept(self) -> None:
        kept, self._kept = self._kept, []
        if kept:
            with self._database.write() as tx:
                while kept:
                    budgets.give_back(tx, kept.pop()[0])

    def _is_unwanted(self) -> bool:
        ctx = current_context.get()
        return ctx is not None and ctx.job is not None and ctx.is_over

    def _require_wanted(self) -> None:
        """A job that was cancelled leaves threads behind that wait here: they spend nothing and send nothing."""
        if self._is_unwanted():
            raise BudgetSpent("the job that asked has ended", provider=self._provider, retry_after_seconds=0.0)

    def _wait(self, later: budgets.Later, give_up_at: float) -> None:
        if time.monotonic() + later.delay_seconds > give_up_at:
            raise BudgetSpent(
                f"{self._provider} may be asked again in {later.delay_seconds:.0f} s ({later.why})",
                provider=self._provider,
                retry_after_seconds=later.delay_seconds,
            )
        time.sleep(later.delay_seconds)

    def _leaves(self, slot: budgets.Slot, leaves_at: float) -> bool:
        """Sleep until the slot; ``False``: it is void and was given back."""
        ahead = leaves_at - time.monotonic()
        if ahead > LOOK_AGAIN_SECONDS:
            time.sleep(ahead - LOOK_AGAIN_SECONDS / 2)
            with self._database.read() as tx:
                held = budgets.blocked(tx, self._key)
            if held is not None:
                with self._database.write() as tx:
                    budgets.give_back(tx, slot)
                return False
            ahead = leaves_at - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        # Counted when it is sent: a late call would crowd its successors, so its instant is moved.
        aim = self._slack
        while time.monotonic() - leaves_at > self._slack:
            with self._database.write() as tx:
                moved = budgets.restamp(tx, slot, self._rates, aim)
                if moved is None:
                    budgets.give_back(tx, slot)
                    return False
                leaves_at = time.monotonic() + moved
            aim *= 2
            time.sleep(max(0.0, leaves_at - time.monotonic()))
        return True

    def hold(self, why: str, seconds: float | None = None) -> float:
        """No process may ask this provider before then; returns the seconds."""
        self._give_back_kept()
        with self._database.write() as tx:
            return budgets.hold(tx, self._key, why, seconds, first=FIRST_HOLD_SECONDS, most=LONGEST_HOLD_SECONDS)

    def passed(self) -> None:
        """An answer came; only after a hold is there anything to write."""
        if self._after_hold:
            self._after_hold = False
            with self._database.write() as tx:
                budgets.passed(tx, self._key)

    def left(self) -> budgets.Usage:
        with self._database.read() as tx:
            return budgets.usage(tx, self._key, self._rates)
