"""Yahoo's v10 quoteSummary, read without a network: profile and fundamentals of one symbol.

Yahoo documents none of it.  Source: yfinance 1.7.0 (``scrapers/quote.py``), answers recorded in 2025 (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marketjobs.domain.assets import AssetFacts
from marketjobs.domain.profiles import Profile
from marketjobs.providers.plain import web_address
from marketjobs.providers.yahoo_answers import SUMMARY, results_of
from marketjobs.providers.yahoo_values import UNREADABLE, asset_class, malformed, number, printable, text

MODULES = (
    "price",
    "quoteType",
    "assetProfile",
    "summaryProfile",
    "summaryDetail",
    "defaultKeyStatistics",
    "financialData",
)
"""Those that a symbol lacks are left out of the answer."""
SUMMARY_CHARACTERS = 5000
MOST_EMPLOYEES = 100_000_000

_Place = tuple[str, str]
_FIGURES: Mapping[str, tuple[_Place, ...]] = {
    "market_cap": (("price", "marketCap"), ("summaryDetail", "marketCap")),
    "enterprise_value": (("defaultKeyStatistics", "enterpriseValue"),),
    "shares_outstanding": (("defaultKeyStatistics", "sharesOutstanding"),),
    "circulating_supply": (("summaryDetail", "circulatingSupply"), ("price", "circulatingSupply")),
    "total_supply": (("summaryDetail", "totalSupply"),),
    "max_supply": (("summaryDetail", "maxSupply"),),
    "price_to_earnings": (("summaryDetail", "trailingPE"),),
    "forward_price_to_earnings": (("summaryDetail", "forwardPE"), ("defaultKeyStatistics", "forwardPE")),
    "price_to_book": (("defaultKeyStatistics", "priceToBook"),),
    "price_to_sales": (("summaryDetail", "priceToSalesTrailing12Months"),),
    "peg_ratio": (("defaultKeyStatistics", "pegRatio"),),
    "earnings_per_share": (("defaultKeyStatistics", "trailingEps"),),
    "book_value_per_share": (("defaultKeyStatistics", "bookValue"),),
    "dividend_per_share": (("summaryDetail", "dividendRate"),),
    "dividend_yield": (("summaryDetail", "dividendYield"), ("summaryDetail", "yield")),
    "beta": (("summaryDetail", "beta"), ("defaultKeyStatistics", "beta"), ("defaultKeyStatistics", "beta3Year")),
    "profit_margin": (("financialData", "profitMargins"), ("defaultKeyStatistics", "profitMargins")),
    "operating_margin": (("financialData", "operatingMargins"),),
    "return_on_assets": (("financialData", "returnOnAssets"),),
    "return_on_equity": (("financialData", "returnOnEquity"),),
    "high_52_weeks": (("summaryDetail", "fiftyTwoWeekHigh"),),
    "low_52_weeks": (("summaryDetail", "fiftyTwoWeekLow"),),
}
_OF_STATEMENTS: Mapping[str, tuple[_Place, ...]] = {
    "revenue": (("financialData", "totalRevenue"),),
    "gross_profit": (("financialData", "grossProfits"),),
    "ebitda": (("financialData", "ebitda"),),
    "free_cash_flow": (("financialData", "freeCashflow"),),
    "total_debt": (("financialData", "totalDebt"),),
    "total_cash": (("financialData", "totalCash"),),
}
"""In the currency of the issuer's statements, which need not be the asset's."""
_DAYS: Mapping[str, tuple[_Place, ...]] = {
    "ex_dividend_date": (("summaryDetail", "exDividendDate"),),
    "fiscal_year_end": (("defaultKeyStatistics", "lastFiscalYearEnd"),),
}
MINOR_UNITS = frozenset({"GBp", "GBX", "ZAc", "ILA"})
_PRICES_TO_POUNDS = ("price_to_earnings", "forward_price_to_earnings", "price_to_book")
"""Yahoo divides pence by pounds where it quotes in pence: a hundred times too much (recorded: OCDO.L)."""


def summary_params() -> dict[str, str]:
    return {"modules": ",".join(MODULES), "formatted": "false"}


def parse_summary(body: bytes, symbol: str) -> Profile:
    """The profile that an answer holds.  Where the asset is quoted in a minor unit, prices are in that, amounts and
    figures per share in the whole one; amounts of statements in another currency are left out.

    Raises:
        MalformedAnswer: it can't be read as a profile of this symbol.
        ProviderError: it carries an error of Yahoo's, of the class that its code means.
    """
    results = results_of(body, SUMMARY, symbol)
    if not results or not isinstance(results[0], dict):
        raise malformed(symbol, "no result and no reason")
    modules = {name: module for name, module in results[0].items() if isinstance(module, dict)}
    for name in ("price", "quoteType"):
        described = modules.get(name, {}).get("symbol", symbol)
        if not isinstance(described, str) or described.upper() != symbol.upper():
            raise malformed(symbol, f"figures of {printable(described)}")
    about = {**modules.get("summaryProfile", {}), **modules.get("assetProfile", {})}
    kind, price = modules.get("quoteType", {}), modules.get("price", {})
    currency = text(price.get("currency")) or text(modules.get("summaryDetail", {}).get("currency"))
    employees = number(about.get("fullTimeEmployees"))
    return Profile(
        facts=AssetFacts(
            name=text(price.get("longName")) or text(kind.get("longName")) or text(price.get("shortName")),
            asset_class=asset_class(price.get("quoteType") or kind.get("quoteType")),
            currency=currency,
            exchange=text(price.get("exchange")) or text(kind.get("exchange")),
            timezone=text(kind.get("timeZoneFullName")),
        ),
        sector=text(about.get("sector")),
        industry=text(about.get("industry")),
        country=text(about.get("country")),
        website=web_address(about.get("website")),
        summary=text(about.get("longBusinessSummary") or about.get("description"), SUMMARY_CHARACTERS),
        employees=int(employees) if employees is not None and 0 <= employees < MOST_EMPLOYEES else None,
        figures=_figures(modules, currency),
    )


def _figures(modules: Mapping[str, Mapping[str, Any]], currency: str | None) -> dict[str, float | str]:
    of_statements = text(modules.get("financialData", {}).get("financialCurrency"))
    is_minor = currency in MINOR_UNITS
    places = dict(_FIGURES)
    if of_statements is None or (currency or "").upper() == of_statements.upper():
        places |= _OF_STATEMENTS
    if is_minor:
        places = {name: where for name, where in places.items() if name not in _PRICES_TO_POUNDS}
    found: dict[str, float | str | None] = {name: _first(modules, where) for name, where in places.items()}
    found |= {name: _day(_first(modules, where)) for name, where in _DAYS.items()}
    return {name: value for name, value in found.items() if value is not None}


def _first(modules: Mapping[str, Mapping[str, Any]], where: tuple[_Place, ...]) -> float | None:
    values = (_raw(modules.get(module, {}).get(name)) for module, name in where)
    return next((value for value in values if value is not None), None)


def _raw(value: Any) -> float | None:
    """A figure, also where it comes formatted: ``{"raw": 1.5, "fmt": "1.50"}``."""
    return number(value.get("raw") if isinstance(value, dict) else value)


def _day(at: float | None) -> str | None:
    """Epoch seconds as an ISO date; Yahoo stamps days with 00:00Z."""
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at, UTC).date().isoformat()
    except UNREADABLE:
        return None
