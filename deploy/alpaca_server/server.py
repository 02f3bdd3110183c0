"""The server, as a process or thread: one event loop with the broker and its routes on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from deploy.alpaca_server import account_store, routes, sockets
from deploy.alpaca_server.broker import LocalBroker
from deploy.alpaca_server.market import LocalMarket

LOCAL_KEY, LOCAL_SECRET = "local", "local"  # paper trading on loopback only; pragma: allowlist secret
ACCOUNT = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of the local broker.

    With `seed` None, prices are only set from outside. `bar_interval_s` is 60 at Alpaca; tests use shorter bars.
    `account_file` stores the account between restarts. `pattern_day_trading` applies FINRA's rule on day trades, which
    was in force until June 2026, below 25,000 USD of equity.
    """

    port: int
    symbols: tuple[str, ...] = ("AAPL", "MSFT", "NVDA", "SPY", "TSLA")
    seed: int | None = 7
    bar_interval_s: int = 60
    step_s: float = 0.5
    cash: Decimal = Decimal(1_000_000)
    key: str = LOCAL_KEY
    secret: str = LOCAL_SECRET
    requests_per_minute: int = 200
    account_file: Path | None = None
    pattern_day_trading: bool = True


def make_broker(settings: ServerSettings) -> LocalBroker:
    market = LocalMarket(settings.symbols, settings.seed, settings.bar_interval_s)
    broker = LocalBroker(
        market,
        key=settings.key,
        secret=settings.secret,
        account_id=ACCOUNT,
        requests_per_minute=settings.requests_per_minute,
    )
    broker.book.cash = settings.cash
    broker.book.day_trades.is_enabled = settings.pattern_day_trading
    broker.account_file = settings.account_file
    if settings.account_file is not None:
        account_store.load_account(broker.book, settings.account_file)
    for symbol in settings.symbols:
        price = market.price(symbol, time.time_ns())
        broker.book.list_asset(symbol, Decimal(str(price)) if price is not None else Decimal(100))
    return broker


class AlpacaServer:
    """The server. `run` blocks until SIGINT or SIGTERM; as a context manager, it serves from its own thread."""

    def __init__(self, settings: ServerSettings, broker: LocalBroker | None = None) -> None:
        """With `broker`, continue with the account of an earlier server, as after an outage of the broker."""
        self.broker = make_broker(settings) if broker is None else broker
        self.url = f"http://127.0.0.1:{settings.port}"
        app = Starlette(
            routes=[*routes.routes(self.broker), *sockets.routes(self.broker)],
            exception_handlers={HTTPException: routes.unknown_endpoint},
            lifespan=self._lifespan,
        )
        self._step_s = settings.step_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=settings.port,
                log_level="warning",
                timeout_graceful_shutdown=1,
                ws_ping_interval=None,
            )
        )
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        market = self._loop.create_task(self.broker.run_market(self._step_s))
        yield
        market.cancel()
        self.broker.save_account()

    def run(self) -> None:
        self._uvicorn.run()

    def __enter__(self) -> AlpacaServer:
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._uvicorn.started:
            assert time.monotonic() < deadline, f"the local broker did not start at {self.url} within 10 s"
            time.sleep(0.01)
        return self

    def __exit__(self, *_error: object) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(10)

    def run_coroutine(self, coroutine: Any) -> Any:
        """Run a coroutine on the event loop of the broker, from another thread, and wait for its result."""
        assert self._loop is not None, "the server is not running"
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)
