"""What a fetch would ask for, as `--dry-run` shows it."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN_AT_A_TERMINAL = 30


def show_plan(planned: Sequence[tuple[str, Sequence[tuple[str, str]]]], *, parts: int = 1, as_json: bool) -> None:
    """A row a symbol, and how much that is; ``planned`` has each symbol's requests as (first, last)."""
    import sys

    from marketjobs.commands import render

    if as_json:
        render.json(
            {
                "symbols": [
                    {"symbol": symbol, "requests": [{"start": first, "end": last} for first, last in asked]}
                    for symbol, asked in planned
                ]
            }
        )
        return
    shown = planned[:SHOWN_AT_A_TERMINAL] if sys.stdout.isatty() else planned
    render.table(
        ("symbol", "would be asked for"),
        [(symbol, ", ".join(f"{first} to {last}" for first, last in asked) or "nothing") for symbol, asked in shown],
        fold=("would be asked for",),
    )
    if len(shown) < len(planned):
        render.note(f"the first {len(shown)} of {len(planned)} symbols; all of them: --json, or through a pipe")
    if len(planned) > 1:
        requests = sum(len(asked) for _, asked in planned)
        render.note(f"{len(planned)} symbols, {requests} requests" + (f", {parts} parts" if parts > 1 else ""))
