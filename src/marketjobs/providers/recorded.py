"""Recorded history of five real stocks, shipped with the package: a vendor that needs no network.

Source: bokeh_sampledata 2026.1, module ``stocks``, an extract of Quandl WIKI Prices, public domain (read
2026-11).  ``recorded_data/README.md`` says what the figures are, ``scripts/make_recorded_data.py`` makes
them.

The files hold prices as traded.  They are put on the split basis of the last recorded day when they are
loaded: this vendor's today is that day, so it knows of no later split, and its newest bars read as they were
quoted.  Each split of the period is 2:1, which doubles divide by exactly.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import ClassVar

from marketjobs.domain.assets import AssetClass, AssetFacts
from marketjobs.domain.bars import (
    DIVIDEND,
    SPLIT,
    Action,
    BarAnswer,
    BarQuery,
    OpenSession,
    RawRow,
)
from marketjobs.domain.intervals import Interval, day_of, next_period, period_start, stamp_of
from marketjobs.errors import ProviderUnavailable, SymbolUnknown
from marketjobs.providers.base import Capabilities, Provider

FIRST_DAY = date(2000, 3, 1)
LAST_DAY = date(2013, 3, 1)
LAST_SESSION = OpenSession(stamp_of(LAST_DAY), stamp_of(LAST_DAY) + 21 * 3600)
"""16:00 in New York, winter time."""

ADJ_CLOSE_DIGITS = 8
"""The source's adj_close has noise in its last digits; rounded, it equals close where no dividend follows."""


@dataclass(frozen=True, slots=True)
class Share:
    """What the record says about a symbol beside its prices.  ``exchange`` is a code as Yahoo spells it."""

    name: str
    exchange: str


SHARES = {
    "AAPL": Share("Apple Inc.", "NMS"),
    "FB": Share("Facebook, Inc.", "NMS"),
    "GOOG": Share("Google Inc.", "NMS"),
    "IBM": Share("International Business Machines Corporation", "NYQ"),
    "MSFT": Share("Microsoft Corporation", "NMS"),
}


class Recorded(Provider):
    """Days of 2000-03-01 to 2013-03-01 (FB and GOOG from their listing), and weeks and months made of them.

    Asked only by name, because its newest bar is of 2013.  It spends no budget: nothing is sent.
    """

    name: ClassVar[str] = "recorded"
    capabilities: ClassVar[Capabilities] = Capabilities(
        bars=frozenset({Interval.DAY_1, Interval.WEEK_1, Interval.MONTH_1}),
        asset_classes=frozenset({AssetClass.EQUITY}),
    )
    only_by_name: ClassVar[bool] = True
    needs_network: ClassVar[bool] = False

    @property
    def as_of(self) -> date:
        """2013-03-01, so that a period of 1y means the last recorded year."""
        return LAST_DAY

    async def bars(self, query: BarQuery) -> BarAnswer:
        """Rows of the range, ascending; none where the record has none.  Events of the same range keep the
        dates of their sessions, for weeks and months too.

        Raises:
            SymbolUnknown: not one of the five.
            Unsupported: an interval that is no day, week or month.
            ProviderUnavailable: the files are missing or damaged.
        """
        self.require_bars(query)
        share = SHARES.get(query.symbol)
        if share is None:
            raise SymbolUnknown(
                f"{self.name} has no {query.symbol}; it has: {' '.join(SHARES)}",
                provider=self.name,
                symbol=query.symbol,
            )
        try:
            rows, actions = _series(query.symbol, query.interval), _actions(query.symbol)
        # What a missing, cut, foreign or overwritten file raises on its way through gzip, csv and float.
        except (OSError, EOFError, zlib.error, csv.Error, ValueError, LookupError) as exc:
            raise ProviderUnavailable(
                f"the recorded figures of {query.symbol} can't be read: {exc}",
                provider=self.name,
                symbol=query.symbol,
                hint="install marketjobs again",
            ) from exc
        start = bisect_left(rows, query.range.start, key=lambda row: row.stamp)
        end = bisect_left(rows, query.range.end, key=lambda row: row.stamp)
        return BarAnswer(
            query,
            rows=rows[start:end],
            actions=tuple(action for action in actions if action.ts in query.range),
            facts=AssetFacts(
                name=share.name,
                asset_class=AssetClass.EQUITY,
                currency="USD",
                exchange=share.exchange,
                timezone="America/New_York",
            ),
            session=LAST_SESSION,
        )


@cache
def _series(symbol: str, interval: Interval) -> tuple[RawRow, ...]:
    """Rows ascending by stamp, on the split basis of LAST_DAY."""
    if interval is Interval.DAY_1:
        return tuple(_days(symbol))
    return tuple(_periods(_series(symbol, Interval.DAY_1), interval))


def _days(symbol: str) -> list[RawRow]:
    """The file's rows; prices divided and volume multiplied by the splits that follow; adj_close, which the
    source adjusted for later years too, scaled so that it meets close on the last day.

    Raises what a missing or damaged file raises.
    """
    packed = files(__package__).joinpath("recorded_data", f"{symbol}.csv.gz").read_bytes()
    _header, *figures = csv.reader(gzip.decompress(packed).decode("ascii").splitlines())
    last_close, last_adj = float(figures[-1][4]), float(figures[-1][6])
    splits = {stamp: ratio for stamp, kind, ratio in _events(symbol) if kind == SPLIT}
    rows: list[RawRow] = []
    later = 1.0
    for day, opening, high, low, close, volume, adj_close in reversed(figures):
        stamp = stamp_of(date.fromisoformat(day))
        rows.append(
            RawRow(
                stamp=stamp,
                at=float(stamp),
                open=float(opening) / later,
                high=float(high) / later,
                low=float(low) / later,
                close=float(close) / later,
                adj_close=round(float(adj_close) / last_adj * last_close, ADJ_CLOSE_DIGITS),
                volume=float(volume) * later,
            )
        )
        later *= splits.get(stamp, 1.0)  # the day of a split trades on the new basis, the days before do not
    rows.reverse()
    return rows


@cache
def _actions(symbol: str) -> tuple[Action, ...]:
    """Splits and dividends ascending; a dividend in dollars a share of LAST_DAY, as the bars."""
    events = _events(symbol)
    splits = [event for event in events if event.kind == SPLIT]
    return tuple(
        event._replace(value=event.value / math.prod(split.value for split in splits if split.ts > event.ts))
        if event.kind == DIVIDEND
        else event
        for event in events
    )


def _events(symbol: str) -> tuple[Action, ...]:
    """As the file has them: ascending, a dividend in dollars a share as traded on its day."""
    text = files(__package__).joinpath("recorded_data", "events.csv").read_text("ascii")
    return tuple(
        Action(stamp_of(date.fromisoformat(day)), kind, float(value))
        for owner, day, kind, value in csv.reader(text.splitlines())
        if owner == symbol
    )


def _periods(days: Sequence[RawRow], interval: Interval) -> Iterator[RawRow]:
    """Weeks or months made of days, stamped with their first calendar day.

    A period that the record cuts is left out: its figures would be wrong and, all of them being years old,
    would pass for final.  That is March 2013, and the week of 2000-02-28.  The first week and month of FB and
    GOOG are whole: nobody traded before the listing.
    """
    for start, group in groupby(days, key=lambda row: period_start(day_of(row.stamp), interval)):
        rows = list(group)
        if start < FIRST_DAY or _last_weekday(start, interval) > LAST_DAY:
            continue
        stamp = stamp_of(start)
        yield RawRow(
            stamp=stamp,
            at=float(stamp),
            open=rows[0].open,
            high=max(row.high for row in rows),
            low=min(row.low for row in rows),
            close=rows[-1].close,
            adj_close=rows[-1].adj_close,
            volume=sum(row.volume for row in rows),
        )


def _last_weekday(start: date, interval: Interval) -> date:
    """Monday to Friday; the last day of the period on which there may be a session."""
    day = next_period(start, interval) - timedelta(days=1)
    return day - timedelta(days=max(0, day.weekday() - 4))
