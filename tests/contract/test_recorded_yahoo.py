"""Answers that Yahoo really gave, over HTTP: status, headers and body as recorded, through the whole client.

tests/recorded_yahoo.py says what each has to become.
"""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine

from contract.providers import RecordingGate, ask
from marketjobs.domain.bars import BarAnswer, BarQuery
from marketjobs.domain.intervals import Interval
from marketjobs.errors import ProviderError, RateLimited
from marketjobs.providers.base import Connection
from marketjobs.providers.yahoo import Yahoo
from recorded_yahoo import BARS, EVER, REFUSED, body_of, index, needs_recordings, query_of, seen

pytestmark = needs_recordings

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


class Replay:
    """A server that gives one recorded answer to whatever is asked, and remembers the paths."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 200, dict[str, str](), b""
        self.chunk_bytes = 0
        self.paths: list[str] = []
        replay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                replay.paths.append(urlsplit(self.path).path)
                self.send_response_only(replay.status)
                for name, value in replay.headers.items():
                    self.send_header(name, value)
                if replay.chunk_bytes:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for start in range(0, len(replay.body), replay.chunk_bytes):
                        part = replay.body[start : start + replay.chunk_bytes]
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.send_header("Content-Length", str(len(replay.body)))
                    self.end_headers()
                    self.wfile.write(replay.body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def load(self, name: str, encoding: str | None = None) -> None:
        """``encoding``: instead of the recorded one; the recordings keep bodies unpacked."""
        row = index()[name]
        self.status = row["status"]
        encoding = encoding or row["headers"].get("content-encoding", "identity")
        self.headers = {**row["headers"], "content-encoding": encoding}
        self.body = ENCODINGS[encoding](body_of(name))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def replay() -> Iterator[Replay]:
    made = Replay()
    yield made
    made.close()


@pytest.fixture
def gate() -> RecordingGate:
    return RecordingGate()


@pytest.fixture
def provider(replay: Replay, gate: RecordingGate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yahoo]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    made = Yahoo(Connection(gate=gate, base_url=replay.url, timeout_seconds=10.0, max_connections=2))
    yield made
    made.close()


def asked(provider: Yahoo, name: str) -> BarAnswer:
    """The recording's question, at its time where that matters."""
    at = BARS[name].asked_at
    with time_machine.travel(datetime.fromisoformat(at).replace(tzinfo=UTC)) if at else nullcontext():
        return ask(provider, query_of(name))


@pytest.mark.parametrize("name", BARS)
def test_recorded_bars_over_http(name: str, provider: Yahoo, replay: Replay, gate: RecordingGate) -> None:
    replay.load(name)
    assert seen(asked(provider, name)) == BARS[name]
    assert replay.paths == [index()[name]["path"].replace("^", "%5E")]
    assert (gate.spent, gate.passes, gate.holds) == (1, 1, [])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("chunk_bytes", [0, 1000])
def test_recorded_bars_whatever_the_packing(provider: Yahoo, replay: Replay, encoding: str, chunk_bytes: int) -> None:
    name = "chart_MSFT_1d_20210201_20220131.json"
    replay.load(name, encoding)
    replay.chunk_bytes = chunk_bytes
    assert seen(ask(provider, query_of(name))) == BARS[name]


@pytest.mark.parametrize("name", REFUSED)
def test_recorded_refusals_over_http(name: str, provider: Yahoo, replay: Replay, gate: RecordingGate) -> None:
    replay.load(name)
    with pytest.raises(ProviderError) as caught:
        ask(provider, BarQuery("AAPL", Interval.DAY_1, EVER))
    error, expected = caught.value, REFUSED[name]
    assert type(error) is expected.error
    assert expected.words in error.message
    assert "\n" not in error.message
    assert (error.provider, error.symbol) == ("yahoo", "AAPL")
    assert len(replay.paths) == gate.spent == 1, "a refusal is not asked again"
    assert len(gate.holds) == (expected.error is RateLimited)


def test_every_recording_one_after_the_other_through_one_client(provider: Yahoo, replay: Replay) -> None:
    """A refusal leaves nothing behind that the next answer would be read with."""
    for refused in REFUSED:
        replay.load(refused)
        with pytest.raises(ProviderError):
            ask(provider, BarQuery("AAPL", Interval.DAY_1, EVER))
        for name in BARS:
            replay.load(name)
            assert seen(asked(provider, name)) == BARS[name]
