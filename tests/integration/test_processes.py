"""Several processes on one home: new homes, shared files, joined requests, programs, proxies and authorities."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from processes import COMMAND, Machine, RedisServer, eventually
from vendor import Vendor


def test_running_inline_imports_neither_celery_nor_kombu(machine: Machine) -> None:
    ran = machine.run_python(
        """
        import sys
        from marketjobs.cli import main
        try:
            main(["fetch-market-data", "-s", "AAPL", "--inline"])
        except SystemExit as end:
            assert end.code == 0, end.code
        names = {name.partition(".")[0] for name in sys.modules}
        assert not names & {"celery", "kombu", "billiard", "redis"}
        """
    )
    ran.ok()
    assert machine.bars("AAPL")


def test_commands_that_look_import_neither_celery_nor_sqlalchemy(machine: Machine) -> None:
    machine.run("init").ok()
    for command in (["status"], ["jobs"], ["worker-stats"], ["list-active"]):
        ran = machine.run_python(
            f"""
            import sys
            from marketjobs.cli import main
            try:
                main({command!r})
            except SystemExit as end:
                assert end.code == 0, end.code
            names = {{name.partition(".")[0] for name in sys.modules}}
            assert not names & {{"celery", "kombu", "sqlalchemy", "sqlmodel", "alembic", "yfinance", "curl_cffi"}}
            """
        )
        ran.ok()


def test_two_commands_at_once_on_a_new_home(machine: Machine, vendor: Vendor) -> None:
    running = [machine.start("fetch-market-data", "-s", symbol) for symbol in ("AAPL", "IBM", "MSFT", "GOOG")]
    for one in running:
        one.wait().ok()
    assert machine.rows("SELECT count(DISTINCT symbol) AS n FROM price_bar_v") == [{"n": 4}]
    assert {job["state"] for job in machine.jobs()} == {"succeeded"}


def test_init_twice_at_once(machine: Machine) -> None:
    running = [machine.start("init") for _ in range(4)]
    assert [one.wait().code for one in running] == [0] * 4


def test_two_workers_on_one_file_run_each_job_once(machine: Machine) -> None:
    for _ in range(2):
        machine.test_worker(2)
    ids = machine.python(
        """
        import json
        from jobs_for_tests import count
        print(json.dumps([count.delay(number, 0.02).id for number in range(60)]))
        """
    )
    rows = machine.all_final(ids)
    assert Counter(row["state"] for row in rows) == {"succeeded": 60}
    assert {row["attempt"] for row in rows} == {1}
    assert sorted(machine.effects()) == sorted(f"{job_id} {number}" for number, job_id in enumerate(ids))
    assert len({row["owner"].partition("@")[2] for row in rows}) == 2


def test_equal_requests_of_two_processes_are_one_job(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("hang", "AAPL", times=1, seconds=2.0)
    first = machine.start("fetch-market-data", "-s", "AAPL", "--json")
    eventually(lambda: vendor.charts() or machine.rows("SELECT 1 FROM job WHERE state = 'running'"), "it runs")
    second = machine.start("fetch-market-data", "-s", "aapl", "--json")
    documents = [one.wait().ok().json for one in (first, second)]
    assert documents[0] == documents[1]
    assert len(vendor.charts()) == 1
    assert len(machine.jobs()) == 1


def test_a_failed_job_does_not_block_a_new_one(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("status", times=3, code=503)
    first = machine.run("fetch-market-data", "-s", "AAPL", "--json").ok(1).json
    second = machine.run("fetch-market-data", "-s", "AAPL", "--json").ok(0).json
    assert first["job_id"] != second["job_id"]


# -- programs -----------------------------------------------------------------------------------------------


def test_submit_and_read_from_a_program(machine: Machine, vendor: Vendor) -> None:
    machine.worker("-c", "1")
    state, rows, aware, ascending = machine.python(
        """
        import json, time
        import marketjobs
        from celery.result import AsyncResult
        from marketjobs.tasks.celery import app
        job = marketjobs.submit("fetch_market_data", symbols=["AAPL"], period="1mo")
        AsyncResult(job.id, app=app).get(timeout=30)
        bars = marketjobs.read.bars("AAPL")
        stamps = [bar.ts for bar in bars]
        print(json.dumps([job.state, len(bars), stamps[0].tzinfo is not None, stamps == sorted(stamps)]))
        """
    )
    assert (state, aware, ascending) == ("queued", True, True)
    assert rows == len(machine.bars("AAPL")) > 15


def test_eager_programs_run_inline(machine: Machine, vendor: Vendor) -> None:
    state = machine.python(
        """
        import json
        import marketjobs
        print(json.dumps(marketjobs.submit("fetch_market_data", symbols=["AAPL"], period="1mo").state))
        """,
        CELERY_TASK_ALWAYS_EAGER="1",
    )
    assert state == "succeeded"
    assert machine.bars("AAPL")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('marketjobs.submit("nonsense")', "InvalidInput"),
        ('marketjobs.submit("fetch_market_data")', "InvalidInput"),
        ('marketjobs.submit("fetch_market_data", symbols=["AA\\0PL"])', "InvalidInput"),
        ('marketjobs.submit("fetch_market_data", symbols="AAPL")', "InvalidInput"),
        ('marketjobs.submit("fetch_market_data", symbols=["A" * 10_000])', "InvalidInput"),
        ('marketjobs.submit("fetch_market_data", symbols=["AAPL"], colour="red")', "InvalidInput"),
        ('marketjobs.submit("fetch_market_data", symbols=["AAPL"], start=5)', "InvalidInput"),
        ('marketjobs.submit("fetch_market_data", symbols=["AAPL"], period=["1y"])', "InvalidInput"),
        ('marketjobs.submit("fetch_market_data", symbols=["AAPL"], interval=["1d"])', "InvalidInput"),
        ('marketjobs.submit("fetch_market_data", symbols=["AAPL"], provider=["yahoo"])', "InvalidInput"),
        ('marketjobs.read.bars("AAPL")', "AssetNotFound"),
        ('marketjobs.read.bars("AAPL", "7x")', "InvalidInput"),
    ],
)
def test_what_a_program_hands_in_wrongly_is_an_error_of_ours(machine: Machine, call: str, said: str) -> None:
    ran = machine.run_python(
        f"""
        import marketjobs
        from marketjobs.errors import MarketJobsError
        try:
            {call}
        except MarketJobsError as error:
            print(type(error).__name__)
        """
    )
    assert ran.ok().out.strip() == said
    assert machine.jobs() == []


# -- the network's settings ---------------------------------------------------------------------------------


class Proxy(ThreadingHTTPServer):
    """Counts what is asked of it, and answers 502."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _ProxyHandler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_error(502)

    do_CONNECT = do_GET

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.mark.parametrize("how", ["setting", "variable"])
def test_the_proxy_is_used(machine: Machine, vendor: Vendor, how: str) -> None:
    """The vendor is given a name that only a proxy could know, so that nothing can go around it."""
    proxy = Proxy()
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        variables = (
            {"MARKETJOBS_NETWORK__PROXY": proxy.url}
            if how == "setting"
            else {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url}
        )
        ran = machine.run(
            "fetch-market-data",
            "-s",
            "AAPL",
            "--json",
            MARKETJOBS_PROVIDERS__YAHOO__BASE_URL="http://vendor.invalid",
            MARKETJOBS_RETRY__MAX_ATTEMPTS="1",
            **variables,
        )
        assert ran.json["result"]["symbols"][0]["error"]["cause"] == "provider_unavailable"
        assert any("vendor.invalid" in path for path in proxy.asked)
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


def test_an_authority_that_can_not_be_read_is_said(machine: Machine, vendor: Vendor) -> None:
    ran = machine.run(
        "fetch-market-data",
        "-s",
        "AAPL",
        "--json",
        MARKETJOBS_NETWORK__CA_BUNDLE=str(machine.root / "nothing.pem"),
        MARKETJOBS_PROVIDERS__YAHOO__BASE_URL=vendor.url.replace("http:", "https:"),
        MARKETJOBS_RETRY__MAX_ATTEMPTS="1",
    )
    assert "Traceback" not in ran.err
    assert ran.code in (1, 2)
    assert "nothing.pem" in ran.out or "authorities" in ran.out


# -- Redis --------------------------------------------------------------------------------------------------


@pytest.mark.redis
class TestOnRedis:
    variables: ClassVar[dict[str, str]] = {}

    def test_a_setting_moves_the_same_job_to_redis(self, machine: Machine, redis_server: RedisServer) -> None:
        redis_server.start()
        machine.env["MARKETJOBS_BROKER__URL"] = redis_server.url
        machine.worker("-c", "2")
        ran = machine.run("fetch-market-data", "-s", "AAPL", "-s", "IBM", "--json").ok()
        assert machine.job(ran.json["job_id"])["owner"].partition("@")[2].startswith("worker-")
        assert not (machine.home / "queue").exists()

    def test_a_worker_of_another_broker_is_none_of_ours(self, machine: Machine, redis_server: RedisServer) -> None:
        redis_server.start()
        machine.worker("-c", "1")
        ran = machine.run("fetch-market-data", "-s", "AAPL", MARKETJOBS_BROKER__URL=redis_server.url)
        ran.ok(6)
        assert "no worker" in ran.err


def test_the_script_starts_and_stops_everything(machine: Machine, vendor: Vendor) -> None:
    script = Path(__file__).parents[2] / "scripts" / "start_task_queue.sh"
    machine.env["PATH"] = f"{COMMAND.parent}:{machine.env['PATH']}"
    machine.run_any("bash", str(script), "start").ok()
    try:
        eventually(
            lambda: machine.rows("SELECT 1 FROM worker WHERE kind = 'worker' AND stopped_at IS NULL"), "a worker"
        )
        ran = machine.run("fetch-market-data", "-s", "AAPL", "--json").ok()
        assert machine.job(ran.json["job_id"])["owner"].partition("@")[2].startswith("worker-")
        assert {"celery_worker.log", "celery_beat.log"} <= {path.name for path in (machine.work / "logs").iterdir()}
    finally:
        stopped = machine.run_any("bash", str(script), "stop")
    stopped.ok()
    machine.no_process_is_left()
