"""A file of bars, row by row: how it is written, what each row says, and which rows break a rule."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from marketjobs.domain import stamps
from marketjobs.domain.assets import normalise_symbol
from marketjobs.domain.bars import CLOCK_TOLERANCE_SECONDS, RawRow, broken_rule
from marketjobs.domain.cells import BadCell, decimal_evidence, plain, read_number, shown
from marketjobs.domain.intervals import Interval, stamp_text
from marketjobs.errors import BadRows, InvalidInput
from marketjobs.services.csv_files import CsvFile, Row, look_at
from marketjobs.storage.staging import StagedRow, Staging

DATES = ("date", "datetime", "timestamp", "ts", "day", "tradedate", "tradingday")
PRICES = ("open", "high", "low", "close")
COLUMNS = {
    "date": DATES,
    "time": ("time",),
    "symbol": ("symbol", "ticker", "sym"),
    "interval": ("interval",),
    "open": ("open", "o", "openprice"),
    "high": ("high", "h", "highprice"),
    "low": ("low", "l", "lowprice"),
    "close": ("close", "c", "closeprice", "closelast", "last"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "adjcloseprice"),
    "volume": ("volume", "vol", "v"),
}
REASONS = {
    "no_prices": "it has no prices",
    "missing_price": "a price is missing",
    "not_finite": "a number is not finite",
    "not_positive": "a price is not above zero",
    "negative_volume": "the volume is negative",
    "outside_low_high": "open or close lies outside of low and high",
    "future": "it lies in the future",
}
SHOWN_REASONS = 10
LISTED_REASONS = 1000
MOST_REPEATED = 100_000
BATCH = 5_000


class BadRow(NamedTuple):
    """A row that can't be taken; ``symbol`` is ``None`` where not even that can be read."""

    number: int
    symbol: str | None
    reason: str


@dataclass(slots=True)
class Rejections:
    """All rows that can't be taken, counted; the first thousand of them listed."""

    count: int = 0
    rows: list[BadRow] = field(default_factory=list)
    by_symbol: Counter[str] = field(default_factory=Counter)

    def add(self, row: BadRow) -> None:
        self.count += 1
        if row.symbol is not None:
            self.by_symbol[row.symbol] += 1
        if len(self.rows) < LISTED_REASONS:
            self.rows.append(row)

    def text(self) -> str:
        """The first ten with their reasons, in the order of the file."""
        first = sorted(self.rows)[:SHOWN_REASONS]
        more = f"; and {self.count - len(first):,} more" if self.count > len(first) else ""
        return "; ".join(f"row {row.number}: {row.reason}" for row in first) + more


@dataclass(frozen=True, slots=True)
class BarFileOptions:
    """What a person says about a file; ``None``: what the file itself shows."""

    interval: Interval
    symbol: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    date_format: str | None = None
    timezone: str | None = None


class BarFile:
    """A file of bars that was looked at.

    Raises:
        InvalidInput: it is no such file, or it leaves open how it is to be read.
    """

    def __init__(self, path: Path, options: BarFileOptions) -> None:
        self.path, self.options = path, options
        if options.date_format is not None:
            stamps.check_style(options.date_format)
        self.stated_symbol = None if options.symbol is None else normalise_symbol(options.symbol)
        self.file = self._look()
        used = set(self.file.columns.values())
        self.unused = [title for index, title in enumerate(self.file.header) if title.strip() and index not in used]
        self.symbols: list[str] = []
        self.rejected = Rejections()
        style, self.decimal = self._survey()
        zone = None if options.timezone is None else stamps.zone_of(options.timezone)
        self.read_stamp = stamps.StampReader(style, options.interval, zone)

    def _look(self) -> CsvFile:
        required = ("date", *PRICES, *(() if self.stated_symbol else ("symbol",)))
        try:
            return look_at(self.path, COLUMNS, required, self.options.encoding)
        except InvalidInput as exc:
            if "no column for symbol;" in exc.message:
                raise InvalidInput(exc.message, hint="say whose bars they are: --symbol AAPL") from None
            if "no column for date" not in exc.message:
                raise
            for look in (self._look_for_time, self._look_for_yfinance):
                try:
                    found = look(required)
                except InvalidInput:
                    continue
                if found is not None:
                    return found
            raise

    def _look_for_time(self, required: tuple[str, ...]) -> CsvFile:
        """A column "time" holds the whole stamp where there is no other."""
        meanings = COLUMNS | {"date": (*COLUMNS["date"], "time"), "time": ()}
        return look_at(self.path, meanings, required, self.options.encoding)

    def _look_for_yfinance(self, _: tuple[str, ...]) -> CsvFile | None:
        """What yfinance's download writes for one symbol: three lines that begin with Price, Ticker and Date."""
        meanings = COLUMNS | {"date": ("price",)}
        file = look_at(self.path, meanings, ("date", *PRICES), self.options.encoding)
        rows = file.rows()
        second, third = next(rows, None), next(rows, None)
        if second is None or third is None or second.cells[0] != "Ticker" or plain(third.cells[0]) not in DATES:
            return None
        self.stated_symbol = self.stated_symbol or normalise_symbol(second.cells[1])
        return replace(file, header_row=third.number)

    # -- how it is written --

    def _survey(self) -> tuple[str, str]:
        """How dates and decimals are written, from as many rows as it takes to know."""
        style, decimal = self.options.date_format, self.options.decimal
        numeric: tuple[int, str] | None = None
        open_comma: tuple[int, str] | None = None
        numbers = [index for name, index in self.file.columns.items() if name in (*PRICES, "adj_close", "volume")]
        for row in self.file.rows():
            if len(row.cells) < len(self.file.header):
                continue
            if style is None:
                text = self._date_text(row.cells)
                try:
                    found = stamps.style_of(text)
                except BadCell as exc:
                    raise InvalidInput(
                        f"{self.path.name}: row {row.number}: {exc}", hint="--date-format dmy, or a pattern: %d.%m.%y"
                    ) from None
                if found != stamps.NUMERIC:
                    style = found
                else:
                    numeric = numeric or (row.number, text)
                    style = stamps.order_evidence(text)
            if decimal is None:
                decimal, unsure = self._decimal(row, numbers)
                open_comma = open_comma or unsure
            if style is not None and decimal is not None:
                break
        if style is None and numeric is not None:
            raise InvalidInput(
                f"{self.path.name}: row {numeric[0]}: in {shown(numeric[1])} day or month may come first, and no row"
                " of the file tells",
                hint="say it: --date-format dmy or --date-format mdy",
            )
        if style is None:
            raise InvalidInput(f"{self.path.name} has no rows below its first line")
        if decimal is None and open_comma is not None:
            raise InvalidInput(
                f"{self.path.name}: row {open_comma[0]}: in {shown(open_comma[1])} the comma may stand before"
                " decimals or between thousands, and no row of the file tells",
                hint='say it: --decimal "," or --decimal .',
            )
        return style, decimal or "."

    @staticmethod
    def _decimal(row: Row, numbers: list[int]) -> tuple[str | None, tuple[int, str] | None]:
        unsure = None
        for index in numbers:
            sign = decimal_evidence(row.cells[index])
            if sign == "?":
                unsure = unsure or (row.number, row.cells[index])
            elif sign is not None:
                return sign, None
        return None, unsure

    def _date_text(self, cells: list[str]) -> str:
        columns = self.file.columns
        text = cells[columns["date"]].strip()
        return f"{text} {cells[columns['time']].strip()}" if "time" in columns else text

    # -- what it says --

    def stage(self, staging: Staging, progress: Callable[[float], None] | None = None) -> int:
        """Put all rows that keep the rules into the staging; how many there were in all.  The rest is ``rejected``.

        Raises:
            BadRows, InvalidInput: the file can't be read to its end.
        """
        batch: list[StagedRow] = []
        count = 0
        for row in self._checked(self.file.rows(progress)):
            count += 1
            if row is not None:
                batch.append(row)
                if len(batch) >= BATCH:
                    staging.add(batch)
                    batch = []
        staging.add(batch)
        self._reject_repeated(staging)
        if not count:
            raise BadRows(f"{self.path.name} has no rows below its first line")
        return count

    def _checked(self, rows: Iterator[Row]) -> Iterator[StagedRow | None]:
        """Each row, or ``None`` for one that was rejected."""
        columns, width = self.file.columns, len(self.file.header)
        first, high, low, last = (columns[name] for name in PRICES)
        adj, volume = columns.get("adj_close"), columns.get("volume")
        decimal, read_stamp, interval = self.decimal, self.read_stamp, columns.get("interval")
        date, split = columns["date"], "time" in columns
        series_of = _SeriesNumbers(self)
        now = time.time()
        latest = now + CLOCK_TOLERANCE_SECONDS
        for number, cells in rows:
            series = None
            try:
                if len(cells) != width and (len(cells) < width or any(cells[width:])):
                    raise BadCell(f"it has {len(cells)} cells where the first line names {width} columns")
                series = series_of(cells)
                stamp = read_stamp(self._date_text(cells) if split else cells[date])
                one, two, three, four = (
                    read_number(cells[first], decimal),
                    read_number(cells[high], decimal),
                    read_number(cells[low], decimal),
                    read_number(cells[last], decimal),
                )
                five = None if adj is None else read_number(cells[adj], decimal)
                six = None if volume is None else read_number(cells[volume], decimal)
                if interval is not None and cells[interval].strip() != self.options.interval:
                    raise BadCell(f"its interval is {shown(cells[interval])}, not {self.options.interval}")
                # Nearly every row is sound, and then need not be asked rule by rule.
                if not (
                    one is not None
                    and two is not None
                    and three is not None
                    and four is not None
                    and 0 < three <= one <= two < math.inf
                    and three <= four <= two
                    and (five is None or 0 < five < math.inf)
                    and (six is None or 0 <= six < math.inf)
                    and stamp <= latest
                ):
                    rule = broken_rule(RawRow(stamp, stamp, one, two, three, four, five, six), now)
                    if rule is not None:
                        raise BadCell(REASONS.get(rule, rule))
                yield StagedRow(series, stamp, number, one, two, three, four, five, six)  # type: ignore[arg-type]
            except BadCell as exc:
                self.rejected.add(BadRow(number, None if series is None else self.symbols[series], str(exc)))
                yield None
            except InvalidInput as exc:
                raise InvalidInput(f"{self.path.name}: row {number}: {exc.message}", hint=exc.hint) from None

    def _reject_repeated(self, staging: Staging) -> None:
        """Of rows that say the same once more the first stays; of rows that contradict each other none does."""
        gone: dict[tuple[int, int, int], str] = {}
        for series, stamp, first, number, same in staging.repeated():
            if self.rejected.count + len(gone) > MOST_REPEATED:
                break  # hopeless, and what is remembered of it must not grow without end
            gone[(series, stamp, number)] = f"{'repeats' if same else 'contradicts'} row {first}"
            if not same:
                gone.setdefault((series, stamp, first), f"contradicts row {number}")
        for (series, stamp, number), what in gone.items():
            symbol = self.symbols[series]
            when = stamp_text(stamp, self.options.interval)
            self.rejected.add(BadRow(number, symbol, f"it {what} ({symbol} {when})"))
        staging.drop(gone)


class _SeriesNumbers:
    """A small number for each symbol of a file, by its cell."""

    def __init__(self, bars: BarFile) -> None:
        self._symbols = bars.symbols
        self._column = bars.file.columns.get("symbol")
        self._stated = bars.stated_symbol
        self._known: dict[str, int] = {}
        if self._stated is not None:
            self._symbols.append(self._stated)

    def __call__(self, cells: list[str]) -> int:
        if self._column is None:
            return 0
        text = cells[self._column]
        known = self._known.get(text)
        return self._new(text) if known is None else known

    def _new(self, text: str) -> int:
        try:
            symbol = normalise_symbol(text)
        except InvalidInput as exc:
            raise BadCell(exc.message) from None
        if self._stated is not None:
            # Another way of writing the one symbol that was stated, such as AAPL.US.
            if self._known:
                raise InvalidInput(
                    f"it is of {shown(text)}, rows before of {shown(next(iter(self._known)))}: --symbol names one",
                    hint="leave --symbol out",
                )
            self._known[text] = 0
            return 0
        if symbol in self._symbols:
            number = self._symbols.index(symbol)
        else:
            number = len(self._symbols)
            self._symbols.append(symbol)
        self._known[text] = number
        return number
