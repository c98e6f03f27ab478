"""Reading CSV files in whatever way they are written, and refusing what is none with the row and the reason."""

from __future__ import annotations

import csv
import gzip
import io
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketjobs.domain.cells import plain
from marketjobs.errors import BadRows, InvalidInput
from marketjobs.services.csv_files import CsvFile, look_at

MEANINGS = {"symbol": ("symbol",), "name": ("name",)}


def look(path: Path, **options: Any) -> CsvFile:
    return look_at(path, MEANINGS, ("symbol",), **options)


def read(path: Path, **options: Any) -> list[tuple[int, list[str]]]:
    return [(row.number, row.cells) for row in look(path, **options).rows()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "assets.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_a_file_shows_by_itself(path: Path, separator: str, ending: str, encoding: str, packed: bool) -> None:
    text = ending.join([separator.join(row) for row in (["Symbol", "Name"], ["A", "Å"], ["B", '"x;,|\ty"'])]) + ending
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if packed else data)
    assert read(path) == [(2, ["A", "Å"]), (3, ["B", "x;,|\ty"])]


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20) | st.sampled_from(
    ['a"b', "a\nb", "a\r\nb", ",;|\t"]
)


@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=10),
    separator=st.sampled_from(",;\t|"),
    ending=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    packed=st.booleans(),
)
def test_any_table_in_any_dialect_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    separator: str,
    ending: str,
    quoting: int,
    encoding: str,
    packed: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator=ending, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(["symbol", "name"])
    rows = [["x" + first, second] for first, second in rows]  # no empty line, no comment
    writer.writerows(rows)
    data = out.getvalue().encode(encoding)
    path.write_bytes(gzip.compress(data) if packed else data)
    assert [cells for _, cells in read(path)] == rows


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.csv"
    for content in (data, b"symbol,name\n" + data, gzip.compress(b"symbol\n" + data), gzip.compress(data)[:-5]):
        path.write_bytes(content)
        try:
            read(path)
        except InvalidInput as exc:
            assert exc.message.isprintable()
            assert "bytes.csv" in exc.message


def test_empty_lines_comments_and_rows_of_separators_are_left_out(path: Path) -> None:
    path.write_text("# made by hand\n\nsymbol,name\n\nA,a\n,\n# B,b\nC,c\n\n")
    assert read(path) == [(5, ["A", "a"]), (8, ["C", "c"])]


def test_excel_s_line_that_names_the_separator(path: Path) -> None:
    path.write_text("sep=;\nsymbol;name\nA;a,b\n")
    assert read(path) == [(3, ["A", "a,b"])]


def test_rows_are_counted_by_the_line_they_begin_in(path: Path) -> None:
    path.write_text('symbol,name\nA,"a\nb"\nC,c\n')
    assert read(path) == [(2, ["A", "a\nb"]), (4, ["C", "c"])]


@pytest.mark.parametrize(("encoding", "text"), [("cp1252", "Société €"), ("latin-1", "Société"), ("utf-16-le", "Ä")])
def test_what_an_encoding_without_a_mark_is_has_to_be_said(path: Path, encoding: str, text: str) -> None:
    path.write_bytes(f"symbol,name\nA,a\nB,{text}\n".encode(encoding))
    with pytest.raises(InvalidInput) as caught:
        read(path)
    assert "--encoding" in str(caught.value.hint)
    assert read(path, encoding=encoding)[1] == (3, ["B", text])


def test_a_byte_that_is_no_utf_8_is_named_with_its_row(path: Path) -> None:
    path.write_bytes(b"symbol,name\nA,a\nB,\xe9t\xe9\n")
    with pytest.raises(BadRows) as caught:
        read(path)
    assert caught.value.message == "assets.csv: row 3: byte 0xE9 is not UTF-8"
    assert caught.value.hint == "say what it is written in, such as --encoding cp1252"


def test_a_byte_order_mark_counts_more_than_what_is_said(path: Path) -> None:
    path.write_bytes("symbol,name\nA,Å\n".encode("utf-8-sig"))
    assert read(path, encoding="cp1252") == [(2, ["A", "Å"])]


@pytest.mark.parametrize("name", ["klingon", "hex", "rot13", "", "a\0b", "zip"])
def test_an_unknown_encoding(path: Path, name: str) -> None:
    path.write_text("symbol\nA\n")
    with pytest.raises(InvalidInput, match="unknown encoding"):
        read(path, encoding=name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "assets.csv is empty"),
        (b"\n\n# nothing\n", "assets.csv is empty"),
        (b"name\nA\n", "assets.csv: row 1: no column for symbol; the first line names 'name'"),
        (b"a;b;c\n1;2;3\n", "assets.csv: row 1: no column for symbol; the first line names 'a', 'b', 'c'"),
        (b"symbol,Symbol\nA,B\n", "assets.csv: row 1: columns 'symbol' and 'Symbol' both mean symbol: leave one out"),
        (b"symbol,name\nA,\0\n", "assets.csv: row 2: a NUL byte, which no text has"),
        (
            b'symbol,name\nA,a\nB,"b\nC,c\n',
            "assets.csv: row 3: a quote is opened there and not closed, or a cell is longer than 131,072 characters",
        ),
        (b'symbol,name\nA,"a" b\n', "assets.csv: row 2: text follows a closing quote"),
        (
            b"symbol,name\nA," + b"x" * 200_000 + b"\n",
            "assets.csv: row 2: a quote is opened there and not closed, or a cell is longer than 131,072 characters",
        ),
        (b"symbol,name\n" + b"x" * 1_000_001, "assets.csv: row 2: the line is longer than 1,000,000 characters"),
        (b"PK\x03\x04zzzz", "assets.csv is no CSV file but an Excel workbook or ZIP archive: save it as CSV"),
        (b"PAR1zzzz", "assets.csv is no CSV file but a Parquet file: export it as CSV"),
        (
            gzip.compress(b"symbol\n" + Random(1).randbytes(9000).hex().encode())[:4000],
            "the compressed file is damaged or cut",
        ),
        (b"\x1f\x8b\x08\0garbage", "assets.csv: the compressed file is damaged or cut"),
        ("symbol\n".encode("utf-16")[:-1], "assets.csv: row 1: it is no utf-16"),
    ],
)
def test_what_is_no_table(path: Path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(InvalidInput) as caught:
        read(path)
    assert message in caught.value.message


def test_what_is_no_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, message in (
        (tmp_path / "none.csv", "there is no file "),
        (tmp_path, "is a folder, not a file"),
        (fifo, "is no regular file"),
        (Path("a\0b"), "is no name for a file"),
        (tmp_path / ("x" * 300), "can't be read: File name too long"),
    ):
        with pytest.raises(InvalidInput, match=message):
            read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="file modes do not bind a superuser")
def test_a_file_that_may_not_be_read(path: Path) -> None:
    path.write_text("symbol\nA\n")
    path.chmod(0)
    with pytest.raises(InvalidInput, match="can't be read: Permission denied"):
        read(path)


def test_how_far_one_is_told(path: Path) -> None:
    path.write_text("symbol\n" + "A\n" * 20_000)
    told: list[float] = []
    assert sum(1 for _ in look(path).rows(told.append)) == 20_000
    assert told == sorted(told) and 0 < told[0] < told[-1] <= 1


def test_the_separator_is_the_one_under_which_names_are_known(path: Path) -> None:
    path.write_text("symbol;name, first|last\nA;b\n")
    file = look(path)
    assert (file.separator, [plain(one) for one in file.header]) == (";", ["symbol", "namefirstlast"])
