"""`queues` and what `status` and `doctor` say of the broker."""

from __future__ import annotations

import time

import pytest

from processes import Machine, RedisServer, free_port
from rabbit import RabbitServer

NAMES = ["market_data", "news", "portfolio", "analytics", "default"]
THREE = """
import json
from jobs_for_tests import add
print(json.dumps([add.apply_async((n, 1), priority=n * 4).id for n in range(3)]
    + [add.apply_async((9, 9), countdown=3600).id]))
"""


def of(machine: Machine) -> dict[str, dict[str, object]]:
    document = machine.run("queues", "--json").ok().json
    assert [one["queue"] for one in document["queues"]] == NAMES
    return {one["queue"]: one for one in document["queues"]}


def check(machine: Machine) -> None:
    """Three jobs are due and one waits; all wake-ups lie in the broker."""
    machine.python(THREE)
    found = of(machine)["default"]
    assert {name: found[name] for name in ("messages", "queued", "waiting", "running", "workers")} == {
        "messages": 3,
        "queued": 3,
        "waiting": 1,
        "running": 0,
        "workers": [],
    }
    assert isinstance(found["oldest_due_seconds"], float)
    assert 0 <= found["oldest_due_seconds"] < 60
    assert of(machine)["news"]["oldest_due_seconds"] is None
    plain = machine.run("queues").ok().out
    assert [line.split()[0] for line in plain.splitlines()] == ["queue", *NAMES]


def test_on_the_embedded_queue(machine: Machine) -> None:
    check(machine)
    worker = machine.test_worker(1)
    served = of(machine)["default"]["workers"]
    assert served == [f"worker-{worker.pid}@{machine.rows('SELECT host FROM worker')[0]['host']}"]


@pytest.mark.redis
def test_on_redis_whatever_the_priorities(machine: Machine, redis_server: RedisServer) -> None:
    redis_server.start()
    machine.env["MARKETJOBS_BROKER__URL"] = redis_server.url
    check(machine)


@pytest.mark.rabbitmq
def test_on_rabbitmq(machine: Machine, rabbit_server: RabbitServer) -> None:
    machine.env["MARKETJOBS_BROKER__URL"] = rabbit_server.new_vhost()
    assert {one["messages"] for one in of(machine).values()} == {0}
    check(machine)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_down(machine: Machine, scheme: str) -> None:
    machine.env["MARKETJOBS_BROKER__URL"] = f"{scheme}://127.0.0.1:{free_port()}"
    machine.python(THREE)
    document = machine.run("queues", "--json").ok().json
    assert "does not answer" in document["note"]
    assert [(one["messages"], one["queued"]) for one in document["queues"]][-1] == (None, 3)
    assert "does not answer" in machine.run("queues").ok().err
    shown = machine.run("status").ok().out
    assert ("Redis" if scheme == "redis" else "RabbitMQ") in shown
    assert "does not answer" in shown
    assert machine.run("status", "--json").ok().json["broker_answers"] is False
    checks = {one["name"]: one for one in machine.run("doctor", "--json").ok(1).json["checks"]}
    assert checks["broker"]["verdict"] == "error"
    assert checks["broker"]["fix"]


@pytest.mark.redis
def test_status_is_quick_while_the_broker_is_frozen(machine: Machine, redis_server: RedisServer) -> None:
    """The system takes the connection, and nobody answers."""
    redis_server.start()
    machine.env["MARKETJOBS_BROKER__URL"] = redis_server.url
    assert machine.run("status", "--json").ok().json["broker_answers"] is True
    redis_server.freeze()
    try:
        program = """
            import json, time
            from marketjobs import config
            from marketjobs.services.brokers import answers
            began = time.monotonic()
            print(json.dumps([answers(config.load()), time.monotonic() - began]))
        """
        said, seconds = machine.python(program)
        assert (said, seconds < 0.8) == (False, True), seconds
        began = time.monotonic()
        assert "does not answer" in machine.run("status").ok().out
        assert time.monotonic() - began < 10
    finally:
        redis_server.thaw()


def test_a_worker_is_found_however_its_broker_is_written(machine: Machine, redis_server: RedisServer) -> None:
    redis_server.start()
    machine.env["MARKETJOBS_BROKER__URL"] = redis_server.url  # redis://127.0.0.1:PORT/0
    machine.worker("-c", "1")
    url = f"redis://localhost:{redis_server.port}"
    ran = machine.run("fetch-market-data", "-s", "AAPL", "--json", MARKETJOBS_BROKER__URL=url)
    assert ran.ok().json["state"] == "succeeded"
