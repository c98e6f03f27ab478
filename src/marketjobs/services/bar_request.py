"""What a fetch of bars is asked for, checked and complete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from marketjobs.domain.assets import normalise_symbols
from marketjobs.domain.intervals import Interval, period_start
from marketjobs.domain.jobs import JsonDict
from marketjobs.domain.ranges import DEFAULT_PERIOD, Range, check_period, days, parse_day, period_before
from marketjobs.errors import InvalidInput
from marketjobs.services.runtime import DEFAULT_PROVIDER

ARGUMENTS = ("symbols", "interval", "period", "start", "end", "provider", "force")


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Checked arguments of a fetch.  ``period`` or ``start`` is set; ``end`` is included, ``None``: today."""

    symbols: tuple[str, ...]
    interval: Interval
    period: str | None
    start: date | None
    end: date | None
    provider: str
    force: bool

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
        provider = DEFAULT_PROVIDER if arguments.get("provider") is None else arguments["provider"]
        if not isinstance(provider, str):
            raise InvalidInput("provider is a name")
        return cls(
            symbols=normalise_symbols(arguments["symbols"] if arguments.get("symbols") is not None else ()),
            interval=Interval.of("1d" if arguments.get("interval") is None else arguments["interval"]),
            period=check_period(DEFAULT_PERIOD if period is None else period) if first is None else None,
            start=first,
            end=last,
            provider=provider,
            force=bool(arguments.get("force")),
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
        }

    def wanted(self, today: date) -> Range:
        """The stamps that are wanted, from the start of the first period to the last day, when that is ``today``."""
        first = self.start or period_before(today, self.period or DEFAULT_PERIOD)
        return days(period_start(first, self.interval), max(self.end or today, first))
