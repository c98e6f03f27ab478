"""Where a feed may be: http and https addresses of the open network, told before anything is sent there.

A feed's address comes from people, and a redirect from strangers: neither may reach this host, its network or a
cloud's metadata.  The address that was judged is the one that is connected to (`Target.resolve`), so that a name that
changes its mind in between gains nothing.  Behind a proxy names are the proxy's to resolve: there literal addresses and
localhost's names are judged.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from marketjobs.errors import Unsupported

Address = IPv4Address | IPv6Address
LONGEST_ADDRESS = 2000
NAME = "rss"
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_NAT64 = IPv6Network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}
_SAFE = "/:@!$&'()*+,;=~-._%?"
"""What is sent of a path and a query as it is; the rest is percent-encoded."""


def forbidden(why: str, hint: str | None = None) -> Unsupported:
    """Such words name a host at most: an address may hold a key."""
    return Unsupported(why, provider=NAME, hint=hint)


@dataclass(frozen=True, slots=True)
class Target:
    """A place to ask.  ``host`` is ASCII in lower case, an IPv6 address without brackets; ``login``: user and
    password of the address."""

    scheme: str
    host: str
    port: int
    path: str
    login: tuple[str, str] | None = None

    @property
    def url(self) -> str:
        """Put together anew of what was judged: no reader of addresses can take it for another place."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def base(self) -> str:
        """What relative links are relative to: without the query, where keys stand."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{port}{self.path.partition('?')[0]}"

    def has_origin_of(self, other: Target) -> bool:
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)


def target_of(address: str, *, relative_to: Target | None = None) -> Target:
    """Raises Unsupported for what is no http or https address of a host."""
    if relative_to is not None:
        try:
            address = urljoin(relative_to.url, address)
        except ValueError as exc:
            raise forbidden("a feed's redirect leads to no address") from exc
    address = address.strip()
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as exc:
        raise forbidden("a feed's address can't be read: https://HOST/PATH") from exc
    if parts.scheme not in _PORTS:
        raise forbidden(f"a feed is at an http:// or https:// address, not at {parts.scheme or 'no'}: ...")
    if len(address) > LONGEST_ADDRESS or port == 0:
        raise forbidden("a feed's address can't be read: https://HOST/PATH")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    login = None
    if parts.username is not None:
        login = (unquote(parts.username), unquote(parts.password or ""))
    return Target(
        parts.scheme, _ascii(parts.hostname or ""), port or _PORTS[parts.scheme], quote(path, safe=_SAFE), login
    )


def _ascii(host: str) -> str:
    """A host as it is looked up.  Raises Unsupported."""
    try:
        host = host.rstrip(".").encode("ascii" if ":" in host else "idna").decode("ascii").lower()
    except UnicodeError as exc:
        raise forbidden("a feed's host has a name that no host has") from exc
    if not host or not all(char.isalnum() or char in ".-_:" for char in host):
        raise forbidden("a feed's address has no host: https://HOST/PATH")
    written = literal(host)
    return host if written is None else str(written)


def literal(host: str) -> Address | None:
    """The address that a host is written as, in any way that a client reads as one (``127.1``, ``0x7f000001``)."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def is_open(address: Address) -> bool:
    """Does it lie in the open network, also where it carries another inside?"""
    if isinstance(address, IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour
        if address in _NAT64 or int(address) >> 32 == 0:
            inside = IPv4Address(int(address) & 0xFFFFFFFF)
        if address.teredo is not None:
            return False
        if inside is not None:
            return is_open(inside)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class Gatekeeper:
    """Judges places.

    Args:
        allowed: hosts and networks (``10.0.0.0/8``, ``::1``) that are private and may be asked all the same.
        proxy: the one that all requests go through; ``None``: what the environment says.
    """

    def __init__(self, allowed: Sequence[str] = (), proxy: str | None = None) -> None:
        self._networks = []
        self._names = set()
        for one in allowed:
            try:
                self._networks.append(ip_network(one.strip().strip("[]"), strict=False))
            except ValueError:
                self._names.add(one.strip().rstrip(".").lower())
        self._proxy = proxy

    def proxy_for(self, target: Target) -> str | None:
        """The proxy that a request there goes through, as curl would choose it."""
        if self._proxy:
            return self._proxy
        found: Mapping[str, str] = getproxies_environment()
        proxy = found.get(target.scheme) or found.get("all")
        if not proxy or proxy_bypass_environment(target.host):
            return None
        return proxy

    async def judged(self, target: Target, timeout_seconds: float, *, is_free: bool = False) -> list[Address]:
        """The addresses to connect to; none: a proxy resolves the name, or ``is_free``: it may be anywhere.

        Raises:
            Unsupported: it is not in the open network, or one of its addresses is not.
            OSError: the name can't be resolved.
        """
        if is_free:
            return []
        host = target.host
        written = literal(host)
        if written is not None:
            self._require(host, [written])
            return [written]
        if self.proxy_for(target) is not None:
            if (host in _LOCAL_NAMES or host.endswith(".localhost")) and host not in self._names:
                raise _private(host)
            return []
        loop = asyncio.get_running_loop()
        found = await asyncio.wait_for(
            loop.getaddrinfo(host, target.port, type=socket.SOCK_STREAM), timeout=timeout_seconds
        )
        addresses = list(dict.fromkeys(ip_address(str(one[4][0]).partition("%")[0]) for one in found))
        self._require(host, addresses)
        return addresses

    def _require(self, host: str, addresses: Sequence[Address]) -> None:
        if host in self._names:
            return
        for address in addresses:
            if not is_open(address) and not any(address in network for network in self._networks):
                raise _private(host)


def _private(host: str) -> Unsupported:
    return forbidden(
        f"{host} is no host of the open network: no feed is read there unless providers.rss.allow_hosts names it",
        f'if it is meant: [providers.rss] allow_hosts = ["{host}"]',
    )
