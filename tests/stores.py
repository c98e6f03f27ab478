"""A runtime on each kind of store, for suites that must hold on both: `runtime = on_both_stores`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketjobs import config
from marketjobs.services.runtime import Runtime


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
