"""The cache of latest prices on a real Redis: it never says what is over, and never stands in anybody's way."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marketjobs import config, read
from marketjobs.domain.jobs import JobState
from marketjobs.errors import AssetNotFound, AssetRenamed, CacheUnavailable, ConfigError
from marketjobs.services import attempts, cache_warming, doctor, jobs, quote_cache, universe
from marketjobs.services.asset_import import import_assets
from marketjobs.services.context import JobContext
from marketjobs.services.runtime import Runtime
from marketjobs.storage.quote_cache import PREFIX, QuoteCache
from marketjobs.storage.quotes import ReadQuote
from processes import RedisServer, free_port
from quote_caches import NOW, SECONDS, cache, cached, price, put, server, told, version, warm, without_cache

__all__ = ["cache", "server"]
pytestmark = pytest.mark.redis


# -- what it says ---------------------------------------------------------------------------------------------


def test_the_rest_comes_from_the_database(runtime: Runtime) -> None:
    put(runtime, "AAPL", 1.0)
    put(runtime, "IBM", 2.0)
    quote_cache.refresh(runtime, ["AAPL"])
    put(runtime, "AAPL", 9.0, NOW + 1)
    found = read.quotes(["ibm", "AAPL"], runtime=runtime)
    assert [(one.symbol, one.price) for one in found.values()] == [("IBM", 2.0), ("AAPL", 1.0)]
    with pytest.raises(AssetNotFound, match="AAPLE"):
        read.quotes(["AAPL", "AAPLE"], runtime=runtime)


def test_a_price_is_forgotten_in_time(runtime: Runtime, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETJOBS_CACHE__TTL_SECONDS", "77")
    short = Runtime(config.load())
    put(short, "AAPL", 1.0)
    quote_cache.refresh(short, ["AAPL"])
    left = told(server, "TTL", f"{PREFIX}AAPL")
    assert 70 < left <= 77
    short.close()


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (version(1.0, NOW), version(2.0, NOW + 0.000001)),
        (version(1.0, NOW - 0.123456), version(2.0, NOW)),  # whole seconds beside fractions
        (version(1.0, NOW, 10.0), version(2.0, NOW, 10.5)),
        (version(1.0, NOW, 99.0), version(2.0, NOW + 1, 10.0)),
        (version(1.0), version(2.0)),  # the same instants: who comes later
    ],
)
def test_an_older_price_never_replaces_a_newer_one(
    server: RedisServer, cache: QuoteCache, older: ReadQuote, newer: ReadQuote
) -> None:
    assert cache.write([older], SECONDS) == 1
    assert cache.write([newer], SECONDS) == 1
    is_same = (older.quote.at, older.fetched_at) == (newer.quote.at, newer.fetched_at)
    assert cache.write([older], SECONDS) == is_same
    shown = cached(server, "AAPL")
    assert shown is not None and shown["price"] == (1.0 if is_same else 2.0)


def test_of_workers_that_race_the_newest_price_stays(server: RedisServer, cache: QuoteCache) -> None:
    versions = [version(float(number), NOW + number, NOW - number) for number in range(80)]

    def race(seed: int) -> None:
        for one in random.Random(seed).sample(versions, len(versions)):
            cache.write([one], SECONDS)

    threads = [threading.Thread(target=race, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = cached(server, "AAPL")
    assert shown is not None and shown["price"] == 79.0


@pytest.mark.parametrize(
    "command",
    [
        ["SET", "", "nonsense"],
        ["SET", "", "[1, 2]"],
        ["SET", "", '{"symbol": "AAPL"}'],
        ["SET", "", '{"symbol": "IBM", "price": 1.0}'],
        ["SET", "", '{"symbol": "AAPL", "price": 1.0, "at": 5, "fetched_at": null}'],
        ["SET", "", b"\xff\xfe"],
        ["SET", "", "[" * 5000],
        ["LPUSH", "", "1"],
    ],
)
def test_what_is_none_of_ours_is_neither_read_nor_kept(
    runtime: Runtime, server: RedisServer, command: list[Any]
) -> None:
    put(runtime, "AAPL", 7.0)
    told(server, command[0], f"{PREFIX}AAPL", *command[2:])
    assert price(runtime, "AAPL") == 7.0
    quote_cache.refresh(runtime, ["AAPL"])
    shown = cached(server, "AAPL")
    assert shown is not None and shown["price"] == 7.0


# -- assets that change ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("purge", [False, True])
def test_a_removed_asset_takes_its_key_away(runtime: Runtime, server: RedisServer, purge: bool) -> None:
    put(runtime, "AAPL", 1.0)
    quote_cache.refresh(runtime, ["AAPL"])
    assert cached(server, "AAPL")
    universe.remove(runtime, ["AAPL"], purge=purge)
    assert cached(server, "AAPL") is None
    if purge:
        with pytest.raises(AssetNotFound):
            read.quotes(["AAPL"], runtime=runtime)


def test_a_renamed_asset_takes_its_old_key_away(runtime: Runtime, server: RedisServer) -> None:
    put(runtime, "FB", 1.0)
    quote_cache.refresh(runtime, ["FB"])
    universe.rename(runtime, "FB", "META")
    assert cached(server, "FB") is None
    with pytest.raises(AssetRenamed):
        read.quotes(["FB"], runtime=runtime)
    assert price(runtime, "META") == 1.0


def test_an_asset_that_goes_while_it_is_written_leaves_no_ghost(
    runtime: Runtime, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(runtime, "FB", 1.0)
    put(runtime, "IBM", 2.0)
    write = QuoteCache.write

    def late(cache: QuoteCache, found: list[ReadQuote], seconds: float) -> int:
        universe.rename(runtime, "FB", "META")
        return write(cache, found, seconds)

    monkeypatch.setattr(QuoteCache, "write", late)
    quote_cache.refresh(runtime, ["FB", "IBM"])
    assert cached(server, "FB") is None
    assert cached(server, "IBM")


def test_a_name_that_is_imported_is_told(runtime: Runtime, tmp_path: Path) -> None:
    put(runtime, "AAPL", 1.0)
    quote_cache.refresh(runtime, ["AAPL"])
    (tmp_path / "a.csv").write_text("symbol,name\nAAPL,Apple Inc.\n")
    import_assets(runtime, tmp_path / "a.csv")
    assert read.quotes(["AAPL"], runtime=runtime)["AAPL"].name == "Apple Inc."


# -- away, slow, full -----------------------------------------------------------------------------------------


@pytest.fixture(params=["away", "frozen", "full", "locked", "nobody we know"])
def trouble(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, RedisServer]]:
    own = RedisServer(tmp_path / "own")
    options = {"full": ["--maxmemory", "1"], "locked": ["--requirepass", "s3cret-word"]}
    monkeypatch.setenv("MARKETJOBS_CACHE__URL", own.url)
    if request.param == "nobody we know":
        monkeypatch.setenv("MARKETJOBS_CACHE__URL", f"redis://cache.invalid:{free_port()}/0")
    if request.param != "away":
        own.start(*options.get(request.param, []))
    if request.param == "frozen":
        own.freeze()
    yield request.param, own
    own.kill()


def test_trouble_with_it_costs_a_second_once_and_a_line(
    trouble: tuple[str, RedisServer], runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    put(runtime, "AAPL", 1.0)
    began = time.monotonic()
    quote_cache.refresh(runtime, ["AAPL"])
    assert time.monotonic() - began < 2.0
    assert [one.message.split()[:2] for one in caplog.records] == [["cache.away", "cause=cache_unavailable"]]
    began = time.monotonic()
    quote_cache.refresh(runtime, ["AAPL"])
    assert price(runtime, "AAPL") == 1.0
    universe.remove(runtime, ["AAPL"])
    assert time.monotonic() - began < 0.4, "it is left alone"
    assert len(caplog.records) == 1
    runtime.quote_cache.rests_until = 0.0
    assert price(runtime, "AAPL") == 1.0


def test_it_is_asked_again_after_a_while(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = RedisServer(tmp_path / "own")
    monkeypatch.setenv("MARKETJOBS_CACHE__URL", own.url)
    monkeypatch.setattr(quote_cache, "REST_SECONDS", 0.2)
    tried = Runtime(config.load())
    put(tried, "AAPL", 1.0)
    quote_cache.refresh(tried, ["AAPL"])
    own.start()
    quote_cache.refresh(tried, ["AAPL"])
    assert cached(own, "AAPL") is None
    time.sleep(0.25)
    quote_cache.refresh(tried, ["AAPL"])
    assert cached(own, "AAPL")
    tried.close()
    own.kill()


def test_doctor_tells_of_a_cache(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = doctor._cache(runtime)
    assert (line.name, line.verdict, line.found.split()[0]) == ("cache", "ok", "Redis")
    runtime.quote_cache = QuoteCache(f"redis://127.0.0.1:{free_port()}/0", 60)
    [line] = doctor._cache(runtime)
    assert line.verdict == "warning"
    assert "prices are read from the database" in line.found
    assert line.fix is not None and "[cache] url" in line.fix
    plain = without_cache(runtime, monkeypatch)
    assert list(doctor._cache(plain)) == []


def test_a_password_and_a_database_number(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = RedisServer(tmp_path / "own")
    socket = tmp_path / "s"
    own.start("--requirepass", "a/b#c", "--unixsocket", str(socket))
    put(runtime, "AAPL", 1.0)
    urls = [f"redis://:a%2Fb%23c@127.0.0.1:{own.port}/3", f"redis://default:a%2Fb%23c@127.0.0.1:{own.port}/3"]
    for url in urls:
        QuoteCache(url, 60).forget(["AAPL"], SECONDS)
        monkeypatch.setenv("MARKETJOBS_CACHE__URL", url)
        one = Runtime(config.load())
        quote_cache.refresh(one, ["AAPL"])
        one.close()
        assert QuoteCache(url, 60).read(["AAPL"], SECONDS)[0].quote.price == 1.0
        assert QuoteCache(url.replace("/3", "/2"), 60).read(["AAPL"], SECONDS) == []
    with pytest.raises(CacheUnavailable, match="refuses: Authentication required"):
        QuoteCache(f"redis+socket://{socket}?virtual_host=/3", 60).read(["AAPL"], SECONDS)
    with pytest.raises(CacheUnavailable, match="refuses") as caught:
        QuoteCache(f"redis://:wr0ng-word@127.0.0.1:{own.port}/3", 60).read(["AAPL"], SECONDS)
    assert "wr0ng-word" not in str(caught.value)
    own.kill()


# -- warming --------------------------------------------------------------------------------------------------


def test_warming_of_named_assets_and_of_groups(runtime: Runtime, server: RedisServer, cache: QuoteCache) -> None:
    for symbol in ("AAPL", "IBM", "MSFT"):
        put(runtime, symbol, 1.0)
    universe.add(runtime, ["NOPRICE"])
    universe.add_to_group(runtime, "tech", ["IBM", "NOPRICE"])
    cache.write([version(5.0, NOW + 5)], SECONDS)
    assert warm(runtime, symbols=["aapl"], group="tech") == {"cached": 1, "newer_there": 1, "without_price": 1}
    assert cached(server, "IBM") and not cached(server, "MSFT")
    assert price(runtime, "AAPL") == 5.0
    with pytest.raises(AssetNotFound, match="did you mean AAPL"):
        jobs.submit(runtime, "marketjobs.warm_cache", {"symbols": ["AAPLE"]})


def test_equal_warmings_join(runtime: Runtime) -> None:
    put(runtime, "AAPL", 1.0)
    put(runtime, "IBM", 1.0)
    first = jobs.submit(runtime, "marketjobs.warm_cache", {"symbols": ["AAPL", "IBM"]})
    assert jobs.submit(runtime, "marketjobs.warm_cache", {"symbols": ["IBM", "AAPL"]}).id == first.id
    assert jobs.submit(runtime, "marketjobs.warm_cache", {}).id != first.id


def test_without_a_cache_there_is_nothing_to_warm(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = without_cache(runtime, monkeypatch)
    with pytest.raises(ConfigError, match=r"\[cache\] url"):
        jobs.submit(plain, "marketjobs.warm_cache", {})
    with pytest.raises(ConfigError):
        cache_warming.run(JobContext(plain), {"symbols": None, "group": None})
    plain.close()


def test_warming_a_cache_that_is_away_is_tried_again(runtime: Runtime, tmp_path: Path) -> None:
    put(runtime, "AAPL", 1.0)
    runtime.quote_cache = QuoteCache(f"redis://127.0.0.1:{free_port()}/0", 60)
    job = attempts.execute(runtime, jobs.submit(runtime, "marketjobs.warm_cache", {}).id)
    assert job is not None
    assert (job.state, job.error_cause) == (JobState.WAITING, "cache_unavailable")
