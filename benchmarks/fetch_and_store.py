"""Fetch and store of many symbols, one year daily: a job of ours against `yfinance.download` with `to_sql`.

    python benchmarks/fetch_and_store.py [--symbols 400] [--latency-ms 80] [--connections 32] [--rounds 3]

Both ask the same vendor server on loopback over plain HTTP and store into an empty SQLite file.  Ours is timed
from the job's submission to its end, in one process, all of the ledger included.
"""

from __future__ import annotations

import tempfile
import warnings

from harness import Table, environment, loopback_session, options, print_tables, rounds, seconds, vendor

OURS, PEER = "marketjobs, submission to end", "yfinance.download(threads=True) + to_sql"
CACHE = tempfile.TemporaryDirectory()  # yfinance opens its cache of zones once a process


def ours(symbols: list[str], url: str, connections: int) -> float:
    from marketjobs import config
    from marketjobs.services import jobs, watch
    from marketjobs.services.runtime import Runtime

    settings = {
        "MARKETJOBS_PROVIDERS__YAHOO__BASE_URL": url,
        "MARKETJOBS_PROVIDERS__YAHOO__MAX_CONNECTIONS": str(connections),
        "MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT": '["1000000/m"]',  # no limit, in effect
    }
    with environment(**settings):
        runtime = Runtime(config.load())
        assert runtime.database  # the schema is there before the clock starts, as the peer's empty file is

        def run() -> None:
            job = jobs.submit(runtime, "marketjobs.fetch_market_data", {"symbols": symbols, "period": "1y"})
            job = watch.follow(runtime, job.id, inline=True)
            assert job.result is not None
            assert job.state == "succeeded", job.error_message
            assert sum(one["rows_new"] for one in job.result["symbols"]) > 240 * len(symbols)

        took = seconds(run)
        runtime.close()
    return len(symbols) / took


def download(symbols: list[str], url: str, database: str = "") -> float:
    """``database``: as SQLAlchemy names it; none: an empty SQLite file."""
    import yfinance
    from sqlalchemy import create_engine, text

    yfinance.set_tz_cache_location(CACHE.name)
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(database or f"sqlite:///{folder}/peer.db")

        def run() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                session = loopback_session(url)
                frame = yfinance.download(
                    symbols, period="1y", threads=True, auto_adjust=False, progress=False, session=session
                )
                frame.stack(level=1, future_stack=True).reset_index().to_sql(
                    "downloaded", engine, index=False, if_exists="replace"
                )

        took = seconds(run)
        with engine.connect() as connection:
            count = connection.execute(text('SELECT count(*) FROM downloaded WHERE "Close" IS NOT NULL')).scalar_one()
        engine.dispose()
        assert count > 240 * len(symbols), count
    return len(symbols) / took


def main() -> None:
    chosen = options(__doc__, symbols=400, latency_ms=80.0, connections=32, rounds=3, port=8117)
    symbols = [f"BENCH{number:04d}" for number in range(chosen.symbols)]
    with vendor(chosen.port, chosen.latency_ms) as url:
        ours(symbols, url, chosen.connections)  # the vendor renders each series once
        measured = rounds(
            {OURS: lambda: ours(symbols, url, chosen.connections), PEER: lambda: download(symbols, url)}, chosen.rounds
        )
    title = f"{chosen.symbols} symbols, 1 year daily, vendor {chosen.latency_ms:g} ms, {chosen.connections} connections"
    print_tables([Table(title, "symbols/s", measured, PEER, wanted={OURS: 15.0})], as_json=chosen.json)


if __name__ == "__main__":
    main()
