"""What Celery promises to programs, on each broker: results, groups, retries, other programs' messages, hostile ones.

A real worker (the supervisor with its reaper) serves each suite; programs run in processes of their own.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from marketjobs.config import QUEUES
from processes import LONG, Machine, RedisServer, Running, eventually, machine_of, require_redis_server
from rabbit import RabbitServer
from vendor import Vendor

PROGRAM = """
import json, sys, time
from celery import chain, chord, group
from celery.result import AsyncResult
from jobs_for_tests import add, again, app, auto, count, fail, nap, nested
from marketjobs.tasks.bars import fetch_market_data

def raised(call):
    try:
        return call()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
"""
FOREIGN = """
# Another program: it knows the broker and the task's name, and nothing of marketjobs.
import json, sys
from celery import Celery
assert not any(name.startswith("marketjobs") for name in sys.modules)
other = Celery("other")
other.conf.update(json.loads(sys.argv[1]))
other.conf.task_default_queue = "default"
"""
HOSTILE: dict[str, dict[str, Any]] = {
    "a number": {"body": "5"},
    "null": {"body": "null"},
    "a text": {"body": '"x"'},
    "one entry": {"body": "[1]"},
    "two entries": {"body": "[[], {}]"},
    "an object": {"body": '{"a": 1}'},
    "no JSON": {"body": "{]"},
    "empty": {"body": ""},
    "arguments that are a number": {"body": "[5, {}, {}]"},
    "named arguments that are a list": {"body": "[[], [], {}]"},
    "embed that is a number": {"body": "[[1, 2], {}, 5]"},
    "wrong arity": {"body": "[[1, 2, 3, 4], {}, {}]"},
    "unknown argument": {"body": '[[1], {"nonsense": 2}, {}]'},
    "pickle": {"body": "gASVBQAAAAAAAABdlEsBYS4=", "content_type": "application/x-python-serialize"},
    "unknown content type": {"body": "[[1, 2], {}, {}]", "content_type": "application/x-nonsense"},
    "unknown encoding": {"body": "[[1, 2], {}, {}]", "content_encoding": "nonsense-8"},
    "no headers": {"body": "[[1, 2], {}, {}]", "headers": {}},
    "no id": {"body": "[[1, 2], {}, {}]", "headers": {"task": "tests.add"}},
    "an id that is a number": {"body": "[[1, 2], {}, {}]", "headers": {"task": "tests.add", "id": 5}},
    "an empty id": {"body": "[[1, 2], {}, {}]", "headers": {"task": "tests.add", "id": ""}},
    "an id without an end": {"body": "[[1, 2], {}, {}]", "headers": {"task": "tests.add", "id": "x" * 5000}},
    "an id that colours": {"body": "[[1, 2], {}, {}]", "headers": {"task": "tests.add", "id": "\x1b[31mRED\nforged"}},
    "unknown task": {"body": "[[1, 2], {}, {}]", "headers": {"task": "tests.nonsense", "id": "unknown-task"}},
    "a task that is a list": {"body": "[[1, 2], {}, {}]", "headers": {"task": ["x"], "id": "task-list"}},
    "a task that is null": {"body": "[[1, 2], {}, {}]", "headers": {"task": None, "id": "task-null"}},
    "an eta that is no time": {"body": "[[1, 2], {}, {}]", "more": {"eta": "soon"}},
    "an eta that is a number": {"body": "[[1, 2], {}, {}]", "more": {"eta": 5}},
    "an expiry that is no time": {"body": "[[1, 2], {}, {}]", "more": {"expires": "never"}},
    "time limits that are a text": {"body": "[[1, 2], {}, {}]", "more": {"timelimit": "x"}},
    "time limits that are a number": {"body": "[[1, 2], {}, {}]", "more": {"timelimit": 5}},
    "time limits of texts": {"body": "[[1, 2], {}, {}]", "more": {"timelimit": ["x", "y"]}},
    "retries that are a text": {"body": "[[1, 2], {}, {}]", "more": {"retries": "many"}},
    "stamps that are a number": {"body": "[[1, 2], {}, {}]", "more": {"stamped_headers": 5, "stamps": 5}},
    "a group that is a list": {"body": "[[1, 2], {}, {}]", "more": {"group": [1]}},
    "the first protocol": {"body": '{"task": "tests.add", "id": "first-protocol", "args": [1, 2]}', "headers": {}},
    "the first protocol, broken": {"body": '{"task": "tests.add", "id": 7, "args": 5}', "headers": {}},
    "a number beyond 64 bits": {"body": "[[1, 100000000000000000000000000000000], {}, {}]"},
    "half of a character": {"body": '[[1], {"b": "\\ud800"}, {}]'},
    "a type that nobody knows": {"body": '[[{"__type__": "nonsense", "__value__": 1}, 2], {}, {}]'},
    "a type with a wrong value": {"body": '[[{"__type__": "decimal", "__value__": "x"}, 2], {}, {}]'},
    "nested too deeply": {"body": "[" * 100_000},
    "a fetch without symbols": {
        "body": '[[], {"symbols": []}, {}]',
        "headers": {"task": "marketjobs.fetch_market_data", "id": "no-symbols"},
    },
    "a fetch from nobody": {
        "body": '[[], {"symbols": ["AAPL"], "provider": "nonsense"}, {}]',
        "headers": {"task": "marketjobs.fetch_market_data", "id": "no-provider"},
    },
}


class BrokerContract:
    """Subclasses say where the messages go."""

    variables: ClassVar[dict[str, str]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def broker(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
        """The variables that configure it."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def machine(cls, tmp_path_factory: pytest.TempPathFactory, broker: dict[str, str]) -> Iterator[Machine]:
        root = tmp_path_factory.mktemp("broker")
        with Vendor() as vendor, machine_of(root, vendor, MARKETJOBS_RETRY__BASE_SECONDS="0.2", **broker) as made:
            yield made

    @pytest.fixture(scope="class")
    @classmethod
    def worker(cls, machine: Machine) -> Running:
        return machine.test_worker(2)

    def foreign_settings(self, machine: Machine) -> dict[str, Any]:
        """Celery's settings of a program that only knows the broker."""
        raise NotImplementedError

    # -- how the tests speak

    def program(self, machine: Machine, code: str, **variables: str) -> Any:
        """What ``answer`` is at the end of a program that uses the tasks."""
        text = PROGRAM + textwrap.dedent(code) + "\nprint(json.dumps(answer))\n"
        return machine.python(text, **variables)

    def foreign(self, machine: Machine, code: str) -> Any:
        text = FOREIGN + textwrap.dedent(code) + "\nprint(json.dumps(answer))\n"
        return machine.python(text, json.dumps(self.foreign_settings(machine)))

    def everything_was_taken(self, machine: Machine) -> None:
        """All messages that were sent before have been handled: later jobs have ended on both pool processes."""
        self.program(machine, "answer = group(count.s(n, 0.1) for n in range(6))().get(timeout=30)")

    # -- results

    def test_delay_is_a_job_and_get_its_result(self, machine: Machine, worker: Running) -> None:
        job_id, value = self.program(machine, "r = add.delay(2, 3); answer = [r.id, r.get(timeout=30)]")
        assert value == 5
        row = machine.job(job_id)
        assert (row["state"], row["task"], json.loads(row["arguments"])) == ("succeeded", "tests.add", {"a": 2, "b": 3})

    def test_a_fetch_by_delay_stores_bars(self, machine: Machine, worker: Running) -> None:
        report = self.program(
            machine, 'answer = fetch_market_data.delay(["AAPL", "NOSUCH"], period="1mo").get(timeout=30)'
        )
        assert [(one["symbol"], one["status"]) for one in report["symbols"]] == [
            ("AAPL", "stored"),
            ("NOSUCH", "failed"),
        ]
        assert len(machine.bars("AAPL")) == report["symbols"][0]["rows_new"] > 15

    def test_a_result_says_what_the_row_says(self, machine: Machine, worker: Running) -> None:
        seen = self.program(
            machine,
            """
            r = nap.delay(1.5, "seen")
            seen = set()
            while not r.ready():
                seen.add((r.state, json.dumps(r.info)))
                time.sleep(0.02)
            answer = [sorted(seen), r.state, r.info, r.exists(), r.successful(), r.name, r.date_done is not None]
            r.forget()
            again = AsyncResult(r.id, app=app)
            answer += [again.exists(), again.state]
            """,
        )
        states = {state for state, _ in seen[0]}
        assert states <= {"PENDING", "STARTED"}
        assert "STARTED" in states
        started = next(json.loads(info) for state, info in seen[0] if state == "STARTED")
        assert started["attempt"] == 1
        assert seen[1:] == ["SUCCESS", "seen", True, True, "tests.nap", True, False, "PENDING"]

    def test_a_failed_job_raises_with_its_cause(self, machine: Machine, worker: Running) -> None:
        job_id, said, state = self.program(
            machine,
            'r = fail.delay("no luck"); said = raised(lambda: r.get(timeout=30)); answer = [r.id, said, r.state]',
        )
        assert said == "JobFailed: internal_error: ValueError: no luck"
        assert state == "FAILURE"
        row = machine.job(job_id)
        assert (row["state"], row["attempt"], row["error_cause"]) == ("dead", 3, "internal_error")

    def test_an_unknown_id_is_pending_and_get_raises(self, machine: Machine, worker: Running) -> None:
        state, exists, said, waited = self.program(
            machine,
            """
            r = AsyncResult("11111111-2222-3333-4444-555555555555", app=app)
            began = time.monotonic()
            answer = [r.state, r.exists(), raised(lambda: r.get(timeout=30)), 0]
            answer[3] = time.monotonic() - began
            """,
        )
        assert (state, exists) == ("PENDING", False)
        assert said.startswith("JobNotFound: ")
        assert 4.5 < waited < 15

    def test_get_keeps_its_timeout(self, machine: Machine, worker: Running) -> None:
        said = self.program(
            machine,
            "r = add.apply_async((1, 1), countdown=3600); answer = raised(lambda: r.get(timeout=0.3)); r.revoke()",
        )
        assert said.startswith("TimeoutError: ")

    def test_a_group(self, machine: Machine, worker: Running) -> None:
        assert self.program(machine, "answer = group(add.s(n, 1) for n in range(20))().get(timeout=60)") == [
            *range(1, 21)
        ]

    def test_a_job_inside_a_job(self, machine: Machine, worker: Running) -> None:
        value = self.program(
            machine, "inner = nested.delay(41).get(timeout=30); answer = AsyncResult(inner, app=app).get(timeout=30)"
        )
        assert value == 42

    def test_a_task_called_like_a_function_is_no_job(self, machine: Machine, worker: Running) -> None:
        before = len(machine.jobs())
        assert self.program(machine, "answer = add(20, 22)") == 42
        assert len(machine.jobs()) == before

    # -- when

    def test_retry_counts_attempts_and_keeps_the_id(self, machine: Machine, worker: Running) -> None:
        job_id, value, retries = self.program(
            machine, "r = again.delay(2); answer = [r.id, r.get(timeout=30), r.retries]"
        )
        assert (value, retries) == (2, 2)
        assert machine.job(job_id)["attempt"] == 3

    def test_more_retries_than_attempts_end_it(self, machine: Machine, worker: Running) -> None:
        job_id, said = self.program(machine, "r = again.delay(99); answer = [r.id, raised(lambda: r.get(timeout=30))]")
        assert said.startswith("JobFailed: ")
        assert (machine.job(job_id)["state"], machine.job(job_id)["attempt"]) == ("dead", 3)

    def test_autoretry_for(self, machine: Machine, worker: Running) -> None:
        assert self.program(machine, "answer = auto.delay(2).get(timeout=60)") == 2

    def test_a_waiting_retry_says_so(self, machine: Machine, worker: Running) -> None:
        state, waits_for = self.program(
            machine,
            """
            r = again.delay(1, countdown=3600)
            give_up_at = time.monotonic() + 30
            while r.state != "RETRY" and time.monotonic() < give_up_at:
                time.sleep(0.02)
            answer = [r.state, r.info["waits_for"]]
            r.revoke()
            """,
        )
        assert (state, waits_for) == ("RETRY", "its time")

    @pytest.mark.parametrize("how", ["countdown=1.5", "eta=datetime.now(UTC) + timedelta(seconds=1.5)"])
    def test_countdown_and_eta_become_run_at(self, machine: Machine, worker: Running, how: str) -> None:
        job_id, first, value = self.program(
            machine,
            f"""
            from datetime import UTC, datetime, timedelta
            r = add.apply_async((1, 2), {how})
            first = r.state
            answer = [r.id, first, r.get(timeout=30)]
            """,
        )
        row = machine.job(job_id)
        assert (first, value) == ("RETRY", 3)
        assert row["run_at"] - row["submitted_at"] == pytest.approx(1.5, abs=0.5)
        assert row["started_at"] >= row["run_at"]

    def test_a_naive_eta_is_refused(self, machine: Machine, worker: Running) -> None:
        said = self.program(
            machine,
            "from datetime import datetime\nanswer = raised(lambda: add.apply_async((1, 2), eta=datetime(2030, 1, 1)))",
        )
        assert said.startswith("InvalidInput: eta without a time zone")

    @pytest.mark.parametrize(
        "call",
        [
            "add.apply_async((1, 2), link=add.s(1))",
            "add.apply_async((1, 2), link_error=add.s(1))",
            "chain(add.s(1, 2), add.s(3)).delay()",
            "(add.s(1, 2) | add.s(3)).apply_async()",
            "chord([add.s(1, 2), add.s(3, 4)])(count.s())",
            "chord([add.s(1, 2), add.s(3, 4)], count.s()).delay()",
            "add.apply_async((1, 2), expires=60)",
        ],
    )
    def test_what_a_crash_would_lose_is_refused(self, machine: Machine, worker: Running, call: str) -> None:
        before = len(machine.jobs())
        said = self.program(machine, f"answer = raised(lambda: str({call}))")
        assert said.startswith("InvalidInput: "), said
        assert "\n" not in said
        assert "children" in said
        assert len(machine.jobs()) == before

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ('queue="typo"', "unknown queue 'typo': there are market_data news portfolio analytics default"),
            ("time_limit=5", "time_limit of one call is not kept"),
            ("soft_time_limit=5", "soft_time_limit of one call is not kept"),
            ('headers={"a": 1}', "headers of one call is not kept"),
            ('exchange="x"', "exchange of one call is not kept"),
            ("priority=10", "priority 10 is no whole number from 0 (last) to 9 (first)"),
            ('priority="high"', "priority 'high' is no whole number"),
        ],
    )
    def test_an_option_that_is_not_kept_is_refused(
        self, machine: Machine, worker: Running, options: str, words: str
    ) -> None:
        before = len(machine.jobs())
        said = self.program(machine, f"answer = raised(lambda: str(add.apply_async((1, 2), {options})))")
        assert said.startswith(f"InvalidInput: {words}"), said
        assert "\n" not in said
        assert len(machine.jobs()) == before

    def test_wrong_arguments_are_refused_where_they_are_handed_in(self, machine: Machine, worker: Running) -> None:
        said = self.program(machine, "answer = raised(lambda: add.delay(1, 2, 3))")
        assert said.startswith("InvalidInput: tests.add: ")

    # -- other programs

    def test_another_programs_message_becomes_a_job(self, machine: Machine, worker: Running) -> None:
        job_id = self.foreign(machine, 'answer = other.send_task("tests.add", (30, 12), queue="default").id')
        row = machine.in_state(job_id, "succeeded") if machine.rows("SELECT 1 FROM job WHERE id = ?", job_id) else None
        if row is None:
            eventually(lambda: machine.rows("SELECT 1 FROM job WHERE id = ?", job_id), "its row")
            row = machine.in_state(job_id, "succeeded")
        assert json.loads(row["result"]) == {"value": 42}
        assert json.loads(row["arguments"]) == {"a": 30, "b": 12}

    def test_another_programs_fetch_becomes_a_job(self, machine: Machine, worker: Running) -> None:
        job_id = self.foreign(
            machine,
            'answer = other.send_task("marketjobs.fetch_market_data", kwargs={"symbols": ["MSFT"], "period": "5d"},'
            ' queue="market_data").id',
        )
        eventually(lambda: machine.rows("SELECT 1 FROM job WHERE id = ?", job_id), "its row")
        machine.in_state(job_id, "succeeded")
        assert machine.bars("MSFT")

    def test_another_programs_large_fetch_is_split(self, machine: Machine, worker: Running) -> None:
        job_id = self.foreign(
            machine,
            'answer = other.send_task("marketjobs.fetch_market_data", queue="market_data",'
            ' kwargs={"symbols": [f"L{n}" for n in range(130)], "period": "5d"}).id',
        )
        eventually(lambda: machine.rows("SELECT 1 FROM job WHERE id = ?", job_id), "its row")
        row = machine.in_state(job_id, "succeeded")
        assert [one["symbol"] for one in json.loads(row["result"])["symbols"]] == [f"L{n}" for n in range(130)]

    @pytest.mark.parametrize(
        "arguments",
        [
            {"symbols": ["AAPL"], "interval": "7y"},
            {"symbols": "AAPL"},
            {"symbols": ["AA\0PL"]},
            {"symbols": ["AAPL"], "provider": "nonsense"},
            {"symbols": ["AAPL"], "interval": "5d"},
            {"symbols": ["AAPL"], "nonsense": 1},
            {"symbols": [["AAPL"]]},
        ],
        ids=repr,
    )
    def test_another_programs_nonsense_is_a_dead_row_that_says_why(
        self, machine: Machine, worker: Running, arguments: dict[str, Any]
    ) -> None:
        job_id = self.foreign(
            machine,
            f'answer = other.send_task("marketjobs.fetch_market_data", kwargs={arguments!r}, queue="market_data").id',
        )
        eventually(lambda: machine.rows("SELECT 1 FROM job WHERE id = ?", job_id), "its row", 15)
        row = machine.in_state(job_id, "dead")
        assert row["error_cause"] in ("invalid_input", "unknown_provider", "unsupported")
        assert row["error_message"]

    def test_a_known_id_runs_with_its_rows_arguments(self, machine: Machine, worker: Running) -> None:
        job_id = self.program(machine, "answer = add.apply_async((1, 2), countdown=1).id")
        for _ in range(3):
            self.foreign(machine, f'answer = other.send_task("tests.add", (500, 1), task_id="{job_id}").id')
        row = machine.in_state(job_id, "succeeded")
        self.everything_was_taken(machine)
        assert json.loads(row["result"]) == {"value": 3}
        assert "add 500 1" not in machine.effects()
        assert machine.job(job_id)["attempt"] == 1

    def test_a_finished_id_does_not_run_again(self, machine: Machine, worker: Running) -> None:
        job_id = self.program(machine, "r = add.delay(600, 1); r.get(timeout=30); answer = r.id")
        before = machine.job(job_id)
        self.foreign(machine, f'answer = other.send_task("tests.add", (600, 1), task_id="{job_id}").id')
        self.everything_was_taken(machine)
        assert machine.job(job_id) == before
        assert machine.effects().count("add 600 1") == 1

    def test_a_message_of_ours_whose_row_is_gone_does_nothing(self, machine: Machine, worker: Running) -> None:
        job_id = "99999999-aaaa-bbbb-cccc-dddddddddddd"
        self.foreign(
            machine,
            f'answer = other.send_task("tests.add", (700, 1), task_id="{job_id}", headers={{"marketjobs_row": 1}}).id',
        )
        self.everything_was_taken(machine)
        assert machine.rows("SELECT 1 FROM job WHERE id = ?", job_id) == []
        assert "add 700 1" not in machine.effects()

    def test_send_task_of_our_app_is_a_job_at_once(self, machine: Machine, worker: Running) -> None:
        exists, value = self.program(
            machine, 'r = app.send_task("tests.add", (4, 5)); answer = [r.exists(), r.get(timeout=30)]'
        )
        assert (exists, value) == (True, 9)

    # -- revoke

    def test_revoke_writes_the_row(self, machine: Machine, worker: Running) -> None:
        first, second, said = self.program(
            machine,
            """
            r, s = (add.apply_async((n, 800), countdown=3600) for n in (1, 2))
            r.revoke()
            app.control.revoke([s.id])
            answer = [[r.id, r.state], [s.id, s.state], raised(lambda: r.get(timeout=30))]
            """,
        )
        assert (first[1], second[1]) == ("REVOKED", "REVOKED")
        assert said.startswith("TaskRevokedError: ")
        assert {machine.job(one)["state"] for one in (first[0], second[0])} == {"cancelled"}

    def test_a_running_job_is_revoked_within_ten_seconds(self, machine: Machine, worker: Running) -> None:
        job_id, seconds = self.program(
            machine,
            """
            r = nap.delay(25, "revoked")
            while r.state != "STARTED":
                time.sleep(0.02)
            r.revoke()
            began = time.monotonic()
            raised(lambda: r.get(timeout=40))
            answer = [r.id, time.monotonic() - began]
            """,
        )
        assert (machine.job(job_id)["state"], seconds < 12) == ("cancelled", True), seconds

    # -- trust nobody

    @pytest.mark.timeout(400)
    def test_hostile_messages_harm_nobody(self, machine: Machine, worker: Running) -> None:
        main_process = machine.children(worker)["main"]
        settings = json.dumps(self.foreign_settings(machine))
        survived = machine.python(
            PROGRAM
            + textwrap.dedent(
                """
                from celery import Celery
                from kombu import Producer
                from marketjobs.services.jobs import row
                from marketjobs.tasks.runtime import runtime
                from marketjobs.storage import workers

                def worker_pid():
                    with runtime().database.read() as tx:
                        return [one.pid for one in workers.listed(tx, 3600) if one.id.startswith("worker")][0]

                other = Celery("other", set_as_current=False)
                other.conf.update(json.loads(sys.argv[1]))
                answer = {}
                pid = worker_pid()
                with other.connection_for_write() as connection:
                    producer = Producer(connection)
                    for number, (name, case) in enumerate(json.loads(sys.argv[2]).items()):
                        headers = case.get("headers", {"task": "tests.add", "id": f"hostile-{number}"})
                        producer.publish(
                            case["body"].encode(),
                            routing_key="default",
                            content_type=case.get("content_type", "application/json"),
                            content_encoding=case.get("content_encoding", "utf-8"),
                            headers=headers | case.get("more", {}),
                        )
                        values = raised(lambda: group(add.s(n, number) for n in range(4))().get(timeout=30))
                        now = worker_pid()
                        if values != [n + number for n in range(4)] or now != pid:
                            answer[name] = [values, "worker restarted" if now != pid else "same worker"]
                            pid = now
                print(json.dumps(answer))
                """
            ),
            settings,
            json.dumps(HOSTILE),
            seconds=350,
        )
        assert survived == {}, machine.said()[-6000:]
        assert machine.children(worker)["main"] == main_process
        at_once = self.program(
            machine,
            """
            pair = [nap.delay(1.5, f"at once {n}") for n in range(2)]
            answer = False
            while not (answer or all(r.ready() for r in pair)):
                answer = [r.state for r in pair] == ["STARTED", "STARTED"]
                time.sleep(0.02)
            """,
        )
        assert at_once, "a message has cost the worker a place of its pool"

    # -- Celery's own tools

    def test_inspect_ping(self, machine: Machine, worker: Running) -> None:
        celery = Path(sys.executable).with_name("celery")
        ran = machine.run_any(celery, "-A", "marketjobs.tasks", "inspect", "ping", "--timeout", "10", "--json")
        assert list(ran.ok().json.values()) == [{"ok": "pong"}]

    def test_inspect_ping_and_delay_with_celerys_variables(self, machine: Machine, worker: Running) -> None:
        """Celery reads both before any configuration; port 1 answers nobody."""
        celery = Path(sys.executable).with_name("celery")
        variables = {"CELERY_RESULT_BACKEND": "redis://127.0.0.1:1/0", "CELERY_BROKER_URL": self.broker_url(machine)}
        ran = machine.run_any(
            celery, "-A", "marketjobs.tasks", "inspect", "ping", "--timeout", "10", "--json", **variables
        )
        assert list(ran.ok().json.values()) == [{"ok": "pong"}]
        assert self.program(machine, "answer = add.delay(1, 1).get(timeout=30)", **variables) == 2

    def broker_url(self, machine: Machine) -> str:
        """What CELERY_BROKER_URL says; empty where there is nothing to say."""
        return ""


@pytest.mark.xdist_group("embedded broker")
class TestEmbedded(BrokerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def broker(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
        yield {}

    def foreign_settings(self, machine: Machine) -> dict[str, Any]:
        queue = machine.home / "queue"
        return {
            "broker_url": "filesystem://",
            "broker_transport_options": {
                "data_folder_in": str(queue / "messages"),
                "data_folder_out": str(queue / "messages"),
                "control_folder": str(queue / "control"),
            },
        }

    @pytest.mark.parametrize("text", ["5", "null", "[]", "{}", '{"body": 5}', "{]", ""])
    def test_a_file_that_is_no_message_ends_nobody(self, machine: Machine, worker: Running, text: str) -> None:
        main_process = machine.children(worker)["main"]
        folder = machine.home / "queue" / "messages"
        (folder / "0000000000000_hostile.default.msg").write_text(text)
        assert self.program(machine, "answer = add.delay(1, 1).get(timeout=30)") == 2
        assert machine.children(worker)["main"] == main_process

    @pytest.mark.parametrize("what", ["nested", "folder", "pipe", "link to nothing"])
    def test_what_can_not_be_read_like_a_file_ends_nobody(self, machine: Machine, worker: Running, what: str) -> None:
        main_process = machine.children(worker)["main"]
        hostile = machine.home / "queue" / "messages" / f"0000000000000_{what[:6]}.default.msg"
        if what == "nested":
            hostile.write_text("[" * 200_000)
        elif what == "folder":
            hostile.mkdir()
        elif what == "pipe":
            os.mkfifo(hostile)
        else:
            hostile.symlink_to(hostile.with_name("nowhere"))
        assert self.program(machine, "answer = add.delay(1, 1).get(timeout=30)") == 2
        assert machine.children(worker)["main"] == main_process

    def test_a_message_that_is_still_being_written_is_waited_for(self, machine: Machine, worker: Running) -> None:
        """kombu's own filesystem transport makes the file first and fills it then."""
        job_id = self.foreign(
            machine,
            """
            import os, pathlib, time
            from kombu.transport import filesystem

            class Slow(filesystem.Channel):
                def _put(self, queue, payload, **_):
                    name = pathlib.Path(self.data_folder_out) / f"0000000000001_slow.{queue}.msg"
                    text = filesystem.dumps(payload)
                    with open(name, "w") as sink:
                        sink.write(text[:40])
                        sink.flush()
                        time.sleep(0.15)
                        sink.write(text[40:])

            class Transport(filesystem.Transport):
                Channel = Slow

            other.conf.broker_transport = Transport
            from kombu import Connection
            connection = Connection(transport=Transport, transport_options=other.conf.broker_transport_options)
            answer = other.send_task("tests.add", (900, 1), queue="default", connection=connection).id
            """,
        )
        eventually(lambda: machine.rows("SELECT 1 FROM job WHERE id = ?", job_id), "its row", 15)
        machine.in_state(job_id, "succeeded")


@pytest.mark.redis
@pytest.mark.xdist_group("redis broker")
class TestRedis(BrokerContract):
    server: ClassVar[RedisServer]

    @pytest.fixture(scope="class")
    @classmethod
    def broker(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
        require_redis_server()
        server = RedisServer(tmp_path_factory.mktemp("redis"))
        server.start()
        yield {"MARKETJOBS_BROKER__URL": server.url}
        server.kill()

    def foreign_settings(self, machine: Machine) -> dict[str, Any]:
        return {"broker_url": machine.env["MARKETJOBS_BROKER__URL"]}

    def broker_url(self, machine: Machine) -> str:
        return machine.env["MARKETJOBS_BROKER__URL"]

    def test_nothing_is_written_to_the_result_backend(
        self, machine: Machine, worker: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also without a setting of ours: Celery's variables name the broker."""
        url = machine.env["MARKETJOBS_BROKER__URL"]
        monkeypatch.delitem(machine.env, "MARKETJOBS_BROKER__URL")
        variables = {
            "CELERY_RESULT_BACKEND": url.removesuffix("/0") + "/5",
            "CELERY_BROKER_URL": url,
        }
        code = """
            r = add.delay(1, 1)
            answer = [r.get(timeout=30), app.conf.broker_url, type(app.backend).__name__]
        """
        assert self.program(machine, code, **variables) == [2, url, "JobBackend"]
        keys = machine.python(
            "import json, redis, sys; print(json.dumps([k.decode() for k in redis.from_url(sys.argv[1]).keys()]))",
            variables["CELERY_RESULT_BACKEND"],
        )
        assert keys == []

    @pytest.mark.parametrize(
        "text",
        [
            *("{]", "", "5", "null", "[]", "{}", '{"body": 5}', "\udcff\udcfe", '{"__type__": "x", "__value__": 1}'),
            '{"body": "W10=", "properties": {"delivery_tag": "1"}}',
            '{"body": "W10=", "properties": {"delivery_tag": [1], "delivery_info": {}, "body_encoding": "none"}}',
        ],
    )
    def test_raw_text_in_a_list_ends_nobody(self, machine: Machine, worker: Running, text: str) -> None:
        """kombu's own reader stumbles over what is no message, and the worker with it."""
        main_process = machine.children(worker)["main"]
        program = """
            import os, redis
            redis.from_url(app.conf.broker_url).lpush("default", os.environb[b"TEXT"])
            answer = add.delay(1, 1).get(timeout=30)
        """
        assert self.program(machine, program, TEXT=text) == 2
        self.everything_was_taken(machine)
        assert machine.children(worker)["main"] == main_process
        assert "message.refused" in worker.err

    def test_nonsense_on_the_control_channel_ends_nobody(self, machine: Machine, worker: Running) -> None:
        main_process = machine.children(worker)["main"]
        program = """
            import redis
            client = redis.from_url(app.conf.broker_url)
            for text in ("5", "{]", "{}", '{"properties": 1}'):
                assert client.publish("/0.celery.pidbox", text) >= 1
            answer = add.delay(1, 1).get(timeout=30)
        """
        assert self.program(machine, program) == 2
        assert machine.children(worker)["main"] == main_process

    def test_a_higher_priority_is_served_first(self, machine: Machine, worker: Running) -> None:
        """Redis itself serves 0 first; the ledger says 9 is first, and so it is."""
        ids = self.program(
            machine,
            """
            busy = [nap.delay(1.5, f"busy {n}") for n in range(6)]
            while sum(r.state == "STARTED" for r in busy) < 2:
                time.sleep(0.02)
            time.sleep(0.5)
            low = [count.apply_async((n,), priority=0) for n in range(3)]
            high = [count.apply_async((n,), priority=9) for n in range(3)]
            for r in low + high:
                r.get(timeout=60)
            answer = [[r.id for r in low], [r.id for r in high]]
            """,
        )
        low, high = ([machine.job(one)["started_at"] for one in some] for some in ids)
        assert max(high) <= min(low)


@pytest.mark.rabbitmq
@pytest.mark.xdist_group("rabbitmq broker")
class TestRabbitMQ(BrokerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def broker(cls, rabbit_of_session: RabbitServer) -> Iterator[dict[str, str]]:
        rabbit_of_session.start()
        yield {"MARKETJOBS_BROKER__URL": rabbit_of_session.new_vhost()}

    def test_our_queues_are_quorum_queues(
        self, machine: Machine, worker: Running, rabbit_of_session: RabbitServer
    ) -> None:
        """And nothing else is left in the vhost but what control needs: no delay queues of Celery's."""
        vhost = machine.env["MARKETJOBS_BROKER__URL"].rpartition("/")[2]
        said = rabbit_of_session.ctl("list_queues", "-p", vhost, "name", "type", "--no-table-headers")
        kinds = dict(line.split("\t") for line in said.splitlines())
        assert {name for name, kind in kinds.items() if "quorum" in kind} == set(QUEUES)
        assert [name for name in kinds if "delay" in name] == []

    def foreign_settings(self, machine: Machine) -> dict[str, Any]:
        return {
            "broker_url": machine.env["MARKETJOBS_BROKER__URL"],
            "task_create_missing_queue_type": "quorum",
            "task_default_queue_type": "quorum",
        }

    def broker_url(self, machine: Machine) -> str:
        return machine.env["MARKETJOBS_BROKER__URL"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (("MARKETJOBS_BROKER__URL", "CELERY_BROKER_URL", "REDIS_URL"), "MARKETJOBS_BROKER__URL"),
        (("CELERY_BROKER_URL", "REDIS_URL"), "CELERY_BROKER_URL"),
        (("REDIS_URL",), "REDIS_URL"),
    ],
)
def test_which_variable_names_the_broker(tmp_path: Path, variables: tuple[str, ...], expected: str) -> None:
    urls = {name: f"redis://127.0.0.1:{port}/0" for port, name in enumerate(variables, start=1)}
    with machine_of(tmp_path) as machine:
        shown = machine.run("config", "show", "--json", **urls).ok().json["settings"]
        origins = {one["key"]: (one["value"], one["origin"]) for one in shown}
        assert origins["broker.url"] == (urls[expected], expected)
        in_celery = machine.python(
            "import json; from marketjobs.tasks.celery import app\n"
            "print(json.dumps([app.connection_for_write().port, app.connection_for_read().port, app.conf.broker_url]))",
            **urls,
        )
        port = urlsplit(urls[expected]).port
        assert in_celery == [port, port, urls[expected]]


def test_a_worker_in_another_terminal_is_used(tmp_path: Path) -> None:
    """The client's own view of a job that a worker runs: the command waits, and does not run it itself."""
    with Vendor() as vendor, machine_of(tmp_path, vendor) as machine:
        worker = machine.worker("-c", "1")
        ran = machine.run("fetch-market-data", "-s", "AAPL", "--json", seconds=LONG).ok()
        owner = machine.job(ran.json["job_id"])["owner"]
        assert int(owner.split("/")[1]) in machine.children(worker)["pool"]
