"""A RabbitMQ of our own: private node, ports, data folder and name server (epmd), for the tests that stop, freeze or
block it.  One per test session, because it takes five seconds to start; each test gets a vhost of its own."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from processes import LONG, eventually, free_port, is_required

PLACES = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/rabbitmq/sbin"))
PLENTY = 1 << 50
"""More free bytes than any disk has: asking for so many raises the disk alarm."""


def programs() -> Path | None:
    """The folder of RabbitMQ's own scripts.  Debian's in PATH insist on a user and a folder of their own."""
    found = shutil.which("rabbitmq-server")
    places = [*PLACES, *([Path(found).resolve().parent] if found else [])]
    return next((place for place in places if (place / "rabbitmqctl").exists()), None)


class RabbitServer:
    """``start()``, ``kill()``, ``freeze()`` ... as often as wanted; data survives in its folder."""

    def __init__(self, folder: Path) -> None:
        scripts = programs()
        assert scripts is not None
        self._scripts = scripts
        self._folder = folder
        self.port, self.tls_port, self._epmd_port, distribution = (free_port() for _ in range(4))
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plugins").write_text("[].\n")
        self.configure()
        self._env = {
            "PATH": os.environ.get("PATH", ""),
            "LANG": "C.UTF-8",
            "HOME": str(folder),  # the Erlang cookie
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server, so that its id is the server's
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"marketjobs-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        }

    def configure(self, *lines: str) -> None:
        """Its configuration from the next start on."""
        plain = f"listeners.tcp.local = 127.0.0.1:{self.port}", "disk_free_limit.absolute = 1MB"
        (self._folder / "rabbitmq.conf").write_text("\n".join((*plain, *lines)) + "\n")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Until it takes connections."""
        if self.runs:
            return
        if self._epmd is None:
            erlang = subprocess.run(
                ["erl", "-noshell", "-eval", 'io:format("~s", [code:root_dir()]), halt().'],
                capture_output=True,
                text=True,
                check=True,
                env=self._env,
            ).stdout
            epmd = next(Path(erlang).glob("erts-*/bin/epmd"))
            self._epmd = self._popen([str(epmd), "-port", str(self._epmd_port)])
        said = self._folder / "out"
        with said.open("wb") as out:
            self._process = self._popen([str(self._scripts / "rabbitmq-server")], out)
        try:
            eventually(self._is_ready, "RabbitMQ answers", 3 * LONG, every=0.2)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{said.read_text()[-3000:]}") from None

    def _popen(self, command: list[str], out: object = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            env=self._env,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=out,  # type: ignore[call-overload]
            stderr=subprocess.STDOUT,
            process_group=0,
        )

    def _is_ready(self) -> bool:
        assert self.runs, "RabbitMQ ended"
        return self._ctl("await_startup", "--timeout", "1").returncode == 0

    def _ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._scripts / "rabbitmqctl"), "-q", *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def ctl(self, *arguments: str) -> str:
        """What ``rabbitmqctl`` says; an AssertionError when it fails."""
        done = self._ctl(*arguments)
        assert done.returncode == 0, f"rabbitmqctl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    # -- what a test has of it

    def url(self, vhost: str, user: str = "guest:guest") -> str:
        return f"amqp://{user}@127.0.0.1:{self.port}/{vhost}"

    def new_vhost(self) -> str:
        """The address of a new, empty vhost."""
        name = f"test-{os.getpid()}-{next(self._names)}"
        self.ctl("add_vhost", name)
        self.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return self.url(name)

    def block_publishers(self) -> None:
        self.ctl("set_disk_free_limit", str(PLENTY))

    def unblock_publishers(self) -> None:
        self.ctl("set_disk_free_limit", "1MB")

    def messages(self, url: str) -> dict[str, int]:
        """How many each queue of a vhost holds."""
        lines = self.ctl("list_queues", "-p", url.rpartition("/")[2], "name", "messages", "--no-table-headers")
        return {name: int(number) for name, number in (line.split("\t") for line in lines.splitlines() if "\t" in line)}

    # -- bad days

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """At once, without a word."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def close(self) -> None:
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(10)
            self._epmd = None


def require_rabbitmq_server() -> None:
    """Skip where no RabbitMQ is installed, unless the tests were told that it must be."""
    if programs() is None or shutil.which("erl") is None:
        if is_required("rabbitmq"):
            pytest.fail("no rabbitmq-server is installed (MARKETJOBS_TEST_REQUIRE names it)")
        pytest.skip("no rabbitmq-server is installed")


# -- fixtures, for the conftest.py of each folder -----------------------------------------------------------


@pytest.fixture(scope="session")
def rabbit_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """Asked for through ``rabbit_server``."""
    require_rabbitmq_server()
    with closing(RabbitServer(tmp_path_factory.mktemp("rabbitmq"))) as made:
        yield made


@pytest.fixture
def rabbit_server(rabbit_of_session: RabbitServer) -> Iterator[RabbitServer]:
    """Our RabbitMQ, running and sound.  Whatever a test does to it is over at the test's end."""
    rabbit_of_session.start()
    yield rabbit_of_session
    if rabbit_of_session.runs:
        rabbit_of_session.thaw()
        rabbit_of_session.unblock_publishers()
