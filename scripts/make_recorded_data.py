"""Make the data files of the provider `recorded` from an installed bokeh_sampledata.

    python -m pip install bokeh_sampledata
    python scripts/make_recorded_data.py [--source stocks.csv.gz] [--out FOLDER]

Writes one ``SYMBOL.csv.gz`` a symbol (the source's figures, digit by digit, as traded) and ``events.csv``
(splits and dividends), prints what it counted, and stops with exit code 1 when the source is not the one that
the README beside the data describes.  Only the standard library is used, and bokeh_sampledata is read without
being imported.  Source: bokeh_sampledata 2026.1 (read 2026-11).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import sys
import zlib
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
SOURCE_HEADER = ["Ticker", "Date", "Open", "High", "Low", "Close", "Volume", "Adj Close"]
HEADER = ["date", "open", "high", "low", "close", "volume", "adj_close"]
LAST_DAY = "2013-03-01"
SPLITS = {
    ("AAPL", "2000-06-21"): 2.0,
    ("AAPL", "2005-02-28"): 2.0,
    ("MSFT", "2003-02-18"): 2.0,
}
"""Public facts: new shares for one old, by the first day on the new basis.  The source names no events."""

NOISE = 1e-9
"""adj_close / close is constant to 1e-13 between two events; the smallest event moves it by 1e-3."""
WHOLE_CENT = 1e-6
"""How far a derived dividend may lie from whole cents (dollars); measured: 1e-11."""

Row = list[str]


class Unexpected(Exception):
    """The source is not what the README beside the data says."""


def find_source() -> Path:
    """The file inside the installed package; the package itself is not imported.  Raises Unexpected."""
    spec = find_spec("bokeh_sampledata")
    if spec is None or spec.origin is None:
        raise Unexpected("bokeh_sampledata is not installed: python -m pip install bokeh_sampledata")
    return Path(spec.origin).parent / "_data" / "stocks.csv.gz"


def read_source(path: Path) -> dict[str, list[Row]]:
    """Rows by symbol, each a text as in the source, in the order of HEADER, ascending by date.

    Raises:
        Unexpected: other columns, other symbols, or dates that do not ascend to LAST_DAY.
    """
    rows: dict[str, list[Row]] = {symbol: [] for symbol in SYMBOLS}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        if next(lines, None) != SOURCE_HEADER:
            raise Unexpected(f"{path.name}: the columns are not {', '.join(SOURCE_HEADER)}")
        for symbol, *figures in lines:
            if symbol not in rows:
                raise Unexpected(f"{path.name}: unexpected symbol {symbol!r}")
            rows[symbol].append(figures)
    for symbol, figures_of in rows.items():
        days = [figures[0] for figures in figures_of]
        if not days or days[-1] != LAST_DAY or any(a >= b for a, b in pairwise(days)):
            raise Unexpected(f"{symbol}: the dates do not ascend to {LAST_DAY}")
    return rows


def events_of(symbol: str, rows: list[Row]) -> list[tuple[str, str, str]]:
    """(date, kind, value) ascending: each day on which adj_close / close jumps is a split or a dividend.

    The source multiplies adj_close before an ex-date by close / (close + dividend), with the ex-date's own
    close; turned round, that gives the dividend back in dollars a share as traded, to 1e-11.

    Raises:
        Unexpected: a jump that is neither, or a split of SPLITS that the figures do not show.
    """
    events: list[tuple[str, str, str]] = []
    before: float | None = None
    for day, *_, close_text, _volume, adj_text in rows:
        close = float(close_text)
        ratio = float(adj_text) / close
        jump = 1.0 if before is None else ratio / before
        before = ratio
        moves = f"{symbol} {day}: adj_close / close moves by {jump}"
        split = SPLITS.get((symbol, day))
        if split is not None:
            if abs(jump / split - 1) > NOISE:
                raise Unexpected(f"{moves}, not by the split {split}")
            events.append((day, "split", f"{split:g}"))
        elif abs(jump - 1) > NOISE:
            dividend = (jump - 1) * close
            if not 0 < jump - 1 < 0.2 or abs(dividend - round(dividend, 2)) > WHOLE_CENT:
                raise Unexpected(f"{moves}: no dividend in whole cents")
            events.append((day, "dividend", f"{dividend:.2f}"))
    missing = {day for owner, day in SPLITS if owner == symbol} - {day for day, _, _ in events}
    if missing:
        raise Unexpected(f"{symbol}: no bar on the day of a split: {', '.join(sorted(missing))}")
    return events


def text_of(header: list[str], rows: list[Row]) -> bytes:
    """CSV with plain line feeds on every platform."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("ascii")


def packed(text: bytes) -> bytes:
    """gzip without name and time, so that the same text gives the same bytes (with the same zlib)."""
    deflate = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    # The ten bytes are RFC 1952's header: deflate, no flags, no time, slowest, unknown system.  gzip.compress
    # writes the system that it runs on into the last one, which differs between versions of Python.
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    ending = zlib.crc32(text).to_bytes(4, "little") + (len(text) & 0xFFFFFFFF).to_bytes(4, "little")
    return header + deflate.compress(text) + deflate.flush() + ending


def make(source: Path, out: Path) -> list[str]:
    """Write the files into ``out`` and return a line for each.  Nothing is written if the source is another.

    Raises:
        Unexpected: as read_source and events_of say.
        OSError: unreadable source, unwritable folder.
    """
    rows_of = read_source(source)
    events: list[Row] = []
    files: dict[str, bytes] = {}
    lines: list[str] = []
    for symbol, rows in rows_of.items():
        found = events_of(symbol, rows)
        events += [[symbol, *event] for event in found]
        name = f"{symbol}.csv.gz"
        files[name] = packed(text_of(HEADER, rows))
        splits = sum(kind == "split" for _, kind, _ in found)
        lines.append(
            f"{name:<12} {len(rows):>5} bars  {rows[0][0]} to {rows[-1][0]}  {splits} splits"
            f"  {len(found) - splits:>2} dividends  {len(files[name]):>6} bytes"
        )
    files["events.csv"] = text_of(["symbol", "date", "kind", "value"], events)
    lines.append(f"{'events.csv':<12} {len(events):>5} events  {len(files['events.csv'])} bytes")
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_bytes(content)
    bars, size = sum(map(len, rows_of.values())), sum(map(len, files.values()))
    lines.append(f"{'together':<12} {bars:>5} bars  {size} bytes")
    return lines


def main(arguments: list[str] | None = None) -> int:
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description="Make the data files of the provider `recorded`.")
    parser.add_argument("--source", type=Path, help="stocks.csv.gz (default: bokeh_sampledata's)")
    parser.add_argument("--out", type=Path, default=here / "src" / "marketjobs" / "providers" / "recorded_data")
    options = parser.parse_args(arguments)
    try:
        lines = make(options.source or find_source(), options.out)
    except (Unexpected, OSError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
