"""Keeping the universe fresh: the bars of all active assets, in child jobs that start a while apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from marketjobs.domain import reports
from marketjobs.domain.assets import normalise_symbols
from marketjobs.domain.intervals import Interval
from marketjobs.domain.jobs import Conclusion, Job, JobState, JsonDict, Part
from marketjobs.domain.jobs import split as split_runs
from marketjobs.errors import InvalidInput, ProviderMismatch
from marketjobs.providers.base import provider_class
from marketjobs.services import bars, universe
from marketjobs.services.bar_plan import refuse_mixture
from marketjobs.services.bar_request import ARGUMENTS as FETCH_ARGUMENTS
from marketjobs.services.context import JobContext
from marketjobs.services.failover import chain, class_of, require_usable
from marketjobs.services.runtime import Runtime
from marketjobs.storage import bar_state

ARGUMENTS = (*FETCH_ARGUMENTS, "group", "batch_size", "delay_seconds")
MOST_IN_A_BATCH = 500
LONGEST_DELAY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Skipped:
    """An active asset that the provider can't serve."""

    symbol: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sync:
    """A kind of job: one for bars of a day and more, one for minutes and hours."""

    name: str
    is_intraday: bool

    @property
    def task(self) -> str:
        return f"marketjobs.{self.name}"

    def prepare(self, runtime: Runtime, arguments: JsonDict) -> JsonDict:
        """Arguments complete and canonical; see :meth:`choose`."""
        return self.choose(runtime, arguments)[0]

    def choose(self, runtime: Runtime, arguments: JsonDict) -> tuple[JsonDict, list[Skipped]]:
        """Complete and canonical arguments, and the active assets that are left out.

        Which assets are active is decided here, when the job is handed in: the symbols that are named, else all
        (of a group) that the provider can serve.

        Raises:
            InvalidInput, UnknownProvider, Unsupported, ProviderMismatch: they can't be served, or no asset is active.
            GroupNotFound: there is no such group.
        """
        unknown = set(arguments) - set(ARGUMENTS)
        if unknown:
            raise InvalidInput(
                f"unknown argument {', '.join(sorted(map(str, unknown)))}: there are {' '.join(ARGUMENTS)}"
            )
        defaults = runtime.settings.universe
        interval = self._interval(runtime, arguments.get("interval"))
        period = arguments.get("period")
        if period is None and arguments.get("start") is None:
            period = defaults.intraday_period if self.is_intraday else defaults.history_period
        batch = _number(arguments, "batch_size", defaults.batch_size, 1, MOST_IN_A_BATCH, int)
        delay = _number(arguments, "delay_seconds", defaults.delay_seconds, 0, LONGEST_DELAY_SECONDS)
        only = arguments.get("provider")
        if only is not None:
            require_usable(runtime.settings, only)
        named: list[str] = []
        skipped: list[Skipped] = []
        if arguments.get("symbols") is not None:
            named += normalise_symbols(arguments["symbols"])
        if not named or arguments.get("group") is not None:
            active, skipped = _active(runtime, interval, only, arguments.get("group"))
            named = list(dict.fromkeys([*named, *active]))
        if not named:
            raise _nothing(only, arguments.get("group"), skipped)
        fetch = {name: arguments.get(name) for name in FETCH_ARGUMENTS}
        fetch |= {"symbols": named, "interval": interval.value, "period": period}
        return bars.prepare(runtime, fetch) | {"batch_size": batch, "delay_seconds": delay}, skipped

    def fetch(self, arguments: JsonDict) -> JsonDict:
        """The arguments of the same in one fetch."""
        return {name: arguments[name] for name in FETCH_ARGUMENTS if name in arguments}

    def identity(self, arguments: JsonDict) -> JsonDict:
        """In what batches it runs makes no other request."""
        return bars.identity(self.fetch(arguments))

    def split(self, arguments: JsonDict, processes: int) -> Sequence[Part]:
        """A fetch a batch; a universe of one batch is fetched by the job itself."""
        runs = split_runs(arguments["symbols"], arguments["batch_size"])
        if len(runs) == 1:
            return []
        fetch = self.fetch(arguments)
        return [
            Part(bars.FETCH, fetch | {"symbols": list(run)}, delay_seconds=number * arguments["delay_seconds"])
            for number, run in enumerate(runs)
        ]

    def run(self, ctx: JobContext, arguments: JsonDict) -> JsonDict:
        """Fetch what an earlier attempt has not settled; see :func:`marketjobs.services.bars.fetch`."""
        if ctx.job is None:  # a plain call: nothing has prepared its arguments
            arguments = self.prepare(ctx.runtime, arguments)
        return bars.run(ctx, self.fetch(arguments))

    def conclude(self, result: JsonDict) -> Conclusion:
        return reports.conclude(result)

    def collect(self, outcomes: Sequence[JsonDict]) -> JsonDict:
        return reports.collect(outcomes)

    def merge(self, children: Sequence[Job]) -> tuple[JobState, JsonDict]:
        return reports.merge(children)

    def _interval(self, runtime: Runtime, text: str | None) -> Interval:
        defaults = runtime.settings.universe
        interval = Interval.of(text or (defaults.intraday_interval if self.is_intraday else defaults.history_interval))
        if interval.is_intraday != self.is_intraday:
            other = HISTORY if self.is_intraday else INTRADAY
            raise InvalidInput(
                f"{_command(self)} is for bars of {'minutes and hours' if self.is_intraday else 'a day or more'},"
                f" not {interval}",
                hint=f"marketjobs {_command(other)} --interval {interval}",
            )
        return interval


def _command(kind: Sync) -> str:
    return kind.name.replace("_", "-")


def _active(
    runtime: Runtime, interval: Interval, only: str | None, group: str | None
) -> tuple[list[str], list[Skipped]]:
    """The active assets that somebody can serve (``only``: this provider), and those that nobody can."""
    symbols: list[str] = []
    skipped: list[Skipped] = []
    active = universe.active(runtime, group)
    with runtime.database.read() as tx:
        suppliers = bar_state.suppliers(tx, [asset.id for asset in active])
    for asset in active:
        asset_class = class_of(asset.symbol, asset.asset_class)
        links = chain(runtime.settings, asset_class, lambda can: can.refusal(interval), only)
        usable = [link.name for link in links if link.refusal is None]
        if not usable:
            assert links[0].refusal is not None
            skipped.append(Skipped(asset.symbol, links[0].refusal.message))
            continue
        try:
            refuse_mixture(asset.symbol, provider_class(usable[0]), suppliers[asset.id])
        except ProviderMismatch:
            skipped.append(Skipped(asset.symbol, f"its bars are never mixed with {usable[0]}'s"))
        else:
            symbols.append(asset.symbol)
    return symbols, skipped


def _nothing(only: str | None, group: str | None, skipped: Sequence[Skipped]) -> InvalidInput:
    where = "" if group is None else f" in group {group}"
    if not skipped:
        return InvalidInput(f"no asset{where} is active", hint="marketjobs assets add AAPL MSFT")
    first = skipped[0]
    return InvalidInput(
        f"{only or 'nobody'} can serve {'none' if only else 'any'} of the {len(skipped)} active assets{where}:"
        f" {first.symbol}: {first.reason}",
        hint="marketjobs assets add AAPL MSFT, or another --provider",
    )


def _number(
    arguments: JsonDict, name: str, default: float, least: float, most: float, kind: type[float] = float
) -> float:
    value = default if arguments.get(name) is None else arguments[name]
    fits = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    if not fits or kind(value) != value:
        what = "a whole number" if kind is int else "a number"
        raise InvalidInput(f"{name} is {what} from {least:g} to {most:g}, not {value!r:.40}")
    return kind(value)


HISTORY = Sync("sync_history", is_intraday=False)
INTRADAY = Sync("sync_intraday", is_intraday=True)
