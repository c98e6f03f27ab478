"""Commands that keep the universe fresh: `sync-history sync-intraday`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import INLINE, JSON, PREPOST, PROVIDER, TIMEOUT, WAIT, finite, hand_in

if TYPE_CHECKING:
    from marketjobs.domain.jobs import JsonDict
    from marketjobs.services.sync import Skipped, Sync

SYMBOLS = Annotated[
    list[str] | None,
    typer.Option("--symbols", "-s", metavar="A,B", help="Only these; @FILE or - (standard input) lists many."),
]
GROUP = Annotated[str | None, typer.Option("--group", "-g", metavar="G", help="Only the active assets of a group.")]
PERIOD = Annotated[str | None, typer.Option(metavar="P", help="How far back; default in [universe].")]
START = Annotated[str | None, typer.Option("--start-date", "--start", metavar="DAY", help="First day.")]
END = Annotated[
    str | None, typer.Option("--end-date", "--end", metavar="DAY", help="Last day, included; default today.")
]
BATCH = Annotated[
    int | None, typer.Option("--batch-size", min=1, metavar="N", help="Symbols of one part; default in [universe].")
]
DELAY = Annotated[
    float | None,
    typer.Option(
        "--delay",
        min=0,
        callback=finite,
        metavar="SECONDS",
        help="Between the starts of two parts; default in [universe].",
    ),
]
FORCE = Annotated[bool, typer.Option("--force", help="Ask for all of the range, not only what is missing.")]
DRY_RUN = Annotated[bool, typer.Option("--dry-run", help="Say what would be asked for; ask nobody.")]


def sync_history(
    symbols: SYMBOLS = None,
    group: GROUP = None,
    interval: Annotated[str | None, typer.Option(metavar="I", help="1d, 1wk or 1mo; default in [universe].")] = None,
    period: PERIOD = None,
    start: START = None,
    end: END = None,
    provider: PROVIDER = None,
    batch_size: BATCH = None,
    delay: DELAY = None,
    force: FORCE = False,
    dry_run: DRY_RUN = False,
    wait: WAIT = True,
    timeout: TIMEOUT = None,
    inline: INLINE = False,
    as_json: JSON = False,
) -> None:
    """Bring the bars of all active assets up to date."""
    from marketjobs.services.sync import HISTORY

    arguments = _arguments(symbols, group, interval, period, start, end, provider, batch_size, delay, force)
    _sync(HISTORY, arguments, dry_run=dry_run, wait=wait, timeout=timeout, inline=inline, as_json=as_json)


def sync_intraday(
    symbols: SYMBOLS = None,
    group: GROUP = None,
    interval: Annotated[str | None, typer.Option(metavar="I", help="1m to 90m, or 1h; default in [universe].")] = None,
    period: PERIOD = None,
    start: START = None,
    end: END = None,
    provider: PROVIDER = None,
    batch_size: BATCH = None,
    delay: DELAY = None,
    prepost: PREPOST = False,
    force: FORCE = False,
    dry_run: DRY_RUN = False,
    wait: WAIT = True,
    timeout: TIMEOUT = None,
    inline: INLINE = False,
    as_json: JSON = False,
) -> None:
    """Bring the minutes or hours of all active assets up to date."""
    from marketjobs.services.sync import INTRADAY

    arguments = _arguments(symbols, group, interval, period, start, end, provider, batch_size, delay, force)
    arguments["prepost"] = prepost
    _sync(INTRADAY, arguments, dry_run=dry_run, wait=wait, timeout=timeout, inline=inline, as_json=as_json)


def _arguments(symbols, group, interval, period, start, end, provider, batch_size, delay, force) -> JsonDict:
    from marketjobs.commands.symbols import chosen

    return {
        "symbols": chosen(symbols),
        "group": group,
        "interval": interval,
        "period": period,
        "start": start,
        "end": end,
        "provider": provider,
        "force": force,
        "batch_size": batch_size,
        "delay_seconds": delay,
    }


def _sync(kind: Sync, arguments: JsonDict, *, dry_run: bool, wait: bool, timeout, inline: bool, as_json: bool) -> None:
    from marketjobs.commands.plan import show_plan
    from marketjobs.services import bars

    runtime = session.runtime()
    prepared, skipped = kind.choose(runtime, arguments)
    _say_skipped(skipped)
    if dry_run:
        show_plan(
            bars.plan(runtime, kind.fetch(prepared)),
            parts=len(kind.split(prepared, runtime.settings.worker.concurrency)) or 1,
            as_json=as_json,
        )
        return
    hand_in(kind.task, prepared, wait=wait, timeout=timeout, inline=inline, as_json=as_json)


def _say_skipped(skipped: list[Skipped]) -> None:
    from marketjobs.commands import render

    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        by_reason.setdefault(one.reason, []).append(one.symbol)
    for reason, symbols in by_reason.items():
        render.note(f"left out: {render.some(symbols)} ({reason})", style="yellow")


def register(app: typer.Typer) -> None:
    app.command("sync-history")(sync_history)
    app.command("sync-intraday")(sync_intraday)
