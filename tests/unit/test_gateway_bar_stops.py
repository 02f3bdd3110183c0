"""Stops in the gateway follow the rules of the simulated venue; cancels and amendments find the open order."""

from __future__ import annotations

from typing import Any

from operators.instruments import CRYPTO, Instrument, Instruments
from schemas.records import CANCELED, GTC, MARKET, SELL, STOP, TRADE, Bar, Execution
from tests.builders import bar, broker_update, order, order_cancel
from tests.builders.market import MINUTE_NS
from tests.unit.gateway_harness import GatewayHarness, intents, reports

COIN = Instruments(listed=(Instrument(symbol="AAPL", asset_class=CRYPTO),))
EXIT: dict[str, Any] = {"parent_id": "prop-1", "reduce_only": True, "time_in_force": GTC}


def watching(**settings: Any) -> GatewayHarness:
    """Return a gateway that triggers all stops itself, with 10 units of AAPL."""
    gateway = GatewayHarness(instruments=COIN, **settings)
    gateway.connect()
    gateway.step(order(9, time_in_force=GTC))
    gateway.step(broker_update("ord-9", TRADE, 10, 100, 10))
    return gateway


def minute(number: int, open: float, low: float, high: float, close: float, **fields: Any) -> Bar:
    return bar("AAPL", number, number * MINUTE_NS, close, open=open, low=low, high=high, **fields)


def submits(output: list[Any]) -> list[tuple[str, Any, str]]:
    return [(name, quantity, kind) for what, name, _, quantity, kind in intents(output) if what == "SUBMIT"]


def test_a_trailing_stop_follows_the_open_and_the_close_proves_the_trail() -> None:
    gateway = watching()
    gateway.step(order(1, SELL, trail_amount=5, time_in_force=GTC))
    assert submits(gateway.step(minute(1, 100, 100, 100, 100))) == []
    assert submits(gateway.step(minute(2, 110, 106, 111, 108))) == []
    assert submits(gateway.step(minute(3, 108, 107, 120, 114))) == [("ord-1", 10, MARKET)], "120 - 5 is above the close"


def test_an_untraded_bar_triggers_nothing() -> None:
    gateway = watching()
    gateway.step(order(1, SELL, stop_price=95, time_in_force=GTC))
    assert submits(gateway.step(minute(1, 90, 90, 90, 90, traded=False))) == []
    assert submits(gateway.step(minute(2, 100, 95, 100, 100))) == [("ord-1", 10, MARKET)]


def test_a_stop_meets_only_the_close_of_the_bar_in_which_it_arrived() -> None:
    gateway = watching()
    gateway.step(order(1, SELL, 5, stop_price=95, time_in_force=GTC, ts_ns=MINUTE_NS // 2))
    assert submits(gateway.step(minute(1, 100, 90, 100, 96))) == [], "the low may have come before the order"
    gateway.step(order(2, SELL, 5, stop_price=94, time_in_force=GTC, ts_ns=MINUTE_NS * 3 // 2))
    assert [name for name, *_ in submits(gateway.step(minute(2, 96, 93.5, 96, 93.9)))] == ["ord-1", "ord-2"]


def test_two_stops_of_a_group_in_one_bar_leave_the_one_that_certainly_came_first() -> None:
    for numbers in ((1, 2), (2, 1)):
        gateway = watching()
        nearer, farther = (
            order(number, SELL, stop_price=stop, group_id="g", time_in_force=GTC)
            for number, stop in zip(numbers, (98, 95), strict=True)
        )
        gateway.step(*sorted((nearer, farther), key=lambda one: one.seq))
        output = gateway.step(minute(1, 100, 90, 100, 92))
        assert submits(output) == [(nearer.order_id, 10, MARKET)]
        assert [name for name, kind, *_ in reports(output) if kind == CANCELED] == [farther.order_id]


def test_the_stop_of_an_exit_is_not_triggered_before_its_entry_has_a_fill() -> None:
    gateway = watching()
    gateway.step(order(1, limit_price=100, time_in_force=GTC), order(2, SELL, 10, stop_price=95, **EXIT))
    gateway.step(minute(1, 94, 90, 94, 94))
    output = gateway.step(broker_update("ord-1", TRADE, 10, 94, 10))
    assert submits(output) == [], "the stop was beyond the market before the entry traded"
    assert submits(gateway.step(minute(2, 96, 95, 96, 96))) == [("ord-2", 10, MARKET)]


def test_the_stop_protects_a_partly_filled_entry_while_it_works() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, limit_price=100), order(2, SELL, 10, stop_price=95, **EXIT))
    gateway.step(broker_update("ord-1", TRADE, 4, 100, 4))
    output = gateway.step(minute(1, 100, 94, 100, 96))
    assert [one[:2] for one in intents(output)] == [("CANCEL", "ord-1")], "the entry would buy more"
    assert submits(gateway.step(broker_update("ord-1", CANCELED, filled=4))) == [("ord-2", 4, MARKET)]


def test_an_amended_stop_protects_a_partly_filled_entry_too() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, limit_price=100), order(2, SELL, 10, stop_price=95, **EXIT))
    gateway.step(broker_update("ord-1", TRADE, 4, 100, 4))
    gateway.step(order(3, SELL, 10, stop_price=97, **EXIT, replaces="ord-2"))
    output = gateway.step(minute(1, 100, 96, 100, 98))
    assert [one[:2] for one in intents(output)] == [("CANCEL", "ord-1")]
    assert submits(gateway.step(broker_update("ord-1", CANCELED, filled=4))) == [("ord-3", 4, MARKET)]


def test_a_fully_filled_entry_hands_the_stop_to_the_broker() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, limit_price=100), order(2, SELL, 10, stop_price=95, **EXIT))
    gateway.step(broker_update("ord-1", TRADE, 4, 100, 4))
    assert submits(gateway.step(broker_update("ord-1", TRADE, 6, 100, 10))) == [("ord-2", 10, STOP)]


def test_an_amended_trailing_stop_keeps_its_best_price() -> None:
    gateway = watching()
    gateway.step(order(1, SELL, trail_amount=5, time_in_force=GTC))
    gateway.step(minute(1, 115, 115, 120, 118))
    gateway.step(order(2, SELL, 8, trail_amount=5, time_in_force=GTC, replaces="ord-1"))
    assert submits(gateway.step(minute(2, 117, 114, 117, 116))) == [("ord-2", 8, MARKET)]


def test_a_cancel_by_the_old_id_cancels_the_order_that_replaces_it() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, limit_price=90))
    gateway.step(broker_update("ord-1", "NEW"))
    gateway.step(order(2, limit_price=95, replaces="ord-1"), order_cancel(3, "ord-1"))
    output = gateway.step(broker_update("ord-1", CANCELED))
    assert submits(output) == [] and gateway.stage.open_orders == {}


def test_of_two_amendments_in_one_time_slice_only_the_last_is_sent() -> None:
    for second in ("ord-1", "ord-2"):
        gateway = GatewayHarness()
        gateway.connect()
        gateway.step(order(1, limit_price=90))
        gateway.step(broker_update("ord-1", "NEW"))
        output = gateway.step(order(2, limit_price=95, replaces="ord-1"), order(3, limit_price=96, replaces=second))
        assert [one for one in output if isinstance(one, Execution) and one.exec_type == "REPLACED"] != []
        output = gateway.step(broker_update("ord-1", CANCELED))
        assert [name for name, *_ in submits(output)] == ["ord-3"]
