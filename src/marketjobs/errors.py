"""Every error that a person or a program can meet, in one tree.

    MarketJobsError
      ConfigError
        UnknownProvider  MissingKey
      InvalidInput
        ProviderMismatch  BadRows  AmbiguousSymbol
      NotFound
        JobNotFound  AssetNotFound  GroupNotFound
        AssetRenamed
          VendorsName
      ProviderError(provider, symbol)
        RateLimited  BudgetSpent  CircuitOpen  QuotaExhausted  Blocked  Unauthorised  PlanRestricted
        SymbolUnknown  SymbolDelisted  RangeUnavailable  NoData  Unsupported
        ProviderUnavailable  MalformedAnswer
      DataRejected
        HistoryCut
      StorageError
        StorageUnavailable  StorageFull  SchemaMismatch  CacheUnavailable
      QueueError
        BrokerUnavailable
          BrokerUnusable
        NoWorker  JobFailed  JobCancelled  JobNotFinished  LeaseLost  TimeLimit  OutOfMemory
        Interrupted

Each class decides ``cause`` (a short stable word that users and programs see), ``retryable`` (may the
same request succeed later without anybody doing anything?) and, where the vendor said so,
``retry_after_seconds``.  ``hint`` is what to type next.  ``is_final``: of this one it is known that asking
again would bring the same, whatever its class.
"""

from __future__ import annotations

from copy import copy
from typing import Self


class MarketJobsError(Exception):
    """Root of the tree.  ``str(error)`` is one line without secrets."""

    cause = "error"
    retryable = False

    def __init__(self, message: str, *, hint: str | None = None, is_final: bool = False) -> None:
        super().__init__(" ".join(message.split()))
        self.hint = hint
        if is_final:
            self.retryable = False

    @property
    def message(self) -> str:
        return str(self.args[0])

    def hide(self, secret: str) -> None:
        """Take a secret out of the message: vendors quote keys."""
        if secret and secret in self.message:
            self.args = (self.message.replace(secret, "********"),)


class ConfigError(MarketJobsError):
    """A setting that can't be right; names file, key and what was expected."""

    cause = "config"


class UnknownProvider(ConfigError):
    cause = "unknown_provider"


class MissingKey(ConfigError):
    cause = "missing_key"


class InvalidInput(MarketJobsError):
    """What was typed or sent can't be right whatever the state of the system."""

    cause = "invalid_input"


class ProviderMismatch(InvalidInput):
    """Bars of one provider would be mixed with those of another that has another price basis."""

    cause = "provider_mismatch"


class AmbiguousSymbol(InvalidInput):
    """Several things go by a symbol at a vendor: a person has to say which one is meant."""

    cause = "ambiguous_symbol"


class BadRows(InvalidInput):
    """Rows of a file that can't be taken, with number and reason; nothing of the file was stored."""

    cause = "bad_rows"


class NotFound(MarketJobsError):
    cause = "not_found"


class JobNotFound(NotFound):
    cause = "job_not_found"


class AssetNotFound(NotFound):
    cause = "asset_not_found"


class AssetRenamed(NotFound):
    """A symbol that its asset had before; whoever uses it is told the new one."""

    cause = "asset_renamed"


class VendorsName(AssetRenamed):
    """What a vendor calls an asset; whoever uses it is told the asset's own symbol."""

    cause = "vendors_name"


class GroupNotFound(NotFound):
    cause = "group_not_found"


class ProviderError(MarketJobsError):
    """A vendor did not give what was asked for.

    Args:
        provider: the adapter's name, such as ``yahoo``.
        symbol: the symbol that was asked for, where the failure is one symbol's.
        retry_after_seconds: the vendor's own word on when to come back.
    """

    cause = "provider"

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        symbol: str | None = None,
        retry_after_seconds: float | None = None,
        hint: str | None = None,
        is_final: bool = False,
    ) -> None:
        super().__init__(message, hint=hint, is_final=is_final)
        self.provider = provider
        self.symbol = symbol
        self.retry_after_seconds = retry_after_seconds

    def about(self, symbol: str) -> Self:
        """The same in words that name the symbol, where they only have what the vendor calls it (a coin's number)."""
        if symbol in self.message:
            return self
        told = copy(self)
        told.args = (f"{symbol}: {self.message}",)
        told.symbol = symbol
        return told

    def __reduce__(self) -> tuple[object, ...]:
        # An exception leaves a pool process pickled, and pickle knows of positional arguments only.
        return _rebuilt, (type(self), self.message), self.__dict__


def _rebuilt(kind: type[ProviderError], message: str) -> ProviderError:
    return kind(message, provider="")


class RateLimited(ProviderError):
    """The vendor said: too many requests.  Waiting helps, other symbols would fare the same."""

    cause = "rate_limited"
    retryable = True


class BudgetSpent(ProviderError):
    """Our own budget for the vendor has no call left before ``retry_after_seconds``; nothing was sent.

    ``is_pace``: only the spacing of calls, in a moment the next may leave: no reason to ask somebody else.
    """

    cause = "budget_spent"
    retryable = True
    is_pace = False


class CircuitOpen(ProviderError):
    """The vendor failed again and again: nothing is sent before ``retry_after_seconds``, then one probe.

    ``wants_probe``: that one may be sent now, by a call that is about no symbol of the job's.
    """

    cause = "circuit_open"
    retryable = True
    wants_probe = False


class QuotaExhausted(ProviderError):
    """The key's calls of a day or a month are used up."""

    cause = "quota_exhausted"
    retryable = True


class Blocked(ProviderError):
    """The vendor refuses this address or client (403, a consent page)."""

    cause = "blocked"
    retryable = True


class Unauthorised(ProviderError):
    cause = "unauthorised"
    retryable = True

    def blame_key(self) -> None:
        """It is the key that is wrong: only a person can mend that."""
        self.retryable = False
        self.hint = f"mend providers.{self.provider}.api_keys"


class PlanRestricted(ProviderError):
    """The key's plan does not hold what was asked for."""

    cause = "plan_restricted"


class SymbolUnknown(ProviderError):
    """The vendor's own word that it does not know the symbol."""

    cause = "symbol_unknown"


class SymbolDelisted(ProviderError):
    """The vendor's own word, about a symbol whose bars we hold from it."""

    cause = "symbol_delisted"


class RangeUnavailable(ProviderError):
    cause = "range_unavailable"


class NoData(ProviderError):
    cause = "no_data"


class Unsupported(ProviderError):
    """The adapter declares that it does not do this; the vendor was not asked."""

    cause = "unsupported"


class ProviderUnavailable(ProviderError):
    """Timeout, DNS, refused or reset connection, 5xx: an outage, never a delisting."""

    cause = "provider_unavailable"
    retryable = True


class MalformedAnswer(ProviderError):
    """An answer that can't be read as what was asked for (HTML, cut JSON, no result, another symbol)."""

    cause = "malformed_answer"
    retryable = True


class DataRejected(MarketJobsError):
    """Rows that break a rule, with the rule's name; stored rows stay as they are."""

    cause = "data_rejected"
    retryable = True


class HistoryCut(DataRejected):
    """A restated history that lacks stored bars; asking again would bring the same."""

    cause = "history_cut"
    retryable = False


class StorageError(MarketJobsError):
    cause = "storage"


class StorageUnavailable(StorageError):
    cause = "storage_unavailable"
    retryable = True


class StorageFull(StorageError):
    cause = "storage_full"
    retryable = True


class SchemaMismatch(StorageError):
    """The database's schema is not the one that this version of the program knows."""

    cause = "schema_mismatch"


class CacheUnavailable(StorageError):
    """The cache does not answer, or refuses; only a job that is about it fails of that."""

    cause = "cache_unavailable"
    retryable = True


class QueueError(MarketJobsError):
    cause = "queue"


class BrokerUnavailable(QueueError):
    cause = "broker_unavailable"
    retryable = True


class BrokerUnusable(BrokerUnavailable):
    """It answers and refuses us (password, vhost, certificate): waiting does not help."""

    cause = "broker_unusable"
    retryable = False


class NoWorker(QueueError):
    cause = "no_worker"
    retryable = True


class JobFailed(QueueError):
    """What ``AsyncResult.get()`` raises for a dead job; the message carries the job's own cause."""

    cause = "job_failed"


class JobCancelled(QueueError):
    """Raised inside a job that a person cancelled."""

    cause = "cancelled"


class JobNotFinished(QueueError):
    """The job goes on; whoever watched it stopped watching."""

    cause = "not_finished"


class LeaseLost(QueueError):
    """Raised inside a job whose row belongs to another attempt by now: nothing more may be written."""

    cause = "lease_lost"


class TimeLimit(QueueError):
    """Raised inside a job that ran longer than its soft time limit; it is tried again."""

    cause = "time_limit"
    retryable = True


class OutOfMemory(QueueError):
    """Raised inside a job that asked for more memory than a pool process may take; it is tried again."""

    cause = "out_of_memory"
    retryable = True


class Interrupted(QueueError):
    """Ctrl-C while watching: the job itself is not touched by it."""

    cause = "interrupted"
