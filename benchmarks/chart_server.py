"""Yahoo's chart on loopback for many symbols, so cheap that it is not what is measured.

    python benchmarks/chart_server.py --port 8100 --latency-ms 80

The tests' vendor server makes a series for each symbol and renders it; here some series are rendered once for each
query, and a symbol gets one of them with its name in it.  One process, one thread, no work but that.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import zlib
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from vendor import Vendor

CHART = "/v8/finance/chart/"
SERIES = [f"BENCHSERIES{number}" for number in range(10)]


class Answers:
    """Whole answers, head and body, of the tests' vendor."""

    def __init__(self) -> None:
        self._vendor = Vendor()
        self._rendered = lru_cache(maxsize=64)(self._render)

    def to(self, target: str) -> bytes:
        path, _, query = target.partition("?")
        _, found, symbol = path.partition(CHART)
        if not found:
            return self._render(path, query)
        series = SERIES[zlib.crc32(symbol.encode()) % len(SERIES)]
        body = self._rendered(f"{CHART}{series}", query).partition(b"\r\n\r\n")[2]
        body = body.replace(series.encode(), symbol.encode())
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    def _render(self, path: str, query: str) -> bytes:
        reply, _ = self._vendor.answer(path, {name: values[-1] for name, values in parse_qs(query).items()})
        headers = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        head = f"HTTP/1.1 {reply.status} OK\r\nContent-Length: {len(reply.body)}\r\n{headers}\r\n"
        return head.encode("latin-1") + reply.body


class Connection(asyncio.Protocol):
    """Keep-alive; a request has no body, and the next comes after its answer."""

    def __init__(self, answers: Answers, latency_seconds: float) -> None:
        self._answers = answers
        self._latency_seconds = latency_seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            target = head.split(b" ", 2)[1].decode("latin-1")
            asyncio.get_running_loop().call_later(self._latency_seconds, self._answer, target)

    def _answer(self, target: str) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._answers.to(target))


async def serve(port: int, latency_seconds: float) -> None:
    answers = Answers()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(answers, latency_seconds), "127.0.0.1", port, backlog=1024
    )
    print(f"http://127.0.0.1:{port}", flush=True)  # whoever started it waits for this line
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.port, chosen.latency_ms / 1000))


if __name__ == "__main__":
    main()
