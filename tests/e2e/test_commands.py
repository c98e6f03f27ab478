"""The installed command as a person types it: exit code, standard output, standard error."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from processes import COMMAND, OTHER_VENDORS, SECRET, Machine, RedisServer, free_port
from vendor import Vendor

RESULT_KEYS = ["job_id", "task", "state", "attempts", "submitted_at", "started_at", "finished_at", "result"]
SYMBOL_KEYS = [
    *("symbol", "interval", "status", "provider", "rows_new", "rows_changed", "rows_unchanged", "rows_rejected"),
    *("first", "last", "error"),
]
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")
FETCH = ("fetch-market-data", "-s", "AAPL")


# -- the first day ----------------------------------------------------------------------------------------


def test_init_twice_changes_nothing(machine: Machine) -> None:
    first = machine.run("init").ok()
    assert "written" in first.out
    assert "created" in first.out
    assert len([line for line in first.err.splitlines() if "marketjobs " in line]) == 3  # the next three commands
    files = {path: path.read_bytes() for path in machine.root.rglob("*.toml")}
    assert len(files) == 1
    assert (machine.home.stat().st_mode & 0o777) == 0o700
    second = machine.run("init").ok()
    assert "left as it is" in second.out
    assert {path: path.read_bytes() for path in machine.root.rglob("*.toml")} == files


def test_init_here(machine: Machine) -> None:
    machine.run("init", "--here").ok()
    assert (machine.work / "config.toml").exists()
    assert machine.run("config", "show", "--json").ok().json["paths"]["config file"] == "config.toml"


def test_demo_twice_without_a_network(machine: Machine, vendor: Vendor) -> None:
    for _ in range(2):
        ran = machine.run("demo").ok()
        for symbol in ("AAPL", "GOOG", "IBM", "MSFT", "FB"):
            assert symbol in ran.out
        assert any("⠀" <= char <= "⣿" for char in ran.out)  # the chart
    assert list(vendor.requests) == []
    assert not machine.database.exists()  # a store of its own, never the user's
    assert (machine.home / "demo" / "marketjobs.db").exists()


def test_demo_does_not_see_what_is_configured(machine: Machine) -> None:
    machine.run(
        "demo", MARKETJOBS_BROKER__URL="redis://127.0.0.1:1/0", MARKETJOBS_PROVIDERS__RECORDED__ENABLED="0"
    ).ok()


NOT_THERE = {f"MARKETJOBS_PROVIDERS__{name}__ENABLED": "false" for name in OTHER_VENDORS}


def test_doctor_says_ok(machine: Machine) -> None:
    machine.env |= NOT_THERE
    machine.run("init").ok()
    ran = machine.run("doctor").ok()
    assert {"configuration", "database", "broker", "provider"} <= {line.split()[0] for line in ran.out.splitlines()[1:]}
    checks = machine.run("doctor", "--json").ok().json["checks"]
    assert {one["verdict"] for one in checks} == {"ok"}


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"MARKETJOBS_PROVIDERS__YAHOO__BASE_URL": "http://127.0.0.1:9"}, "provider yahoo"),
        ({"MARKETJOBS_BROKER__URL": "redis://127.0.0.1:9/0"}, "broker"),
        ({"MARKETJOBS_WORKER__CONCURRENCY": "many"}, "configuration"),
        ({"MARKETJOBS_DATABASE__URL": "sqlite:////dev/null/x.db"}, "database"),
    ],
)
def test_doctor_names_what_is_wrong_with_a_fix(machine: Machine, variables: dict[str, str], name: str) -> None:
    ran = machine.run("doctor", "--json", **variables).ok(1)
    wrong = {one["name"]: one["fix"] for one in ran.json["checks"] if one["verdict"] == "error"}
    assert name in wrong
    assert wrong[name]


def test_doctor_names_who_is_asked_in_vain(machine: Machine) -> None:
    machine.env |= NOT_THERE
    chains = {"MARKETJOBS_CHAINS__EQUITY": '["rss"]', "MARKETJOBS_CHAINS__CRYPTO": '["binance", "alphavantage"]'}
    checks = {one["name"]: one for one in machine.run("doctor", "--json", **chains).ok(1).json["checks"]}
    assert {name: one["verdict"] for name, one in checks.items() if name.startswith("chain")} == {
        "chain equity": "error",
        "chain crypto": "warning",
    }
    told = "rss in chains.equity: no prices of class equity, neither bars nor quotes"
    assert checks["chain equity"]["found"] == told


# -- help and version -------------------------------------------------------------------------------------

COMMANDS = [
    *("init", "doctor", "demo", "up", "worker", "beat", "flower", "fetch-market-data", "status", "result", "cancel"),
    *("jobs", "list-active", "worker-stats", "prices", "assets", "assets list", "assets add", "assets remove"),
    *("config", "config show", "db", "db upgrade"),
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_answers_at_once_and_opens_nothing(machine: Machine, command: str) -> None:
    """Also with settings that can't be right."""
    ran = machine.run(*command.split(), "--help", MARKETJOBS_WORKER__CONCURRENCY="many").ok()
    assert ran.out.startswith("Usage: marketjobs")
    assert ran.err == ""
    assert ran.seconds < 2
    assert not machine.home.exists()


def test_version(machine: Machine) -> None:
    ran = machine.run("--version").ok()
    assert re.fullmatch(r"marketjobs \d+\.\d+\.\d+\S*\n", ran.out)


def test_no_command_shows_the_help_as_it_is(machine: Machine) -> None:
    ran = machine.run()
    assert ran.code in (0, 2)
    assert (ran.out + ran.err).startswith("Usage: marketjobs")
    assert "\n  fetch-market-data" in ran.out + ran.err


@pytest.mark.parametrize("group", ["assets", "config", "db"])
def test_a_group_without_a_command_shows_its_help(machine: Machine, group: str) -> None:
    ran = machine.run(group)
    assert ran.code in (0, 2)
    assert (ran.out + ran.err).startswith(f"Usage: marketjobs {group}")
    assert len((ran.out + ran.err).splitlines()) > 5


def test_shell_completion(machine: Machine) -> None:
    ran = machine.run(
        _TYPER_COMPLETE_ARGS="marketjobs fetch-",
        _MARKETJOBS_COMPLETE="complete_bash",
        COMP_WORDS="marketjobs fetch-",
        COMP_CWORD="1",
    ).ok()
    assert "fetch-market-data" in ran.out


def test_python_m_is_the_command(machine: Machine) -> None:
    import sys

    ran = machine.run_any(sys.executable, "-m", "marketjobs", "--version").ok()
    assert ran.out.startswith("marketjobs ")


# -- fetching ---------------------------------------------------------------------------------------------


def test_a_fetch_prints_its_id_first_and_what_it_did(machine: Machine) -> None:
    ran = machine.run(*FETCH, "-s", "IBM").ok()
    first = ran.out.splitlines()[0]
    assert re.fullmatch(r"job [0-9a-f-]{36}", first)
    assert first.split()[1] == machine.jobs()[0]["id"]
    assert ran.out.count("stored") == 2
    assert "marketjobs prices AAPL" in ran.err
    assert "\x1b" not in ran.out + ran.err


def test_quiet_says_nothing_on_the_way(machine: Machine) -> None:
    ran = machine.run("--quiet", *FETCH).ok()
    assert "running here" not in ran.err or len(ran.err.splitlines()) <= 3


def test_json_has_the_promised_shape(machine: Machine) -> None:
    document = machine.run(*FETCH, "-s", "NOSUCH1", "--json").ok(3).json
    assert list(document)[: len(RESULT_KEYS)] == RESULT_KEYS
    assert set(document) - set(RESULT_KEYS) <= {"error"}
    good, bad = document["result"]["symbols"]
    for one in (good, bad):
        assert list(one)[: len(SYMBOL_KEYS)] == SYMBOL_KEYS
        assert set(one) - set(SYMBOL_KEYS) <= {"note", "asked"}
    assert (document["task"], document["state"], document["attempts"]) == ("marketjobs.fetch_market_data", "partial", 1)
    assert all(INSTANT.fullmatch(document[name]) for name in ("submitted_at", "started_at", "finished_at"))
    assert (good["status"], good["provider"], good["error"]) == ("stored", "yahoo", None)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", good["first"])
    assert list(bad["error"]) == ["cause", "message", "retryable"]
    assert (bad["status"], bad["error"]["cause"], bad["error"]["retryable"]) == ("failed", "symbol_unknown", False)
    again = machine.run("result", document["job_id"], "--json").ok().json
    assert again == document


def test_no_wait_accepts_and_says_how_to_follow(machine: Machine) -> None:
    document = machine.run(*FETCH, "--no-wait", "--json").ok().json
    assert document == {"job_id": document["job_id"], "state": "queued"}
    ran = machine.run("fetch-market-data", "-s", "IBM", "--no-wait").ok()
    assert "marketjobs status" in ran.err
    assert "marketjobs worker" in ran.err
    assert machine.bars("AAPL") == []
    machine.run("result", document["job_id"], "--wait", "--json").ok()
    assert machine.bars("AAPL")


def test_all_failed_is_1_and_partial_is_3(machine: Machine) -> None:
    assert "symbol_unknown" in machine.run("fetch-market-data", "-s", "NOSUCH1").ok(1).out
    ran = machine.run("fetch-market-data", "-s", "NOSUCH1", "-s", "AAPL").ok(3)
    assert "symbol_unknown" in ran.out
    assert machine.bars("AAPL")
    assert machine.rows("SELECT symbol FROM asset") == [{"symbol": "AAPL"}]  # a mistyped symbol leaves no trace


def test_a_timeout_of_the_watcher_is_5(machine: Machine, vendor: Vendor) -> None:
    machine.worker("-c", "1")
    vendor.fault("hang", times=1, seconds=4)
    ran = machine.run(*FETCH, "--timeout", "1")
    ran.ok(5)
    assert ran.seconds < 4
    assert "marketjobs status" in ran.err
    job_id = ran.out.split()[1]
    assert machine.in_state(job_id, "succeeded")["attempt"] == 1


def test_a_timeout_while_running_here_hands_the_job_back(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("hang", times=1, seconds=20)
    ran = machine.run(*FETCH, "--timeout", "1.5")
    ran.ok(5)
    assert ran.seconds < 10
    assert "marketjobs result" in ran.err
    [job] = machine.jobs()
    assert (job["state"], job["attempt"]) == ("queued", 0)
    machine.run("result", job["id"], "--wait").ok()


@pytest.mark.parametrize("interval", ["1d", "1wk", "1mo"])
def test_symbols_may_be_typed_in_any_way(machine: Machine, interval: str) -> None:
    ran = machine.run(
        "fetch-market-data", "-s", " aapl ", "-s", "AAPL,ibm", "-s", "^GSPC", "--interval", interval, "--json"
    )
    assert [one["symbol"] for one in ran.ok().json["result"]["symbols"]] == ["AAPL", "IBM", "^GSPC"]


# -- bad input ----------------------------------------------------------------------------------------------

NOT_SYMBOLS = {
    "empty": "",
    "blank": "   ",
    "10 kB": "A" * 10_240,
    "SQL": "'; DROP TABLE price_bar; --",
    "a path": "../../etc/passwd",
    "unicode": "ÄÖÜ",
    "a face": "\U0001f600",
    "other digits": "٣٤",
    "a line": "AA\nPL",
    "an escape": "\x1b[31mAAPL",
    "markup": "[bold]AAPL[/bold]",
    "a template": "{0.__class__}",
    "a percent": "%s%n",
}


@pytest.mark.parametrize("symbol", NOT_SYMBOLS.values(), ids=NOT_SYMBOLS)
@pytest.mark.parametrize("command", [("fetch-market-data", "-s"), ("prices",), ("assets", "add"), ("assets", "remove")])
def test_what_is_no_symbol_is_refused(machine: Machine, vendor: Vendor, command: tuple[str, ...], symbol: str) -> None:
    ran = machine.run(*command, symbol)
    ran.refused(2, "symbol")
    assert len(ran.err) < 400
    assert "\x1b" not in ran.err
    assert list(vendor.requests) == []
    assert machine.jobs() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--start", "2026-02-30"], ["2026-02-30", "date"]),
        (["--start", "yesterday"], ["date"]),
        (["--start", "2026-1-5"], ["date"]),
        (["--start", "1066-10-14"], ["1066-10-14"]),
        (["--start", "٢٠٢٦-٠١-٠٥"], ["date"]),
        (["--start", "2026-03-01", "--end", "2026-02-01"], ["after"]),
        (["--start", "2999-01-01"], ["future"]),
        (["--start", "2026-01-05", "--end", "2999-01-01"], ["future"]),
        (["--end", "2026-01-05"], ["start"]),
        (["--period", "1y", "--start", "2026-01-05"], ["period", "start"]),
        (["--period", "1y", "--end", "2026-01-05"], ["period"]),
        (["--period", "7"], ["period"]),
        (["--period", "0d"], ["period"]),
        (["--period", "-1y"], ["period"]),
        (["--period", ""], ["period"]),
        (["--interval", "7y"], ["interval"]),
        (["--interval", ""], ["interval"]),
        (["--interval", "5d"], ["5d"]),  # Yahoo's have no fixed beginning
        (["--provider", "nonsense"], ["provider", "nonsense"]),
        (["--provider", "../yahoo"], ["provider"]),
        (["--nonsense"], ["nonsense"]),
        (["--timeout", "soon"], ["timeout"]),
        (["--timeout", "-1"], ["timeout"]),
        (["surplus"], ["surplus"]),
    ],
    ids=" ".join,
)
def test_bad_options_are_refused(machine: Machine, vendor: Vendor, options: list[str], words: list[str]) -> None:
    machine.run(*FETCH, *options).refused(2, *words)
    document = machine.run(*FETCH, *options, "--json")
    assert document.code == 2
    assert list(document.json["error"]) == ["cause", "message", "hint"]
    assert list(vendor.requests) == []
    assert machine.jobs() == []


@pytest.mark.parametrize(
    "command",
    [
        ["nonsense"],
        ["fetch-market-data"],
        ["status", "--nonsense"],
        ["prices"],
        ["prices", "AAPL", "--interval", "7y"],
        ["prices", "AAPL", "--start", "2026-13-01"],
        ["prices", "AAPL", "--start", "2026-02-01", "--end", "2026-01-01"],
        ["prices", "AAPL", "-n", "0"],
        ["jobs", "--state", "nonsense"],
        ["jobs", "--task", "nonsense"],
        ["jobs", "-n", "many"],
        ["assets", "add"],
        ["assets", "add", "AAPL", "--class", "nonsense"],
        ["worker", "-c", "0"],
        ["worker", "-Q", "nonsense"],
        ["worker", "--pool", "nonsense"],
        ["worker", "--autoscale", "few"],
        ["config", "nonsense"],
        ["cancel"],
    ],
    ids=" ".join,
)
def test_bad_commands_are_refused(machine: Machine, command: list[str]) -> None:
    machine.run(*command).refused(2)


@pytest.mark.parametrize(
    "command", [["status", "deadbeef"], ["result", "deadbeef"], ["cancel", "deadbeef"], ["status", "abc"]]
)
def test_an_unknown_job_is_4(machine: Machine, command: list[str]) -> None:
    machine.run(*command).refused(4)
    assert machine.run(*command, "--json").ok(4).json["error"]["cause"] == "job_not_found"


@pytest.mark.parametrize("command", [["prices", "MSFT"], ["assets", "remove", "MSFT"]])
def test_an_unknown_asset_is_4(machine: Machine, command: list[str]) -> None:
    machine.run(*command).refused(4, "MSFT")


# -- bad configuration ----------------------------------------------------------------------------------------

CONFIGURATIONS = {
    "unknown section": ("[brokr]\nurl = ''\n", "brokr"),
    "unknown key": ("[broker]\nuri = ''\n", "broker.uri"),
    "unknown provider": ("[providers.nonsense]\nenabled = true\n", "providers.nonsense"),
    "not TOML": ("[broker\n", "TOML"),
    "not UTF-8": (b"\xff\xfe", "TOML"),
    "a text for a number": ("[worker]\nconcurrency = 'two'\n", "worker.concurrency"),
    "zero": ("[worker]\nconcurrency = 0\n", "worker.concurrency"),
    "a bad rate": ("[providers.yahoo]\nrate_limit = ['2 per second']\n", "rate_limit"),
    "no rate": ("[providers.yahoo]\nrate_limit = []\n", "rate_limit"),
    "a bad address": ("[providers.yahoo]\nbase_url = 'yahoo'\n", "base_url"),
    "a bad broker": ("[broker]\nurl = 'kafka://localhost'\n", "broker.url"),
    "a bad database": ("[database]\nurl = 'mysql://localhost/x'\n", "database.url"),
    "a bad level": ("[logging]\nlevel = 'loud'\n", "logging.level"),
    "a section that is a text": ("broker = 'redis'\n", "broker"),
}


@pytest.mark.parametrize(("text", "word"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_bad_configuration_file(machine: Machine, text: str | bytes, word: str) -> None:
    for name in [name for name in machine.env if "__YAHOO__" in name]:
        del machine.env[name]  # it would win over the file
    path = machine.work / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    machine.run("--config", str(path), "status").refused(2, "mine.toml", word)
    machine.run("jobs", MARKETJOBS_CONFIG=str(path)).refused(2, "mine.toml", word)
    assert not machine.home.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MARKETJOBS_WORKER__CONCURRENCY", "two"),
        ("MARKETJOBS_WORKER__COLOUR", "red"),
        ("MARKETJOBS_BROKR__URL", "redis://localhost"),
        ("MARKETJOBS_BROKER__URL", "localhost"),
        ("MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT", "2/s"),
        ("MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT", '["2"]'),
        ("MARKETJOBS_PROVIDERS__NONSENSE__ENABLED", "1"),
        ("CELERY_BROKER_URL", "nonsense"),
        ("REDIS_URL", "nonsense"),
        ("DATABASE_URL", "mysql://localhost/x"),
    ],
)
def test_a_bad_variable_is_named(machine: Machine, name: str, value: str) -> None:
    machine.run("status", **{name: value}).refused(2, name)


def test_a_file_that_is_not_there_or_can_not_be_read(machine: Machine) -> None:
    machine.run("--config", "nothing.toml", "status").refused(2, "nothing.toml")
    machine.run("--config", str(machine.work), "status").refused(2, str(machine.work))


def test_another_programs_config_here_is_told_apart(machine: Machine) -> None:
    (machine.work / "config.toml").write_text("[tool.other]\nx = 1\n")
    machine.run("status").refused(2, "config.toml", "another program")


@pytest.mark.parametrize(
    "command", [["status"], [*FETCH], ["init"], ["worker"], ["demo"], ["db", "upgrade"]], ids=" ".join
)
def test_a_data_folder_that_can_not_be_one(machine: Machine, command: list[str]) -> None:
    machine.home.write_text("a file")
    machine.run(*command).refused(2, str(machine.home))
    assert machine.home.read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("command", [["status"], [*FETCH], ["jobs"]], ids=" ".join)
def test_a_read_only_data_folder(machine: Machine, command: list[str]) -> None:
    machine.home.mkdir()
    machine.home.chmod(0o500)
    try:
        machine.run(*command).refused(2, str(machine.home))
    finally:
        machine.home.chmod(0o700)


@pytest.mark.parametrize(
    "command", [["status"], [*FETCH], ["db", "upgrade"], ["prices", "AAPL"], ["worker"]], ids=" ".join
)
def test_a_database_of_a_newer_version(machine: Machine, command: list[str]) -> None:
    machine.run("init").ok()
    with closing(sqlite3.connect(machine.database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = machine.database.read_bytes()
    machine.run(*command).refused(6, "9999", "newer")
    assert machine.database.read_bytes() == before


@pytest.mark.parametrize("command", [["status"], [*FETCH], ["prices", "AAPL"]], ids=" ".join)
def test_a_file_that_is_no_database(machine: Machine, command: list[str]) -> None:
    machine.home.mkdir()
    machine.database.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    machine.run(*command).refused(6, str(machine.database))


# -- brokers --------------------------------------------------------------------------------------------------


def test_no_worker_on_a_configured_broker_is_6_and_the_job_stays(machine: Machine, redis_server: RedisServer) -> None:
    redis_server.start()
    machine.env["MARKETJOBS_BROKER__URL"] = redis_server.url
    ran = machine.run(*FETCH)
    ran.ok(6)
    assert "no worker" in ran.err
    assert "marketjobs worker" in ran.err
    assert machine.jobs()[0]["state"] == "queued"
    document = machine.run("fetch-market-data", "-s", "IBM", "--json").ok(6).json
    assert document["error"]["cause"] == "no_worker"


def test_a_broker_that_is_down_loses_nothing_and_is_not_replaced_in_silence(machine: Machine) -> None:
    url = f"redis://user:{SECRET}@127.0.0.1:{free_port()}/0"
    ran = machine.run(*FETCH, "--no-wait", MARKETJOBS_BROKER__URL=url)
    ran.ok(0)
    assert ran.seconds < 5
    assert SECRET not in ran.out + ran.err
    assert machine.jobs()[0]["state"] == "queued"
    assert machine.jobs()[0]["published_at"] is None
    ran = machine.run("fetch-market-data", "-s", "IBM", MARKETJOBS_BROKER__URL=url).ok(6)
    assert SECRET not in ran.out + ran.err
    doctor = machine.run("doctor", MARKETJOBS_BROKER__URL=url).ok(1)
    assert SECRET not in doctor.out + doctor.err


# -- looking ----------------------------------------------------------------------------------------------------


def test_status_of_an_empty_system_and_a_used_one(machine: Machine) -> None:
    empty = machine.run("status").ok()
    assert "fetch-market-data" in empty.err
    machine.run(*FETCH).ok()
    text = machine.run("status").ok().out
    assert "embedded" in text
    assert "succeeded" in text
    document = machine.run("status", "--json").ok().json
    assert {"store", "broker", "workers", "queues", "jobs", "waiting"} <= set(document)
    assert [one["state"] for one in document["jobs"]] == ["succeeded"]


def test_a_job_is_found_by_its_beginning_and_end(machine: Machine) -> None:
    job_id = machine.run(*FETCH, "--json").ok().json["job_id"]
    for text in (job_id, job_id[:4], job_id[-4:], job_id[-8:], job_id[:13]):
        document = machine.run("status", text, "--json").ok().json
        assert document["job_id"] == job_id
    assert {"progress", "message", "next_attempt_at", "worker", "state"} <= set(document)
    assert "result" not in document
    assert document["progress"] == 1
    assert job_id in machine.run("status", job_id).ok().out
    machine.run("status", job_id, "--watch").ok()


def test_an_id_with_a_wildcard_is_no_job(machine: Machine) -> None:
    machine.run(*FETCH).ok()
    for text in ("%%%%", "____", "*****", "' OR 1=1 --"):
        machine.run("status", text).refused(4)


def test_result_exits_0_unless_it_waits(machine: Machine) -> None:
    job_id = machine.run("fetch-market-data", "-s", "NOSUCH1", "--json").ok(1).json["job_id"]
    machine.run("result", job_id).ok(0)
    machine.run("result", job_id, "--wait").ok(1)
    assert machine.run("result", job_id, "--json").ok().json["state"] == "dead"


def test_cancel(machine: Machine) -> None:
    job_id = machine.run(*FETCH, "--no-wait", "--json").ok().json["job_id"]
    assert machine.run("cancel", job_id, "--json").ok().json == {
        "jobs": [{"job_id": job_id, "state": "cancelled", "cancelled": True}]
    }
    assert "already" in machine.run("cancel", job_id[-8:]).ok().out
    assert machine.run("result", job_id, "--wait").ok(1)
    other = machine.run(*FETCH, "--json").ok().json["job_id"]
    assert other != job_id
    assert machine.run("cancel", other, "--json").ok().json["jobs"][0]["cancelled"] is False
    assert machine.job(other)["state"] == "succeeded"


def test_jobs_and_list_active(machine: Machine) -> None:
    assert "fetch-market-data" in machine.run("jobs").ok().err
    done = machine.run(*FETCH, "--json").ok().json["job_id"]
    queued = machine.run("fetch-market-data", "-s", "IBM", "--no-wait", "--json").ok().json["job_id"]
    assert [one["job_id"] for one in machine.run("jobs", "--json").ok().json["jobs"]] == [queued, done]
    assert [one["job_id"] for one in machine.run("list-active", "--json").ok().json["jobs"]] == [queued]
    assert [one["job_id"] for one in machine.run("jobs", "--state", "succeeded", "--json").ok().json["jobs"]] == [done]
    by_task = machine.run("jobs", "--task", "fetch_market_data", "--json").ok().json["jobs"]
    assert len(by_task) == 2
    text = machine.run("jobs").ok().out
    assert queued[-8:] in text
    assert text.count("\n") == 3


def test_a_reader_that_goes_away_is_no_error(machine: Machine) -> None:
    for number in range(3):
        machine.run("fetch-market-data", "-s", f"J{number}", "--no-wait").ok()
    for command in (["jobs"], ["jobs", "--json"], ["status"], ["--help"], ["config", "show", "--all"]):
        read, write = os.pipe()
        os.close(read)
        process = subprocess.run(
            [COMMAND, *command],
            env=machine.env,
            cwd=machine.work,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(write)
        assert process.stderr == "", command
        assert process.returncode in (0, 141), command


def test_head_of_a_long_list(machine: Machine) -> None:
    machine.run(*FETCH, "--period", "max").ok()
    line = f"'{COMMAND}' prices AAPL | head -1"
    ran = machine.run_any("/bin/sh", "-c", line).ok()
    assert ran.err == ""
    assert ran.out.startswith("session")


def test_worker_stats(machine: Machine) -> None:
    ran = machine.run("worker-stats").ok()
    assert "no worker is running" in ran.err
    machine.worker("-c", "1", "-Q", "market_data,default")
    machine.run(*FETCH).ok()
    [worker] = machine.run("worker-stats", "--json").ok().json["workers"]
    assert (worker["health"], worker["concurrency"], worker["done_last_hour"]) == ("alive", 1, 1)
    assert worker["queues"] == ["market_data", "default"]
    assert worker["id"] in machine.run("worker-stats").ok().out
    assert machine.run("status", "--json").ok().json["workers"][0]["id"] == worker["id"]


def test_prices(machine: Machine) -> None:
    machine.run(*FETCH).ok()
    count = len(machine.bars("AAPL"))
    text = machine.run("prices", "aapl").ok().out
    assert len(text.splitlines()) == count + 1  # a pipe gets all of it
    document = machine.run("prices", "AAPL", "--json").ok().json
    assert len(document["bars"]) == count
    assert {"ts", "open", "high", "low", "close", "adj_close", "volume", "provider", "provisional"} <= set(
        document["bars"][0]
    )
    chart = machine.run("prices", "AAPL", "--chart").ok().out
    assert any("⠀" < char <= "⣿" for char in chart)
    last = machine.run("prices", "AAPL", "-n", "3").ok().out
    assert len(last.splitlines()) == 4
    some = machine.run("prices", "AAPL", "--start", "2026-06-01", "--end", "2026-06-05").ok().out
    assert [line.split()[0] for line in some.splitlines()[1:]] == [f"2026-06-0{day}" for day in range(1, 6)]
    none = machine.run("prices", "AAPL", "--start", "2026-06-06", "--end", "2026-06-07").ok()
    assert (none.out, "fetch-market-data" in none.err) == ("", True)


def test_assets(machine: Machine) -> None:
    assert "marketjobs assets add" in machine.run("assets", "list").ok().err
    machine.run("assets", "add", "aapl", "IBM").ok()
    assert "already" in machine.run("assets", "add", "AAPL").ok().out
    machine.run(*FETCH).ok()
    listed = machine.run("assets", "list", "--json").ok().json["assets"]
    assert [(one["symbol"], one["status"]) for one in listed] == [("AAPL", "active"), ("IBM", "active")]
    assert listed[0]["currency"] == "USD"
    machine.run("assets", "remove", "IBM").ok()
    assert [one["symbol"] for one in machine.run("assets", "list", "--active", "--json").ok().json["assets"]] == [
        "AAPL"
    ]
    machine.run("assets", "remove", "AAPL", "MSFT").refused(4, "MSFT", "nothing was changed")
    assert machine.bars("AAPL")
    machine.run("assets", "remove", "AAPL", "--purge").ok()
    assert machine.bars("AAPL") == []
    machine.run(*FETCH).ok()
    assert machine.bars("AAPL")


def test_db_upgrade(machine: Machine) -> None:
    assert machine.run("db", "upgrade", "--json").ok().json["changed"] is True
    assert machine.run("db", "upgrade", "--json").ok().json["changed"] is False


# -- secrets, colours, terminals ------------------------------------------------------------------------------


def test_secrets_are_never_shown(machine: Machine, vendor: Vendor) -> None:
    url = f"redis://user:{SECRET}@127.0.0.1:{free_port()}/0"
    for command in (
        ["config", "show", "--all"],
        ["config", "show", "--all", "--json"],
        ["status"],
        ["doctor"],
        ["worker-stats", "--json"],
        [*FETCH],
        ["-v", "-v", *FETCH, "--inline"],
        ["-v", "status", "deadbeef"],
    ):
        ran = machine.run(*command, MARKETJOBS_BROKER__URL=url, MARKETJOBS_NETWORK__PROXY="")
        assert SECRET not in ran.out + ran.err, str(ran)
    ran = machine.run("config", "show", MARKETJOBS_BROKER__URL=f"nonsense://user:{SECRET}@x")
    assert SECRET not in ran.out + ran.err
    assert "********" in machine.run("config", "show", "--all").ok().out
    assert all(SECRET not in json.dumps(row) for row in machine.jobs())


def test_a_traceback_is_shown_with_v_only(machine: Machine) -> None:
    assert "Traceback" in machine.run("-v", "status", "deadbeef").err
    assert "Traceback" not in machine.run("status", "deadbeef").err


def test_config_show_names_origins(machine: Machine) -> None:
    file = machine.work / "mine.toml"
    file.write_text("[worker]\nconcurrency = 3\n[retry]\nmax_attempts = 7\n")
    document = (
        machine.run("--config", str(file), "config", "show", "--json", MARKETJOBS_RETRY__MAX_ATTEMPTS="5").ok().json
    )
    shown = {one["key"]: (one["value"], one["origin"]) for one in document["settings"]}
    assert shown["worker.concurrency"] == (3, str(file))
    assert shown["retry.max_attempts"] == (5, "MARKETJOBS_RETRY__MAX_ATTEMPTS")
    assert "logging.level" not in shown


def test_at_a_terminal_there_is_progress_a_table_and_a_chart(machine: Machine, vendor: Vendor) -> None:
    vendor.fault("hang", times=1, seconds=1.5)
    screen = machine.terminal(*FETCH, "-s", "IBM")
    assert screen.wait() == 0
    assert "\x1b[" in screen.text
    assert "━" in screen.text  # the bar
    assert "stored" in screen.text
    screen = machine.terminal("prices", "AAPL")
    assert screen.wait() == 0
    assert any("⠀" < char <= "⣿" for char in screen.text)
    assert "the newest 10 of" in screen.text


def test_no_color_is_respected(machine: Machine) -> None:
    machine.run(*FETCH).ok()
    for command in (["prices", "AAPL"], ["jobs"], ["status"], ["assets", "list"]):
        screen = machine.terminal(*command, NO_COLOR="1")
        assert screen.wait() == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", screen.text), command
    assert re.search(r"\x1b\[[0-9;]*3[0-7]m", coloured(machine, "jobs"))


def coloured(machine: Machine, *command: str) -> str:
    screen = machine.terminal(*command)
    assert screen.wait() == 0
    return screen.text


def test_a_narrow_terminal(machine: Machine) -> None:
    machine.run(*FETCH).ok()
    for command in (["prices", "AAPL"], ["jobs"], ["assets", "list"]):
        on_screen(machine, 44, *command)


@pytest.mark.parametrize("columns", [20, 30, 80, 120])
def test_no_number_and_no_state_is_cut_whatever_the_width(machine: Machine, columns: int) -> None:
    machine.env |= NOT_THERE
    machine.run(*FETCH).ok()
    checks = machine.run("doctor", "--json").ok().json["checks"]
    plain = on_screen(machine, columns, "doctor")
    names = ["check", "verdict", "found", "fix"]
    assert in_column(plain, names, "check") == squeezed(one["name"] for one in checks)
    assert in_column(plain, names, "verdict") == squeezed(one["verdict"] for one in checks)
    assert in_column(plain, names, "fix") == squeezed(one["fix"] or "-" for one in checks)

    settings = machine.run("config", "show", "--all", "--json").ok().json["settings"]
    plain = on_screen(machine, columns, "config", "show", "--all")
    names = ["setting", "value", "from"]
    assert in_column(plain, names, "setting") == squeezed(one["key"] for one in settings)
    assert in_column(plain, names, "value") == squeezed(json.dumps(one["value"]) for one in settings)
    assert in_column(plain, names, "from") == squeezed(one["origin"] for one in settings)

    bars = machine.run("prices", "AAPL", "-n", "2", "--json").ok().json["bars"]
    plain = on_screen(machine, columns, "prices", "AAPL", "-n", "2", "--no-chart")
    numbers = {
        name.replace("_", " "): {f"{one[name]:.2f}" for one in bars}
        for name in ("open", "high", "low", "close", "adj_close")
    } | {"volume": {f"{one['volume']:.0f}" for one in bars}}
    assert "close" in plain
    shown = [values for name, values in numbers.items() if re.search(rf"(?<!adj ){name}\b", plain)]
    assert set(re.findall(r"(?<!\S)[\d.]+(?!\S)", plain)) == set().union(*shown)
    assert set(re.findall(r"\S*-\d\d-\S*", plain)) == {one["ts"][:10] for one in bars}


def on_screen(machine: Machine, columns: int, *command: str) -> str:
    """What a terminal of that width shows, without its colours; no line is wider than that."""
    screen = machine.terminal(*command, columns=columns)
    assert screen.wait() == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.text).replace("\r", "")
    assert max(len(line) for line in plain.splitlines()) <= columns, command
    return plain


def in_column(plain: str, names: list[str], name: str) -> str:
    """The text of a left-aligned column of a table, or of those lines where each row is lines, without blanks."""
    lines = plain.splitlines()
    header = next((number for number, line in enumerate(lines) if line.split() == names), None)
    if header is None:
        parts = re.split(rf"^({'|'.join(names)}):", plain, flags=re.MULTILINE)[1:]
        return squeezed(text for key, text in zip(parts[::2], parts[1::2], strict=True) if key == name)
    starts = [lines[header].index(one) for one in names] + [None]
    place = names.index(name)
    return squeezed(line[starts[place] : starts[place + 1]] for line in lines[header + 2 :])


def squeezed(texts: Iterable[str]) -> str:
    return "".join("".join(texts).split())


def test_the_command_is_installed() -> None:
    assert COMMAND.exists()
    assert shutil.which("marketjobs", path=str(Path(COMMAND).parent))
