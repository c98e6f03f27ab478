"""Commands that adopt what people already have: `import-bars`, `assets import`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marketjobs.commands import session
from marketjobs.commands.assets import assets_app
from marketjobs.commands.fetch import JSON

if TYPE_CHECKING:
    from marketjobs.services.bar_import import ImportReport

FILE = Annotated[Path, typer.Argument(metavar="FILE.csv", help="A CSV file (also .gz); its first line names columns.")]
ENCODING = Annotated[
    str | None,
    typer.Option("--encoding", metavar="E", help="Such as cp1252. Default: what a byte order mark says, else UTF-8."),
]
SHOWN_SYMBOLS = 30
SHOWN_REJECTED = 10
SAY_EVERY_SECONDS = 2.0


def import_bars(
    file: FILE,
    symbol: Annotated[
        str | None, typer.Option("--symbol", "-s", metavar="SYM", help="Whose bars; needed without a symbol column.")
    ] = None,
    interval: Annotated[str, typer.Option(metavar="I", help="Length of a bar.")] = "1d",
    provider: Annotated[str, typer.Option(metavar="NAME", help="Who supplied them, as a label.")] = "import",
    adjusted: Annotated[
        bool,
        typer.Option("--adjusted/--as-traded", help="Prices are adjusted for splits (not for dividends), or not."),
    ] = True,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows that break a rule instead of refusing the file.")
    ] = False,
    date_format: Annotated[
        str | None,
        typer.Option("--date-format", metavar="F", help="dmy, mdy, iso, epoch, epoch-ms, or a pattern: %d.%m.%y."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", metavar="Z", help="Where times without an offset belong: Europe/London.")
    ] = None,
    decimal: Annotated[
        str | None, typer.Option("--decimal", metavar="C", help="The decimal sign: . or a comma.")
    ] = None,
    encoding: ENCODING = None,
    as_json: JSON = False,
) -> None:
    """Adopt bars from a file: all of it is stored, or nothing."""
    from marketjobs.commands import render
    from marketjobs.domain.intervals import Interval
    from marketjobs.errors import InvalidInput
    from marketjobs.services.bar_file import BarFileOptions
    from marketjobs.services.bar_import import ImportRequest
    from marketjobs.services.bar_import import import_bars as run

    if decimal not in (None, ".", ","):
        raise InvalidInput(f"the decimal sign is . or a comma, not {decimal!a:.20}")
    options = BarFileOptions(Interval.of(interval), symbol, encoding, decimal, date_format, timezone)
    request = ImportRequest(options, provider, as_traded=not adjusted, skip_bad=skip_bad)
    began = time.monotonic()
    runtime = session.runtime()
    with _progress() as progress:
        report = run(runtime, file, request, progress)
    failed = [one for one in report.outcomes if one.error]
    if as_json:
        render.json({"file": str(file)} | report.to_json())
    else:
        _show(report, time.monotonic() - began)
    raise typer.Exit(3 if failed else 0)


def _show(report: ImportReport, seconds: float) -> None:
    from marketjobs.commands import render

    shown = report.outcomes[:SHOWN_SYMBOLS] if sys.stdout.isatty() else report.outcomes
    render.table(
        ("symbol", "interval", "status", "new ", "same ", "rejected ", "first", "last", "said"),
        [
            (
                one.symbol,
                one.interval,
                one.status.value,
                one.rows_new,
                one.rows_unchanged,
                one.rows_rejected,
                one.first,
                one.last,
                one.error.message if one.error else one.note,
            )
            for one in shown
        ],
        fold=("said",),
        spare=("interval", "first", "same", "last"),
    )
    if len(shown) < len(report.outcomes):
        render.note(f"{len(shown)} of {len(report.outcomes)} symbols; all of them: --json, or through a pipe")
    for row in report.rejected[:SHOWN_REJECTED]:
        render.note(f"left out row {row.number}: {row.reason}", style="yellow")
    if report.rows_rejected > SHOWN_REJECTED:
        render.note(f"left out {report.rows_rejected - SHOWN_REJECTED:,} more; the list: --json", style="yellow")
    if report.unused:
        render.note(f"columns not used: {', '.join(report.unused)}")
    new = sum(one.rows_new for one in report.outcomes)
    render.note(f"{report.rows:,} rows read, {new:,} bars new, in {render.duration(seconds)}", style="green")
    first = next((one for one in report.outcomes if not one.error), None)
    if first:
        interval = "" if first.interval == "1d" else f" --interval {first.interval}"
        render.note(f"  look: marketjobs prices {first.symbol}{interval}")


@assets_app.command("import")
def assets_import(file: FILE, encoding: ENCODING = None, as_json: JSON = False) -> None:
    """Add and update assets from a file, all or none; columns: symbol, and any of name, class, currency, exchange,
    timezone, groups, active."""
    from marketjobs.commands import render
    from marketjobs.services.asset_import import import_assets

    report = import_assets(session.runtime(), file, encoding)
    if as_json:
        render.json({"file": str(file)} | report.to_json())
        return
    said = [f"{len(report.added):,} added", f"{len(report.updated):,} updated", f"{report.unchanged:,} unchanged"]
    render.line(", ".join(said))
    for group, count in report.groups.items():
        render.line(f"group {group}: {count} assets of the file")
    render.note("  look: marketjobs assets list")


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A bar at a terminal; elsewhere a line every two seconds; with --quiet nothing."""
    from marketjobs.commands import render

    if not sys.stderr.isatty() or session.OPTIONS.quiet:
        said = time.monotonic()

        def say(text: str, part: float) -> None:
            nonlocal said
            if time.monotonic() - said >= SAY_EVERY_SECONDS:
                said = time.monotonic()
                render.note(f"{text} ({part:.0%})")

        yield say
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=render.err(), transient=True) as shown:
        bar = shown.add_task("reading", total=1.0)
        yield lambda text, part: shown.update(bar, description=text, completed=part)


def register(app: typer.Typer) -> None:
    app.command("import-bars")(import_bars)
