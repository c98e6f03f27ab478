"""Is everything as it must be?  Each check gives a verdict, what was found, and how to mend it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from marketjobs import config
from marketjobs.config import Settings
from marketjobs.domain.assets import AssetClass
from marketjobs.domain.jobs import JsonDict
from marketjobs.errors import CacheUnavailable, ConfigError, MarketJobsError, UnknownProvider
from marketjobs.providers.base import provider_class, provider_names
from marketjobs.services import providers, quote_cache, workers
from marketjobs.services.providers import ERROR, OK, WARNING
from marketjobs.services.runtime import Runtime

NETWORK_FILE_SYSTEMS = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "sshfs",
    "fuse.sshfs",
    "afs",
    "glusterfs",
    "ceph",
)
PATIENCE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Finding:
    """``verdict`` is ok, warning or error."""

    name: str
    verdict: str
    found: str
    fix: str | None = None

    def to_json(self) -> JsonDict:
        return {"name": self.name, "verdict": self.verdict, "found": self.found, "fix": self.fix}


def _sources(settings: Settings) -> str:
    """Where settings come from: the file, and variables, which nobody sees."""
    count = settings.from_environment
    variables = f"{count} setting{'' if count == 1 else 's'} from the environment" if count else ""
    return "; ".join(filter(None, [str(settings.file or ""), variables])) or "defaults only"


def examine(check_broker: Callable[[Settings], str]) -> list[Finding]:
    """All checks; later ones are left out where they stand on one that failed.

    Args:
        check_broker: connects and says what it found; raises MarketJobsError.  Only ``tasks`` knows brokers.
    """
    findings: list[Finding] = []
    try:
        settings = config.current()
        findings.append(Finding("configuration", OK, _sources(settings)))
    except ConfigError as exc:
        return [Finding("configuration", ERROR, exc.message, exc.hint or "mend the named key")]
    runtime = Runtime(settings, patience_seconds=PATIENCE_SECONDS)
    findings += _store(runtime)
    findings += _broker(settings, check_broker)
    findings += _cache(runtime)
    if any(one.name == "database" and one.verdict == ERROR for one in findings):
        mend_first = "mend the database, then run it again"
        return [*findings, Finding("workers, providers", WARNING, "not looked at: that takes the database", mend_first)]
    findings += _workers(runtime)
    findings += _chains(settings)
    for name in provider_names():
        probe = providers.probe(runtime, name)
        findings.append(Finding(f"provider {name}", probe.verdict, probe.found, probe.fix))
    return findings


def _fix(error: MarketJobsError, otherwise: str) -> str:
    """An error's own hint, but for the one that leads here."""
    return error.hint if error.hint and error.hint != "marketjobs doctor" else otherwise


def _store(runtime: Runtime) -> Iterator[Finding]:
    try:
        database = runtime.database
        with database.write() as tx:
            skew = tx.now() - time.time()
    except MarketJobsError as exc:
        yield Finding("database", ERROR, exc.message, _fix(exc, "look at [database] url: marketjobs config show"))
        return
    yield Finding("database", OK, f"{database.label}, writable, schema current")
    file = runtime.settings.database_file
    kind = _file_system(file) if file is not None else None
    if kind in NETWORK_FILE_SYSTEMS:
        yield Finding(
            "database place",
            ERROR,
            f"{file} lies on a network file system ({kind}); SQLite's locks are not safe there",
            "set MARKETJOBS_HOME to a local folder",
        )
    if abs(skew) > 5:
        yield Finding("clock", WARNING, f"the database's clock differs by {skew:.0f} s", "set this machine's clock")
    elif time.time() < 1_760_000_000:
        yield Finding("clock", ERROR, "this machine's clock lies in the past", "set this machine's clock")
    else:
        yield Finding("clock", OK, "agrees with the database's")


def _broker(settings: Settings, check: Callable[[Settings], str]) -> Iterator[Finding]:
    try:
        yield Finding("broker", OK, check(settings))
    except MarketJobsError as exc:
        yield Finding("broker", ERROR, exc.message, exc.hint)
    kind = _file_system(settings.home) if settings.is_embedded else None
    if kind in NETWORK_FILE_SYSTEMS:
        yield Finding(
            "broker place",
            ERROR,
            f"the embedded queue in {settings.home} lies on a network file system ({kind}); it serves one host only",
            "set MARKETJOBS_HOME to a local folder, or [broker] url to Redis or RabbitMQ",
        )


def _cache(runtime: Runtime) -> Iterator[Finding]:
    if runtime.quote_cache is None:
        return
    try:
        yield Finding("cache", OK, f"{quote_cache.version(runtime.quote_cache)} answers, for latest prices")
    except CacheUnavailable as exc:
        found = f"{exc.message}; prices are read from the database"
        yield Finding("cache", WARNING, found, "start it, or look at [cache] url: marketjobs config show")


def _file_system(path: Path) -> str | None:
    """The type of the file system that a path lies on, where the system tells (Linux)."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return None
    parents = {str(part) for part in path.resolve().parents}
    fitting = [(len(place), kind) for place, kind in mounts if place in parents]
    return max(fitting)[1] if fitting else None


def _chains(settings: Settings) -> Iterator[Finding]:
    """Chains that name who can't help: settings know names only, what each can do is known here."""
    for asset_class in AssetClass:
        chain = settings.chains.of(asset_class)
        idle = [name for name in chain if not _has_prices(name, asset_class)]
        if idle:
            what = "prices" if asset_class is AssetClass.UNKNOWN else f"prices of class {asset_class}"
            yield Finding(
                f"chain {asset_class}",
                ERROR if len(idle) == len(chain) else WARNING,
                f"{' and '.join(idle)} in chains.{asset_class}: no {what}, neither bars nor quotes",
                f"name others in chains.{asset_class}; who has what: marketjobs providers list",
            )


def _has_prices(name: str, asset_class: AssetClass) -> bool:
    try:
        has = provider_class(name).capabilities
    except UnknownProvider:  # said of the provider itself
        return True
    return bool(has.bars or has.quotes) and (asset_class is AssetClass.UNKNOWN or asset_class in has.asset_classes)


def _workers(runtime: Runtime) -> Iterator[Finding]:
    found = [one for one in workers.stats(runtime) if one.worker.kind == "worker" and one.health in ("alive", "deaf")]
    for one in found:
        if one.health == "deaf":
            fix = "look at its log; restart it: marketjobs worker"
            yield Finding("worker", WARNING, f"{one.worker.id} lives but does not answer through the broker", fix)
        else:
            yield Finding("worker", OK, f"{one.worker.id} alive, version {one.worker.version}")
    if not found:
        inline = runtime.settings.is_embedded
        yield Finding(
            "worker",
            OK if inline else WARNING,
            "none is running" + ("; commands that wait run their job themselves" if inline else ""),
            "marketjobs worker",
        )
