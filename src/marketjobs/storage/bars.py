"""Bars and what is known of their series: coverage, gaps, events, who supplied them.  `bar_upsert` writes in bulk,
`bar_state` reads of many series at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from marketjobs.domain.bars import Action, Bar, Rejected, StoredBar
from marketjobs.domain.intervals import Interval
from marketjobs.domain.ranges import Range, merge
from marketjobs.storage.assets import lock
from marketjobs.storage.bar_upsert import Batch, Stored, upsert_many
from marketjobs.storage.database import Transaction
from marketjobs.storage.many import among, chunks, insert_many

EXTENDED = 100
"""Added to an interval's code in `bar_coverage`: asked for with pre- and post-market.

That counts as coverage of the regular hours too, and not the other way round.
"""


@dataclass(frozen=True, slots=True)
class ReadBar:
    """A bar with who supplied it and when (epoch seconds)."""

    bar: Bar
    provider: str
    fetched_at: int


def provider_id(tx: Transaction, name: str) -> int:
    row = tx.first("SELECT id FROM provider WHERE name = :name", {"name": name})
    if row is None:
        tx.run("INSERT INTO provider (name) VALUES (:name) ON CONFLICT (name) DO NOTHING", {"name": name})
        row = tx.first("SELECT id FROM provider WHERE name = :name", {"name": name})
    assert row is not None
    return int(row["id"])


def providers(tx: Transaction) -> list[str]:
    """Names of all that ever supplied a row."""
    return [row["name"] for row in tx.all("SELECT name FROM provider ORDER BY name")]


def asset_id(tx: Transaction, symbol: str) -> int | None:
    row = tx.first("SELECT id FROM asset WHERE symbol = :symbol", {"symbol": symbol})
    return None if row is None else int(row["id"])


def timezone(tx: Transaction, asset: int) -> str | None:
    """The IANA name of the zone of an asset's exchange, as far as a vendor said it."""
    row = tx.first("SELECT timezone FROM asset WHERE id = :asset", {"asset": asset})
    return None if row is None else row["timezone"]


def span(tx: Transaction, asset: int, interval: Interval) -> tuple[int | None, int | None]:
    """First and last stamp of a series: two seeks, however long it is."""
    key = {"asset": asset, "interval": interval.code}
    ends = []
    for function in ("min", "max"):
        sql = f"SELECT {function}(ts) AS ts FROM price_bar WHERE asset_id = :asset AND interval = :interval"
        row = tx.first(sql, key)
        ends.append(None if row is None else row["ts"])
    return ends[0], ends[1]


def count(tx: Transaction, asset: int, interval: Interval) -> int:
    """How many bars a series has; it walks through them."""
    row = tx.first(
        "SELECT count(*) AS bars FROM price_bar WHERE asset_id = :asset AND interval = :interval",
        {"asset": asset, "interval": interval.code},
    )
    return 0 if row is None else int(row["bars"])


def fetched_span(tx: Transaction, asset: int, interval: Interval, end: int) -> tuple[int, int] | None:
    """When the bars before a stamp were fetched, first and last (epoch seconds); ``None``: there are none."""
    row = tx.first(
        "SELECT min(fetched_at) AS first, max(fetched_at) AS last FROM price_bar"
        " WHERE asset_id = :asset AND interval = :interval AND ts < :end",
        {"asset": asset, "interval": interval.code, "end": end},
    )
    return None if row is None or row["first"] is None else (row["first"], row["last"])


def supplied_before(tx: Transaction, asset: int, interval: Interval, name: str, end: int) -> bool:
    """Did a provider supply any bar of a series before a stamp?"""
    row = tx.first(
        "SELECT 1 AS found FROM price_bar AS b JOIN provider AS p ON p.id = b.provider_id"
        " WHERE b.asset_id = :asset AND b.interval = :interval AND b.ts < :end AND p.name = :name LIMIT 1",
        {"asset": asset, "interval": interval.code, "end": end, "name": name},
    )
    return row is not None


def provider_ids(tx: Transaction) -> dict[str, int]:
    """The number of each that ever supplied a row."""
    return dict(tx.tuples("SELECT name, id FROM provider"))


def supplied_span(
    tx: Transaction, asset: int, interval: Interval, suppliers: Iterable[int], give_up_after: int
) -> tuple[int, int] | None:
    """First and last stamp of the bars of some suppliers, but for those asked for in vain so often; ``None``: there
    are none.  It walks through the series."""
    row = tx.first(
        f"""
        SELECT min(ts) AS first, max(ts) AS last FROM price_bar AS bar
        WHERE asset_id = :asset AND interval = :interval AND provider_id IN {among(suppliers)} AND NOT EXISTS (
            SELECT 1 FROM bar_gap WHERE asset_id = :asset AND interval = :interval AND ts = bar.ts AND times >= :times
        )
        """,
        {"asset": asset, "interval": interval.code, "times": give_up_after},
    )
    return None if row is None or row["first"] is None else (row["first"], row["last"])


def hand_over(
    tx: Transaction,
    asset: int,
    interval: Interval,
    stamps: Iterable[int],
    suppliers: Iterable[int],
    provider: int,
    fetched_at: int,
) -> int:
    """Bars of some suppliers that another provider now gives too become its own; how many did."""
    return tx.run_many(
        "UPDATE price_bar SET provider_id = ?, fetched_at = ?"
        f" WHERE asset_id = ? AND interval = ? AND ts = ? AND provider_id IN {among(suppliers)}",
        [(provider, fetched_at, asset, interval.code, stamp) for stamp in stamps],
    )


def coverage(tx: Transaction, asset: int, interval: Interval) -> tuple[Range, ...]:
    """Days that were asked for and answered, ascending."""
    rows = tx.all(
        "SELECT start_ts, end_ts FROM bar_coverage WHERE asset_id = :asset AND interval = :interval ORDER BY start_ts",
        {"asset": asset, "interval": interval.code},
    )
    return tuple(Range(row["start_ts"], row["end_ts"]) for row in rows)


def overlap_start(tx: Transaction, asset: int, interval: Interval, before: int, count: int) -> int | None:
    """The stamp of the ``count``-th stored bar before a stamp (or the first, if there are fewer)."""
    rows = tx.all(
        "SELECT ts FROM price_bar WHERE asset_id = :asset AND interval = :interval AND ts < :before"
        " ORDER BY ts DESC LIMIT :count",
        {"asset": asset, "interval": interval.code, "before": before, "count": count},
    )
    return rows[-1]["ts"] if rows else None


def overlap_end(tx: Transaction, asset: int, interval: Interval, start: int, count: int) -> int | None:
    """The stamp of the ``count``-th stored bar from a stamp on (or the last, if there are fewer)."""
    rows = tx.all(
        "SELECT ts FROM price_bar WHERE asset_id = :asset AND interval = :interval AND ts >= :start"
        " ORDER BY ts LIMIT :count",
        {"asset": asset, "interval": interval.code, "start": start, "count": count},
    )
    return rows[-1]["ts"] if rows else None


def stored_bars(tx: Transaction, asset: int, interval: Interval, start: int, end: int) -> list[StoredBar]:
    """Ascending by stamp, from ``start`` to ``end``, both included."""
    rows = tx.all(
        "SELECT ts, close, adj_close, provisional, provider_id FROM price_bar"
        " WHERE asset_id = :asset AND interval = :interval AND ts BETWEEN :start AND :end ORDER BY ts",
        {"asset": asset, "interval": interval.code, "start": start, "end": end},
    )
    return [
        StoredBar(row["ts"], row["close"], row["adj_close"], bool(row["provisional"]), row["provider_id"])
        for row in rows
    ]


def upsert(
    tx: Transaction, asset: int, interval: Interval, bars: Sequence[Bar], provider: int, fetched_at: int
) -> Stored:
    """Lock one series and write what is new or differs; see :func:`storage.bar_upsert.upsert_many`."""
    lock(tx, [asset])
    return upsert_many(tx, [Batch(asset, interval, bars, provider, fetched_at)])[0]


def holds_any(tx: Transaction, asset: int, interval: Interval, wanted: Range) -> bool:
    """Is any bar of a range stored?"""
    row = tx.first(
        "SELECT 1 FROM price_bar WHERE asset_id = :asset AND interval = :interval"
        " AND ts >= :start AND ts < :end LIMIT 1",
        {"asset": asset, "interval": interval.code, "start": wanted.start, "end": wanted.end},
    )
    return row is not None


def drop(tx: Transaction, asset: int, interval: Interval, stamps: Sequence[int]) -> int:
    """Delete bars that a person has given up."""
    return tx.run_many(
        "DELETE FROM price_bar WHERE asset_id = ? AND interval = ? AND ts = ?",
        [(asset, interval.code, stamp) for stamp in stamps],
    )


def drop_provisional(tx: Transaction, asset: int, interval: Interval, stamps: Sequence[int]) -> int:
    """Delete provisional bars that the vendor no longer speaks of; a final bar is never deleted."""
    return tx.run_many(
        "DELETE FROM price_bar WHERE asset_id = ? AND interval = ? AND ts = ? AND provisional = 1",
        [(asset, interval.code, stamp) for stamp in stamps],
    )


def add_coverage(tx: Transaction, asset: int, interval: Interval, known: Iterable[Range], added: Range) -> None:
    """Remember that a range was asked for and answered."""
    replace_coverage(tx, interval.code, [(asset, known, merge([*known, added]))])


def replace_coverage(
    tx: Transaction, code: int, series: Iterable[tuple[int, Iterable[Range], Iterable[Range]]]
) -> None:
    """Write what was asked for and answered, of many series: (asset, what is stored, what is right).

    ``code`` is the interval's, plus ``EXTENDED`` for extended hours.
    """
    gone, new = [], []
    for asset, before, after in series:
        gone += [(asset, code, one.start) for one in set(before) - set(after)]
        new += [(asset, code, one.start, one.end) for one in set(after) - set(before)]
    if gone:
        tx.run_many("DELETE FROM bar_coverage WHERE asset_id = ? AND interval = ? AND start_ts = ?", gone)
    if new:
        insert_many(
            tx,
            "INSERT INTO bar_coverage (asset_id, interval, start_ts, end_ts)",
            new,
            "ON CONFLICT (asset_id, interval, start_ts) DO UPDATE SET end_ts = excluded.end_ts",
        )


def note_gaps(
    tx: Transaction, asset: int, interval: Interval, bars: Sequence[Bar], rejected: Sequence[Rejected]
) -> None:
    """Remember rejected stamps, forget those that a good bar has filled."""
    key = (asset, interval.code)
    gaps = tx.tuples("SELECT ts FROM bar_gap WHERE asset_id = ? AND interval = ?", key)
    filled = {bar.ts for bar in bars} if gaps or rejected else set()
    forgotten = [(*key, ts) for (ts,) in gaps if ts in filled]
    if forgotten:
        tx.run_many("DELETE FROM bar_gap WHERE asset_id = ? AND interval = ? AND ts = ?", forgotten)
    noted = [(*key, row.ts, row.rule) for row in {row.ts: row for row in rejected}.values() if row.ts not in filled]
    if noted:
        tx.run_many(
            "INSERT INTO bar_gap (asset_id, interval, ts, rule, times) VALUES (?, ?, ?, ?, 1)"
            " ON CONFLICT (asset_id, interval, ts) DO UPDATE SET rule = excluded.rule, times = bar_gap.times + 1",
            noted,
        )


def with_gaps(tx: Transaction, asset_ids: Iterable[int], interval: Interval) -> set[int]:
    """Those of these assets whose series has rejected stamps."""
    rows = tx.tuples(
        f"SELECT DISTINCT asset_id FROM bar_gap WHERE asset_id IN {among(asset_ids)} AND interval = ?",
        (interval.code,),
    )
    return {asset for (asset,) in rows}


def actions(tx: Transaction, asset: int) -> dict[tuple[int, str], float]:
    """Stored dividends and splits: (stamp, kind) -> value."""
    rows = tx.all("SELECT ts, kind, value FROM corporate_action WHERE asset_id = :asset", {"asset": asset})
    return {(row["ts"], row["kind"]): row["value"] for row in rows}


def upsert_actions(
    tx: Transaction, found: Iterable[tuple[int, Iterable[Action]]], provider: int, fetched_at: int
) -> int:
    """Of each asset its actions.  How many were new or changed."""
    rows = {
        (asset, action.ts, action.kind): (asset, action.ts, action.kind, action.value, provider, fetched_at)
        for asset, some in found
        for action in some
    }
    return insert_many(
        tx,
        "INSERT INTO corporate_action (asset_id, ts, kind, value, provider_id, fetched_at)",
        list(rows.values()),
        "ON CONFLICT (asset_id, ts, kind) DO UPDATE SET value = excluded.value, provider_id = excluded.provider_id,"
        " fetched_at = excluded.fetched_at WHERE corporate_action.value <> excluded.value",
    )


def drop_actions(tx: Transaction, asset: int, keys: Iterable[tuple[int, str]], provider: int) -> int:
    """Delete events, (stamp, kind), that the provider who told of them has withdrawn."""
    return tx.run_many(
        "DELETE FROM corporate_action WHERE asset_id = ? AND ts = ? AND kind = ? AND provider_id = ?",
        [(asset, ts, kind, provider) for ts, kind in keys],
    )


def read(
    tx: Transaction,
    symbol: str,
    interval: Interval,
    start: int | None = None,
    end: int | None = None,
    last: int | None = None,
) -> list[ReadBar]:
    """Bars of a symbol, ascending; ``end`` is excluded; ``last`` keeps only the newest so many."""
    sql = """
        SELECT b.ts, b.open, b.high, b.low, b.close, b.adj_close, b.volume, b.provisional, p.name, b.fetched_at
        FROM price_bar AS b JOIN provider AS p ON p.id = b.provider_id
        WHERE b.asset_id = (SELECT id FROM asset WHERE symbol = :symbol) AND b.interval = :interval
          AND b.ts >= :start AND b.ts < :end ORDER BY b.ts DESC LIMIT :last
    """
    params = {
        "symbol": symbol,
        "interval": interval.code,
        "start": -(2**62) if start is None else start,
        "end": 2**62 if end is None else end,
        "last": 2**31 if last is None else last,
    }
    rows = [ReadBar(Bar._make((*row[:7], bool(row[7]))), row[8], row[9]) for row in tx.tuples(sql, params)]
    rows.reverse()
    return rows


def latest_closes(tx: Transaction, symbols: Sequence[str], interval: Interval) -> dict[str, float]:
    """The newest close of each of these symbols that has any: one seek each, however long the series are."""
    found: dict[str, float] = {}
    for part in chunks(symbols):
        rows = tx.tuples(
            f"""
            WITH wanted (symbol) AS (VALUES {", ".join(["(?)"] * len(part))})
            SELECT asset.symbol, (
                SELECT close FROM price_bar WHERE asset_id = asset.id AND interval = ? ORDER BY ts DESC LIMIT 1
            ) FROM wanted JOIN asset ON asset.symbol = wanted.symbol
            """,
            (*part, interval.code),
        )
        found.update((symbol, close) for symbol, close in rows if close is not None)
    return found


def latest(tx: Transaction) -> list[tuple[str, str, int, int]]:
    """(symbol, interval, first stamp, last stamp) of each stored series: two seeks each."""
    rows = tx.all(
        """
        SELECT a.symbol, c.interval,
               (SELECT min(ts) FROM price_bar AS b WHERE b.asset_id = a.id AND b.interval = c.interval) AS first,
               (SELECT max(ts) FROM price_bar AS b WHERE b.asset_id = a.id AND b.interval = c.interval) AS last
        FROM asset AS a JOIN (SELECT DISTINCT asset_id, interval FROM bar_coverage) AS c ON c.asset_id = a.id
        ORDER BY a.symbol, c.interval
        """
    )
    return [
        (r["symbol"], Interval.of_code(r["interval"]).value, r["first"], r["last"])
        for r in rows
        if r["first"] is not None
    ]
