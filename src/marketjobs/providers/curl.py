"""What all vendors are reached by: trusted authorities, and libcurl's failures in words.

curl_cffi is imported by whoever makes a session, at its first request.
"""

from __future__ import annotations

import os
import re
import time
from functools import cache
from pathlib import Path
from typing import Any

MAX_ANSWER_BYTES = 32 << 20
IDLE_SECONDS = 20.0
"""Servers close connections that idle for longer."""
CONNECT_SECONDS = 0.25
"""So much later a request may leave that has to connect first."""
_OF_THE_PROXY = re.compile(r"CONNECT tunnel failed, response (\d{3})|HTTP code (\d{3}) from proxy")


def authorities(ca_bundle: str | None) -> str | bool:
    """The file of trusted authorities; ``True``: curl_cffi's own.

    curl_cffi reads SSL_CERT_FILE when it is imported and prefers REQUESTS_CA_BUNDLE to it later on; here the
    order is always the documented one.
    """
    if ca_bundle:
        return ca_bundle
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(name)
        if path and Path(path).is_file():
            return path
    return True


def failed_to_connect(error: BaseException) -> bool:
    """Did a request fail before a byte of it was sent?"""
    from curl_cffi.requests.exceptions import ProxyError, RequestException

    return isinstance(error, RequestException) and (error.code in _tables()[0] or isinstance(error, ProxyError))


def reason(error: Exception, timeout_seconds: float) -> str:
    """Why a request had no answer, in words; never an address or a key."""
    from curl_cffi.const import CurlECode
    from curl_cffi.requests.exceptions import ProxyError

    code = getattr(error, "code", 0)
    if code == CurlECode.OPERATION_TIMEDOUT:
        return f"no answer within {timeout_seconds:g} s"
    told = _OF_THE_PROXY.search(str(error))
    if told:
        return _proxy_said(told[1] or told[2])
    if isinstance(error, ProxyError) and code != CurlECode.COULDNT_RESOLVE_PROXY:
        return "the proxy refused the connection"
    return _tables()[1].get(code) or type(error).__name__


def _proxy_said(status: str) -> str:
    """What a proxy's answer to CONNECT means: the vendor was not reached."""
    if status == "407":
        return "the proxy wants a login (407)"
    return f"the proxy {'refused the connection' if status[0] == '4' else 'gets no connection'} ({status})"


class Sockets:
    """Which requests must connect first, as far as can be told from outside: libcurl keeps idle connections, and says
    nothing of them."""

    def __init__(self) -> None:
        self._idle_since: list[float] = []

    def take(self) -> bool:
        """A request is about to be sent: is a connection open for it?"""
        now = time.monotonic()
        while self._idle_since:
            if now - self._idle_since.pop() < IDLE_SECONDS:
                return True
        return False

    def give_back(self) -> None:
        """It was answered."""
        self._idle_since.append(time.monotonic())


def timings() -> list[Any]:
    """What a session must note of its answers for :func:`seconds_to_send`."""
    from curl_cffi.const import CurlInfo

    return [CurlInfo.PRETRANSFER_TIME]


def seconds_to_send(response: Any) -> float:
    """How long it took until the request left: a new connection is made first, with TLS in a few round trips."""
    return float(response.infos[timings()[0]])


@cache
def _tables() -> tuple[frozenset[int], dict[int, str]]:
    from curl_cffi.const import CurlECode

    to_connect = frozenset(
        {
            CurlECode.COULDNT_RESOLVE_PROXY,
            CurlECode.COULDNT_RESOLVE_HOST,
            CurlECode.COULDNT_CONNECT,
            CurlECode.SSL_CONNECT_ERROR,
        }
    )
    reasons: dict[int, str] = {
        CurlECode.COULDNT_RESOLVE_PROXY: "the name of the proxy can't be resolved",
        CurlECode.COULDNT_RESOLVE_HOST: "the name can't be resolved",
        CurlECode.COULDNT_CONNECT: "no connection",
        CurlECode.SSL_CONNECT_ERROR: "TLS failed",
        CurlECode.PEER_FAILED_VERIFICATION: "its certificate is not trusted",
        CurlECode.SSL_CACERT_BADFILE: "the file of trusted authorities can't be read",
        CurlECode.GOT_NOTHING: "closed without an answer",
        CurlECode.RECV_ERROR: "connection lost",
        CurlECode.SEND_ERROR: "connection lost",
        CurlECode.PARTIAL_FILE: "the answer was cut",
        CurlECode.BAD_CONTENT_ENCODING: "the answer can't be unpacked",
    }
    return to_connect, reasons
