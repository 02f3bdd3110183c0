"""Manual orders and cancels: risk checks orders, duplicates have no effect, strategies never close manual positions."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.manual_orders import command_id_of, order_id_of
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.risk import RiskSettings, RiskStage
from operators.sizing import SizingSettings
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.codec import decode, encode
from schemas.records import (
    AMEND_ORDER,
    CANCEL_ORDER,
    KILL_SWITCH,
    SUBMIT_ORDER,
    TRADE,
    Command,
    Execution,
    Order,
    OrderCancel,
    OrderRefusal,
    Position,
    Record,
    Signal,
)
from schemas.records.flat import to_flat
from sinks.statements import WRITE_STATEMENTS
from tests.builders import bar, command, signal

MINUTE_NS = 60_000_000_000
D = Decimal
LIMITS = RiskSettings.unlimited(max_order_notional=D(50_000), stale_price_s=D(300))
BUY_100 = {"symbol": "X", "side": "BUY", "quantity": "100"}


def submit(name: str = "cmd-1", **arguments: str) -> Command:
    return command(name, kind=SUBMIT_ORDER, arguments={**BUY_100, **arguments})


def cancel(order_id: str, name: str = "cmd-9") -> Command:
    return command(name, kind=CANCEL_ORDER, arguments={"order_id": order_id})


def strategy_signal(direction: int, minute: int) -> Signal:
    return signal("X", minute, minute * MINUTE_NS, direction=direction, strategy="s")


class ManualTradingHarness:
    """Portfolio, risk and venue over one-minute bars of X at 100."""

    def __init__(self) -> None:
        sizing = SizingSettings(method="fixed_quantity", quantity=D(100))
        portfolio = PortfolioStage(PortfolioSettings(sizing=sizing, max_position_percentage=D(1)))
        self.loop = TradingLoop(VenueStage(VenueSettings()), portfolio, RiskStage(LIMITS))
        self.minute = 0
        self.position = D(0)

    def step(self, *records: Record) -> list[Any]:
        self.minute += 1
        ts_ns = self.minute * MINUTE_NS
        commands = [record for record in records if type(record) is Command]
        other_records = [record for record in records if type(record) is not Command]
        output = self.loop.on_slice(ts_ns, [*commands, bar("X", self.minute, ts_ns, 100.0), *other_records])
        for record in output:
            if type(record) is Position:
                self.position = record.quantity
        return output


def _records_of(kind: type, records: list[Any]) -> list[Any]:
    return [record for record in records if type(record) is kind]


def test_manual_order_passes_checks_and_carries_its_command_id() -> None:
    floor = ManualTradingHarness()
    (order,) = _records_of(Order, floor.step(submit("cmd-7f")))
    assert (order.order_id, order.cause_id) == (order_id_of("cmd-7f"), "cmd-7f")
    assert command_id_of(order.order_id) == "cmd-7f" and command_id_of("ord-7") is None
    assert [check.check for check in order.checks][:2] == ["kill_switch", "reconciling"]
    assert floor.position == 0
    (fill,) = [report for report in _records_of(Execution, floor.step()) if report.exec_type == TRADE]
    assert fill.order_id == order.order_id and floor.position == 100


def test_manual_order_is_checked_at_the_prices_of_its_own_slice() -> None:
    (order,) = _records_of(Order, ManualTradingHarness().step(submit()))
    assert (
        order.terms.quantity == 100
    )  # the slice also contains the first bar of X; risk rejects an order without a price


def test_risk_refusal_names_the_command() -> None:
    (refusal,) = _records_of(OrderRefusal, ManualTradingHarness().step(submit(quantity="501")))
    assert (refusal.cause_id, refusal.check, refusal.limit) == ("cmd-1", "max_order_notional", "50,000.00")


def test_duplicate_command_gives_one_order_even_after_a_restart() -> None:
    floor = ManualTradingHarness()
    assert len(_records_of(Order, floor.step(submit(), submit()))) == 1
    saved = pickle.loads(pickle.dumps(floor.loop.snapshot()))  # noqa: S301  (made here)
    restored = ManualTradingHarness()
    restored.loop.restore(saved)
    restored.minute = floor.minute
    output = restored.step(submit())
    assert not _records_of(Order, output) and not _records_of(OrderRefusal, output)
    assert restored.position == 100


def test_kill_switch_in_the_same_slice_rejects_manual_orders() -> None:
    output = ManualTradingHarness().step(submit(), command("cmd-2"))
    assert not _records_of(Order, output) and _records_of(OrderRefusal, output)[0].check == "kill_switch"


def test_cancel_reaches_only_working_orders() -> None:
    floor = ManualTradingHarness()
    (order,) = _records_of(Order, floor.step(submit(order_type="LIMIT", limit_price="90", time_in_force="GTC")))
    assert not _records_of(OrderCancel, floor.step(cancel("ord-cmd-unknown")))
    (order_cancel,) = _records_of(OrderCancel, floor.step(cancel(order.order_id)))
    assert (order_cancel.order_id, order_cancel.symbol, order_cancel.cause_id) == (order.order_id, "X", "cmd-9")
    assert decode(encode(order_cancel)) == order_cancel


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantity": "NaN"}, "quantity is 'NaN'"),
        ({"quantity": "1e3"}, "quantity is '1e3'"),
        ({"quantity": "0.0000000001"}, "at most 9 decimals"),
        ({"quantity": "9" * 40}, "quantity"),
        ({"symbol": "A\0B"}, "symbol is 'A\\ufffdB'"),
        ({"symbol": ""}, "symbol is ''"),
        ({"limit_price": "-5"}, "limit_price is '-5'"),
        ({"leverage": "7"}, "only the arguments"),
        ({"side": "HOLD"}, "BUY or SELL"),
        ({"quantity": "0"}, "above 0"),
    ],
)
def test_invalid_terms_are_rejected_with_the_actual_value(arguments: dict[str, str], message: str) -> None:
    (refusal,) = _records_of(OrderRefusal, ManualTradingHarness().step(submit(**arguments)))
    assert refusal.check == "order_terms" and message in refusal.message, refusal.message


@pytest.mark.parametrize("quantity", ["NaN", "1e50", "0.0000000001", "-1", "\0"])
def test_amendment_with_an_invalid_quantity_is_rejected_and_the_order_stands(quantity: str) -> None:
    floor = ManualTradingHarness()
    (order,) = _records_of(Order, floor.step(submit(order_type="LIMIT", limit_price="90", time_in_force="GTC")))
    amend = command("cmd-2", kind=AMEND_ORDER, arguments={"order_id": order.order_id, "quantity": quantity})
    (refusal,) = _records_of(OrderRefusal, floor.step(amend))
    assert (refusal.cause_id, refusal.quantity) == ("cmd-2", 100) and decode(encode(refusal)) == refusal


@given(
    st.dictionaries(
        st.sampled_from(["symbol", "side", "quantity", "order_type", "limit_price", "time_in_force", "x\0", ""]),
        st.one_of(st.text(), st.from_regex(r"\d{1,20}(\.\d{1,12})?"), st.sampled_from(["X", "BUY", "LIMIT", "DAY"])),
    ),
    st.text(),
)
def test_any_command_gives_records_that_can_be_sent_and_stored(arguments: dict[str, str], reason: str) -> None:
    floor = ManualTradingHarness()
    submitted = command("cmd-\0", kind=SUBMIT_ORDER, arguments=arguments, actor="ann", reason=reason)
    amend_arguments = {**arguments, "order_id": "ord-cmd-good"}
    amend = command("cmd-a", kind=AMEND_ORDER, arguments=amend_arguments, actor="ann\0", reason=reason)
    floor.step(submit("cmd-good", order_type="LIMIT", limit_price="90", time_in_force="GTC"))
    for record in floor.step(submitted, amend, submitted._replace(kind=KILL_SWITCH)):
        if type(record) in (Order, OrderRefusal, OrderCancel):
            assert decode(encode(record)) == record
            assert b"\0" not in "".join(field for field in to_flat(record) if isinstance(field, str)).encode()
            assert WRITE_STATEMENTS[type(record)].copy_bytes([record])


def test_strategy_leaves_manual_positions_alone() -> None:
    floor = ManualTradingHarness()
    floor.step(strategy_signal(1, 1), submit("cmd-1", quantity="40"))
    floor.step()
    floor.step()
    assert floor.position == 140  # 100 units of the strategy and 40 manual units
    floor.step(strategy_signal(0, 4))
    floor.step()
    assert floor.position == 40  # the strategy closes only its own position
    floor.step(strategy_signal(1, 6))
    floor.step()
    assert floor.position == 140
    floor.step(submit("cmd-2", side="SELL", quantity="90"))
    floor.step()
    assert floor.position == 50  # the sale closes the 40 manual units first, then 50 units of the strategy
    floor.step(strategy_signal(0, 10))
    floor.step()
    assert floor.position == 0


def test_manual_order_of_equal_size_is_not_attributed_to_the_strategy() -> None:
    floor = ManualTradingHarness()
    output = floor.step(strategy_signal(1, 1), submit(quantity="100"))
    assert len(_records_of(Order, output)) == 2
    floor.step()
    assert floor.position == 200
    floor.step(strategy_signal(0, 3))
    floor.step()
    assert floor.position == 100
