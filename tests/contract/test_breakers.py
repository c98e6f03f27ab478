"""Circuit breakers on a real store: what opens one, the single probe of many processes, and how it closes."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from marketjobs.storage import breakers
from marketjobs.storage.breakers import FAILURES, FIRST_OPEN_SECONDS, LONGEST_OPEN_SECONDS, RUN_SECONDS, Circuit
from marketjobs.storage.database import Database, open_database
from marketjobs.storage.sqlite import SqliteDatabase

Python = Callable[..., "subprocess.Popen[str]"]
NAME = "vendor"


class BreakerContract:
    """What every store does; a subclass has the fixture ``database``."""

    @pytest.fixture
    def database(self) -> Database:
        raise NotImplementedError

    def look(self, database: Database) -> breakers.Breaker:
        with database.read() as tx:
            return breakers.look(tx, NAME)

    def failed(self, database: Database, times: int = 1, token: str | None = None) -> float | None:
        """What the last of so many failures has opened the circuit for."""
        opened = None
        for _ in range(times):
            with database.write() as tx:
                opened = breakers.failed(tx, NAME, "timed out after 15 s", token)
        return opened

    def passed(self, database: Database, token: str | None = None) -> None:
        with database.write() as tx:
            breakers.passed(tx, NAME, token)

    def take(self, database: Database, seconds: float = 20.0) -> str | None:
        with database.write() as tx:
            return breakers.take_probe(tx, NAME, seconds)

    def later(self, database: Database, seconds: float) -> None:
        """As if so much time had passed."""
        with database.write() as tx:
            for column in ("open_until", "probe_until", "failed_at"):
                tx.run(f"UPDATE provider_breaker SET {column} = {column} - :s WHERE {column} > 0", {"s": seconds})

    def opened(self, database: Database) -> float | None:
        """Failures made it half open, and the probe failed: for how long it is open."""
        assert self.failed(database, FAILURES) == 0
        return self.failed(database, token=self.take(database))

    def half_open(self, database: Database) -> None:
        self.opened(database)
        self.later(database, FIRST_OPEN_SECONDS + 1)
        assert self.look(database).circuit is Circuit.HALF_OPEN

    def test_it_is_closed_until_something_fails_again_and_again(self, database: Database) -> None:
        assert self.look(database) == breakers.Breaker()
        assert self.failed(database, FAILURES - 1) is None
        seen = self.look(database)
        assert (seen.circuit, seen.failures, seen.why) == (Circuit.CLOSED, FAILURES - 1, "timed out after 15 s")
        assert self.failed(database) == 0
        assert self.look(database).circuit is Circuit.HALF_OPEN
        assert self.failed(database, 20) is None, "only the probe decides"
        assert self.failed(database, token=self.take(database)) == FIRST_OPEN_SECONDS
        seen = self.look(database)
        assert seen.circuit is Circuit.OPEN
        assert FIRST_OPEN_SECONDS - 5 < seen.seconds <= FIRST_OPEN_SECONDS

    def test_failures_of_symbols_never_open_it_while_the_vendor_answers(self, database: Database) -> None:
        self.failed(database, FAILURES)
        token = self.take(database)
        assert token is not None
        self.passed(database, token)
        assert self.look(database) == breakers.Breaker()
        self.failed(database, FAILURES)
        self.passed(database)
        assert self.look(database) == breakers.Breaker(), "an answer that was under way says as much"

    def test_one_failing_symbol_among_good_answers_never_opens_it(self, database: Database) -> None:
        for _ in range(10 * FAILURES):
            self.failed(database, FAILURES - 1)
            self.passed(database)
        assert self.look(database) == breakers.Breaker()

    def test_failures_far_apart_are_no_row_of_them(self, database: Database) -> None:
        for _ in range(3 * FAILURES):
            assert self.failed(database) is None
            self.later(database, RUN_SECONDS + 1)
        assert self.look(database).circuit is Circuit.CLOSED
        for _ in range(FAILURES):
            opened = self.failed(database)
            self.later(database, RUN_SECONDS - 1)
        assert opened == 0

    def test_late_failures_and_answers_change_nothing_of_an_open_circuit(self, database: Database) -> None:
        """Calls that were under way when it opened."""
        self.opened(database)
        before = self.look(database).seconds
        assert self.failed(database, 20) is None
        self.passed(database)
        seen = self.look(database)
        assert seen.circuit is Circuit.OPEN and seen.seconds <= before
        assert self.take(database) is None

    def test_one_probe_and_its_answer_closes(self, database: Database) -> None:
        self.half_open(database)
        token = self.take(database)
        assert token is not None
        assert self.take(database) is None
        assert 15 < self.look(database).seconds <= 20, "others are told when to come back"
        self.passed(database, "another's")
        assert self.look(database).circuit is Circuit.HALF_OPEN
        self.passed(database, token)
        assert self.look(database) == breakers.Breaker()
        assert self.opened(database) == FIRST_OPEN_SECONDS

    def test_a_failed_probe_opens_it_for_twice_as_long_up_to_a_limit(self, database: Database) -> None:
        self.half_open(database)
        opened = []
        for _ in range(6):
            token = self.take(database)
            assert self.failed(database) is None, "only the probe's failure counts"
            opened.append(self.failed(database, token=token))
            assert self.take(database) is None
            self.later(database, LONGEST_OPEN_SECONDS + 1)
        assert opened == [60, 120, 240, *[LONGEST_OPEN_SECONDS] * 3]

    def test_a_probe_that_died_is_freed_by_time(self, database: Database) -> None:
        self.half_open(database)
        first = self.take(database, 20.0)
        self.later(database, 19.0)
        assert self.take(database) is None
        self.later(database, 1.5)
        second = self.take(database)
        assert second is not None
        assert self.failed(database, token=first) is None, "whoever was too late says nothing any more"
        self.passed(database, first)
        assert self.look(database).circuit is Circuit.HALF_OPEN
        self.passed(database, second)
        assert self.look(database).circuit is Circuit.CLOSED

    def test_a_probe_that_was_not_sent_is_anothers(self, database: Database) -> None:
        self.half_open(database)
        token = self.take(database)
        with database.write() as tx:
            breakers.drop_probe(tx, NAME, "another's")
        assert self.take(database) is None
        with database.write() as tx:
            assert token is not None
            breakers.drop_probe(tx, NAME, token)
        assert self.take(database) is not None

    def test_providers_do_not_share(self, database: Database) -> None:
        self.failed(database, FAILURES)
        with database.read() as tx:
            assert breakers.look(tx, "another") == breakers.Breaker()

    # -- processes --

    def test_of_many_processes_exactly_one_probes(self, python: Python, database: Database) -> None:
        self.half_open(database)
        code = """
        import sys
        from marketjobs.storage import breakers
        from marketjobs.storage.database import open_database
        database, taken = open_database(sys.argv[1], durable=False), 0
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(20):
            with database.write() as tx:
                taken += breakers.take_probe(tx, "vendor", 60.0) is not None
        print(taken)
        """
        processes = [python(code, database.url) for _ in range(6)]
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=60) for process in processes]
        assert all(process.returncode == 0 for process in processes), answers
        assert sum(int(out) for out, _ in answers) == 1

    def test_failures_of_several_processes_are_counted_together(self, python: Python, database: Database) -> None:
        code = """
        import sys
        from marketjobs.services.budgets import BudgetGate
        from marketjobs.storage.database import open_database
        BudgetGate(open_database(sys.argv[1]), "vendor", (), 1.0).failed("refused")
        """
        for process in [python(code, database.url) for _ in range(FAILURES)]:
            _, err = process.communicate(timeout=30)
            assert process.returncode == 0, err
        assert self.look(database).circuit is Circuit.HALF_OPEN

    def test_a_probe_of_a_killed_process_is_freed_by_time(self, python: Python, database: Database) -> None:
        self.half_open(database)
        code = """
        import os, signal, sys
        from marketjobs.services.budgets import BudgetGate
        from marketjobs.storage.database import open_database
        BudgetGate(open_database(sys.argv[1]), "vendor", (), 1.0, answer_seconds=10.0).spend()
        os.kill(os.getpid(), signal.SIGKILL)
        """
        assert python(code, database.url).wait(30) == -signal.SIGKILL
        assert self.take(database) is None
        self.later(database, 21.0)
        assert self.take(database) is not None


class TestSqliteBreakers(BreakerContract):
    @pytest.fixture
    def database(self, tmp_path: Path, empty_store: Path) -> Iterator[Database]:
        path = tmp_path / "store.db"
        shutil.copyfile(empty_store, path)
        database = SqliteDatabase(path)
        yield database
        database.close()


class TestPostgresBreakers(BreakerContract):
    @pytest.fixture
    def database(self, postgres_url: str) -> Iterator[Database]:
        database = open_database(postgres_url)
        yield database
        database.close()
