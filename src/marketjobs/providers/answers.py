"""Answers over plain HTTP, read with distrust: what a status means, what a body holds, what a value is."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import orjson

from marketjobs.errors import Blocked, MalformedAnswer, ProviderError, ProviderUnavailable, RateLimited, Unauthorised
from marketjobs.providers.http import Answer

SHOWN_CHARACTERS = 160
LONGEST_WAIT_SECONDS = 3 * 86_400.0
"""The longest ban that any vendor speaks of."""
GATHERING_SECONDS = 0.01
_T = TypeVar("_T")


def decoded(provider: str, answer: Answer, symbol: str | None) -> Any:
    """The JSON of a body.  Raises MalformedAnswer."""
    try:
        return orjson.loads(answer.body)
    except ValueError as exc:
        raise malformed(provider, symbol, _instead_of_json(answer.body)) from exc


def _instead_of_json(body: bytes) -> str:
    start = body[:200].lstrip().lower()
    if not start:
        return "it is empty"
    return "it is a web page" if start.startswith((b"<!doctype", b"<html")) else "it is no JSON, or cut"


def malformed(provider: str, symbol: str | None, what: str) -> MalformedAnswer:
    about = f" for {symbol}" if symbol else ""
    return MalformedAnswer(f"{provider}'s answer{about} can't be read: {what}", provider=provider, symbol=symbol)


def refusal(provider: str, answer: Answer, symbol: str | None, said: str = "") -> ProviderError | None:
    """What a status means by itself, where the vendor's own words (``said``) name no better cause; ``None``: nothing
    is wrong with it."""
    status = answer.status
    if status < 300:
        return None
    words = f': "{printable(said)}"' if said else ""
    kind: type[ProviderError] = ProviderUnavailable
    text = f"{provider} answered {status}{words}"
    if status < 400:
        text = f"{provider} redirects ({status}): a proxy or a login page in between?"
    elif status == 401:
        kind, text = Unauthorised, f"{provider} refused access (401){words}"
    elif status in (403, 451):
        kind, text = Blocked, f"{provider} blocks this address or client ({status}){words}"
    elif status == 429:
        kind, text = RateLimited, f"{provider} says: too many requests (429)"
    return kind(text, provider=provider, symbol=symbol, retry_after_seconds=retry_after_seconds(answer.headers))


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Of the header of that name: seconds, or a date as seconds from the answer's own; ``None``: nothing that can be
    read."""
    text = (headers.get("retry-after") or "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return min(float(text), LONGEST_WAIT_SECONDS)
    instant = _date(text)
    return None if instant is None else seconds_until(instant, headers)


def seconds_until(instant: float, headers: Mapping[str, str]) -> float:
    """From the answer's own date, because the vendor's clock and ours may differ, to an instant of the vendor's."""
    sent_at = _date(headers.get("date") or "")
    return min(max(instant - (time.time() if sent_at is None else sent_at), 0.0), LONGEST_WAIT_SECONDS)


def _date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def instant_of(value: Any) -> float | None:
    """Epoch seconds of an ISO 8601 text, UTC where it names no zone; ``None``: it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def number(value: Any) -> float | None:
    """A finite number as float, else ``None``."""
    if type(value) is not int and type(value) is not float:
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if math.isfinite(converted) else None


def numbers(found: Mapping[str, Any]) -> dict[str, float | str]:
    """Those that are numbers."""
    return {name: value for name, given in found.items() if (value := number(given)) is not None}


def as_number(value: Any) -> Any:
    """A vendor's decimal in quotes as a float; whatever else came stays, for the rules to refuse."""
    if type(value) is not str or "_" in value:  # Python's own 1_000 is no vendor's
        return value
    try:
        return float(value)
    except ValueError:
        return value


def text(value: Any, most: int = SHOWN_CHARACTERS) -> str | None:
    return (printable(value, most) or None) if isinstance(value, str) else None


def printable(value: Any, most: int = SHOWN_CHARACTERS) -> str:
    """Foreign text on one line, bounded, without what a terminal would obey."""
    line = str(value)[: most * 6]
    if not line.isprintable():
        line = "".join(char if char.isprintable() else " " for char in line)
    line = " ".join(line.split())
    return line if len(line) <= most else line[: most - 3] + "..."


class Kept(Generic[_T]):
    """An answer about everything (a list of all coins) that is asked for once and kept for a while.

    Whoever asks meanwhile waits for the one request; a failure is kept by nobody.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._value: _T | None = None
        self._until = 0.0
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def get(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            if self._value is None or time.monotonic() >= self._until:
                self._value = await ask()
                self._until = time.monotonic() + self._seconds
            return self._value


class Together(Generic[_T]):
    """Questions about ids that are put within some milliseconds of each other, as those of a job's symbols are, become
    one request of ``most`` ids; each gets the whole answer, or its failure.

    Who comes first asks for all: a job's questions end together, so that nobody is left without.
    """

    def __init__(self, ask: Callable[[Sequence[str]], Awaitable[_T]], most: int) -> None:
        self._ask = ask
        self._most = most
        self._gathering: tuple[dict[str, None], asyncio.Future[_T]] | None = None

    async def about(self, ids: Iterable[str]) -> _T:
        wanted = dict.fromkeys(ids)
        loop = asyncio.get_running_loop()
        if self._gathering is not None:
            others, answer = self._gathering
            if answer.get_loop() is loop and len(others | wanted) <= self._most:
                others |= wanted
                return await asyncio.shield(answer)  # one that gives up leaves it to the others
        mine = self._gathering = wanted, loop.create_future()
        answer = mine[1]
        try:
            await asyncio.sleep(GATHERING_SECONDS)
            self._close(mine)
            answer.set_result(await self._ask(list(wanted)))
        except Exception as exc:
            answer.set_exception(exc)
            answer.exception()  # nobody else may have asked
            raise
        finally:
            self._close(mine)
            answer.cancel()  # no answer came
        return answer.result()

    def _close(self, mine: object) -> None:
        if self._gathering is mine:
            self._gathering = None
