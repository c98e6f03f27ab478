"""What a job brought, as people read it: each symbol of a few, a summary and the failures by cause of many."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from marketjobs.commands import render

if TYPE_CHECKING:
    from marketjobs.domain.jobs import Job, JsonDict

SHOWN_SYMBOLS = 30
STATUSES = ("stored", "up_to_date", "empty", "failed")
EXIT_CODES = {"succeeded": 0, "partial": 3, "dead": 1, "cancelled": 1}


def show_result(job: Job, *, as_json: bool, only_failed: bool = False, say_next: bool = True) -> int:
    """Print a job with its result; the exit code that its state has for whoever waited for it."""
    from marketjobs.services.views import result_json

    document = result_json(job)
    symbols: list[JsonDict] = (document["result"] or {}).get("symbols") or []
    if only_failed and symbols:
        symbols = [one for one in symbols if one["error"]]
        document["result"] = {"symbols": symbols}
    if as_json:
        render.json(document)
    else:
        if only_failed or len(symbols) <= SHOWN_SYMBOLS:
            _show_symbols(symbols)
        else:
            _show_summary(job, symbols)
        _show_end(job, symbols, say_next=say_next and not only_failed)
    return EXIT_CODES.get(job.state.value, 5)


def _show_symbols(symbols: list[JsonDict]) -> None:
    if not symbols:
        return
    render.table(
        (
            "symbol",
            "interval",
            "status",
            "new ",
            "changed ",
            "same ",
            "rejected ",
            "first",
            "last",
            "said",
        ),
        [
            (
                one["symbol"],
                one["interval"],
                one["status"],
                one["rows_new"],
                one["rows_changed"],
                one["rows_unchanged"],
                one["rows_rejected"],
                one["first"],
                one["last"],
                f"{one['error']['cause']}: {one['error']['message']}" if one["error"] else one["note"],
            )
            for one in symbols
        ],
        fold=("said",),
        spare=("interval", "rejected", "first", "same", "changed", "last"),
    )


def _show_summary(job: Job, symbols: list[JsonDict]) -> None:
    statuses = Counter(one["status"] for one in symbols)
    counted = ", ".join(f"{statuses[name]:,} {name}" for name in STATUSES if statuses[name])
    rows = {name: sum(one[f"rows_{name}"] for one in symbols) for name in ("new", "changed", "rejected")}
    told = ", ".join(f"{number:,} {name}" for name, number in rows.items() if number or name != "rejected")
    render.line(f"{len(symbols):,} symbols: {counted}; rows: {told}")
    causes: dict[str, list[JsonDict]] = {}
    for one in symbols:
        if one["error"]:
            causes.setdefault(one["error"]["cause"], []).append(one)
    if not causes:
        return
    render.table(
        ("cause", "symbols ", "such as", "said of the first"),
        [
            (cause, len(failed), render.some([one["symbol"] for one in failed], 4), failed[0]["error"]["message"])
            for cause, failed in sorted(causes.items(), key=lambda item: -len(item[1]))
        ],
        fold=("such as", "said of the first"),
        spare=("such as",),
    )
    render.note(f"  all that failed: marketjobs result {render.short(job.id)} --failed   (all of it: --json)")


def _show_end(job: Job, symbols: list[JsonDict], *, say_next: bool) -> None:
    took = None if job.finished_at is None else render.duration(job.finished_at - (job.started_at or job.submitted_at))
    ending = f"job {render.short(job.id)} {job.state}" + (f" in {took}" if took else "")
    if job.error_cause and not any(one["error"] for one in symbols):
        ending += f": {job.error_cause}: {job.error_message}"
    render.note(ending, style=render.STATE_STYLES.get(job.state.value, ""), always=job.state.value != "succeeded")
    stored = next((one for one in symbols if one["status"] in ("stored", "up_to_date")), None)
    if stored and say_next:
        interval = "" if stored["interval"] == "1d" else f" --interval {stored['interval']}"
        render.note(f"  look: marketjobs prices {stored['symbol']}{interval}")
