"""Leases: of all processes that could act, one does for a while."""

from __future__ import annotations

from marketjobs.storage.database import Transaction


def is_free(tx: Transaction, name: str, owner: str, seconds: float) -> bool:
    """Would :func:`take` succeed?  Reads only."""
    row = tx.first(
        "SELECT 1 FROM lease WHERE name = :name AND owner <> :owner AND until BETWEEN {now} AND {now} + 2 * :seconds",
        {"name": name, "owner": owner, "seconds": seconds},
    )
    return row is None


def take(tx: Transaction, name: str, owner: str, seconds: float) -> bool:
    """Be the one who acts, for a while: ``True`` for whoever holds the lease now.

    One that ends further ahead than anybody can have taken it is of a clock that was set back since.
    """
    return bool(
        tx.run(
            """
            INSERT INTO lease (name, owner, until) VALUES (:name, :owner, {now} + :seconds)
            ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
            WHERE lease.owner = excluded.owner OR lease.until < {now} OR lease.until > {now} + 2 * :seconds
            """,
            {"name": name, "owner": owner, "seconds": seconds},
        )
    )


def drop(tx: Transaction, name: str, owner: str) -> None:
    tx.run("DELETE FROM lease WHERE name = :name AND owner = :owner", {"name": name, "owner": owner})
