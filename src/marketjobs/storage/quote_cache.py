"""Latest prices in Redis, for quick reading by any program: ``marketjobs:quote:SYMBOL`` holds the JSON that
``quote --json`` has of it, with instants in microseconds.  The database is the truth; this may be lost at any time.

redis is imported by whoever first asks: commands that do not look prices up never pay for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from marketjobs.domain.quotes import Quote
from marketjobs.errors import CacheUnavailable
from marketjobs.storage.many import chunks
from marketjobs.storage.quotes import ReadQuote

if TYPE_CHECKING:
    from redis import Redis

PREFIX = "marketjobs:quote:"
DEFAULT_PORT = 6379
# Instants have one length, so that they compare as texts.  What somebody else has put there is overwritten.
_WRITE = """
local written = 0
for place, key in ipairs(KEYS) do
  local value = ARGV[place + 1]
  local new, newer = cjson.decode(value), false
  local held = redis.pcall('GET', key)
  if type(held) == 'string' then
    local is_json, old = pcall(cjson.decode, held)
    newer = is_json and type(old) == 'table' and type(old.at) == 'string' and type(old.fetched_at) == 'string'
      and (old.at > new.at or (old.at == new.at and old.fetched_at > new.fetched_at))
  end
  if not newer then
    redis.call('SET', key, value, 'EX', ARGV[1])
    written = written + 1
  end
end
return written
"""


def prepare() -> None:
    """To be called before a clock runs: on a busy machine the import takes longer than the cache may."""
    import redis  # noqa: F401


class QuoteCache:
    """A configured one.  Everything raises CacheUnavailable; ``seconds``: the longest silence of the other side.

    Attributes:
        rests_until: by the monotonic clock; before, nothing need be asked of it.
    """

    def __init__(self, url: str, ttl_seconds: int, ca_bundle: str | None = None) -> None:
        self._url = url
        self._ttl_seconds = ttl_seconds
        self._ca_bundle = ca_bundle
        self.rests_until = 0.0

    def read(self, symbols: Sequence[str], seconds: float) -> list[ReadQuote]:
        """Those of these symbols that it has."""
        with self._client(seconds) as client:
            values: list[Any] = client.mget(map(_key, symbols))
        found = (_quote(symbol, value) for symbol, value in zip(symbols, values, strict=True) if value)
        return [one for one in found if one is not None]

    def write(self, quotes: Sequence[ReadQuote], seconds: float) -> int:
        """How many were written: a newer one that it has stays."""
        with self._client(seconds) as client, client.pipeline(transaction=False) as pipeline:
            for part in chunks(quotes):
                keys = [_key(one.symbol) for one in part]
                pipeline.eval(_WRITE, len(part), *keys, str(self._ttl_seconds), *map(_json, part))
            return sum(pipeline.execute())

    def forget(self, symbols: Iterable[str], seconds: float) -> None:
        with self._client(seconds) as client:
            client.delete(*map(_key, symbols))

    def version(self, seconds: float) -> str:
        with self._client(seconds) as client:
            said: Any = client.info("server")
        return f"Redis {said.get('redis_version', '')}".strip()

    @contextmanager
    def _client(self, seconds: float) -> Iterator[Redis]:
        """A connection of its own each time: nothing is kept over a fork, nothing goes stale."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        parts = urlsplit(self._url)
        place: dict[str, Any] = {"host": parts.hostname or "localhost", "port": parts.port or DEFAULT_PORT}
        database = parts.path.strip("/")
        if parts.scheme == "redis+socket":
            place = {"unix_socket_path": parts.path}
            database = parse_qs(parts.query).get("virtual_host", [""])[0].strip("/")
        elif parts.scheme == "rediss":
            # Certificates are always checked, whatever options of Celery's the address has.
            place |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": self._ca_bundle}
        told = place.get("unix_socket_path") or f"{place['host']}:{place['port']}"
        client = redis.Redis(
            db=int(database or 0),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **place,
        )
        try:
            with client:
                yield client
        except (redis.ResponseError, redis.AuthenticationError) as exc:
            raise CacheUnavailable(f"the cache at {told} refuses: {exc}") from exc
        except (redis.RedisError, OSError, ValueError) as exc:
            raise CacheUnavailable(f"the cache at {told} does not answer: {str(exc) or type(exc).__name__}") from exc


def _key(symbol: str) -> str:
    return f"{PREFIX}{symbol}"


def _json(one: ReadQuote) -> bytes:
    document = {"symbol": one.symbol, "name": one.name} | one.quote._asdict()
    document |= {"at": _text(one.quote.at), "provider": one.provider, "fetched_at": _text(one.fetched_at)}
    return orjson.dumps(document)


def _text(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _quote(symbol: str, value: bytes) -> ReadQuote | None:
    """``None``: what stands there is none of ours."""
    try:
        said = orjson.loads(value)
        if said["symbol"] != symbol or not isinstance(said["price"], float):
            return None
        at, fetched_at = (datetime.fromisoformat(said[name]).timestamp() for name in ("at", "fetched_at"))
        quote = Quote(**{name: said[name] for name in Quote._fields} | {"at": at})
        return ReadQuote(symbol, quote, said["provider"], fetched_at, said["name"])
    except (ValueError, TypeError, KeyError):
        return None
