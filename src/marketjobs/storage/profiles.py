"""What issuers are: one row an asset, written only where something differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from marketjobs.domain.profiles import Profile
from marketjobs.storage.database import Transaction
from marketjobs.storage.many import among, insert_many

_WORDS = ("sector", "industry", "country", "website", "summary", "employees")
_COLUMNS = ", ".join((*_WORDS, "figures", "provider_id"))
_TAKE = ", ".join(f"{name} = excluded.{name}" for name in (*_WORDS, "figures", "provider_id", "fetched_at"))


@dataclass(frozen=True, slots=True)
class ReadProfile:
    """A stored profile with who supplied it and when (epoch seconds); the profile's facts are the asset's."""

    profile: Profile
    provider: str
    fetched_at: float


def upsert_many(tx: Transaction, profiles: Sequence[tuple[int, Profile]], provider: int, fetched_at: float) -> set[int]:
    """Write what is new or differs, of assets that the transaction has locked; the assets whose row was written."""
    before = {
        row[0]: row[1:]
        for row in tx.tuples(
            f"SELECT asset_id, {_COLUMNS} FROM asset_profile WHERE asset_id IN {among(a for a, _ in profiles)}"
        )
    }
    rows = {
        asset: (asset, *values, fetched_at)
        for asset, profile in profiles
        if (values := _values(profile, provider)) != before.get(asset)
    }
    insert_many(
        tx,
        f"INSERT INTO asset_profile (asset_id, {_COLUMNS}, fetched_at)",
        list(rows.values()),
        f"ON CONFLICT (asset_id) DO UPDATE SET {_TAKE}",
    )
    return set(rows)


def _values(profile: Profile, provider: int) -> tuple[Any, ...]:
    figures = orjson.dumps(dict(profile.figures), option=orjson.OPT_SORT_KEYS).decode()
    return (*(getattr(profile, name) for name in _WORDS), figures, provider)


def get(tx: Transaction, asset: int) -> ReadProfile | None:
    row = tx.first(
        f"SELECT {', '.join(_WORDS)}, figures, p.name AS provider, fetched_at FROM asset_profile AS a"
        " JOIN provider AS p ON p.id = a.provider_id WHERE asset_id = :asset",
        {"asset": asset},
    )
    if row is None:
        return None
    words = {name: row[name] for name in _WORDS}
    return ReadProfile(Profile(figures=orjson.loads(row["figures"]), **words), row["provider"], row["fetched_at"])
