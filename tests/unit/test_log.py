"""Logging: events for people and programs, and no secret in either."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from marketjobs import config, log

Start = Callable[[], Path]
SECRET = 'k"y\\-hunter2'
OTHER = "hunter2"
MASK = "********"


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """What set_up changes is put back."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    noisy = {name: logging.getLogger(name).level for name in ("yfinance", "peewee", "urllib3", "asyncio", "alembic")}
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in noisy.items():
        logging.getLogger(name).setLevel(before)


@pytest.fixture(params=["text", "json"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Start:
    """Puts logging in force, with two secrets; returns the file that it goes to."""
    monkeypatch.setenv("MARKETJOBS_PROVIDERS__YAHOO__API_KEYS", json.dumps([SECRET, "abc"]))
    monkeypatch.setenv("MARKETJOBS_BROKER__URL", f"redis://:{OTHER}@localhost:6379/0")
    monkeypatch.setenv("MARKETJOBS_LOGGING__FORMAT", request.param)
    monkeypatch.setenv("MARKETJOBS_LOGGING__FOLDER", str(tmp_path / "logs"))

    def begin() -> Path:
        log.set_up(config.load(), name="test")
        return tmp_path / "logs" / "test.log"

    return begin


logger = logging.getLogger("marketjobs.test")


def shown(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    text = path.read_text()
    assert text == capsys.readouterr().err, "standard error and the file say the same"
    assert OTHER not in text
    assert SECRET not in text and json.dumps(SECRET)[1:-1] not in text
    return text


def test_a_message_and_its_arguments(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    lines = start()
    logger.info(f"connecting to redis://:{OTHER}@localhost")
    logger.warning("key %s, password %r, table %s", SECRET, OTHER, {"a": OTHER})
    logger.info("dictionary %(key)s", {"key": OTHER})
    text = shown(lines, capsys)
    assert text.count(MASK) == 5
    assert len(text.splitlines()) == 3


def test_a_message_from_outside_forges_no_line(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    lines = start()
    logger.warning("job.refused job=%s", "a\n2026-01-01 ERROR all is lost\x1b[2J")
    text = shown(lines, capsys)
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text


def test_a_traceback_with_its_causes(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    lines = start()
    try:
        try:
            raise OSError(f"can't reach redis://:{OTHER}@localhost")
        except OSError as exc:
            raise ValueError(f"bad key {SECRET}") from exc
    except ValueError:
        logger.exception("it failed")
    text = shown(lines, capsys)
    assert "ValueError: bad key " + MASK in text
    assert text.count(MASK) >= 2


def test_other_libraries_loggers_are_redacted_too(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    lines = start()
    logging.getLogger("celery.worker").error("Connection to redis://:%s@localhost refused", OTHER)
    assert f"redis://:{MASK}@localhost" in shown(lines, capsys)


def test_an_argument_that_is_no_text(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    lines = start()

    class Client:
        def __repr__(self) -> str:
            return f"<Client password={OTHER}>"

    logger.info("made %r after %d tries", Client(), 3)
    assert f"<Client password={MASK}> after 3 tries" in shown(lines, capsys)


@pytest.mark.filterwarnings("ignore")
def test_a_log_call_with_wrong_arguments_does_not_break_its_caller(start: Start) -> None:
    start()
    logger.info("%d items", "three")


def test_a_secret_inside_another_is_masked_as_a_whole() -> None:
    redact = log.Redact(["abcd", "abcdefgh", "xyz"])
    assert redact.clean("abcdefgh abcd xyz") == f"{MASK} {MASK} xyz"


def test_events_become_keys_in_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MARKETJOBS_LOGGING__FORMAT", "json")
    log.set_up(config.load())
    logger.info("bars.stored provider=%s symbol=%s rows=%d", "yahoo", "AAPL", 5)
    logger.info("a plain sentence, with a=b in it")
    logging.getLogger("celery").info("task=1 id=2")
    event, plain, foreign = map(json.loads, capsys.readouterr().err.splitlines())
    assert (event["action"], event["provider"], event["symbol"], event["rows"]) == ("bars.stored", "yahoo", "AAPL", "5")
    assert event["level"] == "info" and event["logger"] == "marketjobs.test"
    assert datetime.fromisoformat(event["at"]).utcoffset() is not None and event["at"].endswith("Z")
    assert "action" not in plain
    assert "action" not in foreign


@pytest.mark.parametrize(
    ("options", "shows"),
    [
        ({}, ["warning", "info"]),
        ({"quiet": True}, []),
        ({"quiet": True, "verbose": 1}, ["warning", "info"]),
        ({"verbose": 2}, ["warning", "info", "debug"]),
    ],
)
def test_who_asks_decides_how_much_is_said(
    capsys: pytest.CaptureFixture[str], options: dict[str, int], shows: list[str]
) -> None:
    log.set_up(config.load(), **options)  # type: ignore[arg-type]
    logger.warning("warning")
    logger.info("info")
    logger.debug("debug")
    written = capsys.readouterr()
    assert [line.split()[-1] for line in written.err.splitlines()] == shows
    assert written.out == ""


def test_the_level_of_the_settings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MARKETJOBS_LOGGING__LEVEL", "error")
    log.set_up(config.load())
    logger.warning("no")
    logger.error("yes")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["yes"]
    assert sys.stderr is not None


def test_a_traceback_of_the_command_line_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from marketjobs import cli
    from marketjobs.commands import session

    monkeypatch.setenv("MARKETJOBS_BROKER__URL", "redis://:hunter2secret@127.0.0.1:1/0")
    monkeypatch.setattr(session.OPTIONS, "verbose", 1)

    def crash() -> None:
        raise RuntimeError("can't reach redis://:hunter2secret@127.0.0.1:1/0")

    monkeypatch.setattr(cli, "_asked_for", lambda _words: lambda **_: crash())
    assert cli._run() == 1
    out, err = capsys.readouterr()
    assert "Traceback" in err and "RuntimeError" in err
    assert "hunter2secret" not in out + err
