"""What a fetch of bars is asked for, checked and complete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

from marketjobs.domain.assets import normalise_symbols
from marketjobs.domain.intervals import Interval, period_start
from marketjobs.domain.jobs import JsonDict
from marketjobs.domain.ranges import Range, check_period, days, default_period, local_days, parse_day, period_before
from marketjobs.errors import InvalidInput

ARGUMENTS = ("symbols", "interval", "period", "start", "end", "provider", "force", "prepost")


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Checked arguments of a fetch.  ``period`` or ``start`` is set; ``end`` is included, ``None``: today.  Days
    are dates of sessions; for minutes and hours, dates in the exchange's zone.  ``provider``: only this one is asked;
    ``None``: the chain of each asset's class."""

    symbols: tuple[str, ...]
    interval: Interval
    period: str | None
    start: date | None
    end: date | None
    provider: str | None
    force: bool
    prepost: bool = False

    @classmethod
    def of(cls, arguments: JsonDict) -> FetchRequest:
        """Raises InvalidInput for anything that can't be right whatever is stored."""
        unknown = set(arguments) - set(ARGUMENTS)
        if unknown:
            raise InvalidInput(
                f"unknown argument {', '.join(sorted(map(str, unknown)))}: there are {' '.join(ARGUMENTS)}"
            )
        period, start, end = (arguments.get(name) for name in ("period", "start", "end"))
        if period is not None and (start is not None or end is not None):
            raise InvalidInput("period and start or end say the same thing twice: give one of them")
        if end is not None and start is None:
            raise InvalidInput("an end needs a start", hint="--start 2026-01-02 --end 2026-01-31")
        first = None if start is None else parse_day(start)
        last = None if end is None else parse_day(end)
        # East of Greenwich a person's today may be ahead of UTC's.
        today = max(datetime.now(UTC).date(), datetime.now().astimezone().date())
        for name, day in (("start", first), ("end", last)):
            if day is not None and day > today:
                raise InvalidInput(f"the {name} {day} lies in the future")
        if first is not None and last is not None and first > last:
            raise InvalidInput(f"the start {first} lies after the end {last}")
        provider = arguments.get("provider")
        if provider is not None and not isinstance(provider, str):
            raise InvalidInput("provider is a name")
        interval = Interval.of("1d" if arguments.get("interval") is None else arguments["interval"])
        prepost = bool(arguments.get("prepost"))
        if prepost and not interval.is_intraday:
            raise InvalidInput(f"bars of {interval} have no pre- and post-market: minutes and hours do (5m, 1h)")
        return cls(
            symbols=normalise_symbols(arguments["symbols"] if arguments.get("symbols") is not None else ()),
            interval=interval,
            period=check_period(default_period(interval) if period is None else period) if first is None else None,
            start=first,
            end=last,
            provider=provider,
            force=bool(arguments.get("force")),
            prepost=prepost,
        )

    def to_json(self) -> JsonDict:
        return {
            "symbols": list(self.symbols),
            "interval": self.interval.value,
            "period": self.period,
            "start": self.start and self.start.isoformat(),
            "end": self.end and self.end.isoformat(),
            "provider": self.provider,
            "force": self.force,
            "prepost": self.prepost,
        }

    def wanted(self, today: date, zone: tzinfo = UTC) -> Range:
        """The stamps that are wanted, from the start of the first period to the last day, when that is ``today``
        (in ``zone``, the exchange's, for minutes and hours)."""
        first = self.start or period_before(today, self.period or default_period(self.interval))
        last = max(self.end or today, first)
        if self.interval.is_intraday:
            return local_days(first, last, zone)
        return days(period_start(first, self.interval), last)
