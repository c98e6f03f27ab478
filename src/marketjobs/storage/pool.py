"""The few connections that a process keeps, and what a fork means for them."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Generic, TypeVar

from marketjobs.storage.database import POOL_SIZE

C = TypeVar("C", bound=Any)
_parents: list[Any] = []
"""What this process was forked with.  It must not touch a connection of its parent, not even to close it: that would
drop the parent's file locks, or end its session with the server.  So nobody may forget them."""


class Pool(Generic[C]):
    """``idle`` connections, at most as many in use as there are ``slots``; a forked child begins with none."""

    def __init__(self) -> None:
        self._reset()
        mine = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _after_fork(mine))

    def _reset(self) -> None:
        self.idle: list[C] = []
        self.slots = threading.BoundedSemaphore(POOL_SIZE)

    def close(self) -> None:
        """Close what is idle."""
        while self.idle:
            self.idle.pop().close()


def _after_fork(pool: weakref.ref[Pool[Any]]) -> None:
    living = pool()
    if living is not None:
        _parents.append(living.idle)
        living._reset()
