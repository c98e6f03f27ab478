"""How answers look: tables and charts for people at a terminal, plain columns in a pipe, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from marketjobs.commands.session import OPTIONS
from marketjobs.domain.moments import lasting
from marketjobs.domain.texts import visible

if TYPE_CHECKING:
    from rich.console import Console

STATE_STYLES = {
    "succeeded": "green",
    "stored": "green",
    "up_to_date": "green",
    "alive": "green",
    "ok": "green",
    "active": "green",
    "running": "cyan",
    "queued": "blue",
    "waiting": "yellow",
    "partial": "yellow",
    "empty": "yellow",
    "deaf": "yellow",
    "warning": "yellow",
    "held": "yellow",
    "probing": "yellow",
    "failing": "red",
    "dead": "red",
    "failed": "red",
    "gone": "red",
    "error": "red",
    "cancelled": "magenta",
    "stopped": "dim",
    "inactive": "dim",
}
NARROWEST_TEXT = 12
"""Text that takes several lines is never put into a column narrower than this."""
LONGEST_WORD = 20
"""A word up to this long stays in one piece, so dates and names do; longer ones (addresses, paths) may be split."""


@cache
def out() -> Console:
    """Standard output; plain text without colours when it is no terminal."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


@cache
def err() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False)


def json(document: Any) -> None:
    """One document on standard output."""
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def line(text: str, style: str | None = None) -> None:
    """A line on standard output, as it is (no markup); what is not printable in it is written out."""
    text = visible(text)
    if sys.stdout.isatty():
        out().print(text, style=style, markup=False)
    else:
        sys.stdout.write(text + "\n")


def note(text: str, style: str | None = "dim", *, always: bool = False) -> None:
    """A line for the person who watches, on standard error; with --quiet only what is said ``always``."""
    if OPTIONS.quiet and not always:
        return
    text = visible(text)
    if sys.stderr.isatty():
        err().print(text, style=style, markup=False)
    else:
        sys.stderr.write(text + "\n")


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """A bar on standard error while something long is done here, at a terminal and without --quiet; the function
    that it yields is told the share that is done, 0 to 1."""
    if OPTIONS.quiet or not sys.stderr.isatty():
        yield lambda _share: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err(), transient=True) as bars:
        bar = bars.add_task(what, total=1.0)
        yield lambda share: bars.update(bar, completed=share)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    fold: Sequence[str] = (),
    spare: Sequence[str] = (),
    paint: Mapping[str, Callable[[str], str]] | None = None,
) -> None:
    """A table at a terminal; aligned columns with a header line elsewhere.

    A column whose name ends in a blank is right-aligned (numbers).  ``None`` is shown as a dash.  Where a terminal is
    too narrow even so, each row becomes lines of ``name: value``: a number, a date or a state is never cut.

    Args:
        fold: the columns of text that may take several lines; all others keep theirs whole.
        spare: columns that a narrow terminal does without, the first to go first.
        paint: by column, the style of a cell; of other columns words such as ``failed`` have theirs.
    """
    names = [name.strip() for name in columns]
    cells = [["-" if value is None else visible(str(value)) for value in row] for row in rows]
    if not sys.stdout.isatty():
        _plain(names, cells)
        return
    widths = _fitting(names, cells, fold, spare, out().width)
    styles = [(paint or {}).get(name, _style) for name in names]
    if widths is None:
        _upright(names, cells, styles)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="bold")
    for index, width in widths.items():
        right = columns[index].endswith(" ")
        whole = names[index] not in fold
        drawn.add_column(
            names[index], justify="right" if right else "left", width=width, no_wrap=whole, overflow="fold"
        )
    for row in cells:
        drawn.add_row(*(Text(row[index], style=styles[index](row[index])) for index in widths))
    out().print(drawn)


def _fitting(
    names: Sequence[str], rows: Sequence[Sequence[str]], fold: Sequence[str], spare: Sequence[str], width: int
) -> dict[int, int] | None:
    """The columns that fit into a width, by index, and how wide each is; ``None`` when they do not."""
    from rich.cells import cell_len

    wanted, least = [], []
    for name, *column in zip(names, *rows, strict=True):
        wanted.append(max(map(cell_len, [name, *column])))
        words = [word for text in (name, *column) for word in text.split()]
        word = min(LONGEST_WORD, max(map(cell_len, words)))
        least.append(min(wanted[-1], max(NARROWEST_TEXT, word)) if name in fold else wanted[-1])
    widths = dict(enumerate(least))

    def room() -> int:
        return width + 1 - sum(least[index] + 3 for index in widths)  # three between two columns, one at each edge

    for name in spare:
        if room() >= 0:
            break
        del widths[names.index(name)]
    if room() < 0:
        return None
    for _ in range(room()):  # what is left goes to the text that lacks most
        lacks = max(widths, key=lambda index: wanted[index] - widths[index])
        if widths[lacks] == wanted[lacks]:
            break
        widths[lacks] += 1
    return widths


def _style(cell: str) -> str:
    return STATE_STYLES.get(cell, "")


def signed(cell: str) -> str:
    """The style of a change: green up, red down."""
    return {"+": "green", "-": "red"}.get(cell[:1], "") if cell != "-" else ""


def _upright(names: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[Callable[[str], str]]) -> None:
    """Each row as lines of ``name: value`` below a blank line; empty cells are left out."""
    from rich.text import Text

    for row in rows:
        out().print()
        for name, cell, style in zip(names, row, styles, strict=True):
            if cell:
                out().print(Text.assemble((f"{name}: ", "bold"), (cell, style(cell))), overflow="fold")


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [list(columns), *rows]
    widths = [max(len(one[index]) for one in lines) for index in range(len(columns))]
    for one in lines:
        padded = (cell.ljust(width) for cell, width in zip(one, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def instant(epoch_seconds: float | None, *, utc: bool = False) -> str | None:
    """A moment in the terminal's zone, named, or in UTC; ``None`` stays ``None``."""
    if epoch_seconds is None:
        return None
    moment = datetime.fromtimestamp(epoch_seconds, UTC)
    if not utc:
        moment = moment.astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S ") + (moment.tzname() or "UTC")


def duration(seconds: float | None) -> str | None:
    """Such as 0.4 s, 12 s, 3 min 20 s, 2 h 5 min; ``None`` stays ``None``."""
    return None if seconds is None else lasting(seconds)


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def short(job_id: str) -> str:
    """The last eight characters, as tables show an id; commands accept them."""
    return job_id[-8:]
