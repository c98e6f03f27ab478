"""A PostgreSQL of our own, for the tests that stop, crowd or refuse it: its own data folder and port, trust for all
but one role."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from processes import eventually, free_port, is_required

PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
CONNECTIONS = 20


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, which Debian keeps out of PATH."""
    found = shutil.which("initdb")
    places = [*([Path(found).resolve().parent] if found else []), *PLACES]
    return next((place for place in places if (place / "pg_ctl").exists()), None)


class PostgresServer:
    """``start()``, ``stop()`` ... as often as wanted; data survives in its folder."""

    def __init__(self, folder: Path, connections: int = CONNECTIONS) -> None:
        place = programs()
        assert place is not None
        self._place = place
        self._folder = folder
        self._connections = connections
        self.port = free_port()
        self._frozen: list[int] = []
        # The server refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else None
        folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._do(
            "initdb", "-D", str(folder / "data"), "-U", "marketjobs", "-A", "trust", "--locale=C", "-E", "UTF8", "-N"
        )
        rules = "host all guarded 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n"
        (folder / "data" / "pg_hba.conf").write_text(rules)

    def _has_icu(self) -> bool:
        told = subprocess.run([str(self._place / "initdb"), "--help"], capture_output=True, text=True, check=True)
        return "--icu-locale" in told.stdout

    def start(self) -> None:
        options = (
            f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
            f" -c max_connections={self._connections} -c superuser_reserved_connections=3"
        )
        self._do(
            "pg_ctl", "-D", str(self._folder / "data"), "-l", str(self._folder / "log"), "-w", "-o", options, "start"
        )

    def stop(self, mode: str = "immediate") -> None:
        """``immediate`` is a crash: sessions are cut, the log is replayed at the next start."""
        self._do("pg_ctl", "-D", str(self._folder / "data"), "-m", mode, "-w", "stop", check=False)

    def freeze(self) -> None:
        """It keeps its connections and says nothing, to new ones neither."""
        self._frozen = [self._pid()]
        self._signal(signal.SIGSTOP)
        children = Path(f"/proc/{self._pid()}/task/{self._pid()}/children").read_text().split()
        self._frozen += map(int, children)
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        self._frozen = []

    def _signal(self, number: int) -> None:
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pid(self) -> int:
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    def new_database(self, name: str = "data", role: str = "plain") -> str:
        """The address of an empty database that an ordinary role owns."""
        with self.connect() as connection:
            connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'opensesame'")
            connection.execute(f"CREATE DATABASE {name} OWNER {role}")
        return f"postgresql://{role}@127.0.0.1:{self.port}/{name}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        url = f"postgresql://marketjobs@127.0.0.1:{self.port}/{database}"
        return psycopg.connect(url, autocommit=True)

    def _do(self, program: str, *arguments: str, check: bool = True) -> None:
        done = subprocess.run(
            [str(self._place / program), *arguments],
            user=self._user,
            extra_groups=[] if self._user else None,
            group=pwd.getpwnam(self._user).pw_gid if self._user else None,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert not check or done.returncode == 0, done.stderr


@pytest.fixture
def postgres_server() -> Iterator[PostgresServer]:
    """Started; not in the test's own folder, which another user may not enter."""
    if programs() is None:
        if is_required("postgresql"):
            pytest.fail("no PostgreSQL is installed (MARKETJOBS_TEST_REQUIRE names it)")
        pytest.skip("no PostgreSQL is installed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder) / "postgres")
        server.start()
        yield server
        server.thaw()
        server.stop()
        eventually(lambda: not (Path(folder) / "postgres" / "data" / "postmaster.pid").exists(), "it has stopped")
