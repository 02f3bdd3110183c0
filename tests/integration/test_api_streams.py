"""WebSockets on a real server and Redis: message shapes, filters, authentication, slow clients and Redis outages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from api.app import create_app
from api.roles import Role
from api.stream_hub import QUEUED_MESSAGES_MAX
from configs.settings import Settings, load_settings
from deploy.home import Home
from deploy.local.ports import Ports
from deploy.local.stack import ServiceStack, running_stack
from schemas.records import Position, Record
from sinks.redis import LatestWriter
from tests.app_server import AppServer
from tests.builders import bar, position, valuation
from tests.integration.api_users import token_of

MINUTE = 60_000_000_000
T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z
D = Decimal


class ApiServer(AppServer):
    def __init__(self, app: FastAPI) -> None:
        super().__init__(app)
        self.app = app

    def wait_until_subscribed(self) -> None:
        """Wait until Redis delivers to this process. Redis does not deliver earlier messages."""
        deadline = time.monotonic() + 60
        while not self.app.state.resources.hub.subscribed.is_set():
            assert time.monotonic() < deadline, "no subscription"
            time.sleep(0.02)

    def wait_until_filtered(self, symbols: set[str]) -> None:
        """Wait until a client receives exactly these symbols."""
        deadline = time.monotonic() + 60
        while all(client.symbols != symbols for client in list(self.app.state.resources.hub._clients)):
            assert time.monotonic() < deadline, "no client with these symbols"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServiceStack, str]]:
    """A Redis that the test may stop without effect on other tests."""
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    home = Home(tmp_path_factory.mktemp("redis"))
    with running_stack(home, Ports.free(), lambda line: None, environ=environment) as stack:
        yield stack, stack.endpoints.redis_url


@pytest.fixture(scope="module")
def settings(database_url: str, own_redis: tuple[ServiceStack, str]) -> Settings:
    environment = {"DATABASE_URL": database_url, "REDIS_URL": own_redis[1], "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    environment |= {"API__STREAM_RATE": "1000/minute", "API__LOGIN_RATE": "1000/minute"}
    return load_settings(environment=environment)


@pytest.fixture(scope="module")
def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    running = ApiServer(create_app(settings, home=tmp_path_factory.mktemp("home")))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def token(server: ApiServer) -> str:
    return token_of(server.app, Role.VIEWER)


@pytest.fixture
def publish(settings: Settings) -> Iterator[Callable[..., None]]:
    """Write records to Redis as the dataflows do."""
    writer = LatestWriter(settings.database.redis.url)

    def put(*records: Record) -> None:
        for record in records:  # one by one: of a batch, the writer publishes only the newest value of each key
            writer.put([record])
            assert writer.flush(20)

    yield put
    writer.close()


@asynccontextmanager
async def open_stream(server: ApiServer, stream: str, query: str = "") -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{server.address}/api/v1/{stream}/stream{query}") as client:
        if "token=" in query:
            # The server answers a ping after it has processed the connection, so the client is subscribed now.
            with contextlib.suppress(ConnectionClosed):
                await (await client.ping())
        yield client


async def _next(client: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(client.recv(), 60))


async def _wait_closed(client: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed):
        while True:
            await asyncio.wait_for(client.recv(), 60)
    return client.close_code or 0, client.close_reason or ""


def _position(seq: int, symbol: str, quantity: str, price: str = "150.25") -> Position:
    return position(seq, T0 + seq * MINUTE, symbol, quantity, price, fees=1)


def _open_streams(server: ApiServer) -> int:
    return int(server.app.state.resources.registry.get_sample_value("platform_api_streams"))


def _wait_for_clients(server: ApiServer, count: int) -> None:
    deadline = time.monotonic() + 60
    while _open_streams(server) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_price_messages_have_the_fields_of_the_brief(
    server: ApiServer, token: str, publish: Callable[..., None]
) -> None:
    async def run() -> Any:
        async with open_stream(server, "market", f"?token={token}") as client:
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(publish, bar("SHAPE", 1, T0, 150.25))
            return await _next(client)

    message = asyncio.run(run())
    example = {"symbol": "SHAPE", "price": 150.25, "volume": 1000.0, "timestamp": "2024-01-15T10:30:00Z"}
    assert example.items() <= message.items()


def test_portfolio_messages_have_the_fields_of_the_brief(
    server: ApiServer, token: str, publish: Callable[..., None]
) -> None:
    newest = valuation(1, T0, 1_050_000, cash=50_000, gross_exposure=1, unrealized_pnl="500.5", fees=3)

    async def run() -> list[Any]:
        async with open_stream(server, "portfolio", f"?token={token}") as client:
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(publish, _position(1, "PORT", "200"), newest)
            return [await _next(client), await _next(client)]

    position_update, valuation_update = asyncio.run(run())
    example = {"type": "position_update", "symbol": "PORT", "new_quantity": 200, "new_value": 30050}
    assert example.items() <= position_update.items()
    assert valuation_update["type"] == "valuation_update"
    assert (valuation_update["total_value"], valuation_update["unrealized_pnl"]) == (1_050_000, 500.5)


def test_a_stream_delivers_only_the_subscribed_symbols(
    server: ApiServer, token: str, publish: Callable[..., None]
) -> None:
    async def run() -> list[str]:
        symbols: list[str] = []
        async with open_stream(server, "market", f"?token={token}&symbols=F1,F2") as client:
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(publish, bar("F3", 1, T0), bar("F1", 1, T0), bar("F2", 1, T0))
            symbols += [(await _next(client))["symbol"], (await _next(client))["symbol"]]
            await client.send('{"action": "unsubscribe", "symbols": ["F1"]}')
            await client.send('{"action": "subscribe", "symbols": ["F3"]}')
            await asyncio.to_thread(server.wait_until_filtered, {"F2", "F3"})
            await asyncio.to_thread(publish, bar("F1", 2, T0 + MINUTE), bar("F3", 2, T0 + MINUTE))
            symbols.append((await _next(client))["symbol"])
        return symbols

    assert asyncio.run(run()) == ["F1", "F2", "F3"]


@pytest.mark.parametrize(
    ("query", "first", "code", "expected_text"),
    [
        ("?token=nonsense", None, 4401, "invalid"),
        ("?token=", None, 4401, "log in"),
        ("", '{"type": "auth", "token": "nonsense"}', 4401, "invalid"),
        ("", '{"hello": 1}', 4401, "first message"),
        ("", "[" * 100_000, 1003, "JSON"),
        ("", b"\x00", 1003, "text"),
        ("?token={token}", "what?", 1003, "JSON object"),
        ("?token={token}", '{"action": "dance", "symbols": []}', 1003, "subscribe"),
    ],
)
def test_a_rejected_client_gets_a_close_code_and_reason(
    server: ApiServer, token: str, query: str, first: str | bytes | None, code: int, expected_text: str
) -> None:
    async def run() -> tuple[int, str]:
        async with open_stream(server, "market", query.format(token=token)) as client:
            if first is not None:
                await client.send(first)
            return await _wait_closed(client)

    close_code, reason = asyncio.run(run())
    assert close_code == code and expected_text in reason, (close_code, reason)


def test_the_token_may_come_as_the_first_message(server: ApiServer, token: str, publish: Callable[..., None]) -> None:
    async def run() -> Any:
        async with open_stream(server, "market") as client:
            await client.send(json.dumps({"type": "auth", "token": token}))
            await asyncio.to_thread(_wait_for_clients, server, 1)
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(publish, bar("FIRST", 1, T0))
            return await _next(client)

    assert asyncio.run(run())["symbol"] == "FIRST"


def test_a_stream_ends_when_its_user_is_disabled(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.routers.streams.REVALIDATE_S", 0.2)
    token = token_of(server.app, Role.VIEWER, "watched")

    async def run() -> tuple[int, str]:
        async with open_stream(server, "market", f"?token={token}") as client:
            accounts = server.app.state.resources.accounts
            await asyncio.to_thread(accounts.change_user, "watched", role=None, disabled=True, by="the-admin")
            return await _wait_closed(client)

    assert asyncio.run(run())[0] == 4401


def test_a_slow_client_is_disconnected_and_others_get_every_message(
    server: ApiServer, token: str, settings: Settings
) -> None:
    """The queue of each client is bounded, so memory does not grow. A client with a full queue is disconnected."""
    count = 40 * QUEUED_MESSAGES_MAX
    body = json.dumps(bar("SLOW" * 250, 1, T0)._asdict())

    def flood() -> None:
        client = server.app.state.resources.redis
        for start in range(0, count, 64):
            with client.pipeline(transaction=False) as pipeline:
                for _ in range(start, min(start + 64, count)):
                    pipeline.publish("updates:bars", body)
                pipeline.execute()
            time.sleep(0.004)  # the fast client must be able to keep up

    async def run() -> tuple[int, int]:
        address = f"ws://{server.address}/api/v1/market/stream?token={token}"
        # With the default buffers, the kernel would hold megabytes before the server detects the slow client.
        small_buffer_socket = socket.socket()
        small_buffer_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        small_buffer_socket.connect((server.address.split(":")[0], int(server.address.split(":")[1])))
        slow = await connect(address, max_queue=1, compression=None, sock=small_buffer_socket)
        await (await slow.ping())
        slow.transport.pause_reading()
        async with connect(address, max_queue=None) as fast:
            await (await fast.ping())
            await asyncio.to_thread(_wait_for_clients, server, 2)
            await asyncio.to_thread(server.wait_until_subscribed)
            flooding = asyncio.create_task(asyncio.to_thread(flood))
            received = 0
            while received < count:
                await asyncio.wait_for(fast.recv(), 20)
                received += 1
            await flooding
            clients_left = _open_streams(server)
        slow.transport.abort()
        return received, clients_left

    assert asyncio.run(run()) == (count, 1)
    dropped = server.app.state.resources.registry.get_sample_value("platform_api_streams_dropped_total")
    assert dropped == 1


def test_streams_resume_after_a_redis_restart(
    server: ApiServer, token: str, own_redis: tuple[ServiceStack, str], publish: Callable[..., None]
) -> None:
    stack, _ = own_redis
    hub = server.app.state.resources.hub

    async def run() -> Any:
        async with open_stream(server, "market", f"?token={token}") as client:
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(stack.stop_one, "redis")
            deadline = time.monotonic() + 60
            while hub.subscribed.is_set():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            await asyncio.to_thread(stack.start_one, "redis")
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(publish, bar("BACK", 1, T0))
            return await _next(client)

    assert asyncio.run(run())["symbol"] == "BACK"


def test_the_number_of_open_streams_is_limited(settings: Settings, tmp_path: Path) -> None:
    limited = settings.model_copy(update={"api": settings.api.model_copy(update={"streams_max": 1})})
    server = ApiServer(create_app(limited, home=tmp_path))

    async def run() -> tuple[int, str]:
        token = await asyncio.to_thread(token_of, server.app, Role.VIEWER)
        async with open_stream(server, "market", f"?token={token}"):
            await asyncio.to_thread(_wait_for_clients, server, 1)
            async with open_stream(server, "market", f"?token={token}") as second:
                return await _wait_closed(second)

    try:
        assert asyncio.run(run())[0] == 1013
    finally:
        server.stop()
