"""Commands for the first day and for trouble: `init`, `doctor`, `demo`, `config show`, `db upgrade`."""

from __future__ import annotations

from typing import Annotated

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import JSON

config_app = typer.Typer(help="Settings in force.", no_args_is_help=True, rich_markup_mode=None)
db_app = typer.Typer(help="The database's schema.", no_args_is_help=True, rich_markup_mode=None)

SHORT_CONFIG = """\
# marketjobs: what you want otherwise than the defaults.  All keys, each with its default:
#   marketjobs config show --all

[broker]
# Empty: an embedded queue, for one host.  For many workers: "redis://localhost:6379/0", or "amqp://..." for RabbitMQ
url = ""

[database]
# Empty: SQLite in the data folder.  For several machines: "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
url = ""

[worker]
concurrency = 2

[providers.yahoo]
rate_limit = ["2/s", "2000/h"]
"""


def init(
    here: Annotated[
        bool, typer.Option("--here", help="Write ./config.toml instead of your configuration folder.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Write a short configuration and create the store; a second time changes nothing."""
    from pathlib import Path

    from marketjobs import config
    from marketjobs.commands import render
    from marketjobs.errors import ConfigError

    file = Path(config.FILE_NAME) if here else config.user_config_file()
    shadowed = not here and Path(config.FILE_NAME).is_file()
    written = False
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as sink:
            sink.write(SHORT_CONFIG)
            written = True
    except FileExistsError:
        pass
    except OSError as exc:
        raise ConfigError(f"{file} can't be written: {exc.strerror}") from exc
    runtime = session.runtime()
    file_of_store = runtime.settings.database_file
    existed = file_of_store is None or file_of_store.exists()
    path = runtime.database.label
    if as_json:
        render.json(
            {
                "config": str(file),
                "config_written": written,
                "database": path,
                "database_created": not existed,
            }
        )
        return
    render.line(f"configuration  {file}  {'written' if written else 'was there already, left as it is'}")
    render.line(f"store          {path}  {'was there already' if existed else 'created'}")
    if shadowed:
        render.note(f"in this folder ./{config.FILE_NAME} is read instead of it", style="yellow")
    render.note("  next: marketjobs fetch-market-data -s AAPL")
    render.note("        marketjobs prices AAPL")
    render.note("        marketjobs up")


def doctor(as_json: JSON = False) -> None:
    """Check configuration, store, broker, workers, clock and providers; a line each, with a fix."""
    from marketjobs.commands import render
    from marketjobs.services import doctor as checks
    from marketjobs.tasks.probe import broker_check

    findings = checks.examine(broker_check)
    if as_json:
        render.json({"checks": [one.to_json() for one in findings]})
    else:
        render.table(
            ("check", "verdict", "found", "fix"),
            [(one.name, one.verdict, one.found, one.fix) for one in findings],
            fold=("found", "fix"),
        )
    raise typer.Exit(1 if any(one.verdict == "error" for one in findings) else 0)


def demo() -> None:
    """The tour without a network: recorded history of five stocks through a real job into a store of its own."""
    import os
    import shutil
    from contextlib import contextmanager

    from marketjobs import config
    from marketjobs.commands import flow, render
    from marketjobs.services.runtime import Runtime

    folder = config.home_folder() / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    kept = {name: os.environ.pop(name) for name in list(os.environ) if _is_setting(name)}

    @contextmanager
    def own_settings():
        # The tour is the same whatever is configured: the defaults, and a data folder of its own.
        os.environ["MARKETJOBS_HOME"], os.environ["MARKETJOBS_CONFIG"] = str(folder), os.devnull
        try:
            yield config.load()
        finally:
            del os.environ["MARKETJOBS_HOME"], os.environ["MARKETJOBS_CONFIG"]
            os.environ.update(kept)

    with own_settings() as plain:
        runtime = Runtime(plain)
        symbols = ["AAPL", "GOOG", "IBM", "MSFT", "FB"]
        arguments = {"symbols": symbols, "provider": "recorded", "period": "max"}
        _ = runtime.database  # a data folder that can't be used is said before anything else
        render.note("recorded history of five stocks, 2000 to 2013, through the same job as live data")
        code = flow.submit_and_show(
            runtime,
            "marketjobs.fetch_market_data",
            arguments,
            wait=True,
            inline=True,
            timeout_seconds=None,
            as_json=False,
            say_next=False,
        )
        _tour(runtime, symbols)
    raise typer.Exit(code)


def _is_setting(name: str) -> bool:
    return name.startswith("MARKETJOBS_") or name in (
        "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "CELERY_TASK_ALWAYS_EAGER", "REDIS_URL", "DATABASE_URL"
    )  # fmt: skip


def _tour(runtime, symbols: list[str]) -> None:
    from marketjobs import read
    from marketjobs.commands import render
    from marketjobs.commands.chart import line_chart, sparkline

    rows = []
    for symbol in symbols:
        year = read.bars(symbol, last=252, runtime=runtime)
        closes = [bar.close for bar in year]
        rows.append(
            (symbol, len(read.bars(symbol, runtime=runtime)), year[-1].ts.date(), f"{closes[-1]:.2f}",
             f"{closes[-1] / closes[0] - 1:+.1%}", sparkline(closes))
        )  # fmt: skip
    render.table(("symbol", "bars ", "last", "close ", "year ", "last 252 sessions"), rows, spare=("last", "bars"))
    year = read.bars("AAPL", last=252, runtime=runtime)
    render.line("AAPL, last recorded year, close (split-adjusted, USD)", style="bold")
    for text in line_chart(
        [bar.close for bar in year], [bar.ts.date().isoformat() for bar in year], width=80, height=10
    ):
        render.line(text, style="cyan")
    render.note("that was recorded data, in a store of its own; now live:", style=None)
    render.note("  marketjobs fetch-market-data -s AAPL")
    render.note("  marketjobs prices AAPL")


@config_app.command("show")
def config_show(
    every: Annotated[bool, typer.Option("--all", help="The defaults too.")] = False, as_json: JSON = False
) -> None:
    """Settings and where each came from; secrets are masked."""
    from marketjobs import config
    from marketjobs.commands import render

    settings = config.current()
    shown = [one for one in config.entries(settings) if every or one.origin != "default"]
    paths = {
        "config file": str(settings.file) if settings.file else None,
        "data folder": str(settings.home),
        "database": settings.shown_database,
    }
    if as_json:
        render.json(
            {
                "paths": paths,
                "settings": [{"key": one.key, "value": one.value, "origin": one.origin} for one in shown],
            }
        )
        return
    for name, path in paths.items():
        render.line(f"{name:12} {path or 'none'}")
    if shown:
        render.table(
            ("setting", "value", "from"),
            [(one.key, _value(one.value), one.origin) for one in shown],
            fold=("value", "from"),
        )
    else:
        render.note("everything has its default; see them: marketjobs config show --all")


def _value(value: object) -> str:
    import json

    return json.dumps(value)


@db_app.command("upgrade")
def db_upgrade(as_json: JSON = False) -> None:
    """Bring the database to this version's schema (a SQLite file is copied before)."""
    from marketjobs.commands import render
    from marketjobs.services import upkeep

    label, schema, changed = upkeep.upgrade(session.runtime())
    if as_json:
        render.json({"database": label, "schema": schema, "changed": changed})
        return
    render.line(f"{label} {'is now' if changed else 'was already'} at schema {schema}")


@db_app.command("backup")
def db_backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The copy; a name that is not taken yet.")],
    as_json: JSON = False,
) -> None:
    """Copy the SQLite store while it is in use.  PostgreSQL has pg_dump: the command is shown."""
    from pathlib import Path

    from marketjobs.commands import render
    from marketjobs.services import upkeep

    target = Path(file).expanduser()
    with render.progress("copying") as tell:
        size = upkeep.backup(session.runtime(), target, tell)
    if as_json:
        render.json({"file": str(target), "bytes": size})
        return
    render.line(f"{target}  {size:,} bytes")
    render.note(f"  look into it: MARKETJOBS_DATABASE__URL=sqlite:///{target.absolute()} marketjobs status")


def register(app: typer.Typer) -> None:
    app.command("init")(init)
    app.command("demo")(demo)
    app.command("doctor")(doctor)
    app.add_typer(config_app, name="config")
    app.add_typer(db_app, name="db")
