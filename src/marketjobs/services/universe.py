"""The universe: which assets are kept fresh, their groups, and what they were called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from marketjobs.domain.assets import (
    AssetClass,
    Listing,
    asset_class_of,
    normalise_group,
    normalise_symbol,
    normalise_symbols,
    told_class,
)
from marketjobs.domain.currencies import unit_of
from marketjobs.domain.intervals import Interval, day_of, stamp_of, stamp_text
from marketjobs.domain.ranges import Range, parse_day
from marketjobs.errors import AssetNotFound, AssetRenamed, GroupNotFound, InvalidInput, NotFound, VendorsName
from marketjobs.providers.base import provider_class
from marketjobs.services import quote_cache
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets, bars, groups, news, profiles, quotes
from marketjobs.storage.assets import Alias, AssetRecord
from marketjobs.storage.database import Transaction
from marketjobs.storage.profiles import ReadProfile
from marketjobs.storage.quotes import ReadQuote

MAX_NAME_LENGTH = 100


def active_symbols(runtime: Runtime, group: str | None = None) -> list[str]:
    """Symbols of the assets that are kept fresh, ascending, may be empty; ``group``: only of its members.

    Raises:
        InvalidInput: no group is named like that.
        GroupNotFound: there is none of that name.
    """
    with runtime.database.read() as tx:
        return assets.symbols_in(tx, active_only=True, group=None if group is None else _group(tx, group))


def active(runtime: Runtime, group: str | None = None) -> list[AssetRecord]:
    """The same with what is known of each asset."""
    with runtime.database.read() as tx:
        return assets.listed_in(tx, active_only=True, group=None if group is None else _group(tx, group))


def symbols_of(runtime: Runtime, symbols: Iterable[str], group: str | None = None) -> list[str]:
    """What a person chose: the symbols named (``A,B`` counts as two), then the group's active ones; each once.

    Raises:
        InvalidInput: nothing was chosen, or the group has no active asset.
        GroupNotFound: there is no such group.
    """
    named = [part for text in symbols for part in text.split(",")]
    if group is None:
        return list(normalise_symbols(named))
    members = active_symbols(runtime, group)
    if not members and not named:
        raise InvalidInput(
            f"group {normalise_group(group)} has no active asset",
            hint=f"marketjobs assets group add {normalise_group(group)} AAPL",
        )
    return list(normalise_symbols([*named, *members]))


def refuse_renamed(tx: Transaction, symbol: str) -> None:
    """Raises AssetRenamed for a symbol that an asset had before, or has at a vendor; asked where none has it."""
    refusal = renamings(tx, [symbol]).get(symbol)
    if refusal is not None:
        raise refusal


def refuse_unknown(tx: Transaction, symbol: str, look: str = "asset", get: str = "fetch-market-data") -> NoReturn:
    """Raises AssetRenamed, or AssetNotFound with what comes near; asked where no asset has the symbol.

    Args:
        look: the command that shows what was asked for; ``get``: the one that gets it.
    """
    refuse_renamed(tx, symbol)
    near = assets.near(tx, symbol)
    hint = f"marketjobs {get} -s {symbol}"
    if near:
        hint = f"marketjobs {look} {near[0]}, or, if {symbol} is right, {hint}"
    raise AssetNotFound(f"nothing is stored of {symbol}{meant(near)}", hint=hint)


def meant(near: Sequence[str]) -> str:
    """The rest of a sentence about a symbol that no asset has: those that come near, if any."""
    return f"; did you mean {' or '.join(near)}?" if near else ""


def renamings(tx: Transaction, symbols: Sequence[str]) -> dict[str, AssetRenamed]:
    """Of symbols that no asset has: those that one had before, or has at a vendor, with what to say of it."""
    found: dict[str, AssetRenamed] = {}
    for symbol, there in assets.vendors_assets(tx, symbols).items():
        ours = " and ".join(there.symbols)
        found[symbol] = VendorsName(
            f"{symbol} is {there.provider}'s name of {ours}",
            hint=f"use {ours} (if another asset is meant, first: marketjobs assets add {symbol})",
        )
    for symbol, known in assets.renamed(tx, symbols).items():
        when = "" if known.since is None else f" on {day_of(known.since)}"
        found[symbol] = AssetRenamed(f"{symbol} was renamed {known.new}{when}", hint=f"use {known.new}")
    return found


# -- groups -------------------------------------------------------------------------------------------------


def add_to_group(runtime: Runtime, group: str, symbols: Iterable[str]) -> int:
    """How many were not in it before; the group is made where it is new.

    Raises:
        AssetNotFound: for symbols that no asset has; nothing was changed.
    """
    name, wanted = normalise_group(group), normalise_symbols(symbols)
    with runtime.database.write() as tx:
        return groups.add(tx, groups.ensure(tx, name), _known(tx, wanted).values())


def remove_from_group(runtime: Runtime, group: str, symbols: Iterable[str]) -> int:
    """How many were in it; without symbols the group itself is forgotten.  Assets stay as they are.

    Raises:
        GroupNotFound, AssetNotFound: nothing was changed.
    """
    texts = list(symbols)
    with runtime.database.write() as tx:
        key = _group(tx, group)
        if texts:
            return groups.remove(tx, key, _known(tx, normalise_symbols(texts)).values())
        members = len(assets.symbols_in(tx, group=key))
        groups.drop(tx, key)
        return members


def listed_groups(runtime: Runtime) -> list[tuple[str, int, int]]:
    """(name, assets, active ones), by name."""
    with runtime.database.read() as tx:
        return groups.listed(tx)


def _group(tx: Transaction, text: str) -> int:
    name = normalise_group(text)
    found = groups.group_id(tx, name)
    if found is None:
        raise GroupNotFound(f"no such group: {name}", hint="marketjobs assets group list")
    return found


def _known(tx: Transaction, symbols: Sequence[str]) -> dict[str, int]:
    found = assets.ids(tx, symbols)
    missing = [symbol for symbol in symbols if symbol not in found]
    if missing:
        named = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise AssetNotFound(f"no such asset: {named}; nothing was changed", hint="marketjobs assets list")
    return found


# -- assets -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListedAsset:
    """An asset in a list; ``series``: (interval, first, last) of its bars, as people read stamps."""

    record: AssetRecord
    groups: list[str]
    series: list[tuple[str, str, str]]


def listed(runtime: Runtime, *, active_only: bool = False, group: str | None = None) -> list[ListedAsset]:
    """By symbol.  Raises GroupNotFound."""
    with runtime.database.read() as tx:
        found = assets.listed_in(tx, active_only=active_only, group=None if group is None else _group(tx, group))
        named = groups.by_asset(tx)
        series: dict[str, list[tuple[str, str, str]]] = {}
        for symbol, unit, first, last in bars.latest(tx):
            interval = Interval(unit)
            series.setdefault(symbol, []).append((unit, stamp_text(first, interval), stamp_text(last, interval)))
    return [ListedAsset(one, named.get(one.id, []), series.get(one.symbol, [])) for one in found]


def add(
    runtime: Runtime, symbols: Iterable[str], asset_class: str | None = None, group: str | None = None
) -> list[str]:
    """Keep these fresh from now on, and put them into a group; returns those that were not active before."""
    wanted = normalise_symbols(symbols)
    kind = None if asset_class is None else asset_class_of(asset_class)
    name = None if group is None else normalise_group(group)
    changed = assets.activate(runtime.database, wanted, asset_class=kind)
    if name is not None:
        add_to_group(runtime, name, wanted)
    return changed


def remove(runtime: Runtime, symbols: Iterable[str], *, purge: bool = False) -> list[str]:
    """Stop keeping these fresh; ``purge``: forget them with all that is stored of them.

    Raises:
        AssetNotFound: for symbols that no asset has; nothing was changed.
    """
    wanted = normalise_symbols(symbols)
    with runtime.database.read() as tx:
        _known(tx, wanted)
    done = (assets.purge if purge else assets.deactivate)(runtime.database, wanted)
    quote_cache.forget(runtime, wanted)
    return done


def rename(runtime: Runtime, old: str, new: str, since: str | None = None) -> None:
    """An asset's ticker has changed: its bars stay, the old symbol is remembered as an alias that ended on the day
    ``since`` (ISO; ``None``: today), at vendors too.

    Raises:
        AssetNotFound: no asset has the old symbol.
        InvalidInput: another one has the new symbol, or the day lies ahead.
    """
    before, after = normalise_symbol(old), normalise_symbol(new)
    if before == after:
        raise InvalidInput(f"{before} is called {before} already")
    with runtime.database.write() as tx:
        day = _past_day(tx, since)
        asset = _known(tx, [before])[before]
        if assets.ids(tx, [after]):
            raise InvalidInput(
                f"there is an asset {after} already: {before} was not renamed",
                hint=f"if its bars are not wanted: marketjobs assets remove {after} --purge",
            )
        assets.rename(tx, asset, before, after, day)
    quote_cache.forget(runtime, [before, after])


def set_alias(
    runtime: Runtime, symbol: str, provider: str, name: str, currency: str | None = None, since: str | None = None
) -> tuple[str, bool]:
    """What a vendor calls an asset, from a day on (ISO; ``None``: ever since).  Returns our symbol, and whether the
    asset is new: one whose symbol says what it is (``UNI-USD``) is made, because which of several coins it means has
    to be said before anybody can be asked; any other is mistyped.

    Raises:
        AssetNotFound, AssetRenamed: no asset has the symbol.
        UnknownProvider: there is no such provider.
        InvalidInput: the name or the currency can't be one, or the day lies ahead.
    """
    wanted = normalise_symbol(symbol)
    provider_class(provider)
    # A comma parts the names of a request: it would ask for two.
    if not name.strip() or not name.isprintable() or "," in name or len(name) > MAX_NAME_LENGTH:
        raise InvalidInput(f"a vendor's name for an asset has 1 to {MAX_NAME_LENGTH} printable characters, no comma")
    unit = None if currency is None else unit_of(currency)
    with runtime.database.write() as tx:
        is_new = not assets.ids(tx, [wanted])
        if is_new:
            refuse_renamed(tx, wanted)
            if told_class(wanted) is AssetClass.UNKNOWN:
                near = meant(assets.near(tx, wanted))
                raise AssetNotFound(f"no such asset: {wanted}{near}", hint=f"marketjobs assets add {wanted}")
        asset = assets.ensure_in(tx, [wanted])[wanted]
        assets.lock(tx, [asset])
        day = None if since is None else _past_day(tx, since)
        assets.name_at(tx, asset, provider, Listing(name.strip(), unit), day)
    return wanted, is_new


def remove_alias(runtime: Runtime, symbol: str, provider: str) -> tuple[str, list[str]]:
    """Forget what a vendor calls an asset: it is told from the symbol then, or asked of the vendor.  Returns our symbol
    and the names that were forgotten.

    Raises:
        AssetNotFound, AssetRenamed: no asset has the symbol.
        UnknownProvider: there is no such provider, and no name at it.
        NotFound: no name at that provider is known.
    """
    wanted = normalise_symbol(symbol)
    with runtime.database.write() as tx:
        record = assets.get_in(tx, wanted)
        if record is None:
            refuse_unknown(tx, wanted)
        assets.lock(tx, [record.id])
        names = assets.forget_names(tx, record.id, provider)
    if not names:
        provider_class(provider)
        raise NotFound(f"no name of {wanted} at {provider} is stored", hint=f"marketjobs asset {wanted}")
    return wanted, names


def _past_day(tx: Transaction, text: str | None) -> int:
    """The stamp of a day that is not ahead; of today where none is given."""
    today = stamp_of(day_of(int(tx.now())))
    day = today if text is None else stamp_of(parse_day(text))
    if day > today:
        raise InvalidInput(f"{text} lies in the future")
    return day


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """What is stored of an asset in one interval.  ``covered``: what need not be asked for again."""

    interval: Interval
    first: int
    last: int
    count: int
    covered: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class AssetView:
    """All that is known of an asset."""

    record: AssetRecord
    groups: list[str]
    aliases: list[Alias]
    series: list[StoredSeries]
    actions: dict[str, int]
    quote: ReadQuote | None = None
    profile: ReadProfile | None = None
    stories: int = 0


def view(runtime: Runtime, symbol: str) -> AssetView:
    """What is stored of an asset; asks nobody but the store.

    Raises:
        AssetRenamed, AssetNotFound: no asset has the symbol.
    """
    wanted = normalise_symbol(symbol)
    with runtime.database.read() as tx:
        record = assets.get_in(tx, wanted)
        if record is None:
            refuse_unknown(tx, wanted)
        series = []
        for unit in Interval:
            first, last = bars.span(tx, record.id, unit)
            if first is not None and last is not None:
                held = bars.count(tx, record.id, unit)
                series.append(StoredSeries(unit, first, last, held, bars.coverage(tx, record.id, unit)))
        actions: dict[str, int] = {}
        for _, kind in bars.actions(tx, record.id):
            actions[kind] = actions.get(kind, 0) + 1
        return AssetView(
            record,
            groups.of_asset(tx, record.id),
            assets.aliases(tx, record.id),
            series,
            actions,
            next(iter(quotes.read(tx, [wanted])), None),
            profiles.get(tx, record.id),
            news.count(tx, record.id),
        )
