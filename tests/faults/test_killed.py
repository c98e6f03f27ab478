"""What is killed, stopped or interrupted, wherever it stands in a job's life."""

from __future__ import annotations

import os
import signal

import pytest

from faults.audit import audit
from faults.steps import FETCH, begin_fetch, called, hang, once_asked, running
from processes import LONG, Machine, eventually, kill
from vendor import Vendor

# -- kill -9 ----------------------------------------------------------------------------------------------


def test_a_pool_process_is_killed_in_mid_job(machine: Machine, vendor: Vendor) -> None:
    worker = machine.worker("-c", "2")
    hang(vendor)
    job_id = begin_fetch(machine)
    pid = running(machine, job_id)
    once_asked(vendor)
    main_process = machine.children(worker)["main"]
    kill(pid)
    row = machine.in_state(job_id, "succeeded", seconds=15)
    assert row["attempt"] == 2
    assert int(row["owner"].split("/")[1]) != pid
    with pytest.raises(AssertionError, match="not within"):  # its neighbours go on
        eventually(lambda: machine.children(worker)["main"] != main_process, "another main process", seconds=4)
    assert audit(machine, [job_id]) == {"succeeded": 1}


def test_a_worker_that_stops_begins_no_other_job(machine: Machine) -> None:
    worker = machine.test_worker(1)
    ids = called(machine, "count", 0, 4.0, count=3)
    machine.in_state(ids[0], "running")
    worker.ctrl_c()
    worker.wait()
    states = [machine.job(one)["state"] for one in ids]
    assert states == ["succeeded", "queued", "queued"]
    assert [machine.job(one)["attempt"] for one in ids] == [1, 0, 0]
    machine.test_worker(1)
    machine.all_final(ids)
    assert audit(machine, ids) == {"succeeded": 3}


def test_an_idle_pool_process_is_killed(machine: Machine) -> None:
    """Its place is taken by another, and the rest of its worker goes on."""
    worker = machine.test_worker(2)
    main_process = machine.children(worker)["main"]
    for _ in range(2):
        kill(machine.children(worker)["pool"][0])
        ids = called(machine, "nap", 0.0, count=6)
        machine.all_final(ids, seconds=30)
    assert machine.children(worker)["main"] == main_process
    assert audit(machine, [row["id"] for row in machine.jobs()]) == {"succeeded": 12}


def test_a_workers_main_process_is_killed_in_mid_job(machine: Machine, vendor: Vendor) -> None:
    worker = machine.worker("-c", "2")
    hang(vendor)
    job_id = begin_fetch(machine)
    running(machine, job_id)
    once_asked(vendor)
    [main] = machine.children(worker)["main"]
    kill(main)
    row = machine.in_state(job_id, "succeeded", seconds=20)
    assert row["attempt"] == 2
    assert machine.children(worker)["main"] != [main]
    assert audit(machine, [job_id]) == {"succeeded": 1}
    worker.ctrl_c()
    worker.wait(20).ok()
    machine.no_process_is_left()


def test_the_reaper_is_killed(machine: Machine, vendor: Vendor) -> None:
    worker = machine.worker("-c", "1")
    [reaper] = machine.children(worker)["reaper"]
    kill(reaper)
    eventually(lambda: machine.children(worker)["reaper"] not in ([], [reaper]), "another reaper")
    job_id = begin_fetch(machine)
    machine.in_state(job_id, "succeeded")
    assert audit(machine, [job_id]) == {"succeeded": 1}


@pytest.mark.slow
def test_the_supervisor_is_killed_and_nothing_is_left(machine: Machine) -> None:
    worker = machine.test_worker(2)
    ids = called(machine, "nap", 1.0, count=6)
    machine.in_state(ids[0], "running")
    kill(worker.pid)
    worker.process.wait(5)
    machine.no_process_is_left(15)
    machine.test_worker(2)
    machine.all_final(ids)
    assert audit(machine, ids) == {"succeeded": 6}


@pytest.mark.slow
def test_the_supervisor_is_killed_with_a_job_that_hangs(machine: Machine, vendor: Vendor) -> None:
    """Its children do not wait for the vendor's sake."""
    worker = machine.worker("-c", "1")
    hang(vendor, 120.0)
    job_id = begin_fetch(machine)
    running(machine, job_id)
    once_asked(vendor)
    kill(worker.pid)
    worker.process.wait(5)
    machine.no_process_is_left(20)
    machine.worker("-c", "1")
    machine.in_state(job_id, "succeeded", seconds=20)
    assert audit(machine, [job_id]) == {"succeeded": 1}


def test_another_worker_finishes_the_jobs_of_a_killed_one(machine: Machine, vendor: Vendor) -> None:
    first = machine.worker("-c", "1")
    hang(vendor)
    job_id = begin_fetch(machine)
    running(machine, job_id)
    once_asked(vendor)
    machine.worker("-c", "1")
    for pid in [first.pid, *machine.children(first)["main"], *machine.children(first)["pool"]]:
        kill(pid)
    row = machine.in_state(job_id, "succeeded", seconds=20)
    assert f"-{first.pid}@" not in row["owner"]
    assert audit(machine, [job_id]) == {"succeeded": 1}


def test_the_inline_client_is_killed_and_the_next_command_goes_on(machine: Machine, vendor: Vendor) -> None:
    hang(vendor)
    client = machine.start(*FETCH, "-s", "IBM", "--inline")
    once_asked(vendor)
    [job] = eventually(machine.jobs, "the job")
    running(machine, job["id"])
    kill(client.pid)
    client.process.wait(5)
    ran = machine.run(*FETCH, "-s", "IBM", "--json", seconds=20).ok()
    assert ran.json["job_id"] == job["id"]
    assert audit(machine, [job["id"]]) == {"succeeded": 1}


def test_the_client_is_killed_between_commit_and_publish(machine: Machine, vendor: Vendor) -> None:
    machine.worker("-c", "1")
    died = machine.run_python(
        """
        import os
        import marketjobs
        from marketjobs.tasks import publish
        publish.send = lambda jobs: os.kill(os.getpid(), 9)
        marketjobs.submit("fetch_market_data", symbols=["AAPL"])
        """
    )
    assert died.code == -signal.SIGKILL
    [job] = machine.jobs()
    machine.in_state(job["id"], "succeeded", seconds=10)
    assert audit(machine, [job["id"]]) == {"succeeded": 1}


def test_the_client_is_killed_between_publish_and_remembering_it(machine: Machine) -> None:
    machine.worker("-c", "1")
    died = machine.run_python(
        """
        import os
        import marketjobs
        from marketjobs.storage import jobs
        jobs.mark_published = lambda tx, sent: os.kill(os.getpid(), 9)
        marketjobs.submit("fetch_market_data", symbols=["AAPL"])
        """
    )
    assert died.code == -signal.SIGKILL
    [job] = machine.jobs()
    assert machine.in_state(job["id"], "succeeded", seconds=10)["attempt"] == 1
    assert audit(machine, [job["id"]]) == {"succeeded": 1}


def test_the_client_is_killed_before_its_commit(machine: Machine) -> None:
    """A request and its parts are accepted together or not at all."""
    died = machine.run_python(
        """
        import os
        import marketjobs
        from marketjobs.storage import jobs
        insert_many = jobs.insert_many
        jobs.insert_many = lambda tx, parts: (insert_many(tx, parts), os.kill(os.getpid(), 9))
        marketjobs.submit("fetch_market_data", symbols=[f"S{number}" for number in range(300)])
        """
    )
    assert died.code == -signal.SIGKILL
    assert machine.jobs() == []
    job_id = machine.run(*FETCH, "--json").ok().json["job_id"]
    assert audit(machine, [job_id]) == {"succeeded": 1}


# -- Ctrl-C -----------------------------------------------------------------------------------------------


def test_ctrl_c_while_watching_lets_the_job_go_on(machine: Machine, vendor: Vendor) -> None:
    machine.worker("-c", "1")
    hang(vendor, 2.5)
    client = machine.start(*FETCH)
    once_asked(vendor)
    [job] = machine.jobs()
    running(machine, job["id"])
    client.ctrl_c()
    ran = client.wait(5).ok(130)
    assert "goes on" in ran.err
    assert "marketjobs status" in ran.err
    assert machine.in_state(job["id"], "succeeded")["attempt"] == 1
    assert audit(machine, [job["id"]]) == {"succeeded": 1}


def test_ctrl_c_while_running_here_hands_the_job_back(machine: Machine, vendor: Vendor) -> None:
    hang(vendor, 60.0)
    client = machine.start(*FETCH, "-s", "IBM")
    once_asked(vendor)
    [job] = machine.jobs()
    running(machine, job["id"])
    client.ctrl_c()
    ran = client.wait(5).ok(130)
    assert f"marketjobs result {job['id'][-8:]} --wait" in ran.err
    row = machine.job(job["id"])
    assert (row["state"], row["attempt"], row["owner"]) == ("queued", 0, None)
    machine.no_process_is_left(3)
    assert machine.run("result", job["id"], "--wait", seconds=20).ok()
    assert audit(machine, [job["id"]]) == {"succeeded": 1}


@pytest.mark.parametrize("when", [0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.2])
def test_ctrl_c_at_any_moment_of_a_command(machine: Machine, vendor: Vendor, when: float) -> None:
    """The moments differ from machine to machine; what must hold does not."""
    vendor.latency_seconds = 0.3
    client = machine.start(*FETCH, "-s", "IBM", "-s", "MSFT")
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: not client.runs, "the command ends", seconds=when, every=0.01)
    client.ctrl_c()
    ran = client.wait(10)
    assert ran.code in (0, 130, -signal.SIGINT), str(ran)
    if ran.code != -signal.SIGINT:  # that early, Python itself has not begun to listen
        assert "Traceback" not in ran.err, str(ran)
    machine.no_process_is_left(5)
    machine.run(*FETCH, "-s", "IBM", "-s", "MSFT", seconds=20).ok()
    rows = machine.jobs()
    assert {row["state"] for row in rows} == {"succeeded"}
    audit(machine, [row["id"] for row in rows])


def test_ctrl_c_typed_at_a_terminal(machine: Machine, vendor: Vendor) -> None:
    hang(vendor, 60.0)
    screen = machine.terminal(*FETCH)
    once_asked(vendor)
    screen.types("\x03")
    assert screen.wait(10) == 130
    assert "Traceback" not in screen.text
    [job] = machine.jobs()
    assert job["state"] == "queued"
    machine.run(*FETCH).ok()
    assert audit(machine, [job["id"]]) == {"succeeded": 1}


def test_ctrl_c_at_up_is_warm_first(machine: Machine, vendor: Vendor) -> None:
    up = machine.start("up")
    eventually(lambda: machine.rows("SELECT 1 FROM worker WHERE kind = 'worker'"), "a worker")
    hang(vendor, 2.0)
    job_id = begin_fetch(machine)
    running(machine, job_id)
    once_asked(vendor)
    up.ctrl_c()
    up.wait(30).ok()
    row = machine.job(job_id)
    assert (row["state"], row["attempt"]) == ("succeeded", 1)
    machine.no_process_is_left(3)
    assert audit(machine, [job_id]) == {"succeeded": 1}
    assert all(row["stopped_at"] for row in machine.rows("SELECT * FROM worker"))


def test_a_second_ctrl_c_at_up_hands_back(machine: Machine, vendor: Vendor) -> None:
    up = machine.start("up")
    eventually(lambda: machine.rows("SELECT 1 FROM worker WHERE kind = 'worker'"), "a worker")
    hang(vendor, 120.0)
    job_id = begin_fetch(machine)
    running(machine, job_id)
    once_asked(vendor)
    up.ctrl_c()
    up.says("stopping")
    up.ctrl_c()
    up.wait(15).ok()
    row = machine.job(job_id)
    assert (row["state"], row["attempt"]) == ("queued", 0)
    machine.no_process_is_left(3)
    machine.run("result", job_id, "--wait").ok()
    assert audit(machine, [job_id]) == {"succeeded": 1}


def test_a_third_ctrl_c_kills(machine: Machine, vendor: Vendor) -> None:
    worker = machine.worker("-c", "1")
    hang(vendor, 120.0)
    job_id = begin_fetch(machine)
    running(machine, job_id)
    once_asked(vendor)
    [main] = machine.children(worker)["main"]
    os.kill(main, signal.SIGSTOP)  # deaf to the polite ones
    for heard in ("stopping: ", "stopping now: ", "killing"):
        worker.ctrl_c()
        worker.says(heard, 4)
    worker.wait(15)
    machine.no_process_is_left(10)
    machine.run("result", job_id, "--wait", seconds=20).ok()
    assert audit(machine, [job_id]) == {"succeeded": 1}


@pytest.mark.whole
@pytest.mark.slow
def test_a_worker_that_can_not_start_gives_up_loudly(machine: Machine) -> None:
    machine.run("init").ok()
    machine.home.joinpath("queue").write_text("no folder")
    worker = machine.start("worker")
    ran = worker.wait(4 * LONG)
    assert ran.code == 1
    assert "marketjobs: worker ended 10 times within seconds of its start: giving up" in ran.err
    machine.no_process_is_left(5)
    assert audit(machine, []) == {}
