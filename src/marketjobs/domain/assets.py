"""Symbols as people type them, and what they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from marketjobs.domain.currencies import PAIRED
from marketjobs.errors import InvalidInput

MAX_SYMBOL_LENGTH = 32
_GROUP = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.^=&+_-]*")


class AssetClass(StrEnum):
    """What kind of thing is traded."""

    EQUITY = "equity"
    ETF = "etf"
    FUND = "fund"
    INDEX = "index"
    CURRENCY = "currency"
    CRYPTO = "crypto"
    FUTURE = "future"
    UNKNOWN = "unknown"


def asset_class_of(text: str) -> AssetClass:
    """Raises InvalidInput, naming the choices."""
    try:
        return AssetClass(text.strip().lower())
    except ValueError as exc:
        raise InvalidInput(f"unknown class {_shown(text)}: one of {' '.join(AssetClass)}") from exc


def pair_of(symbol: str) -> tuple[str, str] | None:
    """``BTC-USD`` is (BTC, USD): a coin and what it is quoted in; ``None``: the symbol is no such pair (``BRK-B``)."""
    base, dash, unit = symbol.rpartition("-")
    return (base, unit) if dash and base and unit in PAIRED else None


def told_class(symbol: str) -> AssetClass:
    """What a symbol says of its class by its form, in the spelling that people use (Yahoo's): a pair, ``^GSPC``,
    ``EURUSD=X``, ``CL=F``."""
    if pair_of(symbol):
        return AssetClass.CRYPTO
    if symbol.startswith("^"):
        return AssetClass.INDEX
    return {"=X": AssetClass.CURRENCY, "=F": AssetClass.FUTURE}.get(symbol[-2:], AssetClass.UNKNOWN)


@dataclass(frozen=True, slots=True)
class AssetFacts:
    """What an answer says about the asset beside its prices.  ``None``: the vendor did not say.

    ``currency`` is ISO 4217, or a minor unit as vendors spell it (``GBp``, ``ZAc``, ``ILA``);
    ``exchange`` is the vendor's code; ``timezone`` an IANA name.
    """

    name: str | None = None
    asset_class: AssetClass = AssetClass.UNKNOWN
    currency: str | None = None
    exchange: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """An asset as one vendor names it: its symbol, id or number there.

    ``currency``: what its prices are in; a vendor that quotes in any currency is asked for this one.
    """

    symbol: str
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """Something that a vendor knows and that a text could mean.  ``symbol`` is what people call it (``BTC``, ``AAPL``),
    ``rank`` the vendor's own order by importance (1 is first; ``None``: it has none)."""

    listing: Listing
    symbol: str
    name: str | None = None
    asset_class: AssetClass = AssetClass.UNKNOWN
    exchange: str | None = None
    rank: int | None = None


def normalise_symbol(text: str) -> str:
    """Upper case without surrounding blanks.

    Raises:
        InvalidInput: empty, too long, or with a character that no exchange uses.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"a symbol is a text, not {type(text).__name__}")
    symbol = text.strip().upper() if text.isascii() else text
    if not symbol:
        raise InvalidInput("a symbol is empty", hint="marketjobs fetch-market-data -s AAPL")
    if len(symbol) > MAX_SYMBOL_LENGTH:
        raise InvalidInput(f"symbol {_shown(symbol)} is longer than {MAX_SYMBOL_LENGTH} characters")
    if not _SYMBOL.fullmatch(symbol):
        raise InvalidInput(f"symbol {_shown(symbol)} has a character that no symbol has (A-Z 0-9 . ^ = & + _ -)")
    return symbol


def normalise_symbols(texts: Iterable[str]) -> tuple[str, ...]:
    """In the order given, each once.

    Raises:
        InvalidInput: for the first that can't be a symbol, or when there is none at all.
    """
    if isinstance(texts, str):
        raise InvalidInput(f"symbols is a list of texts, not the text {_shown(texts)}")
    try:
        symbols = tuple(dict.fromkeys(normalise_symbol(text) for text in texts))
    except TypeError as exc:
        raise InvalidInput("symbols is a list of texts") from exc
    if not symbols:
        raise InvalidInput("no symbol was given", hint="marketjobs fetch-market-data -s AAPL")
    return symbols


def normalise_group(text: str) -> str:
    """Lower case without surrounding blanks.  Raises InvalidInput for anything but letters, digits and ``. _ -``."""
    if not isinstance(text, str):
        raise InvalidInput(f"a group is a name, not {type(text).__name__}")
    group = text.strip().lower() if text.isascii() else text
    if not _GROUP.fullmatch(group):
        raise InvalidInput(f"{_shown(text)} is no name for a group: up to 40 of a-z 0-9 . _ -, such as us-tech")
    return group


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:37] + "...")
