"""Orders and cancels by hand: judged as all others, taken once, and left alone by the strategies."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.manual_orders import CANCEL_ORDER, SUBMIT_ORDER, command_id_of, order_id_of
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.risk import RiskSettings, RiskStage
from operators.risk.commands import AMEND_ORDER
from operators.sizing import SizingSettings
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.codec import decode, encode
from schemas.records import (
    KILL_SWITCH,
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
from sinks.statements import WRITES
from tests.unit.builders import bar

MINUTE = 60_000_000_000
D = Decimal
LIMITS = RiskSettings.unlimited(max_order_notional=D(50_000), stale_price_s=D(300))
BUY_100 = {"symbol": "X", "side": "BUY", "quantity": "100"}


def submit(name: str = "cmd-1", **arguments: str) -> Command:
    return Command(name, 5, SUBMIT_ORDER, "ann", "by hand", {**BUY_100, **arguments})


def cancel(order_id: str, name: str = "cmd-9") -> Command:
    return Command(name, 6, CANCEL_ORDER, "ann", "changed my mind", {"order_id": order_id})


def view(direction: int, minute: int) -> Signal:
    return Signal("X", minute, minute * MINUTE, "s", direction, 1.0, 1.0, 100.0, "f", {})


class Floor:
    """Portfolio, risk and venue over bars of X at 100 a minute."""

    def __init__(self) -> None:
        sizing = SizingSettings(method="fixed_quantity", quantity=D(100))
        portfolio = PortfolioStage(PortfolioSettings(sizing=sizing, max_position_percentage=D(1)))
        self.loop = TradingLoop(VenueStage(VenueSettings()), portfolio, RiskStage(LIMITS))
        self.minute = 0
        self.held = D(0)

    def tick(self, *records: Record) -> list[Any]:
        self.minute += 1
        at = self.minute * MINUTE
        commands = [record for record in records if type(record) is Command]
        others = [record for record in records if type(record) is not Command]
        out = self.loop.on_tick(at, [*commands, bar("X", self.minute, at, 100.0), *others])
        for record in out:
            if type(record) is Position:
                self.held = record.quantity
        return out


def _of(kind: type, out: list[Any]) -> list[Any]:
    return [record for record in out if type(record) is kind]


def test_an_order_by_hand_passes_the_checks_and_carries_the_id_that_its_command_promised() -> None:
    floor = Floor()
    (order,) = _of(Order, floor.tick(submit("cmd-7f")))
    assert (order.order_id, order.cause_id) == (order_id_of("cmd-7f"), "cmd-7f")
    assert command_id_of(order.order_id) == "cmd-7f" and command_id_of("ord-7") is None
    assert [check.check for check in order.checks][:2] == ["kill_switch", "reconciling"]
    assert floor.held == 0
    (fill,) = [report for report in _of(Execution, floor.tick()) if report.exec_type == TRADE]
    assert fill.order_id == order.order_id and floor.held == 100


def test_it_is_judged_at_the_prices_of_its_own_tick() -> None:
    (order,) = _of(Order, Floor().tick(submit()))
    assert order.quantity == 100  # the first bar of X came with it; without a price it had been refused


def test_what_risk_refuses_names_the_command() -> None:
    (refusal,) = _of(OrderRefusal, Floor().tick(submit(quantity="501")))
    assert (refusal.cause_id, refusal.check, refusal.limit) == ("cmd-1", "max_order_notional", "50,000.00")


def test_a_command_sent_twice_is_one_order_even_over_a_restart() -> None:
    floor = Floor()
    assert len(_of(Order, floor.tick(submit(), submit()))) == 1
    saved = pickle.loads(pickle.dumps(floor.loop.snapshot()))  # noqa: S301  (made here)
    again = Floor()
    again.loop.restore(saved)
    again.minute = floor.minute
    out = again.tick(submit())
    assert not _of(Order, out) and not _of(OrderRefusal, out)
    assert again.held == 100


def test_no_order_by_hand_gets_past_the_kill_switch_of_the_same_tick() -> None:
    out = Floor().tick(submit(), Command("cmd-2", 6, KILL_SWITCH, "bob", "stop", {}))
    assert not _of(Order, out) and _of(OrderRefusal, out)[0].check == "kill_switch"


def test_a_cancel_reaches_the_order_that_still_works_and_no_other() -> None:
    floor = Floor()
    (order,) = _of(Order, floor.tick(submit(order_type="LIMIT", limit_price="90", time_in_force="GTC")))
    assert not _of(OrderCancel, floor.tick(cancel("ord-cmd-unknown")))
    (asked,) = _of(OrderCancel, floor.tick(cancel(order.order_id)))
    assert (asked.order_id, asked.symbol, asked.cause_id) == (order.order_id, "X", "cmd-9")
    assert decode(encode(asked)) == asked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"quantity": "NaN"}, "quantity 'NaN'"),
        ({"quantity": "1e3"}, "quantity '1e3'"),
        ({"quantity": "0.0000000001"}, "at most 9 decimals"),
        ({"quantity": "9" * 40}, "quantity"),
        ({"symbol": "A\0B"}, "symbol 'A\\ufffdB'"),
        ({"symbol": ""}, "symbol ''"),
        ({"limit_price": "-5"}, "limit_price '-5'"),
        ({"leverage": "7"}, "no other arguments"),
        ({"side": "HOLD"}, "BUY or SELL"),
        ({"quantity": "0"}, "above 0"),
    ],
)
def test_terms_that_make_no_sense_are_refused_with_what_was_found(arguments: dict[str, str], words: str) -> None:
    (refusal,) = _of(OrderRefusal, Floor().tick(submit(**arguments)))
    assert refusal.check == "order_terms" and words in refusal.message, refusal.message


@pytest.mark.parametrize("quantity", ["NaN", "1e50", "0.0000000001", "-1", "\0"])
def test_an_amendment_to_what_is_no_quantity_is_refused_and_the_order_stands(quantity: str) -> None:
    floor = Floor()
    (order,) = _of(Order, floor.tick(submit(order_type="LIMIT", limit_price="90", time_in_force="GTC")))
    amend = Command("cmd-2", 6, AMEND_ORDER, "ann", "x", {"order_id": order.order_id, "quantity": quantity})
    (refusal,) = _of(OrderRefusal, floor.tick(amend))
    assert (refusal.cause_id, refusal.quantity) == ("cmd-2", 100) and decode(encode(refusal)) == refusal


@given(
    st.dictionaries(
        st.sampled_from(["symbol", "side", "quantity", "order_type", "limit_price", "time_in_force", "x\0", ""]),
        st.one_of(st.text(), st.from_regex(r"\d{1,20}(\.\d{1,12})?"), st.sampled_from(["X", "BUY", "LIMIT", "DAY"])),
    ),
    st.text(),
)
def test_whatever_somebody_writes_into_the_topic_the_answer_can_be_sent_and_stored(
    arguments: dict[str, str], reason: str
) -> None:
    floor = Floor()
    command = Command("cmd-\0", 5, SUBMIT_ORDER, "ann", reason, arguments)
    amend = Command("cmd-a", 6, AMEND_ORDER, "ann\0", reason, {**arguments, "order_id": "ord-cmd-good"})
    floor.tick(submit("cmd-good", order_type="LIMIT", limit_price="90", time_in_force="GTC"))
    for record in floor.tick(command, amend, command._replace(kind=KILL_SWITCH)):
        if type(record) in (Order, OrderRefusal, OrderCancel):
            assert decode(encode(record)) == record
            assert b"\0" not in "".join(field for field in record if isinstance(field, str)).encode()
            assert WRITES[type(record)].copy_bytes([record])


def test_a_strategy_neither_sells_what_a_person_bought_nor_goes_short_after_a_person_sold() -> None:
    floor = Floor()
    floor.tick(view(1, 1), submit("cmd-1", quantity="40"))
    floor.tick()
    floor.tick()
    assert floor.held == 140  # the strategy's 100 and the person's 40
    floor.tick(view(0, 4))
    floor.tick()
    assert floor.held == 40  # the strategy leaves with what is its own
    floor.tick(view(1, 6))
    floor.tick()
    assert floor.held == 140
    floor.tick(submit("cmd-2", side="SELL", quantity="90"))
    floor.tick()
    assert floor.held == 50  # the person's 40 first, then 50 of the strategy's
    floor.tick(view(0, 10))
    floor.tick()
    assert floor.held == 0


def test_an_order_by_hand_of_the_same_size_is_not_taken_for_the_strategys_own() -> None:
    floor = Floor()
    out = floor.tick(view(1, 1), submit(quantity="100"))
    assert len(_of(Order, out)) == 2
    floor.tick()
    assert floor.held == 200
    floor.tick(view(0, 3))
    floor.tick()
    assert floor.held == 100
