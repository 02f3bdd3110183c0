"""The dashboard's server between a browser and an API: both are real, the API is a small one that tells what it got."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from deploy.errors import DeployError
from deploy.local.dashboard_server import BODY_MAX_BYTES, create_app, make_app


class Served:
    """An application on a port of its own."""

    def __init__(self, app: Starlette) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.02)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()


async def _echo(request: Request) -> Response:
    body = (await request.body()).decode()
    told = {
        "path": request.scope["raw_path"].decode(),
        "query": request.url.query,
        "body": body,
        "headers": dict(request.headers),
    }
    headers = {"Retry-After": "7", "X-Request-ID": "r-1", "Set-Cookie": "a=b"}
    return JSONResponse({**told, "method": request.method}, 418, headers)


async def _stream(browser: WebSocket) -> None:
    """Says what it hears, and its query; ends when it is told with the code of an expired token."""
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
def api() -> Iterator[Served]:
    methods = ["GET", "POST", "PATCH", "DELETE"]
    routes = [Route("/api/{path:path}", _echo, methods=methods), Route("/health", _echo)]
    served = Served(Starlette(routes=[*routes, WebSocketRoute("/api/v1/market/stream", _stream)]))
    yield served
    served.stop()


@pytest.fixture(scope="module")
def dashboard(bundle: Path, api: Served) -> Iterator[Served]:
    served = Served(make_app(bundle, f"http://{api.address}"))
    yield served
    served.stop()


@pytest.fixture(scope="module")
def alone(bundle: Path) -> Iterator[Served]:
    """Its API is away."""
    served = Served(make_app(bundle, "http://127.0.0.1:1"))
    yield served
    served.stop()


def test_the_page_is_asked_for_anew_what_it_names_is_kept_and_nothing_comes_from_elsewhere(dashboard: Served) -> None:
    page = httpx.get(f"http://{dashboard.address}/")
    assert "the page" in page.text and page.headers["cache-control"] == "no-cache"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    asset = httpx.get(f"http://{dashboard.address}/assets/index-abc.js")
    assert "immutable" in asset.headers["cache-control"]
    missing = httpx.get(f"http://{dashboard.address}/assets/gone.js")
    assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-cache")
    assert httpx.get(f"http://{dashboard.address}/%2e%2e/%2e%2e/etc/passwd").status_code == 404


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_a_request_goes_on_as_it_is_and_the_answer_comes_back_as_it_is(dashboard: Served, method: str) -> None:
    given = {"Authorization": "Bearer t", "Idempotency-Key": "k", "Cookie": "c=d", "Origin": "http://elsewhere"}
    content = b"" if method == "GET" else b'{"a": 1}'
    answer = httpx.request(
        method, f"http://{dashboard.address}/api/v1/orders/ord%2F1?limit=3&symbol=A%26B", headers=given, content=content
    )
    told = answer.json()
    assert (answer.status_code, told["method"], told["body"]) == (418, method, content.decode())
    assert (told["path"], told["query"]) == ("/api/v1/orders/ord%2F1", "limit=3&symbol=A%26B")
    assert (told["headers"]["authorization"], told["headers"]["idempotency-key"]) == ("Bearer t", "k")
    assert told["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert not {"cookie", "origin"} & told["headers"].keys(), "nothing that the API is not asked with"
    assert (answer.headers["retry-after"], answer.headers["x-request-id"]) == ("7", "r-1")
    assert "set-cookie" not in answer.headers


def test_an_api_that_is_away_and_a_body_without_end_are_problems_of_one_sentence(
    dashboard: Served, alone: Served
) -> None:
    away = httpx.get(f"http://{alone.address}/api/v1/portfolio/state")
    assert away.headers["content-type"] == "application/problem+json"
    assert (away.status_code, away.json()["detail"]) == (502, "The API does not answer.")
    assert httpx.get(f"http://{alone.address}/").status_code == 200, "the page itself is there"
    long = httpx.post(f"http://{dashboard.address}/api/v1/orders", content=b"x" * (BODY_MAX_BYTES + 1))
    assert long.status_code == 413 and long.json()["status"] == 413


def test_a_stream_goes_both_ways_and_its_close_code_arrives(dashboard: Served) -> None:
    with connect(f"ws://{dashboard.address}/api/v1/market/stream?symbols=AAPL") as socket:
        assert socket.recv(5) == "symbols=AAPL"
        socket.send("äöü")
        assert socket.recv(5) == "äöü"
        socket.send("end")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(5)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "the token has expired")


@pytest.mark.parametrize("path", ["/api/v1/market/stream", "/api/v1/no/stream"])
def test_a_stream_without_an_api_says_to_come_back(alone: Served, dashboard: Served, path: str) -> None:
    served = alone if path.startswith("/api/v1/market") else dashboard
    with connect(f"ws://{served.address}{path}") as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(5)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013


def test_without_its_addresses_the_server_says_which_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLATFORM_DASHBOARD_BUNDLE", raising=False)
    monkeypatch.setenv("PLATFORM_API_URL", "http://127.0.0.1:8000")
    with pytest.raises(DeployError, match="needs PLATFORM_DASHBOARD_BUNDLE;"):
        create_app()
