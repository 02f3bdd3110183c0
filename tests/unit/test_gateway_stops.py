"""Where the stop of an exit works: at the broker, or only while the platform runs. Each order type and capability."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from operators.instruments import CRYPTO, Instrument, Instruments
from schemas.records import (
    BUY,
    CANCELED,
    DAY,
    GTC,
    LIMIT,
    MARKET,
    REJECTED,
    SELL,
    STOP,
    STOP_LIMIT,
    TRADE,
    TRAILING_STOP,
    Execution,
    GatewayStatus,
    OrderIntent,
    Record,
)
from tests.builders import bar, broker_update, order
from tests.unit.gateway_harness import GatewayHarness, intents, only

GROUP: dict[str, Any] = {"group_id": "g", "parent_id": "prop-1", "reduce_only": True, "time_in_force": GTC}
COIN = Instruments(listed=(Instrument(symbol="AAPL", asset_class=CRYPTO, lot_size=Decimal("0.1")),))


def with_exits(stop: dict[str, Any], quantity: Any = 10, take: dict[str, Any] | None = None, **settings: Any) -> Any:
    """Fill an entry with a take profit at 110 and a stop. Return the gateway and the last output."""
    gateway = GatewayHarness(**settings)
    gateway.connect()
    exits = (
        order(2, SELL, quantity, limit_price=110, **(GROUP | (take or {}))),
        order(3, SELL, quantity, **(GROUP | stop)),
    )
    gateway.step(order(1, quantity=quantity), *exits)
    return gateway, gateway.step(broker_update("ord-1", TRADE, quantity, 100, quantity))


def emulated(output: list[Record]) -> list[str]:
    order_ids: list[str] = only(output, GatewayStatus).emulated_stops
    return order_ids


@pytest.mark.parametrize(
    "stop",
    [{"stop_price": 90}, {"order_type": STOP_LIMIT, "stop_price": 90, "limit_price": 89}],
    ids=["stop", "stop limit"],
)
@pytest.mark.parametrize("time_in_force", [DAY, GTC])
def test_a_take_profit_and_a_stop_are_one_oco_order(stop: dict[str, Any], time_in_force: str) -> None:
    terms = {"time_in_force": time_in_force}
    gateway, output = with_exits(stop | terms, take=terms)
    intent = only(output, OrderIntent)
    assert (intent.client_order_id, intent.stop_client_order_id, intent.terms.order_type) == ("ord-2", "ord-3", LIMIT)
    assert (intent.stop_loss_price, intent.stop_loss_limit_price) == (90, stop.get("limit_price"))
    assert "OCO" not in intent.emulated and emulated(output) == []
    gateway.step(broker_update("ord-2", "NEW"), broker_update("ord-3", "ORDER", 10, text="held"))
    assert gateway.step(bar("AAPL", 1, 60, 80)) == [], "the broker watches the stop"


@pytest.mark.parametrize(
    ("stop", "options"),
    [
        ({"order_type": TRAILING_STOP, "trail_amount": 5}, {}),
        ({"stop_price": 90, "time_in_force": DAY}, {}),
        ({"stop_price": 90}, {"quantity": Decimal("2.5")}),
        ({"stop_price": 90}, {"extended_hours": True}),
        ({"stop_price": 90}, {"instruments": COIN}),
    ],
    ids=["trailing stop", "other time in force", "fraction", "extended hours", "crypto"],
)
def test_a_stop_that_the_broker_lacks_is_watched_and_reported(stop: dict[str, Any], options: dict[str, Any]) -> None:
    gateway, output = with_exits(stop, **options)
    assert intents(output) == [("SUBMIT", "ord-2", SELL, options.get("quantity", 10), LIMIT)]
    assert only(output, OrderIntent).stop_client_order_id == ""
    gateway.step(broker_update("ord-2", "NEW"))
    gateway.step(bar("AAPL", 1, 60, 100))
    # The take profit holds the units, so it is cancelled before the stop is sent.
    output = gateway.step(bar("AAPL", 2, 120, 80, low=80))
    assert [one[:2] for one in intents(output)] == [("CANCEL", "ord-2")] and emulated(output) == []
    output = gateway.step(broker_update("ord-2", CANCELED))
    assert [(kind, name, kind_of) for kind, name, _, _, kind_of in intents(output)] == [("SUBMIT", "ord-3", MARKET)]


def test_a_stop_alone_is_sent_to_the_broker_when_its_entry_is_filled() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    output = gateway.step(order(1), order(3, SELL, 10, stop_price=90, **GROUP))
    assert emulated(output) == ["ord-3"], "until then, nothing of it is at the broker"
    output = gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    assert intents(output) == [("SUBMIT", "ord-3", SELL, 10, STOP)] and emulated(output) == []


def test_a_stop_that_the_broker_rejects_because_the_market_has_passed_it_is_sent_without_its_stop() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1), order(3, SELL, 10, stop_price=90, **GROUP))
    gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    output = gateway.step(broker_update("ord-3", REJECTED, text="stop price must be less than current price"))
    assert intents(output) == [("SUBMIT", "ord-3.2", SELL, 10, MARKET)], (
        "the position is closed, not left without a stop"
    )
    output = gateway.step(broker_update("ord-3.2", REJECTED, text="stop price must be less than current price"))
    assert intents(output) == [] and only(output, Execution).exec_type == REJECTED, "once"


def test_an_oco_order_whose_stop_the_market_has_passed_becomes_a_market_order() -> None:
    gateway, _ = with_exits({"stop_price": 90})
    text = "stop_loss.stop_price must be <= base_price - 0.01"
    output = gateway.step(broker_update("ord-2", REJECTED, text=text), broker_update("ord-3", REJECTED, text=text))
    assert intents(output) == [("SUBMIT", "ord-3.2", SELL, 10, MARKET)]
    assert [one.order_id for one in output if isinstance(one, Execution) and one.exec_type == REJECTED] == ["ord-2"]


def test_a_take_profit_that_trades_before_its_stop_is_triggered_ends_a_watched_stop() -> None:
    gateway, _ = with_exits({"order_type": TRAILING_STOP, "trail_amount": 5})
    output = gateway.step(broker_update("ord-2", TRADE, 10, 110, 10))
    assert [(one.order_id, one.exec_type) for one in output if isinstance(one, Execution)][-1] == ("ord-3", CANCELED)
    assert gateway.stage.positions == {} and intents(gateway.step(bar("AAPL", 1, 60, 50))) == []


@pytest.mark.parametrize("reduce_only", [True, False])
def test_a_part_fill_reduces_the_watched_stop_of_the_group(reduce_only: bool) -> None:
    """The rest of the position keeps its stop, and the stop never sells more than the rest."""
    stop = {"order_type": TRAILING_STOP, "trail_amount": 5, "reduce_only": reduce_only}
    gateway, _ = with_exits(stop, take={"reduce_only": reduce_only})
    gateway.step(broker_update("ord-2", "NEW"))
    output = gateway.step(broker_update("ord-2", TRADE, 4, 110, 4))
    assert [one.exec_type for one in output if isinstance(one, Execution)] == [TRADE], "the stop is not cancelled"
    gateway.step(bar("AAPL", 1, 60, 110))
    output = gateway.step(bar("AAPL", 2, 120, 104))
    assert [one[:2] for one in intents(output)] == [("CANCEL", "ord-2")]
    output = gateway.step(broker_update("ord-2", CANCELED, filled=4))
    assert intents(output) == [("SUBMIT", "ord-3", SELL, 6, MARKET)]
    output = gateway.step(broker_update("ord-3", TRADE, 6, 104, 6))
    assert [(one.order_id, one.leaves_quantity) for one in output if isinstance(one, Execution)][-1] == (
        "ord-3",
        Decimal(0),
    )
    assert gateway.stage.positions == {} and gateway.stage.open_orders == {}


def test_the_reduced_part_of_an_oco_order_ends_when_it_is_filled() -> None:
    """Without reduce-only, the rest of its first quantity would open a short position."""
    gateway, _ = with_exits({"stop_price": 90, "reduce_only": False}, take={"reduce_only": False})
    gateway.step(broker_update("ord-2", "NEW"), broker_update("ord-3", "ORDER", 10, text="held"))
    gateway.step(broker_update("ord-2", TRADE, 4, 110, 4))
    gateway.step(broker_update("ord-3", TRADE, 6, 90, 6), broker_update("ord-2", CANCELED, filled=4))
    output = gateway.step()
    assert intents(output) == [] and gateway.stage.positions == {} and gateway.stage.open_orders == {}


def test_the_exits_of_a_partly_filled_entry_close_what_was_filled() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    exits = (order(2, SELL, 10, limit_price=110, **GROUP), order(3, SELL, 10, stop_price=90, **GROUP))
    gateway.step(order(1, limit_price=100), *exits)
    gateway.step(broker_update("ord-1", TRADE, 4, 100, 4))
    output = gateway.step(broker_update("ord-1", CANCELED, filled=4))
    intent = only(output, OrderIntent)
    assert (intent.terms.quantity, intent.stop_client_order_id) == (4, "ord-3")


@pytest.mark.parametrize("first", ["ord-2", "ord-3"])
def test_a_part_fill_at_the_broker_never_lets_both_exits_exceed_the_position(first: str) -> None:
    gateway, _ = with_exits({"stop_price": 90})
    gateway.step(broker_update("ord-2", "NEW"), broker_update("ord-3", "ORDER", 10, text="held"))
    other = "ord-3" if first == "ord-2" else "ord-2"
    gateway.step(broker_update(first, TRADE, 4, 100, 4))
    # The broker has reduced the other exit to 6 units, which trade.
    output = gateway.step(broker_update(other, TRADE, 6, 95, 6), broker_update(first, CANCELED, filled=4))
    assert gateway.stage.positions == {}
    ended = {one.order_id for one in output if isinstance(one, Execution) and not one.leaves_quantity}
    assert {first, other} <= ended


def test_a_short_position_has_its_stop_above() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    terms: dict[str, Any] = {"group_id": "g", "reduce_only": True, "time_in_force": GTC}
    gateway.step(order(1, SELL))
    gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    output = gateway.step(order(2, BUY, 10, limit_price=90, **terms), order(3, BUY, 10, stop_price=110, **terms))
    assert only(output, OrderIntent).stop_client_order_id == "ord-3"
