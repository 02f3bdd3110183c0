"""The dashboard's server between a browser and an API. The API is a small real server that returns what it receives."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from deploy.errors import DeployError
from deploy.local.dashboard_server import BODY_MAX_BYTES, create_app, make_app
from tests import http
from tests.app_server import AppServer


async def _echo(request: Request) -> Response:
    body = (await request.body()).decode()
    request_fields = {
        "path": request.scope["raw_path"].decode(),
        "query": request.url.query,
        "body": body,
        "headers": dict(request.headers),
    }
    headers = {"Retry-After": "7", "X-Request-ID": "r-1", "Set-Cookie": "a=b"}
    return JSONResponse({**request_fields, "method": request.method}, 418, headers)


async def _stream(browser: WebSocket) -> None:
    """Send the query string and echo each message. On "end", close with the code of an expired token."""
    await browser.accept()
    await browser.send_text(browser.url.query)
    while (text := await browser.receive_text()) != "end":
        await browser.send_text(text)
    await browser.close(4401, "the token has expired")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>the page</title>")
    (folder / "assets" / "index-abc.js").write_text("1")
    return folder


@pytest.fixture(scope="module")
def api() -> Iterator[AppServer]:
    methods = ["GET", "POST", "PATCH", "DELETE"]
    routes = [Route("/api/{path:path}", _echo, methods=methods), Route("/health", _echo)]
    served = AppServer(Starlette(routes=[*routes, WebSocketRoute("/api/v1/market/stream", _stream)]))
    yield served
    served.stop()


@pytest.fixture(scope="module")
def dashboard(bundle: Path, api: AppServer) -> Iterator[AppServer]:
    served = AppServer(make_app(bundle, f"http://{api.address}"))
    yield served
    served.stop()


@pytest.fixture(scope="module")
def dashboard_without_api(bundle: Path) -> Iterator[AppServer]:
    """A dashboard whose API is not reachable."""
    served = AppServer(make_app(bundle, "http://127.0.0.1:1"))
    yield served
    served.stop()


def test_the_page_is_revalidated_assets_are_cached_and_foreign_content_is_blocked(dashboard: AppServer) -> None:
    page = http.get(f"http://{dashboard.address}/")
    assert "the page" in page.text and page.headers["cache-control"] == "no-cache"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    asset = http.get(f"http://{dashboard.address}/assets/index-abc.js")
    assert "immutable" in asset.headers["cache-control"]
    missing = http.get(f"http://{dashboard.address}/assets/gone.js")
    assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-cache")
    assert http.get(f"http://{dashboard.address}/%2e%2e/%2e%2e/etc/passwd").status_code == 404


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_a_request_and_its_response_are_forwarded_unchanged(dashboard: AppServer, method: str) -> None:
    headers = {"Authorization": "Bearer t", "Idempotency-Key": "k", "Cookie": "c=d", "Origin": "http://elsewhere"}
    content = b"" if method == "GET" else b'{"a": 1}'
    response = http.request(
        method,
        f"http://{dashboard.address}/api/v1/orders/ord%2F1?limit=3&symbol=A%26B",
        headers=headers,
        content=content,
    )
    forwarded = response.json()
    assert (response.status_code, forwarded["method"], forwarded["body"]) == (418, method, content.decode())
    assert (forwarded["path"], forwarded["query"]) == ("/api/v1/orders/ord%2F1", "limit=3&symbol=A%26B")
    assert (forwarded["headers"]["authorization"], forwarded["headers"]["idempotency-key"]) == ("Bearer t", "k")
    assert forwarded["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert not {"cookie", "origin"} & forwarded["headers"].keys(), "cookies and origin are not forwarded"
    assert (response.headers["retry-after"], response.headers["x-request-id"]) == ("7", "r-1")
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(
    "path",
    [
        "/api/../metrics",
        "/api/v1/../../metrics",
        "/api/v1/%2e%2e/%2e%2e/metrics",
        "/api/v1/%2E%2E%2F%2E%2E%2Fmetrics",
        "/api/v1/%252e%252e/%252e%252e/metrics",
        "/api/v1/..%5c..%5cmetrics",
        "/api/v1/./orders",
        "/api/v1//orders",
        "/api/metrics",
        "/api/v2/orders",
        "/api/",
    ],
)
def test_dot_segments_and_unknown_prefixes_are_not_forwarded(dashboard: AppServer, path: str) -> None:
    # A client library would normalize the path, so send it as it is.
    host, port = dashboard.address.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: dashboard\r\nConnection: close\r\n\r\n".encode())
        response = b"".join(iter(lambda: client.recv(65_536), b"")).decode()
    assert response.startswith("HTTP/1.1 404"), response[:200]
    assert "418" not in response.split("\r\n")[0], "the API behind the dashboard answers 418"


def test_the_address_of_the_client_is_appended_to_the_proxies_in_front(dashboard: AppServer) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9, 10.0.0.5"}
    forwarded = http.get(f"http://{dashboard.address}/api/v1/orders", headers=headers).json()
    assert forwarded["headers"]["x-forwarded-for"] == "203.0.113.9, 10.0.0.5, 127.0.0.1"


def test_responses_have_security_headers(dashboard: AppServer) -> None:
    page = http.get(f"http://{dashboard.address}/").headers
    assert "frame-ancestors 'none'" in page["content-security-policy"] and page["x-frame-options"] == "DENY"
    assert page["x-content-type-options"] == "nosniff" and page["referrer-policy"] == "no-referrer"
    assert "strict-transport-security" not in page, "a browser would refuse http://127.0.0.1 for a year"
    assert http.get(f"http://{dashboard.address}/api/v1/orders").headers["cache-control"] == "no-store"
    behind_tls = http.get(f"http://{dashboard.address}/", headers={"X-Forwarded-Proto": "https"}).headers
    assert behind_tls["strict-transport-security"].startswith("max-age=")


def test_an_unreachable_api_and_an_oversized_body_are_one_sentence_problems(
    dashboard: AppServer, dashboard_without_api: AppServer
) -> None:
    unreachable = http.get(f"http://{dashboard_without_api.address}/api/v1/portfolio/state")
    assert unreachable.headers["content-type"] == "application/problem+json"
    assert (unreachable.status_code, unreachable.json()["detail"]) == (502, "The API is unavailable.")
    assert http.get(f"http://{dashboard_without_api.address}/").status_code == 200, "the page itself is served"
    too_long = http.post(f"http://{dashboard.address}/api/v1/orders", content=b"x" * (BODY_MAX_BYTES + 1))
    assert too_long.status_code == 413 and too_long.json()["status"] == 413


def test_a_stream_forwards_both_directions_and_its_close_code(dashboard: AppServer) -> None:
    with connect(f"ws://{dashboard.address}/api/v1/market/stream?symbols=AAPL") as stream:
        assert stream.recv(5) == "symbols=AAPL"
        stream.send("äöü")
        assert stream.recv(5) == "äöü"
        stream.send("end")
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(5)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "the token has expired")


@pytest.mark.parametrize("path", ["/api/v1/market/stream", "/api/v1/no/stream"])
def test_a_stream_without_an_api_is_closed_with_try_again_later(
    dashboard_without_api: AppServer, dashboard: AppServer, path: str
) -> None:
    served = dashboard_without_api if path.startswith("/api/v1/market") else dashboard
    with connect(f"ws://{served.address}{path}") as stream, pytest.raises(ConnectionClosed) as closed:
        stream.recv(5)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013


def test_the_server_names_its_missing_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLATFORM_DASHBOARD_BUNDLE", raising=False)
    monkeypatch.setenv("PLATFORM_API_URL", "http://127.0.0.1:8000")
    with pytest.raises(DeployError, match="requires PLATFORM_DASHBOARD_BUNDLE;"):
        create_app()
