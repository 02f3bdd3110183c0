"""Limits of requests on the real API process, with the options under which the platform starts it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from api import tokens
from api.accounts import Accounts
from api.request_limits import ANONYMOUS_BODY_MAX_BYTES, BODY_MAX_BYTES, HEADERS_MAX, JSON_DEPTH_MAX
from api.roles import Role
from deploy.home import REPOSITORY
from deploy.local.ports import free_ports
from deploy.supervisor.platform_services import api_service, child_environment
from sinks.database import open_engine
from tests import http
from tests.integration.api_users import PASSWORD, bearer

KEY = "the-signing-key-of-this-api-process"
CHUNK = b"x" * 65_536
MEGABYTE = 1_000_000


class ApiProcess(NamedTuple):
    port: int
    pid: int
    token: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def rss_bytes(self) -> int:
        match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert match is not None
        return int(match[1]) * 1024


@pytest.fixture(scope="module")
def api(database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    home, [port] = tmp_path_factory.mktemp("home"), free_ports(1)
    addresses = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    addresses |= {"API__COMMAND_RATE": "1000000/minute"}
    service = api_service(child_environment({**addresses, "API_JWT_KEY": KEY, "PLATFORM_HOME": str(home)}), port)
    with (home / "log").open("wb") as log:
        child = subprocess.Popen(service.command, cwd=REPOSITORY, env=dict(service.environment), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert child.poll() is None and time.monotonic() < deadline, (home / "log").read_text()[-2000:]
            try:
                http.get(f"http://127.0.0.1:{port}/openapi.json")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield ApiProcess(port, child.pid, _token(database_url, home))
    finally:
        child.terminate()
        child.wait(60)


def _token(database_url: str, home: Path) -> str:
    engine = open_engine(database_url)
    accounts = Accounts(engine, home / "secrets", access_s=900, refresh_s=9000)
    accounts.change_password("trader", accounts.add_user("trader", Role.TRADER), PASSWORD)
    token = tokens.sign(KEY, tokens.ACCESS, accounts.log_in("trader", PASSWORD).access)
    engine.dispose()
    return token


class Upload(NamedTuple):
    status: int
    head: str
    sent: int
    """Bytes of the body that the API accepted after its response."""


def _upload(api: ApiProcess, path: str, headers: str, *, chunked: bool, total: int = 400 * MEGABYTE) -> Upload:
    """Send the beginning of a body, read the response, and then try to send the rest."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {total}"
    head = f"POST {path} HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n{framing}\r\n{headers}\r\n"
    chunk = b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK) if chunked else CHUNK
    with socket.create_connection(("127.0.0.1", api.port), timeout=60) as client:
        client.sendall(head.encode() + chunk)
        for _ in range(4):  # more than any limit
            try:
                client.sendall(chunk)
            except OSError:
                break
        response = client.recv(65_536).decode("latin-1")
        sent = 0
        try:
            while sent < total:
                client.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass  # the API has closed the connection
    return Upload(int(response.split()[1]), response, sent)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "with its length"])
@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/v1/orders", 401), ("/api/v1/nothing", 401), ("/api/v1/auth/login", 413), ("/health", 413)],
)
def test_a_body_of_400_mb_without_a_token_is_refused_unread(
    api: ApiProcess, path: str, status: int, *, chunked: bool
) -> None:
    before = api.rss_bytes()
    upload = _upload(api, path, "", chunked=chunked)
    assert upload.status == status, upload.head
    assert "connection: close" in upload.head.lower() and "application/problem+json" in upload.head
    assert upload.sent < 20 * MEGABYTE, "the buffers of the operating system hold a few megabytes"
    assert api.rss_bytes() - before < 30 * MEGABYTE


def test_a_forged_token_does_not_open_the_body(api: ApiProcess) -> None:
    forged = tokens.sign("another-key-of-more-than-32-characters", tokens.ACCESS, _some_token())
    assert _upload(api, "/api/v1/orders", f"Authorization: Bearer {forged}\r\n", chunked=True).status == 401
    refresh = tokens.sign(KEY, tokens.REFRESH, _some_token())
    assert _upload(api, "/api/v1/orders", f"Authorization: Bearer {refresh}\r\n", chunked=True).status == 401


def _some_token() -> tokens.Token:
    return tokens.Token(
        username="trader",
        role="trader",
        must_change_password=False,
        version=1,
        token_id="t",
        session_id="s",
        expires_at=int(time.time()) + 900,
    )


def test_a_body_with_a_token_is_read_up_to_the_limit(api: ApiProcess) -> None:
    before = api.rss_bytes()
    for chunked in (True, False):
        headers = f"Authorization: Bearer {api.token}\r\n"
        assert _upload(api, "/api/v1/orders", headers, chunked=chunked).status == 413
    assert api.rss_bytes() - before < 30 * MEGABYTE
    order = {"symbol": "AAPL", "side": "BUY", "quantity": 0}
    with http.client(base_url=api.url, headers=bearer(api.token)) as client:
        padding = b" " * (BODY_MAX_BYTES - len(json.dumps(order)))
        assert client.post("/api/v1/orders", content=json.dumps(order).encode() + padding).status_code == 422
        too_long = client.post("/api/v1/orders", content=json.dumps(order).encode() + padding + b" ")
        assert too_long.status_code == 413 and "65,536 bytes" in too_long.json()["detail"]
        assert client.post("/api/v1/auth/login", content=b" " * ANONYMOUS_BODY_MAX_BYTES).status_code == 422
        assert client.post("/api/v1/auth/login", content=b" " * (ANONYMOUS_BODY_MAX_BYTES + 1)).status_code == 413


@pytest.mark.parametrize("body", [b"[" * 30_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b'{"reason":' + b"[" * 25])
def test_deep_json_is_a_bad_request(api: ApiProcess, body: bytes) -> None:
    response = http.post(f"{api.url}/api/v1/orders", content=body, headers=bearer(api.token))
    assert (response.status_code, response.headers["content-type"]) == (400, "application/problem+json")
    assert response.json()["detail"] == f"The JSON body is nested deeper than {JSON_DEPTH_MAX} levels."


def test_too_many_and_too_large_headers_and_targets_are_refused(api: ApiProcess) -> None:
    with http.client(base_url=api.url) as client:
        many = client.get("/health", headers={f"x-{number}": "1" for number in range(HEADERS_MAX + 1)})
        assert many.status_code == 431
        assert client.get("/health", headers={"x-long": "a" * 20_000}).status_code == 431
        assert client.get("/health?a=" + "a" * 9_000).status_code == 414
    with socket.create_connection(("127.0.0.1", api.port), timeout=60) as endless:
        sent = 0
        try:
            endless.sendall(b"GET / HTTP/1.1\r\nHost: api\r\n")
            while sent < 100 * MEGABYTE:
                endless.sendall(b"x: " + b"a" * 65_536)
                sent += 65_539
        except OSError:
            pass  # the server has closed the connection
    assert sent < 20 * MEGABYTE


def test_a_large_message_on_a_stream_closes_it(api: ApiProcess) -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{api.port}/api/v1/market/stream") as stream:
        stream.send("a" * 70_000)
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(30)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_the_process_does_not_trust_forwarded_addresses(api: ApiProcess) -> None:
    """uvicorn would trust `X-Forwarded-For` from this machine by default."""
    for headers in ({"X-Forwarded-For": "unknown"}, {"X-Forwarded-For": "127.0.0.1"}, {}):
        assert http.get(f"{api.url}/metrics", headers=headers).status_code == 401
    assert "server" not in http.get(f"{api.url}/openapi.json").headers


def test_waiting_log_ins_do_not_delay_other_requests(api: ApiProcess) -> None:
    """60 log-ins at once: as many as fit are checked, the rest is refused at once, and reads are answered meanwhile.

    A read that is answered while log-ins are still waiting shows that it did not wait behind them.
    """
    import asyncio

    async def run() -> tuple[list[int], int]:
        async with http.async_client(base_url=api.url, limits=httpx.Limits(max_connections=100)) as client:
            guesses = [
                asyncio.create_task(client.post("/api/v1/auth/login", json={"username": f"u{n}", "password": "x"}))
                for n in range(60)
            ]
            answered_meanwhile = 0
            while not all(guess.done() for guess in guesses):
                response = await client.get("/api/v1/auth/me", headers=bearer(api.token))
                assert response.status_code == 200
                answered_meanwhile += any(not guess.done() for guess in guesses)
                await asyncio.sleep(0.01)
            return [guess.result().status_code for guess in guesses], answered_meanwhile

    statuses, answered_meanwhile = asyncio.run(run())
    assert set(statuses) <= {401, 429, 503} and 503 in statuses
    assert answered_meanwhile >= 3
