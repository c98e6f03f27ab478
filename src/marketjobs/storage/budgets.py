"""Calls that a provider's keys may still make, shared by every process on the store.

Calls are numbered, one of weight w by w numbers.  Under a rate of N per W, number u leaves no sooner than W plus a
guard after number u - N, for a period of the calendar after the next reset: exact windows that one index seek a rate
decides, and that tell when to come back.  The store's clock decides; a caller only sleeps until the instant it is told.

Of several keys each has its own numbers; what holds all of them stands in the provider's own row.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from marketjobs.domain.rates import Rate
from marketjobs.storage import breakers
from marketjobs.storage.breakers import Circuit
from marketjobs.storage.database import Row, Transaction
from marketjobs.storage.many import insert_many

KEEP_NUMBERS = 64
KEEP_SHARE = 16
"""Old uses are trimmed once in so many numbers, or this part of the widest rate, not at each grant."""
CLOCK_SECONDS = 0.002
CLOCK_TRIES = 3
"""A store's clock that took longer to read says too little about now: it is read again."""
MOST_AHEAD_SECONDS = 120.0
"""Twice the patience of who asks with most: a grant further ahead than that is of a clock that was set back since."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A call that may leave at ``at`` by the store's clock: ``delay_seconds`` from the grant, at ``leaves_at`` by the
    monotonic clock of this process.

    ``is_news``: the key was held, or a call failed, and no answer has come since.
    ``probe``: the token of the one call that a half-open circuit lets through.
    """

    key: str
    grant_id: str
    number: int
    weight: int
    at: float
    delay_seconds: float
    leaves_at: float
    is_news: bool = False
    probe: str | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """No call may leave within the horizon: come back ``delay_seconds`` from now, and why.

    ``held``: by somebody's word (Retry-After, a block), not by a rate; with ``circuit`` by the breaker, where half
    open means that another's probe is under way (or, without any delay, that one is wanted).
    """

    delay_seconds: float
    why: str
    held: bool
    circuit: Circuit = Circuit.CLOSED
    cause: str = ""

    @property
    def wants_probe(self) -> bool:
        return self.circuit is Circuit.HALF_OPEN and self.delay_seconds == 0


@dataclass(frozen=True, slots=True)
class Hold:
    """No call may leave for so many seconds.  ``cause``: that of the refusal which it is for, if it is for one."""

    seconds: float
    why: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is known of a key.  ``left``: calls that each rate allows at this moment."""

    granted: int
    left: tuple[tuple[Rate, int], ...]
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class _Clock:
    """The store's clock, and this process's monotonic one at that instant or a moment later."""

    now: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class _Offer:
    """The next call of a key: its instant and what decides that, and how many may leave then."""

    row: Row
    earliest: float
    why: str
    held: bool
    count: int
    cause: str = ""


def reserve(
    tx: Transaction,
    provider: str,
    rates: Sequence[Rate],
    most: int,
    *,
    horizon_seconds: float,
    keys: Sequence[str] = (),
    weight: int = 1,
    lead_seconds: float = 0.0,
    probe_seconds: float = 60.0,
    may_probe: bool = True,
    token: str | None = None,
) -> list[Slot] | Later:
    """Grant the next calls if the instant of the first of them lies within the horizon, all rates, holds and the
    breaker considered at once: those that may leave together with it, one at least, ``most`` at most.

    Args:
        keys: the names of the provider's keys (none: it has one budget, under its own name).  The key with the
            earliest instant is taken, then the one with most left of its longest rate.
        weight: what each of the calls counts as; at most the calls of any rate.
        probe_seconds: a call through a half-open circuit of which nothing is heard for so long has died.
        may_probe: may a half-open circuit let this call through?
        token: that of the probe which this call goes on with (a second try to connect).
    """
    rows, clock = _locked(tx, provider, keys)
    ahead = max(row["last_ts"] for row in rows.values()) - clock.now
    if ahead > max(MOST_AHEAD_SECONDS, 2 * horizon_seconds):
        rows, clock = _redated(tx, provider, keys, ahead)
    wide = rows[provider]
    now = clock.now
    # Together they may weigh no more than a rate holds: the last would count from the first of them.
    most = min([most, *(rate.calls // weight for rate in rates)])
    if wide["open_until"]:
        most = 1
        breaker = breakers.look(tx, provider)
        if token is None or token != breaker.token:
            token = None
        if (breaker.seconds > 0 and token is None) or not may_probe:
            return Later(breaker.seconds, breaker.why, held=True, circuit=breaker.circuit)
    offers = _offers(tx, wide, [rows[key] for key in keys or (provider,)], rates, most, weight, now + lead_seconds)
    soonest = min(offer.earliest for offer in offers)
    best = [offer for offer in offers if offer.earliest == soonest]
    if len(best) > 1 and rates:
        used = _since(tx, [offer.row for offer in best], rates[-1].counts_since(now))
        best.sort(key=lambda offer: (used[offer.row["key"]], offer.row["last_ts"]))
    offer = best[0]
    delay = offer.earliest - now
    if delay > horizon_seconds:
        return Later(delay, offer.why, offer.held, cause=offer.cause)
    probe = token if wide["open_until"] else None
    if wide["open_until"] and probe is None:
        probe = breakers.take_probe(tx, provider, max(0.0, delay) + probe_seconds)
        if probe is None:  # the clock went on since the look
            return Later(probe_seconds, "", held=True, circuit=Circuit.HALF_OPEN)
    delay = max(0.0, delay)
    is_news = bool(wide["holds"] or offer.row["holds"] or wide["failures"])
    granted = offer.row["granted"]
    slots = [
        Slot(
            offer.row["key"], uuid.uuid4().hex, granted + place * weight, weight, offer.earliest, delay,
            clock.monotonic + delay, is_news, probe,
        )
        for place in range(1, offer.count + 1)
    ]  # fmt: skip
    _write(tx, offer.row["key"], granted, [(slot.number, slot.grant_id) for slot in slots], weight, offer.earliest)
    _trim(tx, offer.row["key"], rates, granted, slots[-1].number)
    return slots


def _offers(
    tx: Transaction,
    wide: Row,
    rows: Sequence[Row],
    rates: Sequence[Rate],
    most: int,
    weight: int,
    earliest: float,
) -> list[_Offer]:
    """What each key offers, not before ``earliest``."""
    # One statement for all: to a server each costs a round trip.
    seeks: list[tuple[int, Rate, int]] = []
    parts: list[str] = []
    params: dict[str, Any] = {"rows": (most - 1) * weight + 1}
    for place, row in enumerate(rows):
        for rate in rates:
            first = row["granted"] + weight - rate.calls
            if first + (most - 1) * weight >= 1:
                name = len(seeks)
                seeks.append((place, rate, first))
                parts.append(
                    f"SELECT {name} AS seek, number, weight, ts FROM (SELECT number, weight, ts FROM"
                    f" provider_budget_use WHERE key = :key{name} AND number >= :first{name}"
                    f" ORDER BY number LIMIT :rows) AS seek{name}"
                )
                params |= {f"key{name}": row["key"], f"first{name}": first}
    # What calls count from: by key their place among the next calls, and the instant from which it counts no longer.
    after: list[list[tuple[int, float, Rate]]] = [[] for _ in rows]
    for use in tx.all(" UNION ALL ".join(parts), params) if parts else ():
        place, rate, first = seeks[use["seek"]]
        # The first of our calls whose number less the rate's calls lies in this use.
        call = max(0, -((first - 1 - use["number"] + use["weight"]) // weight))
        if first + call * weight <= use["number"]:
            after[place].append((call, rate.free_again(use["ts"]), rate))
    return [_offer(wide, row, found, earliest, most) for row, found in zip(rows, after, strict=True)]


def _offer(wide: Row, row: Row, after: Sequence[tuple[int, float, Rate]], earliest: float, most: int) -> _Offer:
    # A clock that was set back must not let calls leave before those that were granted already.
    earliest, why, held, cause = max(earliest, row["last_ts"]), "", False, ""
    for one in (wide, row):
        if one["blocked_until"] > earliest:
            earliest, why, held = one["blocked_until"], one["blocked_why"] or "held", True
            cause = one["blocked_cause"] or ""
    for call, instant, rate in after:
        if call == 0 and instant > earliest:
            earliest, why, held, cause = instant, f"budget {rate}", False, ""
    count = min((call for call, instant, _ in after if instant > earliest), default=most)
    return _Offer(row, earliest, why, held, min(count, most), cause)


def restamp(tx: Transaction, slot: Slot, rates: Sequence[Rate], ahead_seconds: float) -> Slot | None:
    """Move a slot whose caller is late to ``ahead_seconds`` from now; possible until a call that counts from it (the
    N-th after it) was granted.

    Later calls that would have left before it are written down as late as it is, so that the numbers stay in the order
    of the instants.  They may leave earlier than that: what counts from them only waits a little longer.

    Returns the slot as it is now, or ``None``: give it back and ask again.
    """
    rows, clock = _locked(tx, slot.key)
    mine = _use_of(tx, slot)
    at = clock.now + ahead_seconds
    if mine is None or mine["ts"] >= at:
        return None
    if rates and rows[slot.key]["granted"] > mine["number"] - mine["weight"] + min(rate.calls for rate in rates):
        return None
    moved = {"key": slot.key, "number": mine["number"], "ts": at}
    tx.run("UPDATE provider_budget_use SET ts = :ts WHERE key = :key AND number >= :number AND ts < :ts", moved)
    tx.run("UPDATE provider_budget SET last_ts = :ts WHERE key = :key AND last_ts < :ts", moved)
    leaves_at = clock.monotonic + ahead_seconds
    return replace(slot, number=mine["number"], at=at, delay_seconds=ahead_seconds, leaves_at=leaves_at)


def give_back(tx: Transaction, slot: Slot) -> None:
    """Undo a grant that was not used: later grants move down by its numbers.

    They keep their instants, which stay far enough apart: each only gains on the call before it.
    """
    _locked(tx, slot.key)
    mine = _use_of(tx, slot)
    if mine is None:
        return
    key = {"key": slot.key, "number": mine["number"]}
    tx.run("DELETE FROM provider_budget_use WHERE key = :key AND number = :number", key)
    later = tx.all("SELECT number FROM provider_budget_use WHERE key = :key AND number > :number ORDER BY number", key)
    # One by one, upwards: a single statement would meet its own rows in the primary key.
    tx.run_many(
        "UPDATE provider_budget_use SET number = number - :weight WHERE key = :key AND number = :number",
        [{"key": slot.key, "number": one["number"], "weight": mine["weight"]} for one in later],
    )
    tx.run(
        "UPDATE provider_budget SET granted = granted - :weight WHERE key = :key",
        {"key": slot.key, "weight": mine["weight"]},
    )


def book(tx: Transaction, key: str, rates: Sequence[Rate], used: int, since: float) -> tuple[int, int]:
    """The vendor counts ``used`` calls after an instant: what lies above our own count was spent by others, and is
    booked as spent now.

    Returns how many of the key's numbers lie after that instant by now, and the newest of them.
    """
    rows, clock = _locked(tx, key)
    row = rows[key]
    ours = _since(tx, [row], since)[key]
    others = used - ours
    if others <= 0:
        return ours, row["granted"]
    newest = row["granted"] + others
    _write(tx, key, row["granted"], [(newest, uuid.uuid4().hex)], others, max(clock.now, row["last_ts"]))
    _trim(tx, key, rates, row["granted"], newest)
    return used, newest


def hold(
    tx: Transaction,
    key: str,
    why: str,
    seconds: float | None,
    *,
    first: float,
    most: float,
    until_reset_of: Rate | None = None,
    cause: str = "",
) -> float:
    """No call may leave before ``seconds`` from now; ``None``: the next reset of a rate of the calendar, where one is
    given, else ``first``, doubled for each hold in a row.

    A vendor that says "at once" and refuses again is not hammered: 1 s, then 2, 4 ... is the least.

    Several calls that were refused together count as one hold.  Returns the seconds.
    """
    rows, clock = _locked(tx, key)
    row, now = rows[key], clock.now
    if seconds is None and until_reset_of is not None:
        seconds = until_reset_of.free_again(now) - now
    already = row["blocked_until"] - now
    holds = row["holds"] if already > 0 else row["holds"] + 1
    step = 2.0 ** min(holds - 1, 16)
    chosen = min(most, first * step) if seconds is None else max(seconds, min(most, step))
    if already >= chosen or (already > 0 and seconds is None):
        return float(already)
    tx.run(
        "UPDATE provider_budget SET blocked_until = :until, blocked_why = :why, blocked_cause = :cause, holds = :holds"
        " WHERE key = :key",
        {"key": key, "until": now + chosen, "why": why, "cause": cause or None, "holds": holds},
    )
    return chosen


def passed(tx: Transaction, *keys: str) -> None:
    """An answer came after a hold: the next one begins at the shortest step."""
    marks = ", ".join("?" * len(keys))
    tx.run(
        f"UPDATE provider_budget SET holds = 0 WHERE key IN ({marks}) AND holds > 0 AND blocked_until < {{now}}", keys
    )


def blocked(tx: Transaction, provider: str, *keys: str) -> Hold | None:
    """What keeps a call of a key from leaving now, hold or open circuit; ``None``: nothing."""
    marks = ", ".join("?" * (len(keys) + 1))
    found = tx.all(
        f"SELECT blocked_until - {{now}} AS seconds, blocked_why AS why FROM provider_budget WHERE key IN ({marks})"
        " UNION ALL SELECT open_until - {now}, why FROM provider_breaker WHERE provider = ?",
        (provider, *keys, provider),
    )
    row = max(found, key=lambda one: one["seconds"], default=None)
    return None if row is None or row["seconds"] <= 0 else Hold(row["seconds"], row["why"] or "held")


def part_held(tx: Transaction, key: str) -> tuple[Hold | None, bool]:
    """What keeps calls to a part of a provider (a host of many) from leaving, and whether one was held since its last
    answer.  A part has no budget of its own."""
    row = tx.first("SELECT *, {now} AS now FROM provider_budget WHERE key = :key", {"key": key})
    if row is None:
        return None, False
    seconds = row["blocked_until"] - row["now"]
    held = Hold(seconds, row["blocked_why"] or "held", row["blocked_cause"] or "") if seconds > 0 else None
    return held, bool(row["holds"])


def usage(tx: Transaction, key: str, rates: Sequence[Rate]) -> Usage:
    row = tx.first("SELECT *, {now} AS now FROM provider_budget WHERE key = :key", {"key": key})
    if row is None:
        return Usage(0, tuple((rate, rate.calls) for rate in rates))
    left = tuple((rate, _left(tx, row, rate, row["now"])) for rate in rates)
    seconds = row["blocked_until"] - row["now"]
    return Usage(row["granted"], left, Hold(seconds, row["blocked_why"] or "held") if seconds > 0 else None)


def _left(tx: Transaction, row: Row, rate: Rate, now: float) -> int:
    return max(0, rate.calls - _since(tx, [row], rate.counts_since(now))[row["key"]])


def _since(tx: Transaction, rows: Sequence[Row], instant: float) -> dict[str, int]:
    """How many numbers of each key were taken after an instant: those after the last that were not."""
    parts = [
        f"SELECT {place} AS place, before FROM (SELECT number - weight AS before FROM provider_budget_use"
        f" WHERE key = :key{place} AND ts > :ts ORDER BY ts, number LIMIT 1) AS seek{place}"
        for place in range(len(rows))
    ]
    params = {f"key{place}": row["key"] for place, row in enumerate(rows)} | {"ts": instant}
    used = {row["key"]: 0 for row in rows}
    for found in tx.all(" UNION ALL ".join(parts), params):
        row = rows[found["place"]]
        used[row["key"]] = int(row["granted"] - found["before"])
    return used


def _use_of(tx: Transaction, slot: Slot) -> Row | None:
    """A grant's row.  Its number is the one that it was told, or less when an older one was given back since."""
    return tx.first(
        "SELECT number, weight, ts FROM provider_budget_use"
        " WHERE key = :key AND number <= :number AND grant_id = :grant ORDER BY number DESC LIMIT 1",
        {"key": slot.key, "number": slot.number, "grant": slot.grant_id},
    )


def _write(tx: Transaction, key: str, granted: int, uses: Sequence[tuple[int, str]], weight: int, ts: float) -> None:
    insert_many(
        tx,
        "INSERT INTO provider_budget_use (key, number, weight, ts, grant_id)",
        [(key, number, weight, ts, grant_id) for number, grant_id in uses],
    )
    tx.run(
        "UPDATE provider_budget SET granted = :number, last_ts = :ts WHERE key = :key",
        {"key": key, "number": uses[-1][0], "ts": ts},
    )


def _trim(tx: Transaction, key: str, rates: Sequence[Rate], before: int, newest: int) -> None:
    """Forget what no call can count from any more."""
    widest = max((rate.calls for rate in rates), default=0)
    share = max(KEEP_NUMBERS, widest // KEEP_SHARE)
    if newest // share > before // share:
        tx.run(
            "DELETE FROM provider_budget_use WHERE key = :key AND number <= :old", {"key": key, "old": newest - widest}
        )


def _redated(tx: Transaction, provider: str, keys: Sequence[str], seconds: float) -> tuple[dict[str, Row], _Clock]:
    """The same history by a clock that was set back: as if the last call had left just now, so none is too early."""
    moves = [{"key": name, "seconds": seconds} for name in (provider, *keys)]
    tx.run_many("UPDATE provider_budget_use SET ts = ts - :seconds WHERE key = :key", moves)
    tx.run_many(
        "UPDATE provider_budget SET last_ts = last_ts - :seconds, blocked_until = blocked_until - :seconds"
        " WHERE key = :key",
        moves,
    )
    return _locked(tx, provider, keys)


def _locked(tx: Transaction, provider: str, keys: Sequence[str] = ()) -> tuple[dict[str, Row], _Clock]:
    """The rows of a provider and its keys, which no other transaction changes before this one ends, with what the
    breaker says; and the store's clock after that."""
    names = (provider, *keys)
    marks = ", ".join("?" * len(names))
    lock = (
        "SELECT key, granted, last_ts, blocked_until, blocked_why, blocked_cause, holds,"
        " (SELECT failures FROM provider_breaker WHERE provider = ?) AS failures,"
        " (SELECT open_until FROM provider_breaker WHERE provider = ?) AS open_until"
        f" FROM provider_budget WHERE key IN ({marks}) ORDER BY key {{for_update}}"
    )
    found = tx.all(lock, (provider, provider, *names))
    if len(found) < len(names):
        tx.run_many(
            "INSERT INTO provider_budget (key, granted, last_ts, blocked_until, holds) VALUES (:key, 0, 0, 0, 0)"
            " ON CONFLICT (key) DO NOTHING",
            [{"key": name} for name in sorted(names)],
        )
        found = tx.all(lock, (provider, provider, *names))
    # Read once the lock is had: in the same statement it could be older than what another has just granted.
    return {row["key"]: row for row in found}, _clock(tx)


def _clock(tx: Transaction) -> _Clock:
    """Both clocks are read as close together as can be had: an answer that was long on its way (a busy machine) would
    put the call as much later than its instant."""
    best, shortest = None, 0.0
    for _ in range(CLOCK_TRIES):
        asked_at = time.monotonic()
        now = tx.now()
        answered_at = time.monotonic()
        if best is None or answered_at - asked_at < shortest:
            best, shortest = _Clock(now, answered_at), answered_at - asked_at
        if shortest <= CLOCK_SECONDS:
            break
    assert best is not None
    return best
