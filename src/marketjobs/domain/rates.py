"""Rate limits as people write them: ``2/s``, ``2000/h``, ``30/10s``, ``25/d``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from marketjobs.errors import InvalidInput

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_RATE = re.compile(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,4})?(s|m|min|h|d)")
GUARD_SHARE, GUARD_MOST_SECONDS = 0.012, 1.0


@dataclass(frozen=True, slots=True, order=True)
class Rate:
    """At most ``calls`` in any window of ``seconds``."""

    seconds: int
    calls: int

    @property
    def guard_seconds(self) -> float:
        """What a window is lengthened by, so that jitter on the way can't squeeze one call more into it."""
        return min(GUARD_SHARE * self.seconds, GUARD_MOST_SECONDS)

    def __str__(self) -> str:
        for unit, seconds in (("d", 86_400), ("h", 3600), ("m", 60)):
            if self.seconds % seconds == 0:
                count = self.seconds // seconds
                return f"{self.calls}/{count if count > 1 else ''}{unit}"
        return f"{self.calls}/{self.seconds if self.seconds > 1 else ''}s"


def parse_rate(text: str) -> Rate:
    """Raises InvalidInput for anything that is not calls, a slash and a window."""
    match = _RATE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise InvalidInput(f"{text!r:.40} is no rate: write calls per window, such as 2/s, 30/10s, 2000/h or 25/d")
    return Rate(int(match[2] or 1) * _UNITS[match[3]], int(match[1]))


def parse_rates(texts: Iterable[str]) -> tuple[Rate, ...]:
    """Ascending by window."""
    return tuple(sorted(parse_rate(text) for text in texts))
