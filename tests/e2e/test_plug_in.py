"""A vendor in a package of somebody else's, as docs/plug-ins.md has it: built, installed, found and asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from processes import Machine, machine_of

PAGE = Path(__file__).parents[2] / "docs" / "plug-ins.md"
DAY = 86_400


class KrakenServer(ThreadingHTTPServer):
    """Kraken's OHLC, 400 days of one pair up to today's, in its format."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.refuses = ""
        self.asked: list[dict[str, list[str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def document(self, query: dict[str, list[str]]) -> dict[str, object]:
        if self.refuses or query["pair"] != ["XBTUSD"]:
            return {"error": [self.refuses or "EQuery:Unknown asset pair"]}
        today = int(time.time()) // DAY * DAY
        rows = [
            [ts, f"{price:.1f}", f"{price + 2:.1f}", f"{price - 2:.1f}", f"{price + 1:.1f}", f"{price:.1f}", "1.5", 9]
            for ts in range(today - 400 * DAY, today + 1, DAY)
            if ts > int(query["since"][0])
            for price in [30_000 + ts // DAY % 100]
        ]
        return {"error": [], "result": {"XXBTZUSD": rows, "last": today - DAY}}


class _Answers(BaseHTTPRequestHandler):
    server: KrakenServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.server.asked.append(query)
        body = json.dumps(self.server.document(query)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def kraken() -> Iterator[KrakenServer]:
    server = KrakenServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip put the page's package into."""
    project, target = (tmp_path_factory.mktemp(name) for name in ("marketjobs-kraken", "installed"))
    for name, language in (("pyproject.toml", "toml"), ("marketjobs_kraken.py", "python")):
        found = re.search(rf"\*\*{re.escape(name)}\*\*\n\n```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert found is not None, f"{PAGE.name} has no {name}"
        (project / name).write_text(found[1])
    command = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", target, project]
    subprocess.run([sys.executable, *map(str, command)], check=True, timeout=120)
    return target


@pytest.fixture
def machine(tmp_path: Path, installed: Path, kraken: KrakenServer) -> Iterator[Machine]:
    variables = {"PYTHONPATH": str(installed), "MARKETJOBS_PROVIDERS__KRAKEN__BASE_URL": kraken.url}
    with machine_of(tmp_path / "machine", None, **variables) as made:
        yield made


def test_the_example_has_sixty_lines_at_most() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 60


def test_a_plug_in_is_listed_and_supplies_bars(machine: Machine) -> None:
    listed = machine.run("providers", "list", "--json").ok().json["providers"]
    assert "kraken" in {one["name"] for one in listed}
    ran = machine.run("fetch-market-data", "-s", "BTC-USD", "--provider", "kraken", "--period", "1mo", "--json").ok()
    [outcome] = ran.json["result"]["symbols"]
    assert (outcome["status"], outcome["provider"], outcome["rows_rejected"]) == ("stored", "kraken", 0)
    bars = machine.run("prices", "BTC-USD", "--json").ok().json["bars"]
    assert len(bars) == outcome["rows_new"] >= 28
    assert {one["provider"] for one in bars} == {"kraken"}
    assert all(one["close"] == one["open"] + 1 and one["volume"] == 1.5 for one in bars)
    assert [one["provisional"] for one in bars][-1:] == [True], "today's bar may still change"


def test_its_errors_have_their_causes(machine: Machine, kraken: KrakenServer) -> None:
    ran = machine.run("fetch-market-data", "-s", "NOSUCH-USD", "--provider", "kraken", "--json")
    assert ran.ok(1).json["result"]["symbols"][0]["error"]["cause"] == "symbol_unknown"
    kraken.refuses = "EService:Something new"
    options = ("--provider", "kraken", "--timeout", "20", "--json")
    ran = machine.run("fetch-market-data", "-s", "BTC-USD", *options, MARKETJOBS_RETRY__MAX_ATTEMPTS="1")
    assert ran.ok(1).json["result"]["symbols"][0]["error"]["cause"] == "malformed_answer"


def test_a_plug_in_that_can_not_be_imported_is_named(machine: Machine, installed: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "broken-1.dist-info").mkdir(parents=True)
    (broken / "broken-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (broken / "broken-1.dist-info" / "entry_points.txt").write_text("[marketjobs.providers]\nbroken = nowhere:Broken\n")
    path = f"{broken}:{installed}"
    ran = machine.run("fetch-market-data", "-s", "BTC-USD", "--provider", "broken", PYTHONPATH=path)
    ran.refused(2, "broken", "nowhere")
    assert machine.run("providers", "list", PYTHONPATH=path).ok().out.count("kraken") >= 1
