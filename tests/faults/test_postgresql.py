"""PostgreSQL absent, unmigrated, newer, crowded, refusing, or restarted under a job."""

from __future__ import annotations

import itertools

import psycopg
import pytest

from faults.audit import audit
from postgres import CONNECTIONS, PostgresServer
from processes import LONG, SECRET, Machine, eventually

pytestmark = pytest.mark.postgresql


@pytest.fixture
def on_postgres(machine: Machine, postgres_server: PostgresServer) -> Machine:
    machine.env["MARKETJOBS_DATABASE__URL"] = postgres_server.new_database()
    machine.run("db", "upgrade").ok()
    return machine


def test_absent(on_postgres: Machine, postgres_server: PostgresServer) -> None:
    postgres_server.stop()
    for command in (("fetch-market-data", "-s", "AAPL"), ("status",), ("jobs",), ("assets", "list"), ("db", "upgrade")):
        on_postgres.run(*command).refused(6, "does not answer", "Connection refused")
    said = on_postgres.run("status", "--json")
    assert said.code == 6
    assert said.json["error"]["cause"] == "storage_unavailable"
    on_postgres.run("doctor").ok(1)


def test_without_tables_every_command_names_the_one_that_makes_them(
    machine: Machine, postgres_server: PostgresServer
) -> None:
    machine.env["MARKETJOBS_DATABASE__URL"] = postgres_server.new_database()
    for command in ("fetch-market-data -s AAPL", "status", "worker", "beat", "init", "prices AAPL", "assets list"):
        said = machine.run(*command.split()).refused(6, "has no tables yet")
        assert "try: marketjobs db upgrade" in said.err
    machine.run("db", "upgrade").ok()
    machine.run("fetch-market-data", "-s", "AAPL").ok()


def test_a_newer_schema(on_postgres: Machine) -> None:
    on_postgres.write("UPDATE alembic_version SET version_num = '9999'")
    for command in (("status",), ("db", "upgrade"), ("worker",)):
        on_postgres.run(*command).refused(6, "written by a newer marketjobs")


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


@pytest.mark.slow
def test_restarted_under_a_fetch(on_postgres: Machine, postgres_server: PostgresServer) -> None:
    """The worker waits for it, the job goes on, and each bar is there once."""
    assert on_postgres.vendor is not None
    on_postgres.vendor.latency_seconds = 0.3
    symbols = [f"SYM{number:03}" for number in range(80)]
    named = list(itertools.chain.from_iterable(("-s", symbol) for symbol in symbols))
    worker = on_postgres.worker("-c", "1")
    job_id = on_postgres.run("fetch-market-data", *named, "--no-wait", "--json").ok().json["job_id"]
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
    job_id = on_postgres.run("fetch-market-data", "-s", "AAPL", "--no-wait", "--json").ok().json["job_id"]
    on_postgres.in_state(job_id, "succeeded")
    assert worker.runs
