"""A local broker for tests, and Alpaca's own client for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alpaca.trading.client import TradingClient

from deploy.alpaca_server import AlpacaServer, ServerSettings
from deploy.alpaca_server.broker import LocalBroker
from deploy.local.ports import free_ports


@contextmanager
def local_broker(
    *symbols: str, requests_per_minute: int = 10_000, port: int | None = None, broker: LocalBroker | None = None
) -> Iterator[AlpacaServer]:
    """Run a local broker. Prices stay at 100 until a test changes them."""
    settings = ServerSettings(
        port=port or free_ports(1)[0],
        symbols=symbols or ("AAPL", "MSFT"),
        seed=None,
        requests_per_minute=requests_per_minute,
    )
    with AlpacaServer(settings, broker) as server:
        yield server


def client(server: AlpacaServer, key: str = "local") -> TradingClient:
    return TradingClient(key, "local", url_override=server.url)


def wait_for(condition: Callable[[], bool], expectation: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{expectation} did not happen within {timeout_s} s"
        time.sleep(0.01)
