"""A way to a server that can swallow everything: nothing is closed, nothing arrives, nobody is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from processes import RedisServer


class BlackHole:
    """Forwards connections to a port of this host.

    What is said after ``swallow()`` is dropped, and a connection that was open then (or is made meanwhile) stays open
    on both sides and dumb for ever, as where a firewall forgot it.  Those made after ``restore()`` are forwarded.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._dark = False
        self._lost: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads: list[threading.Thread] = []
        self._in_thread(self._accept)

    @property
    def half_open(self) -> int:
        """How many connections nobody has closed and nobody will ever hear from."""
        with self._lock:
            return len(self._lost) // 2

    def swallow(self) -> None:
        with self._lock:
            self._dark = True
            self._lost |= self._open

    def restore(self) -> None:
        with self._lock:
            self._dark = False

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._open):
            one.close()

    def _in_thread(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            with self._lock:
                self._open |= {client, server}
                if self._dark:
                    self._lost |= {client, server}
            for source, sink in ((client, server), (server, client)):
                self._in_thread(self._pump, source, sink)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        while True:
            try:
                said = source.recv(65_536)
            except OSError:
                said = b""
            with self._lock:
                is_lost = source in self._lost
            if is_lost and not said:
                return  # an end that nobody hears of either
            try:
                if said and not is_lost:
                    sink.sendall(said)
                elif not said:
                    sink.shutdown(socket.SHUT_RDWR)
                    return
            except OSError:
                return


@pytest.fixture
def black_hole(redis_server: RedisServer) -> Iterator[BlackHole]:
    """The way to our Redis."""
    made = BlackHole(redis_server.port)
    yield made
    made.close()
