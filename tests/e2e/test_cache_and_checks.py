"""`warm-cache`, `check-providers`, and what other commands say of a cache, by the installed command."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

import vendors_for_tests
from processes import OTHER_VENDORS, TESTS, Machine, RedisServer, free_port, machine_of
from vendors_for_tests import Counter

SECRET = "s3cret-word"


@pytest.fixture
def counter() -> Iterator[Counter]:
    with Counter() as made:
        made.known["first", "quotes"] = {"AAPL": {"price": 190.5, "at": time.time() - 90, "currency": "USD"}}
        yield made


@pytest.fixture
def machine(tmp_path: Path, counter: Counter) -> Iterator[Machine]:
    plugins = vendors_for_tests.installed(tmp_path / "plugins")
    found = vendors_for_tests.variables(counter) | {"PYTHONPATH": f"{TESTS}:{plugins}"}
    found |= {f"MARKETJOBS_PROVIDERS__{name}__ENABLED": "false" for name in OTHER_VENDORS}
    with machine_of(tmp_path / "machine", **found) as made:
        yield made


@pytest.mark.redis
def test_a_worker_keeps_prices_where_celery_would_keep_results(machine: Machine, redis_server: RedisServer) -> None:
    redis_server.start("--requirepass", SECRET)
    url = redis_server.url.replace("redis://", f"redis://:{SECRET}@").removesuffix("/0") + "/4"
    key, client = "marketjobs:quote:AAPL", Redis.from_url(url)
    machine.env["CELERY_RESULT_BACKEND"] = url
    machine.worker("-c", "1")
    machine.run("update-prices", "-s", "AAPL").ok()
    value = client.get(key)
    [shown] = machine.run("quote", "AAPL", "--json").ok().json["quotes"]
    assert json.loads(value)["price"] == shown["price"] == 190.5
    assert set(json.loads(value)) == set(shown)
    machine.write("UPDATE quote SET price = 1.0")
    assert machine.run("quote", "AAPL", "--json").ok().json["quotes"] == [shown], "the cache was read"
    client.flushdb()
    ran = machine.run("warm-cache").ok()
    assert "prices in the cache: 1" in ran.out
    assert json.loads(client.get(key))["price"] == 1.0
    settings = machine.run("config", "show", "--json").ok()
    [one] = [one for one in settings.json["settings"] if one["key"] == "cache.url"]
    assert one["origin"] == "CELERY_RESULT_BACKEND"
    doctor = machine.run("doctor", "--json")
    [line] = [one for one in doctor.json["checks"] if one["name"] == "cache"]
    assert (line["verdict"], line["found"].split()[0]) == ("ok", "Redis")
    redis_server.kill()
    assert machine.run("quote", "AAPL", "--json").ok().json["quotes"][0]["price"] == 1.0
    for text in (ran.out, settings.out, doctor.out, machine.said()):
        assert SECRET not in text


def test_no_cache_and_none_that_answers(machine: Machine) -> None:
    machine.run("warm-cache").refused(2, "[cache] url")
    away = {"MARKETJOBS_CACHE__URL": f"redis://127.0.0.1:{free_port()}/0"}
    machine.run("update-prices", "-s", "AAPL", **away).ok()
    ran = machine.run("warm-cache", "--json", MARKETJOBS_RETRY__MAX_ATTEMPTS="1", **away).ok(1)
    assert ran.json["error"]["cause"] == "cache_unavailable"
    machine.run("warm-cache", "-s", "NIX", **away).refused(4, "nothing is stored of NIX")


def test_providers_are_checked_in_a_job(machine: Machine) -> None:
    ran = machine.run("check-providers", "recorded", "first", "--json").ok()
    assert [(one["name"], one["found"]) for one in ran.json["result"]["providers"]] == [
        ("recorded", "needs no network"),
        ("first", "has no request that it could be tested by"),
    ]
    ran = machine.run("check-providers", "yahoo", "recorded").ok(1)
    assert "provider_unavailable" in ran.out
    assert "dead" in ran.err
    machine.run("check-providers", "nix").refused(2, "unknown provider")
