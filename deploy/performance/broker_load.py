"""Measure how long requests take to a local broker, on a temporary platform with a live feed at a fixed load."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import httpx

from dataflows.runtime.topology import Layout
from deploy.alpaca_server import AlpacaServer, ServerSettings
from deploy.alpaca_server.market import BarRow
from deploy.errors import DeployError
from deploy.home import Home
from deploy.local.ports import free_ports
from deploy.performance import bar_orders
from deploy.performance.broker_latency import BrokerLatency, due_times_ns, last_arrival, latency
from deploy.testing.temporary_platform import TemporaryPlatform, run_temporary_platform

SECOND_NS = 10**9
ORDERS_PER_SECOND, CANCEL_AFTER_S, SETTLE_S = 1.0, 2.5, 5.0
READY_TIMEOUT_S = 300.0
_TERMS = {"symbol": bar_orders.SYMBOL, "side": "BUY", "quantity": "1", "order_type": "LIMIT", "time_in_force": "GTC"}
_PRICE = 100.0


def measure_broker_latency(symbol_count: int, seconds: int, layout: Layout = Layout.SERVICES) -> list[BrokerLatency]:
    """Measure with one bar per symbol and second. Raises DeployError if the platform does not start or trade."""
    symbols = tuple(f"S{number:04d}" for number in range(symbol_count))
    settings = ServerSettings(
        port=free_ports(1)[0],
        symbols=symbols,
        seed=None,
        bar_interval_s=1,
        cash=Decimal(1_000_000),
        requests_per_minute=1_000_000,
        pattern_day_trading=False,
    )
    with AlpacaServer(settings) as server, _bars(server, symbols), _platform(server, symbols, layout) as platform:
        with _api(platform) as api:
            run = _Load(server, api)
            run.wait_until_ready()
            run.send(seconds)
        return run.latencies(platform.home)


class _Load:
    """The requests of one run: when each was due, by the id of its order."""

    def __init__(self, server: AlpacaServer, api: httpx.Client) -> None:
        self._server, self._api = server, api
        self._orders_due: dict[str, int] = {}
        self._cancels_due: dict[str, int] = {}
        self._lock = threading.Lock()
        self._started_ns = self._ended_ns = 0
        self._kill_switch = BrokerLatency(
            name="kill switch -> last cancel", n=0, missing=0, p50=None, p99=None, max=None
        )

    def wait_until_ready(self) -> None:
        """Submit an order every few seconds until one arrives: risk needs prices, and the gateway its account."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._arrived("ord-cmd-"):
            if time.monotonic() > deadline:
                raise DeployError(f"no order reached the local broker within {READY_TIMEOUT_S:.0f} s")
            self._api.post("/api/v1/orders", json={**_TERMS, "limit_price": "95"})
            time.sleep(5.0)

    def send(self, seconds: int) -> None:
        """Send orders and cancels when they are due, and then turn the kill switch on."""
        self._started_ns = time.time_ns() + SECOND_NS
        with ThreadPoolExecutor(16) as senders:
            for due_ns in due_times_ns(self._started_ns, ORDERS_PER_SECOND, seconds):
                # A third of a second after the bars, so that neither waits for the other.
                senders.submit(self._submit_and_cancel, due_ns + SECOND_NS // 3)
        time.sleep(SETTLE_S)
        self._ended_ns = time.time_ns()
        open_orders = [order for order in self._server.broker.book.orders.values() if order.is_open]
        due_ns = time.time_ns()
        body = {"action": "halt", "reason": "performance benchmark"}
        self._api.post("/api/v1/risk/circuit-breaker", json=body).raise_for_status()
        deadline = time.monotonic() + 60
        while any(order.is_open for order in open_orders) and time.monotonic() < deadline:
            time.sleep(0.05)
        ended = [_ns(order.ended_at) for order in open_orders if order.ended_at is not None]
        self._kill_switch = last_arrival(self._kill_switch.name, due_ns, ended, len(open_orders), time.time_ns())

    def _submit_and_cancel(self, due_ns: int) -> None:
        _sleep_until(due_ns)
        response = self._api.post("/api/v1/orders", json={**_TERMS, "limit_price": "95"})
        is_accepted = response.status_code == 202
        order_id = str(response.json()["order_id"]) if is_accepted else f"rejected-{due_ns}"
        with self._lock:
            self._orders_due[order_id] = due_ns
        if not is_accepted:
            return
        cancel_due_ns = due_ns + round(CANCEL_AFTER_S * SECOND_NS)
        _sleep_until(cancel_due_ns)
        if self._api.delete(f"/api/v1/orders/{order_id}").status_code == 202:
            with self._lock:
                self._cancels_due[order_id] = cancel_due_ns

    def latencies(self, home: Home) -> list[BrokerLatency]:
        arrived, canceled = self._arrived(), self._arrived(ended=True)
        bars_due = {order_id: ts_ns for order_id, ts_ns in _strategy_orders(home).items() if self._is_measured(ts_ns)}
        return [
            latency("API order -> request", self._orders_due, arrived, self._ended_ns),
            latency("bar on the socket -> request", bars_due, arrived, self._ended_ns),
            latency("API cancel -> request", self._cancels_due, canceled, self._ended_ns),
            self._kill_switch,
        ]

    def _is_measured(self, ts_ns: int) -> bool:
        return self._started_ns <= ts_ns < self._ended_ns - SECOND_NS

    def _arrived(self, containing: str = "ord-", *, ended: bool = False) -> dict[str, int]:
        """Return when each order of the platform arrived at the broker, or ended there, by its id."""
        times: dict[str, int] = {}
        for order in list(self._server.broker.book.orders.values()):
            at, start = order.ended_at if ended else order.created_at, order.client_order_id.find(containing)
            if at is not None and start >= 0:
                times[order.client_order_id[start:]] = _ns(at)
        return times


@contextmanager
def _bars(server: AlpacaServer, symbols: tuple[str, ...]) -> Iterator[None]:
    """Publish a bar of each symbol at the end of each second, on time even if the last ones took long."""
    stop = threading.Event()

    def publish() -> None:
        due_ns = (time.time_ns() // SECOND_NS + 2) * SECOND_NS
        while not stop.is_set():
            _sleep_until(due_ns)
            server.run_coroutine(publish_all(due_ns - SECOND_NS))
            due_ns += SECOND_NS

    async def publish_all(open_ns: int) -> None:
        for number, symbol in enumerate(symbols):
            prices = dict.fromkeys(("open", "high", "low", "close"), _PRICE)
            await server.broker.publish_bar(BarRow(symbol=symbol, open_ns=open_ns, volume=1000.0, **prices))
            if number % 100 == 99:
                await asyncio.sleep(0)  # requests of the gateway come between

    thread = threading.Thread(target=publish, name="bars", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


@contextmanager
def _platform(server: AlpacaServer, symbols: tuple[str, ...], layout: Layout) -> Iterator[TemporaryPlatform]:
    strategy = f"{bar_orders.__file__}:{bar_orders.BarOrders.__name__}"
    live = {"symbols": list(symbols), "calendar": "24/7", "bar_interval_s": 1, "wait_s": 0.5}
    tree = {
        "market_data": {"live": live},
        "signals": {"strategies": [{"name": strategy}]},
        "execution": {
            "broker": "alpaca",
            "alpaca": {"requests_per_minute": 10_000, "cash_tolerance": "unlimited"},
        },
        "risk_manager": {"max_position_size": 1_000_000},
        "alpaca": {"url": server.url},
    }
    environment = {"ALPACA_API_KEY": "local", "ALPACA_SECRET_KEY": "local"}  # pragma: allowlist secret
    options = ["--feed", "alpaca", "--broker", "alpaca", "--layout", layout]
    with (
        tempfile.TemporaryDirectory(prefix="trading-broker-") as folder,
        run_temporary_platform(Path(folder), tree, options, environment) as platform,
    ):
        yield platform


@contextmanager
def _api(platform: TemporaryPlatform) -> Iterator[httpx.Client]:
    """Yield a client that is logged in as the first user, with a new password."""
    password, new_password = (platform.home.secrets / "admin-password").read_text().strip(), os.urandom(16).hex()
    with httpx.Client(base_url=platform.api_url, timeout=30) as client:

        def use(path: str, body: dict[str, str]) -> None:
            response = client.post(path, json=body)
            response.raise_for_status()
            client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

        use("/api/v1/auth/login", {"username": "admin", "password": password})
        use("/api/v1/auth/password", {"current_password": password, "new_password": new_password})
        yield client


def _strategy_orders(home: Home) -> dict[str, int]:
    """Return the time slice of each order of the strategy, by its id. The slice ends with the bar."""
    from sqlalchemy import select

    from sinks.database import open_engine
    from sinks.tables import orders

    addresses = json.loads((home.secrets / "endpoints.json").read_text())
    engine = open_engine(addresses["DATABASE_URL"])
    try:
        with closing(engine.connect()) as db:
            query = select(orders.c.order_id, orders.c.ts_ns).where(orders.c.order_id.startswith("ord-act-"))
            return {row.order_id: row.ts_ns for row in db.execute(query)}
    finally:
        engine.dispose()


def _sleep_until(due_ns: int) -> None:
    while (remaining_ns := due_ns - time.time_ns()) > 0:
        time.sleep(remaining_ns / 1e9)


def _ns(text: str) -> int:
    """Return the time of the local broker in ns.

    >>> _ns("1970-01-01T00:00:01.000000005Z")
    1000000005
    """
    seconds = datetime.fromisoformat(text[:19] + "+00:00").timestamp()
    return round(seconds) * SECOND_NS + int(text[20:29])
