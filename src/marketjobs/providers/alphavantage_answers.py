"""Alpha Vantage's answers, read without a network: series, quotes, overviews, searches, and refusals that come as 200.

Source: https://www.alphavantage.co/documentation/ (read 2026-11), answers recorded from 2017 to 2026, finance-quote
issue 546.  Every figure is a text, every name has a number before it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from marketjobs.domain.assets import AssetClass, AssetFacts, Listing, Match
from marketjobs.domain.bars import DIVIDEND, SPLIT, Action, BarAnswer, BarQuery, RawRow
from marketjobs.domain.intervals import stamp_of
from marketjobs.domain.profiles import Profile
from marketjobs.domain.quotes import Quote
from marketjobs.errors import (
    PlanRestricted,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
)
from marketjobs.providers import answers
from marketjobs.providers.answers import as_number, text
from marketjobs.providers.http import Answer
from marketjobs.providers.plain import web_address

NAME = "alphavantage"
NEW_YORK = ZoneInfo("America/New_York")
CLOSE = timedelta(hours=16)
SUMMARY_CHARACTERS = 5000
CLASSES = {"equity": AssetClass.EQUITY, "common stock": AssetClass.EQUITY, "etf": AssetClass.ETF}
CLASSES |= {"mutual fund": AssetClass.FUND}
_REFUSED = re.compile(rb'^\s*\{\s*"(?:Note|Information|Error Message)"\s*:')
_NUMBERED = re.compile(r"^\d+[a-z]?\. ")
_SAID: tuple[tuple[tuple[str, ...], type[ProviderError], str, float | None], ...] = (
    # These come first: they go on to speak of the day and of premium plans too.
    (("sparingly", "per second", "burst"), RateLimited, "says: too many requests in a second", 2.0),
    (
        ("per minute", "call frequency", "higher api call volume"),
        RateLimited,
        "says: too many requests in a minute",
        60.0,
    ),
    (("per day", "daily rate limit"), QuotaExhausted, "says: the key's calls of today are used up", None),
    (("premium",), PlanRestricted, "gives this to paid plans only", None),
    (("apikey", "api key"), Unauthorised, "does not take the key", None),
)
"""Words of a refusal, what it means, how it is told, and when to come back.  Its own text is never shown: it may quote
the key."""
NO_VALUES = frozenset({"", "-", "None", "none", "null", "N/A", "0000-00-00"})
_FIGURES = {
    "market_cap": "MarketCapitalization",
    "shares_outstanding": "SharesOutstanding",
    "price_to_earnings": "PERatio",
    "forward_price_to_earnings": "ForwardPE",
    "price_to_book": "PriceToBookRatio",
    "price_to_sales": "PriceToSalesRatioTTM",
    "peg_ratio": "PEGRatio",
    "earnings_per_share": "EPS",
    "book_value_per_share": "BookValue",
    "dividend_per_share": "DividendPerShare",
    "dividend_yield": "DividendYield",
    "beta": "Beta",
    "revenue": "RevenueTTM",
    "gross_profit": "GrossProfitTTM",
    "ebitda": "EBITDA",
    "profit_margin": "ProfitMargin",
    "operating_margin": "OperatingMarginTTM",
    "return_on_assets": "ReturnOnAssetsTTM",
    "return_on_equity": "ReturnOnEquityTTM",
    "high_52_weeks": "52WeekHigh",
    "low_52_weeks": "52WeekLow",
}


def refusal(answer: Answer, symbol: str | None) -> ProviderError | None:
    """What an answer means that is not what was asked for; ``None``: it is."""
    if answer.status != 200 or not _REFUSED.match(answer.body):
        return answers.refusal(NAME, answer, symbol)
    try:
        document = orjson.loads(answer.body)
    except ValueError:
        return answers.malformed(NAME, symbol, "it is no JSON, or cut")
    said = " ".join(str(value) for value in document.values()).lower()
    if "invalid api call" in said:
        if symbol is None:
            return answers.malformed(NAME, None, "it says that the question was none")
        return SymbolUnknown(f"alphavantage does not know {symbol}", provider=NAME, symbol=symbol)
    for words, kind, told, wait in _SAID:
        if any(word in said for word in words):
            seconds = seconds_to_reset(datetime.now(UTC)) if kind is QuotaExhausted else wait
            return kind(f"alphavantage {told}", provider=NAME, symbol=symbol, retry_after_seconds=seconds)
    return answers.malformed(NAME, symbol, "a message that is not known")


def seconds_to_reset(now: datetime) -> float:
    """Until midnight in New York.  When a day of calls begins is documented nowhere; who waits for this one meets a
    new one also where it begins at midnight UTC."""
    local = now.astimezone(NEW_YORK)
    midnight = datetime(local.year, local.month, local.day, tzinfo=NEW_YORK) + timedelta(days=1)
    return max(60.0, midnight.timestamp() - now.timestamp())


# Series


def parse_daily(answer: Answer, query: BarQuery) -> BarAnswer:
    """Days as traded: neither split nor dividend is in their prices.  Raises MalformedAnswer."""
    zone_name, _, rows = _series(answer, query)
    return BarAnswer(query, [_day(day, row, query) for day, row in rows.items()], facts=_facts(zone_name))


def parse_adjusted(answer: Answer, query: BarQuery) -> BarAnswer:
    """Days on today's share, with dividends and splits.  Prices as traded are divided by the splits after their day,
    all of which an answer holds, because it goes on to today.  Raises MalformedAnswer."""
    zone_name, _, rows = _series(answer, query)
    found: list[RawRow] = []
    actions: list[Action] = []
    factor = 1.0
    for day, row in sorted(rows.items(), reverse=True):
        raw = _day(day, row, query)
        if raw.stamp in query.range:
            dividend = _positive(row.get("dividend amount"))
            if dividend:
                actions.append(Action(raw.stamp, DIVIDEND, dividend / factor))
        found.append(
            raw._replace(
                open=_divided(raw.open, factor),
                high=_divided(raw.high, factor),
                low=_divided(raw.low, factor),
                close=_divided(raw.close, factor),
                adj_close=_figure(row.get("adjusted close")),
                volume=raw.volume if factor == 1.0 else _divided(raw.volume, 1 / factor),
            )
        )
        ratio = _positive(row.get("split coefficient"))
        if ratio and ratio != 1.0:
            if raw.stamp in query.range:
                actions.append(Action(raw.stamp, SPLIT, ratio))
            factor *= ratio
    return BarAnswer(query, found[::-1], actions=tuple(sorted(actions)), facts=_facts(zone_name))


def parse_intraday(answer: Answer, query: BarQuery) -> BarAnswer:
    """Bars of minutes, stamped with their opening; times are those of the zone that the answer names.

    Raises MalformedAnswer."""
    zone_name, zone, rows = _series(answer, query)
    found = []
    for written, row in rows.items():
        try:
            at = datetime.strptime(written, "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone).timestamp()
        except (ValueError, OverflowError) as exc:
            raise answers.malformed(NAME, query.symbol, f"a time written as {answers.printable(written, 30)}") from exc
        found.append(_row(int(at), at, row))
    return BarAnswer(query, found, facts=_facts(zone_name))


def _series(answer: Answer, query: BarQuery) -> tuple[str, ZoneInfo, dict[str, dict[str, Any]]]:
    """Zone, and figures by the text of their day or instant."""
    symbol = query.symbol
    document = answers.decoded(NAME, answer, symbol)
    if not isinstance(document, dict):
        raise answers.malformed(NAME, symbol, "no series")
    meta = _plain_names(document.get("Meta Data"))
    described = meta.get("Symbol")
    if not isinstance(described, str) or described.upper() != symbol.upper():
        raise answers.malformed(NAME, symbol, f"figures of {answers.printable(described, 40)}" if meta else "no series")
    rows = next((value for name, value in document.items() if name.startswith("Time Series")), None)
    if not isinstance(rows, dict):
        raise answers.malformed(NAME, symbol, "no series")
    if meta.get("Interval") not in (None, SENT_AS.get(query.interval.value)):
        raise answers.malformed(NAME, symbol, f"bars of {answers.printable(meta.get('Interval'), 40)}")
    zone_name = {"US/Eastern": "America/New_York"}.get(str(meta.get("Time Zone")), str(meta.get("Time Zone")))
    return zone_name, _zone(zone_name, symbol), {at: _plain_names(row) for at, row in rows.items()}


SENT_AS = {"1m": "1min", "5m": "5min", "15m": "15min", "30m": "30min", "60m": "60min", "1h": "60min"}


def _zone(name: str, symbol: str) -> ZoneInfo:
    try:
        return _zone_of(name)
    except (KeyError, ValueError, OSError) as exc:
        raise answers.malformed(NAME, symbol, f"times of {answers.printable(name, 40)}") from exc


_zone_of = cache(ZoneInfo)


def _plain_names(found: Any) -> dict[str, Any]:
    """``{"4. close": ...}`` as ``{"close": ...}``."""
    return {_NUMBERED.sub("", name): value for name, value in found.items()} if isinstance(found, dict) else {}


def _facts(zone_name: str) -> AssetFacts:
    return AssetFacts(timezone=zone_name)


def _day(written: str, row: Mapping[str, Any], query: BarQuery) -> RawRow:
    try:
        stamp = stamp_of(date.fromisoformat(written))
    except ValueError as exc:
        raise answers.malformed(NAME, query.symbol, f"a day written as {answers.printable(written, 30)}") from exc
    return _row(stamp, float(stamp), row)


def _row(stamp: int, at: float, row: Mapping[str, Any]) -> RawRow:
    first, high, low, close = (_figure(row.get(name)) for name in ("open", "high", "low", "close"))
    return RawRow(stamp, at, first, high, low, close, None, _whole(row.get("volume")))


def _figure(value: Any) -> Any:
    return None if value is None or value in NO_VALUES else as_number(value)


def _whole(value: Any) -> Any:
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 19:
        return int(value)
    return _figure(value)


def _divided(value: Any, factor: float) -> Any:
    return value / factor if factor != 1.0 and type(value) in (int, float) else value


def _positive(value: Any) -> float | None:
    figure = answers.number(_figure(value)) if not isinstance(value, list | dict) else None
    return figure if figure is not None and 0 < figure < math.inf else None


# Quotes, profiles, searches


def parse_quote(answer: Answer, listing: Listing, now: float) -> Quote:
    """Of the day that it names, at the close in New York or now.

    Raises:
        SymbolUnknown: there is none.
        MalformedAnswer: it can't be read as one of this symbol.
    """
    symbol = listing.symbol
    document = answers.decoded(NAME, answer, symbol)
    group = (
        next((value for name, value in document.items() if name.startswith("Global Quote")), None)
        if isinstance(document, dict)
        else None
    )
    if document == {} or group == {}:
        raise SymbolUnknown(f"alphavantage does not know {symbol}", provider=NAME, symbol=symbol)
    found = _plain_names(group)
    described = found.get("symbol")
    if not isinstance(described, str) or described.upper() != symbol.upper():
        raise answers.malformed(NAME, symbol, f"figures of {answers.printable(described, 40)}" if found else "no quote")
    try:
        day = date.fromisoformat(str(found.get("latest trading day")))
        at = (datetime(day.year, day.month, day.day, tzinfo=NEW_YORK) + CLOSE).timestamp()
    except (ValueError, OverflowError) as exc:
        raise answers.malformed(NAME, symbol, "a price without a day") from exc
    percent = found.get("change percent")
    return Quote(
        price=_figure(found.get("price")),
        at=min(at, now),
        currency=listing.currency,
        change_percent=_number(percent.rstrip("%") if isinstance(percent, str) else None),
        previous_close=_number(found.get("previous close")),
        day_open=_number(found.get("open")),
        day_high=_number(found.get("high")),
        day_low=_number(found.get("low")),
        volume=_number(found.get("volume")),
    )


def _number(value: Any) -> float | None:
    return answers.number(_figure(value)) if isinstance(value, str | int | float) else None


def parse_overview(answer: Answer, symbol: str) -> Profile:
    """Raises SymbolUnknown for an empty answer, MalformedAnswer for one of another symbol."""
    document = answers.decoded(NAME, answer, symbol)
    if document == {}:
        raise SymbolUnknown(f"alphavantage has no company {symbol}", provider=NAME, symbol=symbol)
    described = document.get("Symbol") if isinstance(document, dict) else None
    if not isinstance(described, str) or described.upper() != symbol.upper():
        raise answers.malformed(NAME, symbol, f"figures of {answers.printable(described, 40)}")
    figures: dict[str, float | str] = {}
    for name, field in _FIGURES.items():
        figure = _number(document.get(field))
        if figure is not None:
            figures[name] = figure
    ex_dividend, year_end = _said(document.get("ExDividendDate")), _said(document.get("FiscalYearEnd"))
    if ex_dividend is not None and re.fullmatch(r"\d{4}-\d{2}-\d{2}", ex_dividend):
        figures["ex_dividend_date"] = ex_dividend
    if year_end is not None:
        figures["fiscal_year_end"] = year_end
    return Profile(
        facts=AssetFacts(
            name=_said(document.get("Name")),
            asset_class=_class(document.get("AssetType")),
            currency=_said(document.get("Currency")),
            exchange=_said(document.get("Exchange")),
        ),
        sector=_said(document.get("Sector")),
        industry=_said(document.get("Industry")),
        country=_said(document.get("Country")),
        website=web_address(document.get("OfficialSite")),
        summary=_said(document.get("Description"), SUMMARY_CHARACTERS),
        figures=figures,
    )


def _said(value: Any, most: int = answers.SHOWN_CHARACTERS) -> str | None:
    said = text(value, most)
    return None if said is None or said in NO_VALUES else said


def _class(value: Any) -> AssetClass:
    return CLASSES.get(value.lower(), AssetClass.UNKNOWN) if isinstance(value, str) else AssetClass.UNKNOWN


def parse_search(answer: Answer) -> list[Match]:
    """In the vendor's order.  Raises MalformedAnswer."""
    document = answers.decoded(NAME, answer, None)
    found = document.get("bestMatches") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise answers.malformed(NAME, None, "no list of matches")
    named = [one for one in map(_plain_names, found) if _said(one.get("symbol"))]
    return [
        Match(
            Listing(str(_said(one["symbol"])), _said(one.get("currency"))),
            str(_said(one["symbol"])),
            name=_said(one.get("name")),
            asset_class=_class(one.get("type")),
            exchange=_said(one.get("region")),
            rank=rank,
        )
        for rank, one in enumerate(named, start=1)
    ]
