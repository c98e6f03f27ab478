"""Yahoo's v8 chart, read without a network: what is asked for, and what an answer means.

Yahoo documents none of it.  Source: yfinance 1.7.0 (``utils.py``, ``scrapers/history.py``), answers recorded
from 2019 to 2026, yfinance issues 521, 576, 1311, 1585 and 2806, quantmod issue 263 (read 2026-11).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache, partial
from operator import index
from typing import Any
from zoneinfo import ZoneInfo

from marketjobs.domain.assets import AssetFacts
from marketjobs.domain.bars import DIVIDEND, SPLIT, Action, BarAnswer, BarQuery, OpenSession, RawRow
from marketjobs.domain.intervals import DAY_SECONDS, Interval, day_of, local_day, next_period, period_start, stamp_of
from marketjobs.domain.ranges import Range
from marketjobs.providers import yahoo_minutes as minutes
from marketjobs.providers.yahoo_answers import CHART, results_of
from marketjobs.providers.yahoo_values import UNREADABLE, asset_class, malformed, number, printable, text

MOST_DAYS = 36_135
"""Yahoo refuses more than a hundred years in one request; yfinance asks for so many."""
LIVE_TOLERANCE_SECONDS = 60
_PRICES = ("open", "high", "low", "close")


def chart_params(query: BarQuery) -> dict[str, str]:
    """What a chart is asked with.

    Minutes and hours are asked for as they are wanted; the others with margins.  A session's stamp is 00:00Z
    of its date, its instants lie up to fourteen hours before and a day after.  Weeks and months are asked for
    whole, because Yahoo makes them of the days between ``period1`` and ``period2`` only, and its weeks begin on
    the weekday of ``period1``: that is a Monday.  One period more than wanted, which may be cut, comes before
    and after; rows outside the range are dropped by the check.
    """
    interval, wanted = query.interval, query.range
    first, last = day_of(wanted.start), day_of(wanted.end - 1)
    if interval.is_intraday:
        start, end = wanted.start, wanted.end
    elif interval is Interval.DAY_1:
        start, end = wanted.start - DAY_SECONDS, wanted.end + DAY_SECONDS
    else:
        start = stamp_of(period_start(period_start(first, interval) - timedelta(days=1), interval))
        end = stamp_of(next_period(last, interval)) + DAY_SECONDS
    if end - start > MOST_DAYS * DAY_SECONDS:
        cut = date.fromordinal(day_of(end).toordinal() - MOST_DAYS)
        start = stamp_of(next_period(cut, interval))
    return {
        "period1": str(start),
        "period2": str(end),
        "interval": minutes.SENT_AS.get(interval, interval).value,
        "includePrePost": "true" if query.prepost else "false",
        "events": "div,splits",
    }


def parse_chart(body: bytes, query: BarQuery) -> BarAnswer:
    """The answer that a chart's body holds; values are left as they were sent.

    Raises:
        MalformedAnswer: it can't be read as the bars that were asked for.
        Blocked: it is the consent page.
        ProviderError: it carries an error of Yahoo's, of the class that its code means.
    """
    result = _result(body, query.symbol)
    meta = result.get("meta")
    if not isinstance(meta, dict):
        raise malformed(query.symbol, "no description of the asset")
    symbol = meta.get("symbol")
    if not isinstance(symbol, str) or symbol.upper() != query.symbol.upper():
        raise malformed(query.symbol, f"figures of {printable(symbol)}")
    sent_as = minutes.SENT_AS.get(query.interval, query.interval).value
    granularity = meta.get("dataGranularity", sent_as)
    if granularity not in (sent_as, minutes.SAME_LENGTH.get(sent_as)):
        raise malformed(query.symbol, f"bars of {printable(granularity)} instead of {sent_as}")
    zone_name, zone = _zone(meta)
    times = minutes.schedule(meta, zone, prepost=query.prepost) if query.interval.is_intraday else None
    kind = meta.get("instrumentType")
    return BarAnswer(
        query,
        rows=_rows(result, meta, query, zone, times),
        actions=_actions(result.get("events"), query, zone),
        facts=AssetFacts(
            name=text(meta.get("longName")) or text(meta.get("shortName")),
            asset_class=asset_class(kind),
            currency=text(meta.get("currency")),
            exchange=text(meta.get("exchangeName")),
            timezone=zone_name,
        ),
        session=_open_session(meta, zone),
        hours=() if times is None else times.sessions,
    )


def joined(query: BarQuery, answers: Sequence[BarAnswer]) -> BarAnswer:
    """One answer of those to the parts of a query, ascending; it speaks for the parts' range."""
    described = next((one for one in reversed(answers) if one.facts != AssetFacts()), answers[-1])
    return replace(
        described,
        query=replace(query, range=Range(answers[0].query.range.start, query.range.end)),
        rows=tuple(row for one in answers for row in one.rows),
        actions=tuple(sorted({action for one in answers for action in one.actions})),
        hours=tuple(sorted({hours for one in answers for hours in one.hours})),
    )


def _result(body: bytes, symbol: str) -> dict[str, Any]:
    """The first result of a chart."""
    results = results_of(body, CHART, symbol)
    if not results or not isinstance(results[0], dict):
        raise malformed(symbol, "no result and no reason")
    return results[0]


def _zone(meta: dict[str, Any]) -> tuple[str | None, tzinfo]:
    """The exchange's zone and its IANA name, else a fixed offset, else UTC."""
    name = meta.get("exchangeTimezoneName")
    if isinstance(name, str) and name:
        try:
            return name, ZoneInfo(name)
        except UNREADABLE:
            pass
    try:
        return None, timezone(timedelta(seconds=int(meta["gmtoffset"])))
    except UNREADABLE:
        return None, UTC


@lru_cache(maxsize=1 << 14)  # the symbols of an exchange have their sessions in common
def _session_ordinal(at: float, zone: tzinfo) -> int:
    """The ordinal of the session's date.

    A bar opens at midnight or with its exchange.  Yahoo misses midnight by an hour or two where a zone
    changed its rules (Brazil in 2022): a full hour from 22:00 on belongs to the next day.
    """
    local = datetime.fromtimestamp(at, zone)
    missed = local.hour >= 22 and local.minute == 0 and local.second == 0
    return local.toordinal() + missed


def _rows(
    result: dict[str, Any], meta: dict[str, Any], query: BarQuery, zone: tzinfo, schedule: minutes.Schedule | None
) -> tuple[RawRow, ...]:
    times = result.get("timestamp")
    if times is None:
        times = []
    if not isinstance(times, list):
        raise malformed(query.symbol, "timestamps that are no list")
    figures = result.get("indicators")
    column = partial(_column, count=len(times), symbol=query.symbol)
    quotes = _first(figures, "quote")
    if quotes is None and times:
        raise malformed(query.symbol, "timestamps without figures")
    adjusted = _first(figures, "adjclose")
    live_at = number(meta.get("regularMarketTime"))
    is_live = bool(times) and live_at is not None and _is_near(times[-1], live_at)
    try:
        if schedule is not None:
            stamps = [index(at) for at in times]
        else:
            ordinals = [_session_ordinal(at, zone) for at in times]
            if is_live:  # a trade's instant, which is never meant to be another day's midnight
                ordinals[-1] = datetime.fromtimestamp(times[-1], zone).toordinal()
            stamps = _stamps(ordinals, query)
        instants = [float(at) for at in times]
    except UNREADABLE as exc:
        raise malformed(query.symbol, "timestamps that are no instants") from exc
    rows = list(
        map(
            RawRow._make,
            zip(
                stamps,
                instants,
                *(column(quotes, name) for name in _PRICES),
                column(adjusted, "adjclose"),
                column(quotes, "volume"),
                strict=True,
            ),
        )
    )
    if schedule is None:
        return tuple(_with_live_merged(rows, query.interval) if is_live else rows)
    try:
        return tuple(minutes.bars(rows, query, schedule, zone, live_at))
    except UNREADABLE as exc:
        raise malformed(query.symbol, "timestamps that are no instants") from exc


def _stamps(ordinals: Sequence[int], query: BarQuery) -> list[int]:
    epoch = date(1970, 1, 1).toordinal()
    if query.interval is Interval.DAY_1:
        return [(ordinal - epoch) * DAY_SECONDS for ordinal in ordinals]
    days = [date.fromordinal(ordinal) for ordinal in ordinals]
    starts = [period_start(day, query.interval) for day in days]
    # The first may begin with a listing and the last with a trade; were another to begin in the middle of a
    # week, its figures would be those of two weeks.
    if days[1:-1] != starts[1:-1]:
        odd = next(day for day, start in zip(days[1:-1], starts[1:-1], strict=True) if day != start)
        raise malformed(query.symbol, f"a bar of {query.interval} that begins on {odd:%A %Y-%m-%d}")
    return [stamp_of(start) for start in starts]


def _is_near(at: Any, live_at: float) -> bool:
    moment = number(at)
    return moment is not None and abs(moment - live_at) <= LIVE_TOLERANCE_SECONDS


def _with_live_merged(rows: list[RawRow], interval: Interval) -> list[RawRow]:
    """Yahoo sends the running session as a last row stamped with the last trade, often beside the row of the
    same day, week or month.  Only that pair is made one; other duplicates are the check's to reject.

    A day: both say the same and the live row says it later, so it stays.  A week or month: its row gets the
    live row's close and range.  yfinance adds both volumes up; but once the day is over the period's row
    holds that day too (recorded: AAPL, 2024-10-11, where the month's row is the sum of its days up to the
    11th), so that they are added only while the live row says something new.
    """
    if len(rows) < 2:
        return rows
    period, live = rows[-2:]
    if period.stamp != live.stamp or period.at >= live.at:
        return rows
    if live[2:6] == (None,) * 4:
        return rows[:-1]
    if interval is Interval.DAY_1 or period[2:6] == (None,) * 4:
        return [*rows[:-2], live]
    figures = [number(value) for value in (*period[2:6], *live[2:6])]
    if None in figures:
        return rows  # the check names the rule that they break
    says_new = live.close != period.close or live.high > period.high or live.low < period.low
    merged = period._replace(
        at=live.at,
        high=max(period.high, live.high),
        low=min(period.low, live.low),
        close=live.close,
        adj_close=live.adj_close,
        volume=_sum(period.volume, live.volume) if says_new else period.volume,
    )
    return [*rows[:-2], merged]


def _sum(period: Any, live: Any) -> Any:
    """Both volumes together; what is no volume is left for the check."""
    first, second = number(period), number(live)
    if second is None or second <= 0:
        return period
    return period + live if first is not None and first >= 0 else period


def _first(figures: Any, name: str) -> dict[str, Any] | None:
    group = figures.get(name) if isinstance(figures, dict) else None
    first = group[0] if isinstance(group, list) and group else None
    return first if isinstance(first, dict) else None


def _column(group: dict[str, Any] | None, name: str, *, count: int, symbol: str) -> list[Any]:
    """A column as sent; of ``None`` where Yahoo sent none."""
    values = group.get(name) if group is not None else None
    if values is None:
        return [None] * count
    if not isinstance(values, list) or len(values) != count:
        raise malformed(symbol, f"{count} timestamps but another number of {name}")
    return values


def _actions(events: Any, query: BarQuery, zone: tzinfo) -> tuple[Action, ...]:
    """Dividends and splits of the range's days, ascending; an event that can't be read is left out."""
    if not isinstance(events, dict):
        return ()
    found = [
        *_events(events.get("dividends"), DIVIDEND, _amount, zone),
        *_events(events.get("splits"), SPLIT, _ratio, zone),
    ]
    wanted = query.range
    if query.interval.is_intraday:
        wanted = Range(stamp_of(local_day(wanted.start, zone)), wanted.end)
    return tuple(sorted(action for action in found if action.ts in wanted))


def _events(
    group: Any, kind: str, value_of: Callable[[dict[str, Any]], float | None], zone: tzinfo
) -> Iterable[Action]:
    """``group``: event by instant; the instant of a month's or week's event is the period's, its ``date`` the
    session's."""
    for event in group.values() if isinstance(group, dict) else ():
        if not isinstance(event, dict):
            continue
        at, value = number(event.get("date")), value_of(event)
        if at is None or value is None or not 0 < value < math.inf:
            continue
        try:
            day = date.fromordinal(_session_ordinal(at, zone))
        except UNREADABLE:
            continue
        yield Action(stamp_of(day), kind, value)


def _amount(event: dict[str, Any]) -> float | None:
    return number(event.get("amount"))


def _ratio(event: dict[str, Any]) -> float | None:
    """New shares for one old."""
    new, old = number(event.get("numerator")), number(event.get("denominator"))
    return new / old if new is not None and old else None


def _open_session(meta: dict[str, Any], zone: tzinfo) -> OpenSession | None:
    period = meta.get("currentTradingPeriod")
    regular = period.get("regular") if isinstance(period, dict) else None
    if not isinstance(regular, dict):
        return None
    start, end = number(regular.get("start")), number(regular.get("end"))
    if start is None or end is None or end < start:
        return None
    try:
        return OpenSession(stamp_of(datetime.fromtimestamp(start, zone).date()), end)
    except UNREADABLE:
        return None
