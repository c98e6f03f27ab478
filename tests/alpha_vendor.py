"""Alpha Vantage on loopback, over the series of `vendor`: days as traded, adjusted days, minutes, quotes, overviews,
searches, and refusals that come with a status of 200.

    with AlphaVendor(now=NOW) as vendor:
        vendor.say("minute", times=1)
        ... a provider with base_url=vendor.url and the key KEY ...

Figures are texts.  NOSUCH symbols are unknown, ``is_premium`` keys get everything, others the last 100 days.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from vendor import ON_THE_WIRE, ZONE, Fault, Reply, Vendor

KEY = "av-k5ecret"
SENT = {
    "minute": {
        "Note": "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 "
        "calls per day. Please visit https://www.alphavantage.co/premium/ for a higher frequency."
    },
    "second": {
        "Information": "Thank you for using Alpha Vantage! Please consider spreading out your free API requests more "
        "sparingly (1 request per second). You may subscribe to any of the premium plans to lift the free key rate "
        "limit (25 requests per day), raise the per-second burst limit, and unlock all premium endpoints."
    },
    "day": {
        "Information": f"We have detected your API key as {KEY} and our standard API rate limit is 25 requests per "
        "day. Please subscribe to any of the premium plans to instantly remove all daily rate limits."
    },
    "premium": {"Information": "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe."},
    "key": {"Error Message": f"the parameter apikey is invalid or missing ({KEY}). Please claim your free API key."},
    "demo": {"Information": "The **demo** API key is for demo purposes only. Please claim your free API key."},
    "call": {"Error Message": "Invalid API call. Please retry or visit the documentation for TIME_SERIES_DAILY."},
    "news": {"Information": f"Something new about {KEY}."},
}


class Traded(NamedTuple):
    """A day as the vendor sends it: figures of four digits, as traded."""

    day: date
    open: float
    high: float
    low: float
    close: float
    volume: int
    ratio: float
    """Of the split on this day."""
    dividend: float
    adj_close: float


class AlphaVendor(Vendor):
    """What is asked of ``/query``, with the faults on the wire of `vendor` and those of ``IN_ROWS``."""

    is_premium = False

    def fault(self, kind: str, symbol: str | None = None, times: int | None = None, **args: Any) -> None:
        if kind not in (*ON_THE_WIRE, *IN_ROWS, "say"):
            raise ValueError(f"unknown fault {kind}")
        with self._lock:
            self._faults.append(Fault(kind, symbol, times, args))

    def say(self, what: str, times: int | None = None) -> None:
        """Answer with one of ``SENT``."""
        self.fault("say", times=times, what=what)

    def traded(self, symbol: str) -> list[Traded]:
        with self._lock:
            columns = self._columns(symbol)
        found, factor = [], 1.0
        for index in range(len(columns["ordinal"]) - 1, -1, -1):
            prices = (columns[name][index] * factor for name in ("open", "high", "low", "close"))
            ratio = columns["splits"].get(index, 1.0)
            found.append(
                Traded(
                    date.fromordinal(columns["ordinal"][index]),
                    *(round(price, 4) for price in prices),
                    int(columns["volume"][index] / factor),
                    ratio,
                    round(columns["dividends"].get(index, 0.0) * factor, 4),
                    round(columns["adjclose"][index], 4),
                )
            )
            factor *= ratio
        return found[::-1]

    def answer(self, path: str, query: dict[str, str], cookie: str = "") -> tuple[Reply, str | None]:
        symbol = query.get("symbol", query.get("keywords", "")).upper()
        fault = self._take_fault(symbol, everywhere=True)
        document = self._document_of(query, symbol, fault)
        if fault is not None and fault.kind in IN_ROWS:
            document = IN_ROWS[fault.kind](document, fault.args)
        reply = Reply(200, json.dumps(document).encode())
        if fault is not None and fault.kind in ON_THE_WIRE:
            reply = ON_THE_WIRE[fault.kind](self, fault.args, reply)
        return reply, symbol

    def _document_of(self, query: dict[str, str], symbol: str, fault: Fault | None) -> dict[str, Any]:
        function, known = query.get("function", ""), bool(symbol) and not symbol.startswith("NOSUCH")
        if fault is not None and fault.kind == "say":
            return SENT[fault.args["what"]]
        if query.get("apikey") != KEY:
            return SENT["key"]
        if function == "GLOBAL_QUOTE":
            return {"Global Quote": self._global_quote(symbol) if known else {}}
        if function == "OVERVIEW":
            return overview(symbol) if known else {}
        if function == "SYMBOL_SEARCH":
            return {"bestMatches": matches(symbol) if known else []}
        if not known:
            return SENT["call"]
        is_adjusted, is_full = function.endswith("ADJUSTED"), query.get("outputsize") == "full"
        if function == "TIME_SERIES_INTRADAY":
            return self._intraday(symbol, query, is_full=is_full)
        if (is_adjusted or is_full) and not self.is_premium:
            return SENT["premium"]
        rows = self.traded(symbol)[None if is_full else -100 :]
        return {
            "Meta Data": {
                "1. Information": "Daily Prices (open, high, low, close) and Volumes",
                "2. Symbol": symbol,
                "3. Last Refreshed": rows[-1].day.isoformat(),
                "4. Output Size": "Full size" if is_full else "Compact",
                "5. Time Zone": "US/Eastern",
            },
            "Time Series (Daily)": {one.day.isoformat(): row(one, is_adjusted=is_adjusted) for one in rows[::-1]},
        }

    def _intraday(self, symbol: str, query: dict[str, str], *, is_full: bool) -> dict[str, Any]:
        interval = query["interval"].removesuffix("in")
        prepost = query.get("extended_hours", "true") == "true"
        since = self.clock() - 30 * 86_400
        bars = self.minutes(symbol, "60m" if interval == "60m" else interval, prepost=prepost, since=since)
        rows = {}
        for one in bars[None if is_full else -100 :][::-1]:
            at = datetime.fromtimestamp(one.ts, ZONE).strftime("%Y-%m-%d %H:%M:%S")
            figures = (f"{price:.4f}" for price in one[1:5])
            rows[at] = dict(zip(NAMES, (*figures, str(int(one.volume or 0))), strict=True))
        meta = {
            "1. Information": f"Intraday ({query['interval']}) open, high, low, close prices and volume",
            "2. Symbol": symbol,
            "4. Interval": query["interval"],
            "6. Time Zone": "US/Eastern",
        }
        return {"Meta Data": meta, f"Time Series ({query['interval']})": rows}

    def _global_quote(self, symbol: str) -> dict[str, str]:
        *_, before, last = self.traded(symbol)
        return {
            "01. symbol": symbol,
            "02. open": f"{last.open:.4f}",
            "03. high": f"{last.high:.4f}",
            "04. low": f"{last.low:.4f}",
            "05. price": f"{last.close:.4f}",
            "06. volume": str(last.volume),
            "07. latest trading day": last.day.isoformat(),
            "08. previous close": f"{before.close:.4f}",
            "09. change": f"{last.close - before.close:.4f}",
            "10. change percent": f"{(last.close / before.close - 1) * 100:.4f}%",
        }


NAMES = ("1. open", "2. high", "3. low", "4. close", "5. volume")
ADJUSTED = (*NAMES[:4], "5. adjusted close", "6. volume", "7. dividend amount", "8. split coefficient")


def row(one: Traded, *, is_adjusted: bool) -> dict[str, str]:
    prices = tuple(f"{price:.4f}" for price in one[1:5])
    if not is_adjusted:
        return dict(zip(NAMES, (*prices, str(one.volume)), strict=True))
    more = (f"{one.adj_close:.4f}", str(one.volume), f"{one.dividend:.4f}", f"{one.ratio:.1f}")
    return dict(zip(ADJUSTED, (*prices, *more), strict=True))


def overview(symbol: str) -> dict[str, str]:
    return {
        "Symbol": symbol,
        "AssetType": "Common Stock",
        "Name": f"{symbol} of the test vendor",
        "Description": "It makes nothing.",
        "Exchange": "NYSE",
        "Currency": "USD",
        "Country": "USA",
        "Sector": "TECHNOLOGY",
        "Industry": "None",
        "OfficialSite": "https://www.example.com",
        "FiscalYearEnd": "December",
        "MarketCapitalization": "206116848000",
        "PERatio": "19.42",
        "PEGRatio": "None",
        "Beta": "-",
        "DividendYield": "0.0308",
        "52WeekHigh": "320.7",
        "ExDividendDate": "2026-05-08",
    }


def matches(symbol: str) -> list[dict[str, str]]:
    found = [
        (symbol, "United States", "USD"),
        (f"{symbol}.LON", "United Kingdom", "GBX"),
        (f"{symbol}X", "United States", "USD"),
    ]
    return [
        {
            "1. symbol": name,
            "2. name": f"{name} of the test vendor",
            "3. type": "Equity" if region == "United States" else "ETF",
            "4. region": region,
            "8. currency": currency,
            "9. matchScore": "0.8",
        }
        for name, region, currency in found
    ]


# Faults in the data.

Damage = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]


def _rows(document: dict[str, Any]) -> dict[str, Any]:
    return next((value for name, value in document.items() if name.startswith("Time Series")), {})


def _set(name: str, value: Any) -> Damage:
    def damage(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
        rows = _rows(document)
        rows[list(rows)[1]][name] = value
        return document

    return damage


def _null_row(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    rows = _rows(document)
    rows[list(rows)[1]].update(dict.fromkeys(NAMES[:4], "None"))
    return document


def _future(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    rows = _rows(document)
    newest = next(iter(rows))
    rows[(date.fromisoformat(newest) + timedelta(days=5)).isoformat()] = rows[newest]
    return document


def _unordered(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    rows = _rows(document)
    reordered = dict(sorted(rows.items(), key=lambda item: item[0][::-1]))
    rows.clear()
    rows.update(reordered)
    return document


def _stranger(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    for group, name in (("Meta Data", "2. Symbol"), ("Global Quote", "01. symbol")):
        if group in document:
            document[group][name] = "OTHER"
    return {**document, "Symbol": "OTHER"} if "Symbol" in document else document


def _other_interval(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    document["Meta Data"]["4. Interval"] = "60min"
    return document


def _empty(document: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    return {}


IN_ROWS: dict[str, Damage] = {
    "nan": _set("4. close", "NaN"),
    "null_row": _null_row,
    "null_close": _set("4. close", "None"),
    "negative": _set("3. low", "-1.0000"),
    "zero": _set("1. open", "0.0000"),
    "strings": _set("1. open", "much"),
    "future": _future,
    "unordered": _unordered,
    "wrong_symbol": _stranger,
    "wrong_interval": _other_interval,
    "empty": _empty,
}
