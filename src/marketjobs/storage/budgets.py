"""Calls that a provider's key may still make, shared by every process on the store.

Calls are numbered.  Under a rate of N per W, call number u leaves no sooner than W plus a guard after call
number u - N: an exact sliding window that one index seek per rate decides, and that tells when to come back.
The store's clock decides; a caller only sleeps the delay it is told.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from marketjobs.domain.rates import Rate
from marketjobs.storage.database import Row, Transaction
from marketjobs.storage.many import insert_many

KEEP_SHARE = 64
"""Old uses are trimmed once in so many grants, not at each."""
MOST_AHEAD_SECONDS = 120.0
"""Twice the patience of who asks with most: a grant further ahead than that is of a clock that was set back since."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A call that may leave ``delay_seconds`` from now, at ``at`` by the store's clock.

    ``after_hold``: the key was held and no answer has come since.
    """

    key: str
    grant_id: str
    at: float
    delay_seconds: float
    after_hold: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """No call may leave within the horizon: come back ``delay_seconds`` from now, and why.

    ``held``: by somebody's word (Retry-After, a block), not by a rate.
    """

    delay_seconds: float
    why: str
    held: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """What is known of a key.  ``left``: calls that each rate allows at this moment."""

    granted: int
    left: tuple[tuple[Rate, int], ...]


def reserve(
    tx: Transaction,
    key: str,
    rates: Sequence[Rate],
    most: int,
    *,
    horizon_seconds: float,
    lead_seconds: float = 0.0,
) -> list[Slot] | Later:
    """Grant the next calls if the instant of the first of them lies within the horizon, all rates and blocks considered
    at once: those that may leave together with it, one at least, ``most`` at most, which is never more than the calls
    of any of the rates."""
    row, now = _locked(tx, key)
    if row["last_ts"] - now > max(MOST_AHEAD_SECONDS, 2 * horizon_seconds):
        row = _redated(tx, key, row["last_ts"] - now)
    number: int = row["granted"] + 1
    # A clock that was set back a little must not let calls leave before those that were granted already.
    earliest, why, held = max(now + lead_seconds, row["last_ts"]), "", False
    if row["blocked_until"] > earliest:
        earliest, why, held = row["blocked_until"], row["blocked_why"] or "held", True
    after: list[tuple[int, float]] = []  # what each of these calls counts from: its place among them, and an instant
    for rate in rates:
        for use in tx.all(
            "SELECT number, ts FROM provider_budget_use WHERE key = :key AND number BETWEEN :first AND :last",
            {"key": key, "first": number - rate.calls, "last": number - rate.calls + most - 1},
        ):
            place, instant = use["number"] + rate.calls - number, use["ts"] + rate.seconds + rate.guard_seconds
            after.append((place, instant))
            if place == 0 and instant > earliest:
                earliest, why, held = instant, f"budget {rate}", False
    if earliest - now > horizon_seconds:
        return Later(earliest - now, why, held)
    count = min((place for place, instant in after if instant > earliest), default=most)
    delay, after_hold = max(0.0, earliest - now), row["holds"] > 0
    slots = [Slot(key, uuid.uuid4().hex, earliest, delay, after_hold) for _ in range(count)]
    insert_many(
        tx,
        "INSERT INTO provider_budget_use (key, number, ts, grant_id)",
        [(key, number + place, earliest, slot.grant_id) for place, slot in enumerate(slots)],
    )
    newest = number + count - 1
    tx.run(
        "UPDATE provider_budget SET granted = :number, last_ts = :ts WHERE key = :key",
        {"key": key, "number": newest, "ts": earliest},
    )
    if newest // KEEP_SHARE > (number - 1) // KEEP_SHARE:
        widest = max((rate.calls for rate in rates), default=0)
        tx.run(
            "DELETE FROM provider_budget_use WHERE key = :key AND number <= :old",
            {"key": key, "old": newest - widest - 1},
        )
    return slots


def restamp(tx: Transaction, slot: Slot, rates: Sequence[Rate], ahead_seconds: float) -> float | None:
    """Move a slot whose caller is late to ``ahead_seconds`` from now; possible until a call that counts from it (the
    N-th after it) was granted.

    Later calls that would have left before it are written down as late as it is, so that the numbers stay in the order
    of the instants.  They may leave earlier than that: what counts from them only waits a little longer.

    Returns the delay until it, or ``None``: give it back and ask again.
    """
    row, now = _locked(tx, slot.key)
    mine = tx.first(
        "SELECT number, ts FROM provider_budget_use WHERE key = :key AND grant_id = :grant",
        {"key": slot.key, "grant": slot.grant_id},
    )
    if mine is None or mine["ts"] >= now + ahead_seconds:
        return None
    if rates and row["granted"] >= mine["number"] + min(rate.calls for rate in rates):
        return None
    moved = {"key": slot.key, "number": mine["number"], "ts": now + ahead_seconds}
    tx.run("UPDATE provider_budget_use SET ts = :ts WHERE key = :key AND number >= :number AND ts < :ts", moved)
    tx.run("UPDATE provider_budget SET last_ts = :ts WHERE key = :key AND last_ts < :ts", moved)
    return ahead_seconds


def give_back(tx: Transaction, slot: Slot) -> None:
    """Undo a grant that was not used: later grants move down by one number.

    They keep their instants, which stay far enough apart: each only gains on the call before it.
    """
    _locked(tx, slot.key)
    row = tx.first(
        "SELECT number FROM provider_budget_use WHERE key = :key AND grant_id = :grant",
        {"key": slot.key, "grant": slot.grant_id},
    )
    if row is None:
        return
    key = {"key": slot.key, "number": row["number"]}
    tx.run("DELETE FROM provider_budget_use WHERE key = :key AND number = :number", key)
    later = tx.all("SELECT number FROM provider_budget_use WHERE key = :key AND number > :number ORDER BY number", key)
    # One by one, upwards: a single statement would meet its own rows in the primary key.
    tx.run_many(
        "UPDATE provider_budget_use SET number = number - 1 WHERE key = :key AND number = :number",
        [{"key": slot.key, "number": one["number"]} for one in later],
    )
    tx.run("UPDATE provider_budget SET granted = granted - 1 WHERE key = :key", {"key": slot.key})


def hold(tx: Transaction, key: str, why: str, seconds: float | None, *, first: float, most: float) -> float:
    """No call may leave before ``seconds`` from now; ``None``: ``first``, doubled for each hold in a row.

    A vendor that says "at once" and refuses again is not hammered: 1 s, then 2, 4 ... is the least.

    Several calls that were refused together count as one hold.  Returns the seconds.
    """
    row, now = _locked(tx, key)
    already = row["blocked_until"] - now
    holds = row["holds"] if already > 0 else row["holds"] + 1
    step = 2.0 ** min(holds - 1, 16)
    chosen = min(most, first * step) if seconds is None else max(seconds, min(most, step))
    if already >= chosen or (already > 0 and seconds is None):
        return float(already)
    tx.run(
        "UPDATE provider_budget SET blocked_until = :until, blocked_why = :why, holds = :holds WHERE key = :key",
        {"key": key, "until": now + chosen, "why": why, "holds": holds},
    )
    return chosen


def passed(tx: Transaction, key: str) -> None:
    """An answer came after a hold: the next one begins at the shortest step."""
    tx.run(
        "UPDATE provider_budget SET holds = 0 WHERE key = :key AND holds > 0 AND blocked_until < {now}",
        {"key": key},
    )


def blocked(tx: Transaction, key: str) -> tuple[float, str] | None:
    """Seconds until a key may be used again, and why; ``None``: it may."""
    row = tx.first(
        "SELECT blocked_until - {now} AS seconds, blocked_why FROM provider_budget WHERE key = :key",
        {"key": key},
    )
    return None if row is None or row["seconds"] <= 0 else (row["seconds"], row["blocked_why"] or "held")


def usage(tx: Transaction, key: str, rates: Sequence[Rate]) -> Usage:
    row = tx.first("SELECT *, {now} AS now FROM provider_budget WHERE key = :key", {"key": key})
    if row is None:
        return Usage(0, tuple((rate, rate.calls) for rate in rates))
    left = []
    for rate in rates:
        used = tx.first(
            "SELECT count(*) AS n FROM provider_budget_use WHERE key = :key AND number > :number AND ts > :since",
            {
                "key": key,
                "number": row["granted"] - rate.calls,
                "since": row["now"] - rate.seconds - rate.guard_seconds,
            },
        )
        left.append((rate, rate.calls - (used["n"] if used else 0)))
    return Usage(row["granted"], tuple(left))


def _redated(tx: Transaction, key: str, seconds: float) -> Row:
    """The same history by a clock that was set back: as if the last call had left just now, so none is too early."""
    shifted = {"key": key, "seconds": seconds}
    tx.run("UPDATE provider_budget_use SET ts = ts - :seconds WHERE key = :key", shifted)
    tx.run(
        "UPDATE provider_budget SET last_ts = last_ts - :seconds, blocked_until = blocked_until - :seconds"
        " WHERE key = :key",
        shifted,
    )
    return _locked(tx, key)[0]


def _locked(tx: Transaction, key: str) -> tuple[Row, float]:
    """A key's row, which no other transaction changes before this one ends, and the store's clock after that."""
    lock = "SELECT * FROM provider_budget WHERE key = :key {for_update}"
    row = tx.first(lock, {"key": key})
    if row is None:
        tx.run(
            "INSERT INTO provider_budget (key, granted, last_ts, blocked_until, holds) VALUES (:key, 0, 0, 0, 0)"
            " ON CONFLICT (key) DO NOTHING",
            {"key": key},
        )
        row = tx.first(lock, {"key": key})
    assert row is not None
    # Read once the lock is had: in the same statement it could be older than what another has just granted.
    return row, tx.now()
