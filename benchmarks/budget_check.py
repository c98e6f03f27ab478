"""CPU of one budget check, whole: the gate, its transaction, every rate.  Each rate has been used to its last call,
long ago, so that each look-up finds a row.  With PostgreSQL it is this process's CPU, not the server's.

python benchmarks/budget_check.py [--rounds 5] [--checks 100] [--server postgresql://127.0.0.1:5432/postgres] [--json]
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial

from harness import Table, Wanted, environment, options, postgres_database, print_tables, rounds
from marketjobs.domain.rates import parse_rates
from marketjobs.services.budgets import BudgetGate
from marketjobs.services.context import JobContext, current_context
from marketjobs.storage import budgets, schema
from marketjobs.storage.database import Database, open_database

RATES = {"1 rate": ["6000/m"], "3 rates": ["3000/m", "6000/h", "6000/day"]}
WEIGHTS = (1, 20)
KEYS = (1, 3)
JOB = ", as a job of many asks"
LONG_AGO_SECONDS = 40 * 86_400.0


def main() -> None:
    chosen = options(__doc__, rounds=5, checks=100, server="postgresql://127.0.0.1:5432/postgres")
    tables = []
    with environment() as home, ExitStack() as opened:
        stores = {"SQLite": f"sqlite:///{home}/bench.db"}
        if chosen.server:
            stores["PostgreSQL"] = opened.enter_context(postgres_database(chosen.server))
        for store, url in stores.items():
            database = open_database(url, durable=False)
            schema.ensure(database)
            contestants = {
                f"{rates}, weight {weight}" + (f", {keys} keys" if keys > 1 else ""): partial(
                    ms_a_check, database, rates, weight, keys, chosen.checks
                )
                for rates in RATES
                for weight in WEIGHTS
                for keys in KEYS
            }
            contestants[f"1 rate, weight 1{JOB}"] = partial(in_a_job, database, chosen.checks)
            measured = rounds(contestants, chosen.rounds)
            wanted = dict.fromkeys(contestants, Wanted(at_most=1.0, of="median"))
            tables.append(Table(f"a budget check, {store}", "ms CPU", measured, wanted=wanted))
            database.close()
    print_tables(tables, as_json=chosen.json)


def ms_a_check(database: Database, rates: str, weight: int, keys: int, checks: int) -> float:
    names = [f"key {number}" for number in range(keys)] if keys > 1 else []
    gate = BudgetGate(database, "vendor", parse_rates(RATES[rates]), 60.0, api_keys=names)
    used_up(database, gate, rates)
    checks = min(checks, 2500 // weight)
    gate.spend(weight)
    began = time.process_time()
    for _ in range(checks):
        gate.spend(weight)
    return (time.process_time() - began) / checks * 1000


def in_a_job(database: Database, checks: int) -> float:
    """A job that says how many calls it is about to make is granted some at a time."""
    ctx = JobContext(None)  # type: ignore[arg-type]  # it is asked for its calls alone
    ctx.calls_ahead = checks + 1
    mark = current_context.set(ctx)
    try:
        return ms_a_check(database, "1 rate", 1, 1, checks)
    finally:
        current_context.reset(mark)


def used_up(database: Database, gate: BudgetGate, rates: str) -> None:
    """Every rate of every key, to its last call, long ago."""
    parsed = parse_rates(RATES[rates])
    most = max(rate.calls for rate in parsed)
    for key in gate._names or ("vendor",):
        with database.write() as tx:
            tx.run("DELETE FROM provider_budget_use WHERE key = :key", {"key": key})
            tx.run("DELETE FROM provider_budget WHERE key = :key", {"key": key})
            granted = 0
            while granted < most:
                found = budgets.reserve(tx, key, (), 500, horizon_seconds=0)
                assert isinstance(found, list)
                granted += len(found)
            for table, column in (("provider_budget_use", "ts"), ("provider_budget", "last_ts")):
                tx.run(f"UPDATE {table} SET {column} = {column} - {LONG_AGO_SECONDS} WHERE key = :key", {"key": key})


if __name__ == "__main__":
    main()
