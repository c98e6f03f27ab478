"""The client of vendors that are asked over plain HTTP: one a process, asynchronous, few connections.

It spends the budget before each request, bounds the answer in time and size, and tells the gate what became of it, so
that an adapter only builds requests and reads answers.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from queue import SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from marketjobs.errors import (
    Blocked,
    MalformedAnswer,
    MarketJobsError,
    ProviderError,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    Unauthorised,
)
from marketjobs.providers.base import Connection, Grant
from marketjobs.providers.curl import (
    CONNECT_SECONDS,
    MAX_ANSWER_BYTES,
    Sockets,
    authorities,
    failed_to_connect,
    reason,
    seconds_to_send,
    timings,
)

WRONG_KEY_SECONDS = 3600.0
"""A key that was refused is not tried again for so long: another one may serve."""
PATH_CHARACTERS = "/%:=@,+~!$&'()*;"
"""What is sent in a path as it is; the rest, blanks for one, is percent-encoded."""

_OF_A_KEY = (RateLimited, QuotaExhausted, Unauthorised)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.  ``headers`` are found whatever their case; ``body`` is unpacked."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    grant: Grant = field(default_factory=Grant)


Judge = Callable[[Answer, str | None], ProviderError | None]
"""What an answer means in a vendor's own way: the error that it is, or ``None``, it is what was asked for.  The second
argument is the symbol that was asked about."""


class HttpClient:
    """Requests to one vendor.

    Args:
        judge: looks at every answer, whatever its status.
        key_header, key_parameter: where the key of a call goes.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        judge: Judge,
        *,
        key_header: str | None = None,
        key_parameter: str | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self.name = name
        self.connection = connection
        self._judge = judge
        self._key_header = key_header
        self._key_parameter = key_parameter
        self._most = max_answer_bytes
        self._opened: dict[tuple[int, int], _Session] = {}

    async def get(
        self,
        path: str,
        parameters: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        weight: int = 1,
        symbol: str | None = None,
    ) -> Answer:
        """``path`` below the vendor's base URL.

        Raises:
            BudgetSpent, CircuitOpen, MissingKey: nothing was sent.
            ProviderUnavailable: no answer in time, or none at all.
            MalformedAnswer: it is larger than anything the vendor sends.
            ProviderError: whatever the judge says.
        """
        session = self._session()
        url = f"{self.connection.base_url}{quote(path, safe=PATH_CHARACTERS)}"
        tries = 0
        async with session.places:
            while True:
                answer = await self._answer(session, url, parameters, headers, weight, symbol)
                error = self._judge(answer, symbol)
                if error is None:
                    self._weigh(None, answer.grant)
                    return answer
                error.hide(answer.grant.api_key)
                self._weigh(error, answer.grant)
                tries += 1
                # A refusal of one key is none of the others: the next call is of another.
                if not isinstance(error, _OF_A_KEY) or self._of_key(answer.grant) is None or tries >= answer.grant.keys:
                    raise error

    async def _answer(self, session: _Session, url: str, *request: Any) -> Answer:
        """Whatever the vendor says; a failure to connect is tried twice."""
        try:
            return await self._send(session, url, *request)
        except ProviderUnavailable as outage:
            if not _failed_to_connect(outage):
                self.connection.gate.failed(outage.message)
                raise
        return await self._send_again(session, url, *request)

    async def _send_again(self, *request: Any) -> Answer:
        """After a failure to connect, which is tried twice."""
        try:
            return await self._send(*request)
        except ProviderUnavailable as error:
            self.connection.gate.failed(error.message)
            raise

    async def _send(
        self,
        session: _Session,
        url: str,
        parameters: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        weight: int,
        symbol: str | None,
    ) -> Answer:
        from curl_cffi.curl import CURL_WRITEFUNC_ERROR
        from curl_cffi.requests.exceptions import RequestException

        grant = await session.spend(weight)
        if grant.api_key and self._key_header:
            headers = {**(headers or {}), self._key_header: grant.api_key}
        if grant.api_key and self._key_parameter:
            parameters = {**(parameters or {}), self._key_parameter: grant.api_key}
        body = bytearray()

        def receive(chunk: bytes) -> int:
            body.extend(chunk)
            return len(chunk) if len(body) <= self._most else CURL_WRITEFUNC_ERROR

        began = time.monotonic()
        if not session.sockets.take():
            self.connection.gate.sent(grant, began + CONNECT_SECONDS)
        try:
            # Encoded here: what curl_cffi does to addresses and cookies costs as much as sending them.
            response = await session.curl.request(
                "GET",
                f"{url}?{urlencode(parameters)}" if parameters else url,
                headers=headers,
                content_callback=receive,
                allow_redirects=False,
                quote=False,
                discard_cookies=True,
            )
        except (RequestException, ValueError) as exc:  # the latter for a proxy that answers with anything
            if len(body) > self._most:
                raise MalformedAnswer(
                    f"{self.name}: an answer of more than {self._most >> 20} MiB", provider=self.name, symbol=symbol
                ) from exc
            raise ProviderUnavailable(
                f"{self.name} ({urlsplit(url).hostname}): {reason(exc, self.connection.timeout_seconds)}",
                provider=self.name,
                symbol=symbol,
                hint="marketjobs doctor",
            ) from exc
        session.sockets.give_back()
        self.connection.gate.sent(grant, began + seconds_to_send(response))
        return Answer(response.status_code, response.headers, bytes(body), grant)

    def _weigh(self, error: ProviderError | None, grant: Grant) -> None:
        """What one answer says about the next requests."""
        gate = self.connection.gate
        of_key = self._of_key(grant)
        if isinstance(error, RateLimited | QuotaExhausted):
            used_up = isinstance(error, QuotaExhausted)
            error.retry_after_seconds = gate.hold(
                error.message, error.retry_after_seconds, grant=of_key, until_reset=used_up
            )
        elif isinstance(error, Unauthorised) and of_key:
            error.blame_key()
            error.retry_after_seconds = gate.hold(error.message, WRONG_KEY_SECONDS, grant=of_key, cause=error.cause)
        elif isinstance(error, Blocked):
            error.retry_after_seconds = gate.hold(error.message, error.retry_after_seconds, cause=error.cause)
        elif isinstance(error, ProviderUnavailable):
            gate.failed(error.message)
        elif not isinstance(error, MalformedAnswer):
            gate.passed(grant)

    def _of_key(self, grant: Grant) -> Grant | None:
        """Where no key was sent, the vendor counts by address, which all calls have in common."""
        return grant if grant.api_key and (self._key_header or self._key_parameter) else None

    def _session(self) -> _Session:
        # By process: a forked child must neither use nor close the sockets of its parent.
        loop, pid = asyncio.get_running_loop(), os.getpid()
        session = self._opened.get((pid, id(loop)))
        if session is None or session.loop is not loop:
            for key in [key for key, one in self._opened.items() if key[0] == pid and one.loop.is_closed()]:
                self._opened.pop(key).close()
            session = self._opened[pid, id(loop)] = _Session(self.connection, loop)
        return session

    def close(self) -> None:
        for key in [key for key in self._opened if key[0] == os.getpid()]:
            self._opened.pop(key).close()


class _Session:
    """Sockets of one event loop, and the one thread that asks for budget there."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        from curl_cffi.requests import AsyncSession

        self.loop = loop
        self._asked: SimpleQueue[_Asked | None] = SimpleQueue()
        self._gate = connection.gate
        Thread(target=self._ask, name="marketjobs-budget", daemon=True).start()
        self.places = asyncio.Semaphore(connection.max_connections)
        self.sockets = Sockets()
        self.curl: Any = AsyncSession(
            max_clients=connection.max_connections,
            timeout=connection.timeout_seconds,
            proxy=connection.proxy,
            verify=authorities(connection.ca_bundle),  # type: ignore[arg-type]  # a path too
            headers={"User-Agent": f"marketjobs/{version('marketjobs')}", "Accept-Encoding": "gzip"},
            default_headers=False,
            curl_infos=timings(),
        )

    async def spend(self, weight: int) -> Grant:
        """The gate's, which may sleep: on the thread.  An executor would do, at twice the CPU."""
        granted: asyncio.Future[Grant] = self.loop.create_future()
        # The context goes along: who waits for the budget is told when its job has ended.
        self._asked.put((granted, contextvars.copy_context(), weight))
        return await granted

    def _ask(self) -> None:
        while (asked := self._asked.get()) is not None:
            granted, context, weight = asked
            if granted.cancelled():
                continue
            grant, error = None, None
            try:
                grant = context.run(self._gate.spend, weight)
            except Exception as exc:  # whoever asked is told
                error = exc
            try:
                self.loop.call_soon_threadsafe(self._tell, granted, grant, error)
            except RuntimeError:  # the loop was closed meanwhile
                self._give_back(grant)

    def _tell(self, granted: asyncio.Future[Grant], grant: Grant | None, error: Exception | None) -> None:
        if granted.done():  # cancelled
            self._give_back(grant)
        elif error is not None:
            granted.set_exception(error)
        else:
            granted.set_result(grant or Grant())

    def _give_back(self, grant: Grant | None) -> None:
        if grant is not None:
            with suppress(MarketJobsError):  # the store is away: it counts as used
                self._gate.unused(grant)

    def close(self) -> None:
        self._asked.put(None)
        if self.loop.is_closed():
            return
        if self.loop.is_running():
            self.loop.create_task(self.curl.close())
        else:
            self.loop.run_until_complete(self.curl.close())


_Asked = tuple["asyncio.Future[Grant]", contextvars.Context, int]


def _failed_to_connect(error: BaseException) -> bool:
    return isinstance(error, ProviderUnavailable) and error.__cause__ is not None and failed_to_connect(error.__cause__)
