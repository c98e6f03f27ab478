"""A cache of latest prices on a Redis of our own, for the suites about it: `server`, and `cache`, which is empty and in
the settings of each test; prices in the database, and what any program reads from Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from marketjobs import config, read
from marketjobs.domain.jobs import JobState
from marketjobs.domain.quotes import Quote
from marketjobs.services import attempts, jobs
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets, bars, quotes
from marketjobs.storage.quote_cache import PREFIX, QuoteCache
from marketjobs.storage.quotes import ReadQuote
from processes import RedisServer, require_redis_server

SECONDS = 5.0
NOW = 1_763_000_000.123456


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    require_redis_server()
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(autouse=True)
def cache(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> QuoteCache:
    """Empty, and in the settings of the test."""
    monkeypatch.setenv("MARKETJOBS_CACHE__URL", server.url)
    server.ask("FLUSHALL")
    return QuoteCache(server.url, 3600)


def put(runtime: Runtime, symbol: str, price: float, at: float = NOW, *, fetched_at: float = NOW, **more: Any) -> None:
    """A price in the database alone, as another program without a cache would have stored it."""
    with runtime.database.write() as tx:
        asset = assets.ensure_in(tx, [symbol])[symbol]
        assets.lock(tx, [asset])
        quotes.upsert_many(tx, [(asset, Quote(price, at, "USD", **more))], bars.provider_id(tx, "first"), fetched_at)


def told(server: RedisServer, *command: Any) -> Any:
    """What Redis says to a command."""
    with Redis.from_url(server.url) as client:
        return client.execute_command(*command)


def cached(server: RedisServer, symbol: str) -> dict[str, Any] | None:
    """As any program reads it."""
    value = told(server, "GET", f"{PREFIX}{symbol}")
    return None if value is None else json.loads(value)


def price(runtime: Runtime, symbol: str) -> float:
    return read.quotes([symbol], runtime=runtime)[symbol].price


def version(price: float, at: float = NOW, fetched_at: float = NOW) -> ReadQuote:
    return ReadQuote("AAPL", Quote(price, at, "USD"), "first", fetched_at)


def without_cache(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setenv("MARKETJOBS_CACHE__URL", "")
    return Runtime(config.load())


def warm(runtime: Runtime, **arguments: Any) -> dict[str, Any]:
    job = attempts.execute(runtime, jobs.submit(runtime, "marketjobs.warm_cache", arguments).id)
    assert job is not None and job.state is JobState.SUCCEEDED, job
    assert job.result is not None
    return {key: value for key, value in job.result.items() if key != "seconds"}
