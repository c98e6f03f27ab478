"""Feeds on loopback: whatever bytes a test puts at a path, with conditional requests and redirects; a proxy too.

    with FeedVendor() as vendor:
        vendor.pages["/feed.xml"] = Page(feed(3))
        ... the product with vendor.url + "/feed.xml" ...
        assert vendor.requests[-1].path == "/feed.xml"

As a proxy it answers ``http://HOST/PATH`` with the page at PATH, and remembers the whole address.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

NEWEST = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Request(NamedTuple):
    target: str
    path: str
    headers: dict[str, str]


@dataclass
class Page:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/rss+xml"
    etag: str | None = None
    pause_seconds: float = 0.0


def item(number: int, *, date: str | None = "", title: str = "", link: str = "", guid: str | None = "") -> str:
    """One of a feed; ``None`` leaves out what is otherwise made of the number."""
    written = format_datetime(datetime.fromtimestamp(NEWEST.timestamp() - 60 * number, UTC), usegmt=True)
    dated = "" if date is None else f"<pubDate>{date or written}</pubDate>"
    named = "" if guid is None else f'<guid isPermaLink="false">{guid or f"id-{number}"}</guid>'
    return (
        f"<item><title>{escape(title or f'Story {number}')}</title>"
        f"<link>{escape(link or f'https://news.example.com/{number}')}</link>{named}{dated}"
        f"<description><![CDATA[<p>What <b>happened</b> for the {number}. time.</p><img src='x.png'>]]></description>"
        "</item>"
    )


def rss(
    items: Iterable[str], title: str = "A &amp; B News", head: str = '<?xml version="1.0" encoding="utf-8"?>'
) -> bytes:
    whole = f'{head}<rss version="2.0"><channel><title>{title}</title>{"".join(items)}</channel></rss>'
    return whole.encode()


def feed(count: int) -> bytes:
    return rss(item(number) for number in range(count))


class FeedVendor:
    """The server, its pages and the requests that it saw."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.requests: list[Request] = []
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                sent = {name.lower(): value for name, value in self.headers.items()}
                vendor.requests.append(Request(self.path, path, sent))
                page = vendor.pages.get(path) or vendor.pages.get(parts.path) or Page(b"nothing", 404)
                time.sleep(page.pause_seconds)
                headers = dict(page.headers)
                status, body = page.status, page.body
                if page.etag is not None:
                    headers |= {"ETag": page.etag, "Last-Modified": "Fri, 20 Nov 2026 12:00:00 GMT"}
                    if sent.get("if-none-match") == page.etag:
                        status, body = 304, b""
                self.send_response(status)
                self.send_header("Content-Type", page.content_type)
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Not on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FeedVendor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
