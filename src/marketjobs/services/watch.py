"""Following a job to its end, and running it here where nobody else will."""

from __future__ import annotations

import time
from collections.abc import Callable

from marketjobs.domain.jobs import WAITS_FOR_CHILDREN, Job, JobState
from marketjobs.domain.moments import clock, lasting
from marketjobs.errors import JobNotFinished, NoWorker
from marketjobs.services import attempts, kinds, mend, workers
from marketjobs.services.brokers import broker_label
from marketjobs.services.jobs import required
from marketjobs.services.runtime import Runtime
from marketjobs.storage import jobs

POLL_SECONDS = 0.1
LONGEST_POLL_SECONDS = 0.5
LOOK_FOR_WORKERS_SECONDS = 2.0
LONGEST_SLEEP_SECONDS = 60.0

Say = Callable[[str], None]
Run = Callable[[Job], None]


def follow(
    runtime: Runtime,
    job_id: str,
    *,
    inline: bool = False,
    timeout_seconds: float | None = None,
    say: Say = lambda _: None,
    run: Run | None = None,
) -> Job:
    """Wait for a job's end; run it in this process when asked to, or when no worker is alive for it and the
    queue is the embedded one.  ``run`` makes one attempt at a job that no kind has the code of.

    Raises:
        JobNotFinished: ``timeout_seconds`` passed, or it waits longer than a minute for a budget and nobody
            else would go on with it.
        NoWorker: a broker is configured and no worker is alive.
    """
    give_up_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    looked_at = -LOOK_FOR_WORKERS_SECONDS
    here, poll = inline, POLL_SECONDS
    said = False
    while True:
        job = current(runtime, job_id)
        if job.state.is_final:
            return job
        if give_up_at is not None and time.monotonic() > give_up_at:
            goes_on = bool(workers.alive(runtime, job.queue))
            raise JobNotFinished(
                f"job {job.id} {'goes on' if goes_on else 'is not finished'}: it {describe(job)}",
                hint=f"marketjobs status {job.id[-8:]} --watch"
                if goes_on
                else f"marketjobs result {job.id[-8:]} --wait",
            )
        if not here and time.monotonic() - looked_at >= LOOK_FOR_WORKERS_SECONDS:
            looked_at = time.monotonic()
            here = not workers.alive(runtime, job.queue)
            if here and not runtime.settings.is_embedded:
                raise NoWorker(
                    f"no worker is alive for queue {job.queue} on {broker_label(runtime.settings)};"
                    f" job {job.id} stays {job.state}",
                    hint="marketjobs worker",
                )
        if here:
            if not said and not inline:
                say("no worker: running here")
                said = True
            pause = _step(runtime, job, give_up_at, run)
        else:
            pause = poll
            poll = min(LONGEST_POLL_SECONDS, poll * 1.2)
        if pause:
            time.sleep(min(pause, _left(give_up_at) + 0.01))


def _left(give_up_at: float | None) -> float:
    return LONGEST_SLEEP_SECONDS if give_up_at is None else max(0.0, give_up_at - time.monotonic())


def _step(runtime: Runtime, job: Job, give_up_at: float | None, run: Run | None = None) -> float:
    """Do what is due of a job in this process; returns how long to pause before the next look."""
    if job.waits_for == WAITS_FOR_CHILDREN:
        return _step_children(runtime, job, give_up_at)
    if job.state is JobState.RUNNING:
        # Another process has it (or had it: then its lease tells).
        return 0.0 if mend.expire(runtime, job.id) else 0.25
    with runtime.database.read() as tx:
        ahead = job.run_at - tx.now()
    if ahead > 0:
        return _pause(job, ahead)
    if kinds.kind_of(job.task) is None:
        if run is not None:
            run(job)
            return 0.0
        raise NoWorker(
            f"no worker is alive that has the code of {job.task}; job {job.id} stays {job.state}",
            hint="start the worker of the program that handed it in",
        )
    attempts.execute(runtime, job.id, deadline=give_up_at)
    return 0.0


def _step_children(runtime: Runtime, parent: Job, give_up_at: float | None) -> float:
    with runtime.database.read() as tx:
        child_id = jobs.next_child(tx, parent.id)
        unfinished = [] if child_id else jobs.open_children(tx, parent.id)
    if child_id is not None:
        attempts.execute(runtime, child_id, deadline=give_up_at)
        return 0.0
    if not unfinished:
        mend.finish_parent(runtime, parent.id)
        return 0.0
    running = next((child for child in unfinished if child.state is JobState.RUNNING), None)
    return _step(runtime, running or min(unfinished, key=lambda child: child.run_at), give_up_at)


def _pause(job: Job, ahead_seconds: float) -> float:
    if ahead_seconds > LONGEST_SLEEP_SECONDS:
        raise JobNotFinished(
            f"job {job.id} {describe(job)}, longer than this command waits; it goes on where a worker runs",
            hint=f"marketjobs result {job.id[-8:]} --wait",
        )
    return min(ahead_seconds, 1.0)


def describe(job: Job) -> str:
    """What an open job does now, in a few words."""
    if job.state is JobState.WAITING:
        if job.waits_for == WAITS_FOR_CHILDREN:
            return f"waits for its parts ({job.progress:.0%} done)"
        seconds = max(0.0, job.run_at - time.time())
        return f"waits until {clock(job.run_at)} ({lasting(seconds)}): {job.waits_for or 'its time'}"
    if job.state is JobState.RUNNING:
        return f"runs (attempt {job.attempt}{', ' + job.message if job.message else ''})"
    return f"is {job.state}"


def current(runtime: Runtime, job_id: str) -> Job:
    """The row as it is now.  Raises JobNotFound."""
    with runtime.database.read() as tx:
        job = jobs.get(tx, job_id)
    return required(job, job_id)
