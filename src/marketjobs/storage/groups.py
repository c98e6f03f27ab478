"""Groups of assets: a name for some of them."""

from __future__ import annotations

from collections.abc import Iterable

from marketjobs.storage.assets import lock
from marketjobs.storage.database import Transaction


def group_id(tx: Transaction, name: str) -> int | None:
    row = tx.first("SELECT id FROM asset_group WHERE name = :name", {"name": name})
    return None if row is None else int(row["id"])


def ensure(tx: Transaction, name: str) -> int:
    """The id of a group, made where it is new."""
    tx.run(
        "INSERT INTO asset_group (name, created_at) VALUES (:name, {now}) ON CONFLICT (name) DO NOTHING",
        {"name": name},
    )
    found = group_id(tx, name)
    assert found is not None
    return found


def add(tx: Transaction, group: int, assets: Iterable[int]) -> int:
    """How many were not in it before."""
    members = list(assets)
    lock(tx, members)  # as their foreign keys would do one by one
    return tx.run_many(
        "INSERT INTO asset_group_member (group_id, asset_id) VALUES (?, ?) ON CONFLICT (group_id, asset_id) DO NOTHING",
        [(group, asset) for asset in members],
    )


def remove(tx: Transaction, group: int, assets: Iterable[int]) -> int:
    """How many were in it."""
    return tx.run_many(
        "DELETE FROM asset_group_member WHERE group_id = ? AND asset_id = ?", [(group, asset) for asset in assets]
    )


def drop(tx: Transaction, group: int) -> None:
    """Forget a group; its assets stay."""
    tx.run("DELETE FROM asset_group_member WHERE group_id = :group", {"group": group})
    tx.run("DELETE FROM asset_group WHERE id = :group", {"group": group})


def listed(tx: Transaction) -> list[tuple[str, int, int]]:
    """(name, assets, active ones), by name."""
    rows = tx.all(
        "SELECT g.name AS name, count(a.id) AS assets,"
        " coalesce(sum(CASE WHEN a.status = 'active' THEN 1 ELSE 0 END), 0) AS active"
        " FROM asset_group AS g LEFT JOIN asset_group_member AS m ON m.group_id = g.id"
        " LEFT JOIN asset AS a ON a.id = m.asset_id GROUP BY g.name ORDER BY g.name"
    )
    return [(row["name"], int(row["assets"]), int(row["active"])) for row in rows]


def by_asset(tx: Transaction) -> dict[int, list[str]]:
    """The groups of each asset that is in one, by name."""
    found: dict[int, list[str]] = {}
    rows = tx.tuples(
        "SELECT m.asset_id, g.name FROM asset_group_member AS m JOIN asset_group AS g ON g.id = m.group_id"
        " ORDER BY m.asset_id, g.name"
    )
    for asset, name in rows:
        found.setdefault(asset, []).append(name)
    return found


def of_asset(tx: Transaction, asset: int) -> list[str]:
    rows = tx.all(
        "SELECT g.name AS name FROM asset_group_member AS m JOIN asset_group AS g ON g.id = m.group_id"
        " WHERE m.asset_id = :asset ORDER BY g.name",
        {"asset": asset},
    )
    return [row["name"] for row in rows]
