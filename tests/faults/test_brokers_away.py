"""The broker is absent, killed or emptied: the row is the truth, the message only a wake-up."""

from __future__ import annotations

import time

import pytest

from faults.audit import audit
from marketjobs.tasks.celery import REDIS_OPTIONS
from processes import LONG, SECRET, Machine, RedisServer, eventually

pytestmark = pytest.mark.redis

HAND_IN = """
import json, sys, time
from jobs_for_tests import app, count
app.AsyncResult("x").exists()  # the store is made and open: what follows is a submit's own time
ids, spent = [], []
for number in range(int(sys.argv[1])):
    began = time.monotonic()
    ids.append(count.delay(number, float(sys.argv[2])).id)
    spent.append(time.monotonic() - began)
print(json.dumps([ids, max(spent)]))
"""


@pytest.fixture
def on_redis(machine: Machine, redis_server: RedisServer) -> Machine:
    machine.env["MARKETJOBS_BROKER__URL"] = redis_server.url
    return machine


def test_absent_at_submit(on_redis: Machine, redis_server: RedisServer) -> None:
    ids, slowest = on_redis.python(HAND_IN, "20", "0")
    assert slowest < 1.0
    assert {row["state"] for row in on_redis.jobs()} == {"queued"}
    redis_server.start()
    on_redis.test_worker(2)
    on_redis.all_final(ids)
    assert audit(on_redis, ids) == {"succeeded": 20}


def test_a_worker_waits_for_its_broker(on_redis: Machine, redis_server: RedisServer) -> None:
    ids, _ = on_redis.python(HAND_IN, "3", "0")
    worker = on_redis.start("worker", "-c", "1")
    worker.says("Cannot connect")
    redis_server.start()
    eventually(lambda: on_redis.rows("SELECT 1 FROM worker WHERE kind = 'worker'"), "a worker")
    job_id = on_redis.run("fetch-market-data", "-s", "AAPL", "--json").ok().json["job_id"]
    for one in ids:  # nobody has their code here
        on_redis.run("cancel", one).ok()
    assert audit(on_redis, [job_id, *ids])["succeeded"] == 1


@pytest.mark.slow
def test_killed_and_started_again_with_jobs_queued(on_redis: Machine, redis_server: RedisServer) -> None:
    redis_server.start()
    worker = on_redis.test_worker(2)
    ids, _ = on_redis.python(HAND_IN, "40", "0.1")
    eventually(lambda: len(on_redis.effects()) >= 5, "some have run")
    redis_server.kill()
    more, slowest = on_redis.python(HAND_IN, "10", "0.01")
    assert slowest < 1.0
    redis_server.start()
    on_redis.all_final([*ids, *more], seconds=LONG)
    assert audit(on_redis, [*ids, *more]) == {"succeeded": 50}
    assert worker.runs


@pytest.mark.slow
def test_emptied_with_jobs_queued(on_redis: Machine, redis_server: RedisServer) -> None:
    redis_server.start()
    on_redis.test_worker(2)
    ids, _ = on_redis.python(HAND_IN, "50", "0.1")
    redis_server.ask("FLUSHALL")
    began = time.monotonic()
    rows = on_redis.all_final(ids, seconds=LONG)
    assert audit(on_redis, ids) == {"succeeded": 50}
    assert {row["attempt"] for row in rows} == {1}
    assert len(on_redis.effects()) == 50
    assert time.monotonic() - began < 40


def test_a_retry_comes_by_itself_while_others_are_silent(on_redis: Machine, redis_server: RedisServer) -> None:
    """Jobs whose messages are lost must not keep the reaper from waking those that are due."""
    redis_server.start()
    ids, _ = on_redis.python(HAND_IN, "3", "0")
    redis_server.ask("FLUSHALL")
    on_redis.test_worker(1)
    job_id = on_redis.python("import json; from jobs_for_tests import again; print(json.dumps(again.delay(2, 0.1).id))")
    on_redis.all_final([*ids, job_id], seconds=30)
    assert audit(on_redis, [*ids, job_id]) == {"succeeded": 4}


def test_a_broker_that_freezes_holds_no_submit(on_redis: Machine, redis_server: RedisServer) -> None:
    redis_server.start()
    redis_server.freeze()
    try:
        ids, slowest = on_redis.python(HAND_IN, "2", "0")
        assert slowest < 1.0
    finally:
        redis_server.thaw()
    on_redis.test_worker(1)
    on_redis.all_final(ids)
    assert audit(on_redis, ids) == {"succeeded": 2}


@pytest.mark.slow
def test_a_worker_outlives_a_freeze(on_redis: Machine, redis_server: RedisServer) -> None:
    """Longer than its sockets' patience: it goes on by itself, and nobody starts it anew."""
    redis_server.start()
    worker = on_redis.test_worker(2)
    main_process = on_redis.children(worker)["main"]
    ids, _ = on_redis.python(HAND_IN, "4", "0.1")
    on_redis.all_final(ids)
    redis_server.freeze()
    more, _ = on_redis.python(HAND_IN, "4", "0.1")
    time.sleep(REDIS_OPTIONS["socket_timeout"] * 1.5)
    redis_server.thaw()
    on_redis.all_final([*ids, *more], seconds=30)
    assert audit(on_redis, [*ids, *more]) == {"succeeded": 8}
    assert on_redis.children(worker)["main"] == main_process


def test_a_wrong_password_of_redis_is_told_in_a_line(on_redis: Machine, redis_server: RedisServer) -> None:
    redis_server.start("--requirepass", "right")
    on_redis.env["MARKETJOBS_BROKER__URL"] = f"redis://:{SECRET}@127.0.0.1:{redis_server.port}/0"
    ran = on_redis.run("worker").refused(6, "refused user and password")
    assert SECRET not in ran.out + ran.err
