"""Three small vendors of our own, found by entry point as a plug-in's are: `first`, `second` and `third` ask one
loopback server for JSON, and every request spends a call.

    with Counter() as counter:
        counter.known["first", "quotes"] = {"AAPL": {"price": 190.0, "at": ..., "currency": "USD"}}
        counter.fault("first", 503)
        ... the product with `variables(counter)`, on `installed(folder)` ...
"""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections import Counter as Counts
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

from marketjobs.domain.assets import AssetClass, AssetFacts, Listing, Match
from marketjobs.domain.bars import Action, BarAnswer, BarQuery, OpenSession, RawRow
from marketjobs.domain.intervals import Interval
from marketjobs.domain.news import NewsAnswer, NewsQuery, Story
from marketjobs.domain.profiles import Profile
from marketjobs.domain.quotes import Quote
from marketjobs.errors import (
    Blocked,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
)
from marketjobs.providers.base import Capabilities, Provider

NAMES = ("first", "second", "third")


class Small(Provider):
    """What the three have in common."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        bars=frozenset({Interval.DAY_1, Interval.HOUR_1}),
        asset_classes=frozenset(AssetClass),
        quotes=3,
        profiles=True,
        news=True,
        feeds=True,
        search=True,
    )

    async def _get(self, what: str, **query: str) -> Any:
        return await asyncio.to_thread(self._ask, what, query)

    def _ask(self, what: str, query: dict[str, str]) -> Any:
        gate = self.connection.gate
        gate.spend()
        url = f"{self.connection.base_url}/{self.name}/{what}?{urlencode(query)}"
        symbol = query.get("symbol")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as exc:
            exc.close()
            after = exc.headers.get("Retry-After")
            words = f"{self.name}: {exc.code}"
            if exc.code == 429:
                seconds = gate.hold(words, None if after is None else float(after))
                raise RateLimited(words, provider=self.name, symbol=symbol, retry_after_seconds=seconds) from exc
            kind: type[ProviderError] = {401: Unauthorised, 403: Blocked, 404: SymbolUnknown}.get(
                exc.code, ProviderUnavailable
            )
            raise kind(words, provider=self.name, symbol=symbol) from exc
        except OSError as exc:
            raise ProviderUnavailable(f"{self.name}: {exc}", provider=self.name, symbol=symbol) from exc

    async def quotes(self, listings: Sequence[Listing]) -> dict[Listing, Quote | ProviderError]:
        found = await self._get("quotes", symbols=",".join(one.symbol for one in listings))
        return {
            one: Quote(**found[one.symbol])
            if found.get(one.symbol)
            else SymbolUnknown(f"{self.name} knows no {one.symbol}", provider=self.name, symbol=one.symbol)
            for one in listings
            if found.get(one.symbol, {}) is not None
        }

    async def bars(self, query: BarQuery) -> BarAnswer:
        self.require_bars(query)
        found = await self._get("bars", symbol=query.symbol)
        rows = [RawRow(row[0], row[0], *row[1:]) for row in found["rows"] if row[0] in query.range]
        session = OpenSession(*found["session"]) if found.get("session") else None
        actions = [Action(*one) for one in found.get("actions", ()) if one[0] in query.range]
        return BarAnswer(query, rows, actions, AssetFacts(**found.get("facts", {})), session)

    async def profile(self, listing: Listing) -> Profile:
        found = await self._get("profile", symbol=listing.symbol)
        facts = found.pop("facts", {})
        asset_class = AssetClass(facts.pop("asset_class", "unknown"))
        return Profile(AssetFacts(asset_class=asset_class, **facts), **found)

    async def news(self, query: NewsQuery) -> NewsAnswer:
        found = await self._get("news", symbol=query.symbol or "", feed=query.feed or "", etag=query.etag or "")
        stories = [Story(**one | {"symbols": tuple(one.get("symbols", ()))}) for one in found.get("stories", ())]
        return NewsAnswer(stories, found.get("is_unchanged", False), found.get("etag"))

    async def search(self, text: str) -> list[Match]:
        return _matches(await self._get("search", text=text))


def _matches(found: list[dict[str, Any]]) -> list[Match]:
    return [
        Match(
            Listing(one["id"]),
            one["symbol"],
            one.get("name"),
            AssetClass(one.get("class", "unknown")),
            None,
            one.get("rank"),
        )
        for one in found
    ]


class First(Small):
    name = "first"


class Second(Small):
    """Its symbols are ids that must be asked for, as a vendor of coins has them; it sends prices as traded."""

    name = "second"
    capabilities = Capabilities(
        bars=frozenset({Interval.DAY_1}), asset_classes=frozenset(AssetClass), quotes=5, as_traded=True
    )

    @classmethod
    def listing(cls, symbol: str, asset_class: AssetClass = AssetClass.UNKNOWN) -> Listing | None:
        return None if asset_class is AssetClass.CRYPTO else Listing(symbol)

    async def lookup(self, symbol: str) -> list[Match]:
        return _matches(await self._get("lookup", symbol=symbol))


class Third(Small):
    """It wants a key."""

    name = "third"
    capabilities = Capabilities(
        bars=frozenset({Interval.DAY_1}), asset_classes=frozenset(AssetClass), quotes=100, needs_key=True
    )


class Counter:
    """The server: what each vendor knows, its faults, and what was asked."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Any] = {}
        """(vendor, what) -> what it answers: quotes by symbol, or a function of the query."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._faults: dict[str, list[tuple[int, float | None]]] = {}
        self._always: dict[str, tuple[int, float | None]] = {}
        counter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                counter._answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing is said."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Counter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self, name: str, status: int, times: int | None = None, retry_after: float | None = None) -> None:
        """A vendor answers with a status: so often, or until :meth:`heal`."""
        if times is None:
            self._always[name] = status, retry_after
        else:
            self._faults.setdefault(name, []).extend([(status, retry_after)] * times)

    def heal(self, name: str) -> None:
        self._always.pop(name, None)
        self._faults.pop(name, None)

    def asked(self, name: str, what: str | None = None) -> list[dict[str, str]]:
        return [query for one, kind, query in self.requests if one == name and what in (None, kind)]

    def counts(self) -> Counts[str]:
        return Counts(name for name, _, _ in self.requests)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        _, name, what = parts.path.split("/")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.requests.append((name, what, query))
        waiting = self._faults.get(name)
        status, after = waiting.pop(0) if waiting else self._always.get(name, (200, None))
        known = self.known.get((name, what))
        if status == 200 and what == "quotes":
            body: Any = {one: known[one] for one in query["symbols"].split(",") if one in known} if known else {}
        elif status == 200:
            body = known(query) if callable(known) else (known or {}).get(query.get("symbol", query.get("text", "")))
            status = 404 if body is None else 200
        else:
            body = {}
        text = json.dumps(body).encode()
        handler.send_response(status)
        if after is not None:
            handler.send_header("Retry-After", str(after))
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)


def installed(folder: Path) -> Path:
    """A folder that makes a Python which has it on its path find the three as installed plug-ins."""
    info = folder / "vendors_for_tests-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vendors-for-tests\nVersion: 1.0\n")
    points = "".join(f"{name} = vendors_for_tests:{name.capitalize()}\n" for name in NAMES)
    (info / "entry_points.txt").write_text(f"[marketjobs.providers]\n{points}")
    return folder


def variables(counter: Counter, **chains: list[str]) -> dict[str, str]:
    """The environment in which the product asks the three, in their order; ``third`` has a key."""
    found = {f"MARKETJOBS_PROVIDERS__{name.upper()}__BASE_URL": counter.url for name in NAMES}
    found |= {f"MARKETJOBS_PROVIDERS__{name.upper()}__RATE_LIMIT": '["1000/s"]' for name in NAMES}
    found["MARKETJOBS_PROVIDERS__THIRD__API_KEYS"] = '["a-key-of-the-third"]'
    for asset_class in AssetClass:
        names = chains.get(asset_class.value, list(NAMES))
        found[f"MARKETJOBS_CHAINS__{asset_class.value.upper()}"] = json.dumps(names)
    return found
