"""What every test stands on: a home of its own, no settings from outside, and servers that are asked for by name.

Fixtures for all floors:

``home``       the empty data folder of this test (always in force, whether asked for or not)
``settings``   the settings that this home and environment give
``runtime``    a :class:`marketjobs.services.runtime.Runtime` on an empty store of its own
``python``     runs a snippet in a fresh interpreter with this test's environment
``require``    ``require("redis")`` skips where the server is not there, and fails where it must be
``redis_url``  the address of a Redis that answers
``rabbit_server``  a RabbitMQ of our own (rabbit.py), one a session, started at its first use
``postgres_url``  a PostgreSQL database of this test's own, empty, at the newest schema
``bare_postgres_url``  the same without any table
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from faults.report import pytest_terminal_summary
from rabbit import rabbit_of_session, rabbit_server

__all__ = ["pytest_terminal_summary", "rabbit_of_session", "rabbit_server"]

if TYPE_CHECKING:
    from marketjobs.config import Settings
    from marketjobs.services.runtime import Runtime

hypothesis_settings.register_profile(
    "marketjobs", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("marketjobs")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has whatever it starts in the background ignore Ctrl-C, and so would every process that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

FOREIGN = ("MARKETJOBS_", "CELERY_")
FOREIGN_NAMES = ("REDIS_URL", "DATABASE_URL", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
KEPT = ("MARKETJOBS_TEST_", "MARKETJOBS_RECORDED")
SERVERS = {
    "redis": "redis://127.0.0.1:6379/0",
    "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//",
    "postgresql": "postgresql://127.0.0.1:5432/postgres",
}
"""Where each server is looked for, unless MARKETJOBS_TEST_<NAME>_URL says otherwise."""


def pytest_addoption(parser: pytest.Parser) -> None:
    faults = parser.getgroup("faults")
    faults.addoption("--all-faults", action="store_true", help="tests/faults: each broker and store, full numbers")
    faults.addoption("--faults-report", metavar="FILE", help="write the table of tests/faults into this page")


# -- isolation --------------------------------------------------------------------------------------------


def _is_foreign(name: str) -> bool:
    return (name.startswith(FOREIGN) or name in FOREIGN_NAMES) and not name.startswith(KEPT)


def _forget_caches() -> None:
    """Whatever a process remembers of its settings, in the modules that are imported."""
    for module, *functions in (
        ("marketjobs.config", "current"),
        ("marketjobs.tasks.runtime", "runtime"),
        ("marketjobs.commands.session", "runtime"),
        ("marketjobs.read", "_runtime"),
        ("marketjobs.services.attempts", "_heart_of"),
    ):
        for function in functions:
            clear = getattr(getattr(sys.modules.get(module), function, None), "cache_clear", None)
            if clear is not None:
                clear()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder, still to be made.  In force for every test: no variable or file from outside is seen, the
    current folder is an empty one, and what a test leaves in the environment or in caches is forgotten."""
    before = {name: value for name, value in os.environ.items() if _is_foreign(name)}
    for name in before:
        del os.environ[name]
    folder = tmp_path / "home"
    os.environ["MARKETJOBS_HOME"] = str(folder)
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path / "user-config")
    os.environ["XDG_DATA_HOME"] = str(tmp_path / "user-data")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    _forget_caches()
    yield folder
    _forget_caches()
    for name in [name for name in os.environ if _is_foreign(name)]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def settings() -> Settings:
    """The settings of this test's environment; set variables before asking for it (or call config.load)."""
    from marketjobs import config

    return config.load()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store at the newest schema, migrated once; copy it, never open it."""
    from marketjobs.storage import schema
    from marketjobs.storage.sqlite import SqliteDatabase

    path = tmp_path_factory.mktemp("store") / "empty.db"
    database = SqliteDatabase(path)
    schema.ensure(database)
    database.close()
    return path


@pytest.fixture
def runtime(home: Path, settings: Settings, empty_store: Path) -> Iterator[Runtime]:
    """A runtime on an empty store in this test's home; closed at the end."""
    from marketjobs.services.runtime import Runtime

    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(empty_store, settings.database_file)
    made = Runtime(settings, patience_seconds=5.0)
    yield made
    made.close()


# -- processes --------------------------------------------------------------------------------------------


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``python(code, *arguments)`` starts a fresh interpreter on a snippet (``sys.argv[1:]`` are the arguments)
    and returns its Popen, with pipes of text.  What still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, **(pipes | options))
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


# -- servers ----------------------------------------------------------------------------------------------


@pytest.fixture
def require() -> Callable[[str], str]:
    """``require("redis")`` returns the address of a server that answers.  Where none does, the test is skipped,
    or fails when the name is in ``MARKETJOBS_TEST_REQUIRE`` (a list with commas; CI sets it)."""
    return _require


def _require(name: str) -> str:
    url = os.environ.get(f"MARKETJOBS_TEST_{name.upper()}_URL") or SERVERS[name]
    try:
        _knock(name, url)
    except OSError as exc:
        _missing(name, f"no {name} answers: {exc}")
    return url


def _knock(name: str, url: str) -> None:
    """Raises OSError when nothing answers."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), timeout=1.0) as connection:
        if name == "redis":
            connection.sendall(b"PING\r\n")
            if not connection.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                raise OSError("something else answers there")


def _missing(name: str, why: str) -> NoReturn:
    required = os.environ.get("MARKETJOBS_TEST_REQUIRE", "").replace(" ", "").split(",")
    if name in required:
        pytest.fail(f"{why} (MARKETJOBS_TEST_REQUIRE names it)")
    pytest.skip(why)


@pytest.fixture
def free_port() -> int:
    """A port of this host that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def redis_url(require: Callable[[str], str]) -> str:
    """The address of a Redis that answers."""
    return require("redis")


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[tuple[str, str]]:
    """A server and the name of a database at the newest schema, migrated once and copied by each test."""
    server = _require("postgresql")
    from marketjobs.storage import schema
    from marketjobs.storage.database import open_database

    name = f"marketjobs_test_{os.getpid()}"
    _on_server(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}")
    database = open_database(_database(server, name))
    schema.upgrade(database)
    database.close()
    yield server, name
    _on_server(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(postgres_template: tuple[str, str]) -> Iterator[str]:
    server, template = postgres_template
    yield from _database_of_its_own(server, f"TEMPLATE {template} STRATEGY FILE_COPY")


@pytest.fixture
def bare_postgres_url(require: Callable[[str], str]) -> Iterator[str]:
    yield from _database_of_its_own(require("postgresql"), "")


_numbers = count(1)


def _database_of_its_own(server: str, how: str) -> Iterator[str]:
    name = f"marketjobs_test_{os.getpid()}_{next(_numbers)}"
    if how and not _newer_than_14(server):
        how = how.replace("STRATEGY FILE_COPY", "")
    _on_server(server, f"CREATE DATABASE {name} {how}")
    yield _database(server, name)
    _on_server(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _on_server(server: str, *statements: str) -> None:
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@cache
def _newer_than_14(server: str) -> bool:
    import psycopg

    with psycopg.connect(server) as connection:
        return connection.info.server_version >= 150_000


def _database(server: str, name: str) -> str:
    return urlsplit(server)._replace(path=f"/{name}").geturl()
