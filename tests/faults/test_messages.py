"""What others put on the broker: no worker is lost, no job runs twice or with other arguments, what is malformed is
counted and shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from faults.audit import audit
from faults.report import Record
from faults.steps import called
from processes import SECRET, Machine, eventually

GOOD_BODY = "[[1, 2], {}, {}]"
REFUSED: dict[str, dict[str, Any]] = {
    "unknown task": {"body": GOOD_BODY, "headers": {"task": "tests.nonsense", "id": "unknown-task"}},
    "a body that is no list": {"body": "5"},
    "no JSON": {"body": "{]"},
    "pickle": {"body": "gASVBQAAAAAAAABdlEsBYS4=", "content_type": "application/x-python-serialize"},
    "8 MB of text": {"body": '"' + SECRET * (8_000_000 // len(SECRET)) + '"'},
    "no headers": {"body": GOOD_BODY, "headers": {}},
    "an absurd eta": {"body": GOOD_BODY, "more": {"eta": "9999-12-31T23:59:59+00:00"}},
    "unknown content type": {"body": GOOD_BODY, "content_type": "application/x-nonsense"},
    "named arguments that are a list": {"body": "[[], [], {}]"},
    "a task that is a list": {"body": GOOD_BODY, "headers": {"task": ["x"], "id": "task-list"}},
    "an id that is a number": {"body": GOOD_BODY, "headers": {"task": "tests.add", "id": 5}},
    "time limits that are a text": {"body": GOOD_BODY, "more": {"timelimit": "x"}},
}
"""Each is counted, and a task that is none with the id of a job that is due."""
COUNTED = len(REFUSED) + 1
SEND = """
import json, sys, uuid
from celery import Celery
from kombu import Producer
from jobs_for_tests import app, add, count
from marketjobs.domain.jobs import JobRequest
from marketjobs.storage import jobs
from marketjobs.tasks.runtime import runtime
other = Celery("other", set_as_current=False)
for name in ("broker_url", "broker_transport", "broker_transport_options"):
    other.conf[name] = app.conf[name]
cases, finished, waiting = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3]
forged = json.dumps([[999], {}, {}])
cases["arity"] = {"body": "[[1, 2, 3, 4], {}, {}]", "headers": {"task": "tests.add", "id": "wrong-arity"}}
odd = {"headers": {"task": "tests.add", "id": "odd-encoding"}, "content_encoding": "nonsense-8"}
cases["odd encoding"] = {"body": "[[1, 2], {}, {}]"} | odd  # JSON all the same: another program's submit
for job_id in (finished, waiting):
    cases[job_id] = {"body": forged, "headers": {"task": "tests.count", "id": job_id}}
due = JobRequest(id=str(uuid.uuid4()), task="tests.count", queue="default", arguments={"number": 100}, max_attempts=3)
for name in ("tests.add", "tests.nonsense"):
    cases[name] = {"body": "[[1, 2], {}, {}]", "headers": {"task": name, "id": due.id}}
with runtime().database.write() as tx:
    jobs.insert_many(tx, [due])  # its own wake-up comes a second later
with other.connection_for_write() as connection:
    producer = Producer(connection)
    for number, case in enumerate(cases.values()):
        producer.publish(
            case["body"].encode(),
            routing_key="default",
            content_type=case.get("content_type", "application/json"),
            content_encoding=case.get("content_encoding", "utf-8"),
            headers=case.get("headers", {"task": "tests.add", "id": f"hostile-{number}"}) | case.get("more", {}),
        )
print(json.dumps([due.id, *(count.delay(n).id for n in range(20))]))
"""


def refused(machine: Machine) -> int:
    workers = machine.run("worker-stats", "--json").ok().json["workers"]
    return sum(one["refused_messages"] for one in workers)


@pytest.mark.pairs(few=("redis-postgresql",))
def test_hostile_messages(pair: Machine, record: Record) -> None:
    workers = [pair.test_worker(1) for _ in range(3)]
    before = [pair.children(one)["main"] for one in workers]
    finished, waiting = pair.python(
        """
        import json
        from jobs_for_tests import count
        print(json.dumps([count.delay(1).id, count.apply_async((2,), countdown=20).id]))
        """
    )
    pair.in_state(finished, "succeeded")
    cases = pair.root / "cases"
    cases.write_text(json.dumps(REFUSED))
    good = pair.python(SEND, str(cases), finished, waiting)
    pair.all_final([finished, waiting, *good])
    pair.in_state("odd-encoding", "succeeded")
    eventually(lambda: refused(pair) >= COUNTED, "all are counted", 20, every=0.5)
    assert refused(pair) == COUNTED
    assert "refused" in pair.run("worker-stats", COLUMNS="300").ok().out
    assert [pair.children(one)["main"] for one in workers] == before
    numbers = sorted(int(line.split()[1]) for line in pair.effects() if not line.startswith("add"))
    assert numbers == sorted([1, 2, 100, *range(20)]), "a job ran twice, or with other arguments"
    assert pair.job("wrong-arity")["error_cause"] == "invalid_input"
    assert {pair.job(one)["attempt"] for one in (finished, waiting, *good)} == {1}, "a forged message took an attempt"
    assert audit(pair, [finished, waiting, *good])["succeeded"] == 23
    said = "".join(one.out + one.err for one in workers)
    assert said.count("message.refused") == COUNTED
    assert "Traceback" not in said
    record(jobs=23, refused=COUNTED)


RAW = ["{]", "5", "null", '{"body": 5}', "\x01\x02", '{"body": "%%%", "properties": {"body_encoding": "base64"}}']


@pytest.mark.pairs("embedded", "redis", few=("embedded-sqlite",))
def test_raw_text_where_messages_lie(pair: Machine) -> None:
    """A list of Redis and a folder take anything from anybody."""
    worker = pair.test_worker(1)
    main_process = pair.children(worker)["main"]
    if "MARKETJOBS_BROKER__URL" in pair.env:
        program = "import redis, sys; redis.from_url(sys.argv[1]).lpush('default', *sys.argv[2:])"
        pair.run_python(program, pair.env["MARKETJOBS_BROKER__URL"], *RAW).ok()
    else:
        for number, text in enumerate(RAW):
            (pair.home / "queue" / "messages" / f"{number:013}_raw.default.msg").write_text(text)
    [job_id] = called(pair, "count", 1)
    pair.in_state(job_id, "succeeded")
    eventually(lambda: refused(pair) == len(RAW), "all are counted", 20, every=0.5)
    assert pair.children(worker)["main"] == main_process
    assert audit(pair, [job_id]) == {"succeeded": 1}
