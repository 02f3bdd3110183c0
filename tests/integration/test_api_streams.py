"""WebSockets on a real server and a real Redis: shapes, filters, who gets in, slow clients, Redis gone and back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from api.app import create_app
from api.roles import Role
from api.stream_hub import BEHIND_MAX
from configs.settings import Settings, load_settings
from deploy.home import Home
from deploy.local.endpoints import Ports
from deploy.local.stack import Stack, running_stack
from schemas.records import Position, Record, Valuation
from sinks.redis import LatestWriter
from tests.integration.api_people import token_of
from tests.unit.builders import bar

MINUTE = 60_000_000_000
T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z
D = Decimal


class Server:
    """The API on a port of its own, as `start` runs it."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
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
        assert not self._thread.is_alive(), "a stream outlives its server"

    def wait_until_subscribed(self) -> None:
        """Until Redis delivers to this process: what is published before is nobody's."""
        deadline = time.monotonic() + 15
        while not self.app.state.resources.hub.subscribed.is_set():
            assert time.monotonic() < deadline, "no subscription"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    """A Redis that may be stopped: other tests do not see it."""
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    home = Home(tmp_path_factory.mktemp("redis"))
    with running_stack(home, Ports.free(), lambda line: None, environ=environment) as stack:
        yield stack, stack.endpoints.redis_url


@pytest.fixture(scope="module")
def settings(database_url: str, own_redis: tuple[Stack, str]) -> Settings:
    environment = {"DATABASE_URL": database_url, "REDIS_URL": own_redis[1], "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    environment |= {"API__STREAM_RATE": "1000/minute", "API__LOGIN_RATE": "1000/minute"}
    return load_settings(environment=environment)


@pytest.fixture(scope="module")
def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(create_app(settings, home=tmp_path_factory.mktemp("home")))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    return token_of(server.app, Role.VIEWER)


@pytest.fixture
def publish(settings: Settings) -> Iterator[Callable[..., None]]:
    """Write records to Redis as the dataflows do."""
    writer = LatestWriter(settings.database.redis.url)

    def put(*records: Record) -> None:
        for record in records:  # one by one: of a batch only the newest of a key would be published
            writer.put([record])
            assert writer.flush(20)

    yield put
    writer.close()


@asynccontextmanager
async def opened(server: Server, stream: str, query: str = "") -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{server.address}/api/v1/{stream}/stream{query}") as client:
        if "token=" in query:
            # A ping is answered in order: behind it the client has been let in.
            with contextlib.suppress(ConnectionClosed):
                await (await client.ping())
        yield client


async def _next(client: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(client.recv(), 15))


async def _closed(client: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed):
        while True:
            await asyncio.wait_for(client.recv(), 20)
    return client.close_code or 0, client.close_reason or ""


def _position(seq: int, symbol: str, quantity: str, price: str = "150.25") -> Position:
    size, at = D(quantity), D(price)
    return Position(seq, T0 + seq * MINUTE, symbol, size, at, size * at, D(0), D(1), f"exe-{seq}")


def _until_joined(server: Server, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(server.app.state.resources.hub._clients) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_prices_come_in_the_briefs_shape(server: Server, token: str, publish: Callable[..., None]) -> None:
    async def run() -> Any:
        async with opened(server, "market", f"?token={token}") as client:
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(publish, bar("SHAPE", 1, T0, 150.25))
            return await _next(client)

    shown = asyncio.run(run())
    example = {"symbol": "SHAPE", "price": 150.25, "volume": 1000.0, "timestamp": "2024-01-15T10:30:00Z"}
    assert example.items() <= shown.items()


def test_the_portfolio_comes_in_the_briefs_shape(server: Server, token: str, publish: Callable[..., None]) -> None:
    money = [D(1_050_000), D(50_000), D(1), D(1), D("500.5"), D(0), D(3)]

    async def run() -> list[Any]:
        async with opened(server, "portfolio", f"?token={token}") as client:
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(publish, _position(1, "PORT", "200"), Valuation._make((1, T0, *money, 1)))
            return [await _next(client), await _next(client)]

    position, valuation = asyncio.run(run())
    example = {"type": "position_update", "symbol": "PORT", "new_quantity": 200, "new_value": 30050}
    assert example.items() <= position.items()
    assert valuation["type"] == "valuation_update"
    assert (valuation["total_value"], valuation["unrealized_pnl"]) == (1_050_000, 500.5)


def test_only_the_symbols_asked_for_and_changed_on_the_way(
    server: Server, token: str, publish: Callable[..., None]
) -> None:
    async def run() -> list[str]:
        seen: list[str] = []
        async with opened(server, "market", f"?token={token}&symbols=F1,F2") as client:
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(publish, bar("F3", 1, T0), bar("F1", 1, T0), bar("F2", 1, T0))
            seen += [(await _next(client))["symbol"], (await _next(client))["symbol"]]
            await client.send('{"action": "unsubscribe", "symbols": ["F1"]}')
            await client.send('{"action": "subscribe", "symbols": ["F3"]}')
            await (await client.ping())
            await asyncio.sleep(0.3)
            await asyncio.to_thread(publish, bar("F1", 2, T0 + MINUTE), bar("F3", 2, T0 + MINUTE))
            seen.append((await _next(client))["symbol"])
        return seen

    assert asyncio.run(run()) == ["F1", "F2", "F3"]


@pytest.mark.parametrize(
    ("query", "first", "code", "words"),
    [
        ("?token=nonsense", None, 4401, "not valid"),
        ("?token=", None, 4401, "log in"),
        ("", '{"type": "auth", "token": "nonsense"}', 4401, "not valid"),
        ("", '{"hello": 1}', 4401, "first message"),
        ("", "[" * 100_000, 1003, "JSON"),
        ("", b"\x00", 1003, "text"),
        ("?token={token}", "what?", 1003, "JSON objects"),
        ("?token={token}", '{"action": "dance", "symbols": []}', 1003, "subscribe"),
    ],
)
def test_who_does_not_belong_here_is_told_why(
    server: Server, token: str, query: str, first: str | bytes | None, code: int, words: str
) -> None:
    async def run() -> tuple[int, str]:
        async with opened(server, "market", query.format(token=token)) as client:
            if first is not None:
                await client.send(first)
            return await _closed(client)

    found, reason = asyncio.run(run())
    assert found == code and words in reason, (found, reason)


def test_the_token_may_come_as_the_first_message(server: Server, token: str, publish: Callable[..., None]) -> None:
    async def run() -> Any:
        async with opened(server, "market") as client:
            await client.send(json.dumps({"type": "auth", "token": token}))
            await asyncio.to_thread(_until_joined, server, 1)
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(publish, bar("FIRST", 1, T0))
            return await _next(client)

    assert asyncio.run(run())["symbol"] == "FIRST"


def test_a_stream_ends_when_its_user_is_shut_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.routers.streams.LOOK_AGAIN_S", 0.2)
    token = token_of(server.app, Role.VIEWER, "watched")

    async def run() -> tuple[int, str]:
        async with opened(server, "market", f"?token={token}") as client:
            accounts = server.app.state.resources.accounts
            await asyncio.to_thread(accounts.change_user, "watched", role=None, disabled=True, by="the-admin")
            return await _closed(client)

    assert asyncio.run(run())[0] == 4401


def test_a_client_that_does_not_read_is_let_go_and_the_others_get_everything(
    server: Server, token: str, settings: Settings
) -> None:
    """Memory does not grow with what it does not read: the queue is bounded, then it is out."""
    hub = server.app.state.resources.hub
    count = 40 * BEHIND_MAX
    body = json.dumps(bar("SLOW" * 250, 1, T0)._asdict())

    def flood() -> None:
        client = server.app.state.resources.redis
        for start in range(0, count, 64):
            with client.pipeline(transaction=False) as pipeline:
                for _ in range(start, min(start + 64, count)):
                    pipeline.publish("updates:bars", body)
                pipeline.execute()
            time.sleep(0.004)  # the reader must be able to keep up

    async def run() -> tuple[int, int]:
        address = f"ws://{server.address}/api/v1/market/stream?token={token}"
        # The kernel would take megabytes for it before anybody noticed that it does not read.
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        narrow.connect((server.address.split(":")[0], int(server.address.split(":")[1])))
        slow = await connect(address, max_queue=1, compression=None, sock=narrow)
        await (await slow.ping())
        slow.transport.pause_reading()
        async with connect(address, max_queue=None) as quick:
            await (await quick.ping())
            await asyncio.to_thread(_until_joined, server, 2)
            await asyncio.to_thread(server.wait_until_subscribed)
            flooding = asyncio.create_task(asyncio.to_thread(flood))
            got = 0
            while got < count:
                await asyncio.wait_for(quick.recv(), 20)
                got += 1
            await flooding
            left = len(hub._clients)
        slow.transport.abort()
        return got, left

    assert asyncio.run(run()) == (count, 1)
    dropped = server.app.state.resources.registry.get_sample_value("platform_api_streams_dropped_total")
    assert dropped == 1


def test_streams_go_on_after_redis_was_restarted(
    server: Server, token: str, own_redis: tuple[Stack, str], publish: Callable[..., None]
) -> None:
    stack, _ = own_redis
    hub = server.app.state.resources.hub

    async def run() -> Any:
        async with opened(server, "market", f"?token={token}") as client:
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(stack.stop_one, "redis")
            deadline = time.monotonic() + 10
            while hub.subscribed.is_set():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            await asyncio.to_thread(stack.start_one, "redis")
            await asyncio.to_thread(server.wait_until_subscribed)
            await asyncio.to_thread(publish, bar("BACK", 1, T0))
            return await _next(client)

    assert asyncio.run(run())["symbol"] == "BACK"


def test_there_is_a_bound_on_open_streams(settings: Settings, tmp_path: Path) -> None:
    few = settings.model_copy(update={"api": settings.api.model_copy(update={"streams_max": 1})})
    server = Server(create_app(few, home=tmp_path))

    async def run() -> tuple[int, str]:
        token = await asyncio.to_thread(token_of, server.app, Role.VIEWER)
        async with opened(server, "market", f"?token={token}"), opened(server, "market", f"?token={token}") as second:
            return await _closed(second)

    try:
        assert asyncio.run(run())[0] == 1013
    finally:
        server.stop()
