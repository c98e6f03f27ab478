"""What a fetch says it did: an outcome a symbol, and the report that a job's result is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from marketjobs.domain.jobs import Conclusion, Job, JobState, JsonDict
from marketjobs.errors import (
    Blocked,
    BudgetSpent,
    CircuitOpen,
    MarketJobsError,
    QuotaExhausted,
    RateLimited,
    Unauthorised,
)


class SymbolStatus(StrEnum):
    STORED = "stored"
    UP_TO_DATE = "up_to_date"
    EMPTY = "empty"
    """The vendor knows the symbol and says that the range holds no bars."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SymbolFailure:
    """Why a symbol failed: a short stable word, a line for people, and whether trying again may help."""

    cause: str
    message: str
    retryable: bool

    @classmethod
    def of(cls, error: MarketJobsError) -> SymbolFailure:
        return cls(error.cause, error.message, error.retryable)

    def to_json(self) -> JsonDict:
        return {"cause": self.cause, "message": self.message, "retryable": self.retryable}


@dataclass(frozen=True, slots=True)
class Asked:
    """A provider that did not serve a symbol: asked in vain, or not asked at all; its cause says which."""

    provider: str
    cause: str
    message: str

    def to_json(self) -> JsonDict:
        return {"provider": self.provider, "cause": self.cause, "message": self.message}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one symbol in a job that is not about bars.  ``details``: what its kind says of a success, each
    key also of a failure (then ``None``); ``asked``: who did not serve it, in order, where the first one did not."""

    symbol: str
    status: SymbolStatus
    provider: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    error: SymbolFailure | None = None
    note: str | None = None
    asked: tuple[Asked, ...] = ()

    def to_json(self) -> JsonDict:
        return (
            {"symbol": self.symbol, "status": self.status.value, "provider": self.provider}
            | dict(self.details)
            | {"error": None if self.error is None else self.error.to_json(), "note": self.note}
            | ({"asked": [one.to_json() for one in self.asked]} if self.asked else {})
        )


@dataclass(frozen=True, slots=True)
class SymbolOutcome:
    """What became of one symbol's bars.  ``first`` and ``last`` are ISO dates of the stored series; ``asked``: as in
    :class:`Outcome`."""

    symbol: str
    interval: str
    status: SymbolStatus
    provider: str | None = None
    rows_new: int = 0
    rows_changed: int = 0
    rows_unchanged: int = 0
    rows_rejected: int = 0
    first: str | None = None
    last: str | None = None
    error: SymbolFailure | None = None
    note: str | None = None
    asked: tuple[Asked, ...] = ()

    def to_json(self) -> JsonDict:
        document = {
            "symbol": self.symbol,
            "interval": self.interval,
            "status": self.status.value,
            "provider": self.provider,
            "rows_new": self.rows_new,
            "rows_changed": self.rows_changed,
            "rows_unchanged": self.rows_unchanged,
            "rows_rejected": self.rows_rejected,
            "first": self.first,
            "last": self.last,
            "error": None if self.error is None else self.error.to_json(),
            "note": self.note,
        }
        return document | ({"asked": [one.to_json() for one in self.asked]} if self.asked else {})

    def after(self, parts: Sequence[SymbolOutcome]) -> SymbolOutcome:
        """What this one and the ``parts`` of the same series that were stored before it come to."""
        if not parts:
            return self
        every = [*parts, self]
        return replace(
            self,
            status=SymbolStatus.STORED if any(one.status is SymbolStatus.STORED for one in every) else self.status,
            rows_new=sum(one.rows_new for one in every),
            rows_changed=sum(one.rows_changed for one in every),
            rows_unchanged=sum(one.rows_unchanged for one in every),
            rows_rejected=sum(one.rows_rejected for one in every),
            note="; ".join(dict.fromkeys(one.note for one in every if one.note)) or None,
        )

    @classmethod
    def from_json(cls, data: JsonDict) -> SymbolOutcome:
        values = dict(data)
        error = values.pop("error", None)
        status = SymbolStatus(values.pop("status"))
        asked = tuple(Asked(**one) for one in values.pop("asked", ()))
        return cls(status=status, error=None if error is None else SymbolFailure(**error), asked=asked, **values)


@dataclass(frozen=True, slots=True)
class Hold:
    """The provider may not be asked before ``until`` (the monotonic clock's seconds); ``why`` is for people.
    ``is_refused``: the vendor set no time, and may refuse for ever: such a wait uses up an attempt
    that settled nothing."""

    until: float
    why: str
    is_refused: bool = False

    def seconds_left(self, now: float) -> float:
        return max(0.0, self.until - now)


@dataclass(frozen=True, slots=True)
class FetchReport:
    """Outcomes in the order of the request."""

    outcomes: list[SymbolOutcome] = field(default_factory=list)

    def to_json(self) -> JsonDict:
        return {"symbols": [one.to_json() for one in self.outcomes]}


def collect(outcomes: Sequence[JsonDict]) -> JsonDict:
    """A result of outcomes alone, in JSON."""
    return {"symbols": list(outcomes)}


def failures(result: JsonDict) -> int:
    """How many symbols of a result failed."""
    return sum(1 for one in result.get("symbols") or () if one["error"])


_WAITS = {
    kind.cause for kind in (RateLimited, BudgetSpent, CircuitOpen, QuotaExhausted, Blocked, Unauthorised)
}  # fmt: skip
"""Causes of symbols that wait for a vendor."""


def conclude(result: JsonDict) -> Conclusion:
    """What the outcomes in a result mean for their job: succeeded when none failed, dead when all did, partial
    between; those that failed and may do better are tried again."""
    symbols: list[JsonDict] = result.get("symbols") or []
    failed = [one["error"] for one in symbols if one["error"]]
    again = [error for error in failed if error["retryable"]]
    settled = [one for one in symbols if not (one["error"] and one["error"]["retryable"])]
    state = JobState.SUCCEEDED if not failed else JobState.DEAD if len(failed) == len(symbols) else JobState.PARTIAL
    return Conclusion(
        state=state,
        error=_first(failed),
        again=_first(again),
        settled=settled,
        progress=len(settled) / len(symbols) if symbols else 1.0,
        failing=[one for one in symbols if one["error"] in again and one["error"]["cause"] not in _WAITS],
    )


def _first(errors: Sequence[JsonDict]) -> tuple[str, str] | None:
    return (errors[0]["cause"], errors[0]["message"]) if errors else None


def lost_bars(arguments: JsonDict, symbol: str, failure: SymbolFailure) -> JsonDict:
    """The outcome of a symbol whose bars nobody can say anything of any more."""
    return SymbolOutcome(symbol, arguments["interval"], SymbolStatus.FAILED, error=failure).to_json()


def merge(
    children: Sequence[Job], lost: Callable[[JsonDict, str, SymbolFailure], JsonDict] = lost_bars
) -> tuple[JobState, JsonDict]:
    """A parent's state and result from its children's, in the order of the request.

    A symbol of which a child can say nothing any more failed of what its child died of; ``lost`` says so.
    """
    outcomes: list[JsonDict] = []
    states: set[JobState] = set()
    for child in children:
        known: Sequence[JsonDict] = (child.result or {}).get("symbols", child.outcomes)
        settled = {one["symbol"] for one in known}
        failure = SymbolFailure(
            child.error_cause or child.state.value,
            child.error_message or f"its job was {child.state}",
            retryable=True,
        )
        outcomes += known
        outcomes += [
            lost(child.arguments, symbol, failure)
            for symbol in (*child.arguments["symbols"], *child.arguments.get("feeds", ()))
            if symbol not in settled
        ]
        states.add(child.state)
    result = collect(outcomes)
    return JobState.CANCELLED if states == {JobState.CANCELLED} else conclude(result).state, result
