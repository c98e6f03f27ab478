"""`CELERY_TASK_ALWAYS_EAGER`: what is handed in runs where it is handed in, without a broker or a worker."""

from __future__ import annotations

import pytest

from processes import Machine, free_port
from vendor import Vendor

EAGER = {"CELERY_TASK_ALWAYS_EAGER": "1"}
SYMBOLS = [f"S{number:03d}" for number in range(130)]


@pytest.fixture(params=["embedded", "a broker that is away"])
def eager(request: pytest.FixtureRequest) -> dict[str, str]:
    """No broker is asked: one that is away is not noticed."""
    away = {"MARKETJOBS_BROKER__URL": f"redis://127.0.0.1:{free_port()}/0"}
    return EAGER if request.param == "embedded" else EAGER | away


def test_every_way_to_hand_in_runs_at_once(machine: Machine, vendor: Vendor, eager: dict[str, str]) -> None:
    states = machine.python(
        """
        import json
        import marketjobs
        from celery import group
        from celery.result import AsyncResult
        from marketjobs.tasks.bars import fetch_market_data, sync_history
        from marketjobs.tasks.celery import app
        made = {
            "submit": marketjobs.submit("fetch_market_data", symbols=["A"], period="1mo").id,
            "delay": fetch_market_data.delay(["B"], period="1mo").id,
            "countdown": fetch_market_data.apply_async((["C"],), {"period": "1mo"}, countdown=3600).id,
            "send_task": app.send_task("marketjobs.fetch_market_data", (["D"],), {"period": "1mo"}).id,
            "apply": fetch_market_data.apply((["E"],), {"period": "1mo"}).id,
            "sync": sync_history.delay(symbols=["F", "G", "H"], period="1mo", batch_size=1).id,
        }
        together = group(fetch_market_data.s([one], period="1mo") for one in "IJ")()
        made |= {f"group {number}": one.id for number, one in enumerate(together.results)}
        answers = {}
        for way, job_id in made.items():
            result = AsyncResult(job_id, app=app)
            answers[way] = [result.state, [one["status"] for one in result.get(timeout=1)["symbols"]]]
        print(json.dumps(answers))
        """,
        PYTHONWARNINGS="error::RuntimeWarning",
        **eager,
    )
    assert states.pop("sync") == ["SUCCESS", ["stored"] * 3]
    assert set(states) == {"submit", "delay", "countdown", "send_task", "apply", "group 0", "group 1"}
    assert all(answer == ["SUCCESS", ["stored"]] for answer in states.values()), states
    assert {row["state"] for row in machine.jobs()} == {"succeeded"}


def test_a_large_request_runs_its_parts_here(machine: Machine, vendor: Vendor) -> None:
    state, symbols = machine.python(
        f"""
        import json
        from marketjobs.tasks.bars import fetch_market_data
        result = fetch_market_data.delay({SYMBOLS!r} + ["NOSUCH1"], period="1mo")
        print(json.dumps([result.state, len(result.get()["symbols"])]))
        """,
        **EAGER,
    )
    assert (state, symbols) == ("SUCCESS", len(SYMBOLS) + 1)
    assert sorted(row["state"] for row in machine.jobs()) == ["partial", "partial", "succeeded"]


def test_the_command_line_runs_here_too(machine: Machine, vendor: Vendor, eager: dict[str, str]) -> None:
    ran = machine.run("fetch-market-data", "-s", "AAPL", "--period", "1mo", "--json", **eager).ok().json
    assert ran["state"] == "succeeded"
    ran = machine.run("fetch-market-data", "-s", "IBM", "--period", "1mo", "--no-wait", **eager).ok()
    assert machine.job(ran.out.split()[1])["state"] == "succeeded", "handing in is running"


def test_retries_run_here_and_failures_are_the_results(machine: Machine) -> None:
    answers = machine.python(
        """
        import json
        from jobs_for_tests import app
        from marketjobs.errors import InvalidInput, JobFailed

        seen = []

        @app.task(name="test.flaky", bind=True)
        def flaky(self):
            seen.append([self.request.id is not None, self.request.retries])
            if len(seen) < 3:
                raise self.retry(countdown=0.05)
            return "at last"

        @app.task(name="test.inner")
        def inner():
            return 1

        @app.task(name="test.outer")
        def outer():
            from marketjobs.services.context import current_context
            inner.delay()
            ctx = current_context.get()
            return [ctx.job.task, ctx.why_ended() is None]

        @app.task(name="test.wrong")
        def wrong():
            raise InvalidInput("boom")

        failed = wrong.delay()
        try:
            failed.get()
        except JobFailed as exc:
            said = str(exc)
        result = flaky.delay()
        print(json.dumps([result.get(), seen, failed.state, said, outer.delay().get()]))
        """,
        **EAGER,
    )
    value, seen, state, said, outer = answers
    assert (value, seen) == ("at last", [[True, 0], [True, 1], [True, 2]])
    assert state == "FAILURE" and said == "invalid_input: boom"
    assert outer == ["test.outer", True]


def test_what_has_to_wait_for_long_is_left_waiting(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("status", code=429, retry_after=600)
    state, delayed = machine.python(
        """
        import json
        import marketjobs
        from marketjobs.tasks.bars import fetch_market_data
        job = marketjobs.submit("fetch_market_data", symbols=["AAPL"], period="1mo")
        print(json.dumps([job.state, fetch_market_data.delay(["IBM"], period="1mo").state]))
        """,
        **EAGER,
    )
    assert (state, delayed) == ("waiting", "RETRY")
