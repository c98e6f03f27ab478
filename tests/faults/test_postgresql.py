"""PostgreSQL absent, unmigrated, newer, crowded, refusing, frozen, or stopped wherever a job stands."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from faults.audit import audit
from faults.outage import QUESTIONS, at_once, hand_in, resumes, stays_away
from faults.report import Record
from faults.steps import FETCH, begin_fetch
from postgres import CONNECTIONS, PostgresServer
from processes import LONG, SECRET, Machine, RedisServer, Running, eventually, kill

pytestmark = pytest.mark.postgresql


@pytest.fixture
def on_postgres(machine: Machine, postgres_server: PostgresServer) -> Machine:
    machine.env["MARKETJOBS_DATABASE__URL"] = postgres_server.new_database()
    machine.run("db", "upgrade").ok()
    return machine


@pytest.fixture(params=["embedded", pytest.param("redis", marks=pytest.mark.redis)])
def on_either(request: pytest.FixtureRequest, on_postgres: Machine, full: bool) -> Machine:
    """With a broker that stays, or none."""
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis_server")
        redis.start()
        on_postgres.env["MARKETJOBS_BROKER__URL"] = redis.url
    elif not full:
        pytest.skip("with --all-faults")
    return on_postgres


PERSISTENT = """
import json, sys, time
from jobs_for_tests import count
from marketjobs.errors import StorageError
ids, refused, number, give_up_at = [], 0, 0, time.monotonic() + 100
while len(ids) < int(sys.argv[1]) and time.monotonic() < give_up_at:
    number += 1
    try:
        ids.append(count.delay(number, 0.02).id)
    except StorageError:
        refused += 1
        time.sleep(0.2)
    time.sleep(0.02)
print(json.dumps([ids, refused]))
"""
"""Hands in until so many jobs were accepted, whatever is refused meanwhile."""


def begin_to_insist(machine: Machine, number: int) -> Running:
    return machine.start_python(PERSISTENT, str(number))


def insisted(submitter: Running) -> list[str]:
    ids, refused = submitter.wait(3 * LONG).ok().json
    assert refused, "the store was away for nobody"
    return list(ids)


def nothing_is_lost(machine: Machine, ids: list[str]) -> None:
    """Whatever was accepted has ended.  Of a submit that was refused when its commit hung nobody can say whether it
    counts: such a job ends like any other."""
    machine.all_final(ids, seconds=2 * LONG)
    known = eventually(lambda: [row["id"] for row in machine.jobs()], "jobs")
    machine.all_final(known, seconds=2 * LONG)
    assert set(ids) <= set(known)
    assert audit(machine, known) == {"succeeded": len(known)}


def test_stopped_at_submit(on_postgres: Machine, postgres_server: PostgresServer) -> None:
    """What is refused is not accepted, and what is accepted stays."""
    before = hand_in(on_postgres, 3)
    postgres_server.stop()
    on_postgres.run(*FETCH, "--no-wait").refused(6, "does not answer")
    assert on_postgres.run(*FETCH, "--no-wait", "--json").json["error"]["cause"] == "storage_unavailable"
    postgres_server.start()
    assert {row["id"] for row in on_postgres.jobs()} == set(before)
    on_postgres.test_worker(1)
    on_postgres.all_final(before)
    assert audit(on_postgres, before) == {"succeeded": 3}


@pytest.mark.whole
def test_stopped_at_claim(on_postgres: Machine, postgres_server: PostgresServer, record: Record) -> None:
    """A worker that has a message in hand can't claim its job."""
    worker = on_postgres.test_worker(1)
    [first] = hand_in(on_postgres, 1)
    on_postgres.in_state(first, "succeeded")
    [child] = on_postgres.children(worker)["pool"]
    kill(child, signal.SIGSTOP)
    ids = hand_in(on_postgres, 3)
    postgres_server.stop()
    kill(child, signal.SIGCONT)
    worker.says("job.unclaimed")
    with resumes(on_postgres, record):
        postgres_server.start()
    on_postgres.all_final(ids)
    assert audit(on_postgres, [first, *ids]) == {"succeeded": 4}
    assert len(on_postgres.effects()) == 4
    record(jobs=4)


def test_stopped_at_finish(on_postgres: Machine, postgres_server: PostgresServer, record: Record) -> None:
    """What a job came to is kept until it can be written: it does not run again."""
    on_postgres.test_worker(1)
    [job_id] = hand_in(on_postgres, 1, 2.0)
    on_postgres.in_state(job_id, "running")
    postgres_server.stop()
    eventually(on_postgres.effects, "its end")
    with resumes(on_postgres, record):
        postgres_server.start()
    assert on_postgres.in_state(job_id, "succeeded")["attempt"] == 1
    assert audit(on_postgres, [job_id]) == {"succeeded": 1}
    assert len(on_postgres.effects()) == 1
    record(jobs=1)


@pytest.mark.whole
@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_restarted_under_load(
    on_either: Machine, postgres_server: PostgresServer, mode: str, full: bool, record: Record
) -> None:
    """A crash, or an operator's restart, three times."""
    if mode == "fast" and not full:
        pytest.skip("with --all-faults")
    worker = on_either.test_worker(2)
    submitter = begin_to_insist(on_either, 500 if full else 100)
    for _ in range(3):
        have = len(on_either.effects())
        eventually(lambda so_far=have: len(on_either.effects()) > so_far + 5, "jobs run")
        postgres_server.stop(mode)
        with resumes(on_either, record):
            postgres_server.start()
    ids = insisted(submitter)
    nothing_is_lost(on_either, ids)
    assert worker.runs
    record(jobs=len(ids), kills=3)


@pytest.mark.whole
def test_frozen_for_20_seconds(on_either: Machine, postgres_server: PostgresServer, full: bool, record: Record) -> None:
    """Its host confirms what is sent to it, and nothing comes back: to those that are connected, and to new ones."""
    worker = on_either.test_worker(2)
    submitter = begin_to_insist(on_either, 300 if full else 100)
    eventually(lambda: len(on_either.effects()) > 5, "jobs run")
    postgres_server.freeze()
    frozen_at = time.monotonic()
    try:
        for ran in at_once(on_either, *QUESTIONS, (*FETCH, "--no-wait"), ("cancel", "abcd")):
            ran.refused(6, "does not answer")
        stays_away(frozen_at, full)
    finally:
        with resumes(on_either, record):
            postgres_server.thaw()
    ids = insisted(submitter)
    nothing_is_lost(on_either, ids)
    assert worker.runs
    record(jobs=len(ids))


def test_a_statement_that_takes_long_is_waited_for(on_postgres: Machine) -> None:
    """A server that works on it is as silent as one that froze."""
    slept = on_postgres.python(
        """
        import json, time
        from marketjobs import config
        from marketjobs.services.runtime import Runtime
        from marketjobs.storage.postgres import SILENT_SECONDS
        began = time.monotonic()
        with Runtime(config.current()).database.read() as tx:
            tx.all("SELECT pg_sleep(:seconds)", {"seconds": 2.5 * SILENT_SECONDS})
        print(json.dumps((time.monotonic() - began) / SILENT_SECONDS))
        """
    )
    assert slept > 2.4
    assert audit(on_postgres, []) == {}


def as_many_as_there_are(url: str) -> Iterator[psycopg.Connection[object]]:
    with suppress(psycopg.OperationalError):
        while True:
            yield psycopg.connect(url)


@pytest.mark.whole
def test_out_of_connections_under_load(on_postgres: Machine, postgres_server: PostgresServer, record: Record) -> None:
    """Another program takes all that are left; what is at work goes on, and the rest when it leaves."""
    assert on_postgres.server_url is not None
    worker = on_postgres.test_worker(2)
    ids = hand_in(on_postgres, 100, 0.1)
    eventually(lambda: len(on_postgres.effects()) > 5, "jobs run")
    held: list[psycopg.Connection[object]] = []
    with postgres_server.connect() as administrator:
        ours = "FROM pg_stat_activity WHERE application_name = 'marketjobs'"
        administrator.execute(f"SELECT pg_terminate_backend(pid) {ours}")
        held += as_many_as_there_are(on_postgres.server_url)
        administrator.execute(f"SELECT pg_terminate_backend(pid) {ours}")
        held += as_many_as_there_are(on_postgres.server_url)
    for ran in at_once(on_postgres, *QUESTIONS):
        ran.refused(6, "has no connection left")
    with resumes(on_postgres, record):
        for one in held:
            one.close()
    nothing_is_lost(on_postgres, ids)
    assert worker.runs
    record(jobs=len(ids))


def test_absent(on_postgres: Machine, postgres_server: PostgresServer) -> None:
    postgres_server.stop()
    for command in (("fetch-market-data", "-s", "AAPL"), ("status",), ("jobs",), ("assets", "list"), ("db", "upgrade")):
        on_postgres.run(*command).refused(6, "does not answer", "Connection refused")
    said = on_postgres.run("status", "--json")
    assert said.code == 6
    assert said.json["error"]["cause"] == "storage_unavailable"
    assert "not looked at" in on_postgres.run("doctor").ok(1).out
    postgres_server.start()
    assert audit(on_postgres, []) == {}


def test_without_tables_every_command_names_the_one_that_makes_them(
    machine: Machine, postgres_server: PostgresServer
) -> None:
    machine.env["MARKETJOBS_DATABASE__URL"] = postgres_server.new_database()
    for command in ("fetch-market-data -s AAPL", "status", "worker", "beat", "init", "prices AAPL", "assets list"):
        said = machine.run(*command.split()).refused(6, "has no tables yet")
        assert "try: marketjobs db upgrade" in said.err
    machine.run("db", "upgrade").ok()
    job_id = machine.run(*FETCH, "--json").ok().json["job_id"]
    assert audit(machine, [job_id]) == {"succeeded": 1}


def test_a_newer_schema(on_postgres: Machine) -> None:
    on_postgres.write("UPDATE alembic_version SET version_num = '9999'")
    for command in (("status",), ("db", "upgrade"), ("worker",)):
        on_postgres.run(*command).refused(6, "written by a newer marketjobs")
    assert audit(on_postgres, []) == {}


def test_a_wrong_password_is_named_and_not_shown(machine: Machine, postgres_server: PostgresServer) -> None:
    postgres_server.new_database("data", "guarded")
    machine.env["MARKETJOBS_DATABASE__URL"] = f"postgresql://guarded:{SECRET}@127.0.0.1:{postgres_server.port}/data"
    said = machine.run("status").refused(6, "password authentication failed")
    assert SECRET not in said.out + said.err


def test_no_connection_left(on_postgres: Machine, postgres_server: PostgresServer) -> None:
    assert on_postgres.server_url is not None
    held = [psycopg.connect(on_postgres.server_url) for _ in range(CONNECTIONS - 3)]
    said = on_postgres.run("status").refused(6, "has no connection left")
    assert "larger max_connections" in said.err
    for one in held:
        one.close()
    on_postgres.run("status").ok()
    assert audit(on_postgres, []) == {}


@pytest.mark.slow
def test_restarted_under_a_fetch(on_postgres: Machine, postgres_server: PostgresServer) -> None:
    """The worker waits for it, the job goes on, and each bar is there once."""
    assert on_postgres.vendor is not None
    on_postgres.vendor.latency_seconds = 0.3
    symbols = [f"SYM{number:03}" for number in range(80)]
    worker = on_postgres.worker("-c", "1")
    job_id = begin_fetch(on_postgres, *symbols)
    eventually(lambda: on_postgres.rows("SELECT 1 FROM price_bar LIMIT 1"), "something is stored")
    postgres_server.stop()
    postgres_server.start()
    on_postgres.in_state(job_id, "succeeded", seconds=2 * LONG)
    assert audit(on_postgres, [job_id]) == {"succeeded": 1}
    counts = on_postgres.rows("SELECT symbol, count(*) AS n FROM price_bar_v GROUP BY symbol")
    assert {row["symbol"] for row in counts} == set(symbols)
    assert {row["n"] for row in counts} == {counts[0]["n"]}
    assert worker.runs


@pytest.mark.slow
def test_a_worker_outlives_a_store_that_is_away(on_postgres: Machine, postgres_server: PostgresServer) -> None:
    worker = on_postgres.worker("-c", "1")
    postgres_server.stop()
    worker.says("storage_unavailable")
    postgres_server.start()
    job_id = begin_fetch(on_postgres)
    on_postgres.in_state(job_id, "succeeded")
    assert audit(on_postgres, [job_id]) == {"succeeded": 1}
    assert worker.runs
