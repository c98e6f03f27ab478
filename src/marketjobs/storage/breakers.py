"""Circuit breakers: a provider that failed again and again is probed, and left alone by every process on the store.

No row: closed, and nothing failed since the last answer.  ``open_until`` 0: closed, with failures counted.  Later than
now: open.  Past: half open, and whoever writes its token first may send one call; what becomes of that call decides.
Failures alone only make it half open: they may be those of a few symbols.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum

from marketjobs.storage.database import Transaction

FAILURES = 5
"""So many in a row, and a circuit is half open."""
RUN_SECONDS = 60.0
"""Failures further apart are no row of them."""
FIRST_OPEN_SECONDS = 30.0
LONGEST_OPEN_SECONDS = 300.0


class Circuit(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """One probe may be sent, or is under way."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """A provider's circuit at this moment.

    ``seconds``: until a call may be sent: to the end of the open time, or of the probe that is under way (0: none is).
    ``token``: that one's.
    """

    circuit: Circuit = Circuit.CLOSED
    failures: int = 0
    seconds: float = 0.0
    why: str = ""
    token: str | None = None


def look(tx: Transaction, provider: str) -> Breaker:
    row = tx.first("SELECT *, {now} AS now FROM provider_breaker WHERE provider = :provider", {"provider": provider})
    if row is None:
        return Breaker()
    if not row["open_until"]:
        return Breaker(Circuit.CLOSED, row["failures"], 0.0, row["why"])
    opens_in = row["open_until"] - row["now"]
    if opens_in > 0:
        return Breaker(Circuit.OPEN, row["failures"], opens_in, row["why"])
    return Breaker(
        Circuit.HALF_OPEN, row["failures"], max(0.0, row["probe_until"] - row["now"]), row["why"], row["token"]
    )


def take_probe(tx: Transaction, provider: str, seconds: float) -> str | None:
    """Be the one who may send a call through a half-open circuit: the token, or ``None``: somebody else is.  One that
    says nothing for so many seconds has died."""
    token = uuid.uuid4().hex
    taken = tx.run(
        "UPDATE provider_breaker SET token = :token, probe_until = {now} + :seconds"
        " WHERE provider = :provider AND open_until > 0 AND open_until <= {now} AND probe_until <= {now}",
        {"provider": provider, "token": token, "seconds": seconds},
    )
    return token if taken else None


def drop_probe(tx: Transaction, provider: str, token: str) -> None:
    """The probe was not sent: another may be."""
    tx.run(
        "UPDATE provider_breaker SET token = NULL, probe_until = 0 WHERE provider = :provider AND token = :token",
        {"provider": provider, "token": token},
    )


def failed(tx: Transaction, provider: str, why: str, token: str | None = None) -> float | None:
    """No answer came, to the probe where a ``token`` is given.  Returns the seconds for which that has opened the
    circuit (0: it is half open now); ``None``: it has not."""
    tx.run(
        """
        INSERT INTO provider_breaker (provider, failures, failed_at, opened, open_until, probe_until, why)
        VALUES (:provider, 1, {now}, 0, 0, 0, :why)
        ON CONFLICT (provider) DO UPDATE SET failed_at = excluded.failed_at, why = excluded.why, failures =
            CASE WHEN provider_breaker.failed_at < excluded.failed_at - :run THEN 1
            ELSE provider_breaker.failures + 1 END
        """,
        {"provider": provider, "why": why, "run": RUN_SECONDS},
    )
    row = tx.first("SELECT opened FROM provider_breaker WHERE provider = :provider", {"provider": provider})
    assert row is not None
    seconds = min(LONGEST_OPEN_SECONDS, FIRST_OPEN_SECONDS * 2.0 ** min(row["opened"], 16))
    has_opened = tx.run(
        "UPDATE provider_breaker SET open_until = {now} + :seconds, opened = opened + 1, token = NULL, probe_until = 0"
        " WHERE provider = :provider AND token = :token",
        {"provider": provider, "seconds": seconds, "token": token},
    )
    if has_opened:
        return seconds
    is_suspect = tx.run(
        "UPDATE provider_breaker SET open_until = {now} WHERE provider = :provider AND open_until = 0"
        " AND failures >= :failures",
        {"provider": provider, "failures": FAILURES},
    )
    return 0.0 if is_suspect else None


def passed(tx: Transaction, provider: str, token: str | None = None) -> None:
    """An answer came: failures are counted anew, and the probe's answer closes the circuit; one that never was open,
    any answer."""
    tx.run(
        "DELETE FROM provider_breaker WHERE provider = :provider AND (opened = 0 OR token = :token)",
        {"provider": provider, "token": token},
    )
