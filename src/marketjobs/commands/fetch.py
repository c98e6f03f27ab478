"""Commands that fetch: `fetch-market-data`; and what all that hand in a job have in common."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from marketjobs.commands import session

if TYPE_CHECKING:
    from marketjobs.domain.jobs import JsonDict

SYMBOLS = Annotated[
    list[str] | None,
    typer.Option("--symbol", "-s", metavar="SYM", help="A symbol; may be repeated; @FILE or - lists many."),
]
PROVIDER = Annotated[str | None, typer.Option(metavar="NAME", help="Ask only this one; default: [chains].")]
JSON = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
WAIT = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait and show progress, or only hand the job in.")]


def finite(value: float | None) -> float | None:
    """Of seconds: ``nan`` is neither below nor above any limit."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of seconds")
    return value


TIMEOUT = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=0,
        callback=finite,
        metavar="SECONDS",
        help="Stop watching after so long; the job goes on.",
    ),
]
INLINE = Annotated[bool, typer.Option("--inline", help="Run it in this process: no broker, no worker.")]

GROUP = Annotated[
    str | None, typer.Option("--group", "-g", metavar="G", help="The active assets of a group, beside those named.")
]
PREPOST = Annotated[
    bool, typer.Option("--prepost", help="Pre- and post-market too (minutes and hours); kept from then on.")
]


def fetch_market_data(
    symbols: SYMBOLS = None,
    group: GROUP = None,
    interval: Annotated[
        str, typer.Option(metavar="I", help="Length of a bar: 1m 2m 5m 15m 30m 60m 90m 1h 1d 1wk 1mo.")
    ] = "1d",
    period: Annotated[
        str | None,
        typer.Option(
            metavar="P", help="How far back: 5d, 3mo, 1y, ytd, max. Default 1y; minutes and hours 1mo, 1m 1wk."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="DAY", help="First day, such as 2026-01-31, as the exchange's calendar has it."),
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="DAY", help="Last day, included; default today.")] = None,
    prepost: PREPOST = False,
    provider: PROVIDER = None,
    force: Annotated[bool, typer.Option("--force", help="Ask for all of the range, not only what is missing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked for; ask nobody.")] = False,
    wait: WAIT = True,
    timeout: TIMEOUT = None,
    inline: INLINE = False,
    as_json: JSON = False,
) -> None:
    """Fetch bars into the store; only what is missing is asked for."""
    from marketjobs.commands.plan import show_plan
    from marketjobs.commands.symbols import typed
    from marketjobs.services import bars, universe

    runtime = session.runtime()
    arguments = {
        "symbols": universe.symbols_of(runtime, typed(symbols or []), group),
        "interval": interval,
        "period": period,
        "start": start,
        "end": end,
        "provider": provider,
        "force": force,
        "prepost": prepost,
    }
    if dry_run:
        show_plan(bars.plan(runtime, arguments), as_json=as_json)
        return
    hand_in("marketjobs.fetch_market_data", arguments, wait=wait, timeout=timeout, inline=inline, as_json=as_json)


def hand_in(
    task: str, arguments: JsonDict, *, wait: bool, timeout: float | None, inline: bool, as_json: bool
) -> NoReturn:
    """Submit a job, show it, and leave with its exit code."""
    from marketjobs.commands import flow

    code = flow.submit_and_show(
        session.runtime(),
        task,
        arguments,
        wait=wait,
        inline=inline,
        timeout_seconds=timeout,
        as_json=as_json,
    )
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    app.command("fetch-market-data")(fetch_market_data)
