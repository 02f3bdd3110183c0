"""One local broker for the tests of a file; each test starts with a clean account."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alpaca.trading.client import TradingClient

from deploy.alpaca_server import AlpacaServer
from tests.unit.alpaca_broker import local_broker
from tests.unit.alpaca_requests import COIN, STOCK, raw_client, reset_account


@pytest.fixture(scope="module")
def shared_server() -> Iterator[AlpacaServer]:
    with local_broker(STOCK, "MSFT", COIN) as running:
        yield running


@pytest.fixture
def server(shared_server: AlpacaServer) -> AlpacaServer:
    reset_account(shared_server)
    return shared_server


@pytest.fixture
def api(server: AlpacaServer) -> TradingClient:
    return raw_client(server)
