"""Hostile web servers: no file is opened, no private address is reached, memory is bounded, no thread ends."""

from __future__ import annotations

import gzip
import socket
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest

from configs.settings import load_settings
from dataflows.sources.background_poller import BackgroundPoller
from dataflows.sources.conditional_get import ConditionalGet
from dataflows.sources.news import news_source
from dataflows.sources.news.rss import RssNewsSource
from dataflows.sources.public_http import PublicTransport, is_public
from schemas.codec import decode, encode
from schemas.errors import Unavailable
from schemas.records import NewsItem
from tests.unit.alpaca_broker import wait_for
from tests.unit.local_http_server import LocalServer, RecordedRequest, ServerResponse, local_server

FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>t</title>
<item><guid>1</guid><title>{title}</title><link>{link}</link></item></channel></rss>"""


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server() as running:
        yield running


def fetcher(**overrides: Any) -> ConditionalGet:
    options: dict[str, Any] = {
        "timeout_s": 2.0,
        "max_bytes": 100_000,
        "headers": {},
        "private_addresses": True,
    } | overrides
    return ConditionalGet(**options)


def rss(*urls: str, **overrides: Any) -> RssNewsSource:
    options: dict[str, Any] = {"max_bytes": 100_000, "private_addresses": True} | overrides
    return RssNewsSource(urls, interval_s=1.0, timeout_s=2.0, tag=lambda text: [], now_ns=lambda: 10**18, **options)


def test_body_that_is_a_path_is_not_opened(server: LocalServer, tmp_path: Path) -> None:
    secret = tmp_path / "feed.xml"
    secret.write_text(FEED.format(title="a file of this machine", link=""))
    server.set_response("/feed", str(secret).encode())
    assert rss(f"{server.url}/feed").fetch() == []


@pytest.mark.parametrize("reference", ["&#x110000;", "&#1114112;", "&#99999999999999999999;", "&#xD800;", "&#x1100000"])
def test_reference_to_no_character_loses_neither_the_feed_nor_the_item(server: LocalServer, reference: str) -> None:
    server.set_response("/feed", FEED.format(title=f"Profits {reference} rise", link=f"http://x/{reference}").encode())
    (item,) = rss(f"{server.url}/feed").fetch()
    assert "rise" in item.headline  # type: ignore[union-attr]
    assert decode(encode(item)) == item


def test_feed_that_the_parser_cannot_read_is_a_failure_of_that_feed(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.set_response("/good", FEED.format(title="good", link="").encode())
    server.set_response("/bad", b"bad")
    source = rss(f"{server.url}/bad", f"{server.url}/good")
    import feedparser

    parse = feedparser.parse

    def fail_on_bad(stream: Any) -> Any:
        if stream.getvalue() == b"bad":
            raise KeyError("links")
        return parse(stream)

    monkeypatch.setattr(feedparser, "parse", fail_on_bad)
    assert len(source.fetch()) == 1
    with pytest.raises(Unavailable, match="/bad: malformed feed: KeyError"):
        rss(f"{server.url}/bad").fetch()


def test_private_address_is_refused_by_default(server: LocalServer) -> None:
    server.set_response("/feed", b"x")
    port = server.url.rsplit(":", 1)[1]
    for url in (f"{server.url}/feed", f"http://localhost:{port}/feed", f"http://[::ffff:127.0.0.1]:{port}/feed"):
        with pytest.raises(Unavailable, match=r"not public|not a public address"):
            fetcher(private_addresses=False).get(url)
    assert not server.requests


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("0.0.0.0", False),  # noqa: S104  (an address to check, not to bind to)
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("192.168.1.1", False),
        ("224.0.0.1", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:192.168.1.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves to a public address once and to loopback afterwards (DNS rebinding)."""
    answers = ["93.184.216.34", "127.0.0.1"]
    connected: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    def connect(self: Any, host: str, *_: Any, **__: Any) -> Any:
        connected.append(host)
        raise httpcore.ConnectError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    with httpx.Client(transport=PublicTransport()) as client:
        with pytest.raises(httpx.ConnectError, match="no network"):
            client.get("http://feed.example/")
        with pytest.raises(httpx.ConnectError, match="not public"):
            client.get("http://feed.example/")
    assert connected == ["93.184.216.34"]


def test_redirects_lead_only_to_allowed_hosts(server: LocalServer) -> None:
    port = server.url.rsplit(":", 1)[1]
    server.set_response("/here", b"", 302, Location="/there")
    server.set_response("/elsewhere", b"", 302, Location=f"http://localhost:{port}/there")
    server.set_response("/file", b"", 302, Location="file:///etc/passwd")
    server.set_response("/loop", b"", 302, Location="/loop")
    server.set_response("/there", b"arrived")
    assert fetcher().get(f"{server.url}/here") == b"arrived"
    with pytest.raises(
        Unavailable, match=r"redirects to localhost, which is neither 127\.0\.0\.1 nor in `redirect_hosts`"
    ):
        fetcher().get(f"{server.url}/elsewhere")
    assert fetcher(redirect_hosts=["localhost"]).get(f"{server.url}/elsewhere") == b"arrived"
    with pytest.raises(Unavailable, match="redirects more than 5 times"):
        fetcher().get(f"{server.url}/loop")
    with pytest.raises(Unavailable):
        fetcher().get(f"{server.url}/file")


def test_compressed_body_is_read_up_to_its_limit_in_bounded_memory(server: LocalServer) -> None:
    small = b"<rss>" * 100
    server.set_response("/small", gzip.compress(small), Content_Encoding="gzip")
    server.set_response("/deflated", zlib.compress(small), Content_Encoding="deflate")
    server.set_response("/bomb", gzip.compress(bytes(200_000_000)), Content_Encoding="gzip")
    server.set_response("/other", small, Content_Encoding="br")
    server.set_response("/broken", gzip.compress(small)[:-10], Content_Encoding="gzip")
    assert fetcher().get(f"{server.url}/small") == fetcher().get(f"{server.url}/deflated") == small
    tracemalloc.start()
    try:
        with pytest.raises(Unavailable, match="larger than 100000 bytes"):
            fetcher().get(f"{server.url}/bomb")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10_000_000
    with pytest.raises(Unavailable, match="encoding 'br', expected gzip, deflate"):
        fetcher().get(f"{server.url}/other")
    with pytest.raises(Unavailable, match="ends within its gzip data"):
        fetcher().get(f"{server.url}/broken")


def test_news_service_survives_a_hostile_feed_and_reads_the_next_one(server: LocalServer) -> None:
    """The source of the settings, with its thread: first bodies that ended it, then a sound feed."""
    bodies = [b"/dev/zero", b"<feed><entry><title>&#x110000;", b"\x1f\x8b broken", b"<rss>" * 3000]

    def respond(request: RecordedRequest) -> ServerResponse:
        if bodies:
            return 200, {}, bodies.pop(0)
        return 200, {}, FEED.format(title="Profits rise", link="").encode()

    server.responses["/feed"] = respond
    settings = load_settings(
        environment={
            "NEWS__FEED": "rss",
            "NEWS__POLL_INTERVAL_S": "0.02",
            "NEWS__RSS": f"{{urls: ['{server.url}/feed'], private_addresses: true}}",
        }
    )
    source = news_source(settings, list)
    assert isinstance(source, BackgroundPoller)
    headlines: list[str] = []

    def has_sound_headline() -> bool:
        headlines.extend(item.headline for item in source.poll() if type(item) is NewsItem)
        return "Profits rise" in headlines

    wait_for(has_sound_headline, "the headline of the sound feed")
    source.close()
