"""kombu's Redis transport, but what is no message in a list ends no worker, and no read is without an end.

A list of Redis takes any text from anybody.  kombu takes it out, fails to read it, and the worker that it ends has
taken the other messages in its hands along.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any

from kombu.transport import redis
from kombu.utils.eventio import poll
from kombu.utils.objects import cached_property
from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError

from marketjobs.tasks.refusals import refuse

READ_SECONDS = 1.0


class Subscription(PubSub):
    """kombu reads when the socket has something to say.  That may be only that Redis went away; where it is back by
    then, redis-py connects anew in silence and waits for a message for ever, and a worker's main process with it."""

    def parse_response(self, block: bool = True, timeout: float = 0) -> Any:
        return super().parse_response(block=False, timeout=READ_SECONDS)


class Channel(redis.Channel):
    _shared: Redis | None = None

    @cached_property
    def subclient(self) -> PubSub:
        return Subscription(self.async_pool)

    @contextmanager
    def conn_or_acquire(self, client: Redis | None = None) -> Iterator[Redis]:
        """kombu makes a client for each command, which costs more than the command; this one is kept as long as its
        pool of connections."""
        if client is None:
            if self._shared is None or self._shared.connection_pool is not self.pool:
                self._shared = self._create_client()
            client = self._shared
        yield client

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (Empty, OSError, RedisError):
            raise
        except Exception as exc:  # a door: whatever is wrong with it, it has left the list and nobody can read it
            refuse("no message", exc)
            return True


class Cycle(redis.MultiChannelPoller):
    """kombu opens a descriptor to poll for each transport and leaves it to the garbage collector: a program whose
    broker is away tries one transport after the other.  It only sends, so that it needs none."""

    @cached_property
    def poller(self) -> Any:
        return poll()

    def __init__(self) -> None:
        super().__init__()
        del self.poller


class Transport(redis.Transport):
    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Cycle()

    def _deliver(self, message: Any, queue: str) -> None:
        """Also what was published to workers' control channels comes this way."""
        try:
            super()._deliver(message, queue)
        except (LookupError, TypeError, ValueError, AttributeError) as exc:
            refuse("no message", exc)
