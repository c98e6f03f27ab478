"""The cache of latest prices beside both stores: what it says is what the database says."""

from __future__ import annotations

import random

import pytest

from marketjobs import read
from marketjobs.commands.quotes import quote_json
from marketjobs.domain.assets import AssetFacts
from marketjobs.domain.quotes import Quote
from marketjobs.services import cache_warming, quote_cache, universe
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets
from marketjobs.storage.quote_cache import QuoteCache
from processes import RedisServer
from quote_caches import NOW, SECONDS, cache, cached, price, put, server, warm, without_cache
from stores import on_both_stores

__all__ = ["cache", "on_both_stores", "server"]
pytestmark = pytest.mark.redis


def test_what_is_read_from_it_is_what_the_database_says(
    runtime: Runtime, server: RedisServer, cache: QuoteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(5)
    symbols = [f"S{number}" for number in range(60)]
    for number, symbol in enumerate(symbols):
        # Instants of any fraction, values that are missing, numbers as odd as doubles are.
        more = {name: rng.choice([None, rng.lognormvariate(0, 20)]) for name in Quote._fields[3:]}
        put(runtime, symbol, rng.lognormvariate(0, 9), NOW - rng.random() * 1e7, fetched_at=NOW + number / 7, **more)
    with runtime.database.write() as tx:
        assets.describe(tx, {"S3": AssetFacts(name="Drei & Söhne 株")}, "first")
    quote_cache.refresh(runtime, symbols)
    assert len(cache.read(symbols, SECONDS)) == 60
    plain = without_cache(runtime, monkeypatch)
    truth = read.quotes(symbols, runtime=plain)
    plain.close()
    assert truth["S3"].name == "Drei & Söhne 株"
    assert read.quotes(symbols, runtime=runtime) == truth
    put(runtime, "S1", 5.0, NOW + 1)
    assert price(runtime, "S1") == truth["S1"].price, "the cache was asked at all"
    shown = cached(server, "S3")
    assert shown is not None
    as_json = quote_json(truth["S3"])
    assert set(shown) == set(as_json)
    instants = ("at", "fetched_at")
    assert {key: shown[key] for key in shown if key not in instants} == {
        key: as_json[key] for key in as_json if key not in instants
    }


def test_warming_copies_active_assets_in_batches(
    runtime: Runtime, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = [f"S{number}" for number in range(7)]
    for number, symbol in enumerate(symbols):
        put(runtime, symbol, 1.0 + number)
    universe.add(runtime, ["NOPRICE"])
    universe.remove(runtime, ["S6"])
    monkeypatch.setattr(cache_warming, "CHUNK", 2)
    sizes: list[int] = []
    write = QuoteCache.write
    monkeypatch.setattr(
        QuoteCache, "write", lambda cache, found, seconds: (sizes.append(len(found)), write(cache, found, seconds))[1]
    )
    assert warm(runtime) == {"cached": 6, "newer_there": 0, "without_price": 0}
    assert sizes == [2, 2, 2]
    assert [bool(cached(server, symbol)) for symbol in symbols] == [True] * 6 + [False]
    shown = cached(server, "S5")
    assert shown is not None and shown["price"] == 6.0
