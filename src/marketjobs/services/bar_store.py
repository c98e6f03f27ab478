"""Storing what was found: many symbols in one transaction, with a handful of statements for all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from marketjobs.domain.assets import AssetFacts
from marketjobs.domain.bars import Rejected, StoredBar
from marketjobs.domain.ranges import Range, merge
from marketjobs.domain.reports import SymbolOutcome
from marketjobs.errors import DataRejected, MarketJobsError
from marketjobs.providers.base import Provider
from marketjobs.services import bar_rebase
from marketjobs.services.bar_basis import contradiction
from marketjobs.services.bar_found import Found
from marketjobs.services.bar_outcome import success
from marketjobs.services.bar_plan import GAP_TRIES, Plan, refuse_mixture
from marketjobs.services.bar_request import FetchRequest
from marketjobs.storage import assets, bar_state, bars
from marketjobs.storage.bar_state import Known
from marketjobs.storage.bar_upsert import Batch, Stored, upsert_many
from marketjobs.storage.database import Transaction


def store(
    tx: Transaction, request: FetchRequest, provider: Provider, ready: Sequence[Found]
) -> tuple[list[SymbolOutcome], list[tuple[Plan, MarketJobsError]]]:
    """Write what is good; the outcomes of what was stored, and why what may no longer be was not."""
    fetched_at = int(time.time())
    # An asset is made once a vendor has spoken of it: a mistyped symbol leaves no trace.
    new = assets.ensure_in(tx, [found.plan.symbol for found in ready if not found.plan.asset])
    ready = [_with_asset(found, new) for found in ready]
    assets.lock(tx, (found.plan.asset for found in ready))
    known = bar_state.known(tx, [found.plan.symbol for found in ready], request.interval, GAP_TRIES)
    good: list[Found] = []
    failed: list[tuple[Plan, MarketJobsError]] = []
    before: list[list[StoredBar]] = []
    for found, stored in zip(ready, _stored(tx, request, ready, known), strict=True):
        try:
            _require_unchanged(tx, request, provider, found, known.get(found.plan.symbol), stored)
        except MarketJobsError as exc:
            failed.append((found.plan, exc))
        else:
            good.append(found)
            before.append(stored)
    if not good:
        return [], failed
    source = bars.provider_id(tx, provider.name)
    good = [
        _verified(tx, request, found, stored, source, fetched_at) for found, stored in zip(good, before, strict=True)
    ]
    counts = upsert_many(
        tx, [Batch(found.plan.asset, request.interval, found.bars, source, fetched_at) for found in good]
    )
    bars.upsert_actions(tx, [(found.plan.asset, found.actions) for found in good], source, fetched_at)
    assets.describe(
        tx,
        {found.plan.symbol: found.facts for found in good if found.facts != AssetFacts()},
        provider.name,
        {found.plan.symbol: found.listing for found in good if found.listing},
    )
    with_gaps = bars.with_gaps(tx, [found.plan.asset for found in good], request.interval)
    for number, (found, stored) in enumerate(zip(good, before, strict=True)):
        if found.rejected or found.plan.asset in with_gaps:
            bars.note_gaps(tx, found.plan.asset, request.interval, found.bars, found.rejected)
        counts[number] = _rewritten(tx, request, found, stored, counts[number], source, fetched_at)
    _cover(tx, request, good, known)
    spans = bar_state.spans(tx, [found.plan.asset for found in good], request.interval)
    settled = [
        success(
            request,
            provider,
            found,
            count,
            spans[found.plan.asset],
            is_empty=not (count.new or count.changed or _holds_wanted(tx, request, found)),
        )
        for found, count in zip(good, counts, strict=True)
    ]
    return settled, failed


def _verified(
    tx: Transaction, request: FetchRequest, found: Found, stored: Sequence[StoredBar], source: int, fetched_at: int
) -> Found:
    """Bars of providers behind this one that it gives too become its own; those that it lacks are asked for again."""
    one = found.plan
    if not one.rank.behind:
        return found
    given = {bar.ts for bar in found.bars}
    theirs = {row.ts for row in stored if row.provider_id in one.rank.behind}
    handed = bars.hand_over(
        tx, one.asset, request.interval, sorted(theirs & given), one.rank.behind, source, fetched_at
    )
    if theirs - given:
        missed = [Rejected(stamp, "not_confirmed") for stamp in sorted(theirs - given)]
        bars.note_gaps(tx, one.asset, request.interval, found.bars, [*found.rejected, *missed])
    return replace(found, verified=handed)


def _with_asset(found: Found, new: dict[str, int]) -> Found:
    one = found.plan
    return found if one.asset else replace(found, plan=replace(one, asset=new[one.symbol]))


def _stored(
    tx: Transaction, request: FetchRequest, ready: Sequence[Found], known: dict[str, Known]
) -> list[list[StoredBar]]:
    """What is stored of the range of each answer; nothing is asked where a series is empty."""
    answer: list[list[StoredBar]] = [[] for _ in ready]
    filled = [
        number
        for number, found in enumerate(ready)
        if found.bars and (one := known.get(found.plan.symbol)) is not None and one.series.first is not None
    ]
    parts = [(ready[one].plan.asset, ready[one].bars[0].ts, ready[one].bars[-1].ts) for one in filled]
    for number, rows in zip(filled, bar_state.stored_parts(tx, request.interval, parts), strict=True):
        answer[number] = rows
    return answer


def _require_unchanged(
    tx: Transaction,
    request: FetchRequest,
    provider: Provider,
    found: Found,
    known: Known | None,
    stored: Sequence[StoredBar],
) -> None:
    """What the answer was compared with may have changed since, by another job or a person.

    Raises:
        DataRejected: the asset is another by now, or its bars have another basis; to be tried again.
        ProviderMismatch: another provider's bars have come.
    """
    symbol = found.plan.symbol
    if known is None or known.asset != found.plan.asset:
        raise DataRejected(f"{symbol} was removed while it was fetched")
    refuse_mixture(symbol, provider, known.suppliers)
    if found.rebase is not None:  # older bars may be on the answer's basis by now, and must not get there twice
        again = bar_rebase.decide(
            tx, found.plan, request.interval, provider.name, found.bars, found.actions, found.asked[0].start
        )
        if again != found.rebase:
            raise DataRejected(f"{symbol} was restated by another job while it was fetched")
    if found.restated is None and contradiction(found.plan.rank, found.bars, stored) is not None:
        raise DataRejected(f"{symbol} was restated by another job while it was fetched")
    if found.restated is not None and known.series.first != found.plan.series.first:
        # The answer speaks for the series as it was: older bars of another job are on the basis before it.
        raise DataRejected(f"{symbol} grew by older bars while it was restated")


def _rewritten(
    tx: Transaction,
    request: FetchRequest,
    found: Found,
    stored: Sequence[StoredBar],
    count: Stored,
    source: int,
    fetched_at: int,
) -> Stored:
    """What an answer takes away beside what it gives: withdrawn events and bars, another basis of older ones."""
    one, interval = found.plan, request.interval
    changed = 0
    if found.restated and not interval.is_intraday:
        # The whole series was given anew: an event that the vendor no longer lists was withdrawn.
        listed = {(action.ts, action.kind) for action in found.actions}
        gone = [key for key in one.actions if key not in listed and key[0] in found.asked[0]]
        if gone:
            bars.drop_actions(tx, one.asset, gone, source)
    if found.withdrawn:
        changed += bars.drop(tx, one.asset, interval, found.withdrawn)
    if found.rebase is not None:
        changed += bar_rebase.apply(tx, one, interval, found.rebase, fetched_at)
    # A provisional bar that the vendor passes over while it gives later ones never became a session.
    provisional = [bar.ts for bar in stored if bar.provisional]
    if provisional:
        given = {bar.ts for bar in found.bars} | {row.ts for row in found.rejected}
        passed_over = [stamp for stamp in provisional if stamp not in given]
        if passed_over:
            bars.drop_provisional(tx, one.asset, interval, passed_over)
    return replace(count, changed=count.changed + changed)


def _cover(tx: Transaction, request: FetchRequest, good: Sequence[Found], known: dict[str, Known]) -> None:
    """Remember what was answered: up to, not including, the first bar that may still change."""
    regular, extended = [], []
    for found in good:
        one, series = found.plan, known[found.plan.symbol].series
        answered = [
            Range(asked.start, min(asked.end, max(found.open_from, asked.start)))
            for asked in found.asked
            if found.open_from > asked.start
        ]
        regular.append((one.asset, series.coverage, merge([*series.coverage, *answered])))
        if one.prepost:
            extended.append((one.asset, series.extended, merge([*series.extended, *answered])))
    bars.replace_coverage(tx, request.interval.code, regular)
    bars.replace_coverage(tx, request.interval.code + bars.EXTENDED, extended)


def _holds_wanted(tx: Transaction, request: FetchRequest, found: Found) -> bool:
    wanted = found.plan.wanted
    return any(bar.ts in wanted for bar in found.bars) or bars.holds_any(tx, found.plan.asset, request.interval, wanted)
