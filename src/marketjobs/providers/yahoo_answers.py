"""What Yahoo's answers have in common, whatever was asked: JSON with a part of its own, refusals, consent pages.

Yahoo documents none of it.  Source: yfinance 1.7.0, answers recorded from 2019 to 2026, yfinance issues 521 and 576,
quantmod issue 263 (read 2026-11).
"""

from __future__ import annotations

import json
import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from marketjobs.errors import (
    Blocked,
    NoData,
    ProviderError,
    ProviderUnavailable,
    RangeUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
)
from marketjobs.providers.yahoo_values import NAME, UNREADABLE, malformed, printable

CHART, QUOTES, SUMMARY, SEARCH = "chart", "quoteResponse", "quoteSummary", "search"
"""What an answer calls its part; what belongs to none of them stands in ``finance``."""
NO_FUNDAMENTALS = "No fundamentals data found"
"""How Yahoo says, with a 404, that it knows a symbol but has nothing of what was asked about it."""
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
_STATUS_OF_CODE = {
    "bad request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not found": 404,
    "unprocessable entity": 422,
    "too many requests": 429,
}


def refusal(
    status: int, body: bytes, symbol: str | None, retry_after: str | None = None, part: str = CHART
) -> ProviderError:
    """What a status of 400 or more means; Yahoo's own words decide, where it sent any."""
    try:
        document = orjson.loads(body)
    except ValueError:
        document = None
    error = _error_of(document, part)
    if error is None:
        about = _error_of(document, "finance")
        return _refusal(part, status, None, about[1] if about else "", symbol, retry_after)
    return _refusal(part, status, error[0], error[1], symbol, retry_after)


def raise_error(document: Any, part: str, symbol: str | None) -> None:
    """Raises what an error inside a 200 means, by its code."""
    error = _error_of(document, part) or _error_of(document, "finance")
    if error is not None:
        code, words = error
        raise _refusal(part, _STATUS_OF_CODE.get(code.lower(), 500), code, words, symbol, None)


def _refusal(
    part: str, status: int, code: str | None, words: str, symbol: str | None, retry_after: str | None
) -> ProviderError:
    """``code``: of the part's own error; ``None``: the answer had none."""
    said = f': "{words}"' if words else ""
    kind: type[ProviderError] = ProviderUnavailable
    text = f"yahoo answered {status}{said}"
    if status == 401:
        kind, text = Unauthorised, f"yahoo refused access (401){said}"
    elif status == 403:
        kind, text = Blocked, f"yahoo blocks this address or client (403){said}"
    elif status == 429:
        kind, text = RateLimited, "yahoo says: too many requests (429)"
    elif status == 404 and code is not None and symbol is not None:
        if part == SUMMARY and words.startswith(NO_FUNDAMENTALS):
            kind, text = NoData, f"yahoo has no profile of {symbol}"
        else:
            kind, text = SymbolUnknown, f"yahoo does not know {symbol}{said}"
    elif status in (400, 422) and code is not None and part == CHART:
        kind, text = RangeUnavailable, f"yahoo does not give this range of {symbol}{said}"
    return kind(text, provider=NAME, symbol=symbol, retry_after_seconds=retry_after_seconds(retry_after))


def redirection(location: str, symbol: str | None) -> ProviderError:
    """What a redirect means: nothing that we ask for has one of its own."""
    host = urlsplit(location).hostname or "another page"
    if "consent" in location or host.startswith("guce."):
        return Blocked("yahoo asks for consent instead of answering", provider=NAME, symbol=symbol)
    return ProviderUnavailable(
        f"yahoo redirects to {printable(host)}: a proxy or a login page in between?",
        provider=NAME,
        symbol=symbol,
    )


def retry_after_seconds(text: str | None) -> float | None:
    """Seconds or an HTTP date, as seconds from now, 0 to a day; ``None``: nothing that can be read."""
    if not text:
        return None
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return min(float(text.strip()), LONGEST_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def decoded(body: bytes, symbol: str | None) -> Any:
    """The document of a body.

    Raises:
        MalformedAnswer: it is none.
        Blocked: it is the consent page.
    """
    refuse_page(body, symbol)
    try:
        return orjson.loads(body)
    except ValueError as exc:
        # The literals are no JSON; only rows that hold one are bad, so these bodies go the slow way.
        if b"NaN" not in body and b"Infinity" not in body:
            raise malformed(symbol, "no JSON, or a part of it") from exc
    try:
        return json.loads(body, parse_int=_bounded_int)
    except UNREADABLE as exc:
        raise malformed(symbol, "no JSON, or a part of it") from exc


def refuse_page(body: bytes, symbol: str | None) -> None:
    """Raises Blocked for the consent page, MalformedAnswer for another web page."""
    if not body[:512].lstrip().startswith(b"<"):
        return
    if b"consent" in body[: 1 << 16].lower():
        raise Blocked("yahoo asks for consent instead of answering", provider=NAME, symbol=symbol)
    raise malformed(symbol, "a web page")


def _bounded_int(digits: str) -> int | float:
    """As orjson: an integer beyond 64 bits is a float."""
    return int(digits) if len(digits) < 19 else float(digits)


def results_of(body: bytes, part: str, symbol: str | None) -> list[Any]:
    """The results of a part, which may be none.

    Raises:
        MalformedAnswer: there is no list of them.
        ProviderError: the answer carries an error of Yahoo's, of the class that its code means.
    """
    document = decoded(body, symbol)
    raise_error(document, part, symbol)
    inner = document.get(part) if isinstance(document, dict) else None
    results = inner.get("result") if isinstance(inner, dict) else None
    if not isinstance(results, list):
        raise malformed(symbol, "no result and no reason")
    return results


def _error_of(document: Any, part: str) -> tuple[str, str] | None:
    """Code and words of an error, made fit for a terminal; ``None``: there is none."""
    inner = document.get(part) if isinstance(document, dict) else None
    error = inner.get("error") if isinstance(inner, dict) else None
    if not error:
        return None
    if not isinstance(error, dict):
        return "", printable(error)
    return printable(error.get("code") or ""), printable(error.get("description") or "")
