"""The universe's services: who is active, groups, renaming, and what an old symbol is told."""

from __future__ import annotations

import pytest

from marketjobs.domain.assets import AssetFacts, Listing, normalise_group
from marketjobs.errors import (
    AssetNotFound,
    AssetRenamed,
    GroupNotFound,
    InvalidInput,
    NotFound,
    UnknownProvider,
    VendorsName,
)
from marketjobs.services import universe
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets
from stores import on_both_stores

runtime = on_both_stores


def test_active_assets_of_all_and_of_a_group(runtime: Runtime) -> None:
    assert universe.active_symbols(runtime) == []
    universe.add(runtime, ["msft", "AAPL", "IBM"])
    assert universe.add(runtime, ["AAPL", "MSFT"], group="Tech") == []
    assert universe.active_symbols(runtime) == ["AAPL", "IBM", "MSFT"]
    assert universe.active_symbols(runtime, " tech ") == ["AAPL", "MSFT"]
    universe.remove(runtime, ["MSFT"])
    assert universe.active_symbols(runtime, "tech") == ["AAPL"]
    assert universe.listed_groups(runtime) == [("tech", 2, 1)]


def test_symbols_named_come_before_those_of_the_group_and_each_once(runtime: Runtime) -> None:
    universe.add(runtime, ["AAPL", "MSFT"], group="tech")
    assert universe.symbols_of(runtime, ["msft,ibm"], "tech") == ["MSFT", "IBM", "AAPL"]
    assert universe.symbols_of(runtime, ["b", "a"]) == ["B", "A"]
    with pytest.raises(InvalidInput, match="no symbol was given"):
        universe.symbols_of(runtime, [])
    with pytest.raises(GroupNotFound, match="no such group: none"):
        universe.symbols_of(runtime, ["A"], "none")
    universe.remove(runtime, ["AAPL", "MSFT"])
    with pytest.raises(InvalidInput, match="group tech has no active asset"):
        universe.symbols_of(runtime, [], "tech")


def test_a_group_of_what_is_no_asset_is_refused_and_not_made(runtime: Runtime) -> None:
    universe.add(runtime, ["AAPL"])
    with pytest.raises(AssetNotFound, match="no such asset: NOPE; nothing was changed"):
        universe.add_to_group(runtime, "tech", ["AAPL", "NOPE"])
    assert universe.listed_groups(runtime) == []


def test_leaving_a_group_and_forgetting_it(runtime: Runtime) -> None:
    universe.add(runtime, ["AAPL", "MSFT"], group="tech")
    assert universe.add_to_group(runtime, "tech", ["AAPL"]) == 0
    assert universe.remove_from_group(runtime, "tech", ["AAPL"]) == 1
    assert universe.remove_from_group(runtime, "tech", ["AAPL"]) == 0
    assert universe.listed_groups(runtime) == [("tech", 1, 1)]
    assert universe.remove_from_group(runtime, "tech", []) == 1
    assert universe.listed_groups(runtime) == []
    assert universe.active_symbols(runtime) == ["AAPL", "MSFT"]
    with pytest.raises(GroupNotFound):
        universe.remove_from_group(runtime, "tech", [])


def test_a_purged_asset_leaves_its_groups(runtime: Runtime) -> None:
    universe.add(runtime, ["AAPL", "MSFT"], group="tech")
    universe.remove(runtime, ["AAPL"], purge=True)
    assert universe.listed_groups(runtime) == [("tech", 1, 1)]
    universe.add(runtime, ["AAPL"])
    assert universe.active_symbols(runtime, "tech") == ["MSFT"]


@pytest.mark.parametrize("name", ["", "  ", "-x", "a b", "a" * 41, "a/b", "ä", "x\0", "a,b"])
def test_what_is_no_name_for_a_group(name: str) -> None:
    with pytest.raises(InvalidInput, match="no name for a group") as caught:
        normalise_group(name)
    assert caught.value.message.isascii() and caught.value.message.isprintable()


def test_renaming_keeps_number_and_groups_and_tells_whoever_asks_for_the_old_name(runtime: Runtime) -> None:
    universe.add(runtime, ["FB"], group="tech")
    before = universe.view(runtime, "FB").record
    universe.rename(runtime, "fb", "meta")
    after = universe.view(runtime, "META")
    assert (after.record.id, after.groups) == (before.id, ["tech"])
    assert [(one.provider, one.symbol) for one in after.aliases] == [(assets.EVERYBODY, "FB")]
    with pytest.raises(AssetRenamed, match=r"FB was renamed META on \d{4}-\d\d-\d\d") as caught:
        universe.view(runtime, "FB")
    assert caught.value.hint == "use META"
    universe.rename(runtime, "META", "META2")
    with pytest.raises(AssetRenamed, match="FB was renamed META2"):
        universe.view(runtime, "FB")


def test_an_old_symbol_that_another_asset_takes_is_that_asset_s(runtime: Runtime) -> None:
    universe.add(runtime, ["FB"])
    universe.rename(runtime, "FB", "META")
    assert universe.add(runtime, ["FB"]) == ["FB"]
    assert universe.view(runtime, "FB").record.id != universe.view(runtime, "META").record.id


def test_what_can_t_be_renamed(runtime: Runtime) -> None:
    universe.add(runtime, ["FB", "META"])
    with pytest.raises(InvalidInput, match="there is an asset META already: FB was not renamed"):
        universe.rename(runtime, "FB", "META")
    with pytest.raises(InvalidInput, match="FB is called FB already"):
        universe.rename(runtime, "FB", "fb")
    with pytest.raises(AssetNotFound):
        universe.rename(runtime, "NOPE", "X")


def test_a_vendor_s_alias_ends_with_the_symbol_and_a_new_one_begins(runtime: Runtime) -> None:
    universe.add(runtime, ["FB"])
    with runtime.database.write() as tx:
        assets.describe(tx, {"FB": AssetFacts(name="Facebook")}, "yahoo")
    universe.rename(runtime, "FB", "META")
    with runtime.database.write() as tx:
        assets.describe(tx, {"META": AssetFacts(name="Meta")}, "yahoo")
    with runtime.database.write() as tx:
        assets.describe(tx, {"META": AssetFacts(name="Meta")}, "yahoo")
    found = [(one.provider, one.symbol, one.valid_to is None) for one in universe.view(runtime, "META").aliases]
    assert found == [("yahoo", "FB", False), (assets.EVERYBODY, "FB", False), ("yahoo", "META", True)]


# -- what vendors call them -------------------------------------------------------------------------------------


def bitcoins(runtime: Runtime) -> None:
    """Two assets of one coin, as a few vendors name them."""
    universe.add(runtime, ["BTC-USD", "BTC-EUR", "FB"])
    with runtime.database.write() as tx:
        for symbol, currency in (("BTC-USD", "USD"), ("BTC-EUR", "EUR")):
            for provider, name in (("coinmarketcap", "1"), ("coingecko", "bitcoin"), ("yahoo", symbol)):
                assets.describe(tx, {symbol: AssetFacts()}, provider, {symbol: Listing(name, currency)})
        assets.describe(tx, {"BTC-USD": AssetFacts()}, "binance", {"BTC-USD": Listing("BTCUSDT", "USDT")})


def test_a_symbol_that_is_a_vendor_s_name_of_an_asset_is_told_whose(runtime: Runtime) -> None:
    bitcoins(runtime)
    with runtime.database.read() as tx:
        told = universe.renamings(tx, ["BTCUSDT", "BITCOIN", "1", "ETHUSDT", "MARKETJOBS"])
    assert {symbol: (error.message, error.cause) for symbol, error in told.items()} == {
        "BTCUSDT": ("BTCUSDT is binance's name of BTC-USD", "vendors_name"),
        "BITCOIN": ("BITCOIN is coingecko's name of BTC-EUR and BTC-USD", "vendors_name"),
        "1": ("1 is coinmarketcap's name of BTC-EUR and BTC-USD", "vendors_name"),
    }
    hint = "use BTC-USD (if another asset is meant, first: marketjobs assets add BTCUSDT)"
    assert told["BTCUSDT"].hint == hint
    with pytest.raises(VendorsName, match="BTCUSDT is binance's name of BTC-USD"):
        universe.view(runtime, "btcusdt")


def test_a_name_that_a_vendor_had_once_and_one_that_is_an_asset_of_its_own_are_free(runtime: Runtime) -> None:
    bitcoins(runtime)
    universe.set_alias(runtime, "BTC-USD", "binance", "BTCUSDC", since="2026-01-05")
    universe.add(runtime, ["BITCOIN"])
    assert universe.view(runtime, "BITCOIN").record.symbol == "BITCOIN"
    with runtime.database.read() as tx:
        assert list(universe.renamings(tx, ["BTCUSDT", "BTCUSDC"])) == ["BTCUSDC"]


def test_an_alias_of_what_is_no_asset_is_refused_unless_its_symbol_says_what_it_is(runtime: Runtime) -> None:
    universe.add(runtime, ["NOPS"])
    with pytest.raises(AssetNotFound, match=r"no such asset: NOPE; did you mean NOPS\?") as caught:
        universe.set_alias(runtime, "nope", "yahoo", "X")
    assert caught.value.hint == "marketjobs assets add NOPE"
    assert universe.active_symbols(runtime) == ["NOPS"]
    assert universe.set_alias(runtime, "nops", "yahoo", "X") == ("NOPS", False)
    assert universe.set_alias(runtime, "uni-usd", "coingecko", "uniswap") == ("UNI-USD", True)
    assert universe.active_symbols(runtime) == ["NOPS", "UNI-USD"]
    with pytest.raises(VendorsName):
        universe.set_alias(runtime, "UNISWAP", "yahoo", "X")


def test_an_alias_is_taken_back_and_what_it_was_called_before_stays(runtime: Runtime) -> None:
    bitcoins(runtime)
    universe.rename(runtime, "FB", "META")
    universe.set_alias(runtime, "BTC-USD", "binance", "BTCUSDC", since="2026-01-05")
    assert universe.remove_alias(runtime, "btc-usd", "binance") == ("BTC-USD", ["BTCUSDC"])
    left = [(one.provider, one.symbol) for one in universe.view(runtime, "BTC-USD").aliases if one.valid_to is None]
    assert left == [("coinmarketcap", "1"), ("coingecko", "bitcoin"), ("yahoo", "BTC-USD")]
    with pytest.raises(NotFound, match="no name of BTC-USD at binance is stored"):
        universe.remove_alias(runtime, "BTC-USD", "binance")
    with pytest.raises(NotFound, match="no name of META at yahoo is stored"):
        universe.remove_alias(runtime, "META", "yahoo")
    with pytest.raises(UnknownProvider):
        universe.remove_alias(runtime, "META", assets.EVERYBODY)
    with pytest.raises(AssetRenamed, match="FB was renamed META"):
        universe.remove_alias(runtime, "FB", "yahoo")
    with pytest.raises(AssetNotFound):
        universe.remove_alias(runtime, "NOPE", "yahoo")
