"""What the vendors are and how they stand: for `providers list`, `providers test` and `doctor`."""

from __future__ import annotations

import time
from dataclasses import dataclass

from marketjobs.config import ProviderSettings
from marketjobs.domain.intervals import iso
from marketjobs.domain.jobs import JsonDict
from marketjobs.errors import BudgetSpent, CircuitOpen, MarketJobsError, RateLimited
from marketjobs.providers.base import Capabilities, Provider, provider_class, provider_names
from marketjobs.services import loop, vendors
from marketjobs.services.budgets import Probing, Standing, probing, setting_of_keys
from marketjobs.services.runtime import Runtime
from marketjobs.storage.breakers import Circuit
from marketjobs.storage.budgets import Hold, Usage

OK, WARNING, ERROR = "ok", "warning", "error"
WAIT = "wait; jobs go on by themselves"


@dataclass(frozen=True, slots=True)
class Overview:
    """One provider.  ``why_not``: what keeps it from being asked at all, with its ``fix``; ``keys``: how many it has
    (0: its budget is that of this address)."""

    name: str
    capabilities: Capabilities | None = None
    limits: tuple[str, ...] = ()
    keys: int = 0
    standing: Standing | None = None
    why_not: str | None = None
    fix: str | None = None

    def state(self) -> tuple[str, Hold | None]:
        """How it stands, in a word: inactive, failing (its circuit is open), probing, held, or ok; and until when and
        why."""
        if self.standing is None or self.why_not is not None:
            return "inactive", None
        breaker = self.standing.breaker
        if breaker.circuit is not Circuit.CLOSED:
            word = "failing" if breaker.circuit is Circuit.OPEN else "probing"
            return word, Hold(breaker.seconds, breaker.why)
        return ("held", self.standing.hold) if self.standing.hold else ("ok", None)

    def usages(self) -> list[tuple[str, Usage]]:
        """What is left of each key, which is named by its place in the settings, never by itself."""
        if self.standing is None:
            return []
        return [(f"#{place}" if self.keys else "", one) for place, one in enumerate(self.standing.keys, 1)]

    def to_json(self) -> JsonDict:
        state, hold = self.state()
        return {
            "name": self.name,
            "state": state,
            "why_not": self.why_not,
            "fix": self.fix,
            "serves": serves(self.capabilities) if self.capabilities else [],
            "capabilities": _capabilities(self.capabilities) if self.capabilities else None,
            "limits": list(self.limits),
            "budgets": [
                {
                    "key": key or None,
                    "left": [{"limit": str(rate), "left": calls} for rate, calls in one.left],
                    "hold": _hold(one.hold),
                }
                for key, one in self.usages()
            ],
            "hold": _hold(hold),
            "failures": self.standing.breaker.failures if self.standing else 0,
        }


@dataclass(frozen=True, slots=True)
class Probe:
    """What asking a provider came to: ok, warning or error, in a line, with what to do about it.  ``seconds``: what the
    answer took; ``None``: nothing was sent."""

    name: str
    verdict: str
    found: str
    fix: str | None = None
    seconds: float | None = None

    def to_json(self) -> JsonDict:
        return {
            "name": self.name,
            "verdict": self.verdict,
            "found": self.found,
            "fix": self.fix,
            "seconds": self.seconds,
        }


def overview(runtime: Runtime, name: str) -> Overview:
    """Reads only; nothing is sent.

    Raises:
        UnknownProvider: none has that name, or its package can't be imported.
        StorageError: the store is away.
    """
    cls = provider_class(name)
    section = runtime.settings.providers.of(name)
    keys = len(vendors.api_keys(runtime, name))
    why_not = fix = None
    if not section.enabled:
        why_not, fix = "switched off", f"providers.{name}.enabled = true"
    elif cls.capabilities.needs_key and not keys:
        why_not, fix = "not used: it wants a key, and has none", setting_of_keys(name)
    return Overview(
        name,
        cls.capabilities,
        tuple(section.rate_limit) if isinstance(section, ProviderSettings) else (),
        keys,
        vendors.gate(runtime, name).standing(),
        why_not,
        fix,
    )


def overviews(runtime: Runtime) -> list[Overview]:
    """All that are installed, by name; a plug-in that can't be loaded says so."""
    found = []
    for name in provider_names():
        try:
            provider_class(name)
        except MarketJobsError as exc:
            found.append(Overview(name, why_not=exc.message, fix="mend or uninstall the package that brings it"))
        else:
            found.append(overview(runtime, name))
    return found


def probe(runtime: Runtime, name: str, *, wanted: bool = False) -> Probe:
    """Ask a vendor something cheap, through its budget.

    Args:
        wanted: by a person who named it, so that one which may not be asked is an error.

    Raises:
        UnknownProvider: ``wanted``, and none has that name.
    """
    if wanted:
        provider_class(name)
    return loop.run(probed(runtime, name, wanted=wanted))


async def probed(runtime: Runtime, name: str, *, wanted: bool = False) -> Probe:
    """The same on the loop that runs."""
    began: float | None = None
    try:
        found = overview(runtime, name)
        if found.why_not is not None:
            return Probe(name, ERROR if wanted else OK, found.why_not, found.fix)
        cls = provider_class(name)
        if not cls.needs_network:
            return Probe(name, OK, "needs no network")
        if cls.probe is Provider.probe:
            return Probe(name, OK, "has no request that it could be tested by")
        probing.set(Probing(allowed=True))
        began = time.monotonic()
        await runtime.provider(name).probe()
        seconds = _since(began)
        return Probe(name, OK, f"answers; budget left {left_text(overview(runtime, name))}", seconds=seconds)
    except (BudgetSpent, CircuitOpen) as exc:  # nothing was sent
        return Probe(name, WARNING, exc.message, WAIT)
    except RateLimited as exc:
        return Probe(name, WARNING, exc.message, WAIT, _since(began))
    except MarketJobsError as exc:
        return Probe(name, ERROR, f"{exc.cause}: {exc.message}", _fix(name, exc), _since(began))


def _since(began: float | None) -> float | None:
    return None if began is None else round(time.monotonic() - began, 3)


def left_text(found: Overview) -> str:
    """Such as ``1 of 2/s, 1999 of 2000/h``; of several keys each."""
    texts = []
    for key, one in found.usages():
        left = ", ".join(f"{calls} of {rate}" for rate, calls in one.left) or "no limit"
        texts.append(f"{key} {left}" if found.keys > 1 else left)
    return "; ".join(texts)


def serves(has: Capabilities) -> list[str]:
    """What it can be asked for, in words."""
    kinds = {
        "bars": has.bars,
        "quotes": has.quotes,
        "profiles": has.profiles,
        "news": has.news,
        "feeds": has.feeds,
        "search": has.search,
    }
    return [word for word, it_has in kinds.items() if it_has]


def _fix(name: str, error: MarketJobsError) -> str:
    if error.hint and error.hint != "marketjobs doctor":
        return error.hint
    if error.cause in ("unauthorised", "plan_restricted"):
        return f"look at the key and its plan: {setting_of_keys(name)}"
    if error.cause == "blocked":
        return f"wait, or lower providers.{name}.rate_limit"
    return "check the network, [network] proxy and ca_bundle"


def _hold(hold: Hold | None) -> JsonDict | None:
    return None if hold is None else {"until": iso(time.time() + hold.seconds), "why": hold.why}


def _capabilities(has: Capabilities) -> JsonDict:
    return {
        "bars": has.bars_text().split() if has.bars else [],
        "reach_days": {interval.value: days for interval, days in has.reach_days.items()},
        "asset_classes": sorted(one.value for one in has.asset_classes),
        "quotes_a_request": has.quotes,
        "takes_keys": has.takes_keys or has.needs_key,
        "needs_key": has.needs_key,
        "prepost": has.prepost,
        "as_traded": has.as_traded,
    }
