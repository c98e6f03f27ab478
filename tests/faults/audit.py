"""The audit that every fault ends with: nothing is lost, nothing is open, nothing is there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from processes import FINAL, SECRET, Machine

OUTCOMES = (
    "CREATE TABLE outcome_written (job_id TEXT NOT NULL)",
    """CREATE TRIGGER outcome_written AFTER UPDATE ON job FOR EACH ROW
    WHEN (NEW.finished_at IS NOT NULL AND (OLD.finished_at IS NULL OR OLD.finished_at <> NEW.finished_at
        OR OLD.state <> NEW.state OR OLD.token <> NEW.token))""",
)
ON_SQLITE = "BEGIN INSERT INTO outcome_written VALUES (NEW.id); END"
ON_POSTGRESQL = "EXECUTE FUNCTION note_outcome()"
NOTE_OUTCOME = """CREATE FUNCTION note_outcome() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO outcome_written VALUES (NEW.id); RETURN NULL; END $$"""


def witness(machine: Machine) -> None:
    """From now on the store itself notes each outcome that is written; the audit wants one for each job."""
    machine.run("jobs").ok()  # a store of files is made by the first command
    table, trigger = OUTCOMES
    machine.write(table)
    if machine.server_url is not None:
        machine.write(NOTE_OUTCOME)
    machine.write(f"{trigger} {ON_SQLITE if machine.server_url is None else ON_POSTGRESQL}")


def _written_twice(machine: Machine) -> list[dict[str, Any]]:
    """Jobs whose outcome was written more than once, where the store notes it."""
    if not machine.has_table("outcome_written"):
        return []
    return machine.rows("SELECT job_id FROM outcome_written GROUP BY job_id HAVING count(*) > 1")


def audit(machine: Machine, submitted: Sequence[str]) -> Counter[str]:
    """How many of the submitted jobs ended in each state.  Raises AssertionError for whatever does not add up."""
    rows = {row["id"]: row for row in machine.jobs()}
    lost = [job_id for job_id in submitted if job_id not in rows]
    assert lost == [], f"{len(lost)} submitted jobs have no row"
    states = Counter(rows[job_id]["state"] for job_id in submitted)
    assert sum(states[state] for state in FINAL) == len(submitted), states
    still_open = [row for row in rows.values() if row["state"] not in FINAL]
    assert still_open == []
    for row in rows.values():
        assert row["finished_at"] is not None, row
        assert row["lease_until"] is None, row
        assert row["attempt"] <= row["max_attempts"], row
        if row["state"] == "dead":
            assert row["error_cause"], row
            assert row["error_message"], row
            assert "\n" not in row["error_message"], row
        assert SECRET not in str(row)
    for one in machine.started:
        assert SECRET not in one.out + one.err
    assert _written_twice(machine) == []
    doubled = machine.rows(
        "SELECT symbol, ts, count(*) AS n FROM price_bar_v GROUP BY symbol, interval, ts HAVING count(*) > 1"
    )
    assert doubled == []
    assert machine.rows("SELECT 1 FROM price_bar WHERE interval >= 20 AND ts % 86400 <> 0") == []
    if machine.server_url is None:
        assert machine.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    return states
