"""Running the installed command as a person does: in processes of its own, on a home of its own.

A :class:`Machine` is a home with its environment; whatever is started on it is ended with it, by process id.
Nothing here sleeps to be lucky: conditions are polled until a deadline, and a deadline that passes is an error
that says what was waited for and what the processes had said.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pty
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from vendor import Vendor

T = TypeVar("T")
TESTS = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("marketjobs")
LONG = 60.0
"""Longer than anything takes on a busy machine; only a failing test ever waits so long."""
SECRET = "sk-loopback-4711-do-not-show"
SQLITE = "sqlite:///"
OTHER_VENDORS = ("BINANCE", "COINGECKO", "COINMARKETCAP", "ALPHAVANTAGE", "RSS")
FINAL = ("succeeded", "partial", "dead", "cancelled")
LOOPBACK_ONLY = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
FOREIGN = ("MARKETJOBS_", "CELERY_", "XDG_", "COV_")
FOREIGN_NAMES = {
    *("REDIS_URL", "DATABASE_URL", "BROKER_URL", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTHONPATH"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
}
TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal at its standard input the controlling one, so that Ctrl-C typed there is a signal."""
TRAVELLED = """
import sys
from datetime import datetime
import time_machine
time_machine.travel(datetime.fromisoformat(sys.argv[1]), tick=True).start()
from marketjobs.cli import main
main(sys.argv[2:])
"""


def eventually(look: Callable[[], T], what: str, seconds: float = LONG, every: float = 0.05) -> T:
    """The first true answer of ``look``; an AssertionError that names ``what`` when none comes in time."""
    give_up_at = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(every)


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        """The one JSON document on standard output; anything else there is an error."""
        try:
            return json.loads(self.out)
        except ValueError as exc:
            raise AssertionError(f"no JSON document on stdout: {self}") from exc

    def ok(self, code: int = 0) -> Ran:
        """Itself, if it ended with that code and without a traceback."""
        assert self.code == code, str(self)
        assert "Traceback" not in self.out + self.err, str(self)
        return self

    def refused(self, code: int, *words: str) -> Ran:
        """Itself, if it ended with one line (and at most a hint) on stderr that holds the words."""
        self.ok(code)
        lines = self.err.strip().splitlines()
        assert self.out == "", str(self)
        assert 1 <= len(lines) <= 2, str(self)
        assert lines[0].startswith("marketjobs: "), str(self)
        assert all(line.startswith("  try: ") for line in lines[1:]), str(self)
        for word in words:
            assert word.lower() in lines[0].lower(), f"{word!r} is not in: {self}"
        return self

    def __str__(self) -> str:
        return f"{' '.join(self.arguments)}: exit {self.code} after {self.seconds:.1f} s\n{self.out}\n{self.err}"


class Running:
    """A process that was started and is still to be ended; its output goes to files."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.arguments = tuple(map(str, arguments))
        self._out, self._err = log.with_suffix(".out"), log.with_suffix(".err")
        self.began = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                self.arguments,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
            )
        self.pid = self.process.pid

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ctrl_c(self) -> None:
        """What a terminal does: the whole foreground group is interrupted."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self, seconds: float = LONG) -> Ran:
        """Its end; an AssertionError with what it said when it does not end in time."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds:g} s: {self.arguments}\n{self.out}\n{self.err}") from None
        return Ran(self.arguments, code, self.out, self.err, time.monotonic() - self.began)

    def says(self, text: str, seconds: float = LONG) -> None:
        """Wait for a text in its output."""

        def look() -> bool:
            found = text in self.out + self.err
            assert found or self.runs, f"ended with {self.process.returncode} before {text!r}:\n{self.out}\n{self.err}"
            return found

        eventually(look, f"{text!r} from {self.arguments}", seconds)


class Machine:
    """A home, its environment, and everything that was started on it."""

    def __init__(self, root: Path, vendor: Vendor | None = None, **variables: str) -> None:
        self.root = root
        self.home = root / "home"
        self.work = root / "work"
        self.vendor = vendor
        self.env = clean_environment() | LOOPBACK_ONLY
        self.env |= {
            "HOME": str(root / "user"),
            "MARKETJOBS_HOME": str(self.home),
            "MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT": '["1000/s"]',
            "MARKETJOBS_PROVIDERS__YAHOO__BASE_URL": vendor.url if vendor else "http://127.0.0.1:9",
            "MARKETJOBS_PROVIDERS__YAHOO__API_KEYS": json.dumps([SECRET]),
            "MARKETJOBS_RETRY__BASE_SECONDS": "0.05",
            "TZ": "UTC",
        }
        # Nobody but the vendor of the test is ever asked, whoever would step in for it.
        self.env |= {f"MARKETJOBS_PROVIDERS__{name}__BASE_URL": "http://127.0.0.1:9" for name in OTHER_VENDORS}
        self.env |= variables
        self._number = itertools.count(1)
        self.started: list[Running] = []
        for folder in (self.work, root / "user", root / "logs"):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def database(self) -> Path:
        url = self.env.get("MARKETJOBS_DATABASE__URL", "")
        return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else self.home / "marketjobs.db"

    def run(self, *arguments: str, seconds: float = LONG, **variables: str) -> Ran:
        """A `marketjobs` command to its end."""
        return self.run_any(COMMAND, *arguments, seconds=seconds, **variables)

    def run_any(self, program: Path | str, *arguments: str, seconds: float = LONG, **variables: str) -> Ran:
        began = time.monotonic()
        done = subprocess.run(
            [str(program), *arguments],
            env=self.env | variables,
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
        spent = time.monotonic() - began
        return Ran((Path(program).name, *arguments), done.returncode, done.stdout, done.stderr, spent)

    def run_at(self, moment: str, *arguments: str, **variables: str) -> Ran:
        """A command whose clock stands at ``moment`` (ISO 8601 with a zone) when it begins."""
        return self.run_any(sys.executable, "-c", TRAVELLED, moment, *arguments, **variables)

    def start(self, *arguments: str, **variables: str) -> Running:
        """A `marketjobs` command that goes on while the test does."""
        return self.start_any(COMMAND, *arguments, **variables)

    def start_any(self, program: Path | str, *arguments: str, **variables: str) -> Running:
        log = self.root / "logs" / f"{next(self._number):02d}-{'-'.join(arguments)[:30].replace('/', '_')}"
        running = Running([str(program), *arguments], self.env | variables, self.work, log)
        self.started.append(running)
        return running

    def python(self, code: str, *arguments: str, seconds: float = LONG, **variables: str) -> Any:
        """What a program of a user prints, as JSON; ``jobs_for_tests`` can be imported in it."""
        ran = self.run_python(code, *arguments, seconds=seconds, **variables)
        return ran.ok().json if ran.out else ran.ok()

    def run_python(self, code: str, *arguments: str, seconds: float = LONG, **variables: str) -> Ran:
        variables = {"PYTHONPATH": str(TESTS)} | variables
        return self.run_any(sys.executable, "-c", textwrap.dedent(code), *arguments, seconds=seconds, **variables)

    def start_python(self, code: str, *arguments: str, **variables: str) -> Running:
        variables = {"PYTHONPATH": str(TESTS)} | variables
        return self.start_any(sys.executable, "-c", textwrap.dedent(code), *arguments, **variables)

    def terminal(self, *arguments: str, columns: int = 100, **variables: str) -> Terminal:
        """A command at a terminal of its own."""
        env = self.env | {"TERM": "xterm-256color"} | variables
        return Terminal([str(COMMAND), *arguments], env, self.work, columns)

    # -- workers

    def worker(self, *options: str, **variables: str) -> Running:
        """`marketjobs worker`, as soon as it is alive."""
        return self.once_alive(self.start("worker", *options, **variables))

    def test_worker(self, concurrency: int = 2, what: str = "worker", **variables: str) -> Running:
        """The same supervisor with the tasks of jobs_for_tests too; ``what``: of `worker` or of `up`."""
        return self.once_alive(self.start_test_worker(concurrency, what, **variables))

    def start_test_worker(self, concurrency: int = 2, what: str = "worker", **variables: str) -> Running:
        variables = {"PYTHONPATH": str(TESTS)} | variables
        return self.start_any(sys.executable, "-m", "supervised", str(concurrency), what, **variables)

    def once_alive(self, supervisor: Running) -> Running:
        def alive() -> bool:
            assert supervisor.runs, f"the worker ended\n{supervisor.out}\n{supervisor.err}"
            return bool(
                self.rows("SELECT 1 FROM worker WHERE id LIKE ? AND stopped_at IS NULL", f"%{supervisor.pid}@%")
            )

        eventually(alive, f"a worker of {supervisor.arguments}")
        return supervisor

    # -- the store, read directly

    def rows(self, sql: str, *params: Any) -> list[dict[str, Any]]:
        """What the store holds, read by another program than ours."""
        if self.server_url is not None:
            return self._server_rows(sql, params)
        if not self.database.exists():
            return []
        try:
            with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as connection:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(sql, params)]
        except sqlite3.OperationalError as exc:
            if "no such table" in str(exc):  # the first command is still making them
                return []
            raise

    @property
    def server_url(self) -> str | None:
        """The address of the store where it is PostgreSQL."""
        url = self.env.get("MARKETJOBS_DATABASE__URL", SQLITE)
        return None if url.startswith(SQLITE) else url

    def _server_rows(self, sql: str, params: Sequence[Any]) -> list[dict[str, Any]]:
        import psycopg
        from psycopg.rows import dict_row

        assert self.server_url is not None
        with psycopg.connect(self.server_url, row_factory=dict_row) as connection:
            native = sql.replace("%", "%%").replace("?", "%s") if params else sql
            cursor = connection.execute(native, params or None)
            return cursor.fetchall() if cursor.description else []

    def write(self, sql: str, *params: Any) -> None:
        if self.server_url is not None:
            self._server_rows(sql, params)
            return
        with closing(sqlite3.connect(self.database, timeout=30)) as connection, connection:
            connection.execute(sql, params)

    def has_table(self, name: str) -> bool:
        where = "sqlite_master WHERE name" if self.server_url is None else "pg_tables WHERE tablename"
        return bool(self.rows(f"SELECT 1 FROM {where} = ?", name))

    def job(self, job_id: str) -> dict[str, Any]:
        [row] = self.rows("SELECT * FROM job WHERE id = ?", job_id)
        return row

    def jobs(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM job ORDER BY submitted_at, id")

    def in_state(self, job_id: str, *states: str, seconds: float = LONG) -> dict[str, Any]:
        """The row once it is in one of these states."""
        last: list[dict[str, Any]] = []

        def look() -> bool:
            last[:] = self.rows("SELECT * FROM job WHERE id = ?", job_id)
            return bool(last) and last[0]["state"] in states

        try:
            eventually(look, f"job {job_id} is {' or '.join(states)}", seconds)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; its row: {last}\n{self.said()}") from None
        return last[0]

    def all_final(self, job_ids: Sequence[str], seconds: float = LONG) -> list[dict[str, Any]]:
        """The rows once all of them are final."""
        marks = ",".join("?" * len(job_ids))

        def look() -> list[dict[str, Any]]:
            found = self.rows(f"SELECT * FROM job WHERE id IN ({marks})", *job_ids)
            assert len(found) == len(set(job_ids)), "a submitted job has no row"
            return found if all(row["state"] in FINAL for row in found) else []

        try:
            return eventually(look, f"{len(job_ids)} jobs have ended", seconds, every=0.1)
        except AssertionError as exc:
            states = self.rows("SELECT state, waits_for, count(*) AS n FROM job GROUP BY state, waits_for")
            raise AssertionError(f"{exc}; states: {states}\n{self.said()}") from None

    def bars(self, symbol: str, interval: str = "1d") -> list[tuple[Any, ...]]:
        """Everything that is stored of a symbol, with who supplied it and when."""
        rows = self.rows("SELECT * FROM price_bar_v WHERE symbol = ? AND interval = ? ORDER BY ts", symbol, interval)
        return [tuple(row.values()) for row in rows]

    def effects(self) -> list[str]:
        """What the tasks of jobs_for_tests have left, a line each."""
        path = self.home / "effects"
        return path.read_text().splitlines() if path.exists() else []

    def said(self) -> str:
        """What the started processes said, for the message of a failed test."""
        return "\n".join(f"--- {' '.join(one.arguments)[-90:]}\n{(one.out + one.err)[-4000:]}" for one in self.started)

    # -- processes

    def processes(self) -> dict[int, str]:
        """Whatever lives in this machine's environment, by process id."""
        return dict(_environments(f"MARKETJOBS_HOME={self.home}"))

    def no_process_is_left(self, seconds: float = 15.0) -> None:
        try:
            eventually(lambda: not self.processes(), "no process is left", seconds)
        except AssertionError as exc:
            raise AssertionError(f"{exc}: {self.processes()}\n{self.said()}") from None

    def children(self, supervisor: Running) -> dict[str, list[int]]:
        """The processes of a worker: its Celery main process, its pool, its reaper."""
        found: dict[str, list[int]] = {"main": [], "pool": [], "reaper": []}
        for pid, title in self.processes().items():
            parent = parent_of(pid)
            if "marketjobs.tasks.reaper" in title and parent == supervisor.pid:
                found["reaper"].append(pid)
            elif parent == supervisor.pid:
                found["main"].append(pid)
        found["pool"] = [pid for pid in self.processes() if parent_of(pid) in found["main"]]
        return found

    def close(self) -> None:
        """End what was started, then what that may have left behind."""
        for one in self.started:
            if one.runs:
                one.signal(
                    signal.SIGQUIT if "supervised" in one.arguments or "worker" in one.arguments else signal.SIGTERM
                )
        give_up_at = time.monotonic() + 5
        while time.monotonic() < give_up_at and (any(one.runs for one in self.started) or self.processes()):
            time.sleep(0.05)
        for pid in [*self.processes(), *(one.pid for one in self.started if one.runs)]:
            kill(pid)
        for one in self.started:
            one.process.wait(10)


class Terminal:
    """A command at a pseudo-terminal."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, columns: int) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", TERMINAL, *arguments],
            env=dict(env),
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            close_fds=True,
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.text = ""

    def read(self) -> str:
        """All that it has shown so far."""
        try:
            while data := os.read(self._master, 65_536):
                self.text += data.decode(errors="replace")
        except (BlockingIOError, OSError):
            pass  # nothing more now, or the other end is closed
        return self.text

    def shows(self, text: str, seconds: float = LONG) -> None:
        try:
            eventually(lambda: text in self.read(), f"{text!r} on the screen", seconds)
        except AssertionError as exc:
            raise AssertionError(f"{exc}:\n{self.text}") from None

    def types(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait(self, seconds: float = LONG) -> int:
        """Its exit code, with everything read."""
        code = eventually(lambda: (self.read(), self._process.poll())[1] is not None, "the command ends", seconds)
        self.read()
        os.close(self._master)
        assert code
        return int(self._process.returncode)


def clean_environment() -> dict[str, str]:
    """Ours without any setting, proxy or authority."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN) and name not in FOREIGN_NAMES and not name.startswith("PYTEST_")
    }


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def _environments(variable: str) -> Iterator[tuple[int, str]]:
    wanted = variable.encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                yield int(folder.name), title
        except OSError:
            continue  # it has ended, or is another user's


# -- Redis ------------------------------------------------------------------------------------------------


class RedisServer:
    """A Redis of our own on a free port, without persistence."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, *more: str) -> None:
        options = f"--port {self.port} --bind 127.0.0.1 127.0.0.2 --dir {self.folder} --appendonly no".split()
        self._process = subprocess.Popen(
            ["redis-server", *options, "--save", "", *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._answers, "Redis answers")

    def _answers(self) -> bool:
        try:
            return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def ask(self, *words: str) -> bytes:
        """The raw reply to a command."""
        packed = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(f"*{len(words)}\r\n{packed}".encode())
            return connection.recv(65_536)

    def freeze(self) -> None:
        """It keeps its connections and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_required(name: str) -> bool:
    """Must a server be there, instead of its tests being skipped?"""
    return name in os.environ.get("MARKETJOBS_TEST_REQUIRE", "").replace(" ", "").split(",")


def require_redis_server() -> None:
    """Skip where no redis-server is installed, unless the tests were told that it must be."""
    if shutil.which("redis-server") is None:
        if is_required("redis"):
            pytest.fail("no redis-server is installed (MARKETJOBS_TEST_REQUIRE names it)")
        pytest.skip("no redis-server is installed")


# -- fixtures, for the conftest.py of each folder -----------------------------------------------------------


@contextmanager
def machine_of(root: Path, vendor: Vendor | None = None, **variables: str) -> Iterator[Machine]:
    made = Machine(root, vendor, **variables)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor() as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path, vendor: Vendor) -> Iterator[Machine]:
    """A machine whose only vendor is ours; nothing runs on it yet."""
    with machine_of(tmp_path / "machine", vendor) as made:
        yield made


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that is not started yet."""
    require_redis_server()
    made = RedisServer(tmp_path / "redis")
    yield made
    made.kill()
