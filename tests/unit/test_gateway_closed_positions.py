"""Reduce-only orders in the gateway end when another order closes their position, as at the simulated venue."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from operators.venue.reduce_only import POSITION_CLOSED
from schemas.records import BUY, CANCELED, DELISTING, GTC, REPLACED, SELL, TRADE, TRAILING_STOP, Execution, Record
from tests.builders import bar, broker_update, corporate_action, order, order_cancel
from tests.unit.gateway_harness import GatewayHarness, intents

STOP: dict[str, Any] = {"order_type": TRAILING_STOP, "trail_amount": 5, "reduce_only": True, "time_in_force": GTC}
EXIT: dict[str, Any] = {**STOP, "parent_id": "prop-1"}


def with_position(*orders: Record, **settings: Any) -> GatewayHarness:
    """A gateway that watches its stops, with an entry of 10 units that has filled, order 1, and further orders."""
    gateway = GatewayHarness(extended_hours=True, **settings)
    gateway.connect()
    gateway.step(bar("AAPL", 1, 60, 100))
    gateway.step(order(1), *orders)
    gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    return gateway


def ended(output: list[Record]) -> list[tuple[str, str, str]]:
    return [(e.order_id, e.exec_type, e.text) for e in output if isinstance(e, Execution) and e.exec_type != TRADE]


@pytest.mark.parametrize("terms", [EXIT, STOP], ids=["exit of a bracket", "free order"])
@pytest.mark.parametrize("sold", [10, 25], ids=["close", "reversal"])
def test_a_watched_stop_ends_when_another_order_closes_its_position(terms: dict[str, Any], sold: int) -> None:
    gateway = with_position(order(3, SELL, **terms))
    gateway.step(order(2, SELL, sold))
    first = gateway.step(broker_update("ord-2", TRADE, 4, 99, 4))
    assert [one[0] for one in ended(first)] == ["ord-2"], "6 units are left to protect"
    output = gateway.step(broker_update("ord-2", TRADE, 6, 99, 10))
    if sold == 25:  # sent as two orders: 10 to close, then 15 to open
        assert intents(output)[0][:4] == ("SUBMIT", "ord-2.2", SELL, 15)
    assert ended(output) == [("ord-3", CANCELED, POSITION_CLOSED)]
    gateway.step(order(4, quantity=50), broker_update("ord-2.2", TRADE, 15, 99, 15))
    gateway.step(broker_update("ord-4", TRADE, 50, 100, 50))
    assert intents(gateway.step(bar("AAPL", 2, 120, 50, low=50))) == [], "the later position has no stop"


def test_an_exit_at_the_broker_is_cancelled_when_its_symbol_is_delisted() -> None:
    """The shares are paid out after a merger, and the stop at the broker would sell short."""
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1), order(3, SELL, stop_price=90, reduce_only=True, parent_id="prop-1", time_in_force=GTC))
    gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    gateway.step(broker_update("ord-3", "NEW"))
    output = gateway.step(corporate_action("a", DELISTING, "AAPL", amount=Decimal(90)))
    assert [one[:2] for one in intents(output)] == [("CANCEL", "ord-3")]
    reason = "AAPL was delisted (a)"
    assert ended(gateway.step(broker_update("ord-3", CANCELED))) == [("ord-3", CANCELED, reason)]


def test_a_stop_ends_when_a_merger_closes_its_position_against_an_opposite_one() -> None:
    """The 20 units short of KO become 10 units short of AAPL, of which the account is long 10."""
    gateway = with_position(order(3, SELL, **STOP))
    gateway.step(order(2, SELL, 20, symbol="KO"))
    gateway.step(broker_update("ord-2", TRADE, 20, 50, 20, symbol="KO"))
    assert gateway.stage.positions == {"AAPL": 10, "KO": -20}
    merger = corporate_action("a", "STOCK_MERGER", "KO", ratio=Decimal("0.5"), new_symbol="AAPL")
    assert ended(gateway.step(merger)) == [("ord-3", CANCELED, POSITION_CLOSED)]
    assert gateway.stage.positions == {}


def test_the_exit_of_a_new_entry_is_not_affected() -> None:
    later = order(5, SELL, **(STOP | {"parent_id": "prop-4"}))
    gateway = with_position(order(3, SELL, **EXIT))
    gateway.step(order(2, SELL), order(4, limit_price=90), later)
    output = gateway.step(broker_update("ord-2", TRADE, 10, 99, 10))
    assert ended(output)[-1] == ("ord-3", CANCELED, POSITION_CLOSED)
    assert "ord-5" in gateway.stage.open_orders


def test_the_exit_of_a_partly_filled_entry_ends_with_it_when_nothing_is_left_to_protect() -> None:
    gateway = GatewayHarness(extended_hours=True)
    gateway.connect()
    gateway.step(order(1), order(3, SELL, **EXIT))
    gateway.step(broker_update("ord-1", TRADE, 4, 100, 4))
    gateway.step(order(2, SELL, 4))
    assert "ord-3" not in [one[0] for one in ended(gateway.step(broker_update("ord-2", TRADE, 4, 99, 4)))]
    gateway.step(order_cancel(5, "ord-1"))
    output = gateway.step(broker_update("ord-1", CANCELED, filled=4))
    assert [one[:2] for one in ended(output)] == [("ord-1", CANCELED), ("ord-3", CANCELED)]
    assert ended(output)[1][2] == POSITION_CLOSED


def test_an_exit_that_is_being_amended_ends_too() -> None:
    gateway = with_position(order(3, SELL, **EXIT))
    gateway.step(order(6, SELL, **(STOP | {"trail_amount": 4, "replaces": "ord-3"})))
    gateway.step(order(2, SELL))
    output = gateway.step(broker_update("ord-2", TRADE, 10, 99, 10))
    assert ended(output)[-1][:2] == ("ord-6", CANCELED)
    assert not [one for one in ended(output) if one[1] == REPLACED]


def test_a_buy_that_covers_a_short_position_ends_the_stop_that_bought() -> None:
    gateway = GatewayHarness(extended_hours=True)
    gateway.connect()
    gateway.step(order(1, SELL), order(3, BUY, **EXIT))
    gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    gateway.step(order(2, BUY))
    output = gateway.step(broker_update("ord-2", TRADE, 10, 99, 10))
    assert ended(output)[-1] == ("ord-3", CANCELED, POSITION_CLOSED)
