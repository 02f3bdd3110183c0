"""Live trading uses only the named account. The check requests the account number from the broker."""

from __future__ import annotations

import pytest

from dataflows.broker import broker_setup
from dataflows.broker.alpaca_api import AlpacaApi
from deploy.alpaca_server import AlpacaServer
from deploy.local.ports import free_ports
from schemas.errors import BadInput, Unavailable
from tests.unit.alpaca_broker import local_broker


def alpaca_api(url: str, api_secret: str = "local") -> AlpacaApi:  # noqa: S107  (the local broker's)
    return AlpacaApi("local", api_secret, paper=False, url=url, timeout_s=2.0)


def account_of(server: AlpacaServer) -> str:
    return alpaca_api(server.url).account_snapshot().account_number


def test_only_the_named_account_may_trade() -> None:
    with local_broker() as server:
        number = account_of(server)
        broker_setup.require_account(alpaca_api(server.url), number)
        with pytest.raises(BadInput) as error:
            broker_setup.require_account(alpaca_api(server.url), "999")
    assert str(error.value) == f"the live keys belong to account {number}, but execution.live_account is 999"


def test_unknown_keys_are_rejected_immediately() -> None:
    with local_broker() as server, pytest.raises(BadInput, match="Alpaca rejected the keys of the live account: "):
        broker_setup.require_account(alpaca_api(server.url, api_secret="wrong"), account_of(server))


def test_unreachable_broker_is_retried_then_abandoned() -> None:
    unreachable = alpaca_api(f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(Unavailable, match="Alpaca did not report the account of the live keys: "):
        broker_setup.require_account(unreachable, "LOCAL1", timeout_s=0.2, retry_s=0.1)
