"""Coins: years of one pair's minutes, days of many pairs, quotes of many, against what a bare client needs for it.

    python benchmarks/coins.py [--days 1096] [--pairs 500] [--latency-ms 80] [--connections 8] [--rounds 3]

Ours is the provider, rows in columns, ready to be checked; once with a budget that costs nothing, and once with the
real one, in SQLite and without a limit that is ever reached.  The bare client is one AsyncSession of curl_cffi that
sends the same requests and parses the JSON, and does no more.  Neither stores anything.  The server is the tests' own,
in a process of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from harness import TESTS, Table, Wanted, environment, options, print_tables, rounds, vendor
from marketjobs import config
from marketjobs.domain.assets import Listing
from marketjobs.domain.bars import BarQuery
from marketjobs.domain.intervals import DAY_SECONDS, Interval
from marketjobs.domain.ranges import Range
from marketjobs.providers.base import Connection, Grant, Provider, provider_class
from marketjobs.providers.binance_answers import ROWS_A_PAGE, SENT_AS, pages
from marketjobs.services import loop
from marketjobs.services.runtime import Runtime

OURS, BUDGETED, BARE = "marketjobs", "marketjobs, budget in SQLite", "curl_cffi and orjson"
IDEAL = "connections / latency"
MOST_CPU, LEAST_SHARE = 1.5, 0.7
QUOTED = 500
END = int(time.time()) // DAY_SECONDS * DAY_SECONDS - DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Chosen:
    connections: int
    latency_ms: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Took:
    """A run's requests, and the seconds and CPU seconds that they took."""

    requests: int
    seconds: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.requests / self.seconds:.0f} requests/s, {1000 * self.cpu / self.requests:.2f} ms of CPU each"


def timed(requests: int, run: Callable[[], None]) -> Took:
    began, cpu = time.perf_counter(), time.process_time()
    run()
    return Took(requests, time.perf_counter() - began, time.process_time() - cpu)


def asked(query: BarQuery) -> list[tuple[int, int]]:
    return pages(query.interval, query.range.start, query.range.end)


def ours(queries: list[BarQuery], provider: Provider) -> Took:
    counts: list[int] = []

    async def ask() -> None:
        counts.extend(len(answer.rows) for answer in await asyncio.gather(*map(provider.bars, queries)))

    loop.run(provider.probe())  # the first connection, the imports, the store
    took = timed(sum(len(asked(query)) for query in queries), lambda: loop.run(ask()))
    provider.close()
    assert sum(counts) == sum(rows_of(query) for query in queries), "rows are missing"
    return took


def unlimited(url: str, connections: int) -> Provider:
    gate = CountingGate()
    return provider_class("binance")(Connection(gate, url, max_connections=connections, cache_folder=Path()))


def budgeted(queries: list[BarQuery], url: str, connections: int) -> Took:
    settings = {
        "MARKETJOBS_PROVIDERS__BINANCE__BASE_URL": url,
        "MARKETJOBS_PROVIDERS__BINANCE__MAX_CONNECTIONS": str(connections),
        "MARKETJOBS_PROVIDERS__BINANCE__RATE_LIMIT": '["1000000/m"]',  # no limit, in effect
    }
    with environment(**settings):
        runtime = Runtime(config.load(), durable=False)  # as a worker's
        try:
            return ours(queries, runtime.provider("binance"))
        finally:
            runtime.close()


def rows_of(query: BarQuery) -> int:
    return (query.range.end - query.range.start) // query.interval.seconds


def bare(queries: list[BarQuery], url: str, connections: int) -> Took:
    from curl_cffi.requests import AsyncSession

    wanted = [(query, start, end) for query in queries for start, end in asked(query)]

    async def ask() -> int:
        places = asyncio.Semaphore(connections)
        async with AsyncSession(max_clients=connections) as session:

            async def one(query: BarQuery, start: int, end: int) -> int:
                parameters = {
                    "symbol": query.symbol,
                    "interval": SENT_AS[query.interval],
                    "startTime": str(start * 1000),
                    "endTime": str(end * 1000 - 1),
                    "limit": str(ROWS_A_PAGE),
                }
                async with places:
                    answer = await session.get(f"{url}/api/v3/klines", params=parameters)
                return len(orjson.loads(answer.content))

            return sum(await asyncio.gather(*(one(*each) for each in wanted)))

    counted = 0

    def run() -> None:
        nonlocal counted
        counted = asyncio.run(ask())

    took = timed(len(wanted), run)
    assert counted == sum(rows_of(query) for query in queries), "rows are missing"
    return took


def compared(title: str, queries: list[BarQuery], url: str, chosen: Chosen) -> list[Table]:
    bare(queries, url, chosen.connections)  # the vendor renders each page once
    measured = rounds(
        {
            OURS: lambda: ours(queries, unlimited(url, chosen.connections)),
            BUDGETED: lambda: budgeted(queries, url, chosen.connections),
            BARE: lambda: bare(queries, url, chosen.connections),
        },
        chosen.rounds,
    )
    speed = {name: [took.requests / took.seconds for took in runs] for name, runs in measured.items()}
    cpu = {name: [1000 * took.cpu / took.requests for took in runs] for name, runs in measured.items()}
    ideal = chosen.connections / (chosen.latency_ms / 1000)
    about = f"{title}, vendor {chosen.latency_ms:g} ms, {chosen.connections} connections"
    return [
        Table(about, "requests/s", {**speed, IDEAL: [ideal] * chosen.rounds}, IDEAL, wanted={OURS: LEAST_SHARE}),
        Table(
            f"CPU of {title}",
            "ms a request",
            cpu,
            BARE,
            more_is_better=False,
            wanted={OURS: Wanted(at_least=round(1 / MOST_CPU, 3))},
        ),
    ]


class CountingGate:
    """A budget without a limit that counts."""

    def __init__(self) -> None:
        self.spent = 0

    def spend(self, weight: int = 1, *, part: str = "") -> Grant:
        self.spent += 1
        return Grant("key")

    def hold(
        self,
        why: str,
        seconds: float | None = None,
        *,
        grant: Grant | None = None,
        until_reset: bool = False,
        cause: str = "",
    ) -> float:
        raise AssertionError(why)

    def passed(self, grant: Grant | None = None) -> None:
        pass

    def failed(self, why: str) -> None:
        raise AssertionError(why)

    def sent(self, grant: Grant, at: float) -> None:
        pass

    def unused(self, grant: Grant) -> None:
        pass

    def used(self, calls: int, window_seconds: int, *, grant: Grant | None = None) -> None:
        pass


async def quoted(provider: Provider, batches: list[list[Listing]]) -> int:
    return sum(len(found) for found in await asyncio.gather(*map(provider.quotes, batches)))


def quotes(url: str) -> Table:
    """Of 500 coins at each vendor: no more requests than its batches make necessary."""
    listings = {
        "binance": [Listing(f"C{number:04d}USDT", "USDT") for number in range(QUOTED)],
        "coingecko": [Listing(f"coin-{number}", "USD") for number in range(QUOTED)],
        "coinmarketcap": [Listing(str(40_000 + number), "USD") for number in range(QUOTED)],
    }
    measured, wanted = {}, {}
    for name, wished in listings.items():
        gate = CountingGate()
        provider = provider_class(name)(Connection(gate=gate, base_url=url, cache_folder=Path()))
        batch = provider.capabilities.quotes
        batches = [wished[start : start + batch] for start in range(0, QUOTED, batch)]
        assert asyncio.run(quoted(provider, batches)) == QUOTED
        provider.close()
        measured[name] = [float(gate.spent)]
        wanted[name] = Wanted(at_most=float(len(batches)), of="median")
    return Table(f"Quotes of {QUOTED} coins", "requests", measured, more_is_better=False, wanted=wanted)


def main() -> None:
    given = options(__doc__, days=1096, pairs=500, latency_ms=80.0, connections=8, rounds=3, port=8119)
    chosen = Chosen(given.connections, given.latency_ms, given.rounds)
    minutes = [BarQuery("BTCUSDT", Interval.MINUTE_1, Range(END - given.days * DAY_SECONDS, END), whole=True)]
    year = Range(END - 365 * DAY_SECONDS, END)
    daily = [BarQuery(f"C{number:04d}USDT", Interval.DAY_1, year) for number in range(given.pairs)]
    with vendor(given.port, given.latency_ms, TESTS / "coin_vendor.py") as url:
        tables = [
            *compared(f"{given.days} days of 1-minute bars of one pair", minutes, url, chosen),
            *compared(f"{given.pairs} pairs, 1 year daily", daily, url, chosen),
            quotes(url),
        ]
    print_tables(tables, as_json=given.json)


if __name__ == "__main__":
    main()
