"""A runtime on each kind of store, for suites that must hold on both: `runtime = on_both_stores`; assets in
transactions of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from marketjobs import config
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets
from marketjobs.storage.assets import AssetRecord
from marketjobs.storage.database import Database


@pytest.fixture(params=["sqlite", "postgresql"], name="runtime")
def on_both_stores(request: pytest.FixtureRequest, home: Path, empty_store: Path) -> Iterator[Runtime]:
    """On an empty store of its own; closed at the end."""
    if request.param == "postgresql":
        os.environ["MARKETJOBS_DATABASE__URL"] = request.getfixturevalue("postgres_url")
    settings = config.load()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if request.param == "sqlite":
        shutil.copyfile(empty_store, settings.database_file)
    made = Runtime(settings, patience_seconds=5.0)
    yield made
    made.close()


def ensure_assets(database: Database, symbols: Iterable[str]) -> dict[str, int]:
    with database.write() as tx:
        return assets.ensure_in(tx, symbols)


def listed_assets(database: Database, *, active_only: bool = False) -> list[AssetRecord]:
    with database.read() as tx:
        return assets.listed_in(tx, active_only=active_only)


def asset_record(database: Database, symbol: str) -> AssetRecord | None:
    with database.read() as tx:
        return assets.get_in(tx, symbol)
