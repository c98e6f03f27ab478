"""What a job brought, as people read it: each symbol of a few, a summary and the failures by cause of many."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from marketjobs.commands import render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marketjobs.domain.jobs import Job, JsonDict

SHOWN_SYMBOLS = 30
STATUSES = ("stored", "up_to_date", "empty", "failed")
EXIT_CODES = {"succeeded": 0, "partial": 3, "dead": 1, "cancelled": 1}


def show_result(job: Job, *, as_json: bool, only_failed: bool = False, say_next: bool = True) -> int:
    """Print a job with its result; the exit code that its state has for whoever waited for it."""
    from marketjobs.services.views import result_json

    document = result_json(job)
    result = document["result"] or {}
    symbols: list[JsonDict] = result.get("symbols") or []
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
        _show_providers(result.get("providers") or [])
        if "cached" in result:
            _show_cached(result)
        _show_end(job, symbols, say_next=say_next and not only_failed)
    if job.state.value == "dead" and {one["error"]["cause"] for one in symbols if one["error"]} == {"ambiguous_symbol"}:
        return 2  # a person has to say what was meant
    return EXIT_CODES.get(job.state.value, 5)


def _show_symbols(symbols: list[JsonDict]) -> None:
    if not symbols:
        return
    names, cells, spare = _columns(symbols[0])
    render.table(
        ("symbol", *names, "said"),
        [(one["symbol"], *cells(one), _said(one)) for one in symbols],
        fold=("said",),
        spare=spare,
        paint={"change": render.signed},
    )


def _columns(one: JsonDict) -> tuple[tuple[str, ...], Callable[[JsonDict], tuple[object, ...]], tuple[str, ...]]:
    """Names of the columns of a result, the cells of an outcome, and which a narrow terminal does without."""
    if "price" in one:
        return (
            ("status", "price ", "currency", "change ", "provider"),
            lambda one: (
                one["status"],
                None if one["price"] is None else f"{one['price']:.6g}",
                one["currency"],
                percent(one["change_percent"]),
                one["provider"],
            ),
            ("change", "provider"),
        )
    if "stories_new" in one:
        return (
            ("status", "new ", "changed ", "same ", "provider"),
            lambda one: (
                one["status"],
                *(one[f"stories_{name}"] for name in ("new", "changed", "same")),
                one["provider"],
            ),
            ("same", "changed"),
        )
    if "figures" in one:
        return (
            ("status", "name", "sector", "figures ", "provider"),
            lambda one: (one["status"], one["name"], one["sector"], one["figures"], one["provider"]),
            ("sector", "figures"),
        )
    return (
        ("interval", "status", "new ", "changed ", "same ", "rejected ", "first", "last"),
        lambda one: (
            one["interval"],
            one["status"],
            *(one[f"rows_{name}"] for name in ("new", "changed", "unchanged", "rejected")),
            one["first"],
            one["last"],
        ),
        ("interval", "rejected", "first", "same", "changed", "last"),
    )


def _show_providers(probes: Sequence[JsonDict]) -> None:
    if probes:
        render.table(
            ("provider", "verdict", "seconds ", "found", "fix"),
            [tuple(one[name] for name in ("name", "verdict", "seconds", "found", "fix")) for one in probes],
            fold=("found", "fix"),
            spare=("seconds",),
        )


def _show_cached(result: JsonDict) -> None:
    said = [f"prices in the cache: {result['cached']:,}"]
    said += [f"{result['newer_there']:,} newer there"] if result["newer_there"] else []
    said += [f"{result['without_price']:,} without a price"] if result["without_price"] else []
    render.line("; ".join(said))


def percent(value: float | None) -> str | None:
    """A change with its sign."""
    return None if value is None else f"{value:+.2f} %"


def _said(one: JsonDict) -> str | None:
    """Why it failed, what is to be known beside it, and who did not serve it."""
    error, words = one["error"], []
    if error:
        words.append(f"{error['cause']}: {error['message']}")
    if one["note"]:
        words.append(one["note"])
    words += [
        f"{asked['provider']}: {asked['cause']}: {asked['message']}"
        for asked in one.get("asked", ())
        if asked["cause"] != "missing_key" and not (error and asked["message"] == error["message"])
    ]
    return "; ".join(words) or None


def _show_summary(job: Job, symbols: list[JsonDict]) -> None:
    statuses = Counter(one["status"] for one in symbols)
    counted = ", ".join(f"{statuses[name]:,} {name}" for name in STATUSES if statuses[name])
    render.line(f"{len(symbols):,} symbols: {counted}{_rows(symbols)}")
    show_asked(symbols)
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


def _rows(symbols: list[JsonDict]) -> str:
    if "rows_new" not in symbols[0]:
        return ""
    rows = {name: sum(one[f"rows_{name}"] for one in symbols) for name in ("new", "changed", "rejected")}
    return "; rows: " + ", ".join(f"{number:,} {name}" for name, number in rows.items() if number or name != "rejected")


def show_asked(symbols: Sequence[JsonDict]) -> None:
    """Who did not serve how many symbols, and why."""
    from marketjobs.services.views import asked_of

    for one in asked_of(symbols):
        which = render.some(one["symbols"], 4)
        render.line(f"{one['provider']} did not serve {len(one['symbols']):,} ({which}): {one['message']}")


def _show_end(job: Job, symbols: list[JsonDict], *, say_next: bool) -> None:
    took = None if job.finished_at is None else render.duration(job.finished_at - (job.started_at or job.submitted_at))
    ending = f"job {render.short(job.id)} {job.state}" + (f" in {took}" if took else "")
    if job.error_cause and not any(one["error"] for one in symbols):
        ending += f": {job.error_cause}: {job.error_message}"
    render.note(ending, style=render.STATE_STYLES.get(job.state.value, ""), always=job.state.value != "succeeded")
    stored = next((one for one in symbols if one["status"] in ("stored", "up_to_date")), None)
    looks = {"price": "quote", "figures": "asset", "stories_new": "news"}
    look = next((command for key, command in looks.items() if stored and key in stored), None)
    if stored and say_next and look:
        is_feed = "://" in stored["symbol"]
        render.note(f"  look: marketjobs {look}" + ("" if is_feed else f" {stored['symbol']}"))
    elif stored and say_next:
        interval = "" if stored["interval"] == "1d" else f" --interval {stored['interval']}"
        render.note(f"  look: marketjobs prices {stored['symbol']}{interval}")
