"""The vendors: `providers list`, `providers test`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import INLINE, JSON, TIMEOUT, WAIT
from marketjobs.commands.jobs import UTC

if TYPE_CHECKING:
    from marketjobs.services.providers import Overview

providers_app = typer.Typer(
    no_args_is_help=True, help="The vendors: what they do, what is left of their limits.", rich_markup_mode=None
)


@providers_app.command("list")
def providers_list(
    as_json: JSON = False,
    utc: UTC = False,
) -> None:
    """What each provider serves, what is left of its limits, and what keeps it from being asked.  Sends nothing."""
    from marketjobs.commands import render
    from marketjobs.services import providers

    found = providers.overviews(session.runtime())
    if as_json:
        render.json({"providers": [one.to_json() for one in found]})
        return
    render.table(
        ("provider", "state", "serves", "key", "left", "until", "why"),
        [row for one in found for row in _rows(one, utc)],
        fold=("serves", "left", "why"),
        spare=("serves",),
    )
    unusable = [one for one in found if one.why_not is not None]
    for one in unusable:
        render.note(f"  {one.name}: {one.fix}")
    render.note("  do they answer? marketjobs providers test")


def _rows(found: Overview, utc: bool) -> list[tuple[str | None, ...]]:
    """A line for each key; one where the provider has none."""
    import time

    from marketjobs.commands import render
    from marketjobs.services import providers

    state, whole = found.state()
    does = " ".join(providers.serves(found.capabilities)) if found.capabilities else None
    rows: list[tuple[str | None, ...]] = []
    for key, one in found.usages():
        hold = whole or one.hold
        until = render.instant(time.time() + hold.seconds, utc=utc) if hold and hold.seconds > 0 else None
        word = "held" if one.hold and state == "ok" else state
        left = ", ".join(f"{calls} of {rate}" for rate, calls in one.left) or None
        rows.append((found.name, word, does, key or None, left, until, hold.why if hold else found.why_not))
    return rows or [(found.name, state, does, None, None, None, found.why_not)]


@providers_app.command("test")
def providers_test(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One of them; else each that may be asked.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Ask each provider something cheap: a line each, with a fix.  Exit 1 when one does not answer as it should."""
    from marketjobs.commands import render
    from marketjobs.providers.base import provider_names
    from marketjobs.services import providers
    from marketjobs.services.doctor import PATIENCE_SECONDS
    from marketjobs.services.runtime import Runtime

    runtime = Runtime(session.runtime().settings, patience_seconds=PATIENCE_SECONDS)
    names = [name] if name else list(provider_names())
    probes = []
    try:
        with render.progress("asking") as tell:
            for number, one in enumerate(names, 1):
                probes.append(providers.probe(runtime, one, wanted=name is not None))
                tell(number / len(names))
    finally:
        runtime.close()
    if as_json:
        render.json({"providers": [one.to_json() for one in probes]})
    else:
        render.table(
            ("provider", "verdict", "found", "fix"),
            [(one.name, one.verdict, one.found, one.fix) for one in probes],
            fold=("found", "fix"),
        )
    raise typer.Exit(1 if any(one.verdict == providers.ERROR for one in probes) else 0)


def check_providers(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these; else each that may be asked.")
    ] = None,
    wait: WAIT = True,
    timeout: TIMEOUT = None,
    inline: INLINE = False,
    as_json: JSON = False,
) -> None:
    """Check in a job that vendors answer. Calls that are few a day are spared, unless the vendor is named."""
    from marketjobs.commands import flow

    code = flow.submit_and_show(
        session.runtime(),
        "marketjobs.check_providers",
        {"names": names or None},
        wait=wait,
        inline=inline,
        timeout_seconds=timeout,
        as_json=as_json,
    )
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    app.command("check-providers")(check_providers)
    app.add_typer(providers_app, name="providers")
