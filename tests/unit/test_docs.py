"""The documentation says what the program does: generated parts, command lines, links, the README's two commands."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from marketjobs import config, errors
from marketjobs.cli import app
from marketjobs.commands.session import exit_code
from marketjobs.domain.assets import AssetClass
from marketjobs.providers.base import provider_class, provider_names
from marketjobs.storage import schema
from marketjobs.storage.sqlite import SqliteDatabase

TOP = Path(__file__).resolve().parents[2]
PAGES = sorted([*TOP.glob("*.md"), *TOP.glob("docs/*.md")])
RUN_IT = "pip install . && marketjobs demo"
TEST_IT = "pip install -e '.[dev]' && pytest"
GLOBAL_WITH_VALUE = ("--config",)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


make_docs = _load(TOP / "scripts" / "make_docs.py")
run_all = _load(TOP / "benchmarks" / "run_all.py")


# -- generated --------------------------------------------------------------------------------------------


def test_generated_parts_are_what_the_code_says() -> None:
    stale = sorted(make_docs.differing())
    assert stale == [], "run: python scripts/make_docs.py"


def test_config_toml_has_every_key_and_no_other() -> None:
    written = tomllib.loads((TOP / "config.toml").read_text())
    assert sorted(_flatten(written)) == sorted(key for key, _ in config.settings_keys())


def test_config_toml_loads_as_exactly_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETJOBS_CONFIG", os.devnull)
    defaults = config.load()
    monkeypatch.setenv("MARKETJOBS_CONFIG", str(TOP / "config.toml"))
    shipped = config.load()
    assert shipped == defaults
    assert shipped.origin("worker.concurrency") == str(TOP / "config.toml"), "it was read at all"


def test_each_setting_has_a_description() -> None:
    assert [key for key, field in config.settings_keys() if not field.description] == []


def _flatten(values: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in values.items():
        keys += _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys


# -- commands ---------------------------------------------------------------------------------------------


def _fenced(text: str) -> list[tuple[str, str]]:
    """(language, body) of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def _prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _inline(page: Path) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", _prose(page))


def _typed(page: Path) -> list[str]:
    """The `marketjobs ...` lines that a reader may paste: fenced shell blocks, and inline code."""
    text = page.read_text()
    lines = [
        part.strip()
        for language, body in _fenced(text)
        if language in ("sh", "bash", "console")
        for line in body.splitlines()
        for part in re.split(r"&&|\|", line.partition(" #")[0].removeprefix("$ "))
    ]
    # In a service's file, a crontab.
    lines += [line for _, body in _fenced(text) for line in re.findall(r"/bin/(marketjobs .+)", body)]
    lines += _inline(page)
    return [line for line in lines if line.startswith("marketjobs ") and "..." not in line]


def _parse(line: str) -> None:
    """Parse a command line as Typer would, without running it.  Raises what Typer raises."""
    words = shlex.split(line)[1:]
    command = typer.main.get_command(app)
    path = "marketjobs"
    while hasattr(command, "commands"):
        while words and words[0].startswith("-"):
            option = words.pop(0)
            known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
            assert option in known | {"-h", "--help"}, f"{path} has no option {option}"
            if option in GLOBAL_WITH_VALUE:
                words.pop(0)
        if not words:
            return
        name = words.pop(0)
        assert name in command.commands, f"{path} has no command {name}"
        command, path = command.commands[name], f"{path} {name}"
    if not {"-h", "--help"} & set(words):
        command.make_context(path, words)


@pages
def test_command_lines_in_the_documentation_parse(page: Path) -> None:
    wrong = []
    for line in _typed(page):
        try:
            _parse(line)
        except Exception as exc:  # Typer's own tree of errors, which it does not export
            wrong.append(f"{line}: {getattr(exc, 'message', exc)}")
    assert wrong == []


def test_there_are_command_lines_to_check() -> None:
    assert "marketjobs prices AAPL" in _typed(TOP / "README.md")
    with pytest.raises(AssertionError, match="no command nosuch"):
        _parse("marketjobs nosuch")
    with pytest.raises(Exception, match="--nosuch"):
        _parse("marketjobs prices AAPL --nosuch")


@pages
def test_inline_code_stays_on_its_line(page: Path) -> None:
    """Else nobody can paste it, and nothing here looks at it."""
    assert [line for line in _prose(page).splitlines() if line.count("`") % 2] == []


def _options(command: Any) -> set[str]:
    own = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    return own.union(*(_options(one) for one in getattr(command, "commands", {}).values()))


OF_ANY_COMMAND = {"-h", "--help", "--install-completion"}


@pages
def test_options_that_are_named_alone_exist(page: Path) -> None:
    known = _options(typer.main.get_command(app)) | OF_ANY_COMMAND
    named = {
        word
        for text in _inline(page)
        if text.startswith("-")
        for word in text.split()
        if re.match(r"--?[a-z]", word, re.I)
    }
    assert sorted(named - known) == []


# -- settings ---------------------------------------------------------------------------------------------

OUR_VARIABLES = {
    "MARKETJOBS_HOME", "MARKETJOBS_CONFIG", "MARKETJOBS_COMMAND", "MARKETJOBS_RECORDED",
    "MARKETJOBS_TEST_REQUIRE", "MARKETJOBS_TEST_REDIS_URL", "MARKETJOBS_TEST_POSTGRESQL_URL",
}  # fmt: skip


@pages
def test_settings_that_are_named_exist_and_have_the_default_that_is_told(page: Path) -> None:
    fields = dict(config.settings_keys())
    wrong = []
    for key, told in re.findall(r"`\[([\w.]+\] \w+)`(?: \((\d+)\))?", _prose(page)):
        field = fields.get(key.replace("] ", "."))
        if field is None or (told and float(told) != field.default):
            wrong.append(f"[{key} ({told})")
    variables = {f"MARKETJOBS_{key.replace('.', '__').upper()}" for key in fields} | OUR_VARIABLES
    wrong += sorted(
        set(re.findall(r"\bMARKETJOBS_[A-Z_]*[A-Z]", page.read_text())) - variables - {"MARKETJOBS_SECTION__KEY"}
    )
    assert wrong == []


def test_there_are_settings_to_check() -> None:
    assert "`[worker] lease_seconds` (30)" in (TOP / "docs" / "many-workers.md").read_text()


# -- Python -----------------------------------------------------------------------------------------------


def _python(page: Path) -> list[str]:
    return [body for language, body in _fenced(page.read_text()) if language == "python"]


def _unresolved(tree: ast.AST) -> Iterator[str]:
    """Imports, and attributes of imported modules, that are not there."""
    modules: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if importlib.util.find_spec(name.name) is None:
                    yield name.name
                elif name.name.startswith("marketjobs"):
                    modules[name.asname or name.name.partition(".")[0]] = importlib.import_module(name.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if importlib.util.find_spec(node.module) is None:
                yield node.module
            elif node.module.startswith("marketjobs"):
                found = importlib.import_module(node.module)
                yield from (f"{node.module}.{one.name}" for one in node.names if not hasattr(found, one.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            path = ast.unparse(node).split(".")
            found = modules.get(path[0])
            for name in path[1:]:
                if found is not None and not hasattr(found, name):
                    yield ".".join(path)
                found = getattr(found, name, None)


@pages
def test_python_in_the_documentation_compiles_and_its_names_exist(page: Path) -> None:
    assert [name for body in _python(page) for name in _unresolved(ast.parse(body))] == []


def test_a_name_that_is_not_there_is_seen() -> None:
    wrong = "import marketjobs\nfrom marketjobs.tasks.bars import nosuch\nmarketjobs.read.nosuch()"
    assert sorted(_unresolved(ast.parse(wrong))) == ["marketjobs.read.nosuch", "marketjobs.tasks.bars.nosuch"]


def test_snippets_of_the_page_for_newcomers_run(tmp_path: Path) -> None:
    """Those that touch no vendor: in the order of the page, over a year of recorded history."""
    page = TOP / "docs" / "coming-from-celery-and-yfinance.md"
    frame, task, schedule = (
        next(body for body in _python(page) if mark in body)
        for mark in ("pd.DataFrame", "myjobs.report", "beat_schedule")
    )
    script = "\n".join(
        (
            "import warnings; warnings.simplefilter('ignore')",
            "import marketjobs",
            "marketjobs.submit('fetch_market_data', symbols=['AAPL'], provider='recorded', period='1y')",
            frame,
            "assert len(bars) > 200 and returns.notna().sum() == len(bars) - 1, bars",
            task,
            "assert report.delay('AAPL').get()['bars'] == len(marketjobs.read.bars('AAPL'))",
            schedule,
            "app.loader.import_default_modules()  # as beat does",
            "assert {one['task'] for one in app.conf.beat_schedule.values()} <= set(app.tasks)",
        )
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARKETJOBS_")}
    environment |= {
        "MARKETJOBS_HOME": str(tmp_path / "home"),
        "MARKETJOBS_CONFIG": os.devnull,
        "CELERY_TASK_ALWAYS_EAGER": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


# -- tables -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabase:
    database = SqliteDatabase(tmp_path_factory.mktemp("store") / "fresh.db")
    schema.ensure(database)
    return database


@pages
def test_tables_that_are_named_exist_and_sql_can_be_run(page: Path, fresh_store: SqliteDatabase) -> None:
    with fresh_store.read() as tx:
        known = {row[0] for row in tx.tuples("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")}
        assert set(re.findall(r"\b(?:table|view)\s+`(\w+)`", _prose(page))) <= known
        for language, body in _fenced(page.read_text()):
            if language == "sql":
                tx.tuples(body)


# -- vendors ----------------------------------------------------------------------------------------------


def test_the_table_of_vendors_has_all_that_are_asked_and_what_each_declares() -> None:
    """Read as a person does, not as it was written."""
    rows = {row[0].strip("`"): row[1:] for row in _table(TOP / "README.md", "Vendors")}
    classes = {name: provider_class(name) for name in provider_names()}
    assert rows.keys() == {name for name, kind in classes.items() if kind.needs_network}
    settings = config.ProvidersSettings()
    for name, (does, bars, of, key, calls) in rows.items():
        has = classes[name].capabilities
        told = dict.fromkeys(("bars", "quotes", "profiles", "news", "feeds", "search"), False)
        told |= dict.fromkeys(does.split(", "), True)
        assert {what: bool(getattr(has, what)) for what in told} == told, name
        assert set(bars.split()) == {interval.value for interval in has.bars}, name
        known = set(AssetClass) - {AssetClass.UNKNOWN}
        assert (known if of == "all" else set(of.split(", "))) == has.asset_classes - {AssetClass.UNKNOWN}, name
        assert (key == "needed", key != "none") == (has.needs_key, has.needs_key or has.takes_keys), name
        assert calls.split(", ") == settings.of(name).rate_limit, name


def test_the_chain_of_coins_is_told_as_it_is() -> None:
    [told] = re.findall(r"for coins\s([a-z, \n]+)\.", (TOP / "README.md").read_text())
    assert tuple(told.split(", ")) == config.ChainsSettings().of(AssetClass.CRYPTO)


# -- causes and exit codes ---------------------------------------------------------------------------------

WITHOUT_A_CLASS = {"internal_error", "usage", "unknown_task", "worker_lost"}
"""Causes that no class of the tree has: of the command line, of processes, of other people's code."""


def _tree(kind: type[errors.MarketJobsError] = errors.MarketJobsError) -> Iterator[type[errors.MarketJobsError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:  # not those that tests make
            yield from _tree(below)


def _table(page: Path, title: str) -> list[list[str]]:
    """The rows of the first table under a title, without its head; cells as they are written."""
    [section] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_each_cause_is_explained_once_with_whether_it_is_tried_again() -> None:
    told = [(row[0].strip("`"), row[2]) for row in _table(TOP / "docs" / "troubleshooting.md", "Causes")]
    wanted = {kind.cause: "yes" if kind.retryable else "no" for kind in _tree()}
    assert {cause: again for cause, again in told if cause not in WITHOUT_A_CLASS} == wanted
    assert sorted(cause for cause, _ in told) == sorted(wanted.keys() | WITHOUT_A_CLASS)


def test_causes_without_a_class_are_in_the_code() -> None:
    code = "".join(file.read_text() for file in (TOP / "src" / "marketjobs").rglob("*.py"))
    assert [cause for cause in WITHOUT_A_CLASS if f'"{cause}"' not in code] == []


@pages
def test_causes_in_other_tables_exist(page: Path) -> None:
    """In tables with a column "cause"."""
    known = {kind.cause for kind in _tree()} | WITHOUT_A_CLASS
    named: set[str] = set()
    for table in re.findall(r"(?:^\|.*\|\n)+", page.read_text(), flags=re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
        if "cause" in head:
            named.update(cell.strip("`") for row in rows if (cell := row[head.index("cause")]).startswith("`"))
    assert sorted(named - known) == []


def test_exit_codes_are_told_alike_and_are_those_of_the_errors() -> None:
    readme = re.findall(r"^\| (\d+) \|", (TOP / "README.md").read_text(), flags=re.MULTILINE)
    told = [row[0] for row in _table(TOP / "docs" / "troubleshooting.md", "Exit codes")]
    assert told == readme
    made = {str(exit_code(_bare(kind))) for kind in _tree()}
    assert made - set(told) == set()
    assert set(told) - made == {"0", "3"}, "done, partly done: those are no errors"


def _bare(kind: type[errors.MarketJobsError]) -> errors.MarketJobsError:
    return kind("x", provider="x") if issubclass(kind, errors.ProviderError) else kind("x")


@pages
def test_files_and_functions_that_are_named_exist(page: Path) -> None:
    text = _prose(page)
    roots = (TOP, TOP / "src" / "marketjobs")
    files = re.findall(r"`([\w.]+(?:/[\w.]+)*\.(?:py|toml|txt|sh))`", text)
    missing = [name for name in files if not any((root / name).is_file() for root in roots) and "NNNN" not in name]
    for name in re.findall(r"`((?:domain|storage|providers|services|tasks|commands)\.[a-z_.]+)`", text):
        room, module, *rest = name.split(".")
        found: Any = importlib.import_module(f"marketjobs.{room}.{module}")
        missing += [] if not rest or hasattr(found, rest[0]) else [name]
    assert missing == []


@pytest.mark.parametrize("room", ["tasks", "services", "providers", "storage", "domain"])
def test_architecture_names_each_file_of_a_room(room: str) -> None:
    [row] = re.findall(rf"^\| `{room}/` \|.*$", (TOP / "docs" / "architecture.md").read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", row))
    files = {file.stem for file in (TOP / "src" / "marketjobs" / room).glob("[a-z]*.py")}
    assert sorted(files - named) == []


def test_bash_of_the_project_parses() -> None:
    for script in (TOP / ".ci" / "run", TOP / "scripts" / "start_task_queue.sh"):
        assert os.access(script, os.X_OK), f"{script.name} is executable"
        done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr


# -- links ------------------------------------------------------------------------------------------------


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ +(.+)$", _prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pages
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists() or (anchor and anchor not in _anchors(linked)):
            broken.append(target)
    assert broken == []


# -- figures ----------------------------------------------------------------------------------------------


def test_each_benchmark_is_run_by_the_one_command_and_is_named() -> None:
    scripts = {file.stem for file in TOP.glob("benchmarks/*.py") if "\n    print_tables(" in file.read_text()}
    assert scripts - {"harness"} == {benchmark.name for benchmark in run_all.BENCHMARKS}
    named = set(re.findall(r"`benchmarks/(\w+)\.py`", run_all.PAGE.read_text().partition(run_all.BEGIN)[0]))
    assert named == scripts


def test_figures_are_those_that_were_measured() -> None:
    text = run_all.PAGE.read_text()
    _, begin, rest = text.partition(run_all.BEGIN)
    part, end, _ = rest.partition(run_all.END)
    assert begin and end
    assert part.strip() == run_all.page_part(run_all.kept()), "run: python benchmarks/run_all.py --page"


# -- the two commands -------------------------------------------------------------------------------------


def test_the_two_commands_are_in_the_readme_and_are_what_ci_runs() -> None:
    readme = (TOP / "README.md").read_text()
    shell = [line for language, body in _fenced(readme) if language == "sh" for line in body.splitlines()]
    assert shell[0] == RUN_IT, "the first thing that a newcomer pastes"
    assert TEST_IT in shell
    ci = (TOP / ".ci" / "run").read_text()
    assert f'\nrun_it="{RUN_IT}"\n' in ci
    assert f'\ntest_it="{TEST_IT}"\n' in ci
    for variable in ("run_it", "test_it"):
        assert f"${{{variable}%% && *}}" in ci, f"both halves of {variable} are run"
        assert f'"${{{variable}##* && }}"' in ci, f"both halves of {variable} are run"


def test_constraints_pin_versions_and_nothing_else() -> None:
    lines = [line for line in (TOP / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.+!]*(; python_version .+)?", line)]
    assert wrong == []
    names = [re.split(r"==", line)[0].lower().replace("_", "-") for line in lines]
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    missing = [re.split(r"[\[<>=!~; ]", one)[0].lower().replace("_", "-") for one in wanted]
    assert [one for one in missing if one not in names] == []
