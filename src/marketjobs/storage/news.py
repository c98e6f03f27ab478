"""Stories: each once, whoever tells it; edits replace what was told before.

What a story is known by stands in `news_name` (its guid, its address ...): any of them finds it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marketjobs.domain.news import Story, names, shared_links
from marketjobs.storage.database import Transaction
from marketjobs.storage.many import among, chunks, insert_many

_TOLD = ("guid", "url", "title", "summary", "source")


@dataclass(slots=True)
class Written:
    """How stories went; ``articles``: their ids, in the order of the stories."""

    new: int = 0
    changed: int = 0
    same: int = 0
    articles: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadStory:
    """A stored story.  Instants are epoch seconds; ``is_dated``: the vendor said when it was published."""

    id: int
    title: str
    url: str | None
    summary: str | None
    source: str | None
    published_at: float
    is_dated: bool
    provider: str
    symbols: tuple[str, ...] = ()


def upsert_many(
    tx: Transaction, stories: Sequence[Story], provider: int, now: float, feed_host: str | None = None
) -> Written:
    """Store stories that one vendor told together, or a feed on ``feed_host``.

    A story that was told before is edited by who told it first only: two tellings of one story would replace each
    other for ever, and anybody's feed can repeat a guid.  A vendor fills in what another's lacks, a feed does not.
    """
    if stories:
        _lock(tx)
    shared = shared_links(stories)
    names_of = [names(story, shared) for story in stories]
    known = _articles(tx, {name for called in names_of for name in called})
    fresh: list[tuple[Any, ...]] = []
    fresh_by_name: dict[str, int] = {}
    articles: list[int | None] = []  # None: among the fresh, by its place there
    places: list[int] = []
    for story, called in zip(stories, names_of, strict=True):
        articles.append(next((known[name] for name in called if name in known), None))
        place = next((fresh_by_name[name] for name in called if name in fresh_by_name), len(fresh))
        places.append(place)
        if articles[-1] is not None:
            continue
        fresh_by_name |= dict.fromkeys(called, place)
        if place == len(fresh):
            dated = (now, 0) if story.published_at is None else (story.published_at, 1)
            told = (getattr(story, name) for name in _TOLD)
            fresh.append((called[0], *told, *dated, provider, feed_host, now, now))
    insert_many(
        tx,
        f"INSERT INTO news_article (identity, {', '.join(_TOLD)}, published_at, is_dated, provider_id, feed_host,"
        " first_seen_at, updated_at)",
        fresh,
        "ON CONFLICT (identity) DO NOTHING",
    )
    made = _made(tx, [row[0] for row in fresh])
    ids = tuple(
        made[fresh[place][0]] if article is None else article for article, place in zip(articles, places, strict=True)
    )
    _name(tx, zip(names_of, ids, strict=True))
    told_again = {article: story for story, article in zip(stories, articles, strict=True) if article is not None}
    changed = _edited(tx, told_again, (provider, feed_host), now)
    return Written(len(fresh), changed, len(told_again) - changed, ids)


def _lock(tx: Transaction) -> None:
    """Let one transaction write stories at a time: many tell the same ones, each in an order of its own, and two would
    wait for each other in a ring."""
    tx.run(
        "INSERT INTO news_feed (address, fetched_at) VALUES ('', 0)"
        " ON CONFLICT (address) DO UPDATE SET fetched_at = excluded.fetched_at"
    )


def _articles(tx: Transaction, wanted: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in chunks(sorted(wanted)):
        marks = ", ".join("?" * len(part))
        found.update(tx.tuples(f"SELECT name, article_id FROM news_name WHERE name IN ({marks})", tuple(part)))
    return found


def _made(tx: Transaction, identities: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in chunks(identities):
        marks = ", ".join("?" * len(part))
        found.update(tx.tuples(f"SELECT identity, id FROM news_article WHERE identity IN ({marks})", tuple(part)))
    return found


def _name(tx: Transaction, articles: Iterable[tuple[Sequence[str], int]]) -> None:
    rows = {name: (name, article) for called, article in articles for name in called}
    insert_many(tx, "INSERT INTO news_name (name, article_id)", list(rows.values()), "ON CONFLICT (name) DO NOTHING")


def _edited(tx: Transaction, told: Mapping[int, Story], teller: tuple[int, str | None], now: float) -> int:
    """Write what is told otherwise than before, by article; of how many.  ``teller``: provider, and host of a feed."""
    rows = []
    for part in chunks(sorted(told)):
        for article, supplier, host, at, is_dated, *before in tx.tuples(
            f"SELECT id, provider_id, feed_host, published_at, is_dated, {', '.join(_TOLD)} FROM news_article"
            f" WHERE id IN {among(part)}"
        ):
            is_its_own = (supplier, host) == teller
            if not is_its_own and teller[1] is not None:
                continue
            story = told[article]
            given = [getattr(story, name) for name in _TOLD]
            if is_its_own:
                after = [new if new is not None else old for new, old in zip(given, before, strict=True)]
            else:
                after = [old if old is not None else new for new, old in zip(given, before, strict=True)]
            dated = (at, is_dated)
            if story.published_at is not None and (is_its_own or not is_dated):
                dated = (story.published_at, 1)
            if after != before or dated != (at, is_dated):
                rows.append((*after, *dated, now, article))
    sets = ", ".join(f"{name} = ?" for name in (*_TOLD, "published_at", "is_dated", "updated_at"))
    if rows:
        tx.run_many(f"UPDATE news_article SET {sets} WHERE id = ?", rows)
    return len(rows)


def link(tx: Transaction, pairs: Iterable[tuple[int, int]]) -> None:
    """Stories are about assets: (asset, article)."""
    rows = sorted(set(pairs))
    insert_many(tx, "INSERT INTO news_asset (asset_id, article_id)", rows, "ON CONFLICT DO NOTHING")


def feed_state(tx: Transaction, address: str) -> tuple[str | None, str | None]:
    """What the last answer said: its ETag, and when it was last modified."""
    row = tx.first("SELECT etag, last_modified FROM news_feed WHERE address = :address", {"address": address})
    return (None, None) if row is None else (row["etag"], row["last_modified"])


def note_feed(tx: Transaction, address: str, etag: str | None, last_modified: str | None, now: float) -> None:
    tx.run(
        "INSERT INTO news_feed (address, etag, last_modified, fetched_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (address) DO UPDATE SET etag = excluded.etag, last_modified = excluded.last_modified,"
        " fetched_at = excluded.fetched_at",
        (address, etag, last_modified, now),
    )


def count(tx: Transaction, asset: int) -> int:
    """How many stories are about an asset."""
    row = tx.first("SELECT count(*) AS stories FROM news_asset WHERE asset_id = :asset", {"asset": asset})
    return 0 if row is None else int(row["stories"])


def read(tx: Transaction, asset: int | None = None, last: int = 20) -> list[ReadStory]:
    """The newest first; ``asset``: only those about it."""
    about = "" if asset is None else " WHERE n.id IN (SELECT article_id FROM news_asset WHERE asset_id = :asset)"
    rows = tx.tuples(
        "SELECT n.id, n.title, n.url, n.summary, n.source, n.published_at, n.is_dated, p.name FROM news_article AS n"
        f" JOIN provider AS p ON p.id = n.provider_id{about} ORDER BY n.published_at DESC, n.id DESC LIMIT :last",
        {"asset": asset, "last": last} if asset is not None else {"last": last},
    )
    symbols: dict[int, list[str]] = {}
    for article, symbol in tx.tuples(
        "SELECT l.article_id, a.symbol FROM news_asset AS l JOIN asset AS a ON a.id = l.asset_id"
        f" WHERE l.article_id IN {among(row[0] for row in rows)} ORDER BY a.symbol"
    ):
        symbols.setdefault(article, []).append(symbol)
    return [
        ReadStory(id_, title, url, summary, source, at, bool(is_dated), provider, tuple(symbols.get(id_, ())))
        for id_, title, url, summary, source, at, is_dated, provider in rows
    ]
