"""Years of minutes: asked for and stored in parts, so that neither memory nor what a crash costs grows with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coin_vendor import CoinVendor
from marketjobs import config
from marketjobs.config import Settings
from marketjobs.domain.intervals import Interval
from marketjobs.domain.reports import SymbolOutcome, SymbolStatus
from marketjobs.providers import binance
from marketjobs.services import bars as use_case
from marketjobs.services.bar_request import FetchRequest
from marketjobs.services.context import JobContext
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets, bars

MINUTE, DAY = 60, 86_400
START, END = 1_767_225_600, 1_767_225_600 + 6 * DAY
"""2026-01-01 to 2026-01-06: 8640 minutes."""


@pytest.fixture
def vendor() -> Iterator[CoinVendor]:
    with CoinVendor() as vendor:
        yield vendor


@pytest.fixture
def settings(vendor: CoinVendor, home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MARKETJOBS_PROVIDERS__BINANCE__BASE_URL", vendor.url)
    monkeypatch.setenv("MARKETJOBS_PROVIDERS__BINANCE__MAX_CONNECTIONS", "1")
    monkeypatch.setattr(binance, "PAGES_AN_ANSWER", 2)  # 3000 bars
    return config.load()


def fetched(runtime: Runtime, **more: Any) -> SymbolOutcome:
    asked = {
        "symbols": ["BTC-USD"],
        "interval": "1m",
        "start": "2026-01-01",
        "end": "2026-01-06",
        "provider": "binance",
    }
    return use_case.fetch(JobContext(runtime), FetchRequest.of(asked | more)).outcomes[0]


def stored(runtime: Runtime) -> list[tuple[int, float]]:
    with runtime.database.read() as tx:
        asset = assets.ids(tx, ["BTC-USD"])["BTC-USD"]
        return [(bar.ts, bar.close) for bar in bars.stored_bars(tx, asset, Interval.MINUTE_1, 0, END + DAY)]


def truth(vendor: CoinVendor) -> list[tuple[int, float]]:
    return [(one.stamp, one[4]) for one in vendor.bars("BTCUSDT", "1m", START, END - 1)]


def test_all_parts_are_stored_and_told_as_one(runtime: Runtime, vendor: CoinVendor) -> None:
    said = fetched(runtime)
    assert (said.status, said.rows_new, said.rows_changed) == (SymbolStatus.STORED, 8640, 0), said
    assert (said.first, said.last) == ("2026-01-01T00:00:00Z", "2026-01-06T23:59:00Z")
    assert stored(runtime) == truth(vendor)
    assert len(vendor.requests) <= 9 + 3, "what is asked for once more is where the parts meet"
    vendor.requests.clear()
    again = fetched(runtime, force=True)
    assert (again.status, again.rows_new, again.rows_changed) == (SymbolStatus.UP_TO_DATE, 0, 0)
    assert again.rows_unchanged >= 8640
    assert len(vendor.requests) <= 9 + 3


def test_what_came_before_a_failure_is_kept_and_only_the_rest_is_asked_for(
    runtime: Runtime, vendor: CoinVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = binance.Binance._page
    begun = []

    async def failing(self: binance.Binance, *given: Any) -> Any:
        begun.append(given)
        if len(begun) == 5:
            vendor.fault("status", code=503)
        return await page(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(binance.Binance, "_page", failing)
        said = fetched(runtime)
    assert said.error is not None and said.error.cause == "provider_unavailable"
    first_part = stored(runtime)
    assert first_part == truth(vendor)[: len(first_part)]
    assert 2000 <= len(first_part) <= 3000
    vendor.clear()
    said = fetched(runtime)
    assert said.rows_new == 8640 - len(first_part)
    assert stored(runtime) == truth(vendor)
    assert len(vendor.requests) <= 6 + 2
