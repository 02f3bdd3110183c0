"""HTTP client for addresses that others choose: connects only to public addresses, redirects only to allowed hosts.

A feed's URL, and every redirect of its server, names a host. The client resolves the name itself, checks every address
and connects to the checked address, so that a name which resolves differently a moment later (DNS rebinding) cannot
reach the platform's own services.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from dataflows.sources.bounded_body import ACCEPT_ENCODING

REDIRECTS_MAX = 5


class AddressRefused(httpx.RequestError):
    """The request would leave the allowed hosts or addresses."""


def is_public(address: str) -> bool:
    """Return whether an IP address is reachable from the Internet: not private, loopback, link-local or reserved.

    >>> [is_public(text) for text in ("93.184.216.34", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1")]
    [True, False, False, False, False]
    """
    parsed = ipaddress.ip_address(address.split("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        embedded = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if embedded is not None:
            return is_public(str(embedded))
        if parsed in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)))
    return parsed.is_global and not parsed.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class PublicNetworkBackend(httpcore.NetworkBackend):
    """Opens connections to public addresses only. TLS still verifies the name of the URL."""

    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in self._public_addresses(host, port):
            try:
                return self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    @staticmethod
    def _public_addresses(host: str, port: int) -> list[str]:
        """Resolve a host. Raises ConnectError if it is unknown, or if any of its addresses is not public."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host}: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        private = [address for address in addresses if not is_public(address)]
        if private:
            raise httpcore.ConnectError(f"{host} has the address {private[0]}, which is not public{_ALLOW}")
        return addresses


_ALLOW = "; allow it with the setting `private_addresses: true` of this source"


class PublicTransport(httpx.HTTPTransport):
    """httpx's transport over `PublicNetworkBackend`."""

    def __init__(self) -> None:
        super().__init__()
        # httpx has no argument for the backend of its pool (0.28); a test fails if the attribute is renamed.
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), network_backend=PublicNetworkBackend()
        )


class PublicClient:
    """Streams GET requests. `private_addresses` disables the check of addresses, for servers in the own network.

    A redirect may lead to the host of the request, to its `www.` variant and to `redirect_hosts`, and never from https
    to http. With a proxy in the environment (`HTTPS_PROXY`), the proxy resolves the names: then only addresses that are
    written in a URL are checked.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        headers: Mapping[str, str],
        redirect_hosts: Collection[str] = (),
        private_addresses: bool = False,
    ) -> None:
        self._redirect_hosts = frozenset(host.lower() for host in redirect_hosts)
        self._private_addresses = private_addresses
        all_headers = {"Accept-Encoding": ACCEPT_ENCODING, **headers}
        self._proxied = httpx.Client(timeout=timeout_s, headers=all_headers)
        self._direct = httpx.Client(
            timeout=timeout_s,
            headers=all_headers,
            transport=None if private_addresses else PublicTransport(),
            trust_env=False,
        )

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Yield the response after redirects. Raises AddressRefused or another httpx.HTTPError or InvalidURL."""
        first = request = self._direct.build_request("GET", url, headers=headers)
        for _ in range(REDIRECTS_MAX + 1):
            self._check(request)
            client = self._proxied if _has_proxy(request.url) else self._direct
            response = client.send(request, stream=True)
            try:
                if response.next_request is None:
                    yield response
                    return
                request = response.next_request
            finally:
                response.close()
            self._check_redirect(first.url, request)
        raise AddressRefused(f"the server redirects more than {REDIRECTS_MAX} times", request=first)

    def _check(self, request: httpx.Request) -> None:
        if request.url.scheme not in ("http", "https"):
            raise AddressRefused(f"the URL must be http or https, found {request.url.scheme!r}", request=request)
        if not self._private_addresses and not _public_if_literal(request.url.host):
            raise AddressRefused(f"{request.url.host} is not a public address{_ALLOW}", request=request)

    def _check_redirect(self, first: httpx.URL, request: httpx.Request) -> None:
        host, origin = request.url.host.lower(), first.host.lower()
        if host.removeprefix("www.") != origin.removeprefix("www.") and host not in self._redirect_hosts:
            raise AddressRefused(
                f"the server redirects to {host}, which is neither {origin} nor in `redirect_hosts`", request=request
            )
        if first.scheme == "https" and request.url.scheme != "https":
            raise AddressRefused("the server redirects from https to http", request=request)

    def close(self) -> None:
        self._direct.close()
        self._proxied.close()


def _public_if_literal(host: str) -> bool:
    try:
        return is_public(host)
    except ValueError:
        return True  # a name: the network backend checks its addresses


def _has_proxy(url: httpx.URL) -> bool:
    proxies = getproxies()
    return bool(proxies.get(url.scheme) or proxies.get("all")) and not proxy_bypass(url.host)
