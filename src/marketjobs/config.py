"""Settings: what may be set, its default, and where each value in force came from.

Precedence: command line > environment > file > default.  Nothing is read before :func:`load`; the parts
that need settings are handed them, or call :func:`current`, which loads at its first use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args
from urllib.parse import SplitResult, urlsplit, urlunsplit

from marketjobs.domain.intervals import Interval
from marketjobs.domain.ranges import check_period
from marketjobs.domain.rates import Rate, parse_rates
from marketjobs.errors import ConfigError, InvalidInput, StorageUnavailable
from marketjobs.sections import (
    NoList,
    Secret,
    Section,
    Setting,
    UnknownKey,
    Wrong,
    choice,
    flag,
    integer,
    number,
    optional_texts,
    secrets,
    section,
    text,
    texts,
)

PREFIX = "MARKETJOBS_"
FILE_NAME = "config.toml"
MASK = "********"
LEAST_MEMORY_MB = 100
PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
QueueName = Literal["market_data", "news", "portfolio", "analytics", "default"]
QUEUES: tuple[QueueName, ...] = get_args(QueueName)
# The ecosystem's names, below ours and above the file; the first that is set wins.
ALIASES = {
    ("broker", "url"): ("CELERY_BROKER_URL", "REDIS_URL"),
    ("database", "url"): ("DATABASE_URL",),
    ("cache", "url"): ("CELERY_RESULT_BACKEND",),
}


def _rates(texts: list[str]) -> list[str]:
    try:
        parse_rates(texts)
    except InvalidInput as exc:
        raise ValueError(exc.message) from exc
    return texts


_IN_PASSWORDS = "in a password / # ? @ are written %2F %23 %3F %40"


def _database_url(url: str) -> str:
    """In the spelling that the store expects: ``sqlite:///FILE`` or ``postgresql://...``."""
    if not url:
        return url
    server = re.sub(r"^(postgres|postgresql|postgresql\+psycopg)://", "postgresql://", url)
    parts = _split(server)
    if server.startswith("postgresql://"):
        if parts is None or parts.port == 0:
            raise ValueError(f"the port is no number from 1 to 65535 ({_IN_PASSWORDS})")
        if server.count("@") > 1 or parts.fragment or "@" in parts.path:
            raise ValueError(f"postgresql://USER:PASSWORD@HOST:PORT/DATABASE ({_IN_PASSWORDS})")
        if not parts.path.strip("/"):
            raise ValueError("the database is missing: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
        return server
    if not re.fullmatch(r"sqlite:///.*[^/]", url) or url.endswith(":memory:"):
        raise ValueError(
            "leave it empty for SQLite in the data folder, or sqlite:///FILE, or postgresql://USER@HOST:PORT/DATABASE"
        )
    return url


BROKER_SCHEMES = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
"""What may carry wake-ups, with the port of each."""


def _broker_url(url: str) -> str:
    if not url:
        return url
    scheme = url.partition("://")[0].lower()
    scheme = "amqp" if scheme == "pyamqp" else scheme  # Celery's other name for it
    if scheme == "redis+socket" and url.partition("://")[2].startswith("/"):
        return url
    if scheme not in BROKER_SCHEMES:
        raise ValueError(
            "leave it empty for the embedded queue, or redis://HOST:PORT/DB, amqp://USER:PASSWORD@HOST/VHOST"
            " (rediss://, amqps:// for TLS)"
        )
    parts = _split(f"{scheme}://{url.partition('://')[2]}")
    if ";" in url:
        raise ValueError("one address; where a cluster has several, name its load balancer")
    if parts is None or parts.port == 0:
        raise ValueError(f"the port is no number from 1 to 65535 ({_IN_PASSWORDS})")
    if not parts.hostname or any(char.isspace() for char in url):
        raise ValueError(f"the host is missing: {scheme}://HOST:{BROKER_SCHEMES[scheme]}/...")
    if parts.fragment:
        raise ValueError("a # in a password is written as %23")
    if scheme.startswith("redis") and not re.fullmatch(r"/?\d*/?", parts.path):
        raise ValueError("a Redis database is a number: redis://HOST:PORT/0")
    wrong = [name for name in _query(parts.query) if not (scheme == "rediss" and name.startswith("ssl_"))]
    if wrong:
        raise ValueError(f"takes no option {wrong[0]!r:.40}" + ("" if scheme != "rediss" else ", only ssl_..."))
    return parts.geturl()


REDIS_SCHEMES = ("redis", "rediss", "redis+socket")


def _is_redis(url: str) -> bool:
    return url.partition("://")[0].lower() in REDIS_SCHEMES


def _cache_url(url: str) -> str:
    if url and not _is_redis(url):
        raise ValueError("leave it empty for none, or redis://HOST:PORT/DB (rediss:// for TLS)")
    return _broker_url(url)


def _query(text: str) -> list[str]:
    return [part.partition("=")[0] for part in text.split("&") if part]


def _http_url(url: str) -> str:
    if not (re.fullmatch(r"https?://[^\s/]+\S*", url) and _split(url)):
        raise ValueError("an http:// or https:// address")
    return url.rstrip("/")


def _feeds(addresses: list[str]) -> list[str]:
    if not all(re.fullmatch(r"https?://[^\s/]\S*", address, re.IGNORECASE) for address in addresses):
        raise ValueError("expected http:// or https:// addresses")
    return addresses


_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)


def _hosts(hosts: list[str]) -> list[str]:
    """Names, addresses and networks of hosts."""
    from ipaddress import ip_network

    for host in hosts:
        try:
            ip_network(host.strip().strip("[]"), strict=False)
        except ValueError as exc:
            # What ends in a number is no name: it is an address that went wrong.
            if not _HOST.fullmatch(host.strip()) or host.strip(" .").rpartition(".")[2].isdigit():
                raise ValueError("expected hosts, addresses or networks: nas.local, 192.168.1.5, 10.0.0.0/8") from exc
    return hosts


def _keys(keys: list[str]) -> list[str]:
    """What no vendor gives is a slip: a line end that was copied along, a variable that was empty."""
    if not all(key and key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise ValueError("a key is empty, or holds a blank, a line end or another character that no key has")
    return keys


_SECRET_OPTION = re.compile(
    r"([?&][\w.-]*(?:password|passwd|token|secret|key|auth|signature|sig)=)([^&#]+)", re.IGNORECASE
)
"""PostgreSQL takes the password as an option too, and feeds of one's own have a token there."""


def _split(url: str) -> SplitResult | None:
    """The parts of an address; ``None`` for one that can't be taken apart."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _interval(text: str) -> str:
    try:
        return Interval.of(text).value
    except InvalidInput as exc:
        raise ValueError(exc.message) from exc


def _period(text: str) -> str:
    try:
        return check_period(text)
    except InvalidInput as exc:
        raise ValueError(exc.message) from exc


def _memory(megabytes: int) -> int:
    if 0 < megabytes < LEAST_MEMORY_MB:
        raise ValueError(f"expected 0 or at least {LEAST_MEMORY_MB}: with less its threads can't start")
    return megabytes


class BrokerSettings(Section):
    url: str = text(
        "",
        check=_broker_url,
        description="Empty: the embedded queue (one host). For many workers redis://HOST:PORT/DB, or "
        "amqp://USER:PASSWORD@HOST:PORT/VHOST for RabbitMQ; rediss:// and amqps:// for TLS.",
    )


class DatabaseSettings(Section):
    url: str = text(
        "",
        check=_database_url,
        description="Empty: SQLite in the data folder. sqlite:///FILE for another place."
        " postgresql://USER:PASSWORD@HOST:PORT/DATABASE for many machines (extra: postgres).",
    )


class CacheSettings(Section):
    url: str = text(
        "",
        check=_cache_url,
        description="Empty: none. redis://HOST:PORT/DB (rediss:// for TLS; the broker's will do): latest prices are"
        " kept there too, for quick reading by any program. Set it alike on each machine.",
    )
    ttl_seconds: int = integer(
        86_400, ge=1, le=31_536_000, description="Seconds after its last update that a price is forgotten there."
    )


class WorkerSettings(Section):
    concurrency: int = integer(2, ge=1, le=256, description="Pool processes of one worker.")
    queues: list[QueueName] = texts(QUEUES, choices=QUEUES, description="Queues that a worker serves.")
    pool: Literal["prefork", "solo"] = choice(
        "prefork", ("prefork", "solo"), description="How Celery runs tasks: prefork or solo."
    )
    lease_seconds: float = number(
        30.0,
        ge=3,
        le=3600,
        description="A job whose worker was not heard of for so long is given to another.",
    )
    soft_time_limit: float = number(540.0, gt=0, description="Seconds after which a task is asked to stop.")
    hard_time_limit: float = number(600.0, gt=0, description="Seconds after which a task's process is ended.")
    memory_limit_mb: int = integer(
        2048,
        ge=0,
        le=500_000,
        check=_memory,
        description="Megabytes that a pool process may take for its jobs (Linux), 100 at least; 0: no limit.",
    )
    acks_late: bool = flag(False, description="Acknowledge a message when its job ends instead of when it starts.")


class RetrySettings(Section):
    max_attempts: int = integer(3, ge=1, le=100, description="Executions of a job before it is dead.")
    base_seconds: float = number(2.0, gt=0, description="Wait before the second attempt; doubles with each.")
    cap_seconds: float = number(300.0, gt=0, description="Longest wait between two attempts.")


_WINDOWS = (
    " all of them kept, shared by all processes: 2/s, 30/10s, 2000/h, 25/d (any 24 hours), and by the calendar 25/day,"
    " 10000/month (in UTC; elsewhere 25/day@America/New_York)."
)
_CALLS = f"Calls per window,{_WINDOWS}"
_PER_KEY = f"Calls per window, of each key,{_WINDOWS}"


class ProviderSettings(Section):
    """What every provider has."""

    enabled: bool = flag(True, description="May it be asked?")
    base_url: str = text("https://localhost", check=_http_url, description="Where the vendor answers.")
    api_keys: list[Secret] = secrets(check=_keys, description="Keys, where the vendor wants one.")
    rate_limit: list[str] = texts(["1/s"], check=_rates, description=_CALLS)
    timeout_seconds: float = number(15.0, gt=0, le=300, description="Longest wait for one answer.")
    max_connections: int = integer(8, ge=1, le=128, description="Requests of one process under way at once.")

    @property
    def rates(self) -> tuple[Rate, ...]:
        return parse_rates(self.rate_limit)


class YahooSettings(ProviderSettings):
    base_url: str = text("https://query2.finance.yahoo.com", check=_http_url, description="Where the vendor answers.")
    rate_limit: list[str] = texts(["2/s", "2000/h"], check=_rates, description=_CALLS)


class BinanceSettings(ProviderSettings):
    base_url: str = text("https://api.binance.com", check=_http_url, description="Where the vendor answers.")
    rate_limit: list[str] = texts(
        ["6000/m"],
        check=_rates,
        description="Weights per window (Binance counts requests by their weight), shared by all processes.",
    )


class CoinGeckoSettings(ProviderSettings):
    base_url: str = text("https://api.coingecko.com", check=_http_url, description="Where the vendor answers.")
    rate_limit: list[str] = texts(["5/m"], check=_rates, description=_PER_KEY)


class CoinMarketCapSettings(ProviderSettings):
    base_url: str = text("https://pro-api.coinmarketcap.com", check=_http_url, description="Where the vendor answers.")
    rate_limit: list[str] = texts(["30/m", "10000/month"], check=_rates, description=_PER_KEY)


class AlphaVantageSettings(ProviderSettings):
    base_url: str = text("https://www.alphavantage.co", check=_http_url, description="Where the vendor answers.")
    rate_limit: list[str] = texts(["1/s", "5/m", "25/d"], check=_rates, description=_PER_KEY)
    premium: bool = flag(
        False, description="Are the keys of a paid plan? Then days are split-adjusted, and go back 20 years."
    )


class RssSettings(ProviderSettings):
    base_url: str = text(
        "https://feeds.finance.yahoo.com", check=_http_url, description="Where feeds of single symbols are."
    )
    rate_limit: list[str] = texts(["5/s"], check=_rates, description="Feeds per window, shared by all processes.")
    feeds: list[str] = optional_texts(check=_feeds, description="Addresses that fetch-news reads when it is told none.")
    allow_hosts: list[str] = optional_texts(
        check=_hosts, description="Hosts and networks (10.0.0.0/8) that a feed may be at although they are private."
    )


class RecordedSettings(Section):
    enabled: bool = flag(True, description="May it be asked?")


class ProvidersSettings(Section):
    """The shipped providers; a plug-in's section is checked against :class:`ProviderSettings`."""

    others: ClassVar = ProviderSettings

    yahoo: YahooSettings = section(YahooSettings)
    binance: BinanceSettings = section(BinanceSettings)
    coingecko: CoinGeckoSettings = section(CoinGeckoSettings)
    coinmarketcap: CoinMarketCapSettings = section(CoinMarketCapSettings)
    alphavantage: AlphaVantageSettings = section(AlphaVantageSettings)
    rss: RssSettings = section(RssSettings)
    recorded: RecordedSettings = section(RecordedSettings)

    def of(self, name: str) -> ProviderSettings | RecordedSettings:
        """The section of a provider; a plug-in without a section has the defaults."""
        found: ProviderSettings | RecordedSettings | None = self.sections().get(name)
        return found if found is not None else ProviderSettings()

    def sections(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.keys} | self.extra


def _chain(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("each provider once")
    return names


def _chain_of(what: str, *names: str) -> Any:
    return texts(names, check=_chain, description=f"Who is asked about {what}, in this order.")


class ChainsSettings(Section):
    """By class of asset: where one provider fails, the next is asked within the same job."""

    equity: list[str] = _chain_of("shares", "yahoo", "alphavantage")
    etf: list[str] = _chain_of("exchange-traded funds", "yahoo", "alphavantage")
    fund: list[str] = _chain_of("funds", "yahoo", "alphavantage")
    index: list[str] = _chain_of("indices", "yahoo")
    currency: list[str] = _chain_of("currencies", "yahoo")
    crypto: list[str] = _chain_of("coins", "yahoo", "binance", "coingecko", "coinmarketcap")
    future: list[str] = _chain_of("futures", "yahoo")
    unknown: list[str] = _chain_of("what no vendor has named yet", "yahoo", "alphavantage")

    def of(self, asset_class: str) -> tuple[str, ...]:
        return tuple(getattr(self, asset_class))


class UniverseSettings(Section):
    batch_size: int = integer(100, ge=1, le=500, description="Symbols of one part of a sync.")
    delay_seconds: float = number(0.0, ge=0, le=3600, description="Seconds between the starts of two parts of a sync.")
    history_interval: str = text("1d", check=_interval, description="Bars of sync-history.")
    history_period: str = text("1y", check=_period, description="How far back sync-history looks.")
    intraday_interval: str = text("5m", check=_interval, description="Bars of sync-intraday.")
    intraday_period: str = text("5d", check=_period, description="How far back sync-intraday looks.")


class RetentionSettings(Section):
    jobs_days: float = number(30.0, ge=0, le=36_500, description="Days that finished jobs are kept; 0: for ever.")
    jobs_kept: int = integer(
        100_000,
        ge=0,
        le=10_000_000,
        description="Finished jobs beyond so many of the newest go, however young; 0: none.",
    )
    dead_days: float = number(90.0, ge=0, le=36_500, description="Days that dead jobs are kept; 0: for ever.")


class LoggingSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = choice(
        "info", ("debug", "info", "warning", "error"), description="Least severity that is logged."
    )
    format: Literal["text", "json"] = choice(
        "text", ("text", "json"), description="text for people, json for programs."
    )
    folder: str = text("", description="Folder of log files; empty: standard error only.")


class NetworkSettings(Section):
    proxy: str = text("", description="Proxy for all vendors; empty: HTTPS_PROXY of the environment.")
    ca_bundle: str = text("", description="File of trusted authorities; empty: SSL_CERT_FILE, else the bundled one.")


class Settings(Section):
    """All settings, frozen; :func:`load` makes them."""

    broker: BrokerSettings = section(BrokerSettings)
    database: DatabaseSettings = section(DatabaseSettings)
    cache: CacheSettings = section(CacheSettings)
    worker: WorkerSettings = section(WorkerSettings)
    retry: RetrySettings = section(RetrySettings)
    universe: UniverseSettings = section(UniverseSettings)
    providers: ProvidersSettings = section(ProvidersSettings)
    chains: ChainsSettings = section(ChainsSettings)
    retention: RetentionSettings = section(RetentionSettings)
    logging: LoggingSettings = section(LoggingSettings)
    network: NetworkSettings = section(NetworkSettings)

    _home: ClassVar = Path()
    _file: ClassVar[Path | None] = None
    _origins: ClassVar[dict[str, str]] = {}
    _eager: ClassVar = False

    def found(self, *, home: Path, file: Path | None, origins: dict[str, str], eager: bool) -> Self:
        """These, with where they came from."""
        vars(self).update(_home=home, _file=file, _origins=origins, _eager=eager)
        return self

    @property
    def home(self) -> Path:
        """The data folder; see :func:`ensure_home`."""
        return self._home

    @property
    def file(self) -> Path | None:
        return self._file

    @property
    def eager(self) -> bool:
        """``CELERY_TASK_ALWAYS_EAGER``: run jobs where they are handed in."""
        return self._eager

    @property
    def database_url(self) -> str:
        """Where the store is, with its password: ``sqlite:///FILE`` (as SQLAlchemy reads it) or ``postgresql://...``."""
        return self.database.url if self.database_file is None else f"sqlite:///{self.database_file}"

    @property
    def database_file(self) -> Path | None:
        """The SQLite file; ``None``: the store is a server's."""
        url = self.database.url
        if not url:
            return self.home / "marketjobs.db"
        if not url.startswith("sqlite:"):
            return None
        path = url.removeprefix("sqlite:").removeprefix("//")
        named = path.removeprefix("/") if path.startswith("/") and not path.startswith("//") else path[1:]
        return Path(named).absolute()

    @property
    def shown_database(self) -> str:
        """Where the store is, for people."""
        return str(self.database_file or masked("database.url", self.database.url))

    @property
    def is_embedded(self) -> bool:
        """Is the broker the queue in the data folder?"""
        return not self.broker.url

    @property
    def from_environment(self) -> int:
        """How many settings variables give."""
        return sum(1 for origin in self._origins.values() if origin in os.environ)

    def origin(self, key: str) -> str:
        return self._origins.get(key, "default")

    def secrets(self) -> Iterator[str]:
        """Every text that must never be shown: keys, and passwords inside URLs."""
        addresses = [self.broker.url, self.database.url, self.cache.url, self.network.proxy]
        addresses += [os.environ.get(name, "") for name in PROXY_VARIABLES]
        for provider in self.providers.sections().values():
            if isinstance(provider, ProviderSettings):
                yield from (key.reveal() for key in provider.api_keys)
                addresses.append(provider.base_url)
                addresses += getattr(provider, "feeds", ())
        for address in addresses:
            parts = _split(address) if "@" in address else None
            if parts is not None and parts.password:
                yield parts.password
            elif parts is not None and parts.username and address in self.providers.rss.feeds:
                yield parts.username  # a token
            yield from (secret for _, secret in _SECRET_OPTION.findall(address))


def settings_keys(kind: type[Section] = Settings, prefix: str = "") -> Iterator[tuple[str, Setting]]:
    """Every ``section.key`` with what may be given for it, in the order of the file."""
    for name, setting in kind.keys.items():
        if isinstance(setting.default, Section):
            yield from settings_keys(type(setting.default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", setting


def masked(key: str, value: Any) -> Any:
    """A value as it may be shown: keys and the passwords of addresses are hidden."""
    if key.endswith("api_keys"):
        return [MASK for _ in value]
    if isinstance(value, list):
        return [masked(key, one) for one in value]
    if not isinstance(value, str):
        return value
    value = _SECRET_OPTION.sub(rf"\1{MASK}", value)
    if "@" not in value:
        return value
    parts = _split(value)
    if parts is None or not parts.scheme or not parts.netloc:
        return MASK
    if ":" in parts.netloc and "@" in parts.path + parts.query + parts.fragment:
        return MASK  # an address gone wrong: nobody can tell where its password ends
    is_token = key.endswith(("feed", "feeds")) and parts.username
    if not parts.password and not is_token:
        return value
    host = parts.netloc.rpartition("@")[2]
    name = f"{parts.username or ''}:" if parts.password else ""
    return urlunsplit(parts._replace(netloc=f"{name}{MASK}@{host}"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting as ``config show`` prints it."""

    key: str
    value: Any
    origin: str
    default: Any
    description: str


def entries(settings: Settings) -> Iterator[Entry]:
    """Every setting in force, secrets masked."""
    for key, setting in settings_keys():
        value: Any = settings
        for part in key.split("."):
            value = getattr(value, part)
        yield Entry(key, masked(key, value), settings.origin(key), setting.default, setting.description)


def user_config_file() -> Path:
    import platformdirs

    return Path(platformdirs.user_config_dir("marketjobs", appauthor=False)) / FILE_NAME


def home_folder() -> Path:
    given = os.environ.get("MARKETJOBS_HOME")
    if given:
        return Path(given).expanduser().absolute()  # a worker may be started in another folder
    import platformdirs

    return Path(platformdirs.user_data_dir("marketjobs", appauthor=False))


def find_file() -> Path | None:
    """The file in force: ``MARKETJOBS_CONFIG`` (where ``--config`` puts its value), ``./config.toml``, the
    user's configuration folder."""
    named = os.environ.get("MARKETJOBS_CONFIG")
    if named:
        return Path(named).expanduser()
    for path in (Path(FILE_NAME), user_config_file()):
        if path.is_file():
            return path
    return None


def load() -> Settings:
    """Read file and environment.

    Raises:
        ConfigError: naming the file or variable, the key, and what was expected.
    """
    environ = os.environ
    file = find_file()
    from_file = _read_file(file, named=bool(environ.get("MARKETJOBS_CONFIG"))) if file else {}
    from_environment, variables = _read_environment(environ)
    merged = _merge(from_file, from_environment)
    origins = {key: str(file) for key in _flatten(from_file)} | variables
    try:
        settings = Settings(**merged)
    except Wrong as exc:
        raise ConfigError(_explain(exc, origins, file)) from exc
    _check_plugins(settings, origins)
    eager = _switch("CELERY_TASK_ALWAYS_EAGER", environ.get("CELERY_TASK_ALWAYS_EAGER", ""))
    return settings.found(home=home_folder(), file=file, origins=origins, eager=eager)


def _switch(name: str, text: str) -> bool:
    """A variable of another program's that is on or off."""
    word = text.strip().lower()
    if word not in ("", "0", "1", "true", "false", "yes", "no", "on", "off"):
        raise ConfigError(f"{name}: {text!a:.40} is neither true nor false")
    return word in ("1", "true", "yes", "on")


@cache
def current() -> Settings:
    """The settings of this process, loaded at the first call."""
    return load()


def ensure_home(settings: Settings) -> Path:
    """Create the data folder with mode 0700.

    Raises:
        ConfigError: it can't be created, or is not ours to write.
        StorageUnavailable: its file system is read-only (a disk that failed?).
    """
    home = settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(
            f"the data folder {home} can't be created: {exc.strerror}",
            hint="set MARKETJOBS_HOME to a folder of yours",
        ) from exc
    if hasattr(os, "statvfs") and os.statvfs(home).f_flag & os.ST_RDONLY:
        raise StorageUnavailable(f"the data folder {home} lies on a read-only file system", hint="mount it to write")
    if not os.access(home, os.W_OK | os.X_OK):
        raise ConfigError(f"the data folder {home} can't be written", hint="set MARKETJOBS_HOME to a folder of yours")
    return home


def _read_file(path: Path, *, named: bool) -> dict[str, Any]:
    import tomllib

    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"{path}: can't be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: is no valid TOML: {exc}") from exc
    ours = set(Settings.keys)
    if data and not named and path == Path(FILE_NAME) and not ours & set(data):
        raise ConfigError(
            f"./{FILE_NAME} has no section of marketjobs (it looks like another program's)",
            hint="marketjobs --config FILE ..., or run it from another folder",
        )
    return data


def _read_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings that variables give, and the variable that each key came from."""
    values: dict[str, Any] = {}
    variables: dict[str, str] = {}
    for (table, key), names in ALIASES.items():
        for name in names:
            if environ.get(name) and (table != "cache" or _is_redis(environ[name])):  # other result backends are none
                values.setdefault(table, {})[key] = environ[name]
                variables[f"{table}.{key}"] = name
                break
    for name, given in environ.items():
        path = name.upper().removeprefix(PREFIX).lower().split("__")
        if not name.upper().startswith(PREFIX) or (len(path) == 1 and path[0] not in Settings.keys):
            continue
        if path[0] not in Settings.keys:
            raise ConfigError(f"{name}: unknown key {path[0]}: sections are {' '.join(Settings.keys)}")
        _put(values, path, _decoded(name, given))
        variables[".".join(path)] = name
    return values, variables


def _decoded(name: str, text: str) -> Any:
    """Lists and tables are written as JSON; everything else is a text, which the setting reads."""
    if text.lstrip()[:1] not in ("[", "{"):
        return text
    import json

    try:
        return json.loads(text)
    except ValueError as exc:
        raise ConfigError(f'{name}: is no valid JSON: lists and tables are written like ["a", "b"]') from exc


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a key below its tables; a table given whole and one of its keys together are merged."""
    *tables, last = path
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            return  # the whole was given as something that is no table: the check will say so
    below = values.get(last)
    values[last] = _merge(value, below) if isinstance(below, dict) and isinstance(value, dict) else value


def _merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _explain(error: Wrong, origins: Mapping[str, str], file: Path | None) -> str:
    key = ".".join(error.path)
    # The key itself, a key below it, or the table that it was given in.
    origin = next(
        (origins[k] for k in origins if k == key or k.startswith(f"{key}.") or key.startswith(f"{k}.")),
        str(file or "settings"),
    )
    if isinstance(error, UnknownKey):
        return f"{origin}: unknown key {key}"
    written = ', written as JSON like ["a", "b"]' if isinstance(error, NoList) and origin in os.environ else ""
    return f"{origin}: {key} = {_shown(key, error.given)}: {error.why}{written}"


def _shown(key: str, given: Any) -> str:
    """What was given, as far as it can hold no secret."""
    if "api_keys" in key or isinstance(given, dict):
        return MASK
    if isinstance(given, list):
        plain = all(isinstance(one, str | int | float) and "@" not in str(one) for one in given)
        return f"{masked(key, given)!r:.60}" if plain and key.rpartition(".")[0] != "providers" else MASK
    return f"{masked(key, given)!r:.60}"


def _check_plugins(settings: Settings, origins: Mapping[str, str]) -> None:
    named = {f"providers.{name}": name for name in settings.providers.extra}
    for asset_class in settings.chains.keys:
        for name in settings.chains.of(asset_class):
            if name not in settings.providers.keys:
                named[f"chains.{asset_class}"] = name
    if not named:
        return
    from importlib.metadata import entry_points

    installed = {point.name for point in entry_points(group="marketjobs.providers")}
    for key, name in named.items():
        if name not in installed:
            origin = next((origins[one] for one in origins if one.startswith(key)), "settings")
            wrong = f"unknown key {key}" if key.startswith("providers.") else f"{key}: unknown provider {name!r:.40}"
            raise ConfigError(f"{origin}: {wrong}: installed are {', '.join(sorted(installed))}")
