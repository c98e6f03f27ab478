"""People's files through the command: what is stored, what is refused, and how a fetch goes on from there."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from datetime import date, timedelta

import pytest

from processes import COMMAND, Machine
from vendor import Vendor

HEAD = "Date,Open,High,Low,Close,Adj Close,Volume\n"


def file_of(machine: Machine, name: str, content: str | bytes) -> str:
    path = machine.work / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def history_of(vendor: Vendor, symbol: str, days: int, factor: float = 1.0) -> str:
    """A file as a person may have saved it from the vendor: the newest days but the last ten."""
    lines = [
        f"{bar.day},{bar.open * factor!r},{bar.high * factor!r},{bar.low * factor!r},{bar.close * factor!r},"
        f"{bar.adj_close * factor!r},{bar.volume}\n"
        for bar in vendor.bars(symbol)[-days:-10]
    ]
    return HEAD + "".join(lines)


def test_a_fetch_asks_only_for_what_a_file_lacks(machine: Machine, vendor: Vendor) -> None:
    name = file_of(machine, "aapl.csv", history_of(vendor, "AAPL", 300))
    ran = machine.run("import-bars", name, "-s", "AAPL", "--json").ok()
    [said] = ran.json["result"]["symbols"]
    assert (said["status"], said["rows_new"], ran.json["rows_rejected"]) == ("stored", 290, 0)
    vendor.clear()
    fetched = machine.run("fetch-market-data", "-s", "AAPL", "--period", "6mo", "--json").ok()
    [said] = fetched.json["result"]["symbols"]
    assert said["rows_changed"] == 0
    assert 1 <= said["rows_new"] <= 11
    days_asked = sum(int(one.query["period2"]) - int(one.query["period1"]) for one in vendor.charts()) / 86_400
    assert days_asked < 40
    truth = {bar.day.isoformat(): bar.close for bar in vendor.bars("AAPL")}
    rows = machine.rows("SELECT session, close, provider FROM price_bar_v WHERE symbol = 'AAPL' ORDER BY ts")
    assert [row["close"] for row in rows] == [truth[row["session"]] for row in rows]
    assert {row["provider"] for row in rows} == {"import", "yahoo"}


def test_a_file_on_another_basis_is_restated_by_the_next_fetch(machine: Machine, vendor: Vendor) -> None:
    """Prices as they were before a split that nobody had heard of."""
    name = file_of(machine, "aapl.csv", history_of(vendor, "AAPL", 100, factor=4.0))
    machine.run("import-bars", name, "-s", "AAPL").ok()
    [said] = machine.run("fetch-market-data", "-s", "AAPL", "--period", "3mo", "--json").ok().json["result"]["symbols"]
    assert "restated" in said["note"]
    truth = {bar.day.isoformat(): bar.close for bar in vendor.bars("AAPL")}
    rows = machine.rows("SELECT session, close FROM price_bar_v WHERE symbol = 'AAPL'")
    assert len(rows) >= 90
    assert all(row["close"] == truth[row["session"]] for row in rows)


def test_bars_from_before_the_vendor_s_time_follow_its_restatements(machine: Machine, vendor: Vendor) -> None:
    """They can't be asked for, so a restated history lacks them: that must not stop the series for ever."""
    first = vendor.bars("AAPL")[0]
    days = [first.day - timedelta(days=number) for number in range(60, 0, -1)]
    older = [
        f"{day},{first.close!r},{first.close!r},{first.close!r},{first.close!r},{first.adj_close!r},1000\n"
        for day in days
    ]
    text = history_of(vendor, "AAPL", len(vendor.bars("AAPL")))
    name = file_of(machine, "aapl.csv", HEAD + "".join(older) + text.removeprefix(HEAD))
    machine.run("import-bars", name, "-s", "AAPL").ok()
    machine.run("fetch-market-data", "-s", "AAPL").ok()

    def held() -> list[dict]:
        sql = "SELECT session, close, adj_close, volume, provider FROM price_bar_v WHERE symbol = 'AAPL' ORDER BY ts"
        rows = machine.rows(sql)
        truth = {bar.day.isoformat(): (bar.close, bar.adj_close) for bar in vendor.bars("AAPL")}
        assert all(truth[row["session"]] == (row["close"], row["adj_close"]) for row in rows[60:])
        assert [row["session"] for row in rows[:60]] == [day.isoformat() for day in days]
        assert {row["provider"] for row in rows[:60]} == {"import"}
        return rows

    before = held()
    for change, of_prices, words in (
        (lambda: vendor.dividend("AAPL", 2.0), 1.0, "adjusted closes of bars before"),
        (lambda: vendor.split("AAPL", 4.0), 0.25, "times 0.25"),
    ):
        change()
        [said] = machine.run("fetch-market-data", "-s", "AAPL", "--json").ok().json["result"]["symbols"]
        assert words in said["note"]
        after = held()
        of_adjusted = after[60]["adj_close"] / before[60]["adj_close"]
        assert of_adjusted < 1
        for now, then in zip(after[:60], before[:60], strict=True):
            assert now["close"] == pytest.approx(then["close"] * of_prices)
            assert now["adj_close"] == pytest.approx(then["adj_close"] * of_adjusted, rel=1e-5)
            assert now["volume"] == pytest.approx(then["volume"] / of_prices)
        [said] = machine.run("fetch-market-data", "-s", "AAPL", "--json").ok().json["result"]["symbols"]
        assert (said["rows_changed"], said["status"]) == (0, "up_to_date")
        before = after


def test_a_file_on_another_basis_than_the_store_is_refused(machine: Machine, vendor: Vendor) -> None:
    machine.run("fetch-market-data", "-s", "AAPL").ok()
    before = machine.bars("AAPL")
    name = file_of(machine, "aapl.csv", history_of(vendor, "AAPL", 100, factor=4.0))
    ran = machine.run("import-bars", name, "-s", "AAPL")
    ran.refused(2, "aapl.csv: row 2: AAPL of", "in the store", "nothing was stored")
    assert machine.bars("AAPL") == before


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_file_on_another_basis_right_beside_the_stored_bars_is_healed_by_the_typed_command(
    machine: Machine, vendor: Vendor, side: str
) -> None:
    """No bar is in both, so the import can't compare; nor would a fetch, were all of the file known."""
    bars = vendor.bars("AAPL")
    seam = next(number for number in range(-35, -30) if bars[number].day.weekday() == 2)  # no weekend that is unknown
    older, newer = slice(-60, seam), slice(seam, -10)
    fetched, imported = (newer, older) if side == "before" else (older, newer)
    days = bars[fetched]
    machine.run("fetch-market-data", "-s", "AAPL", "--start", str(days[0].day), "--end", str(days[-1].day)).ok()
    file = bars[imported]
    text = HEAD + "".join(
        f"{bar.day},{bar.open / 363},{bar.high / 363},{bar.low / 363},{bar.close / 363},,{bar.volume}\n" for bar in file
    )
    ran = machine.run("import-bars", file_of(machine, "aapl.csv", text), "-s", "AAPL", "--json").ok()
    [said] = ran.json["result"]["symbols"]
    edge = file[-1] if side == "before" else file[0]
    command = f"marketjobs fetch-market-data -s AAPL --force --start {edge.day}"
    assert f"far from the {'next stored one' if side == 'before' else 'stored one before'}" in said["note"]
    assert f"{command} compares them" in said["note"]
    [said] = machine.run(*command.split()[1:], "--json").ok().json["result"]["symbols"]
    assert "restated" in said["note"]
    truth = {bar.day.isoformat(): bar.close for bar in bars}
    rows = machine.rows("SELECT session, close FROM price_bar_v WHERE symbol = 'AAPL'")
    assert len(rows) == 60
    assert all(row["close"] == truth[row["session"]] for row in rows)


def test_the_table_says_that_a_file_may_have_another_basis(machine: Machine) -> None:
    machine.run(
        "import-bars", file_of(machine, "a.csv", HEAD + "2024-01-03,544,545,543,544.47,,1\n"), "-s", "AAPL"
    ).ok()
    ran = machine.run("import-bars", file_of(machine, "b.csv", HEAD + "2024-01-02,1,2,1,1.5,,1\n"), "-s", "AAPL").ok()
    assert "its last close 1.5 is far from the next stored one 544.47: another basis?" in " ".join(ran.out.split())


def test_what_is_refused_says_row_and_reason_in_json_too(machine: Machine) -> None:
    name = file_of(machine, "bad.csv", HEAD + "2024-01-02,10,11,9,10,5,1\n2024-01-03,10,9,11,10,5,1\n")
    message = "bad.csv: 1 of 2 rows can't be taken: row 3: open or close lies outside of low and high"
    machine.run("import-bars", name, "-s", "AAPL").refused(2, message)
    assert machine.run("import-bars", name, "-s", "AAPL", "--json").ok(2).json["error"] == {
        "cause": "bad_rows",
        "message": message,
        "hint": "mend them, or leave them out with --skip-bad; nothing was stored",
    }
    assert machine.rows("SELECT * FROM asset") == []
    ran = machine.run("import-bars", name, "-s", "AAPL", "--skip-bad").ok()
    assert "left out row 3: open or close lies outside of low and high" in ran.err
    assert len(machine.bars("AAPL")) == 1


AWKWARD: dict[str, tuple[bytes, list[str], str]] = {
    "empty": (b"", [], "is empty"),
    "header only": (HEAD.encode(), [], "has no rows below its first line"),
    "wrong column": (b"Day,Kurs\n2024-01-02,1\n", [], "no column for open, high, low, close"),
    "nul": (HEAD.encode() + b"2024-01-02,1,1,1,1,1,\0\n", [], "row 2: a NUL byte"),
    "binary": (bytes(range(128, 256)) * 40, [], "row 1: byte 0x80 is not UTF-8"),
    "excel": (b"PK\x03\x04" + bytes(100), [], "an Excel workbook or ZIP archive"),
    "huge cell": (HEAD.encode() + b"2024-01-02," + b"9" * 200_000 + b"\n", [], "longer than 131,072 characters"),
    "cp1252": (
        "Date,Open,High,Low,Close,Bemærk\n2024-01-02,1,1,1,1,ø\n".encode("cp1252"),
        [],
        "byte 0xE6 is not UTF-8",
    ),
    "day or month": (b"Date,Open,High,Low,Close\n02/03/2024,1,1,1,1\n", [], "day or month may come first"),
    "decimal comma unquoted": (b"Date,Open,High,Low,Close\n2024-01-02,1,5,2,5,1,5,2,5\n", [], "it has 9 cells"),
    "cut gz": (gzip.compress(HEAD.encode() + b"2024-01-02,1,1,1,1,1,1\n" * 99)[:-20], [], "damaged or cut"),
    "interval": (HEAD.encode(), ["--interval", "2h"], "unknown interval '2h'"),
    "encoding": (HEAD.encode(), ["--encoding", "klingon"], "unknown encoding 'klingon'"),
    "date format": (HEAD.encode(), ["--date-format", "dd.mm.yyyy"], "unknown date format 'dd.mm.yyyy'"),
    "decimal": (HEAD.encode(), ["--decimal", ";"], "the decimal sign is . or a comma"),
    "zone": (HEAD.encode() + b"2024-01-02,1,1,1,1,1,1\n", ["--timezone", "Mars"], "unknown time zone 'Mars'"),
}


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_files_are_refused_in_one_line(machine: Machine, case: str) -> None:
    content, options, words = AWKWARD[case]
    name = file_of(machine, "file.csv", content)
    ran = machine.run("import-bars", name, "-s", "AAPL", *options).refused(2, words)
    assert len(ran.err) < 1000
    assert all(line.isprintable() for line in ran.err.splitlines())
    assert machine.rows("SELECT * FROM asset") == []


def test_awkward_paths_are_refused_in_one_line(machine: Machine) -> None:
    machine.run("import-bars", "none.csv", "-s", "AAPL").refused(2, "there is no file none.csv")
    machine.run("import-bars", ".", "-s", "AAPL").refused(2, "is a folder, not a file")
    os.mkfifo(machine.work / "pipe")
    machine.run("import-bars", "pipe", "-s", "AAPL").refused(2, "pipe is no regular file")


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (
            "Date;Open;High;Low;Close\r\n02.01.2024;1,5;2,5;0,5;2\r\n15.01.2024;1,5;2,5;0,5;2\r\n".encode("utf-8-sig"),
            [],
        ),
        (
            "Date\tOpen\tHigh\tLow\tClose\n2024-01-02\t1.5\t2.5\t.5\t2\n2024-01-15\t1.5\t2.5\t.5\t2\n".encode("utf-16"),
            [],
        ),
        (
            "Dåte;Date;O;H;L;C\nø;02/01/24;1,5;2,5;,5;2\nø;15/01/24;1,5;2,5;,5;2\n".encode("cp1252"),
            ["--encoding", "cp1252", "--date-format", "%d/%m/%y"],
        ),
        (gzip.compress(b"timestamp|open|high|low|close\n1704153600|1.5|2.5|.5|2\n1705276800|1.5|2.5|.5|2\n"), []),
        (b"sep=;\n# mine\nDate;Open;High;Low;Close\n\n20240102;1.5;2.5;0.5;2\n20240115;1.5;2.5;0.5;2\n", []),
    ],
    ids=["excel in Europe", "utf-16 tabs", "cp1252", "gz epoch", "sep and comments"],
)
def test_one_table_in_many_dialects(machine: Machine, content: bytes, options: list[str]) -> None:
    machine.run("import-bars", file_of(machine, "file.csv", content), "-s", "AAPL", *options).ok()
    rows = machine.rows("SELECT session, open, high, low, close FROM price_bar_v ORDER BY ts")
    assert [tuple(row.values()) for row in rows] == [
        ("2024-01-02", 1.5, 2.5, 0.5, 2.0),
        ("2024-01-15", 1.5, 2.5, 0.5, 2.0),
    ]


@pytest.mark.slow
def test_a_million_rows_in_flat_memory(machine: Machine) -> None:
    """And the bad one among the last refuses them all."""
    path = machine.work / "big.csv"
    first = date(1990, 1, 1)
    days = [first + timedelta(days=number) for number in range(10_000)]
    with path.open("w") as out:
        out.write("Symbol,Date,Open,High,Low,Close,Volume\n")
        for day in days:  # the order that costs most: each row another series
            out.writelines(f"S{number:03},{day},10.5,11.25,9.75,10.75,{number}\n" for number in range(100))
    peaks = []
    for name, rows in (("small.csv", 20_000), ("big.csv", 1_000_000)):
        with path.open() as whole, (machine.work / "small.csv").open("w") as part:
            part.writelines(line for line, _ in zip(whole, range(20_001), strict=False))
        peaks.append(_peak_of_import(machine, name))
        assert machine.rows("SELECT count(*) AS bars FROM price_bar")[0]["bars"] == rows
    assert peaks[1] < peaks[0] + 40_000  # KiB
    with path.open("a") as out:
        out.write("S000,2020-01-02,1,1,1,0,1\n")
    machine.run("-q", "import-bars", "big.csv").refused(
        2, "1 of 1,000,001 rows", "row 1000002: a price is not above zero"
    )


def _peak_of_import(machine: Machine, name: str) -> int:
    """Peak memory of the command, KiB."""
    code = (
        "import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    command = [sys.executable, "-c", code, str(COMMAND), "-q", "import-bars", name]
    ran = subprocess.run(command, env=machine.env, cwd=machine.work, capture_output=True, text=True, check=True)
    code_, peak = map(int, ran.stdout.split())
    assert code_ == 0, ran.stderr
    return peak // (1024 if sys.platform == "darwin" else 1)


def test_assets_from_a_file(machine: Machine) -> None:
    name = file_of(machine, "universe.csv", "Symbol;Name;Groups\naapl;Apple;tech\nIBM;;tech,old\n")
    assert machine.run("assets", "import", name).ok().out.splitlines() == [
        "2 added, 0 updated, 0 unchanged",
        "group tech: 2 assets of the file",
        "group old: 1 assets of the file",
    ]
    assert machine.run("assets", "import", name, "--json").ok().json == {
        "file": name,
        "added": [],
        "updated": [],
        "unchanged": 2,
        "groups": {"tech": 2, "old": 1},
    }
    bad = file_of(machine, "bad.csv", "Symbol,Colour\nMSFT,red\n")
    machine.run("assets", "import", bad).refused(2, "bad.csv: row 1: unknown column 'Colour'")
    groups = machine.run("assets", "group", "list", "--json").ok().json["groups"]
    assert groups == [{"group": "old", "assets": 1, "active": 1}, {"group": "tech", "assets": 2, "active": 2}]


def test_a_group_is_fetched_and_an_old_symbol_is_told_its_new_one(machine: Machine, vendor: Vendor) -> None:
    machine.run("assets", "add", "AAPL", "IBM", "-g", "tech").ok()
    ran = machine.run("fetch-market-data", "--group", "tech", "--json").ok()
    assert [one["symbol"] for one in ran.json["result"]["symbols"]] == ["AAPL", "IBM"]
    before = [row[1:] for row in machine.bars("AAPL")]
    machine.run("assets", "rename", "AAPL", "APPL").ok()
    assert [row[1:] for row in machine.bars("APPL")] == before
    asked = len(vendor.charts())
    [said] = machine.run("fetch-market-data", "-s", "AAPL", "--json").ok(1).json["result"]["symbols"]
    assert said["error"]["cause"] == "asset_renamed"
    assert said["error"]["message"].startswith("AAPL was renamed APPL on ")
    assert said["error"]["retryable"] is False
    assert len(vendor.charts()) == asked
    machine.run("prices", "AAPL").refused(4, "AAPL was renamed APPL on")
    shown = machine.run("asset", "APPL", "--json").ok().json
    assert (shown["groups"], shown["series"][0]["bars"]) == (["tech"], len(before))
    assert ("AAPL", "yahoo") in {(one["symbol"], one["provider"]) for one in shown["aliases"]}
    machine.run("asset", "NONE").refused(4, "nothing is stored of NONE")
    machine.run("fetch-market-data", "--group", "none").refused(4, "no such group: none")


def test_thousands_of_assets_are_listed_at_once(machine: Machine) -> None:
    name = file_of(machine, "many.csv", "symbol\n" + "".join(f"S{number:04}\n" for number in range(5000)))
    machine.run("assets", "import", name).ok()
    ran = machine.run("assets", "list", "--json").ok()
    assert len(ran.json["assets"]) == 5000
    assert ran.seconds < 10
    shown = machine.terminal("assets", "list")
    shown.wait()
    assert "50 of 5000 assets" in shown.text
    assert shown.text.count("\n") < 70
