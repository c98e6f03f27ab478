"""An hour of jobs with a fault each minute: `python tests/faults/soak.py --minutes 60 --rate 10`.

Two workers, servers of its own, a client that hands in jobs of all kinds.  Kills fall on either worker's processes, but
the first worker's main process is left alone, so that whatever leaks there has the whole time for it.  At the end
all is final, the audit is clean, no process has grown by ten per cent and none holds more files than at first: exit 0,
else 1.  A minute can be made shorter for a trial (``--minute 10``).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.audit import audit
from faults.soak_client import ATTEMPTS, ENDS, UNKNOWN
from faults.soak_samples import Growth, Samples
from postgres import PostgresServer
from processes import FINAL, TESTS, Machine, RedisServer, Running, eventually, kill, machine_of
from rabbit import RabbitServer
from vendor import Vendor

BROKERS, STORES = ("embedded", "redis", "rabbitmq"), ("sqlite", "postgresql")
CONCURRENCY = 2
FREEZE_SECONDS = 10.0
LOCK_SECONDS = 8.0
AT_THE_END_SECONDS = 300.0
CONNECTIONS = 60
KEEP_ALL = {"MARKETJOBS_RETENTION__JOBS_KEPT": "0", "MARKETJOBS_RETENTION__JOBS_DAYS": "0"}
WORKERS = ("supervisor", "main", "pool", "reaper")


class Broker(Protocol):
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...


@dataclass
class Servers:
    """What the soak may break; ``None``: there is no such process."""

    variables: dict[str, str] = field(default_factory=dict)
    broker: Broker | None = None
    store: PostgresServer | None = None
    empty_broker: Callable[[], object] = lambda: None


@contextmanager
def servers_of(broker: str, store: str, root: Path) -> Iterator[Servers]:
    made = Servers()
    with ExitStack() as stack:
        if store == "postgresql":
            root.chmod(0o755)  # another user's server lives in there
            made.store = PostgresServer(root / "postgresql", CONNECTIONS)
            made.store.start()
            stack.callback(made.store.stop)
            made.variables["MARKETJOBS_DATABASE__URL"] = made.store.new_database()
        if broker == "redis":
            redis = RedisServer(root / "redis")
            redis.start()
            stack.callback(redis.kill)
            made.broker, made.variables["MARKETJOBS_BROKER__URL"] = redis, redis.url
            made.empty_broker = lambda: redis.ask("FLUSHALL")
        if broker == "rabbitmq":
            rabbit = stack.enter_context(closing(RabbitServer(root / "rabbitmq")))
            rabbit.start()
            url = rabbit.new_vhost()
            made.broker, made.variables["MARKETJOBS_BROKER__URL"] = rabbit, url
            made.empty_broker = lambda: [
                rabbit.ctl("purge_queue", "-p", url.rpartition("/")[2], name) for name in rabbit.messages(url)
            ]
        yield made


class Soak:
    """The machine under load, and what may happen to it."""

    def __init__(self, machine: Machine, vendor: Vendor, servers: Servers, rate: float, seed: int) -> None:
        self.machine = machine
        self._vendor = vendor
        self._servers = servers
        self._rate = rate
        self._random = random.Random(seed)
        self._seed = seed * 1000
        self.ledger = machine.root / "submitted"
        self.ledger.touch()
        self.workers = [machine.test_worker(CONCURRENCY) for _ in range(2)]
        self.client = self._new_client()
        self.restarts = Counter[str]()
        self.samples = Samples()
        self._deck: list[Callable[[], str]] = []

    def _new_client(self) -> Running:
        self._seed += 1
        arguments = ("-m", "faults.soak_client", str(self._rate), str(self._seed), str(self.ledger))
        return self.machine.start_any(sys.executable, *arguments, PYTHONPATH=str(TESTS))

    def keep_running(self) -> None:
        """What an init system does."""
        self.keep_workers()
        if not self.client.runs:
            self.restarts["client"] += 1
            self.client = self._new_client()

    def keep_workers(self) -> None:
        for number, worker in enumerate(self.workers):
            if not worker.runs:
                self.restarts["worker"] += 1
                self.workers[number] = self.machine.test_worker(CONCURRENCY)

    def look(self) -> tuple[int, int]:
        """Note memory and open files; the workers' memory in megabytes, and how many files they hold."""
        self._vendor.requests.clear()
        roles: dict[str, list[int]] = {"supervisor": [one.pid for one in self.workers], "client": [self.client.pid]}
        for worker in self.workers:
            for role, pids in self.machine.children(worker).items():
                roles.setdefault(role, []).extend(pids)
        total = self.samples.take(roles, WORKERS)
        return total.pss_kb // 1024, total.files

    def states(self) -> dict[str, int]:
        return {
            row["state"]: row["n"] for row in self.machine.rows("SELECT state, count(*) AS n FROM job GROUP BY state")
        }

    # -- faults: each says what it did

    def fault(self) -> str:
        """The next of a shuffled deck, so that each comes."""
        if not self._deck:
            self._deck = self._faults()
            self._random.shuffle(self._deck)
        return self._deck.pop()()

    def _faults(self) -> list[Callable[[], str]]:
        faults = [self._kill_child, self._kill_main, self._kill_tree, self._kill_reaper, self._stop_worker]
        faults += [self._kill_client, self._empty_broker]
        if self._servers.broker:
            faults += [self._restart_broker, self._freeze_broker]
        faults.append(self._restart_store if self._servers.store else self._lock_store)
        return faults

    def _any(self, role: str) -> tuple[int, int]:
        """A process of either worker: the worker's number and its id."""
        number = self._random.randrange(2)
        pids = eventually(lambda: self.machine.children(self.workers[number])[role], f"a {role} of a worker")
        return number + 1, self._random.choice(pids)

    def _kill_child(self) -> str:
        number, pid = self._any("pool")
        kill(pid)
        return f"a pool process of worker {number} was killed"

    def _kill_reaper(self) -> str:
        number, pid = self._any("reaper")
        kill(pid)
        return f"the reaper of worker {number} was killed"

    def _kill_main(self) -> str:
        for pid in self.machine.children(self.workers[1])["main"]:
            kill(pid)
        return "the main process of worker 2 was killed"

    def _kill_tree(self) -> str:
        worker = self.workers[1]
        for pid in (worker.pid, *(pid for pids in self.machine.children(worker).values() for pid in pids)):
            kill(pid)
        worker.process.wait(10)
        return "all processes of worker 2 were killed"

    def _stop_worker(self) -> str:
        self.workers[1].signal(signal.SIGTERM)
        _ended_well(self.workers[1])
        return "worker 2 was stopped and replaced"

    def _kill_client(self) -> str:
        self.client.signal(signal.SIGUSR1)
        self.client.process.wait(30)
        return "the client was killed between commit and wake-up"

    def _empty_broker(self) -> str:
        self._servers.empty_broker()
        for message in (self.machine.home / "queue" / "messages").glob("*.msg"):
            message.unlink(missing_ok=True)
        return "the broker was emptied"

    def _restart_broker(self) -> str:
        assert self._servers.broker
        self._servers.broker.kill()
        time.sleep(1.0)
        self._servers.broker.start()
        return "the broker was killed and started"

    def _freeze_broker(self) -> str:
        assert self._servers.broker
        self._servers.broker.freeze()
        try:
            time.sleep(FREEZE_SECONDS)
        finally:
            self._servers.broker.thaw()
        return f"the broker was frozen for {FREEZE_SECONDS:g} s"

    def _restart_store(self) -> str:
        assert self._servers.store
        self._servers.store.stop()
        self._servers.store.start()
        return "the database crashed and was started"

    def _lock_store(self) -> str:
        with closing(sqlite3.connect(self.machine.database, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(LOCK_SECONDS)
        return f"the store was locked for {LOCK_SECONDS:g} s"

    # -- the whole

    def run(self, minutes: int, minute: float) -> None:
        """In the middle of each minute a fault, at its end a look."""
        began = time.monotonic()
        for number in range(1, minutes + 1):
            self._wait_until(began + (number - 0.5) * minute)
            happened = self.fault()
            self._wait_until(began + number * minute)
            megabytes, files = self.look()
            states = self.states()
            say(
                f"{number:>3}/{minutes} {happened}; {sum(states.values()):,} jobs,"
                f" {sum(states.values()) - sum(states.get(one, 0) for one in FINAL)} open;"
                f" workers {megabytes} MB, {files} files"
            )

    def _wait_until(self, moment: float) -> None:
        self.keep_running()
        while time.monotonic() < moment:
            time.sleep(min(0.5, max(0.0, moment - time.monotonic())))
            self.keep_running()

    def finish(self) -> None:
        """No more jobs; wait until all that were handed in have ended, then end the workers."""
        self.client.signal(signal.SIGTERM)
        self.client.wait()

        def all_final() -> bool:
            self.keep_workers()
            return set(self.states()) <= set(FINAL)

        eventually(all_final, "all jobs have ended", AT_THE_END_SECONDS, every=0.5)
        for worker in self.workers:
            worker.signal(signal.SIGTERM)
        for worker in self.workers:
            _ended_well(worker)
        self.machine.no_process_is_left()


def _ended_well(worker: Running) -> None:
    code = worker.wait().code
    assert code == 0, f"a worker that was asked to stop ended with {code}"


@dataclass
class Verdict:
    """What it came to; clean when there is no complaint."""

    kinds: dict[str, dict[str, int]] = field(default_factory=dict)
    joined: int = 0
    refused: int = 0
    extra_attempts: int = 0
    restarts: dict[str, int] = field(default_factory=dict)
    growth: list[Growth] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def judge(soak: Soak) -> Verdict:
    """The audit, how each kind of job ended, whether each effect is there, and what grew."""
    verdict = Verdict(restarts=dict(soak.restarts), growth=soak.samples.growth())
    rows = {row["id"]: row for row in soak.machine.rows("SELECT id, state, attempt FROM job")}
    submitted: dict[str, str] = {}
    for line in soak.ledger.read_text().splitlines():
        kind, job_id = line.split()
        if kind == "refused":
            verdict.refused += 1
        elif job_id in submitted:
            verdict.joined += 1
        else:
            submitted[job_id] = kind
    try:
        audit(soak.machine, list(submitted))
    except AssertionError as exc:
        verdict.complaints.append(f"audit: {exc!s:.2000}")
    done = {line.split()[0] for line in soak.machine.effects()}
    for job_id, kind in submitted.items():
        row = rows.get(job_id, {"state": "lost", "attempt": 0})
        ends = verdict.kinds.setdefault(kind, {})
        ends[row["state"]] = ends.get(row["state"], 0) + 1
        verdict.extra_attempts += max(0, row["attempt"] - ATTEMPTS.get(kind, 1))
        if row["state"] not in ENDS[kind]:
            verdict.complaints.append(f"{kind} job {job_id} is {row['state']}")
        if kind == "short" and job_id not in done:
            verdict.complaints.append(f"{kind} job {job_id} left no effect")
    for one in verdict.growth:
        verdict.complaints += one.complaints
    return verdict


def table(verdict: Verdict) -> str:
    lines = [f"{'jobs':20} {'ended':>40}"]
    for kind, ends in sorted(verdict.kinds.items()):
        shown = ", ".join(f"{number:,} {state}" for state, number in sorted(ends.items()))
        lines.append(f"{kind:20} {shown:>40}")
    restarts = ", ".join(f"{number} {name}s" for name, number in verdict.restarts.items()) or "nothing"
    lines += [
        f"joined {verdict.joined}, refused while the store was away {verdict.refused},"
        f" attempts more than needed {verdict.extra_attempts}, started again: {restarts}",
        "",
        f"{'processes':20} {'seen':>5} {'judged':>7} {'longest':>8} {'MB first':>9} {'last':>7}"
        f" {'files first':>12} {'last':>5}",
    ]
    for one in verdict.growth:
        memory = f"{one.rss_kb[0] / 1024:9.1f} {one.rss_kb[1] / 1024:7.1f}"
        files = f"{one.files[0]:12g} {one.files[1]:5g}"
        measured = f"{memory} {files}" if one.judged else ""
        lines.append(f"{one.role:20} {one.processes:5} {one.judged:7} {one.longest:8} {measured}".rstrip())
    lines += [
        "",
        *verdict.complaints[:50],
        "clean" if not verdict.complaints else f"{len(verdict.complaints)} complaints",
    ]
    return "\n".join(lines)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60, help="how many, each with its fault")
    parser.add_argument("--minute", type=float, default=60.0, metavar="SECONDS", help="shorter ones for a trial")
    parser.add_argument("--rate", type=float, default=10.0, help="jobs a second")
    parser.add_argument("--pair", default="redis+postgresql", help="broker+store")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 10_000))
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    args = parser.parse_args()
    broker, _, store = args.pair.partition("+")
    if broker not in BROKERS or store not in STORES:
        parser.error(f"--pair is one of {' '.join(BROKERS)}, a plus, and one of {' '.join(STORES)}")
    say(f"soak: {args.pair}, {args.minutes} minutes, {args.rate:g} jobs/s, --seed {args.seed}")
    root = Path(tempfile.mkdtemp(prefix="marketjobs-soak-"))
    with ExitStack() as stack:
        servers = stack.enter_context(servers_of(broker, store, root))
        vendor = stack.enter_context(Vendor())
        vendor.fault("chart_error", UNKNOWN)
        machine = stack.enter_context(machine_of(root / "machine", vendor, **servers.variables, **KEEP_ALL))
        if servers.store:
            machine.run("db", "upgrade").ok()
        soak = Soak(machine, vendor, servers, args.rate, args.seed)
        try:
            soak.run(args.minutes, args.minute)
            soak.finish()
            verdict = judge(soak)
        except AssertionError as exc:
            verdict = Verdict(restarts=dict(soak.restarts), growth=soak.samples.growth(), complaints=[f"{exc!s:.2000}"])
    if verdict.complaints:
        say(f"what was stored and said: {root}")
    else:
        shutil.rmtree(root, ignore_errors=True)
    sys.stdout.write((json.dumps(asdict(verdict), indent=2) if args.json else table(verdict)) + "\n")
    return 1 if verdict.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
