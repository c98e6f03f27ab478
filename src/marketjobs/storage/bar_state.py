"""What is known of many series at once: a handful of statements, however many symbols a job has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from marketjobs.domain.bars import StoredBar
from marketjobs.domain.intervals import Interval
from marketjobs.domain.ranges import Range
from marketjobs.storage.bars import EXTENDED
from marketjobs.storage.database import Transaction
from marketjobs.storage.many import among, chunks


@dataclass(frozen=True, slots=True)
class Series:
    """What is stored of one asset and interval.

    ``first`` and ``last`` are stamps, ``None`` when empty; ``coverage`` what was asked for and answered, ascending,
    and ``extended`` the same with pre- and post-market; ``gaps`` are stamps to be asked for again.
    """

    first: int | None = None
    last: int | None = None
    coverage: tuple[Range, ...] = ()
    extended: tuple[Range, ...] = ()
    gaps: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """An asset with one of its series, who supplied bars of it (in any interval), and its dividends and splits:
    (stamp, kind) -> value."""

    asset: int
    symbol: str
    timezone: str | None
    series: Series
    suppliers: tuple[str, ...]
    actions: dict[tuple[int, str], float]


def known(tx: Transaction, symbols: Sequence[str], interval: Interval, give_up_after: int) -> dict[str, Known]:
    """Those of these symbols that are assets; a gap rejected ``give_up_after`` times is no longer asked for."""
    found: dict[str, Known] = {}
    for part in chunks(symbols):
        found |= _known(tx, part, interval, give_up_after)
    return found


def _known(tx: Transaction, symbols: Sequence[str], interval: Interval, give_up_after: int) -> dict[str, Known]:
    marks = ", ".join("?" * len(symbols))
    rows = tx.tuples(f"SELECT id, symbol, timezone FROM asset WHERE symbol IN ({marks})", tuple(symbols))
    ids = [asset for asset, _, _ in rows]
    if not ids:
        return {}
    chosen, code = among(ids), interval.code
    regular: dict[int, list[Range]] = {asset: [] for asset in ids}
    extended: dict[int, list[Range]] = {asset: [] for asset in ids}
    for asset, of, start, end in tx.tuples(
        f"SELECT asset_id, interval, start_ts, end_ts FROM bar_coverage WHERE asset_id IN {chosen}"
        " AND interval IN (?, ?) ORDER BY start_ts",
        (code, code + EXTENDED),
    ):
        (regular if of == code else extended)[asset].append(Range(start, end))
    gaps: dict[int, list[int]] = {asset: [] for asset in ids}
    for asset, stamp in tx.tuples(
        f"SELECT asset_id, ts FROM bar_gap WHERE asset_id IN {chosen} AND interval = ? AND times < ? ORDER BY ts",
        (code, give_up_after),
    ):
        gaps[asset].append(stamp)
    actions: dict[int, dict[tuple[int, str], float]] = {asset: {} for asset in ids}
    for asset, stamp, kind, value in tx.tuples(
        f"SELECT asset_id, ts, kind, value FROM corporate_action WHERE asset_id IN {chosen}"
    ):
        actions[asset][stamp, kind] = value
    supplied = suppliers(tx, ids)
    ends = spans(tx, ids, interval)
    return {
        symbol: Known(
            asset,
            symbol,
            timezone,
            Series(*ends[asset], tuple(regular[asset]), tuple(extended[asset]), tuple(gaps[asset])),
            supplied[asset],
            actions[asset],
        )
        for asset, symbol, timezone in rows
    }


def spans(tx: Transaction, ids: Iterable[int], interval: Interval) -> dict[int, tuple[int | None, int | None]]:
    """First and last stamp of the series of each asset: two seeks each, however long they are."""
    found: dict[int, tuple[int | None, int | None]] = dict.fromkeys(ids, (None, None))
    for part in chunks(list(found)):
        rows = tx.tuples(
            f"""
            SELECT id, (SELECT min(ts) FROM price_bar WHERE asset_id = asset.id AND interval = ?),
                       (SELECT max(ts) FROM price_bar WHERE asset_id = asset.id AND interval = ?)
            FROM asset WHERE id IN {among(part)}
            """,
            (interval.code, interval.code),
        )
        found.update((asset, (first, last)) for asset, first, last in rows)
    return found


def suppliers(tx: Transaction, ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Who supplied bars of each asset, in any interval, by name."""
    found: dict[int, tuple[str, ...]] = dict.fromkeys(ids, ())
    for part in chunks(ids):
        for asset, name in tx.tuples(
            "SELECT s.asset_id, p.name FROM bar_supplier AS s JOIN provider AS p ON p.id = s.provider_id"
            f" WHERE s.asset_id IN {among(part)} ORDER BY p.name"
        ):
            found[asset] += (name,)
    return found


def stored_parts(
    tx: Transaction, interval: Interval, parts: Sequence[tuple[int, int, int]]
) -> Iterator[list[StoredBar]]:
    """For each part (asset, first, last stamp) what is stored from first to last, ascending."""
    for some in chunks(parts):
        found: list[list[StoredBar]] = [[] for _ in some]
        # Whole numbers all of them: nothing to bind, and any number of them fits.
        values = ", ".join(f"({number}, {asset}, {a}, {b})" for number, (asset, a, b) in enumerate(some))
        for number, stamp, close, adj_close, provisional, provider in tx.tuples(
            f"""
            WITH part (number, asset, a, b) AS (VALUES {values})
            SELECT part.number, bar.ts, bar.close, bar.adj_close, bar.provisional, bar.provider_id
            FROM part JOIN price_bar AS bar ON bar.asset_id = part.asset AND bar.interval = {interval.code}
                                           AND bar.ts BETWEEN part.a AND part.b
            ORDER BY part.number, bar.ts
            """
        ):
            found[number].append(StoredBar(stamp, close, adj_close, bool(provisional), provider))
        yield from found
