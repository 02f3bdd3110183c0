"""Amendments, reduce-only and linked orders, and inconsistent terms in the risk stage."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest

from operators.risk import RiskSettings, RiskStage
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    AMEND_ORDER,
    BUY,
    SELL,
    SUBMIT_ORDER,
    TRADE,
    Command,
    Execution,
    Order,
    OrderProposal,
    OrderRefusal,
    Record,
)
from tests.builders import bar, command, proposal
from tests.unit.risk_check_cases import MINUTE_NS, NOW_NS

D = Decimal


def of_type(kind: type, output: list[Record]) -> list[Any]:
    return [record for record in output if type(record) is kind]


class IdlePortfolio:
    """A portfolio that proposes no orders."""

    def on_slice(self, ts_ns: int, records: Any) -> list[Record]:
        return []

    def snapshot(self) -> Any:
        return None

    def restore(self, snapshot: Any) -> None:
        """Restore nothing: there is no state."""


def trading_loop(**limits: Any) -> TradingLoop:
    venue = VenueSettings(fee_model="none", slippage_bps=D(0), max_volume_share=D("0.005"))
    return TradingLoop(VenueStage(venue), IdlePortfolio(), RiskStage(RiskSettings.unlimited(**limits)))


def submit(name: str, **arguments: str) -> Command:
    terms = {"symbol": "AAPL", "side": "BUY", "quantity": "10", "order_type": "LIMIT", "limit_price": "90"}
    return command(f"cmd-{name}", kind=SUBMIT_ORDER, arguments={**terms, **arguments})


def amend(name: str, **arguments: str) -> Command:
    return command(f"cmd-{name}", kind=AMEND_ORDER, arguments=arguments)


def test_amended_order_is_checked_without_the_original_and_replaces_it() -> None:
    loop = trading_loop(max_position=D(12))
    output: list[Record] = []
    inputs: list[list[Record]] = [
        [submit("1")],
        [amend("2", order_id="ord-cmd-1", quantity="13")],
        [amend("3", order_id="ord-cmd-1", quantity="12", limit_price="100")],
        [],
        [],
        [],
        [amend("4", order_id="ord-cmd-3", quantity="20")],
        [submit("5", quantity="1")],
    ]
    for number, records in enumerate(inputs):
        ts_ns = (number + 1) * MINUTE_NS
        output += loop.on_slice(ts_ns, [*records, bar("AAPL", number + 1, ts_ns)])
        restored = trading_loop(max_position=D(12))
        restored.restore(pickle.loads(pickle.dumps(loop.snapshot())))  # noqa: S301 - our own snapshot
        loop = restored
    refusals = of_type(OrderRefusal, output)
    assert [r.message for r in refusals] == [
        "max_position: AAPL position would be 13 units, limit 12",
        "open_order: AAPL order ord-cmd-3 has already ended: filled",
        "max_position: AAPL position would be 13 units, limit 12",
    ]
    second = of_type(Order, output)[1]
    assert (second.order_id, second.replaces, second.terms.quantity) == ("ord-cmd-3", "ord-cmd-1", D(12))
    assert [(e.order_id, e.exec_type, int(e.quantity)) for e in of_type(Execution, output)] == [
        ("ord-cmd-1", "NEW", 0),
        ("ord-cmd-1", "REPLACED", 0),
        ("ord-cmd-3", "NEW", 0),
        ("ord-cmd-3", TRADE, 5),
        ("ord-cmd-3", TRADE, 5),
        ("ord-cmd-3", TRADE, 2),
    ]


def test_invalid_amendment_is_rejected_with_the_reason() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    [approved] = stage.on_slice(NOW_NS, [bar("AAPL", 1, NOW_NS), proposal(limit_price=90)])
    assert isinstance(approved, Order)
    amendments = [
        amend(str(n), order_id=approved.order_id, **a)
        for n, a in enumerate(({}, {"side": "SELL"}, {"quantity": "x"}, {"limit_price": "0"}))
    ]
    unknown_order = amend("9", order_id="ord-77", quantity="1")
    output = stage.on_slice(NOW_NS + 1, [*amendments, unknown_order])
    messages = [one.message for one in of_type(OrderRefusal, output)]
    amendable = "quantity, limit_price, stop_price, trail_amount, trail_percent"
    assert messages == [
        f"order_terms: AAPL amendment changes nothing, expected any of {amendable}",
        f"order_terms: AAPL side cannot be amended, expected any of {amendable}",
        "order_terms: AAPL quantity must be a number, found 'x'",
        "order_terms: AAPL limit_price is 0, must be above 0 on a limit order",
    ]


def test_reduce_only_orders_count_toward_no_limit() -> None:
    stage = RiskStage(RiskSettings.unlimited(initial_capital=D(1000), max_position=D(10), buying_power_multiple=D(1)))
    exits: list[OrderProposal] = [
        proposal(SELL, 10, limit_price=110, reduce_only=True, group_id="x", seq=2),
        proposal(SELL, 10, stop_price=95, reduce_only=True, group_id="x", seq=3),
    ]
    output = stage.on_slice(NOW_NS, [bar("AAPL", 1, NOW_NS), proposal(BUY, 10), *exits, proposal(SELL, 10, seq=4)])
    assert [type(record) for record in output] == [Order, Order, Order, OrderRefusal]
    stop = output[2]
    assert isinstance(stop, Order) and stop.terms.reduce_only
    assert (stop.terms.stop_price, stop.terms.group_id) == (D(95), "x")


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"order_type": "STOP"}, "stop_price is unset, must be above 0 on a stop order"),
        (
            {"order_type": "STOP_LIMIT", "stop_price": 1},
            "limit_price is unset, must be above 0 on a stop-limit order",
        ),
        ({"order_type": "TRAILING_STOP"}, "trail is not set, must be either trail_amount or trail_percent"),
        ({"order_type": "TRAILING_STOP", "trail_percent": 100}, "trail_percent is 100, must be below 100"),
        ({"order_type": "MARKET", "stop_price": 1}, "stop_price is 1, must be unset on a market order"),
        ({"time_in_force": "GTD"}, "expires_ns is unset, must be set with time_in_force GTD"),
        ({"expires_ns": 5}, "expires_ns is 1970-01-01T00:00:00.000000005Z, must be unset with time_in_force DAY"),
        (
            {"order_type": "STOP", "stop_price": 1, "time_in_force": "IOC"},
            "time_in_force is IOC, must be DAY, GTC or GTD on a stop order",
        ),
    ],
)
def test_inconsistent_terms_are_rejected(terms: dict[str, Any], message: str) -> None:
    stage = RiskStage(RiskSettings.unlimited())
    [refusal] = stage.on_slice(NOW_NS, [bar("AAPL", 1, NOW_NS), proposal(**terms)])
    assert isinstance(refusal, OrderRefusal) and refusal.message == f"order_terms: AAPL {message}"


def test_buy_stop_is_checked_at_its_stop_price() -> None:
    stage = RiskStage(RiskSettings.unlimited(max_order_notional=D(1_000)))
    output = stage.on_slice(NOW_NS, [bar("AAPL", 1, NOW_NS), proposal(stop_price=101)])
    assert isinstance(output[0], OrderRefusal)
    assert output[0].message == "max_order_notional: AAPL order is worth 1,010.00 USD, limit 1,000.00"
