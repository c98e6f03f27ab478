"""RSS and Atom: stories of any feed's address, and a vendor's feeds about single symbols.

`feed_address` says where a feed may be, `feed_text` reads it.  Feeds of symbols are Yahoo's
(https://feeds.finance.yahoo.com/rss/2.0/headline?s=AAPL; read 2026-11), or what answers like them at ``base_url``.

A feed's host speaks for itself only: its refusals and outages hold up nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, ClassVar
from urllib.parse import quote
from weakref import WeakKeyDictionary

from marketjobs.domain.assets import AssetClass
from marketjobs.domain.news import NewsAnswer, NewsQuery
from marketjobs.errors import (
    Blocked,
    MalformedAnswer,
    NoData,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Unauthorised,
    Unsupported,
)
from marketjobs.providers.answers import retry_after_seconds
from marketjobs.providers.base import Capabilities, Connection, Provider
from marketjobs.providers.curl import CONNECT_SECONDS, authorities, reason, seconds_to_send, timings
from marketjobs.providers.feed_address import Address, Gatekeeper, Target, target_of
from marketjobs.providers.feed_text import NAME, parse_feed
from marketjobs.providers.http import Answer

MOST_REDIRECTS = 5
MOST_BYTES = 16 << 20
REDIRECTS = (301, 302, 303, 307, 308)
LIMITED_SECONDS = 60.0
"""So long a host is left alone that says "too many" and no time: other feeds there would fare the same."""
PROBE_SYMBOL = "SPY"


class Rss(Provider):
    """Stories as feeds tell them."""

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(asset_classes=frozenset(AssetClass), news=True, feeds=True)

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        allowed: Sequence[str] = connection.options.get("allow_hosts", ())
        self._gatekeeper = Gatekeeper(allowed, connection.proxy)
        # A semaphore belongs to its event loop, of which each process has one.
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @classmethod
    def preload(cls) -> None:
        import curl_cffi.requests  # noqa: F401
        import feedparser.api  # noqa: F401

    async def news(self, query: NewsQuery) -> NewsAnswer:
        """The stories of a feed, or of the vendor's feed about a symbol.

        Raises:
            Unsupported: the address is none of http or https, or not in the open network; nothing was sent there.
            BudgetSpent: nothing was sent.
            NoData: no feed is at that address (404, 410).
            RateLimited, Unauthorised, Blocked: the host's own word.
            ProviderUnavailable, MalformedAnswer: no answer, or none that is a feed (one that is too large, or declares
                entities, will be so the next time too).
        """
        if query.feed is None and query.symbol is None:
            raise Unsupported("rss reads a feed's address, or is asked about a symbol", provider=NAME)
        try:
            return await self._news(query)
        except ProviderError as error:
            error.symbol = query.symbol
            raise

    async def _news(self, query: NewsQuery) -> NewsAnswer:
        if query.feed is not None:
            target, is_configured = target_of(query.feed), False
        else:
            path = f"/rss/2.0/headline?s={quote(query.symbol or '', safe='')}&region=US&lang=en-US"
            target, is_configured = target_of(f"{self.connection.base_url}{path}"), True
        headers = {"If-None-Match": query.etag, "If-Modified-Since": query.last_modified}
        loop = asyncio.get_running_loop()
        async with self._places.setdefault(loop, asyncio.Semaphore(self.connection.max_connections)):
            target, answer = await self._followed(
                target, {name: value for name, value in headers.items() if value}, is_configured=is_configured
            )
        if answer.status == 304:
            return NewsAnswer(is_unchanged=True, etag=query.etag, last_modified=query.last_modified)
        error = _refusal(answer, target.host)
        if error is not None:
            if isinstance(error, RateLimited):
                seconds = error.retry_after_seconds or LIMITED_SECONDS
                error.retry_after_seconds = self.connection.gate.hold(
                    error.message, seconds, grant=answer.grant, cause=error.cause
                )
            raise error
        found = await asyncio.to_thread(
            parse_feed,
            answer.body,
            answer.headers.get("content-type") or "",
            target.base,
            target.host,
            query.symbol if query.feed is None else None,
            time.time(),
        )
        self.connection.gate.passed(answer.grant)
        return NewsAnswer(
            found.stories,
            etag=answer.headers.get("etag"),
            last_modified=answer.headers.get("last-modified"),
            notes=found.notes,
        )

    async def _followed(self, target: Target, headers: dict[str, str], *, is_configured: bool) -> tuple[Target, Answer]:
        """The answer at the end of at most five redirects, each judged like the first address.  ``is_configured``:
        the first is where the settings say that the vendor is, which may be anywhere."""
        first = target
        for redirects in range(MOST_REDIRECTS + 1):
            addresses = await self._judged(target, is_free=is_configured and redirects == 0)
            login = target.login or (first.login if target.has_origin_of(first) else None)
            answer = await self._ask(target, addresses, headers, login)
            if answer.status not in REDIRECTS:
                return target, answer
            target = target_of(answer.headers.get("location") or "", relative_to=target)
        raise ProviderUnavailable(f"{first.host} redirects more than {MOST_REDIRECTS} times", provider=NAME)

    async def _judged(self, target: Target, *, is_free: bool) -> list[Address]:
        try:
            return await self._gatekeeper.judged(target, self.connection.timeout_seconds, is_free=is_free)
        except (OSError, TimeoutError, UnicodeError) as exc:
            raise ProviderUnavailable(f"{target.host}: the name can't be resolved", provider=NAME) from exc

    async def _ask(
        self, target: Target, addresses: Sequence[Address], headers: dict[str, str], login: tuple[str, str] | None
    ) -> Answer:
        """One request, to one of the addresses where there are any."""
        from curl_cffi.curl import CURL_WRITEFUNC_ERROR
        from curl_cffi.requests.exceptions import RequestException

        grant = await asyncio.to_thread(self.connection.gate.spend, part=target.host)
        body = bytearray()

        def receive(chunk: bytes) -> int:
            body.extend(chunk)
            return len(chunk) if len(body) <= MOST_BYTES else CURL_WRITEFUNC_ERROR

        async with self._session(target, addresses) as session:
            began = time.monotonic()
            self.connection.gate.sent(grant, began + CONNECT_SECONDS)
            try:
                response = await session.request(
                    "GET", target.url, headers=headers, auth=login, content_callback=receive, allow_redirects=False
                )
            except RequestException as exc:
                if len(body) > MOST_BYTES:
                    raise MalformedAnswer(
                        f"the feed at {target.host} is larger than {MOST_BYTES >> 20} MiB", provider=NAME, is_final=True
                    ) from exc
                why = reason(exc, self.connection.timeout_seconds)
                raise ProviderUnavailable(f"rss ({target.host}): {why}", provider=NAME) from exc
            self.connection.gate.sent(grant, began + seconds_to_send(response))
            return Answer(response.status_code, response.headers, bytes(body), grant)

    def _session(self, target: Target, addresses: Sequence[Address]) -> Any:
        """For one request: what it connects to is a matter of the whole session."""
        from curl_cffi import CurlOpt
        from curl_cffi.requests import AsyncSession

        proxy = self._gatekeeper.proxy_for(target)
        options: dict[Any, Any] = {
            # The proxy was chosen here; curl is not to choose another.
            CurlOpt.NOPROXY: b"" if proxy else b"*",
            CurlOpt.PROTOCOLS_STR: b"http,https",
        }
        if addresses and proxy is None:
            written = ",".join(f"[{one}]" if one.version == 6 else str(one) for one in addresses)
            options[CurlOpt.RESOLVE] = [f"{target.host}:{target.port}:{written}"]
        return AsyncSession(
            max_clients=1,
            timeout=self.connection.timeout_seconds,
            proxy=proxy,
            verify=authorities(self.connection.ca_bundle),  # type: ignore[arg-type]  # a path too
            headers={
                "User-Agent": f"marketjobs/{version('marketjobs')}",
                "Accept": "application/rss+xml, application/atom+xml, application/xml;q=0.9, */*;q=0.5",
            },
            default_headers=False,
            curl_infos=timings(),
            curl_options=options,
        )

    async def probe(self) -> None:
        """The feed about SPY.  Raises as :meth:`news`."""
        await self.news(NewsQuery(symbol=PROBE_SYMBOL))


def _refusal(answer: Answer, host: str) -> ProviderError | None:
    """What a status means; ``None``: a feed came."""
    status = answer.status
    if status in (200, 203):
        return None
    kind: type[ProviderError] = ProviderUnavailable
    text = f"{host} answered {status} instead of a feed"
    if status == 401:
        kind, text = Unauthorised, f"the feed at {host} wants a login (401)"
    elif status in (403, 451):
        kind, text = Blocked, f"{host} blocks this address or client ({status})"
    elif status in (404, 410):
        kind, text = NoData, f"{host} has no feed at this address ({status})"
    elif status == 429:
        kind, text = RateLimited, f"{host} says: too many requests (429)"
    return kind(text, provider=NAME, retry_after_seconds=retry_after_seconds(answer.headers))
