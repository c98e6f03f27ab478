"""The client of vendors that are asked over plain HTTP, against a server: budgets, keys, loops, failures."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from coin_vendor import CoinVendor
from contract.providers import NOW, RecordingGate
from marketjobs.errors import (
    BudgetSpent,
    MalformedAnswer,
    PlanRestricted,
    ProviderError,
    ProviderUnavailable,
    Unauthorised,
)
from marketjobs.providers import answers
from marketjobs.providers.base import Connection, Gate, Grant
from marketjobs.providers.http import Answer, HttpClient
from marketjobs.services.budgets import BudgetGate
from marketjobs.services.runtime import Runtime

KEY = "k5ecret+/=&"
PING = "/api/v3/ping"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def vendor() -> Iterator[CoinVendor]:
    with CoinVendor(now=NOW) as vendor:
        yield vendor


@pytest.fixture
def gate() -> RecordingGate:
    return RecordingGate(KEY)


def judge(answer: Answer, symbol: str | None) -> ProviderError | None:
    return answers.refusal("any", answer, symbol)


def client(gate: Gate, url: str, timeout_seconds: float = 10.0, **options: str) -> HttpClient:
    connection = Connection(gate=gate, base_url=url, timeout_seconds=timeout_seconds, max_connections=4)
    return HttpClient("any", connection, judge, **options)  # type: ignore[arg-type]


@pytest.fixture
def http(vendor: CoinVendor, gate: RecordingGate) -> Iterator[HttpClient]:
    http = client(gate, vendor.url)
    yield http
    http.close()


def test_parameters_and_headers_arrive_as_they_are(http: HttpClient, vendor: CoinVendor) -> None:
    given = {"ids": "a b,ü", "x": '["A&B","C=D"]', "y": "100%+1"}
    asyncio.run(http.get(PING, given, headers={"X-One": "1"}))
    assert vendor.requests[0].query == given
    headers = vendor.requests[0].headers
    assert headers["x-one"] == "1"
    assert headers["user-agent"].startswith("marketjobs/")
    assert headers["accept-encoding"] == "gzip"


def test_a_path_is_encoded_where_it_must_be(http: HttpClient, vendor: CoinVendor) -> None:
    for path in ("/a b/é", "/a%20b"):
        with pytest.raises(ProviderUnavailable, match="404"):
            asyncio.run(http.get(path))
    assert [request.path for request in vendor.requests] == ["/a%20b/%C3%A9", "/a%20b"]


@pytest.mark.parametrize("place", ["key_header", "key_parameter"])
def test_a_key_goes_where_the_vendor_wants_it_and_is_never_shown(
    vendor: CoinVendor, gate: RecordingGate, place: str
) -> None:
    http = client(gate, vendor.url, **{place: "x-key"})
    asyncio.run(http.get(PING, {"a": "1"}))
    request = vendor.requests[0]
    assert request.headers.get("x-key") == (KEY if place == "key_header" else None)
    assert request.query == ({"a": "1"} if place == "key_header" else {"a": "1", "x-key": KEY})
    vendor.fault("reset", times=1)
    vendor.fault("status", code=401, times=1)
    for expected in (ProviderUnavailable, Unauthorised):
        with pytest.raises(expected) as caught:
            asyncio.run(http.get(PING))
        chain: BaseException | None = caught.value
        assert "k5ecret" not in f"{caught.value!r}{caught.value.hint}{gate.holds}{gate.failures}"
        assert "k5ecret" not in repr(Grant(KEY))
        while chain is not None:
            assert "k5ecret" not in str(chain)
            chain = chain.__cause__
    assert gate.held_keys == [KEY]
    http.close()


def test_a_key_that_is_not_sent_is_not_what_is_refused(
    http: HttpClient, vendor: CoinVendor, gate: RecordingGate
) -> None:
    vendor.fault("status", code=429, retry_after=5, times=1)
    vendor.fault("status", code=401, times=1)
    for _ in range(2):
        with pytest.raises(ProviderError):
            asyncio.run(http.get(PING))
    assert list(zip(gate.holds, gate.held_keys, strict=True)) == [(("any says: too many requests (429)", 5.0), None)]


def test_a_refused_key_is_set_aside_and_the_next_one_asked(vendor: CoinVendor, runtime: Runtime) -> None:
    gate = BudgetGate(runtime.database, "any", (), 1.0, api_keys=["first-k5ecret", "second-k5ecret"])
    http = client(gate, vendor.url, key_header="x-key")
    vendor.fault("status", code=401, times=1)
    assert asyncio.run(http.get(PING)).status == 200
    keys = [request.headers["x-key"] for request in vendor.requests]
    assert sorted(keys) == ["first-k5ecret", "second-k5ecret"]
    vendor.fault("status", code=401)
    with pytest.raises(Unauthorised) as caught:
        asyncio.run(http.get(PING))
    assert not caught.value.retryable, "only a person can mend that"
    assert caught.value.hint == "mend providers.any.api_keys"
    asked = len(vendor.requests)
    with pytest.raises(Unauthorised, match="may be asked again in") as caught:
        asyncio.run(http.get(PING))
    assert (len(vendor.requests), caught.value.retryable) == (asked, False), "both are known to be wrong"
    vendor.clear()
    corrected = BudgetGate(runtime.database, "any", (), 1.0, api_keys=["third-k5ecret"])
    http.close()
    http = client(corrected, vendor.url, key_header="x-key")
    assert asyncio.run(http.get(PING)).status == 200
    http.close()


def test_a_vendor_that_quotes_the_key_is_not_quoted(vendor: CoinVendor) -> None:
    gate = RecordingGate(KEY)

    def quoting(answer: Answer, symbol: str | None) -> ProviderError:
        return PlanRestricted(f"any: your key {answer.grant.api_key} has no such plan", provider="any")

    http = HttpClient("any", Connection(gate=gate, base_url=vendor.url), quoting, key_header="x-key")
    with pytest.raises(PlanRestricted) as caught:
        asyncio.run(http.get(PING))
    assert caught.value.message == "any: your key ******** has no such plan"
    http.close()


def test_a_call_that_is_granted_too_late_is_given_back(vendor: CoinVendor) -> None:
    asked, let_go = threading.Event(), threading.Event()

    class Slow(RecordingGate):
        def spend(self, weight: int = 1, *, part: str = "") -> Grant:
            asked.set()
            assert let_go.wait(10)
            return super().spend(weight)

    gate = Slow()
    http = client(gate, vendor.url)

    async def run() -> None:
        waiting = asyncio.create_task(http.get(PING))
        await asyncio.to_thread(asked.wait, 10)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        let_go.set()
        while gate.spent != 0 or gate.weight == 0:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 10))
    assert not vendor.requests
    http.close()


def test_waiting_for_the_budget_holds_up_nothing_else(vendor: CoinVendor, gate: RecordingGate) -> None:
    let_go = threading.Event()

    class Slow(RecordingGate):
        def spend(self, weight: int = 1, *, part: str = "") -> Grant:
            assert let_go.wait(10)
            return super().spend(weight)

    http = client(Slow(), vendor.url)

    async def run() -> int:
        asked = asyncio.create_task(http.get(PING))
        turns = 0
        while turns < 50:
            await asyncio.sleep(0)
            turns += 1
        assert not asked.done()
        let_go.set()
        return (await asked).status

    assert asyncio.run(run()) == 200
    http.close()


def test_who_gives_up_waiting_spends_nothing(vendor: CoinVendor) -> None:
    let_go = threading.Event()

    class Slow(RecordingGate):
        def spend(self, weight: int = 1, *, part: str = "") -> Grant:
            assert let_go.wait(10)
            return super().spend(weight)

    gate = Slow()
    http = client(gate, vendor.url)

    async def run() -> None:
        asked = [asyncio.create_task(http.get(PING)) for _ in range(3)]
        await asyncio.sleep(0.05)
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        let_go.set()
        await http.get(PING)

    asyncio.run(run())
    assert gate.spent <= 2, "the one that was being asked for, and the last"
    assert len(vendor.requests) == 1
    http.close()


def test_a_gates_refusal_is_raised_where_it_was_asked(http: HttpClient, gate: RecordingGate) -> None:
    gate.spend_raises = BudgetSpent("later", provider="any", retry_after_seconds=60)
    with pytest.raises(BudgetSpent) as caught:
        asyncio.run(http.get(PING))
    assert caught.value is gate.spend_raises
    gate.spend_raises = None
    assert asyncio.run(http.get(PING)).status == 200


def test_the_gate_is_asked_in_the_context_of_the_job(vendor: CoinVendor) -> None:
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="")
    seen = []

    class Looking(RecordingGate):
        def spend(self, weight: int = 1, *, part: str = "") -> Grant:
            seen.append((whose.get(), threading.current_thread().name))
            return super().spend(weight)

    http = client(Looking(), vendor.url)

    async def one(name: str) -> None:
        whose.set(name)
        await http.get(PING)

    async def run() -> None:
        await asyncio.gather(one("a"), one("b"))

    asyncio.run(run())
    assert sorted(seen) == [("a", "marketjobs-budget"), ("b", "marketjobs-budget")]
    http.close()


def test_no_more_are_under_way_than_allowed(vendor: CoinVendor, gate: RecordingGate) -> None:
    http = client(gate, vendor.url)
    vendor.latency_seconds = 0.05

    async def run() -> float:
        began = time.monotonic()
        await asyncio.gather(*(http.get(PING) for _ in range(12)))
        return time.monotonic() - began

    assert asyncio.run(run()) >= 0.15
    assert gate.spent == 12
    http.close()


def test_a_refused_connection_is_tried_twice_spends_twice_and_is_one_outage(gate: RecordingGate) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        http = client(gate, f"http://127.0.0.1:{unused.getsockname()[1]}", key_parameter="key")
        with pytest.raises(ProviderUnavailable, match=r"^any \(127\.0\.0\.1\): no connection$") as caught:
            asyncio.run(http.get(PING, {"a": "1"}, symbol="A"))
    assert (gate.spent, len(gate.failures)) == (2, 1)
    assert caught.value.symbol == "A"
    http.close()


@pytest.mark.parametrize(("fault", "args"), [("hang", {"seconds": 5.0}), ("slow", {"seconds": 10.0})])
def test_an_answer_that_takes_too_long_is_an_outage(
    vendor: CoinVendor, gate: RecordingGate, fault: str, args: dict[str, float]
) -> None:
    http = client(gate, vendor.url, timeout_seconds=0.3)
    vendor.fault(fault, times=1, **args)
    began = time.monotonic()
    with pytest.raises(ProviderUnavailable, match=r"no answer within 0\.3 s"):
        asyncio.run(http.get("/api/v3/coins/list"))
    assert time.monotonic() - began < 3
    assert (gate.spent, len(gate.failures)) == (1, 1)
    http.close()


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("403 Forbidden", "the proxy refused the connection (403)"),
        ("407 Login", "the proxy wants a login (407)"),
        ("502 Bad Gateway", "the proxy gets no connection (502)"),
    ],
)
def test_a_proxy_that_refuses_is_not_taken_for_the_vendor(gate: RecordingGate, status: str, why: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            with suppress(OSError):
                while True:
                    asking, _ = server.accept()
                    with asking:
                        asking.recv(4096)
                        asking.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

        threading.Thread(target=refuse, daemon=True).start()
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
        http = HttpClient("any", Connection(gate, "https://vendor.invalid", proxy=proxy, timeout_seconds=5), judge)
        with pytest.raises(ProviderUnavailable) as caught:
            asyncio.run(http.get(PING))
        http.close()
        server.shutdown(socket.SHUT_RDWR)
    assert caught.value.message == f"any (vendor.invalid): {why}"


def test_more_than_the_limit_is_not_read(http: HttpClient, vendor: CoinVendor, gate: RecordingGate) -> None:
    vendor.fault("huge", megabytes=40)
    with pytest.raises(MalformedAnswer, match="more than 32 MiB"):
        asyncio.run(http.get(PING))
    assert gate.passes == 0
    assert gate.failures == []


def test_a_redirect_is_not_followed(http: HttpClient, vendor: CoinVendor) -> None:
    with CoinVendor(now=NOW) as other:
        vendor.fault("redirect", location=f"{other.url}{PING}")
        with pytest.raises(ProviderUnavailable, match="redirects"):
            asyncio.run(http.get(PING))
        assert not other.requests


def test_a_new_loop_has_sockets_of_its_own_and_old_threads_end(http: HttpClient, vendor: CoinVendor) -> None:
    before = _askers()
    for _ in range(5):
        assert asyncio.run(http.get(PING)).status == 200
    assert len(http._opened) == 1
    wait_until = time.monotonic() + 5
    while time.monotonic() < wait_until and len(_askers() - before) > 1:
        time.sleep(0.01)
    assert len(_askers() - before) == 1
    http.close()
    while time.monotonic() < wait_until and _askers() - before:
        time.sleep(0.01)
    assert not _askers() - before


def test_a_loop_at_the_address_of_an_old_one_is_another(http: HttpClient) -> None:
    asyncio.run(http.get(PING))
    [old] = http._opened.values()

    async def run() -> int:
        http._opened[os.getpid(), id(asyncio.get_running_loop())] = old
        return (await http.get(PING)).status

    assert asyncio.run(run()) == 200


def _askers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "marketjobs-budget"}


def test_a_forked_child_has_a_session_of_its_own(http: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        await http.get(PING)
        [parents] = http._opened.values()
        with monkeypatch.context() as patched:
            patched.setattr(os, "getpid", lambda: -1)
            await http.get(PING)
            assert len(http._opened) == 2
            http.close()
        assert list(http._opened.values()) == [parents]

    asyncio.run(run())


def test_closed_it_opens_again(http: HttpClient) -> None:
    async def run() -> None:
        await http.get(PING)
        http.close()
        await http.get(PING)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "17"}, 17.0),
        ({"retry-after": " 17 "}, 17.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "99999999"}, 3 * 86_400.0),
        ({"retry-after": "Fri, 20 Nov 2026 23:02:00 GMT", "date": "Fri, 20 Nov 2026 23:00:00 GMT"}, 120.0),
        ({"retry-after": "Fri, 20 Nov 2026 22:00:00 GMT", "date": "Fri, 20 Nov 2026 23:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert answers.retry_after_seconds(headers) == seconds


def test_nothing_heavy_is_imported_before_the_first_request() -> None:
    code = (
        "import sys; from marketjobs.providers.base import Connection;"
        "from marketjobs.providers import binance, coingecko, coinmarketcap;"
        "c = Connection(gate=None, base_url='http://x');"
        "[one(c) for one in (binance.Binance, coingecko.CoinGecko, coinmarketcap.CoinMarketCap)];"
        "print([m for m in ('curl_cffi', 'tenacity', 'yfinance') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
