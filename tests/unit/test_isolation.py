"""The fixtures that all tests stand on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from marketjobs import config

Require = Callable[[str], str]


def test_no_setting_comes_from_outside(home: Path) -> None:
    assert [name for name in os.environ if name.startswith("CELERY_")] == []
    assert Path(os.environ["MARKETJOBS_HOME"]) == home
    assert config.find_file() is None
    loaded = config.load()
    assert {one.origin for one in config.entries(loaded)} == {"default"}


def test_a_server_that_is_not_there_skips(require: Require, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARKETJOBS_TEST_REQUIRE", raising=False)
    monkeypatch.setenv("MARKETJOBS_TEST_REDIS_URL", "redis://127.0.0.1:1/0")
    with pytest.raises(pytest.skip.Exception, match="no redis answers"):
        require("redis")


def test_a_server_that_must_be_there_fails(require: Require, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETJOBS_TEST_REQUIRE", "postgresql, redis")
    monkeypatch.setenv("MARKETJOBS_TEST_REDIS_URL", "redis://127.0.0.1:1/0")
    with pytest.raises(pytest.fail.Exception, match="MARKETJOBS_TEST_REQUIRE names it"):
        require("redis")
