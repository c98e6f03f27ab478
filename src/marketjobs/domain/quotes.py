"""A latest price, and what makes one fit to be stored."""

from __future__ import annotations

import math
from typing import NamedTuple

CLOCK_TOLERANCE_SECONDS = 5 * 60
JUMP = 100.0
"""Prices that differ by this factor are of another thing, or of another unit."""


class Quote(NamedTuple):
    """A price of an asset.

    ``at``: the instant that the vendor says the price is of (epoch seconds); ``currency`` as the vendor spells it
    (ISO 4217, a minor unit such as ``GBp``, or a coin such as ``USDT``); ``change_percent`` since the previous close,
    of coins over 24 hours; ``volume`` in units over the same time.  ``None``: the vendor did not say.
    """

    price: float
    at: float
    currency: str | None = None
    change_percent: float | None = None
    previous_close: float | None = None
    day_open: float | None = None
    day_high: float | None = None
    day_low: float | None = None
    volume: float | None = None
    market_cap: float | None = None

    def scaled(self, factor: float) -> Quote:
        """The same price in another unit (pence of pounds); the market's worth stays as it is, in whole ones."""
        prices = ("price", "previous_close", "day_open", "day_high", "day_low")
        known = {name: value for name in prices if (value := getattr(self, name)) is not None}
        return self._replace(**{name: value * factor for name, value in known.items()})


def broken_rule(quote: Quote, now: float) -> str | None:
    """The name of the first rule that a quote breaks, in the words of `domain.bars`; ``None``: it may be stored."""
    price, at = quote.price, quote.at
    for value in (price, at):
        if type(value) is not float and type(value) is not int:
            return "not_a_number"
        if not math.isfinite(value):
            return "not_finite"
    if price <= 0:
        return "not_positive"
    return "future" if at > now + CLOCK_TOLERANCE_SECONDS else None


def jumps(price: float, stored: float | None) -> bool:
    """Does a price differ from the stored one by so much that one of them must be of something else?"""
    return stored is not None and not stored / JUMP < price < stored * JUMP
