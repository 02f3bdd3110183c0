"""Real money goes out of no other account than the one that was named: asked of a broker that is there."""

from __future__ import annotations

import pytest

from dataflows.broker import from_settings
from dataflows.broker.http_api import AlpacaApi
from deploy.alpaca_server import Server
from deploy.local.ports import free_ports
from schemas.errors import BadInput, Unavailable
from tests.unit.alpaca_broker import local_broker


def asked(url: str, told: str = "local") -> AlpacaApi:
    return AlpacaApi("local", told, paper=False, url=url, timeout_s=2.0)


def account_of(server: Server) -> str:
    return asked(server.url).books().account_number


def test_the_account_that_was_named_may_trade_and_no_other() -> None:
    with local_broker() as server:
        number = account_of(server)
        from_settings.require_account(asked(server.url), number)
        with pytest.raises(BadInput) as refused:
            from_settings.require_account(asked(server.url), "999")
    assert str(refused.value) == f"the live keys are of account {number}, and execution.live_account names 999"


def test_keys_that_the_broker_does_not_know_are_refused_at_once() -> None:
    with local_broker() as server, pytest.raises(BadInput, match="Alpaca refuses the keys of the live account: "):
        from_settings.require_account(asked(server.url, told="wrong"), account_of(server))


def test_a_broker_that_says_nothing_is_asked_again_and_then_given_up() -> None:
    nobody = asked(f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(Unavailable, match="Alpaca did not say whose keys these are: "):
        from_settings.require_account(nobody, "LOCAL1", within_s=0.2, again_s=0.1)
