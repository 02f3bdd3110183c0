"""Which address counts as the client's, with and without trusted proxies."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from api.client_address import ClientAddress, client_address, network_of
from configs.settings import load_settings
from schemas.errors import BadInput

PROXIES = (ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("203.0.113.9", "1.2.3.4", "203.0.113.9"),  # not a proxy: the header is a claim
        ("10.0.0.5", "", "10.0.0.5"),
        ("10.0.0.5", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.5", "1.2.3.4, 203.0.113.9", "203.0.113.9"),  # the client wrote 1.2.3.4
        ("127.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.5", "203.0.113.9"),
        ("10.0.0.5", "unknown", "10.0.0.5"),
        ("10.0.0.5", "203.0.113.9, unknown", "10.0.0.5"),
        ("10.0.0.5", "127.0.0.1", "127.0.0.1"),
        ("10.0.0.5", ",, ,203.0.113.9,", "203.0.113.9"),
        ("10.0.0.5", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.5", "203.0.113.9", "203.0.113.9"),
        ("unix", "203.0.113.9", "unix"),
    ],
)
def test_the_right_most_untrusted_address_counts(peer: str, forwarded_for: str, expected: str) -> None:
    assert client_address(peer, forwarded_for, PROXIES) == expected


def test_without_trusted_proxies_the_header_never_counts() -> None:
    assert client_address("127.0.0.1", "203.0.113.9", ()) == "127.0.0.1"
    assert load_settings(environment={}).api.trusted_proxies == ()


def test_one_network_of_a_client_is_one_subject() -> None:
    assert network_of("2001:db8:0:1:ffff::9") == network_of("2001:db8:0:1::1") != network_of("2001:db8:0:2::1")
    assert network_of("::ffff:1.2.3.4") == network_of("1.2.3.4") != network_of("1.2.3.5")


def test_only_a_trusted_proxy_sets_address_and_scheme() -> None:
    def seen(peer: str) -> tuple[str, str]:
        scopes: list[Scope] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            scopes.append(scope)

        headers = [(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-for", b"203.0.113.9")]
        headers.append((b"x-forwarded-proto", b"http, https"))
        scope: dict[str, Any] = {"type": "http", "client": (peer, 4000), "scheme": "http", "headers": headers}
        asyncio.run(ClientAddress(application, ["10.0.0.5"])(scope, None, None))  # type: ignore[arg-type]
        return scopes[0]["client"][0], scopes[0]["scheme"]

    assert seen("10.0.0.5") == ("203.0.113.9", "https")
    assert seen("203.0.113.7") == ("203.0.113.7", "http")


def test_a_proxy_that_is_no_network_is_refused() -> None:
    with pytest.raises(BadInput, match="trusted_proxies"):
        load_settings(environment={"API__TRUSTED_PROXIES": "[everyone]"})
