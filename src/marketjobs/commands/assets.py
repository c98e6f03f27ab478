"""Commands of the universe: `assets list|add|remove|rename|alias` and `assets group`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marketjobs.commands import session
from marketjobs.commands.fetch import JSON

if TYPE_CHECKING:
    from marketjobs.services.universe import ListedAsset

SHOWN_ASSETS = 50
"""So many fit a terminal; a pipe and --json get all."""

assets_app = typer.Typer(help="The universe: which assets are kept fresh.", no_args_is_help=True, rich_markup_mode=None)
group_app = typer.Typer(
    help="Groups of assets, for `--group` of other commands.", no_args_is_help=True, rich_markup_mode=None
)
SYMBOLS = Annotated[list[str], typer.Argument(metavar="SYM...", help="One or more symbols.")]
GROUP_NAME = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]


@assets_app.command("list")
def assets_list(
    active: Annotated[bool, typer.Option("--active/--all", help="Only those that are kept fresh, or all.")] = False,
    group: Annotated[str | None, typer.Option("--group", "-g", metavar="G", help="Only members of a group.")] = None,
    as_json: JSON = False,
) -> None:
    """List the assets with the bars that are stored of them."""
    from marketjobs.commands import render
    from marketjobs.services import universe

    found = universe.listed(session.runtime(), active_only=active, group=group)
    if as_json:
        render.json({"assets": [_asset_json(one) for one in found]})
        return
    if not found:
        render.note("no asset yet" if group is None and not active else "no such asset")
        render.note("  add one: marketjobs assets add AAPL")
        return
    shown = found[:SHOWN_ASSETS] if sys.stdout.isatty() else found
    render.table(
        ("symbol", "name", "class", "currency", "exchange", "status", "groups", "bars"),
        [
            (
                one.record.symbol,
                one.record.name,
                one.record.asset_class,
                one.record.currency,
                one.record.exchange,
                one.record.status,
                ", ".join(one.groups) or None,
                ", ".join(f"{unit} {first} to {last}" for unit, first, last in one.series) or None,
            )
            for one in shown
        ],
        fold=("name", "groups", "bars"),
        spare=("exchange", "class", "currency", "name", "groups"),
    )
    if len(shown) < len(found):
        kept = sum(one.record.status == "active" for one in found)
        render.note(
            f"{len(shown)} of {len(found)} assets, {kept} of them active; all of them: --json, or through a pipe;"
            " fewer: --group, --active; one: marketjobs asset SYM"
        )


def _asset_json(one: ListedAsset) -> dict[str, Any]:
    return {
        "symbol": one.record.symbol,
        "name": one.record.name,
        "asset_class": one.record.asset_class,
        "currency": one.record.currency,
        "exchange": one.record.exchange,
        "status": one.record.status,
        "groups": one.groups,
        "series": [{"interval": unit, "first": first, "last": last} for unit, first, last in one.series],
    }


@assets_app.command("add")
def assets_add(
    symbols: SYMBOLS,
    asset_class: Annotated[
        str | None,
        typer.Option("--class", metavar="C", help="equity, etf, fund, index, currency, crypto or future."),
    ] = None,
    group: Annotated[str | None, typer.Option("--group", "-g", metavar="G", help="Put them into a group too.")] = None,
    as_json: JSON = False,
) -> None:
    """Keep these symbols fresh from now on."""
    from marketjobs.commands import render
    from marketjobs.domain.assets import normalise_symbols
    from marketjobs.services import universe

    wanted = normalise_symbols(symbols)
    changed = universe.add(session.runtime(), wanted, asset_class, group)
    if as_json:
        render.json({"assets": [{"symbol": one, "added": one in changed} for one in wanted]})
        return
    render.line(f"added {', '.join(changed)}" if changed else "all of them were active already")
    render.note(f"  fetch: marketjobs fetch-market-data {' '.join(f'-s {one}' for one in wanted[:5])}")


@assets_app.command("remove")
def assets_remove(
    symbols: SYMBOLS,
    purge: Annotated[bool, typer.Option("--purge", help="Delete their bars and actions too.")] = False,
    as_json: JSON = False,
) -> None:
    """Stop keeping these symbols fresh; what is stored stays, unless --purge."""
    from marketjobs.commands import render
    from marketjobs.services import universe

    done = universe.remove(session.runtime(), symbols, purge=purge)
    if as_json:
        render.json({"assets": [{"symbol": one, "purged": purge} for one in done]})
        return
    render.line(f"{'deleted' if purge else 'no longer kept fresh'}: {', '.join(done)}")


@assets_app.command("rename")
def assets_rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The symbol that it has.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The symbol that it gets.")],
    since: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="The day of the change; default today.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Follow a change of ticker: bars and groups stay, the old symbol is remembered."""
    from marketjobs.commands import render
    from marketjobs.domain.assets import normalise_symbol
    from marketjobs.services import universe

    universe.rename(session.runtime(), old, new, since)
    before, after = normalise_symbol(old), normalise_symbol(new)
    if as_json:
        render.json({"symbol": after, "before": before})
        return
    render.line(f"{before} is {after} from now on")
    render.note(f"  look: marketjobs asset {after}")


@assets_app.command("alias")
def assets_alias(
    symbol: Annotated[str, typer.Argument(metavar="SYM", help="The asset's symbol.")],
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="The vendor.")],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="What it is called there: a symbol, an id, a number.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="C", help="What its prices are in there, such as USD or USDT.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="The day from which on; default ever since.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Forget what it is called there.")] = False,
    as_json: JSON = False,
) -> None:
    """Say what a vendor calls an asset, where it can't be told or can mean several things."""
    from marketjobs.commands import render
    from marketjobs.errors import InvalidInput
    from marketjobs.services import universe

    if remove:
        if name or currency or since:
            raise InvalidInput("--remove takes no NAME, --currency or --from: all names at the vendor are forgotten")
        wanted, names = universe.remove_alias(session.runtime(), symbol, provider)
        if as_json:
            render.json({"symbol": wanted, "provider": provider, "removed": names})
            return
        render.line(f"{wanted} is no longer {' or '.join(names)} at {provider}")
        return
    if name is None:
        raise InvalidInput(f"what is {symbol} called at {provider}? give its NAME there, or --remove")
    wanted, is_new = universe.set_alias(session.runtime(), symbol, provider, name, currency, since)
    if as_json:
        said = {"name": name, "currency": currency, "from": since, "added": is_new}
        render.json({"symbol": wanted, "provider": provider, **said})
        return
    render.line(f"{wanted} is {name} at {provider}" + ("; it is new, and kept fresh from now on" if is_new else ""))
    render.note(f"  try: marketjobs update-prices -s {wanted} --provider {provider}")


@group_app.command("add")
def group_add(group: GROUP_NAME, symbols: SYMBOLS, as_json: JSON = False) -> None:
    """Put assets into a group; a new name makes a new group."""
    from marketjobs.commands import render
    from marketjobs.domain.assets import normalise_group
    from marketjobs.services import universe

    number = universe.add_to_group(session.runtime(), group, symbols)
    name = normalise_group(group)
    if as_json:
        render.json({"group": name, "added": number})
        return
    render.line(f"{number} added to {name}")
    render.note(f"  fetch: marketjobs fetch-market-data --group {name}")


@group_app.command("remove")
def group_remove(
    group: GROUP_NAME,
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="[SYM]...", help="Who leaves it; none: forget the group.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Take assets out of a group, or forget the group; the assets stay."""
    from marketjobs.commands import render
    from marketjobs.domain.assets import normalise_group
    from marketjobs.services import universe

    number = universe.remove_from_group(session.runtime(), group, symbols or [])
    name = normalise_group(group)
    if as_json:
        render.json({"group": name, "removed": number, "forgotten": not symbols})
        return
    render.line(f"{number} taken out of {name}" if symbols else f"group {name} is forgotten ({number} assets stay)")


@group_app.command("list")
def group_list(
    group: Annotated[str | None, typer.Argument(metavar="[GROUP]", help="Its members; none: all groups.")] = None,
    as_json: JSON = False,
) -> None:
    """List the groups, or the members of one."""
    from marketjobs.commands import render
    from marketjobs.services import universe

    if group is not None:
        assets_list(active=False, group=group, as_json=as_json)
        return
    found = universe.listed_groups(session.runtime())
    if as_json:
        render.json({"groups": [{"group": name, "assets": all_, "active": kept} for name, all_, kept in found]})
        return
    if not found:
        render.note("no group yet")
        render.note("  make one: marketjobs assets group add tech AAPL MSFT")
        return
    render.table(("group", "assets ", "active "), found)


assets_app.add_typer(group_app, name="group")


def register(app: typer.Typer) -> None:
    app.add_typer(assets_app, name="assets")
