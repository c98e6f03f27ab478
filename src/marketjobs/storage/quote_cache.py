"""Latest prices in Redis, for quick reading by any program: ``marketjobs:quote:SYMBOL`` holds the JSON that
``quote --json`` has of it, with instants in microseconds.  The database is the truth; this may be lost at any time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import orjson

from marketjobs.domain.quotes import Quote
from marketjobs.storage.many import chunks
from marketjobs.storage.quotes import ReadQuote
from marketjobs.storage.redis_wire import Command, ask

PREFIX = "marketjobs:quote:"
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
        [values] = ask(self._url, [["MGET", *map(_key, symbols)]], seconds, self._ca_bundle)
        found = (_quote(symbol, value) for symbol, value in zip(symbols, values, strict=True) if value)
        return [one for one in found if one is not None]

    def write(self, quotes: Sequence[ReadQuote], seconds: float) -> int:
        """How many were written: a newer one that it has stays."""
        commands: list[Command] = [
            ["EVAL", _WRITE, len(part), *(_key(one.symbol) for one in part), self._ttl_seconds, *map(_json, part)]
            for part in chunks(quotes)
        ]
        return sum(ask(self._url, commands, seconds, self._ca_bundle))

    def forget(self, symbols: Iterable[str], seconds: float) -> None:
        ask(self._url, [["DEL", *map(_key, symbols)]], seconds, self._ca_bundle)

    def version(self, seconds: float) -> str:
        [text] = ask(self._url, [["INFO", "server"]], seconds, self._ca_bundle)
        said = dict(line.split(":", 1) for line in text.decode(errors="replace").splitlines() if ":" in line)
        return f"Redis {said.get('redis_version', '')}".strip()


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
