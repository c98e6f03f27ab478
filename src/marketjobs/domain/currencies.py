"""Units that prices are in: currencies, their minor units as exchanges quote them, coins that stand for a currency."""

from __future__ import annotations

import re

from marketjobs.errors import InvalidInput

MINOR_UNITS = {"GBp": "GBP", "GBX": "GBP", "ZAc": "ZAR", "ZAC": "ZAR", "ILA": "ILS"}
"""Hundredths, as vendors spell them, and the currency that they are of.  Case matters: ``GBp`` is pence."""
STAND_INS = {"USDT": "USD", "USDC": "USD", "FDUSD": "USD", "BUSD": "USD"}
"""Coins that are worth a currency, but for a fraction of a percent: what coins are quoted in at exchanges."""
_QUOTED = (
    "AED ARS AUD BRL BTC CAD CHF CLP CNY CZK DKK ETH EUR GBP HKD HUF IDR ILS INR JPY KRW MXN MYR NOK NZD PHP PLN RUB"
    " SAR SEK SGD THB TRY TWD UAH USD VND ZAR"
)
PAIRED = frozenset(_QUOTED.split()) | frozenset(STAND_INS)
"""What a pair such as BTC-USD is quoted in."""
_UNIT = re.compile(r"[A-Z0-9]{2,10}")


def unit_of(text: str) -> str:
    """A unit as people type it: ``usd`` is USD, while ``GBp`` stays pence.  Raises InvalidInput."""
    given = text.strip()
    unit = given if given in MINOR_UNITS else given.upper()
    if not _UNIT.fullmatch(unit.upper()):
        raise InvalidInput(f"{text!a:.20} is no currency: write USD, GBp or USDT")
    return unit


def factor(given: str | None, wanted: str | None) -> float | None:
    """By what a price in one unit is multiplied to be in another; ``None``: they are of different currencies.

    A coin that stands for a currency counts as it (1.0); a unit that nobody named as any.
    """
    if not given or not wanted or given == wanted:
        return 1.0
    (from_, of), (to, in_) = _parts(given), _parts(wanted)
    return None if of != in_ else from_ / to


def _parts(unit: str) -> tuple[float, str]:
    if unit in MINOR_UNITS:
        return 0.01, MINOR_UNITS[unit]
    return 1.0, STAND_INS.get(unit, unit)


def is_minor(unit: str | None) -> bool:
    """Are prices in hundredths of a currency (pence)?"""
    return unit in MINOR_UNITS
