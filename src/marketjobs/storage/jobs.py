"""The ledger's statements: each is one step of a job's life, safe against any other process doing the same.

A step that may be refused says so in what it returns; deciding what a refusal means is the service's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import orjson

from marketjobs.domain.jobs import (
    FINAL_STATES,
    WAITS_FOR_A_RETRY,
    WAITS_FOR_CHILDREN,
    WAITS_FOR_ITS_TIME,
    Job,
    JobRequest,
    JobState,
    JsonDict,
)
from marketjobs.errors import StorageUnavailable
from marketjobs.storage.database import Row, Transaction

CLOCKS_DIFFER_SECONDS = 5
_OPEN = "state IN ('queued', 'waiting', 'running')"
_FINAL = "(" + ", ".join(f"'{state}'" for state in sorted(FINAL_STATES)) + ")"
_DONE = f"avg(CASE WHEN state IN {_FINAL} THEN 1.0 ELSE progress END)"
"""How far a parent is, of its children."""
_DUE = "state IN ('queued', 'waiting') AND run_at <= {now} AND (waits_for IS NULL OR waits_for <> 'children')"
_MISDATED = f"""(state = 'queued' AND run_at > {{now}} + {CLOCKS_DIFFER_SECONDS})
   OR (state = 'waiting' AND waits_for = '{WAITS_FOR_A_RETRY}' AND run_at > {{now}} + :longest)"""
"""What is queued is due, and a retry is as near as its back-off: what lies further ahead was written before the clock
was set back."""

_SHORT = """id, task, queue, state, arguments, attempt, max_attempts, token, submitted_at, run_at, started_at,
finished_at, lease_until, owner, parent_id, priority, cancel_requested, progress, message, waits_for, published_at,
error_cause, error_message"""
# By name: a server refuses a prepared "*" once an upgrade has added a column.
_WHOLE = f"{_SHORT}, outcomes, result"
_LISTED = f"{_SHORT}, NULL AS outcomes, NULL AS result"
"""Without what only readers of one job want: outcomes and results of thousands of symbols."""

JOIN_TRIES = 5
_INSERT = """
INSERT INTO job (id, task, queue, state, arguments, join_key, parent_id, priority, attempt, max_attempts, token,
                 submitted_at, run_at, cancel_requested, progress, waits_for)
VALUES (:id, :task, :queue, :state, :arguments, :join_key, :parent_id, :priority, 0, :max_attempts, 0,
        {now}, {now} + :delay, 0, 0, :waits_for)
"""


def insert(tx: Transaction, request: JobRequest) -> tuple[Job, bool]:
    """Add a row, or find the open job that an equal request made (or the one of this id): the job that now stands
    for it, and whether it was added."""
    for _ in range(JOIN_TRIES):
        row = tx.first(f"{_INSERT} ON CONFLICT DO NOTHING RETURNING {_WHOLE}", _values(request))
        if row is not None:
            return _job(row), True
        row = tx.first(
            f"SELECT {_WHOLE} FROM job WHERE id = :id OR (join_key = :key AND {_OPEN})",
            {"id": request.id, "key": request.join_key},
        )
        if row is not None:
            return _with_its_parts(tx, _job(row)), False
        # The job that kept ours out has just ended (its end may be seen where its row still blocked).
    raise StorageUnavailable("equal jobs come and go too quickly to join one", hint="run it again")


_ROWS = {
    "sqlite": "(SELECT "
    + ", ".join(
        f"json_extract(value, '$.{name}') AS {name}" for name in ("id", "task", "queue", "state", "arguments", "delay")
    )
    + " FROM json_each(:rows))",
    "postgresql": """json_to_recordset(:rows) AS part(
        id text, task text, queue text, state text, arguments text, delay float8)""",
}
"""Rows of one JSON text: a value that is bound, and a call of the clock, cost more than their row."""


def insert_many(tx: Transaction, requests: Sequence[JobRequest]) -> None:
    """Many rows in one statement: of one parent, priority and number of attempts.  None of them joins."""
    first = requests[0]
    rows = [
        {
            "id": one.id,
            "task": one.task,
            "queue": one.queue,
            "state": JobState.WAITING if one.delay_seconds > 0 else JobState.QUEUED,
            "arguments": orjson.dumps(one.arguments).decode(),
            "delay": one.delay_seconds,
        }
        for one in requests
    ]
    tx.run(
        f"""
        INSERT INTO job (id, task, queue, state, arguments, parent_id, priority, attempt, max_attempts, token,
                         submitted_at, run_at, cancel_requested, progress, waits_for)
        SELECT id, task, queue, state, arguments, :parent, :priority, 0, :max_attempts, 0,
               clock.now, clock.now + delay, 0, 0, CASE WHEN state = 'waiting' THEN :waits_for END
        FROM (SELECT {{now}} AS now) AS clock, {_ROWS[tx.dialect]}
        """,
        {
            "rows": orjson.dumps(rows).decode(),
            "parent": first.parent_id,
            "priority": first.priority,
            "max_attempts": first.max_attempts,
            "waits_for": WAITS_FOR_ITS_TIME,
        },
    )


def _values(request: JobRequest) -> dict[str, Any]:
    ahead = request.delay_seconds > 0 or request.waits_for is not None
    return {
        "id": request.id,
        "task": request.task,
        "queue": request.queue,
        "state": JobState.WAITING if ahead else JobState.QUEUED,
        "arguments": orjson.dumps(request.arguments).decode(),
        "join_key": request.join_key,
        "parent_id": request.parent_id,
        "priority": request.priority,
        "max_attempts": request.max_attempts,
        "delay": request.delay_seconds,
        "waits_for": request.waits_for,
    }


def get(tx: Transaction, job_id: str) -> Job | None:
    row = tx.first(f"SELECT {_WHOLE} FROM job WHERE id = :id", {"id": job_id})
    if row is None:
        return None
    return _with_its_parts(tx, _job(row))


def _with_its_parts(tx: Transaction, job: Job) -> Job:
    """How far a parent is, and when it began, is read off its children: that costs none of them a write."""
    if job.waits_for != WAITS_FOR_CHILDREN:
        return job
    row = tx.first(
        f"SELECT {_DONE} AS done, min(started_at) AS began FROM job WHERE parent_id = :id",
        {"id": job.id},
    )
    return replace(job, progress=row["done"] or 0.0, started_at=row["began"]) if row else job


def find(tx: Transaction, text: str) -> list[Job]:
    """Jobs whose id is, begins or ends with ``text`` (at most ten); an end of eight characters or more means a request
    rather than a part."""
    exact = get(tx, text)
    if exact is not None:
        return [exact]
    tail = tx.all(
        f"SELECT {_WHOLE} FROM job WHERE parent_id IS NULL AND substr(id, length(id) - 7) = :tail LIMIT 100",
        {"tail": text[-8:]},
    )
    rows = [row for row in tail if row["id"].endswith(text)][:10]
    if rows:
        return [_job(row) for row in rows]
    # A look at each id: the order of a text differs from one database to another.
    rows = tx.all(
        f"SELECT {_WHOLE} FROM job WHERE id IN (SELECT id FROM job WHERE substr(id, 1, :length) = :text"
        " OR substr(id, length(id) - :length + 1) = :text LIMIT 10)",
        {"text": text, "length": len(text)},
    )
    return [_job(row) for row in rows]


def listed(
    tx: Transaction,
    *,
    states: Sequence[JobState] = (),
    task: str | None = None,
    queue: str | None = None,
    parent_id: str | None = None,
    top_level: bool = False,
    limit: int = 50,
) -> list[Job]:
    """Newest first, by submission."""
    where, params = ["1 = 1"], {"limit": limit}
    if states:
        where.append("state IN (" + ", ".join(f"'{JobState(state)}'" for state in states) + ")")
    if task:
        where.append("task = :task")
        params["task"] = task  # type: ignore[assignment]
    if queue:
        where.append("queue = :queue")
        params["queue"] = queue  # type: ignore[assignment]
    if parent_id is not None:
        where.append("parent_id = :parent_id")
        params["parent_id"] = parent_id  # type: ignore[assignment]
    if top_level:
        where.append("parent_id IS NULL")
    sql = f"SELECT {_LISTED} FROM job WHERE {' AND '.join(where)} ORDER BY submitted_at DESC, id DESC LIMIT :limit"
    return [_with_its_parts(tx, _job(row)) for row in tx.all(sql, params)]


def counts(tx: Transaction, within_seconds: float) -> dict[tuple[str, str], int]:
    """How many jobs by queue and state: all that are open, and those that ended within the last while."""
    rows = tx.all(
        f"""
        SELECT queue, state, count(*) AS n FROM job WHERE {_OPEN} GROUP BY queue, state
        UNION ALL
        SELECT queue, state, count(*) AS n FROM job WHERE finished_at > :since GROUP BY queue, state
        """,
        # An instant, not a clock in the condition: PostgreSQL would ask that for each row of the whole table.
        {"since": tx.now() - within_seconds},
    )
    return {(row["queue"], row["state"]): row["n"] for row in rows}


def oldest_due(tx: Transaction) -> dict[str, float]:
    """When the job that has been due for longest was, by queue; a queue without a due job is left out."""
    rows = tx.all(f"SELECT queue, min(run_at) AS since FROM job WHERE {_DUE} GROUP BY queue")
    return {row["queue"]: row["since"] for row in rows}


def claim(tx: Transaction, job_id: str, owner: str, lease_seconds: float, task: str | None = None) -> Job | None:
    """Take a due job (``task``: only if it is one of that task): the row as it is now, with the token that may write
    it; ``None``: it is not to be had."""
    row = tx.first(
        f"""
        UPDATE job SET state = 'running', attempt = attempt + 1, token = token + 1, owner = :owner,
               lease_until = {{now}} + :lease, claimed_at = {{now}}, started_at = coalesce(started_at, {{now}}),
               waits_for = NULL, message = NULL, error_cause = NULL, error_message = NULL
        WHERE id = :id AND task = coalesce(:task, task) AND cancel_requested = 0 AND attempt < max_attempts AND {_DUE}
        RETURNING {_WHOLE}
        """,
        {"id": job_id, "task": task, "owner": owner, "lease": lease_seconds},
    )
    return None if row is None else _job(row)


def next_child(tx: Transaction, parent_id: str) -> str | None:
    """A due child of a job, for a process that works through them itself."""
    row = tx.first(
        f"SELECT id FROM job WHERE parent_id = :parent AND attempt < max_attempts AND {_DUE} ORDER BY id LIMIT 1",
        {"parent": parent_id},
    )
    return None if row is None else str(row["id"])


def beat(tx: Transaction, job: Job, lease_seconds: float, progress: float, message: str | None) -> Job | None:
    """Extend the lease and write the progress; ``None``: the row belongs to another attempt by now."""
    row = tx.first(
        f"""
        UPDATE job SET lease_until = {{now}} + :lease, progress = :progress, message = :message
        WHERE id = :id AND token = :token AND state = 'running' RETURNING {_WHOLE}
        """,
        {"id": job.id, "token": job.token, "lease": lease_seconds, "progress": progress, "message": message},
    )
    return None if row is None else _job(row)


def record_outcomes(tx: Transaction, job: Job, outcomes: Sequence[JsonDict], progress: float) -> bool:
    """Keep what is settled, in the transaction that stored it; ``False``: fenced off, roll back."""
    return bool(
        tx.run(
            """
            UPDATE job SET outcomes = :outcomes, progress = :progress
            WHERE id = :id AND token = :token AND state = 'running'
            """,
            {
                "id": job.id,
                "token": job.token,
                "outcomes": orjson.dumps(list(outcomes)).decode(),
                "progress": progress,
            },
        )
    )


def finish(
    tx: Transaction,
    job: Job,
    state: JobState,
    result: JsonDict | None,
    cause: str | None = None,
    message: str | None = None,
) -> Job | None:
    """Write outcome and final state: the row; ``None``: the token is stale and nothing was written."""
    row = tx.first(
        f"""
        UPDATE job SET state = :state, result = :result, error_cause = :cause, error_message = :message,
               message = NULL, waits_for = NULL, finished_at = {{now}}, lease_until = NULL, outcomes = NULL,
               progress = CASE WHEN :state IN ('succeeded', 'partial') THEN 1 ELSE progress END
        WHERE id = :id AND token = :token AND state = 'running'
        RETURNING {_WHOLE}
        """,
        {
            "id": job.id,
            "token": job.token,
            "state": state,
            "result": None if result is None else orjson.dumps(result).decode(),
            "cause": cause,
            "message": message,
        },
    )
    return None if row is None else _job(row)


def wait(
    tx: Transaction,
    job: Job,
    delay_seconds: float,
    why: str,
    *,
    cause: str | None,
    message: str | None,
    give_back_attempt: bool,
    settled: tuple[Sequence[JsonDict], float] | None = None,
) -> Job | None:
    """Put a running job aside until its time: the row; ``None``: the token is stale.

    Args:
        give_back_attempt: a wait that somebody else ordered (a budget, Retry-After) uses up no attempt.
        settled: outcomes that are kept for its next attempt, and how far it is with them.
    """
    outcomes, progress = settled or (None, None)
    row = tx.first(
        f"""
        UPDATE job SET state = 'waiting', run_at = {{now}} + :delay, waits_for = :why, lease_until = NULL,
               owner = NULL, published_at = NULL, error_cause = :cause, error_message = :message, message = NULL,
               attempt = attempt - :refund, outcomes = coalesce(:outcomes, outcomes),
               progress = coalesce(:progress, progress)
        WHERE id = :id AND token = :token AND state = 'running' AND cancel_requested = 0
        RETURNING {_WHOLE}
        """,
        {
            "id": job.id,
            "token": job.token,
            "delay": delay_seconds,
            "why": why,
            "cause": cause,
            "message": message,
            "refund": 1 if give_back_attempt else 0,
            "outcomes": None if outcomes is None else orjson.dumps(list(outcomes)).decode(),
            "progress": progress,
        },
    )
    return None if row is None else _job(row)


def hand_back(tx: Transaction, job: Job) -> Job | None:
    """Give a running job back untouched (its process is asked to stop): due at once, no attempt used up.

    ``None``: the token is stale, or somebody cancelled it.
    """
    row = tx.first(
        f"""
        UPDATE job SET state = 'queued', run_at = {{now}}, lease_until = NULL, owner = NULL, published_at = NULL,
               attempt = attempt - 1
        WHERE id = :id AND token = :token AND state = 'running' AND cancel_requested = 0
        RETURNING {_WHOLE}
        """,
        {"id": job.id, "token": job.token},
    )
    return None if row is None else _job(row)


def release_owner(
    tx: Transaction, job_id: str, owner_prefix: str, cause: str, message: str, delay: float
) -> str | None:
    """End the attempt of a process that is known to be gone: the job's new state, ``None`` if it was not its."""
    row = tx.first(
        f"UPDATE job SET {_ENDED_ATTEMPT} WHERE id = :id AND owner LIKE :owner AND state = 'running' RETURNING state",
        {"id": job_id, "owner": f"{owner_prefix}%", "cause": cause, "message": message, "delay": delay}
        | {"retry": WAITS_FOR_A_RETRY},
    )
    return None if row is None else str(row["state"])


# An attempt ended without its own word: cancelled if that was asked for, dead if it was the last, else due again.
_ENDED_ATTEMPT = """
    state = CASE WHEN cancel_requested = 1 THEN 'cancelled' WHEN attempt >= max_attempts THEN 'dead'
                 WHEN :delay > 0 THEN 'waiting' ELSE 'queued' END,
    waits_for = CASE WHEN cancel_requested = 0 AND attempt < max_attempts AND :delay > 0 THEN :retry END,
    finished_at = CASE WHEN cancel_requested = 1 OR attempt >= max_attempts THEN {now} END,
    run_at = {now} + :delay, lease_until = NULL, owner = NULL, published_at = NULL, token = token + 1,
    error_cause = :cause, error_message = :message, message = NULL
"""


def refuse(tx: Transaction, request: JobRequest, cause: str, message: str) -> bool:
    """Write down a request that can't be right, so that whoever sent it finds out why; ``False``: id is taken."""
    values = _values(request) | {"cause": cause, "message": message}
    return bool(
        tx.run(
            """
            INSERT INTO job (id, task, queue, state, arguments, priority, attempt, max_attempts, token, submitted_at,
                             run_at, finished_at, cancel_requested, progress, error_cause, error_message)
            VALUES (:id, :task, :queue, 'dead', :arguments, :priority, 0, :max_attempts, 0, {now},
                    {now}, {now}, 0, 0, :cause, :message)
            ON CONFLICT (id) DO NOTHING
            """,
            {name: values[name] for name in _REFUSED},
        )
    )


_REFUSED = ("id", "task", "queue", "arguments", "priority", "max_attempts", "cause", "message")


def postpone(tx: Transaction, job_id: str, task: str, delay_seconds: float, cause: str, message: str) -> bool:
    """A worker met a job that it has no code for: another may have it later; an attempt is used up.  ``False``: no
    such job of that task is due."""
    changed = tx.run(
        f"""
        UPDATE job SET attempt = attempt + 1, published_at = NULL, error_cause = :cause, error_message = :message,
               state = CASE WHEN attempt + 1 >= max_attempts THEN 'dead' ELSE 'waiting' END,
               finished_at = CASE WHEN attempt + 1 >= max_attempts THEN {{now}} END,
               waits_for = CASE WHEN attempt + 1 < max_attempts THEN 'a worker that has its code' END,
               run_at = {{now}} + :delay
        WHERE id = :id AND task = :task AND {_DUE}
        """,
        {"id": job_id, "task": task, "delay": delay_seconds, "cause": cause, "message": message},
    )
    return bool(changed)


def running(tx: Transaction, host: str, job_id: str | None = None) -> list[Job]:
    """Running jobs whose lease is over, and those of one host, whose processes can be looked at (all, or one
    by id)."""
    only = "AND id = :id" if job_id else ""
    sql = f"""
        SELECT {_LISTED} FROM job WHERE state = 'running' AND (lease_until < {{now}} OR owner LIKE :host) {only}
        ORDER BY lease_until LIMIT 500
    """
    params = {"host": f"{host}/%"} | ({"id": job_id} if job_id else {})
    return [_job(row) for row in tx.all(sql, params)]


def expire(tx: Transaction, job: Job, cause: str, message: str) -> str | None:
    """End the attempt of a job whose process is gone, if it is still that attempt's: the new state."""
    row = tx.first(
        f"""
        UPDATE job SET {_ENDED_ATTEMPT}
        WHERE id = :id AND token = :token AND state = 'running' AND lease_until = :lease RETURNING state
        """,
        {
            "id": job.id,
            "token": job.token,
            "lease": job.lease_until,
            "cause": cause,
            "message": message,
            "delay": 0,
            "retry": WAITS_FOR_A_RETRY,
        },
    )
    return None if row is None else str(row["state"])


def lock_families(tx: Transaction, job_ids: Sequence[str]) -> None:
    """Keep jobs and their children as they are until the commit; in one order for all, nobody waits for each other."""
    marks = ", ".join("?" * len(job_ids))
    tx.all(
        f"SELECT id FROM job WHERE id IN ({marks}) OR parent_id IN ({marks}) ORDER BY id {{for_update}}",
        (*job_ids, *job_ids),
    )


def cancel(tx: Transaction, job_id: str) -> str | None:
    """Ask for the end of a job that is locked: its state afterwards (``running``: it will stop within seconds);
    ``None``: no such job."""
    # Before its children end: afterwards their share would be all of it.
    tx.run(
        f"""
        UPDATE job SET progress = coalesce((SELECT {_DONE} FROM job AS child WHERE parent_id = :id), 0),
               started_at = (SELECT min(child.started_at) FROM job AS child WHERE child.parent_id = :id)
        WHERE id = :id AND state = 'waiting' AND waits_for = 'children'
        """,
        {"id": job_id},
    )
    tx.run(
        """
        UPDATE job SET state = 'cancelled', cancel_requested = 1, finished_at = {now}, waits_for = NULL,
               message = NULL, token = token + 1
        WHERE (id = :id OR parent_id = :id) AND state IN ('queued', 'waiting')
        """,
        {"id": job_id},
    )
    tx.run(
        "UPDATE job SET cancel_requested = 1, join_key = NULL"  # whoever asks anew must not join what is ending
        " WHERE (id = :id OR parent_id = :id) AND state = 'running'",
        {"id": job_id},
    )
    row = tx.first("SELECT state FROM job WHERE id = :id", {"id": job_id})
    return None if row is None else str(row["state"])


def mark_published(tx: Transaction, job_ids: Sequence[str]) -> None:
    """Note that wake-ups were sent, of jobs that are still due: a worker may have been quicker than this note, and
    the job's next attempt needs a wake-up of its own."""
    tx.run_many(
        f"UPDATE job SET published_at = {{now}} WHERE id = :id AND {_DUE}",
        [{"id": job_id} for job_id in sorted(job_ids)],
    )


def mark_unsent(tx: Transaction, job_id: str) -> None:
    """Note that no message speaks of a due job any more."""
    tx.run(f"UPDATE job SET published_at = NULL WHERE id = :id AND {_DUE}", {"id": job_id})


def due_unpublished(tx: Transaction, limit: int, besides: Collection[str] = ()) -> list[Job]:
    """Due jobs that no message speaks of, by priority; ``besides``: of other queues than these.  The submitter
    publishes within its first second."""
    others, names = _other_queues(besides)
    rows = tx.all(
        f"""
        SELECT {_LISTED} FROM job WHERE {_DUE} AND published_at IS NULL AND submitted_at < {{now}} - 1 {others}
        ORDER BY priority DESC, run_at LIMIT :limit
        """,
        {"limit": limit, **names},
    )
    return [_job(row) for row in rows]


def due_published_before(tx: Transaction, seconds: float, limit: int, besides: Collection[str] = ()) -> list[Job]:
    """Due jobs whose message was sent a while ago and brought no claim; ``besides``: of other queues than these."""
    others, names = _other_queues(besides)
    rows = tx.all(
        f"""
        SELECT {_LISTED} FROM job WHERE {_DUE} AND published_at < {{now}} - :seconds {others}
        ORDER BY run_at LIMIT :limit
        """,
        {"seconds": seconds, "limit": limit, **names},
    )
    return [_job(row) for row in rows]


def _other_queues(besides: Collection[str]) -> tuple[str, dict[str, str]]:
    names = {f"queue_{number}": one for number, one in enumerate(besides)}
    return (f"AND queue NOT IN ({', '.join(f':{name}' for name in names)})" if names else ""), names


def are_misdated(tx: Transaction, longest_seconds: float) -> bool:
    """Does a job wait for a moment that only a wrong clock can have named?  ``longest_seconds``: of a back-off."""
    found = tx.first(f"SELECT 1 FROM job WHERE {_MISDATED} LIMIT 1", {"longest": longest_seconds})
    return found is not None


def redate(tx: Transaction, longest_seconds: float) -> int:
    """Make those jobs due, and have a wake-up sent: how many."""
    return tx.run(
        f"""
        UPDATE job SET run_at = {{now}}, published_at = NULL,
               submitted_at = CASE WHEN submitted_at > {{now}} - 1 THEN {{now}} - 1 ELSE submitted_at END
        WHERE {_MISDATED}
        """,
        {"longest": longest_seconds},
    )


def parents_to_finish(tx: Transaction, limit: int = 50) -> list[Job]:
    """Parents that wait for children of which none is open any more."""
    rows = tx.all(
        f"""
        SELECT {_LISTED} FROM job AS parent
        WHERE state = 'waiting' AND waits_for = 'children'
          AND NOT EXISTS (SELECT 1 FROM job AS child WHERE child.parent_id = parent.id AND child.{_OPEN})
        LIMIT :limit
        """,
        {"limit": limit},
    )
    return [_job(row) for row in rows]


def has_open_children(tx: Transaction, parent_id: str) -> bool:
    return tx.first(f"SELECT 1 FROM job WHERE parent_id = :id AND {_OPEN} LIMIT 1", {"id": parent_id}) is not None


def open_children(tx: Transaction, parent_id: str) -> list[Job]:
    """Those that are not at their end, without what they settled."""
    rows = tx.all(f"SELECT {_LISTED} FROM job WHERE parent_id = :id AND {_OPEN} ORDER BY id", {"id": parent_id})
    return [_job(row) for row in rows]


def open_parts(tx: Transaction, parent_id: str) -> dict[str, tuple[JobState, float]]:
    """State and progress of the children that are not at their end, by id."""
    rows = tx.all(f"SELECT id, state, progress FROM job WHERE parent_id = :id AND {_OPEN}", {"id": parent_id})
    return {row["id"]: (JobState(row["state"]), row["progress"]) for row in rows}


def due_children(tx: Transaction, parent_id: str, limit: int) -> list[Job]:
    """The first that are due."""
    sql = f"SELECT {_LISTED} FROM job WHERE parent_id = :id AND {_DUE} ORDER BY id LIMIT :limit"
    return [_job(row) for row in tx.all(sql, {"id": parent_id, "limit": limit})]


def children(tx: Transaction, parent_id: str) -> list[Job]:
    """In the order of their submission within the parent."""
    rows = tx.all(f"SELECT {_WHOLE} FROM job WHERE parent_id = :id ORDER BY id", {"id": parent_id})
    return [_job(row) for row in rows]


def finish_parent(
    tx: Transaction, parent: Job, state: JobState, result: JsonDict, cause: str | None, message: str | None
) -> bool:
    return bool(
        tx.run(
            """
            UPDATE job SET state = :state, result = :result, error_cause = :cause, error_message = :message,
                   waits_for = NULL, finished_at = {now}, progress = 1,
                   started_at = (SELECT min(child.started_at) FROM job AS child WHERE child.parent_id = job.id)
            WHERE id = :id AND state = 'waiting' AND waits_for = 'children'
            """,
            {
                "id": parent.id,
                "state": state,
                "result": orjson.dumps(result).decode(),
                "cause": cause,
                "message": message,
            },
        )
    )


def delete(tx: Transaction, job_id: str) -> bool:
    """Forget a finished job, with its parts; an open one stays."""
    gone = tx.run(f"DELETE FROM job WHERE id = :id AND state IN {_FINAL}", {"id": job_id})
    if gone:
        tx.run(f"DELETE FROM job WHERE parent_id = :id AND state IN {_FINAL}", {"id": job_id})
    return bool(gone)


def _job(row: Row) -> Job:
    return Job(
        id=row["id"],
        task=row["task"],
        queue=row["queue"],
        state=JobState(row["state"]),
        arguments=orjson.loads(row["arguments"]),
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        token=row["token"],
        submitted_at=row["submitted_at"],
        run_at=row["run_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        lease_until=row["lease_until"],
        owner=row["owner"],
        parent_id=row["parent_id"],
        priority=row["priority"],
        cancel_requested=bool(row["cancel_requested"]),
        progress=row["progress"],
        message=row["message"],
        waits_for=row["waits_for"],
        published_at=row["published_at"],
        outcomes=orjson.loads(row["outcomes"]) if row["outcomes"] else (),
        result=orjson.loads(row["result"]) if row["result"] else None,
        error_cause=row["error_cause"],
        error_message=row["error_message"],
    )
