"""Stories into the store, linked to the assets that they are about: the use case, and what makes it a kind of job."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from marketjobs.config import RssSettings, Settings, masked
from marketjobs.domain.assets import Listing, normalise_symbols
from marketjobs.domain.jobs import BATCH_SYMBOLS, Job, JobState, JsonDict, Part, batch_size
from marketjobs.domain.jobs import split as split_runs
from marketjobs.domain.news import NewsAnswer, NewsQuery, feed_host
from marketjobs.domain.reports import Outcome, SymbolFailure, SymbolStatus, collect, conclude
from marketjobs.domain.reports import merge as merge_reports
from marketjobs.errors import InvalidInput, Unsupported
from marketjobs.providers.base import Capabilities, Provider
from marketjobs.services import universe
from marketjobs.services.context import JobContext
from marketjobs.services.errands import Errand, Found
from marketjobs.services.failover import require_usable
from marketjobs.services.identity import Named
from marketjobs.services.runtime import Runtime
from marketjobs.storage import assets, bars, news
from marketjobs.storage.database import Transaction

__all__ = ["collect", "conclude", "identity", "merge", "prepare", "run", "split"]

FETCH = "marketjobs.fetch_news"
FEEDS = "rss"
"""Who reads a feed's address where nobody else is named."""
ARGUMENTS = ("symbols", "group", "feeds", "provider")
MOST_FEEDS = 100
LONGEST_ADDRESS = 2000


def prepare(runtime: Runtime, arguments: JsonDict) -> JsonDict:
    """Arguments complete and canonical: the symbols and feeds that are named; where nothing is, all active assets and
    the feeds of the settings.

    Raises:
        InvalidInput, ConfigError, Unsupported: they can't be served.
        GroupNotFound: there is no such group.
    """
    unknown = set(arguments) - set(ARGUMENTS)
    if unknown:
        raise InvalidInput(f"unknown argument {', '.join(sorted(map(str, unknown)))}: there are {' '.join(ARGUMENTS)}")
    feeds, group, provider = arguments.get("feeds"), arguments.get("group"), arguments.get("provider")
    symbols: list[str] = []
    if arguments.get("symbols") is not None or group is not None:
        if arguments.get("symbols") is not None:
            normalise_symbols(arguments["symbols"])
        symbols = universe.symbols_of(runtime, arguments.get("symbols") or (), group)
    elif feeds is None:
        symbols = universe.active_symbols(runtime)
        feeds = list(_configured(runtime.settings))
    if feeds is not None and not isinstance(feeds, list | tuple):
        raise InvalidInput("feeds is a list of addresses")
    addresses = list(dict.fromkeys(_address(one, runtime.settings) for one in feeds or ()))
    if not symbols and not addresses:
        raise InvalidInput("no asset is active, and no feed is set", hint="marketjobs fetch-news -s AAPL")
    if len(addresses) > MOST_FEEDS:
        raise InvalidInput(f"{len(addresses)} feeds are too many for a job: {MOST_FEEDS} at most")
    if provider is not None:
        can = require_usable(runtime.settings, provider).capabilities
        lacks = [
            what
            for what, asked, has in (("news", symbols, can.news), ("feeds", addresses, can.feeds))
            if asked and not has
        ]
        if lacks:
            raise Unsupported(f"{provider} has no {' and no '.join(lacks)}", provider=provider)
    return {"symbols": symbols, "feeds": addresses, "provider": provider}


def _configured(settings: Settings) -> dict[str, str]:
    """The feeds of the settings: by the address that may be shown, the one to ask."""
    section = settings.providers.of(FEEDS)
    found: dict[str, str] = {}
    for one in dict.fromkeys(section.feeds if isinstance(section, RssSettings) else ()):
        shown = masked("feed", one)
        alike = sum(1 for known in found if known.split(" ")[0] == shown)  # but for their secrets
        found[f"{shown} ({alike + 1})" if alike else shown] = one
    return found


def _address(text: str, settings: Settings) -> str:
    """Raises InvalidInput for what is no address, or holds a password or a token, which a job's row would show."""
    if not isinstance(text, str) or not text.strip().isprintable() or len(text) > LONGEST_ADDRESS:
        raise InvalidInput("a feed is an address: https://example.com/feed.xml")
    address = text.strip()
    if address in _configured(settings):
        return address
    try:
        has_secret = "@" in urlsplit(address).netloc or masked("feed", address) != address
    except ValueError as exc:
        raise InvalidInput(f"{address!a:.80} is no address: https://example.com/feed.xml") from exc
    if has_secret:
        raise InvalidInput(
            "an address with a password or a token stands in the settings only, where nobody is shown it:"
            " [providers.rss] feeds, then marketjobs fetch-news"
        )
    if urlsplit(address).scheme not in ("http", "https"):
        raise InvalidInput(f"{address!a:.80} is no address of a feed: https://example.com/feed.xml")
    return address


def identity(arguments: JsonDict) -> JsonDict:
    """The order makes no other request."""
    return arguments | {name: sorted(arguments[name]) for name in ("symbols", "feeds")}


def split(arguments: JsonDict, processes: int) -> Sequence[Part]:
    """One task's worth of symbols each, and the feeds beside; none where one task has room for all."""
    symbols = arguments["symbols"]
    if len(symbols) <= BATCH_SYMBOLS:
        return []
    runs = split_runs(symbols, batch_size(len(symbols), processes))
    parts = [Part(FETCH, arguments | {"symbols": list(run), "feeds": []}) for run in runs]
    return [*parts, *([Part(FETCH, arguments | {"symbols": []})] if arguments["feeds"] else [])]


def merge(children: Sequence[Job]) -> tuple[JobState, JsonDict]:
    return merge_reports(children, _lost)


def _lost(arguments: JsonDict, name: str, failure: SymbolFailure) -> JsonDict:
    return Outcome(name, SymbolStatus.FAILED, details=News.nothing, error=failure).to_json()


def run(ctx: JobContext, arguments: JsonDict) -> JsonDict:
    """Ask for what an earlier attempt has not settled, and store it.  Safe to run twice: each story is stored once."""
    if ctx.job is None:  # a plain call: nothing has prepared its arguments
        arguments = prepare(ctx.runtime, arguments)
    settled = {one["symbol"]: one for one in ctx.settled}
    wanted = [*arguments["symbols"], *arguments["feeds"]]
    symbols, feeds = ([one for one in arguments[name] if one not in settled] for name in ("symbols", "feeds"))
    work = News(ctx, arguments["provider"], len(wanted), len(settled))
    fresh = work.run(symbols, feeds) if symbols or feeds else {}
    return collect([settled.get(one) or fresh[one] for one in wanted])


class News(Errand[NewsAnswer]):
    nothing: ClassVar[Mapping[str, Any]] = dict.fromkeys(("stories_new", "stories_changed", "stories_same"))
    then: ClassVar[Sequence[str]] = (FEEDS,)

    @staticmethod
    def need(capabilities: Capabilities) -> str | None:
        return None if capabilities.news else "has no news"

    async def ask(self, provider: Provider, one: Named, listing: Listing) -> NewsAnswer:
        etag, modified = self._last_answer(f"{provider.name} {listing.symbol}")
        return await provider.news(NewsQuery(symbol=listing.symbol, etag=etag, last_modified=modified))

    async def ask_else(self, name: str) -> tuple[str, NewsAnswer]:
        provider = self.ctx.runtime.provider(self.only or FEEDS)
        etag, modified = self._last_answer(name)
        address = _configured(self.ctx.runtime.settings).get(name, name)
        return provider.name, await provider.news(NewsQuery(feed=address, etag=etag, last_modified=modified))

    def _last_answer(self, address: str) -> tuple[str | None, str | None]:
        with self.ctx.runtime.database.read() as tx:
            return news.feed_state(tx, address)

    def store(self, tx: Transaction, ready: Sequence[Found[NewsAnswer]]) -> list[Outcome]:
        outcomes = []
        links: list[tuple[int, int]] = []
        now = time.time()
        for one in ready:
            source = bars.provider_id(tx, one.provider)
            host = feed_host(one.name) if one.listing is None else None
            written = news.upsert_many(tx, one.answer.stories, source, now, host)
            pairs, note = self._about(tx, one, written.articles)
            links += pairs
            if one.answer.etag or one.answer.last_modified:
                address = one.name if one.listing is None else f"{one.provider} {one.listing.symbol}"
                news.note_feed(tx, address, one.answer.etag, one.answer.last_modified, now)
            details = {
                "stories_new": written.new,
                "stories_changed": written.changed,
                "stories_same": written.same,
            }
            status = SymbolStatus.STORED if written.new or written.changed else SymbolStatus.UP_TO_DATE
            if not one.answer.stories and not one.answer.is_unchanged:
                status = SymbolStatus.EMPTY
            notes = "; ".join([*one.answer.notes, *([note] if note else [])]) or None
            outcomes.append(Outcome(one.name, status, one.provider, details, note=notes, asked=one.trail.asked()))
        # All at once: assets are held in one order by all who write.
        news.link(tx, links)
        return outcomes

    def _about(
        self, tx: Transaction, one: Found[NewsAnswer], articles: Sequence[int]
    ) -> tuple[list[tuple[int, int]], str | None]:
        """(asset, article) of the assets that stories name and of the one that was asked about; and what to say where
        that is not known."""
        stories = list(zip(one.answer.stories, articles, strict=True))
        named = {symbol for story, _ in stories for symbol in story.symbols}
        known = assets.known_as(tx, sorted(named), one.provider)
        pairs = [(known[symbol], article) for story, article in stories for symbol in story.symbols if symbol in known]
        note = None
        if one.listing is not None:
            about = one.named.id if one.named else 0
            if not about and one.listing.symbol in named:  # a vendor has spoken of it
                about = assets.ensure_in(tx, [one.name])[one.name]
            if about:
                pairs += [(about, article) for _, article in stories]
            elif stories:
                note = f"no story names {one.name}: they are kept, but not as its own"
        return pairs, note
