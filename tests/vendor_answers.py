"""What `vendor` answers beside the chart, as Yahoo does: quotes of many symbols, a profile, a search with stories.

Quotes and profiles want the cookie and the crumb that belongs to it.  Figures are those of the vendor's bars; symbols
that begin with NOSUCH are unknown, BARE ones have neither profile nor price, PENCE ones are quoted in pence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from vendor import Vendor

QUOTES, SUMMARY, SEARCH = "/v7/finance/quote", "/v10/finance/quoteSummary/", "/v1/finance/search"
NAMES = {QUOTES: "quotes", SUMMARY: "profile", SEARCH: "search"}
"""What faults are given for, beside symbols: ``vendor.fault("status", "quotes", code=503)``."""
STORIES = 30
MOST_QUOTES = 99


class Document(NamedTuple):
    status: int
    content: Any


def name_of(path: str) -> str | None:
    """Which of these a path asks for."""
    return NAMES.get(SUMMARY if path.startswith(SUMMARY) else path)


def document(vendor: Vendor, path: str, query: dict[str, str], cookie: str) -> Document:
    if path == SEARCH:
        return Document(200, search(vendor, query))
    if vendor.cookie not in cookie:
        return refused("Invalid Cookie")
    if query.get("crumb") != vendor.crumb:
        return refused("Invalid Crumb")
    if path == QUOTES:
        symbols = [one for one in query.get("symbols", "").split(",") if one]
        if len(symbols) > MOST_QUOTES:
            return Document(500, {"finance": {"result": None, "error": {"code": "internal-error"}}})
        known = [quote(vendor, one) for one in symbols if not one.startswith("NOSUCH")]
        return Document(200, {"quoteResponse": {"result": known, "error": None}})
    return summary(vendor, unquote(path.removeprefix(SUMMARY)), query.get("modules", "").split(","))


def refused(words: str) -> Document:
    return Document(401, {"finance": {"result": None, "error": {"code": "Unauthorized", "description": words}}})


def quote(vendor: Vendor, symbol: str) -> dict[str, Any]:
    """As sent, but for some thirty fields that nobody reads here."""
    kind = "CRYPTOCURRENCY" if symbol.endswith("-USD") else "EQUITY"
    found: dict[str, Any] = {"language": "en-US", "region": "US", "quoteType": kind, "symbol": symbol}
    if symbol.startswith("BARE"):
        return found
    *_, before, last = vendor.bars(symbol)
    return found | {
        "currency": "GBp" if symbol.startswith("PENCE") else "USD",
        "exchange": "NMS",
        "longName": f"{symbol} of the test vendor",
        "regularMarketPrice": last.close,
        "regularMarketTime": vendor.last_trade_at(symbol),
        "regularMarketChangePercent": (last.close / before.close - 1) * 100,
        "regularMarketPreviousClose": before.close,
        "regularMarketOpen": last.open,
        "regularMarketDayHigh": last.high,
        "regularMarketDayLow": last.low,
        "regularMarketVolume": last.volume,
        "marketCap": int(last.close * 1e9),
        "trailingPE": 21.5,
        "marketState": "CLOSED",
    }


def summary(vendor: Vendor, symbol: str, modules: list[str]) -> Document:
    error = None
    if symbol.startswith("NOSUCH"):
        error = f"Quote not found for symbol: {symbol}"
    elif symbol.startswith("BARE"):
        error = f"No fundamentals data found for any of the summaryTypes={','.join(modules)}"
    if error is not None:
        told = {"code": "Not Found", "description": error}
        return Document(404, {"quoteSummary": {"result": None, "error": told}})
    now = quote(vendor, symbol)
    price = {name: now[name] for name in ("symbol", "longName", "quoteType", "currency", "exchange", "marketCap")}
    whole: dict[str, dict[str, Any]] = {
        "price": price | {"shortName": symbol},
        "quoteType": {"symbol": symbol, "quoteType": now["quoteType"], "timeZoneFullName": "America/New_York"},
        "assetProfile": {
            "sector": "Technology",
            "industry": "Consumer Electronics",
            "country": "United States",
            "website": "https://www.example.com",
            "longBusinessSummary": f"{symbol} makes nothing.\n\nIt is a test.",
            "fullTimeEmployees": 161_000,
        },
        "summaryDetail": {
            "trailingPE": 21.5,
            "dividendRate": 1.04,
            "dividendYield": 0.0041,
            "exDividendDate": 1_739_145_600,
            "beta": 1.2,
            "fiftyTwoWeekHigh": 260.1,
            "fiftyTwoWeekLow": 164.08,
        },
        "defaultKeyStatistics": {"priceToBook": 55.3, "bookValue": 4.438, "lastFiscalYearEnd": 1_727_481_600},
        "financialData": {"totalRevenue": 395_760_009_216, "profitMargins": 0.24295, "financialCurrency": "USD"},
    }
    chosen = {name: module for name, module in whole.items() if name in modules}
    return Document(200, {"quoteSummary": {"result": [chosen], "error": None}})


def search(vendor: Vendor, query: dict[str, str]) -> dict[str, Any]:
    words = query.get("q", "")
    symbol = words.upper().split()[0] if words.split() else ""
    quotes = [
        {"symbol": symbol, "quoteType": "EQUITY", "longname": f"{symbol} of the test vendor", "exchange": "NMS"},
        {"symbol": f"{symbol}U", "quoteType": "ETF", "shortname": f"Twice {symbol}", "exchange": "NGM"},
        {"symbol": f"{symbol}251219C00120000", "quoteType": "OPTION", "shortname": "a call", "exchange": "OPR"},
        {"index": "78ddc0", "name": "a private company", "isYahooFinance": False},
    ]
    known = [] if symbol.startswith("NOSUCH") else quotes
    count = min(STORIES, int(query.get("newsCount", "8")))
    return {
        "count": len(known),
        "quotes": known[: int(query.get("quotesCount", "8")) + 1],
        "news": [story(vendor, symbol, number) for number in range(count)],
    }


def story(vendor: Vendor, symbol: str, number: int) -> dict[str, Any]:
    return {
        "uuid": f"{symbol}-{number}",
        "title": f"{symbol} does something for the {number}. time",
        "publisher": "A Test Paper",
        "link": f"https://news.example.com/{symbol}/{number}.html",
        "providerPublishTime": int(vendor.clock()) - 600 * number,
        "type": "STORY",
        "relatedTickers": ["OTHER"] if number % 5 == 4 else [symbol, "OTHER"],
    }


# Faults in the data: what is done to the results of quotes.


def _leave_out(results: list[dict[str, Any]], args: dict[str, Any]) -> list[dict[str, Any]]:
    return results[-args.get("kept", 1) :]


def _stranger(results: list[dict[str, Any]], args: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**results[0], "symbol": "OTHER"}, *results[1:]]


def _change(field: str, value: Any) -> Callable[[list[dict[str, Any]], dict[str, Any]], list[dict[str, Any]]]:
    def damage(results: list[dict[str, Any]], args: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**results[0], args.get("field", field): args.get("value", value)}, *results[1:]]

    return damage


IN_QUOTES: dict[str, Callable[[list[dict[str, Any]], dict[str, Any]], list[dict[str, Any]]]] = {
    "leave_out": _leave_out,
    "stranger": _stranger,
    "wrong_price": _change("regularMarketPrice", None),
}
