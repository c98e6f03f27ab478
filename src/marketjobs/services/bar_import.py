"""Adopting bars that people already have: a file is checked as a whole, then stored in one transaction or not at all.

What is stored already is never touched: final bars of a file's series must agree with the file, or the file is
refused, because prices on another basis (before a split, with dividends taken out, another listing) must not be
mixed into a series.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from marketjobs.domain.assets import MAX_SYMBOL_LENGTH
from marketjobs.domain.bars import RESTATED_BY, SPLIT, Bar, is_provisional
from marketjobs.domain.intervals import DAY_SECONDS, bar_end, day_of, stamp_text
from marketjobs.domain.jobs import JsonDict
from marketjobs.domain.ranges import Range, merge, stretches, subtract
from marketjobs.domain.reports import SymbolFailure, SymbolOutcome, SymbolStatus
from marketjobs.errors import BadRows, DataRejected, InvalidInput, ProviderMismatch
from marketjobs.providers.base import provider_names
from marketjobs.services.bar_file import BadRow, BarFile, BarFileOptions
from marketjobs.services.bar_plan import is_only_by_name, zone_of
from marketjobs.services.bar_seams import Seam, closed_seconds, seams
from marketjobs.services.runtime import Runtime
from marketjobs.services.universe import refuse_renamed
from marketjobs.storage import assets, bar_state, bars
from marketjobs.storage.database import Transaction
from marketjobs.storage.staging import Staging

DEFAULT_LABEL = "import"
YOUNG_SECONDS = 70 * DAY_SECONDS
"""Bars older than that are final in every interval."""
_LABEL = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{MAX_SYMBOL_LENGTH - 1}}}")

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What is to be imported, and what a person says of it.

    ``as_traded``: prices were not adjusted for splits; ``skip_bad``: rows that break a rule are left out instead of
    refusing the file.
    """

    file: BarFileOptions
    label: str = DEFAULT_LABEL
    as_traded: bool = False
    skip_bad: bool = False


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file."""

    rows: int
    outcomes: list[SymbolOutcome]
    rows_rejected: int
    rejected: list[BadRow]
    unused: list[str]

    def to_json(self) -> JsonDict:
        return {
            "rows": self.rows,
            "rows_rejected": self.rows_rejected,
            "rejected": [{"row": row.number, "symbol": row.symbol, "reason": row.reason} for row in self.rejected],
            "columns_unused": self.unused,
            "result": {"symbols": [one.to_json() for one in self.outcomes]},
        }


def import_bars(
    runtime: Runtime, path: Path, request: ImportRequest, progress: Progress = lambda _text, _part: None
) -> ImportReport:
    """Store a file's bars, all or none; each symbol's outcome in the order of the file.

    Raises:
        BadRows: rows break a rule; nothing was stored.
        ProviderMismatch: its prices have another basis than what is stored; nothing was stored.
        InvalidInput: it is no such file, or it leaves open how it is to be read.
    """
    _check_label(request.label)
    file = BarFile(path, request.file)
    with Staging() as staging:
        count = file.stage(staging, lambda part: progress(f"reading {path.name}", part * 0.7))
        rejected = file.rejected
        if rejected.count and not request.skip_bad:
            raise BadRows(
                f"{path.name}: {rejected.count:,} of {count:,} rows can't be taken: {rejected.text()}",
                hint="mend them, or leave them out with --skip-bad; nothing was stored",
            )
        if rejected.count >= count:
            raise BadRows(f"{path.name}: no row can be taken: {rejected.text()}")
        with runtime.database.write() as tx:
            store = _Store(tx, file, staging, request)
            outcomes = []
            for number, symbol in enumerate(file.symbols):
                progress(f"storing {symbol}", 0.7 + 0.3 * number / len(file.symbols))
                outcomes.append(store.symbol(number, symbol))
    listed = sorted(rejected.rows)
    return ImportReport(count, outcomes, rejected.count, listed, file.unused)


def _check_label(label: str) -> None:
    if not _LABEL.fullmatch(label):
        raise InvalidInput(f"provider {label!a:.60} is no label: up to {MAX_SYMBOL_LENGTH} of a-z 0-9 . _ -")
    if label in provider_names() and is_only_by_name(label):
        raise InvalidInput(f"provider {label} has a basis of its own, nothing is imported as its")


class _Store:
    """Writes a staged file's series, one after the other, in one transaction."""

    def __init__(self, tx: Transaction, file: BarFile, staging: Staging, request: ImportRequest) -> None:
        self.tx, self.file, self.staging, self.request = tx, file, staging, request
        self.interval = request.file.interval
        self.now = time.time()
        self.ids = assets.ids(tx, file.symbols)
        filled = [symbol for number, symbol in enumerate(file.symbols) if staging.span(number) is not None]
        for symbol in filled:
            if symbol not in self.ids:
                refuse_renamed(tx, symbol)
        self.ids = assets.ensure_in(tx, filled)
        # Before anything is read: what is compared must still be so when it is written.
        if assets.lock(tx, self.ids.values()) != set(self.ids.values()):
            raise DataRejected("an asset of the file was removed meanwhile; nothing was stored", hint="run it again")
        self.provider = bars.provider_id(tx, request.label)

    def symbol(self, number: int, symbol: str) -> SymbolOutcome:
        """Store a series and say how it went."""
        rejected = self.file.rejected.by_symbol[symbol]
        span = self.staging.span(number)
        if span is None:
            failure = SymbolFailure(DataRejected.cause, f"{symbol}: every row breaks a rule", retryable=False)
            return SymbolOutcome(
                symbol, self.interval, SymbolStatus.FAILED, self.request.label, rows_rejected=rejected, error=failure
            )
        asset = self.ids[symbol]
        self._refuse_other_basis(symbol, asset, span[0])
        keeps_adjusted = self._compare(number, symbol, asset)
        beside = self._seams(number, asset)
        new, same = self._write(number, asset, keeps_adjusted, [seam.range(self.interval) for seam in beside])
        first, last = bars.span(self.tx, asset, self.interval)
        assert first is not None and last is not None
        return SymbolOutcome(
            symbol=symbol,
            interval=self.interval.value,
            status=SymbolStatus.STORED if new else SymbolStatus.UP_TO_DATE,
            provider=self.request.label,
            rows_new=new,
            rows_unchanged=same,
            rows_rejected=rejected,
            first=stamp_text(first, self.interval),
            last=stamp_text(last, self.interval),
            note=self._note(symbol, asset, keeps_adjusted, beside),
        )

    def _note(self, symbol: str, asset: int, keeps_adjusted: bool, beside: list[Seam]) -> str | None:
        said = [] if keeps_adjusted else ["adjusted closes were left out: not on the basis of what is stored"]
        far = next((seam for seam in beside if seam.is_far), None)
        if far is not None:
            said.append(far.text(symbol, self.interval, zone_of(bars.timezone(self.tx, asset))))
        return "; ".join(said) or None

    def _seams(self, number: int, asset: int) -> list[Seam]:
        """Where the file's bars will lie beside stored ones; what was known there is to be asked for again."""
        if bars.span(self.tx, asset, self.interval)[0] is None:
            return []
        found = seams(self.tx, asset, self.interval, self.staging.chunks(number))
        coverage = bars.coverage(self.tx, asset, self.interval)
        unsure = [seam.range(self.interval) for seam in found if seam.is_new]
        after = [part for one in coverage for part in subtract(one, unsure)]
        bars.replace_coverage(self.tx, self.interval.code, [(asset, coverage, after)])
        return found

    def _refuse_other_basis(self, symbol: str, asset: int, first: int) -> None:
        for other in bar_state.suppliers(self.tx, [asset])[asset]:
            if is_only_by_name(other):
                raise ProviderMismatch(
                    f"{symbol} has bars from {other}: no others are mixed with them; nothing was stored",
                    hint=f"marketjobs assets remove {symbol} --purge",
                )
        if not self.request.as_traded:
            return
        splits = sorted(ts for ts, kind in bars.actions(self.tx, asset) if kind == SPLIT and ts > first)
        if splits:
            raise ProviderMismatch(
                f"{symbol} was split on {day_of(splits[0])}: prices as they were traded before have another basis;"
                " nothing was stored"
            )

    def _compare(self, number: int, symbol: str, asset: int) -> bool:
        """May the file's adjusted closes be kept?  Yes in a new series, or where stored ones agree with them.

        Raises:
            ProviderMismatch: a final stored close differs.
        """
        if bars.span(self.tx, asset, self.interval)[0] is None:
            return True
        has_adjusted, agree, differ = False, 0, 0
        for rows in self.staging.chunks(number):
            stored = self._final(asset, rows[0][1].ts, rows[-1][1].ts)
            for row, bar in rows:
                has_adjusted = has_adjusted or bar.adj_close is not None
                before = stored.get(bar.ts)
                if before is None:
                    continue
                if abs(bar.close - before.close) > RESTATED_BY * before.close:
                    when = stamp_text(bar.ts, self.interval)
                    raise ProviderMismatch(
                        f"{self.file.path.name}: row {row}: {symbol} of {when} closes at {bar.close:g}, but at"
                        f" {before.close:g} in the store: prices on different bases are not mixed; nothing was stored",
                        hint=f"to have the file's instead: marketjobs assets remove {symbol} --purge, then import",
                    )
                if bar.adj_close is not None and before.adj_close is not None:
                    differs = abs(bar.adj_close - before.adj_close) > RESTATED_BY * before.adj_close
                    differ, agree = differ + differs, agree + (not differs)
        return not has_adjusted or (agree > 0 and not differ)

    def _write(self, number: int, asset: int, keeps_adjusted: bool, unsure: list[Range]) -> tuple[int, int]:
        """(new, unchanged).  A final stored bar stays as it is, a provisional one gives way."""
        new = same = 0
        before: list[int] = []  # the last stamp of the chunk before, so that a stretch goes on
        for rows in self.staging.chunks(number):
            stored = self._final(asset, rows[0][1].ts, rows[-1][1].ts)
            fresh = [self._finished(bar, keeps_adjusted) for _, bar in rows if bar.ts not in stored]
            done = bars.upsert(self.tx, asset, self.interval, fresh, self.provider, int(self.now))
            bars.note_gaps(self.tx, asset, self.interval, fresh, ())
            new += done.new
            same += len(rows) - done.new
            closed = [bar.ts for _, bar in rows if not self._is_open(bar.ts)]
            self._cover(asset, [*before, *closed], unsure)
            before = closed[-1:]
        return new, same

    def _final(self, asset: int, first: int, last: int) -> dict[int, bars.StoredBar]:
        stored = bars.stored_bars(self.tx, asset, self.interval, first, last)
        return {bar.ts: bar for bar in stored if not bar.provisional}

    def _finished(self, bar: Bar, keeps_adjusted: bool) -> Bar:
        if not keeps_adjusted:
            bar = bar._replace(adj_close=None)
        return bar._replace(provisional=True) if self._is_open(bar.ts) else bar

    def _is_open(self, stamp: int) -> bool:
        """May this bar still change?  A file names no session: a day after its end it may not."""
        if self.interval.is_intraday:
            return stamp + self.interval.seconds + DAY_SECONDS > self.now
        return stamp > self.now - YOUNG_SECONDS and is_provisional(stamp, self.interval, None, self.now)

    def _cover(self, asset: int, stamps: list[int], unsure: list[Range]) -> None:
        """Remember that these days are known, and the short gaps between them, in which exchanges were closed; not
        the bars at a seam, so that a fetch overlaps both of its sides."""
        coverage = bars.coverage(self.tx, asset, self.interval)
        for found in stretches(stamps, closed_seconds(self.interval)):
            for known in subtract(Range(found.start, bar_end(found.end, self.interval)), unsure):
                bars.add_coverage(self.tx, asset, self.interval, coverage, known)
                coverage = tuple(merge([*coverage, known]))
