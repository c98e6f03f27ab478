"""What an issuer is: its business in words, its fundamentals in figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from marketjobs.domain.assets import AssetFacts


@dataclass(frozen=True, slots=True)
class Profile:
    """``None``: the vendor did not say.  ``figures``: fundamentals by the names of :data:`FIGURES`, in the asset's
    currency; shares and ratios as fractions (0.25 is a quarter), days as ISO dates."""

    facts: AssetFacts = field(default_factory=AssetFacts)
    sector: str | None = None
    industry: str | None = None
    country: str | None = None
    website: str | None = None
    summary: str | None = None
    employees: int | None = None
    figures: Mapping[str, float | str] = field(default_factory=dict)


FIGURES = (
    "market_cap",
    "enterprise_value",
    "shares_outstanding",
    "circulating_supply",
    "total_supply",
    "max_supply",
    "price_to_earnings",
    "forward_price_to_earnings",
    "price_to_book",
    "price_to_sales",
    "peg_ratio",
    "earnings_per_share",
    "book_value_per_share",
    "dividend_per_share",
    "dividend_yield",
    "ex_dividend_date",
    "beta",
    "revenue",
    "gross_profit",
    "ebitda",
    "profit_margin",
    "operating_margin",
    "return_on_assets",
    "return_on_equity",
    "free_cash_flow",
    "total_debt",
    "total_cash",
    "high_52_weeks",
    "low_52_weeks",
    "fiscal_year_end",
    "market_cap_rank",
)
"""Every name that a figure may have, whoever supplied it."""
