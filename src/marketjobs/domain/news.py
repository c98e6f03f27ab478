"""A story, and what makes two of them the same."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

DAY_SECONDS = 86_400
LEAST_UNIQUE = 16
"""A shorter guid (``1``, ``post-7``) is a feed's own, and means another story elsewhere."""
_TRACKING = re.compile(
    r"utm_.*|[a-z]*clid|mc_[ce]id|igshid|_hs.*|\.?tsrc|ncid|cmp(id)?|guc(counter|e_.*)|soc_(src|trk)|mod|ref(erer)?"
)


@dataclass(frozen=True, slots=True)
class Story:
    """A story as a feed or a vendor tells it: plain text, no markup.

    ``published_at`` in epoch seconds, ``None``: it has no date that can be read; ``symbols`` are the vendor's own,
    where it says which assets a story is about; ``guid`` is the feed's name for it.
    """

    title: str
    url: str | None = None
    guid: str | None = None
    summary: str | None = None
    source: str | None = None
    published_at: float | None = None
    symbols: tuple[str, ...] = ()


def names(story: Story, shared: Collection[str] = ()) -> tuple[str, ...]:
    """What a story is known by, first what counts most: its guid, its address without what only tells where a reader
    came from; of one that has neither its title and day (of a story without a date: any).

    Args:
        shared: addresses that name no story (:func:`shared_links`), as a site's front page never does.
    """
    link = canonical_link(story.url) if story.url else ""
    host, page, _ = link.partition("/")
    found = []
    if story.guid:
        home = host or story.source or ""
        found.append(f"guid:{home if len(story.guid) < LEAST_UNIQUE else ''}:{story.guid}")
    if (page or "?" in link) and link not in shared:
        found.append(f"link:{link}")
    if not found:
        day = "" if story.published_at is None else int(story.published_at // DAY_SECONDS)
        found.append(f"title:{' '.join(story.title.casefold().split())}:{day}")
    return tuple(found)


def shared_links(stories: Iterable[Story]) -> set[str]:
    """Addresses that stories of one answer have in common although they differ in title and guid (a live blog's)."""
    first: dict[str, Story] = {}
    shared = set()
    for story in stories:
        link = canonical_link(story.url) if story.url else ""
        known = first.setdefault(link, story)
        if known.title != story.title and (story.guid is None or story.guid != known.guid):
            shared.add(link)
    return shared


def canonical_link(url: str) -> str:
    """An address as far as it names a page: without scheme, ``www.``, fragment, and parameters that follow readers."""
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").removeprefix("www."), parts.port
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return url.strip()
    kept = urlencode([(name, value) for name, value in query if not _TRACKING.fullmatch(name.lower())])
    shown = f":{port}" if port not in (None, 80, 443) else ""
    return f"{host}{shown}{parts.path.rstrip('/')}" + (f"?{kept}" if kept else "")


def feed_host(address: str) -> str:
    """Whose word a feed's stories are."""
    return canonical_link(address).partition("/")[0].partition("?")[0]


@dataclass(frozen=True, slots=True)
class NewsQuery:
    """What stories are asked for: of one feed (``feed``, an address), or about one asset (``symbol``, as the vendor
    spells it).  ``etag`` and ``last_modified``: what the last answer to the same question said, word by word."""

    symbol: str | None = None
    feed: str | None = None
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class NewsAnswer:
    """Stories in the order given, each once; ``is_unchanged``: the vendor says that there is nothing new.

    ``notes``: what was cut or left out, in words for people.
    """

    stories: list[Story] = field(default_factory=list)
    is_unchanged: bool = False
    etag: str | None = None
    last_modified: str | None = None
    notes: tuple[str, ...] = ()
