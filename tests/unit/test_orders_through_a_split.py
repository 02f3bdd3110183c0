"""Open orders are converted at a split: prices, trails and quantities, in the venue, in risk and in the gateway."""

from __future__ import annotations

from decimal import Decimal

import pytest

from operators.gateway.gateway_order import GatewayOrder
from schemas.records import CANCELED, SPLIT, SUBMIT_ORDER, TRADE, Command, CorporateAction, Execution
from tests.builders import command, corporate_action, order
from tests.unit.trading_loop_harness import DAYS, TradingLoopHarness, desk_with_position


def sell(number: int, order_type: str, quantity: int = 100, **terms: object) -> Command:
    arguments = {"symbol": "A", "side": "SELL", "quantity": str(quantity), "order_type": order_type}
    arguments |= {"time_in_force": "GTC", **{name: str(value) for name, value in terms.items()}}
    return command(f"cmd-{number}", kind=SUBMIT_ORDER, arguments=arguments)


def split(ratio: str) -> CorporateAction:
    return corporate_action("s", SPLIT, "A", ex_date=DAYS[2], ratio=ratio)


def desk_with_order(order_command: Command, ratio: str, restart: bool = False) -> TradingLoopHarness:
    """Long 100 A at 100, with an order that rests over the split."""
    desk = desk_with_position()
    desk.step({"A": 100.0, "B": 50.0}, order_command, split(ratio))
    for _ in range(3):
        desk.step({"A": 100.0, "B": 50.0})
    if restart:
        desk.restart()
    return desk


def fills(desk: TradingLoopHarness) -> list[tuple[Decimal, Decimal]]:
    return [(one.quantity, one.price) for one in desk.of_type(Execution) if one.exec_type == TRADE]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("order_command", "untouched", "reached", "price"),
    [
        (sell(1, "STOP", stop_price=90), 22.6, 22.5, "22.5"),
        (sell(1, "LIMIT", limit_price=120), 29.9, 30.0, "30"),
        (sell(1, "TRAILING_STOP", trail_amount=8), 23.1, 23.0, "23"),
        (sell(1, "TRAILING_STOP", trail_percent=10), 22.6, 22.5, "22.5"),
        (sell(1, "STOP_LIMIT", stop_price=90, limit_price=80), 22.6, 22.5, "22.5"),
    ],
    ids=lambda value: value.arguments["order_type"] if isinstance(value, Command) else None,
)
def test_an_exit_has_its_level_in_new_prices(
    order_command: Command, untouched: float, reached: float, price: str, restart: bool
) -> None:
    desk = desk_with_order(order_command, "4", restart)
    for level in (25.0, untouched):
        desk.step({"A": level, "B": 50.0})
        assert not fills(desk)
    assert [one.remaining for one in desk.risk.book.positions["A"].orders.values()] == [400]
    desk.step({"A": reached, "B": 50.0})
    assert fills(desk) == [(Decimal(400), Decimal(price))]
    assert desk.portfolio.ledger.quantity("A") == 0
    assert not desk.risk.book.symbol_of


def test_a_reverse_split_rounds_down_to_whole_lots() -> None:
    desk = desk_with_order(sell(1, "STOP", 95, stop_price=90), "0.1")
    desk.step({"A": 1000.0, "B": 50.0})
    desk.step({"A": 890.0, "B": 50.0})
    assert fills(desk) == [(Decimal(9), Decimal(890))]
    assert desk.portfolio.ledger.quantity("A") == 1


def test_an_order_without_a_whole_lot_left_is_cancelled() -> None:
    desk = desk_with_order(sell(1, "STOP", 5, stop_price=90), "0.1")
    desk.step({"A": 1000.0, "B": 50.0})
    (report,) = [one for one in desk.of_type(Execution) if one.exec_type == CANCELED]
    assert report.text == "A was split and no whole lot of the order is left (s)"
    assert not desk.risk.book.symbol_of


def test_a_stop_that_the_gateway_watches_is_converted() -> None:
    """Without that, the new price would trigger the old stop and sell the position."""
    stop = order(1, "SELL", 100, "A", stop_price=90)
    gateway_order = GatewayOrder(stop, cum_quantity=Decimal(20), best_price=Decimal(110), stop_watched=True)
    gateway_order.split(Decimal(4), Decimal(1))
    assert (gateway_order.terms.stop_price, gateway_order.best_price) == (Decimal("22.5"), Decimal("27.5"))
    assert (gateway_order.cum_quantity, gateway_order.remaining) == (Decimal(80), Decimal(320))
