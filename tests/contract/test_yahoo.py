"""Yahoo's adapter against a server that speaks its v8 chart: the contract, and what only Yahoo has."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from contract.providers import NOW, YEAR, ProviderContract, RecordingGate, ask
from marketjobs.domain.bars import BarQuery, check
from marketjobs.domain.intervals import Interval, stamp_of
from marketjobs.domain.ranges import FIRST_DAY, Range, days
from marketjobs.errors import (
    Blocked,
    MalformedAnswer,
    ProviderUnavailable,
    SymbolUnknown,
    Unauthorised,
)
from marketjobs.providers import curl
from marketjobs.providers.base import Connection, Gate
from marketjobs.providers.yahoo import Yahoo
from marketjobs.providers.yahoo_session import DEFAULT_BASE_URL, rewritten
from vendor import Vendor


def connection(gate: Gate, url: str, timeout_seconds: float = 10.0) -> Connection:
    return Connection(gate=gate, base_url=url, timeout_seconds=timeout_seconds, max_connections=4)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests behind a proxy still reaches loopback directly."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class TestYahoo(ProviderContract):
    @pytest.fixture
    def provider(self, vendor: Vendor, gate: RecordingGate) -> Iterator[Yahoo]:
        provider = Yahoo(connection(gate, vendor.url))
        yield provider
        provider.close()

    def test_a_first_fetch_is_one_request(self, provider: Yahoo, vendor: Vendor, gate: RecordingGate) -> None:
        ask(provider, self.query())
        assert [request.path for request in vendor.requests] == ["/v8/finance/chart/AAPL"]
        assert (gate.spent, gate.passes) == (1, 1)
        assert "crumb" not in vendor.requests[0].query

    def test_it_looks_like_a_browser(self, provider: Yahoo, vendor: Vendor) -> None:
        ask(provider, self.query())
        assert "Chrome" in vendor.requests[0].headers["user-agent"]

    @pytest.mark.parametrize("symbol", ["BRK-B", "^GSPC", "EURUSD=X", "ES=F", "M&M.NS", "A+B"])
    def test_symbols_arrive_as_they_were_typed(self, provider: Yahoo, vendor: Vendor, symbol: str) -> None:
        assert len(ask(provider, self.query(symbol=symbol)).rows) > 250
        assert vendor.requests[0].symbol == symbol

    def test_all_of_history_is_asked_for_in_what_yahoo_allows(self, provider: Yahoo) -> None:
        ever = days(FIRST_DAY, date(2026, 11, 20))
        assert self.checked(provider, self.query(wanted=ever)).bars[0].ts == stamp_of(date(2018, 1, 2))

    def test_a_range_before_the_listing_is_empty_and_no_error(
        self, provider: Yahoo, vendor: Vendor, gate: RecordingGate
    ) -> None:
        before = days(date(2020, 1, 1), date(2020, 12, 31))
        assert ask(provider, self.query(wanted=before, symbol="YOUNG")).rows == ()
        assert vendor.requests[0].status == 400
        assert gate.passes == 1
        assert len(ask(provider, self.query(symbol="YOUNG")).rows) == 10

    def test_no_rows_is_empty_and_no_error(self, provider: Yahoo, vendor: Vendor) -> None:
        vendor.fault("no_rows")
        answer = ask(provider, self.query())
        assert answer.rows == ()
        assert answer.facts.currency == "USD"

    def test_an_error_inside_a_200_counts_as_its_status(self, provider: Yahoo, vendor: Vendor) -> None:
        vendor.fault("chart_error")
        with pytest.raises(SymbolUnknown, match="may be delisted"):
            ask(provider, self.query())

    def test_probe_asks_for_five_days(self, provider: Yahoo, vendor: Vendor, gate: RecordingGate) -> None:
        vendor.now = None
        asyncio.run(provider.probe())
        assert [request.symbol for request in vendor.requests] == ["SPY"]
        assert gate.spent == 1

    # The running session

    def test_a_running_session_is_one_provisional_bar_of_its_date(self, provider: Yahoo, vendor: Vendor) -> None:
        vendor.now = datetime(2026, 11, 19, 18, 0, tzinfo=UTC).timestamp()
        last = check(ask(provider, self.query()), vendor.now).bars[-1]
        assert last.ts == stamp_of(date(2026, 11, 19))
        assert last.provisional
        assert last[1:7] == vendor.bars("AAPL")[-1][1:]

    @pytest.mark.parametrize("interval", [Interval.DAY_1, Interval.WEEK_1, Interval.MONTH_1])
    def test_a_live_row_is_merged_into_its_period(self, provider: Yahoo, vendor: Vendor, interval: Interval) -> None:
        vendor.now = NOW
        whole = self.checked(provider, self.query(interval))
        vendor.fault("live_row", extra_volume=0)
        assert self.checked(provider, self.query(interval)) == whole

    # Refusals of a symbol, and of all of them

    @pytest.mark.parametrize(("code", "expected"), [(401, Unauthorised), (403, Blocked)])
    def test_a_second_symbol_refused_holds_the_provider(
        self, provider: Yahoo, vendor: Vendor, gate: RecordingGate, code: int, expected: type[Exception]
    ) -> None:
        vendor.fault("status", code=code)
        for symbol, holds in (("ONE", 0), ("ONE", 0), ("TWO", 1)):
            with pytest.raises(expected) as caught:
                ask(provider, self.query(symbol=symbol))
            assert len(gate.holds) == holds
        assert caught.value.retry_after_seconds == 30.0

    def test_consent_pages_of_two_symbols_hold_the_provider(
        self, provider: Yahoo, vendor: Vendor, gate: RecordingGate
    ) -> None:
        vendor.fault("consent", "ONE")
        vendor.fault("redirect", "TWO")
        for symbol in ("ONE", "TWO"):
            with pytest.raises(Blocked, match="consent"):
                ask(provider, self.query(symbol=symbol))
        assert len(gate.holds) == 1

    @pytest.mark.parametrize("between", ["GOOD", "NOSUCH"])
    def test_an_answer_between_two_refusals_is_no_hold(
        self, provider: Yahoo, vendor: Vendor, gate: RecordingGate, between: str
    ) -> None:
        vendor.fault("status", "ONE", code=403)
        vendor.fault("status", "TWO", code=403)
        for symbol in ("ONE", between, "TWO"):
            with contextlib.suppress(Blocked, SymbolUnknown):
                ask(provider, self.query(symbol=symbol))
        assert gate.holds == []
        assert gate.passes == 1

    def test_refusals_of_two_kinds_are_no_hold(self, provider: Yahoo, vendor: Vendor, gate: RecordingGate) -> None:
        vendor.fault("status", "ONE", code=401)
        vendor.fault("status", "TWO", code=403)
        for symbol, kind in (("ONE", Unauthorised), ("TWO", Blocked)):
            with pytest.raises(kind):
                ask(provider, self.query(symbol=symbol))
        assert gate.holds == []

    # The network

    def test_no_answer_in_time_is_an_outage(self, vendor: Vendor, gate: RecordingGate) -> None:
        provider = Yahoo(connection(gate, vendor.url, timeout_seconds=0.2))
        vendor.fault("hang", seconds=1.0, times=1)
        with pytest.raises(ProviderUnavailable, match=r"no answer within 0\.2 s"):
            ask(provider, self.query())
        assert gate.spent == 1, "only a failure to connect is tried twice"
        provider.close()

    def test_a_slow_answer_is_bounded_too(self, vendor: Vendor, gate: RecordingGate) -> None:
        provider = Yahoo(connection(gate, vendor.url, timeout_seconds=0.3))
        vendor.fault("slow", seconds=5.0, times=1)
        began = time.monotonic()
        with pytest.raises(ProviderUnavailable):
            ask(provider, self.query())
        assert time.monotonic() - began < 3
        provider.close()

    def test_a_refused_connection_is_tried_twice_and_spends_twice(self, gate: RecordingGate) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            provider = Yahoo(connection(gate, f"http://127.0.0.1:{unused.getsockname()[1]}"))
            with pytest.raises(ProviderUnavailable, match=r"yahoo \(127\.0\.0\.1\): no connection") as caught:
                ask(provider, self.query())
        assert gate.spent == 2
        assert "period1" not in caught.value.message
        provider.close()

    def test_a_missing_file_of_authorities_is_named(self, vendor: Vendor, gate: RecordingGate) -> None:
        url = vendor.url.replace("http:", "https:")
        provider = Yahoo(Connection(gate, url, ca_bundle="/no/such/file.pem", timeout_seconds=5))
        with pytest.raises(ProviderUnavailable, match=r"trusted authorities|TLS failed"):
            ask(provider, self.query())
        provider.close()

    def test_a_proxy_that_is_away_is_an_outage(self, gate: RecordingGate) -> None:
        proxy = "http://127.0.0.1:9"
        provider = Yahoo(Connection(gate, "https://example.invalid", proxy=proxy, timeout_seconds=5))
        with pytest.raises(ProviderUnavailable):
            ask(provider, self.query())
        provider.close()

    def test_more_than_the_limit_is_not_read(self, provider: Yahoo, vendor: Vendor) -> None:
        vendor.fault("huge", megabytes=40)
        with pytest.raises(MalformedAnswer, match="more than 32 MiB"):
            ask(provider, self.query())

    def test_a_redirect_is_not_followed(self, provider: Yahoo, vendor: Vendor) -> None:
        with Vendor(now=NOW) as other:
            vendor.fault("redirect", location=f"{other.url}/v8/finance/chart/AAPL")
            with pytest.raises(ProviderUnavailable, match="redirects to"):
                ask(provider, self.query())
            assert not other.requests

    def test_cancelling_does_not_wait_for_the_answer(self, provider: Yahoo, vendor: Vendor) -> None:
        ask(provider, self.query())  # the imports of a first request are not what is timed
        vendor.fault("hang", seconds=5.0, times=1)

        async def cancelled() -> float:
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(provider.bars(self.query()), 0.1)
            provider.close()
            return time.monotonic() - began

        assert asyncio.run(cancelled()) < 2

    def test_many_at_once_share_the_threads(self, provider: Yahoo, vendor: Vendor, gate: RecordingGate) -> None:
        async def many() -> int:
            queries = [self.query(symbol=f"SYN{number}") for number in range(24)]
            return sum(len(one.rows) for one in await asyncio.gather(*map(provider.bars, queries)))

        assert asyncio.run(many()) > 24 * 250
        assert gate.spent == len(vendor.requests) == 24

    # A good citizen of the process

    def test_yfinances_own_session_stays(self, provider: Yahoo) -> None:
        from yfinance.data import YfData

        before = YfData()._session
        ask(provider, self.query())
        assert YfData()._session is before

    def test_yfinance_is_silent_on_our_threads_only(self, provider: Yahoo, caplog: pytest.LogCaptureFixture) -> None:
        ask(provider, self.query())
        logger = logging.getLogger("yfinance")
        logger.warning("mine")
        asyncio.run(_on(provider, lambda: logger.error("theirs")))
        assert [record.message for record in caplog.records] == ["mine"]

    def test_a_forked_child_has_a_session_of_its_own(self, provider: Yahoo, monkeypatch: pytest.MonkeyPatch) -> None:
        ask(provider, self.query())
        [parents] = provider._clients.values()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        ask(provider, self.query())
        assert provider._clients[-1] is not parents
        provider.close()
        monkeypatch.undo()
        assert list(provider._clients.values()) == [parents]

    def test_closed_it_opens_again(self, provider: Yahoo) -> None:
        first = ask(provider, self.query())
        provider.close()
        assert ask(provider, self.query()) == first


async def _on(provider: Yahoo, call) -> None:  # type: ignore[no-untyped-def]
    [client] = provider._clients.values()
    await asyncio.get_running_loop().run_in_executor(client.threads, call)


def test_importing_the_adapter_imports_no_client() -> None:
    code = (
        "import sys, marketjobs.providers.yahoo as y;"
        "y.Yahoo(y.Connection(gate=None, base_url='http://x'));"
        "print([m for m in ('yfinance', 'curl_cffi', 'pandas', 'tenacity') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert printed.stdout.strip() == "[]"


def test_nothing_is_written_to_the_home_folder(tmp_path: Path) -> None:
    """yfinance keeps a cookie database in the cache folder of the user: a chart never opens it."""
    empty = tmp_path / "empty"
    empty.mkdir()
    with Vendor(now=NOW) as vendor:
        code = (
            "import asyncio, sys; from contract.providers import *;"
            "from contract.test_yahoo import connection; from marketjobs.providers.yahoo import Yahoo;"
            "p = Yahoo(connection(RecordingGate(), sys.argv[1]));"
            "q = BarQuery('AAPL', Interval.DAY_1, YEAR); print(len(ask(p, q).rows)); p.close()"
        )
        environment = {
            **os.environ,
            "HOME": str(empty),
            "XDG_CACHE_HOME": str(empty / "cache"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "NO_PROXY": "127.0.0.1",
        }
        ran = subprocess.run([sys.executable, "-c", code, vendor.url], capture_output=True, text=True, env=environment)
    assert ran.stderr == ""
    assert int(ran.stdout) > 250
    assert list(empty.rglob("*")) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://fc.yahoo.com", "http://127.0.0.1:1/"),
        ("https://query1.finance.yahoo.com/v1/test/getcrumb", "http://127.0.0.1:1/v1/test/getcrumb"),
        ("https://guce.yahoo.com/consent?a=1&b=2", "http://127.0.0.1:1/consent?a=1&b=2"),
        ("https://elsewhere.example/x", "http://127.0.0.1:1/x"),
        ("http://127.0.0.1:1/v8/finance/chart/A", "http://127.0.0.1:1/v8/finance/chart/A"),
        ("http://127.0.0.1:19/x", "http://127.0.0.1:1/x"),
    ],
)
def test_a_changed_base_url_is_the_only_host(url: str, expected: str) -> None:
    assert rewritten(url, "http://127.0.0.1:1") == expected
    assert rewritten(url, DEFAULT_BASE_URL) == url


@pytest.mark.parametrize(
    ("given", "variables", "expected"),
    [
        ("given.pem", ["SSL_CERT_FILE"], "given.pem"),
        (None, ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"], "SSL_CERT_FILE"),
        (None, ["REQUESTS_CA_BUNDLE"], "REQUESTS_CA_BUNDLE"),
        (None, [], True),
    ],
)
def test_the_authorities_are_the_given_ones_else_the_environments(
    given: str | None,
    variables: list[str],
    expected: str | bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in variables:
        (tmp_path / name).touch()
        monkeypatch.setenv(name, str(tmp_path / name))
    if expected in variables:
        expected = str(tmp_path / str(expected))
    assert curl.authorities(given) == expected


def test_the_vendor_answers_what_it_says(gate: RecordingGate) -> None:
    """The test vendor's truth after a split, a dividend and a restatement is what it serves."""
    with Vendor(now=NOW) as vendor:
        provider = Yahoo(connection(gate, vendor.url))
        query = BarQuery("AAPL", Interval.DAY_1, Range(YEAR.start, YEAR.end))
        before = vendor.bars("AAPL")
        for change in (
            lambda: vendor.split("AAPL", 4),
            lambda: vendor.dividend("AAPL", 0.3),
            lambda: vendor.restate("AAPL", 1.01),
        ):
            change()
            bars = check(ask(provider, query), NOW).bars
            assert [bar[4:7] for bar in bars] == [
                (one.close, one.adj_close, one.volume) for one in vendor.bars("AAPL")[-len(bars) :]
            ]
        assert vendor.bars("AAPL")[0].close == pytest.approx(before[0].close / 4 * 1.01)
        provider.close()


@pytest.fixture
def gate() -> RecordingGate:
    return RecordingGate()
