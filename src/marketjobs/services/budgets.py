"""The gate that providers spend their calls through: the store decides, one thread of a process asks."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass

from marketjobs.domain.rates import Rate
from marketjobs.errors import (
    Blocked,
    BudgetSpent,
    CircuitOpen,
    ConfigError,
    MissingKey,
    ProviderError,
    RateLimited,
    Unauthorised,
)
from marketjobs.providers.base import Grant
from marketjobs.services.context import current_context
from marketjobs.storage import breakers, budgets
from marketjobs.storage.breakers import Breaker, Circuit
from marketjobs.storage.database import Database

FIRST_HOLD_SECONDS = 30.0
LONGEST_HOLD_SECONDS = 1800.0
FIRST_QUOTA_SECONDS = 3600.0
LONGEST_QUOTA_SECONDS = 6 * 3600.0
"""A quota that is used up, where nobody knows when it is reset, is tried again after that."""
LOOK_AGAIN_SECONDS = 0.02
LEAST_NAP_SECONDS = 0.001
ASKED_AHEAD_SECONDS = 0.25
HOLD_PATIENCE_SECONDS = 2.0
TOLD_AFTER_SECONDS = 2.0
"""Who watches is told of a wait that is longer."""
PACE_SECONDS = 30.0
"""A rate that allows the next call within so long is only kept, not used up."""
PROBE_LOOK_SECONDS = 0.2
PROBE_AGAIN_SECONDS = 5.0
GRANTED_AT_ONCE = 25
KEPT_SECONDS = 0.1
SHARE_OF_A_RATE = 5
COUNT_KNOWN_SECONDS = 5.0
"""So long our own count of a window may be taken from what was known at its last look, and what was granted since."""

_REFUSALS: dict[str, type[ProviderError]] = {kind.cause: kind for kind in (Blocked, RateLimited, Unauthorised)}


@dataclass(slots=True)
class Probing:
    """Calls that are made for one question.  ``allowed``: may they decide over a half-open circuit?  Not where they are
    about a symbol that may be the reason why.  ``token``: that of the probe which one of them is."""

    allowed: bool
    token: str | None = None


probing: ContextVar[Probing | None] = ContextVar("marketjobs_probing", default=None)
"""``None``: whoever asks, its calls may."""


@dataclass(frozen=True, slots=True)
class Spent(Grant):
    """A grant as the gate itself knows it."""

    slot: budgets.Slot | None = None
    part: str = ""
    part_is_news: bool = False

    @property
    def held_as(self) -> str | None:
        """What is held when the answer is a refusal; ``None``: the whole provider."""
        return self.part or (self.slot.key if self.slot else None)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a provider may still spend.  ``hold`` is of the whole provider; ``keys`` has one entry where it has none."""

    keys: tuple[budgets.Usage, ...]
    hold: budgets.Hold | None
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class _Count:
    """Our calls in a vendor's window, when its key had granted ``newest``; good until an instant (monotonic)."""

    ours: int
    newest: int
    good_until: float


class BudgetGate:
    """One provider's budgets and breaker in this process; a :class:`marketjobs.providers.base.Gate`.

    Args:
        provider: names its budget and breaker in the store, the same in all processes.
        rates: of each key.
        patience_seconds: a call that lies further ahead raises instead of holding its thread.
        api_keys: each has its own budget, under a digest of it.
        needs_key: without any, nothing is sent.
        answer_seconds: longest wait for an answer; a probe of which nothing was heard twice as long has died.
    """

    def __init__(
        self,
        database: Database,
        provider: str,
        rates: Sequence[Rate],
        patience_seconds: float,
        *,
        api_keys: Sequence[str] = (),
        needs_key: bool = False,
        answer_seconds: float = 15.0,
    ) -> None:
        self._database = database
        self._provider = provider
        self._rates = tuple(rates)
        self._patience = patience_seconds
        self._api_keys = {key_name(provider, one): one for one in api_keys}
        self._names = tuple(self._api_keys)
        self._needs_key = needs_key
        self._probe_seconds = 2 * answer_seconds
        self._turn = threading.Lock()
        self._is_news = False
        self._probe: str | None = None
        shortest = min((rate.seconds for rate in self._rates), default=1)
        # Half the shortest window: so late a call can still be restamped before its successors are out.
        self._horizon = min(shortest / 2, patience_seconds)
        self._slack = min((rate.guard_seconds for rate in self._rates), default=1.0) / 3
        self._lead = 0.0
        # Calls granted together, for the threads that ask next, with the instant (monotonic) that they leave at: only
        # where a call may be late for as long as they are kept, which is so short that a hold is seen by all soon.
        self._fewest = min((rate.calls for rate in self._rates), default=None)
        fewest = GRANTED_AT_ONCE * SHARE_OF_A_RATE if self._fewest is None else self._fewest
        self._at_once = min(GRANTED_AT_ONCE, fewest // SHARE_OF_A_RATE) if self._slack >= KEPT_SECONDS else 1
        self._kept: list[budgets.Slot] = []
        self._kept_until = 0.0
        self._counts: dict[tuple[str, int], _Count] = {}
        self._newest: dict[str, int] = {}

    def spend(self, weight: int = 1, *, part: str = "") -> Grant:
        """Wait for the next call's instant.

        Raises:
            BudgetSpent: it lies beyond the patience.
            Blocked, Unauthorised: that is what another call was told, and the vendor is left alone for a while.
            CircuitOpen: the provider is failing.
            MissingKey: it needs one.
            ConfigError: no rate of the settings ever allows a call of that weight.
        """
        self._require_possible(weight)
        part, part_is_news = self._part(part)
        while True:
            slot = self._leaves(self._granted(weight))
            if slot is None:
                continue
            if self._is_unwanted():
                self._give_back(slot)
                self._require_wanted()
            self._is_news = self._is_news or slot.is_news
            if slot.probe is not None:
                self._keep_token(slot.probe)
            return Spent(self._api_keys.get(slot.key, ""), len(self._names) or 1, slot, part, part_is_news)

    def _part(self, part: str) -> tuple[str, bool]:
        """A part's name in the store, and whether it was held lately.  Raises what :meth:`spend` does."""
        if not part:
            return "", False
        name = f"{self._provider}/{part}"
        with self._database.read() as tx:
            held, is_news = budgets.part_held(tx, name)
        if held is not None:
            raise self._refusal(held.cause, held.seconds, held.why)
        return name, is_news

    def _refusal(self, cause: str, seconds: float, why: str, *, is_pace: bool = False) -> ProviderError:
        """What others were told, or that our budget has no call left before then."""
        kind = _REFUSALS.get(cause, BudgetSpent)
        text = f"{self._provider} may be asked again in {seconds:.0f} s ({why})"
        error = kind(text, provider=self._provider, retry_after_seconds=seconds)
        if isinstance(error, Unauthorised) and self._names:
            error.blame_key()
        if isinstance(error, BudgetSpent):
            error.is_pace = is_pace
        return error

    def _require_possible(self, weight: int) -> None:
        if self._needs_key and not self._names:
            setting = f"providers.{self._provider}.api_keys"
            raise MissingKey(
                f"{self._provider} wants a key, and {setting} is empty", hint=setting_of_keys(self._provider)
            )
        if self._fewest is not None and weight > self._fewest:
            raise ConfigError(
                f"providers.{self._provider}.rate_limit allows {self._fewest} calls at most, and a request counts as"
                f" {weight}"
            )

    def _granted(self, weight: int) -> budgets.Slot:
        """A slot.  Threads ask in turn, and each waits for its own."""
        ctx = current_context.get()
        with self._turn:
            began = time.monotonic()
            self._require_wanted()
            if began > self._kept_until or any(slot.weight != weight for slot in self._kept[:1]):
                self._give_back_kept()
            with suppress(IndexError):  # whoever holds the provider takes them away
                return self._counted(self._kept.pop())
            while True:
                self._require_wanted()
                question = probing.get()
                began_asking = time.monotonic()
                with self._database.write() as tx:
                    answer = budgets.reserve(
                        tx,
                        self._provider,
                        self._rates,
                        self._wanted(weight),
                        keys=self._names,
                        weight=weight,
                        horizon_seconds=self._horizon,
                        lead_seconds=self._lead,
                        probe_seconds=self._probe_seconds,
                        may_probe=question is None or question.allowed,
                        token=question.token if question else None,
                    )
                # The answer should be here before its instant: the next call is asked for that much ahead.
                self._lead = min(0.02, time.monotonic() - began_asking)
                if not isinstance(answer, budgets.Later):
                    self._newest[answer[-1].key] = answer[-1].number
                    slot, *self._kept = answer
                    if self._kept and ctx is not None:
                        ctx.at_end(self._give_back_kept)
                    self._kept_until = slot.leaves_at - slot.delay_seconds + KEPT_SECONDS
                    return self._counted(slot)
                # A rate is waited for here; a hold is the job's to wait for, where people see it.
                patience = min(self._patience, HOLD_PATIENCE_SECONDS) if answer.held else self._patience
                self._wait(answer, began + patience)

    def _wanted(self, weight: int) -> int:
        """How many calls to ask for: no more than the job in hand is about to make."""
        ctx = current_context.get()
        return max(1, min(self._at_once // weight, ctx.calls_ahead)) if ctx is not None else 1

    def _counted(self, slot: budgets.Slot) -> budgets.Slot:
        ctx = current_context.get()
        if ctx is not None:
            ctx.calls_ahead -= 1
        return slot

    def _give_back_kept(self) -> None:
        kept, self._kept = self._kept, []
        if kept:
            with self._database.write() as tx:
                while kept:
                    budgets.give_back(tx, kept.pop())

    def _give_back(self, slot: budgets.Slot) -> None:
        with self._database.write() as tx:
            budgets.give_back(tx, slot)
            if slot.probe is not None:
                breakers.drop_probe(tx, self._provider, slot.probe)

    def _is_unwanted(self) -> bool:
        ctx = current_context.get()
        return ctx is not None and ctx.job is not None and ctx.is_over

    def _require_wanted(self) -> None:
        """A job that was cancelled leaves threads behind that wait here: they spend nothing and send nothing."""
        if self._is_unwanted():
            raise BudgetSpent("the job that asked has ended", provider=self._provider, retry_after_seconds=0.0)

    def _wait(self, later: budgets.Later, give_up_at: float) -> None:
        """Sleep until a call may be asked for again; raises where that lies beyond what a thread is held for."""
        delay = later.delay_seconds
        if later.circuit is Circuit.HALF_OPEN:  # the probe's answer may be here any moment
            delay = min(delay, PROBE_LOOK_SECONDS)
        if time.monotonic() + delay <= give_up_at and not later.wants_probe:
            ctx = current_context.get()
            if ctx is not None and delay > TOLD_AFTER_SECONDS:
                ctx.says(f"waits for {self._provider}: {later.why}, {delay:.0f} s")
            # Asked for a moment ahead, a call leaves at its instant although the store is slow.
            ahead = 0.0 if later.held else min(self._horizon, ASKED_AHEAD_SECONDS)
            time.sleep(delay - ahead + LEAST_NAP_SECONDS)
            return
        if later.circuit is Circuit.CLOSED:
            raise self._refusal(later.cause, delay, later.why, is_pace=not later.held and delay <= PACE_SECONDS)
        after = delay if later.circuit is Circuit.OPEN else PROBE_AGAIN_SECONDS
        error = CircuitOpen(
            f"{self._provider} failed again and again; it is tried again in {after:.0f} s ({later.why})",
            provider=self._provider,
            retry_after_seconds=after,
        )
        error.wants_probe = later.wants_probe
        raise error

    def _leaves(self, slot: budgets.Slot) -> budgets.Slot | None:
        """Sleep until the slot; ``None``: it is void and was given back."""
        ahead = slot.leaves_at - time.monotonic()
        if ahead > LOOK_AGAIN_SECONDS:
            time.sleep(ahead - LOOK_AGAIN_SECONDS / 2)
            with self._database.read() as tx:
                held = budgets.blocked(tx, self._provider, slot.key)
            if held is not None:
                self._give_back(slot)
                return None
            ahead = slot.leaves_at - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        # Counted when it is sent: a late call would crowd its successors, so its instant is moved.
        aim = self._slack
        while time.monotonic() - slot.leaves_at > self._slack:
            with self._database.write() as tx:
                moved = budgets.restamp(tx, slot, self._rates, aim)
            if moved is None:
                self._give_back(slot)
                return None
            slot = moved
            aim *= 2
            time.sleep(max(0.0, slot.leaves_at - time.monotonic()))
        return slot

    def sent(self, grant: Grant, at: float) -> None:
        """A call that left late crowds its successors as the vendor counts: its instant is moved, where that still
        changes anything."""
        slot = grant.slot if isinstance(grant, Spent) else None
        if slot is not None and at - slot.leaves_at > 2 * self._slack:
            with self._database.write() as tx:
                budgets.restamp(tx, slot, self._rates, at - time.monotonic())

    def unused(self, grant: Grant) -> None:
        if isinstance(grant, Spent) and grant.slot is not None:
            self._give_back(grant.slot)

    def hold(
        self,
        why: str,
        seconds: float | None = None,
        *,
        grant: Grant | None = None,
        until_reset: bool = False,
        cause: str = "",
    ) -> float:
        """No process may ask this provider, or use the grant's key, before then; returns the seconds."""
        self._give_back_kept()
        key = grant.held_as if isinstance(grant, Spent) else None
        first, most = FIRST_HOLD_SECONDS, LONGEST_HOLD_SECONDS
        if until_reset:
            first, most = FIRST_QUOTA_SECONDS, LONGEST_QUOTA_SECONDS
        resets = [rate for rate in self._rates if rate.period] if until_reset else []
        with self._database.write() as tx:
            # Budget before breaker, as a reservation does: the other way round two would wait for each other.
            held = budgets.hold(
                tx,
                key or self._provider,
                why,
                seconds,
                first=first,
                most=most,
                cause=cause,
                until_reset_of=resets[-1] if resets else None,
            )
            if self._is_news:  # a refusal is an answer
                breakers.passed(tx, self._provider, self._token())
        return held

    def passed(self, grant: Grant | None = None) -> None:
        """An answer came; only after a hold or a failure is there anything to write."""
        probe = self._token()
        if isinstance(grant, Spent) and grant.part_is_news:
            with self._database.write() as tx:
                budgets.passed(tx, grant.part)
        if not self._is_news and probe is None:
            return
        self._is_news = False
        slot = grant.slot if isinstance(grant, Spent) else None
        with self._database.write() as tx:
            budgets.passed(tx, self._provider, *([slot.key] if slot else self._names))
            breakers.passed(tx, self._provider, probe)

    def failed(self, why: str) -> None:
        """No answer came; after several in a row no process asks this provider for a while."""
        probe = self._token()
        with self._database.write() as tx:
            opened = breakers.failed(tx, self._provider, why, probe)
        self._is_news = True
        if opened is not None:
            self._give_back_kept()

    def _keep_token(self, token: str) -> None:
        question = probing.get()
        if question is not None:
            question.token = token
        else:
            self._probe = token

    def _token(self) -> str | None:
        """That of the probe of which something is known now."""
        question = probing.get()
        if question is not None:  # no other's: its call may have been under way before the probe
            token, question.token = question.token, None
        else:
            token, self._probe = self._probe, None
        return token

    def used(self, calls: int, window_seconds: int, *, grant: Grant | None = None) -> None:
        """Where the vendor counts more than we do in its window, the rest is booked as spent by others.

        Our count is that of a window as long that ends now: vendors' windows begin at any instant within it.
        """
        slot = grant.slot if isinstance(grant, Spent) else None
        if slot is None:
            return
        known = self._counts.get((slot.key, window_seconds))
        newest = max(slot.number, self._newest.get(slot.key, 0))
        if known and time.monotonic() < known.good_until and calls <= known.ours + newest - known.newest:
            return
        # A call of a budget that the vendor resets by the calendar is counted by the calendar here too.
        alike = next((rate for rate in self._rates if rate.period and rate.seconds == window_seconds), None)
        since = (alike or Rate(window_seconds, 1)).counts_since(slot.at)
        with self._database.write() as tx:
            ours, newest = budgets.book(tx, slot.key, self._rates, calls, since)
        good_until = time.monotonic() + min(COUNT_KNOWN_SECONDS, window_seconds / 10)
        self._counts[slot.key, window_seconds] = _Count(ours, newest, good_until)
        self._newest[slot.key] = newest

    def standing(self) -> Standing:
        with self._database.read() as tx:
            whole = budgets.usage(tx, self._provider, self._rates)
            keys = tuple(budgets.usage(tx, name, self._rates) for name in self._names)
            return Standing(keys or (whole,), whole.hold, breakers.look(tx, self._provider))


def key_name(provider: str, api_key: str) -> str:
    """A key's name in the store: nobody can tell the key from it."""
    digest = hashlib.sha256(f"{provider} {api_key}".encode()).hexdigest()
    return f"{provider}/{digest[:12]}"


def setting_of_keys(provider: str) -> str:
    """Where a provider's keys are set, to be typed."""
    return f'providers.{provider}.api_keys = ["..."], or MARKETJOBS_PROVIDERS__{provider.upper()}__API_KEYS=\'["..."]\''
