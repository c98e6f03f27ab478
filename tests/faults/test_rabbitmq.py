"""RabbitMQ absent, killed, frozen, blocked or refusing: a job is accepted in well under a second, and ends."""

from __future__ import annotations

import os
import signal
import time

import pytest

from faults.audit import audit
from faults.outage import all_is_done_once, begin_to_hand_in, hand_in, handed_in, no_command_hangs, resumes
from faults.report import Record
from faults.steps import begin_fetch
from processes import SECRET, Machine, eventually
from rabbit import RabbitServer

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def on_rabbit(machine: Machine, rabbit_server: RabbitServer) -> Machine:
    machine.env["MARKETJOBS_BROKER__URL"] = rabbit_server.new_vhost()
    return machine


def test_absent_at_submit(on_rabbit: Machine, rabbit_server: RabbitServer) -> None:
    rabbit_server.kill()
    ids = hand_in(on_rabbit, 10)
    assert {row["published_at"] for row in on_rabbit.jobs()} == {None}
    rabbit_server.start()
    on_rabbit.test_worker(2)
    on_rabbit.all_final(ids)
    assert audit(on_rabbit, ids) == {"succeeded": 10}


def test_a_worker_waits_for_it(on_rabbit: Machine, rabbit_server: RabbitServer) -> None:
    rabbit_server.kill()
    worker = on_rabbit.start("worker", "-c", "1")
    worker.says("does not answer")
    worker.says("waiting for it")
    worker.says("Cannot connect to amqp://")
    rabbit_server.start()
    job_id = begin_fetch(on_rabbit)
    on_rabbit.in_state(job_id, "succeeded")
    assert audit(on_rabbit, [job_id]) == {"succeeded": 1}


RABBIT = pytest.mark.pairs("rabbitmq", few=("rabbitmq-sqlite",))
ON_SERVERS = pytest.mark.pairs("rabbitmq", few=("rabbitmq-postgresql",))


@RABBIT
def test_killed_under_load(pair: Machine, rabbit_server: RabbitServer, full: bool, record: Record) -> None:
    worker = pair.test_worker(2)
    ids = hand_in(pair, 500 if full else 50, 0.02)
    eventually(lambda: len(pair.effects()) >= 5, "some have run")
    submitter = begin_to_hand_in(pair, 200 if full else 50, seconds=0.02, pause_seconds=0.1)
    eventually(lambda: len(pair.jobs()) > len(ids), "more are handed in")
    rabbit_server.kill()
    stopped = no_command_hangs(pair)
    with resumes(pair, record):
        rabbit_server.start()
    ids += handed_in(pair, submitter)
    all_is_done_once(pair, worker, ids, stopped)
    record(jobs=len(ids), kills=1)


@pytest.mark.whole
@ON_SERVERS
def test_its_application_is_stopped_under_load(
    pair: Machine, rabbit_server: RabbitServer, full: bool, record: Record
) -> None:
    """Its node lives, and nobody listens."""
    worker = pair.test_worker(2)
    submitter = begin_to_hand_in(pair, 500 if full else 100, seconds=0.02, pause_seconds=0.05)
    eventually(lambda: len(pair.effects()) >= 5, "some have run")
    rabbit_server.ctl("stop_app")
    stopped = no_command_hangs(pair)
    with resumes(pair, record):
        rabbit_server.ctl("start_app")
    ids = handed_in(pair, submitter)
    all_is_done_once(pair, worker, ids, stopped)
    record(jobs=len(ids))


def test_a_worker_killed_in_mid_job(on_rabbit: Machine) -> None:
    worker = on_rabbit.test_worker(2)
    ids = hand_in(on_rabbit, 6, 1)
    eventually(lambda: on_rabbit.rows("SELECT 1 FROM job WHERE state = 'running'"), "one runs")
    for pid in on_rabbit.children(worker)["main"]:
        os.kill(pid, signal.SIGKILL)
    on_rabbit.all_final(ids)
    assert audit(on_rabbit, ids) == {"succeeded": 6}


def test_an_alarm_that_blocks_publishers_holds_no_submit(on_rabbit: Machine, rabbit_server: RabbitServer) -> None:
    """A full disk: the broker takes connections and confirms nothing."""
    worker = on_rabbit.test_worker(1)
    rabbit_server.block_publishers()
    ids = hand_in(on_rabbit, 5)
    assert {row["published_at"] for row in on_rabbit.jobs()} == {None}
    assert worker.runs
    rabbit_server.unblock_publishers()
    on_rabbit.all_final(ids)
    assert audit(on_rabbit, ids) == {"succeeded": 5}
    assert len(on_rabbit.effects()) == 5


def test_frozen_at_submit(on_rabbit: Machine, rabbit_server: RabbitServer) -> None:
    rabbit_server.freeze()
    ids = hand_in(on_rabbit, 4)
    began = time.monotonic()
    shown = on_rabbit.run("queues", "--json").ok().json
    assert time.monotonic() - began < 10
    assert "does not answer" in shown["note"]
    assert {one["queue"]: one["queued"] for one in shown["queues"]}["default"] == 4
    rabbit_server.thaw()
    on_rabbit.test_worker(1)
    on_rabbit.all_final(ids)
    assert audit(on_rabbit, ids) == {"succeeded": 4}


def test_frozen_between_two_submits_of_one_program(on_rabbit: Machine, rabbit_server: RabbitServer) -> None:
    """The connection that was good a moment ago says nothing any more."""
    program = """
        import json, os, signal, sys, time
        from jobs_for_tests import count
        ids = [count.delay(1).id]
        os.kill(int(sys.argv[1]), signal.SIGSTOP)
        spent = []
        for number in range(4):
            began = time.monotonic()
            ids.append(count.delay(number).id)
            spent.append(time.monotonic() - began)
        print(json.dumps([ids, max(spent), sum(spent)]))
    """
    ids, slowest, all_of_them = on_rabbit.python(program, str(rabbit_server.pid))
    rabbit_server.thaw()
    assert slowest < 1.0
    assert all_of_them < 2.0  # one that waited is enough to know
    on_rabbit.test_worker(1)
    on_rabbit.all_final(ids)
    assert audit(on_rabbit, ids) == {"succeeded": 5}


@pytest.mark.slow
def test_a_worker_outlives_a_freeze(on_rabbit: Machine, rabbit_server: RabbitServer) -> None:
    worker = on_rabbit.test_worker(2)
    main_process = on_rabbit.children(worker)["main"]
    ids = hand_in(on_rabbit, 4, 0.1)
    on_rabbit.all_final(ids)
    rabbit_server.freeze()
    worker.says("onnection to broker lost")  # its heartbeat tells, within 30 s
    more = hand_in(on_rabbit, 4, 0.1)
    rabbit_server.thaw()
    on_rabbit.all_final([*ids, *more])
    assert audit(on_rabbit, [*ids, *more]) == {"succeeded": 8}
    assert on_rabbit.children(worker)["main"] == main_process


# -- it answers, and refuses us


def test_no_such_vhost(machine: Machine, rabbit_server: RabbitServer) -> None:
    machine.env["MARKETJOBS_BROKER__URL"] = rabbit_server.url("no-such")
    ran = machine.run("worker").refused(6, "has no vhost no-such")
    assert "rabbitmqctl add_vhost no-such && rabbitmqctl set_permissions -p no-such guest" in ran.err
    job_id = begin_fetch(machine)
    assert machine.job(job_id)["state"] == "queued"
    machine.run("cancel", job_id).ok()
    assert audit(machine, [job_id]) == {"cancelled": 1}


@pytest.mark.parametrize("command", [("worker",), ("fetch-market-data", "-s", "AAPL", "--timeout", "20"), ("doctor",)])
def test_a_wrong_password(machine: Machine, rabbit_server: RabbitServer, command: tuple[str, ...]) -> None:
    machine.env["MARKETJOBS_BROKER__URL"] = rabbit_server.url("%2F", f"guest:{SECRET}")
    ran = machine.run(*command)
    assert ran.code == (1 if command == ("doctor",) else 6), ran
    assert SECRET not in ran.out + ran.err
    assert "Traceback" not in ran.out + ran.err
    assert "refused user and password" in ran.out + ran.err
    ids = [row["id"] for row in machine.jobs()]
    assert len(ids) == (command[0] == "fetch-market-data"), "it is accepted all the same"
    for job_id in ids:
        machine.run("cancel", job_id).ok()
    assert audit(machine, ids).total() == len(ids)


def test_a_vhost_without_permission(machine: Machine, rabbit_server: RabbitServer) -> None:
    url = rabbit_server.new_vhost()
    rabbit_server.ctl("clear_permissions", "-p", url.rpartition("/")[2], "guest")
    machine.env["MARKETJOBS_BROKER__URL"] = url
    assert "rabbitmqctl set_permissions" in machine.run("worker").refused(6, "access to vhost").err
    assert audit(machine, []) == {}


def test_a_queue_that_another_program_made(on_rabbit: Machine) -> None:
    on_rabbit.python(
        """
        import amqp, sys
        from urllib.parse import urlsplit
        url = urlsplit(sys.argv[1])
        with amqp.Connection(host=url.netloc.rpartition("@")[2], virtual_host=url.path[1:]) as connection:
            connection.channel().queue_declare("news", durable=True, auto_delete=False)
        """,
        on_rabbit.env["MARKETJOBS_BROKER__URL"],
    )
    ran = on_rabbit.run("worker").refused(6, "has a queue of another kind", "'news'")
    assert "delete that queue" in ran.err
    assert audit(on_rabbit, []) == {}
