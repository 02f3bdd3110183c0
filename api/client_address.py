"""The address of a client behind trusted reverse proxies.

`X-Forwarded-For` counts only if the connection comes from an address of `api.trusted_proxies`. Each proxy appends the
address that it sees, so the right-most address that is not a trusted proxy is the client's. A client cannot forge it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

HOPS_MAX = 20
"""Addresses that are considered, from the right."""

Network = IPv4Network | IPv6Network


class ClientAddress:
    """ASGI middleware: sets the client of a request or WebSocket to the one behind the trusted proxies, and its scheme
    to the one of `X-Forwarded-Proto`.
    """

    def __init__(self, app: ASGIApp, trusted_proxies: Iterable[str]) -> None:
        self._app = app
        self._trusted: tuple[Network, ...] = tuple(ip_network(text, strict=False) for text in trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if self._trusted and client is not None:
            forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
            address = client_address(client[0], forwarded.decode("latin-1"), self._trusted)
            if address != client[0]:
                scope = {**scope, "client": (address, 0)}
            if _is_trusted(client[0], self._trusted) and _last_protocol(scope) == b"https":
                scope = {**scope, "scheme": {"http": "https", "ws": "wss"}.get(scope["scheme"], scope["scheme"])}
        await self._app(scope, receive, send)


def client_address(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> str:
    """Return the right-most address that is not a trusted proxy. `peer` is the other end of the connection.

    A malformed address ends the search: then the last trusted proxy counts as the client.

    >>> proxies = (ip_network("10.0.0.0/8"),)
    >>> client_address("10.0.0.5", "1.2.3.4, 203.0.113.9", proxies), client_address("203.0.113.9", "1.2.3.4", proxies)
    ('203.0.113.9', '203.0.113.9')
    """
    hops = [hop.strip() for hop in forwarded_for.split(",") if hop.strip()][-HOPS_MAX:]
    current = peer
    while hops and _is_trusted(current, trusted):
        address = _parse(hops.pop())
        if address is None:
            break
        current = str(address)
    return current


def network_of(address: str) -> str:
    """Return what one client controls: an IPv4 address, or the /64 network of an IPv6 address.

    >>> network_of("203.0.113.9"), network_of("2001:db8::1:2"), network_of("a unix socket")
    ('203.0.113.9', '2001:db8::/64', 'a unix socket')
    """
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, 64), strict=False))
    return address if parsed is None else str(parsed)


def _last_protocol(scope: Scope) -> bytes:
    protocols = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
    return protocols[-1].rpartition(b",")[2].strip().lower() if protocols else b""


def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in trusted)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    # A dual-stack socket shows IPv4 clients as ::ffff:a.b.c.d.
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed
