"""Waiting for something no longer than a bounded time, whatever it hangs in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T], name: str) -> T:
    """What ``work`` returns or raises, or TimeoutError.

    It runs in a daemon thread: looking a name up, or a TLS handshake with a host that froze, can't be interrupted, and
    what is not done in time goes on with nobody waiting.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as exc:  # raised again where it is waited for
            failed.append(exc)

    thread = threading.Thread(target=run, name=f"marketjobs-{name}", daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return done[0]
