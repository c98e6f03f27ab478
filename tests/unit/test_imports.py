"""What is imported when: `--help` and the commands that only look must answer at once, importing opens nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import marketjobs
from marketjobs import cli
from marketjobs.services.runtime import Runtime

Python = Callable[..., "subprocess.Popen[str]"]
HEAVY = (
    *("celery", "kombu", "billiard"),
    *("sqlalchemy", "sqlmodel", "alembic", "pydantic"),
    *("yfinance", "curl_cffi", "pandas", "numpy"),
)
# What a look at the ledger has no use for: vendors, bars, budgets, copies of the store, jobs that run.
NOT_TO_LOOK = (
    *HEAVY,
    "asyncio",
    "marketjobs.domain.bars",
    "marketjobs.domain.reports",
    "marketjobs.providers",
    "marketjobs.services.attempts",
    "marketjobs.services.budgets",
    "marketjobs.services.heart",
    "marketjobs.storage.assets",
    "marketjobs.storage.backup",
    "marketjobs.storage.bars",
    "marketjobs.storage.budgets",
)
REPORT = """
import json, sys
heavy = json.loads(sys.argv[1])
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def loaded(python: Python, code: str, heavy: tuple[str, ...] = HEAVY) -> list[str]:
    """Which of the heavy packages a snippet has imported."""
    process = python(f"{code}\n{REPORT}", json.dumps(heavy))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    found: list[str] = json.loads(out.splitlines()[-1])
    return found


RUN = """
import contextlib, io, sys
from marketjobs import cli
said = io.StringIO()
command = {command!r}
code = None
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    arguments, sys.argv = sys.argv[1:], ["marketjobs"]
    try:
        cli.main(command)
    except SystemExit as exc:
        code = exc.code
sys.argv = ["-", *arguments]
assert code == {code}, (code, said.getvalue())
assert said.getvalue().strip()
"""


@pytest.mark.parametrize(
    "code",
    ["import marketjobs", "import marketjobs.cli", "from marketjobs import errors, config, log"],
)
def test_importing_is_cheap(python: Python, code: str) -> None:
    assert loaded(python, code) == []


@pytest.mark.parametrize(
    "command", [["--help"], ["fetch-market-data", "--help"], ["worker", "--help"], ["status", "-h"], ["--version"]]
)
def test_help_imports_nothing_heavy(python: Python, home: Path, command: list[str]) -> None:
    assert loaded(python, RUN.format(command=command, code=0)) == []
    assert not home.exists()


@pytest.mark.parametrize("command", [["status"], ["jobs"], ["worker-stats"], ["list-active"], ["status", "--json"]])
def test_commands_that_look_import_only_what_they_show(python: Python, runtime: Runtime, command: list[str]) -> None:
    assert runtime.database.path.exists()
    assert loaded(python, RUN.format(command=command, code=0), NOT_TO_LOOK) == []


def test_a_look_at_prices_imports_nothing_heavy(python: Python, runtime: Runtime) -> None:
    assert runtime.database.path.exists()
    assert loaded(python, RUN.format(command=["quote", "AAPL"], code=4)) == []


def test_a_cache_makes_a_look_no_slower(python: Python, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.database.path.exists()
    monkeypatch.setenv("MARKETJOBS_CACHE__URL", "redis://127.0.0.1:9/0")
    unwanted = (*NOT_TO_LOOK, "redis", "marketjobs.storage.quote_cache")
    assert loaded(python, RUN.format(command=["status"], code=0), unwanted) == []


def test_a_supervisor_leaves_celery_to_its_children(python: Python) -> None:
    assert loaded(python, "import marketjobs.tasks.supervisor") == []


def test_a_usage_error_imports_nothing_heavy(python: Python, home: Path) -> None:
    assert loaded(python, RUN.format(command=["fetch-market-data", "--nonsense"], code=2)) == []
    assert not home.exists()


OPENS_NOTHING = """
import importlib, pkgutil, socket, sqlite3, sys
import marketjobs

opened = []

def watch(event, arguments):
    if event in ("socket.connect", "socket.bind", "sqlite3.connect", "subprocess.Popen", "os.fork"):
        opened.append((event, repr(arguments)))
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & 3:
        opened.append((event, repr(arguments)))

names = [one.name for one in pkgutil.walk_packages(marketjobs.__path__, "marketjobs.")]
names = [name for name in names if not name.endswith("__main__") and "migrations.env" not in name]
assert len(names) > 40, names
sys.dont_write_bytecode = True
# What libraries do on import is theirs; they are imported before the watch begins.
import celery, kombu, sqlmodel, alembic.command, yfinance, curl_cffi.requests, billiard, redis
sys.addaudithook(watch)
for name in names:
    importlib.import_module(name)
assert not opened, opened
print(len(names))
"""


def test_importing_any_module_opens_nothing(python: Python, home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "person"
    outside.mkdir()
    process = python(OPENS_NOTHING, env=_environment(outside))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert int(out) > 40
    assert not home.exists()


def test_importing_our_modules_leaves_no_file_in_a_persons_home(python: Python, home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "person"
    outside.mkdir()
    code = """
    import importlib, pkgutil, marketjobs
    for one in pkgutil.walk_packages(marketjobs.__path__, "marketjobs."):
        if not one.name.endswith("__main__") and "migrations.env" not in one.name:
            importlib.import_module(one.name)
    """
    process = python(code, env=_environment(outside))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [path for path in outside.rglob("*") if path.is_file()] == []
    assert not home.exists()


def _environment(person: Path) -> dict[str, str]:
    import os

    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    return kept | {"HOME": str(person), "PYTHONDONTWRITEBYTECODE": "1"}


def test_the_package_offers_what_it_promises() -> None:
    assert callable(marketjobs.submit)
    assert callable(marketjobs.read.bars)
    with pytest.raises(AttributeError, match="nonsense"):
        marketjobs.nonsense  # noqa: B018


BUILT = """
import sys
import typer.main
from marketjobs import cli

seen = []
build = typer.main.get_command_from_info
typer.main.get_command_from_info = lambda command_info, **more: (
    seen.append(command_info.name), build(command_info, **more)
)[1]
try:
    cli.main(sys.argv[1:])
except SystemExit as end:
    print(end.code, sorted(seen))
"""


@pytest.mark.parametrize(
    ("words", "built"),
    [("status --help", "['status']"), ("db upgrade --help", "['backup', 'upgrade']"), ("-q status --help", None)],
)
def test_only_the_command_that_is_asked_for_is_built(python: Python, words: str, built: str | None) -> None:
    process = python(BUILT, *words.split())
    out, err = process.communicate(timeout=60)
    assert out.splitlines()[-1].startswith("0 "), err
    assert "Usage: " in out
    seen = out.splitlines()[-1].removeprefix("0 ")
    assert seen == built if built else len(seen) > 200, "another option first: all are looked through"


def test_the_page_of_all_commands_needs_none_of_their_options() -> None:
    whole = CliRunner().invoke(cli.app, ["--help"])
    bare = CliRunner().invoke(cli._asked_for(["--help"]), ["--help"])
    assert (whole.exit_code, bare.exit_code) == (0, 0)
    assert bare.output == whole.output
    assert "worker-stats" in bare.output
    assert "backup" in CliRunner().invoke(cli.app, ["db", "--help"]).output, "the app itself is as it was"


ENDS = """
import atexit, sys, threading
from marketjobs import __main__

atexit.register(print, "what was registered has run")
if "thread" in sys.argv:
    threading.Timer(0.3, print, ["the thread was waited for"]).start()
sys.argv = ["marketjobs", *{words}]
__main__.main()
"""


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["nonsense"], 2)])
@pytest.mark.parametrize("thread", [False, True])
def test_the_command_ends_as_python_does(python: Python, words: list[str], code: int, thread: bool) -> None:
    process = python(ENDS.format(words=words), *["thread"] * thread)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert out.splitlines()[-1] == "what was registered has run"
    assert ("the thread was waited for" in out) is thread


def test_a_command_takes_the_log_of_the_database_into_it(python: Python, runtime: Runtime) -> None:
    runtime.close()
    process = python("import sys\nfrom marketjobs import __main__\nsys.argv[1:] = ['jobs']\n__main__.main()")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert [path.name for path in runtime.settings.home.glob("marketjobs.db-*")] == []
