"""Price charts in a terminal: a line of braille dots, and a sparkline."""

from __future__ import annotations

from collections.abc import Sequence

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLOCKS = "▁▂▃▄▅▆▇█"


def line_chart(values: Sequence[float], labels: Sequence[str], *, width: int = 72, height: int = 12) -> list[str]:
    """A line chart with a price scale at the left and the first and last label below.

    Args:
        values: ascending by time, at least one, finite.
        labels: as many, such as ISO dates.
        width, height: characters of the whole chart, scale included.
    """
    low, high = min(values), max(values)
    digits = 2 if high >= 1 else 6
    scale_width = max(len(f"{low:,.{digits}f}"), len(f"{high:,.{digits}f}"))
    columns = max(8, width - scale_width - 3)
    dots = _resample(values, columns * 2)
    span = (high - low) or 1.0
    rows = height * 4
    grid = [[0] * columns for _ in range(height)]
    previous: int | None = None
    for x, value in enumerate(dots):
        y = rows - 1 - round((value - low) / span * (rows - 1))
        # Steep moves are joined, so that a line stays a line.
        for fill in range(min(y, previous), max(y, previous) + 1) if previous is not None else (y,):
            grid[fill // 4][x // 2] |= _DOTS[fill % 4][x % 2]
        previous = y
    lines = []
    for number, cells in enumerate(grid):
        at = high - span * number / max(1, height - 1)
        scale = f"{at:,.{digits}f}" if number in (0, height // 2, height - 1) else ""
        lines.append(f"{scale:>{scale_width}} ┤ " + "".join(chr(0x2800 + cell) if cell else " " for cell in cells))
    first, last = labels[0], labels[-1]
    gap = " " * max(1, columns - len(first) - len(last))
    lines.append(" " * (scale_width + 3) + first + gap + last)
    return lines


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """One character a step, from low to high."""
    if not values:
        return ""
    dots = _resample(values, min(width, len(values)))
    low, span = min(dots), (max(dots) - min(dots)) or 1.0
    return "".join(_BLOCKS[round((value - low) / span * (len(_BLOCKS) - 1))] for value in dots)


def _resample(values: Sequence[float], count: int) -> list[float]:
    """``count`` values by linear interpolation; the first and the last stay."""
    if len(values) == 1 or count == 1:
        return [values[-1]] * count
    step = (len(values) - 1) / (count - 1)
    sampled = []
    for index in range(count):
        position = min(index * step, len(values) - 1)
        left = int(position)
        right = min(left + 1, len(values) - 1)
        sampled.append(values[left] + (values[right] - values[left]) * (position - left))
    return sampled
