"""Reading people's CSV files as a stream: whatever the separator and encoding, in flat memory, with row numbers.

A file says by a byte order mark how it is encoded; without one it is UTF-8.  Anything else has to be stated: that
a file is Windows-1252 and not Latin-2 can't be seen.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from marketjobs.domain.cells import find_columns, plain, shown
from marketjobs.errors import BadRows, InvalidInput

SEPARATORS = ",;\t|"
LONGEST_LINE = 1_000_000
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NOT_TEXT = {
    b"PK\x03\x04": "an Excel workbook or ZIP archive: save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV",
    b"PAR1": "a Parquet file: export it as CSV",
    b"SQLite format 3\x00": "a SQLite database",
    b"%PDF": "a PDF",
}
_UNDECODED = re.compile("[\udc80-\udcff]")
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)


class Row(NamedTuple):
    """A row of a table: its number as editors and spreadsheets count, the first line being 1, and its cells."""

    number: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file that was looked at: how it is written, and its header.

    ``columns`` says where each meaning stands; ``header_row`` is the number of the line that names the columns.
    """

    path: Path
    encoding: str
    separator: str
    header: list[str]
    header_row: int
    columns: Mapping[str, int]

    def rows(self, progress: Callable[[float], None] | None = None) -> Iterator[Row]:
        """The rows below the header, one after the other; empty lines and lines that begin with ``#`` are left out.

        Args:
            progress: told the part of the file that has been read, from time to time.

        Raises:
            BadRows: the file can't be read on: not text, damaged, a quote that is never closed.
            InvalidInput: it has gone.
        """
        size = max(1, self.path.stat().st_size)
        with _opened(self.path, self.encoding) as (text, raw):
            lines = _Lines(self.path.name, text)
            reader = csv.reader(lines, delimiter=self.separator, strict=True)
            begun = 1
            try:
                for cells in reader:
                    begun, number = lines.number + 1, begun
                    if number <= self.header_row or not cells or not any(cells):
                        continue
                    if progress is not None and number % 5000 == 0:
                        progress(min(1.0, raw.tell() / size))
                    yield Row(number, cells)
            except csv.Error as exc:
                raise BadRows(f"{self.path.name}: row {begun}: {_csv_reason(exc)}") from exc


def look_at(
    path: Path, meanings: Mapping[str, Sequence[str]], required: Sequence[str], encoding: str | None = None
) -> CsvFile:
    """Find out how a file is written, from its first lines.

    Args:
        meanings: for each meaning the names (as :func:`marketjobs.domain.cells.plain` gives them) of its column.
        required: the meanings that must have a column.
        encoding: what the file is written in; ``None``: what its byte order mark says, else UTF-8.

    Raises:
        InvalidInput: no such file, no text, no header with these columns.
    """
    head = _first_bytes(path)
    known = {name for names in meanings.values() for name in names}
    chosen = _encoding(path, head, encoding)
    with _opened(path, chosen) as (text, _):
        lines = _Lines(path.name, text)
        separators = SEPARATORS
        for line in lines:
            said = _SEPARATOR_LINE.fullmatch(line)
            if said and lines.number == 1:
                separators = said[1]
            elif line.strip():
                separator, header = _header(line, separators, known)
                break
        else:
            raise InvalidInput(f"{path.name} is empty")
    try:
        columns = find_columns(header, meanings, required)
    except InvalidInput as exc:
        raise InvalidInput(f"{path.name}: row {lines.number}: {exc.message}") from None
    return CsvFile(path, chosen, separator, header, lines.number, columns)


class _Lines:
    """The lines of a text, bounded in length and without anything that no text has."""

    def __init__(self, name: str, text: TextIO) -> None:
        self.name, self.number = name, 0
        self._text = text

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = self._text.readline(LONGEST_LINE)
        except UnicodeError as exc:
            raise BadRows(f"{self.name}: row {self.number + 1}: it is no {getattr(exc, 'encoding', '')} text") from exc
        except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
            raise BadRows(f"{self.name}: row {self.number + 1}: the compressed file is damaged or cut") from exc
        except OSError as exc:
            raise InvalidInput(f"{self.name} can't be read: {exc.strerror or exc}") from exc
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) >= LONGEST_LINE:
            raise BadRows(f"{self.name}: row {self.number}: the line is longer than {LONGEST_LINE:,} characters")
        if "\0" in line:
            raise BadRows(
                f"{self.name}: row {self.number}: a NUL byte, which no text has",
                hint="if it is UTF-16 without a mark: --encoding utf-16-le",
            )
        if not line.isascii() and (bad := _UNDECODED.search(line)):
            raise BadRows(
                f"{self.name}: row {self.number}: byte 0x{ord(bad[0]) - 0xDC00:02X} is not UTF-8",
                hint="say what it is written in, such as --encoding cp1252",
            )
        return "\n" if line[0] == "#" else line


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[tuple[TextIO, BinaryIO]]:
    """The text, and the bytes on disk (to tell how far one is)."""
    try:
        raw = path.open("rb")
    except OSError as exc:
        raise InvalidInput(f"{path} can't be read: {exc.strerror}") from exc
    with raw:
        packed = raw.peek(2)[:2] == b"\x1f\x8b"
        source = gzip.GzipFile(fileobj=raw, mode="rb") if packed else raw
        errors = "surrogateescape" if encoding in ("utf-8", "utf-8-sig") else "strict"
        with io.TextIOWrapper(source, encoding=encoding, errors=errors, newline="") as text:
            yield text, raw


def _first_bytes(path: Path) -> bytes:
    """Raises InvalidInput where there is no file that can be read."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise InvalidInput(f"{path} is a folder, not a file")
        if not stat.S_ISREG(kind):
            raise InvalidInput(f"{path} is no regular file: it has to be read twice, save it first")
        with path.open("rb") as raw:
            head = raw.read(64)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(path, "rb") as unpacked:
                head = unpacked.read(64)
    except FileNotFoundError as exc:
        raise InvalidInput(f"there is no file {path}") from exc
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise InvalidInput(f"{path.name}: the compressed file is damaged or cut") from exc
    except OSError as exc:
        raise InvalidInput(f"{path} can't be read: {exc.strerror or exc}") from exc
    except ValueError as exc:  # a NUL in the name
        raise InvalidInput(f"{shown(str(path))} is no name for a file") from exc
    for magic, what in NOT_TEXT.items():
        if head.startswith(magic):
            raise InvalidInput(f"{path.name} is no CSV file but {what}")
    return head


def _encoding(path: Path, head: bytes, stated: str | None) -> str:
    marked = next((name for mark, name in MARKS if head.startswith(mark)), None)
    if marked is not None or stated is None:
        return marked or "utf-8"
    try:
        "".encode(stated)
        return codecs.lookup(stated).name
    except (LookupError, ValueError) as exc:
        raise InvalidInput(f"unknown encoding {shown(stated)}: such as utf-8, cp1252, latin-1, utf-16-le") from exc


def _header(line: str, separators: str, known: set[str]) -> tuple[str, list[str]]:
    """The separator under which most columns have a name that is known, and the columns."""
    best: tuple[int, int, str, list[str]] | None = None
    for place, separator in enumerate(separators):
        try:
            cells = next(csv.reader([line], delimiter=separator, strict=True))
        except csv.Error:
            continue
        found = sum(plain(cell) in known for cell in cells)
        if best is None or (found, -best[1]) > (best[0], -place):
            best = (found, place, separator, cells)
    if best is None or best[0] == 0:
        separator = max(separators, key=line.count)
        return separator, [cell.strip() for cell in line.strip().split(separator)]
    return best[2], best[3]


def _csv_reason(exc: csv.Error) -> str:
    text = str(exc)
    if "field limit" in text or "unexpected end" in text:
        return "a quote is opened there and not closed, or a cell is longer than 131,072 characters"
    if "expected after" in text:
        return "text follows a closing quote"
    return text
