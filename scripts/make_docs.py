"""Write the parts of the documentation that the code knows better: commands, vendors, settings, config.toml.

    python scripts/make_docs.py            write what differs
    python scripts/make_docs.py --check    write nothing; exit 1 and name the files that differ

Everything comes from declarations of ours (the Typer app, the settings), not from another package's way of
printing them, so that a new version of one changes no file here.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from marketjobs import config
from marketjobs.cli import app
from marketjobs.domain.assets import AssetClass
from marketjobs.providers.base import provider_class
from marketjobs.sections import Setting
from marketjobs.services.providers import serves

TOP = Path(__file__).resolve().parent.parent
WIDTH = 100
COMMANDS = "<!-- commands: written by scripts/make_docs.py -->", "<!-- /commands -->"
VENDORS = "<!-- vendors: written by scripts/make_docs.py -->", "<!-- /vendors -->"
SETTINGS = "<!-- settings: written by scripts/make_docs.py -->", "<!-- /settings -->"


# -- commands ---------------------------------------------------------------------------------------------


def commands(group: Any = None, path: tuple[str, ...] = ("marketjobs",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command as typed, with what Typer made of it, in the order of `marketjobs --help`."""
    group = typer.main.get_command(app) if group is None else group
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def command_table() -> str:
    lines = ["| command | does |", "|---|---|"]
    for path, command in commands():
        arguments = "".join(f" {_argument(one)}" for one in command.params if one.param_type_name == "argument")
        lines.append(f"| `{' '.join(path[1:])}{arguments}` | {_cell(_text(command))} |")
    return "\n".join(lines)


def command_pages() -> str:
    parts = [
        "# Commands",
        "What `--help` says, of each command.  Written by `scripts/make_docs.py`; not to be edited here.",
        "Options of `marketjobs` itself stand before the command:",
        _block([("-h, --help", "Help, of anything."), *_options(typer.main.get_command(app))]),
        "`marketjobs --install-completion` teaches your shell to complete commands and options.",
    ]
    for path, command in commands():
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        usage = " ".join([*path, "[OPTIONS]", *map(_argument, arguments)])
        rows = [(_argument(one), one.help or "") for one in arguments] + list(_options(command))
        parts += [f"## {' '.join(path)}", _text(command), _block([(usage, ""), *([("", ""), *rows] if rows else [])])]
    return "\n\n".join(parts) + "\n"


def _text(command: Any) -> str:
    return " ".join((command.help or "").split())


def _argument(param: Any) -> str:
    name = param.metavar or param.name.upper()
    return name if param.required or name.startswith("[") else f"[{name}]"


def _options(command: Any) -> Iterator[tuple[str, str]]:
    for param in command.params:
        if param.param_type_name != "option" or param.name in ("help", "install_completion", "show_completion"):
            continue
        names = sorted(param.opts, key=len)
        spelled = ", ".join(names) + (f" / {', '.join(param.secondary_opts)}" if param.secondary_opts else "")
        takes_value = not (param.is_flag or getattr(param, "count", False))
        notes = [" ".join((param.help or "").split())]
        if param.required:
            notes.append("[required]")
        elif takes_value and param.default is not None and not callable(param.default):
            notes.append(f"[default: {param.default}]")
        elif param.secondary_opts and param.default is not None:
            notes.append(f"[default: {(param.opts if param.default else param.secondary_opts)[0].lstrip('-')}]")
        yield spelled + (f" {param.metavar or 'N'}" if takes_value else ""), " ".join(notes)


def _block(rows: list[tuple[str, str]]) -> str:
    width = max((len(name) for name, text in rows if text), default=0)
    lines = []
    for name, text in rows:
        indent = " " * (width + 2)
        wrapped = textwrap.wrap(text, WIDTH - len(indent)) or [""]
        lines.append(f"{name:<{width}}  {wrapped[0]}".rstrip())
        lines += [indent + more for more in wrapped[1:]]
    return "\n".join(["```text", *lines, "```"])


# -- vendors ----------------------------------------------------------------------------------------------


def vendor_table() -> str:
    """What each shipped vendor serves, as its adapter declares it."""
    lines = ["| vendor | has | bars | of | key | calls |", "|---|---|---|---|---|---|"]
    for name, section in config.ProvidersSettings().sections().items():
        if not isinstance(section, config.ProviderSettings):
            continue  # recorded data
        has = provider_class(name).capabilities
        classes = [one for one in AssetClass if one in has.asset_classes and one is not AssetClass.UNKNOWN]
        everything = len(classes) == len(AssetClass) - 1
        cells = (
            f"`{name}`",
            ", ".join(serves(has)),
            has.bars_text() if has.bars else "",
            "all" if everything else ", ".join(classes),
            "needed" if has.needs_key else "if you have one" if has.takes_keys else "none",
            ", ".join(section.rate_limit),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# -- settings ---------------------------------------------------------------------------------------------


def settings_table() -> str:
    """A table a section: key, default, environment, meaning."""
    parts = []
    for section, fields in _sections():
        lines = [f"### [{section}]", "", "| key | default | environment | meaning |", "|---|---|---|---|"]
        for key, name, field in fields:
            names = [variable_of(key), *config.ALIASES.get((section, name), ())]
            variables = ", then ".join(f"`{one}`" for one in names)
            meaning = " ".join(filter(None, [field.description, _allowed(field)]))
            lines.append(f"| `{name}` | `{_toml(field.default)}` | {variables} | {_cell(meaning)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def config_file() -> str:
    intro = """\
        marketjobs: every setting with its default.  Written by scripts/make_docs.py; a test keeps it complete.

        Copy what you want otherwise into your own file (`marketjobs init` writes a short one and says where).
        Found: --config FILE, MARKETJOBS_CONFIG, ./config.toml, your configuration folder.
        Precedence: command line, then environment, then file, then the default.
        Each key is an environment variable too: [worker] concurrency is MARKETJOBS_WORKER__CONCURRENCY,
        lists are written as JSON.  In force, and from where: marketjobs config show --all
    """
    lines = [f"# {line}".rstrip() for line in textwrap.dedent(intro).splitlines()]
    for section, fields in _sections():
        lines += ["", f"[{section}]"]
        for _, name, field in fields:
            text = " ".join(filter(None, [field.description, _allowed(field)]))
            lines += [f"# {line}" for line in textwrap.wrap(text, WIDTH - 2)]
            lines.append(f"{name} = {_toml(field.default)}")
    return "\n".join(lines) + "\n"


def variable_of(key: str) -> str:
    return config.PREFIX + key.upper().replace(".", "__")


def _sections() -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """Sections in order, each with (section.key, key, field)."""
    grouped: dict[str, list[tuple[str, str, Any]]] = {}
    for key, field in config.settings_keys():
        section, _, name = key.rpartition(".")
        grouped.setdefault(section, []).append((key, name, field))
    yield from grouped.items()


def _allowed(setting: Setting) -> str:
    """The choices or bounds that a setting has, where its description does not name them."""
    if setting.choices:
        named = all(one in setting.description for one in setting.choices)
        return "" if named else f"({' '.join(setting.choices)})"
    low = f"{setting.ge:g} or more" if setting.ge is not None else ""
    low = f"above {setting.gt:g}" if setting.gt is not None else low
    high = f"at most {setting.le:g}" if setting.le is not None else ""
    return f"({', '.join(filter(None, [low, high]))})" if low or high else ""


def _toml(value: Any) -> str:
    """Strings, numbers, booleans and lists are the same in TOML and JSON."""
    return json.dumps(value)


# -- files ------------------------------------------------------------------------------------------------


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _between(text: str, marks: tuple[str, str], part: str) -> str:
    first, last = marks
    if text.count(first) != 1 or text.count(last) != 1:
        raise SystemExit(f"the marks {first} ... {last} must stand in the file once")
    before, _, rest = text.partition(first)
    return f"{before}{first}\n{part}\n{last}{rest.partition(last)[2]}"


def generated() -> dict[str, str]:
    """The whole text of each file with a generated part, by its path below the project."""
    return {
        "README.md": _between(_between(_read("README.md"), COMMANDS, command_table()), VENDORS, vendor_table()),
        "docs/configuration.md": _between(_read("docs/configuration.md"), SETTINGS, settings_table()),
        "docs/commands.md": command_pages(),
        "config.toml": config_file(),
    }


def _read(name: str) -> str:
    return (TOP / name).read_text(encoding="utf-8")


def differing() -> dict[str, str]:
    return {name: text for name, text in generated().items() if not (TOP / name).is_file() or _read(name) != text}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    check = parser.parse_args(arguments).check
    changed = differing()
    for name, text in changed.items():
        if not check:
            (TOP / name).write_text(text, encoding="utf-8")
        sys.stderr.write(f"{name} {'differs: run scripts/make_docs.py' if check else 'written'}\n")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
