"""The universe from a file: assets added and updated, all or none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from marketjobs.domain.assets import asset_class_of, normalise_group, normalise_symbol
from marketjobs.domain.cells import MISSING, shown
from marketjobs.domain.jobs import JsonDict
from marketjobs.domain.stamps import zone_of
from marketjobs.errors import AssetRenamed, BadRows, InvalidInput
from marketjobs.services import quote_cache
from marketjobs.services.bar_file import BadRow, Rejections
from marketjobs.services.csv_files import CsvFile, Row, look_at
from marketjobs.services.runtime import Runtime
from marketjobs.services.universe import refuse_renamed
from marketjobs.storage import assets, groups

COLUMNS = {
    "symbol": ("symbol", "ticker", "sym"),
    "name": ("name", "company", "companyname", "security", "description"),
    "asset_class": ("assetclass", "class", "type", "quotetype"),
    "currency": ("currency", "ccy"),
    "exchange": ("exchange", "market", "mic"),
    "timezone": ("timezone", "zone"),
    "groups": ("groups", "group"),
    "active": ("active", "status"),
}
YES, NO = frozenset({"yes", "y", "true", "1", "active"}), frozenset({"no", "n", "false", "0", "inactive"})
LONGEST_TEXT = 200


class Line(NamedTuple):
    """A row of the file; only what its cells say is in ``values``."""

    symbol: str
    values: dict[str, str]
    groups: list[str]


@dataclass(frozen=True, slots=True)
class AssetImportReport:
    """What became of a file; ``groups``: how many of its assets each group got or had."""

    added: list[str]
    updated: list[str]
    unchanged: int
    groups: dict[str, int]

    def to_json(self) -> JsonDict:
        return {"added": self.added, "updated": self.updated, "unchanged": self.unchanged, "groups": self.groups}


def import_assets(runtime: Runtime, path: Path, encoding: str | None = None) -> AssetImportReport:
    """Add the assets of a file and update those that exist; an empty cell changes nothing.

    Raises:
        InvalidInput: it is no such file, or a column has no meaning here.
        BadRows: a row can't be taken; nothing was stored.
    """
    file = look_at(path, COLUMNS, ("symbol",), encoding)
    _refuse_unknown_columns(file)
    lines: dict[str, Line] = {}
    rejected = Rejections()
    rows: dict[str, int] = {}
    for row in file.rows():
        try:
            line = _line(file, row)
            if line.symbol in rows:
                raise InvalidInput(f"{line.symbol} is in row {rows[line.symbol]} already")
        except InvalidInput as exc:
            rejected.add(BadRow(row.number, None, exc.message))
            continue
        lines[line.symbol], rows[line.symbol] = line, row.number
    if rejected.count:
        raise BadRows(
            f"{path.name}: {rejected.count:,} rows can't be taken: {rejected.text()}", hint="nothing was stored"
        )
    if not lines:
        raise BadRows(f"{path.name} has no rows below its first line")
    return _store(runtime, path, lines, rows)


def _refuse_unknown_columns(file: CsvFile) -> None:
    known = set(file.columns.values())
    unknown = [shown(title) for index, title in enumerate(file.header) if index not in known and title.strip()]
    if unknown:
        raise InvalidInput(
            f"{file.path.name}: row {file.header_row}: unknown column {', '.join(unknown[:10])}: there are"
            f" {' '.join(COLUMNS)}",
            hint="rename the column, or leave it out",
        )


def _line(file: CsvFile, row: Row) -> Line:
    """Raises InvalidInput for a cell that can't be right."""
    if len(row.cells) != len(file.header) and (len(row.cells) < len(file.header) or any(row.cells[len(file.header) :])):
        raise InvalidInput(f"it has {len(row.cells)} cells where the first line names {len(file.header)} columns")
    cells = {name: row.cells[index].strip() for name, index in file.columns.items()}
    symbol = normalise_symbol(cells.pop("symbol"))
    named = [normalise_group(one) for one in re.split(r"[;,|]", cells.pop("groups", "")) if one.strip()]
    said = {name: text for name, text in cells.items() if text.lower() not in MISSING}
    return Line(symbol, dict(_value(name, text) for name, text in said.items()), named)


def _value(name: str, text: str) -> tuple[str, str]:
    """The column of the store and what stands in it."""
    if name == "asset_class":
        return name, asset_class_of(text).value
    if name == "active":
        if text.lower() not in YES | NO:
            raise InvalidInput(f"{shown(text)} says neither yes nor no (column active)")
        return "status", assets.ACTIVE if text.lower() in YES else assets.INACTIVE
    if name == "currency" and not re.fullmatch(r"[A-Za-z]{3}", text):
        raise InvalidInput(f"{shown(text)} is no currency such as USD, or GBp for pence")
    if name == "timezone":
        zone_of(text)
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise InvalidInput(f"the {name} {shown(text)} is longer than {LONGEST_TEXT} characters or not printable")
    return name, text


def _store(runtime: Runtime, path: Path, lines: dict[str, Line], rows: dict[str, int]) -> AssetImportReport:
    with runtime.database.write() as tx:
        before = assets.ids(tx, list(lines))
        for symbol in lines:
            if symbol not in before:
                try:
                    refuse_renamed(tx, symbol)
                except AssetRenamed as exc:
                    raise BadRows(
                        f"{path.name}: row {rows[symbol]}: {exc.message}; nothing was stored",
                        hint=f"if it is another asset: marketjobs assets add {symbol}",
                    ) from exc
        known = assets.ensure_in(tx, lines)
        assets.lock(tx, known.values())
        changed = {line.symbol for line in lines.values() if assets.update(tx, known[line.symbol], line.values)}
        members: dict[str, list[str]] = {}
        for line in lines.values():
            for name in line.groups:
                members.setdefault(name, []).append(line.symbol)
        for name, symbols in members.items():
            group = groups.ensure(tx, name)
            inside = set(assets.symbols_in(tx, group=group))
            fresh = [symbol for symbol in symbols if symbol not in inside]
            groups.add(tx, group, [known[symbol] for symbol in fresh])
            changed.update(fresh)
    quote_cache.refresh(runtime, sorted(changed))  # their names
    added = [symbol for symbol in lines if symbol not in before]
    updated = [symbol for symbol in lines if symbol in before and symbol in changed]
    return AssetImportReport(
        added, updated, len(lines) - len(added) - len(updated), {name: len(all_) for name, all_ in members.items()}
    )
