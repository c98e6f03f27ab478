"""Questions through a circuit that is half open: first something is asked that no symbol of a job can spoil.

Symbols that a vendor always chokes on look like an outage to a counter of failures.  So the call that decides over a
circuit is the provider's own probe: a vendor that answers it is not away, and the job's symbols fail by themselves.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from marketjobs.errors import CircuitOpen, MarketJobsError
from marketjobs.providers.base import Provider
from marketjobs.services.budgets import Probing, probing

T = TypeVar("T")


class Probes:
    """Those of one attempt: its questions wait for the same probe."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def asked(self, provider: Provider, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer to one question about symbols.

        Raises:
            CircuitOpen: the probe was not answered either, or could not be sent.
            MarketJobsError: whatever ``ask`` raises.
        """
        if type(provider).probe is Provider.probe:  # it has none: its questions are its probes
            return await ask()
        mark = probing.set(Probing(allowed=False))
        try:
            try:
                return await ask()
            except CircuitOpen as exc:
                if not exc.wants_probe:
                    raise
            await self._probed(provider)
            return await ask()
        finally:
            probing.reset(mark)

    async def _probed(self, provider: Provider) -> None:
        """What came of it is the gate's to know."""
        probe = self._under_way.get(provider.name)
        if probe is None or probe.done():
            context = contextvars.copy_context()
            context.run(probing.set, Probing(allowed=True))
            probe = asyncio.get_running_loop().create_task(provider.probe(), context=context)
            self._under_way[provider.name] = probe
        with suppress(MarketJobsError):
            await asyncio.shield(probe)
