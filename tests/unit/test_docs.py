"""The documentation says what the program does: generated parts, command lines, links, the README's two commands."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from marketjobs import config
from marketjobs.cli import app

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
    spec.loader.exec_module(module)
    return module


make_docs = _load(TOP / "scripts" / "make_docs.py")


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
    assert shipped.model_dump() == defaults.model_dump()
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
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
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
def test_python_in_the_documentation_compiles(page: Path) -> None:
    for language, body in _fenced(page.read_text()):
        if language == "python":
            compile(body, str(page), "exec")


@pages
def test_files_and_functions_that_are_named_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    roots = (TOP, TOP / "src" / "marketjobs")
    files = re.findall(r"`([\w.]+(?:/[\w.]+)*\.(?:py|toml|txt|sh))`", text)
    missing = [name for name in files if not any((root / name).is_file() for root in roots) and "NNNN" not in name]
    for name in re.findall(r"`((?:domain|storage|providers|services|tasks|commands)\.[a-z_.]+)`", text):
        room, module, *rest = name.split(".")
        found: Any = importlib.import_module(f"marketjobs.{room}.{module}")
        missing += [] if not rest or hasattr(found, rest[0]) else [name]
    assert missing == []


def test_bash_of_the_project_parses() -> None:
    for script in (TOP / ".ci" / "run", TOP / "scripts" / "start_task_queue.sh"):
        assert os.access(script, os.X_OK), f"{script.name} is executable"
        done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr


# -- links ------------------------------------------------------------------------------------------------


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ +(.+)$", text, flags=re.MULTILINE)
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
