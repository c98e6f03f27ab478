"""How the store grows: the rate of upserts, bytes a row after re-fetches, and the latest closes, by number of bars.

    python benchmarks/store_growth.py [--bars 1250000] [--assets 500] [--server ''] [--rounds 3] [--json]

The store is filled the way fetches do it: a turn brings each asset its next 100 bars, sixteen assets to a
transaction, in an order drawn anew each turn.  The rate is that of the last turns before each size.  Then everything
is fetched again three times: twice with nothing new, once with each asset's last bar changed.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness import Table, Wanted, options, postgres_database, print_tables, rounds
from marketjobs.domain.bars import Bar
from marketjobs.domain.intervals import DAY_SECONDS, Interval
from marketjobs.storage import bars
from marketjobs.storage.bar_upsert import Batch
from marketjobs.storage.database import Transaction
from upserts import SERVER, Store, ours

BARS_A_TURN = 100
SMALLEST = 100_000
MEASURED_TURNS = 2
GROUP_BY = """
SELECT asset_id, close FROM price_bar JOIN (
    SELECT asset_id, max(ts) AS ts FROM price_bar WHERE interval = {code} GROUP BY asset_id
) AS newest USING (asset_id, ts) WHERE interval = {code}
"""


class Growing:
    """A store that grows turn by turn."""

    def __init__(self, url: str, assets: int) -> None:
        self.store, self.assets, self.turns = Store(url, assets), assets, 0
        self._draw = random.Random(1)

    @property
    def bars(self) -> int:
        return self.turns * BARS_A_TURN * self.assets

    def turn(self, number: int) -> list[Batch]:
        """What all assets bring in a turn."""
        draw = random.Random(number).random
        batches = []
        for asset in range(1, self.assets + 1):
            series = []
            for at in range(number * BARS_A_TURN, (number + 1) * BARS_A_TURN):
                price = 50 + 100 * draw()
                series.append(Bar(at * 60, price, price * 1.01, price * 0.99, price, price * 0.9, 1e6 * draw() // 1))
            batches.append(Batch(asset, Interval.MINUTE_1, series, 1, 1_700_000_000 + number * DAY_SECONDS))
        return batches

    def grow(self) -> float:
        """One turn more; rows per CPU second."""
        batches = self.turn(self.turns)
        self._draw.shuffle(batches)
        run = ours(self.store.database, batches)
        began = self.store.cpu()
        run()
        self.turns += 1
        return self.assets * BARS_A_TURN / (self.store.cpu() - began)

    def fetch_again(self, *, changed: bool) -> None:
        for number in range(self.turns):
            batches = self.turn(number)
            if changed:
                batches = [replace(one, bars=[*one.bars[:-1], _other(one.bars[-1])]) for one in batches]
            ours(self.store.database, batches)()


def _other(bar: Bar) -> Bar:
    return bar._replace(close=bar.open * 1.005)


def bytes_a_row(growing: Growing) -> dict[str, list[float]]:
    """Of the file, which is little else than bars; on a server of the table, and what its key's index adds to it."""
    database = growing.store.database
    if database.dialect != "sqlite":
        with database.read() as tx:
            [(table, whole)] = tx.tuples("SELECT pg_relation_size('price_bar'), pg_total_relation_size('price_bar')")
        return {"the table": [table / growing.bars], "with its key's index": [whole / growing.bars]}
    connection = database.driver_connection()
    sizes = []
    for statement in ("PRAGMA wal_checkpoint", "VACUUM"):
        connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sizes.append(Path(database.label).stat().st_size / growing.bars)
    connection.close()
    return {"the file": sizes[:1], "after VACUUM": sizes[1:]}


def latest_closes(tx: Transaction, assets: int) -> int:
    return len(bars.latest_closes(tx, [f"BENCH{one}" for one in range(1, assets + 1)], Interval.MINUTE_1))


def latest_one_by_one(tx: Transaction, assets: int) -> int:
    """A statement for each symbol."""
    found = [bars.read(tx, f"BENCH{one}", Interval.MINUTE_1, last=1) for one in range(1, assets + 1)]
    return sum(len(one) for one in found)


def latest_by_group(tx: Transaction, assets: int) -> int:
    if tx.dialect != "sqlite":
        tx.run("SET LOCAL max_parallel_workers_per_gather = 0")  # whose CPU we would not see
    return len(tx.tuples(GROUP_BY.format(code=Interval.MINUTE_1.code)))


def cost(growing: Growing, ask: Callable[[Transaction, int], int]) -> float:
    """CPU milliseconds of the latest closes of all assets."""
    repeat = 0
    began = growing.store.cpu()
    while (took := growing.store.cpu() - began) < 0.2 or repeat == 0:  # a server's CPU is told in hundredths
        with growing.store.database.read() as tx:
            assert ask(tx, growing.assets) == growing.assets
        repeat += 1
    return took / repeat * 1000


def measured(url: str, name: str, assets: int, most: int, count: int, most_bytes: float) -> list[Table]:
    growing = Growing(url, assets)
    rates: dict[str, list[float]] = {}
    size = SMALLEST
    while size <= most:
        took: list[float] = []
        while growing.bars < size or len(took) < MEASURED_TURNS:
            began = time.perf_counter()
            took.append(growing.grow())
            print(f"  {name}: {growing.bars:,} bars, {time.perf_counter() - began:.1f} s", flush=True, file=sys.stderr)
        rates[f"{size:,} bars"] = took[-MEASURED_TURNS:]
        size *= 10
    while growing.bars < most:
        growing.grow()
    # What is promised is said of the largest size beside a tenth of it.
    *_, before, last = rates
    wanted = {last: 0.85}
    ways = {"marketjobs": latest_closes, "symbol by symbol": latest_one_by_one, "GROUP BY": latest_by_group}
    asked = rounds({way: partial(cost, growing, ask) for way, ask in ways.items()}, count)
    for changed in (False, False, True):
        growing.fetch_again(changed=changed)
    kept = bytes_a_row(growing)
    small = {next(iter(kept)): Wanted(at_most=most_bytes, of="median")}
    title = f"{name}: latest closes of {assets} symbols, {growing.bars:,} bars"
    return [
        Table(f"{name}: upserts while it grows", "rows/CPU s", rates, before, wanted=wanted, growth=True),
        Table(title, "CPU ms", asked, "GROUP BY", more_is_better=False, wanted={"marketjobs": 100.0}),
        Table(f"{name}: after three re-fetches", "bytes a row", kept, wanted=small),
    ]


def main() -> None:
    chosen = options(__doc__, bars=1_250_000, assets=500, rounds=3, server=SERVER)
    with tempfile.TemporaryDirectory() as folder:
        tables = measured(f"sqlite:///{folder}/bench.db", "SQLite", chosen.assets, chosen.bars, chosen.rounds, 65)
    if chosen.server:
        with postgres_database(chosen.server) as url:
            tables += measured(url, "PostgreSQL", chosen.assets, chosen.bars, chosen.rounds, 120)
    print_tables(tables, as_json=chosen.json)


if __name__ == "__main__":
    main()
