"""Redis absent, killed, emptied, frozen or lost in a black hole: the row is the truth, the message only a wake-up."""

from __future__ import annotations

import signal
import time

import pytest
from kombu import Consumer, Exchange, Producer, Queue

from blackhole import BlackHole
from faults.audit import audit
from faults.outage import (
    RESUME_SECONDS,
    all_is_done_once,
    begin_to_hand_in,
    hand_in,
    handed_in,
    in_time,
    no_command_hangs,
    resumes,
    stays_away,
)
from faults.report import Record
from faults.steps import FETCH, called
from marketjobs.tasks import amqp
from marketjobs.tasks.celery import REDIS_OPTIONS
from processes import SECRET, Machine, RedisServer, eventually, free_port, kill

pytestmark = pytest.mark.redis


@pytest.fixture
def on_redis(machine: Machine, redis_server: RedisServer) -> Machine:
    machine.env["MARKETJOBS_BROKER__URL"] = redis_server.url
    return machine


REDIS = pytest.mark.pairs("redis", few=("redis-postgresql",))
ON_FILES = pytest.mark.pairs("redis", few=("redis-sqlite",))


@ON_FILES
def test_absent_for_many_submits(pair: Machine, redis_server: RedisServer, full: bool, record: Record) -> None:
    """By a program, and by commands."""
    pair.test_worker(2)
    redis_server.kill()
    ids = hand_in(pair, 100)
    for number in range(10 if full else 2):
        ran = in_time(pair, "fetch-market-data", "-s", f"SYM{number}", "--no-wait", "--json").ok()
        ids.append(ran.json["job_id"])
    assert {row["published_at"] for row in pair.jobs()} == {None}
    with resumes(pair, record):
        redis_server.start()
    pair.all_final(ids)
    assert audit(pair, ids) == {"succeeded": len(ids)}
    record(jobs=len(ids))


@REDIS
def test_killed_without_persistence(pair: Machine, redis_server: RedisServer, full: bool, record: Record) -> None:
    worker = pair.test_worker(2)
    ids = hand_in(pair, 1000 if full else 200, 0.02)
    eventually(lambda: len(pair.effects()) >= 20, "some have run")
    redis_server.kill()
    ids += hand_in(pair, 10)
    stopped = no_command_hangs(pair)
    with resumes(pair, record):
        redis_server.start()
    all_is_done_once(pair, worker, ids, stopped)
    record(jobs=len(ids))


@ON_FILES
def test_emptied_with_500_queued(pair: Machine, redis_server: RedisServer, record: Record) -> None:
    ids = hand_in(pair, 500)
    worker = pair.test_worker(2)
    with resumes(pair, record):
        redis_server.ask("FLUSHALL")
    rows = pair.all_final(ids)
    assert audit(pair, ids) == {"succeeded": 500}
    assert {row["attempt"] for row in rows} == {1}
    assert len(pair.effects()) == 500
    assert worker.runs
    record(jobs=500)


@pytest.mark.whole
@REDIS
def test_five_restarts_in_a_row_under_load(
    pair: Machine, redis_server: RedisServer, full: bool, record: Record
) -> None:
    worker = pair.test_worker(2)
    submitter = begin_to_hand_in(pair, 1000 if full else 200, seconds=0.02, pause_seconds=0.05)
    eventually(lambda: len(pair.effects()) >= 5, "some have run")
    for _ in range(5):
        redis_server.kill()
        with resumes(pair, record):
            redis_server.start()
    ids = handed_in(pair, submitter)
    all_is_done_once(pair, worker, ids)
    record(jobs=len(ids), kills=5)


@pytest.mark.whole
@REDIS
def test_frozen_for_20_seconds(pair: Machine, redis_server: RedisServer, full: bool, record: Record) -> None:
    """Longer than the patience of a worker's sockets: it goes on by itself, and nobody starts it anew."""
    worker = pair.test_worker(2)
    main_process = pair.children(worker)["main"]
    ids = hand_in(pair, 1000 if full else 100, 0.02)
    eventually(lambda: len(pair.effects()) >= 10, "some have run")
    redis_server.freeze()
    frozen_at = time.monotonic()
    ids += hand_in(pair, 10)
    stopped = no_command_hangs(pair)
    stays_away(frozen_at, full)
    with resumes(pair, record):
        redis_server.thaw()
    all_is_done_once(pair, worker, ids, stopped)
    assert pair.children(worker)["main"] == main_process
    record(jobs=len(ids))


@pytest.mark.whole
@ON_FILES
def test_in_a_black_hole_for_20_seconds(
    pair: Machine, redis_server: RedisServer, black_hole: BlackHole, full: bool, record: Record
) -> None:
    """Connections that were open stay so, and nobody ever hears from them again."""
    pair.env["MARKETJOBS_BROKER__URL"] = f"redis://127.0.0.1:{black_hole.port}/0"
    worker = pair.test_worker(2)
    ids = hand_in(pair, 1000 if full else 100, 0.02)
    eventually(lambda: len(pair.effects()) >= 10, "some have run")
    black_hole.swallow()
    swallowed_at = time.monotonic()
    assert black_hole.half_open
    ids += hand_in(pair, 10)
    stopped = no_command_hangs(pair)
    stays_away(swallowed_at, full)
    with resumes(pair, record, seconds=60):
        black_hole.restore()
    all_is_done_once(pair, worker, ids, stopped)
    record(jobs=len(ids))


def test_a_worker_waits_for_its_broker(on_redis: Machine, redis_server: RedisServer) -> None:
    ids = hand_in(on_redis, 3)
    worker = on_redis.start("worker", "-c", "1")
    worker.says("Cannot connect")
    redis_server.start()
    eventually(lambda: on_redis.rows("SELECT 1 FROM worker WHERE kind = 'worker'"), "a worker")
    job_id = on_redis.run("fetch-market-data", "-s", "AAPL", "--json").ok().json["job_id"]
    for one in ids:  # nobody has their code here
        on_redis.run("cancel", one).ok()
    assert audit(on_redis, [job_id, *ids])["succeeded"] == 1


def test_a_worker_that_was_speaking_when_its_broker_went_away_notices(
    on_redis: Machine, redis_server: RedisServer
) -> None:
    """It has a question to answer and its heartbeat to send, and neither is worth waiting for."""
    redis_server.start()
    worker = on_redis.worker("-c", "1")
    [main_process] = on_redis.children(worker)["main"]
    kill(main_process, signal.SIGSTOP)
    on_redis.run_python("from marketjobs.tasks.celery import app; app.control.broadcast('ping')").ok()
    redis_server.kill()
    kill(main_process, signal.SIGCONT)
    worker.says("Cannot connect")
    redis_server.start()
    job_id = on_redis.run(*FETCH, "--json").ok().json["job_id"]
    assert audit(on_redis, [job_id]) == {"succeeded": 1}


@pytest.mark.timeout(60)
def test_redis_came_back_before_a_worker_looked_and_has_nothing_to_say(redis_server: RedisServer) -> None:
    """The worker stood still in that read, its job done, no message taken and no lost connection noticed."""
    redis_server.start()
    everybody, heard = Exchange("everybody", type="fanout", durable=False), []
    connection, other = (
        amqp.JobConnection(redis_server.url, transport=amqp.REDIS, transport_options=dict(REDIS_OPTIONS))
        for _ in range(2)
    )
    channel, poller = connection.channel(), connection.transport.cycle
    with (
        connection,
        other,
        Consumer(channel, [Queue("one", everybody)], callbacks=[lambda body, _: heard.append(body)]),
    ):
        poller.on_poll_start()
        channel._receive()
        redis_server.kill()
        redis_server.start()
        channel._receive()
        poller.on_poll_start()
        channel._receive()
        Producer(other).publish("hello", exchange=everybody, declare=[everybody])
        eventually(lambda: channel._receive() or heard, "it is told again what is said to everybody", 10)
    assert heard == ["hello"]


def test_a_broker_that_is_away_for_hours_is_looked_for_each_few_seconds() -> None:
    waits: list[float] = []

    def enough(_error: Exception, seconds: float) -> None:
        waits.append(seconds)
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        amqp.JobConnection(f"redis://127.0.0.1:{free_port()}/0").ensure_connection(enough, interval_start=3600)
    assert waits == [amqp.MOST_SECONDS_BETWEEN_TRIES]
    assert amqp.MOST_SECONDS_BETWEEN_TRIES < RESUME_SECONDS


def test_a_program_whose_broker_is_away_holds_no_file_more(on_redis: Machine) -> None:
    """Nor does it wait for the garbage collector to close them."""
    before, after = on_redis.python(
        """
        import gc, json, os
        from jobs_for_tests import count
        count.delay(0)
        gc.disable()
        held = [len(os.listdir("/proc/self/fd"))]
        for number in range(10):
            count.delay(number)
        print(json.dumps([*held, len(os.listdir("/proc/self/fd"))]))
        """
    )
    assert after <= before + 1
    on_redis.run("cancel", "--state", "queued").ok()
    assert audit(on_redis, [row["id"] for row in on_redis.jobs()]) == {"cancelled": 11}


def test_a_retry_comes_by_itself_while_others_are_silent(on_redis: Machine, redis_server: RedisServer) -> None:
    """Jobs whose messages are lost must not keep the reaper from waking those that are due."""
    redis_server.start()
    ids = hand_in(on_redis, 3)
    redis_server.ask("FLUSHALL")
    on_redis.test_worker(1)
    [job_id] = called(on_redis, "again", 2, 0.1)
    on_redis.all_final([*ids, job_id], seconds=30)
    assert audit(on_redis, [*ids, job_id]) == {"succeeded": 4}


def test_a_wrong_password_of_redis_is_told_in_a_line(on_redis: Machine, redis_server: RedisServer) -> None:
    redis_server.start("--requirepass", "right")
    on_redis.env["MARKETJOBS_BROKER__URL"] = f"redis://:{SECRET}@127.0.0.1:{redis_server.port}/0"
    ran = on_redis.run("worker").refused(6, "refused user and password")
    assert SECRET not in ran.out + ran.err
    assert audit(on_redis, []) == {}
