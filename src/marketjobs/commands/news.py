"""Commands about stories and what vendors know: `fetch-news news fetch-asset-info search`."""

from __future__ import annotations

from typing import Annotated

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import GROUP, INLINE, JSON, PROVIDER, SYMBOLS, TIMEOUT, WAIT, hand_in
from marketjobs.commands.jobs import UTC

SHOWN_MATCHES = 12
"""Of each vendor; --json and a pipe give all."""


def fetch_news(
    symbols: SYMBOLS = None,
    group: GROUP = None,
    feeds: Annotated[
        list[str] | None, typer.Option("--feed", metavar="URL", help="The address of a feed; may be repeated.")
    ] = None,
    provider: PROVIDER = None,
    wait: WAIT = True,
    timeout: TIMEOUT = None,
    inline: INLINE = False,
    as_json: JSON = False,
) -> None:
    """Stories about symbols, of feeds, or of all active assets and the feeds of the settings."""
    from marketjobs.commands.symbols import chosen

    arguments = {"symbols": chosen(symbols), "group": group, "feeds": feeds, "provider": provider}
    hand_in("marketjobs.fetch_news", arguments, wait=wait, timeout=timeout, inline=inline, as_json=as_json)


def fetch_asset_info(
    symbols: SYMBOLS = None,
    group: GROUP = None,
    provider: PROVIDER = None,
    wait: WAIT = True,
    timeout: TIMEOUT = None,
    inline: INLINE = False,
    as_json: JSON = False,
) -> None:
    """Profile and fundamentals of the named symbols, of a group, or of all active assets."""
    from marketjobs.commands.symbols import chosen

    arguments = {"symbols": chosen(symbols), "group": group, "provider": provider}
    hand_in("marketjobs.fetch_asset_info", arguments, wait=wait, timeout=timeout, inline=inline, as_json=as_json)


def news(
    symbol: Annotated[str | None, typer.Argument(metavar="[SYM]", help="Only stories about it.")] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=10_000, help="The newest so many.")] = 20,
    utc: UTC = False,
    as_json: JSON = False,
) -> None:
    """Show stored stories, newest first."""
    from marketjobs import read
    from marketjobs.commands import render
    from marketjobs.domain.intervals import iso

    found = read.news(symbol, last, runtime=session.runtime())
    if as_json:
        rows = [
            {
                "title": one.title,
                "url": one.url,
                "summary": one.summary,
                "source": one.source,
                "published_at": iso(one.published_at.timestamp()) if one.is_dated else None,
                "seen_at": None if one.is_dated else iso(one.published_at.timestamp()),
                "symbols": list(one.symbols),
                "provider": one.provider,
            }
            for one in found
        ]
        render.json({"stories": rows})
        return
    if not found:
        render.note("no story yet" + (f" about {symbol.upper()}" if symbol else ""), style="yellow")
        render.note("  get some: marketjobs fetch-news" + (f" -s {symbol.upper()}" if symbol else ""))
        return
    render.table(
        ("published", "title", "source", "about", "link"),
        [
            (
                render.instant(one.published_at.timestamp(), utc=utc) if one.is_dated else None,
                one.title,
                one.source,
                " ".join(one.symbols) or None,
                one.url,
            )
            for one in found
        ],
        fold=("title", "source", "about", "link"),
        spare=("about", "source", "link"),
    )


def search(
    text: Annotated[list[str], typer.Argument(metavar="TEXT...", help="A name, or a part of it.")],
    provider: PROVIDER = None,
    as_json: JSON = False,
) -> None:
    """Ask vendors what they know by a name."""
    import sys

    from marketjobs.commands import render
    from marketjobs.services.search import search as ask

    found = ask(session.runtime(), " ".join(text), provider)
    failed = [one for one in found if one.error]
    if len(failed) == len(found) and failed[0].error:
        raise failed[0].error
    most = SHOWN_MATCHES if sys.stdout.isatty() else None
    rows = [(one.provider, match) for one in found for match in (one.matches if as_json else one.matches[:most])]
    if as_json:
        render.json(
            {
                "matches": [
                    {
                        "symbol": match.symbol,
                        "name": match.name,
                        "asset_class": match.asset_class.value,
                        "exchange": match.exchange,
                        "provider": name,
                        "listing": match.listing.symbol,
                        "currency": match.listing.currency,
                    }
                    for name, match in rows
                ],
                "failed": [
                    {"provider": one.provider, "cause": one.error.cause, "message": one.error.message}
                    for one in failed
                    if one.error
                ],
            }
        )
        return
    if rows:
        render.table(
            ("symbol", "name", "class", "exchange", "provider", "there"),
            [
                (match.symbol, match.name, match.asset_class.value, match.exchange, name, match.listing.symbol)
                for name, match in rows
            ],
            fold=("name", "there"),
            spare=("exchange", "there", "class"),
        )
    else:
        render.note(f"nobody knows {' '.join(text)}", style="yellow")
    for one in failed:
        if one.error:
            render.note(f"{one.provider} did not answer: {one.error.message}", style="yellow")


def register(app: typer.Typer) -> None:
    app.command("fetch-asset-info")(fetch_asset_info)
    app.command("fetch-news")(fetch_news)
    app.command("news")(news)
    app.command("search")(search)
