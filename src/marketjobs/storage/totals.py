"""How much there is, for those who only look."""

from __future__ import annotations

from marketjobs.storage.database import Transaction


def assets(tx: Transaction) -> dict[str, int]:
    """How many assets there are, active and in all."""
    row = tx.first(
        "SELECT (SELECT count(*) FROM asset WHERE status = 'active') AS active, (SELECT count(*) FROM asset) AS assets"
    )
    assert row is not None
    return {"active": row["active"], "assets": row["assets"]}
