"""The exits of a bracket follow the quantity of its amended entry: at the venue, in risk's book and in the gateway."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from operators.portfolio import PortfolioStage
from operators.risk import RiskSettings, RiskStage
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    AMEND_ORDER,
    CANCEL_ORDER,
    CANCELED,
    GTC,
    REJECTED,
    REPLACED,
    SELL,
    SUBMIT_ORDER,
    TRADE,
    Command,
    Execution,
    Order,
    OrderRefusal,
    Record,
)
from tests.builders import bar, broker_update, command, order
from tests.builders.market import MINUTE_NS
from tests.unit.gateway_harness import GatewayHarness, intents, reports
from tests.unit.venue_runs import NO_FEE, minute_bar, report_lines, run

SHARE = VenueSettings(**NO_FEE, max_volume_share=Decimal(1))
EXIT: dict[str, Any] = {"parent_id": "prop-2", "time_in_force": GTC, "reduce_only": True}
OCO_EXIT = {**EXIT, "group_id": "exit"}

# Quantity of the entry, filled before the amendment, the new quantity.
AMENDMENTS = [(4, 0, 10), (10, 0, 4), (10, 3, 4), (4, 3, 10)]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(("old", "filled", "new"), AMENDMENTS)
def test_the_stop_sells_what_the_amended_entry_has_bought(old: int, filled: int, new: int, restart: bool) -> None:
    """Another order holds 6 units of the same symbol. The exits leave them alone, and no unit lacks its stop."""
    executions = run(
        SHARE,
        [order(1, quantity=6, time_in_force=GTC), minute_bar(1)],
        [
            order(2, quantity=old, limit_price=95, time_in_force=GTC),
            order(3, SELL, old, limit_price=110, **OCO_EXIT),
            order(4, SELL, old, stop_price=90, **OCO_EXIT),
            minute_bar(2, 95.0, 95.0, 95.0, volume=float(filled), traded=filled > 0),
        ],
        [order(5, quantity=new, limit_price=95, time_in_force=GTC, replaces="ord-2"), minute_bar(3, volume=1000.0)],
        [minute_bar(4, 95.0, 95.0, 95.0, volume=1000.0)],
        [minute_bar(5, 90.0, 90.0, 90.0, volume=1000.0)],
        restart=restart,
    )
    first_fill = [f"2 TRADE {filled}@95"] if filled else []
    expected = [*first_fill, "2 REPLACED", f"5 TRADE {new - filled}@95", f"4 TRADE {new}@90", "3 CANCELED"]
    assert report_lines(executions) == ["1 TRADE 6@100", *expected]
    assert executions[-2].leaves_quantity == 0


def test_exits_for_a_part_of_the_entry_keep_their_quantity() -> None:
    executions = run(
        SHARE,
        [
            order(2, quantity=10, limit_price=95, time_in_force=GTC),
            order(3, SELL, 4, limit_price=110, **EXIT),
            order(4, SELL, 6, limit_price=120, **EXIT),
            minute_bar(1),
        ],
        [order(5, quantity=12, limit_price=95, time_in_force=GTC, replaces="ord-2"), minute_bar(2)],
        [minute_bar(3, 95.0, 95.0, 95.0, volume=1000.0)],
        [minute_bar(4, 120.0, 120.0, 120.0, volume=1000.0)],
    )
    assert report_lines(executions) == ["2 REPLACED", "5 TRADE 12@95", "3 TRADE 4@120", "4 TRADE 6@120"]


BRACKET = {
    "symbol": "X",
    "side": "BUY",
    "quantity": "4",
    "order_type": "LIMIT",
    "limit_price": "95",
    "time_in_force": "GTC",
    "take_profit_price": "110",
    "stop_loss_price": "90",
}


def amend(name: str, order_id: str, **changes: str) -> Command:
    return command(name, kind=AMEND_ORDER, arguments={"order_id": order_id, **changes})


def run_commands(prices: list[float], commands: dict[int, Command], *, volume: float = 1e6) -> list[Record]:
    """Run one bar of X a minute, flat at its price. `commands` are by minute, from 1. Restart before each bar."""

    def new_loop() -> TradingLoop:
        return TradingLoop(
            VenueStage(SHARE), PortfolioStage(), RiskStage(RiskSettings.unlimited(price_collar_bps=Decimal(300)))
        )

    loop, output = new_loop(), []
    for minute, price in enumerate(prices, 1):
        state, loop = loop.snapshot(), new_loop()
        loop.restore(state)
        records = [commands[minute]] if minute in commands else []
        output += loop.on_slice(
            minute * MINUTE_NS, [*records, bar("X", minute, minute * MINUTE_NS, price, volume=volume)]
        )
    return output


def fills(output: list[Record]) -> list[tuple[str, int]]:
    return [(e.order_id, int(e.quantity)) for e in output if isinstance(e, Execution) and e.exec_type == TRADE]


def refusals(output: list[Record]) -> list[str]:
    return [one.message for one in output if isinstance(one, OrderRefusal)]


def test_an_amended_stop_loss_keeps_the_quantity_of_the_amended_entry() -> None:
    output = run_commands(
        [100, 100, 100, 100, 94, 94, 85],
        {
            1: command("cmd-a", kind=SUBMIT_ORDER, arguments=BRACKET),
            2: amend("cmd-b", "ord-cmd-a", quantity="10"),
            4: amend("cmd-c", "ord-cmd-a-sl", stop_price="89"),
        },
    )
    [new_stop] = [one for one in output if isinstance(one, Order) and one.replaces == "ord-cmd-a-sl"]
    assert (int(new_stop.terms.quantity), new_stop.terms.parent_id) == (10, "cmd-b")
    assert fills(output) == [("ord-cmd-b", 10), ("ord-cmd-c", 10)]


def test_a_second_amendment_of_an_entry_is_compared_with_its_exits() -> None:
    output = run_commands(
        [100] * 5,
        {
            1: command("cmd-a", kind=SUBMIT_ORDER, arguments=BRACKET),
            2: amend("cmd-b", "ord-cmd-a", limit_price="94"),
            4: amend("cmd-c", "ord-cmd-a", limit_price="89"),
        },
    )
    assert refusals(output) == ["exit_prices: X stop loss 90 of a BUY order must be below its entry price 89"]


def test_an_amendment_below_the_filled_quantity_states_both() -> None:
    terms = {name: BRACKET[name] for name in ("symbol", "side", "order_type", "limit_price")} | {"quantity": "10"}
    output = run_commands(
        [100, 94, 94, 94],
        {
            1: command("cmd-a", kind=SUBMIT_ORDER, arguments=terms),
            3: amend("cmd-b", "ord-cmd-a", quantity="3"),
            4: amend("cmd-c", "ord-cmd-a", quantity="9"),
        },
        volume=4.5,
    )
    assert refusals(output) == [
        "order_terms: X new quantity 3 is below the 8 already filled",
        "open_order: X order ord-cmd-a has already ended: filled",
    ]


@pytest.mark.parametrize(
    ("side", "stop", "limit", "prices", "change", "filled"),
    [
        ("BUY", "104", "103.5", [100.0, 105.0, 106.0, 103.0], {"quantity": "6"}, 6),
        ("SELL", "96", "96.5", [100.0, 95.0, 94.0, 97.0], {"limit_price": "96.8"}, 10),
    ],
)
def test_a_triggered_stop_limit_can_be_amended(
    side: str, stop: str, limit: str, prices: list[float], change: dict[str, str], filled: int
) -> None:
    arguments = {"symbol": "X", "side": side, "quantity": "10", "order_type": "STOP_LIMIT", "time_in_force": "GTC"}
    submit = command("cmd-a", kind=SUBMIT_ORDER, arguments={**arguments, "stop_price": stop, "limit_price": limit})
    output = run_commands(prices, {1: submit, 3: amend("cmd-b", "ord-cmd-a", **change)})
    assert (refusals(output), fills(output)) == ([], [("ord-cmd-b", filled)])
    # A new stop price is compared with the last price as before.
    new_stop = "105" if side == "BUY" else "95"
    [message] = refusals(run_commands(prices, {1: submit, 3: amend("cmd-b", "ord-cmd-a", stop_price=new_stop)}))
    assert message.startswith(f"price_collar: X stop price {new_stop} of a {side} order is on the wrong side")


def gateway_with_bracket(quantity: int) -> GatewayHarness:
    """Another order has bought 6 units of the same symbol."""
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(4, quantity=6))
    gateway.step(broker_update("ord-4", TRADE, 6, 99, 6))
    stop = order(2, SELL, quantity, stop_price=90, parent_id="prop-1", reduce_only=True)
    gateway.step(order(1, quantity=quantity, limit_price=99), stop)
    return gateway


@pytest.mark.parametrize(("old", "filled", "new"), AMENDMENTS)
def test_the_gateway_sends_the_exit_for_the_quantity_of_the_amended_entry(old: int, filled: int, new: int) -> None:
    gateway = gateway_with_bracket(old)
    if filled:
        gateway.step(broker_update("ord-1", TRADE, filled, 99, filled))
    gateway.step(order(3, quantity=new, limit_price=99, replaces="ord-1"))
    gateway.step(broker_update("ord-1", CANCELED, filled=filled))
    output = gateway.step(broker_update("ord-3", TRADE, new - filled, 99, new - filled))
    assert [(kind, one, int(quantity)) for kind, one, _, quantity, _ in intents(output)] == [("SUBMIT", "ord-2", new)]


def test_fills_that_overtake_an_amendment_keep_their_exit_in_the_gateway() -> None:
    """The entry fills 6 before the broker cancels it for an amendment to 4. The exit closes the 6."""
    gateway = gateway_with_bracket(10)
    gateway.step(order(3, quantity=4, limit_price=99, replaces="ord-1"))
    gateway.step(broker_update("ord-1", TRADE, 6, 99, 6))
    output = gateway.step(broker_update("ord-1", CANCELED, filled=6))
    assert [(one, kind) for one, kind, *_ in reports(output)] == [("ord-1", REPLACED), ("ord-3", CANCELED)]
    assert [(kind, one, int(quantity)) for kind, one, _, quantity, _ in intents(output)] == [("SUBMIT", "ord-2", 6)]


def orders_of(output: list[Record]) -> dict[str, Order]:
    return {one.order_id: one for one in output if isinstance(one, Order)}


def reasons(output: list[Record]) -> list[tuple[str, str]]:
    return [(e.order_id, e.text) for e in output if isinstance(e, Execution) and e.exec_type == REJECTED]


def test_an_amended_exit_has_the_quantity_that_a_partial_fill_of_the_other_exit_has_left() -> None:
    """The take profit sells 1 of the 4 units. The stop of the other 3 is moved, and sells 3."""
    commands = {
        1: command("cmd-a", kind=SUBMIT_ORDER, arguments=BRACKET | {"limit_price": "100"}),
        5: amend("cmd-b", "ord-cmd-a-sl", stop_price="92"),
    }
    output: list[Record] = []
    loop = TradingLoop(VenueStage(SHARE), PortfolioStage(), RiskStage(RiskSettings.unlimited()))
    for minute, (price, volume) in enumerate([(100, 9), (100, 9), (100, 9), (110, 1), (100, 9), (91, 9)], 1):
        given = [commands[minute]] if minute in commands else []
        one = bar("X", minute, minute * MINUTE_NS, price, volume=volume)
        output += loop.on_slice(minute * MINUTE_NS, [*given, one])
    assert fills(output) == [("ord-cmd-a", 4), ("ord-cmd-a-tp", 1), ("ord-cmd-b", 3)]
    assert orders_of(output)["ord-cmd-b"].terms.quantity == 3


def test_an_amended_exit_has_the_quantity_that_a_cancelled_entry_has_bought() -> None:
    """The entry buys 3 of 4 units. The stop that is moved afterwards closes 3, not 4."""
    commands = {
        1: command("cmd-a", kind=SUBMIT_ORDER, arguments=BRACKET | {"limit_price": "100"}),
        3: command("cmd-c", kind=CANCEL_ORDER, arguments={"order_id": "ord-cmd-a"}),
        4: amend("cmd-b", "ord-cmd-a-sl", stop_price="92"),
    }
    output = run_commands([100, 100, 101, 101, 101, 91], commands, volume=3)
    assert fills(output) == [("ord-cmd-a", 3), ("ord-cmd-b", 3)]
    assert orders_of(output)["ord-cmd-b"].terms.quantity == 3


STOP_LIMIT_ORDER = {
    "symbol": "X",
    "side": "BUY",
    "quantity": "4",
    "order_type": "STOP_LIMIT",
    "stop_price": "102",
    "limit_price": "101",
    "time_in_force": "GTC",
}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stop_price": "105"}, "the stop of ord-cmd-a has triggered, so a new stop_price has no effect"),
        ({"stop_price": "105", "limit_price": "104"}, "the stop of ord-cmd-a has triggered"),
        ({"limit_price": "104"}, ""),
        ({"stop_price": "102", "quantity": "5"}, ""),
    ],
)
def test_the_stop_of_a_triggered_order_cannot_be_amended(changes: dict[str, str], reason: str) -> None:
    """Its limit price and quantity can. A rejected amendment leaves the order as it was."""
    commands = {
        1: command("cmd-a", kind=SUBMIT_ORDER, arguments=STOP_LIMIT_ORDER),
        3: amend("cmd-b", "ord-cmd-a", **changes),
    }
    output = run_commands([100, 103, 103, 103, 101, 101], commands)
    rejected = reasons(output)
    if reason:
        assert [(name, text.startswith(reason)) for name, text in rejected] == [("ord-cmd-b", True)]
        assert fills(output) == [("ord-cmd-a", 4)]
    else:
        assert rejected == []
        assert fills(output) == [("ord-cmd-b", int(changes.get("quantity", 4)))]


def test_the_gateway_rejects_a_new_stop_price_of_a_triggered_stop() -> None:
    gateway = GatewayHarness(extended_hours=True)
    gateway.connect()
    gateway.step(bar("AAPL", 1, 60, 100), order(1, stop_price=102, limit_price=101, time_in_force=GTC))
    gateway.step(bar("AAPL", 2, 120, 103))
    output = gateway.step(order(2, stop_price=105, limit_price=101, time_in_force=GTC, replaces="ord-1"))
    assert intents(output) == []
    assert reasons(output)[0][1].startswith("the stop of ord-1 has triggered, so a new stop_price has no effect")
    assert list(gateway.stage.open_orders) == ["ord-1"]
