"""The universe from a file: all of it or nothing, and what each refusal says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from marketjobs.errors import BadRows, InvalidInput
from marketjobs.services import universe
from marketjobs.services.asset_import import AssetImportReport, import_assets
from marketjobs.services.runtime import Runtime
from stores import on_both_stores

runtime = on_both_stores

Importer = Callable[..., AssetImportReport]


@pytest.fixture
def put(runtime: Runtime, tmp_path: Path) -> Importer:
    def run(text: str, encoding: str | None = None) -> AssetImportReport:
        path = tmp_path / "assets.csv"
        path.write_bytes(text.encode(encoding or "utf-8"))
        return import_assets(runtime, path, encoding)

    return run


def test_assets_are_added_updated_and_grouped(runtime: Runtime, put: Importer) -> None:
    universe.add(runtime, ["MSFT", "IBM"], group="old")
    report = put(
        "Ticker,Name,Class,Currency,Exchange,Groups,Active\n"
        "aapl,Apple Inc.,EQUITY,USD,XNAS,tech;us,yes\n"
        "MSFT,,equity,,,tech,\n"
        "IBM,,,,,old,active\n"
        "VOD.L,Vodafone,,GBp,,,no\n"
    )
    assert (report.added, report.updated, report.unchanged) == (["AAPL", "VOD.L"], ["MSFT"], 1)
    assert report.groups == {"tech": 2, "us": 1, "old": 1}
    record = universe.view(runtime, "AAPL").record
    assert (record.name, record.asset_class, record.currency, record.exchange) == (
        "Apple Inc.",
        "equity",
        "USD",
        "XNAS",
    )
    assert universe.active_symbols(runtime) == ["AAPL", "IBM", "MSFT"]
    assert universe.active_symbols(runtime, "tech") == ["AAPL", "MSFT"]
    assert universe.view(runtime, "VOD.L").record.currency == "GBp"


def test_the_same_file_again_changes_nothing_and_empty_cells_erase_nothing(runtime: Runtime, put: Importer) -> None:
    text = "symbol,name,groups\nAAPL,Apple,tech\n"
    put(text)
    again = put(text)
    assert (again.added, again.updated, again.unchanged) == ([], [], 1)
    put("symbol,name\nAAPL,\n")
    view = universe.view(runtime, "AAPL")
    assert (view.record.name, view.groups) == ("Apple", ["tech"])


def test_symbols_alone_are_enough(runtime: Runtime, put: Importer) -> None:
    put("symbol\n" + "".join(f"S{number}\n" for number in range(5000)))
    assert len(universe.active_symbols(runtime)) == 5000


def test_a_name_in_another_encoding(runtime: Runtime, put: Importer) -> None:
    put("symbol;name\nMC.PA;LVMH Moët Hennessy €\n", "cp1252")
    assert universe.view(runtime, "MC.PA").record.name == "LVMH Moët Hennessy €"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "symbol,colour\nAAPL,red\n",
            "assets.csv: row 1: unknown column 'colour': there are symbol name asset_class currency exchange timezone"
            " groups active",
        ),
        ("AAPL\nMSFT\n", "assets.csv: row 1: no column for symbol; the first line names 'AAPL'"),
        ("symbol\n", "assets.csv has no rows below its first line"),
        ("symbol\nA\nB\na\n", "assets.csv: 1 rows can't be taken: row 4: A is in row 2 already"),
        (
            "symbol,name\nA B,x\nC\n",
            "assets.csv: 2 rows can't be taken: row 2: symbol 'A B' has a character that no symbol has (A-Z 0-9 . ^ = &"
            " + _ -); row 3: it has 1 cells where the first line names 2 columns",
        ),
        (
            "symbol,class\nA,stock\n",
            "assets.csv: 1 rows can't be taken: row 2: unknown class 'stock': one of equity etf fund index currency"
            " crypto future unknown",
        ),
        (
            "symbol,active\nA,perhaps\n",
            "assets.csv: 1 rows can't be taken: row 2: 'perhaps' says neither yes nor no (column active)",
        ),
        (
            "symbol,currency\nA,dollars\n",
            "assets.csv: 1 rows can't be taken: row 2: 'dollars' is no currency such as USD, or GBp for pence",
        ),
        (
            "symbol,groups\nA,a b\n",
            "assets.csv: 1 rows can't be taken: row 2: 'a b' is no name for a group: up to 40 of a-z 0-9 . _ -, such as"
            " us-tech",
        ),
        (
            "symbol,timezone\nA,Mars\n",
            "assets.csv: 1 rows can't be taken: row 2: unknown time zone 'Mars': such as America/New_York,"
            " Europe/London, UTC",
        ),
    ],
)
def test_what_is_refused_changes_nothing(runtime: Runtime, put: Importer, text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        put(text)
    assert caught.value.message == message
    assert universe.listed(runtime) == []
    assert universe.listed_groups(runtime) == []


def test_an_old_symbol_is_not_made_anew_by_a_file(runtime: Runtime, put: Importer) -> None:
    universe.add(runtime, ["FB"])
    universe.rename(runtime, "FB", "META")
    with pytest.raises(BadRows, match=r"row 3: FB was renamed META on .*; nothing was stored"):
        put("symbol\nAAPL\nFB\n")
    assert universe.active_symbols(runtime) == ["META"]
