"""Circuit breakers: their thresholds, the orders they allow, how they reset, and the recorded actor."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest

from operators.manual_orders import SUBMIT_ORDER
from operators.risk import RiskSettings, RiskStage
from operators.risk.breakers import Breaker
from operators.risk.commands import AMEND_ORDER, SET_BREAKER
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.errors import BadInput
from schemas.records import (
    ACTIVE,
    BUY,
    HALTED,
    KILL_SWITCH,
    REDUCING,
    REJECTED,
    RELEASE,
    SELL,
    TRADE,
    Command,
    Execution,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    Record,
    RiskEvent,
    RiskFence,
)
from tests.unit.builders import bar, command, execution
from tests.unit.risk_check_cases import MINUTE_NS, NOW_NS, SECOND_NS, proposal

D = Decimal
BUY_1, SELL_1 = proposal(BUY, "1"), proposal(SELL, "1")


def risk_stage(*breakers: Breaker, **limits: Any) -> RiskStage:
    return RiskStage(RiskSettings.unlimited(**{"initial_capital": D(10_000), "breakers": breakers, **limits}))


def buy_fill(quantity: int, price: float, seq: int = 1, symbol: str = "AAPL") -> Execution:
    return execution(seq, NOW_NS, symbol, quantity, price)


def sell_fill(quantity: int, price: float, seq: int = 2, symbol: str = "AAPL") -> Execution:
    return execution(seq, NOW_NS, symbol, quantity, price)._replace(side=SELL)


def of_type(kind: type, output: list[Record]) -> list[Any]:
    return [record for record in output if type(record) is kind]


def set_breaker(state: str, measure: str, scope: str = "PORTFOLIO", key: str = "") -> Command:
    return Command(
        "c-1", NOW_NS, SET_BREAKER, "ann", "by hand", {"measure": measure, "scope": scope, "key": key, "state": state}
    )


@pytest.mark.parametrize(
    ("measure", "threshold", "normal_close", "tripping_close", "value"),
    [
        # a position of 10 at 100, and equity of 10,000
        ("daily_loss", "100", 90.0, 89.99, "100.1"),
        ("day_fall", "0.05", 50.0, 49.9, "0.0501"),
        ("drawdown", "0.05", 50.0, 49.9, "0.0501"),
    ],
)
def test_equity_loss_trips_beyond_the_threshold(
    measure: Any, threshold: str, normal_close: float, tripping_close: float, value: str
) -> None:
    stage = risk_stage(Breaker(measure=measure, threshold=D(threshold)))
    assert stage.on_slice(NOW_NS, [buy_fill(10, 100.0), bar("AAPL", 1, NOW_NS)]) == []
    [order] = stage.on_slice(NOW_NS + 1, [bar("AAPL", 2, NOW_NS + 1, normal_close), BUY_1])
    assert isinstance(order, Order)
    [event, fence, refusal, reducing] = stage.on_slice(
        NOW_NS + 2, [bar("AAPL", 3, NOW_NS + 2, tripping_close), BUY_1, SELL_1]
    )
    limit = D(threshold).normalize()
    reason = f"{measure} is {value}, limit {limit:f}"
    cause = f"tick-{NOW_NS + 2}"
    assert event == RiskEvent(
        1, NOW_NS + 2, measure, "PORTFOLIO", "", REDUCING, value, f"{limit:f}", "automatic", reason, cause
    )
    assert fence == RiskFence(2, NOW_NS + 2, 1, REDUCING, reason, cause)
    assert isinstance(refusal, OrderRefusal)
    assert refusal.message == "circuit_breaker: AAPL order would open 1 units while the portfolio is REDUCING, limit 0"
    assert isinstance(reducing, Order) and reducing.risk_epoch == 1


def test_the_briefs_threshold_halts_everything() -> None:
    stage = RiskStage(RiskSettings.unlimited(initial_capital=D(10_000), circuit_breaker_threshold=D("0.05")))
    stage.on_slice(NOW_NS, [buy_fill(10, 100.0), bar("AAPL", 1, NOW_NS)])
    [event, fence, refusal] = stage.on_slice(NOW_NS + 1, [bar("AAPL", 2, NOW_NS + 1, 40.0), SELL_1])
    assert isinstance(event, RiskEvent) and event.breaker == "day_fall"
    assert isinstance(fence, RiskFence) and fence.state == HALTED
    assert isinstance(refusal, OrderRefusal) and refusal.check == "circuit_breaker"


def test_tripped_breaker_resets_after_cool_down_when_the_measure_is_normal() -> None:
    stage = risk_stage(Breaker(measure="daily_loss", threshold=D(100), trips_to="HALTED", cool_down_s=60))
    stage.on_slice(NOW_NS, [buy_fill(10, 100.0), bar("AAPL", 1, NOW_NS)])
    assert len(stage.on_slice(NOW_NS + 1, [bar("AAPL", 2, NOW_NS + 1, 80.0)])) == 2
    # Normal before the cool-down ends, then not normal after it, then normal after it.
    assert stage.on_slice(NOW_NS + MINUTE_NS, [bar("AAPL", 3, NOW_NS + MINUTE_NS, 95.0)]) == []
    assert stage.on_slice(NOW_NS + MINUTE_NS + 1, [bar("AAPL", 4, NOW_NS + MINUTE_NS + 1, 80.0)]) == []
    [event, fence] = stage.on_slice(NOW_NS + MINUTE_NS + 2, [bar("AAPL", 5, NOW_NS + MINUTE_NS + 2, 95.0)])
    assert isinstance(event, RiskEvent) and isinstance(fence, RiskFence)
    assert (event.state, event.actor, event.reason, event.found) == (ACTIVE, "automatic", "cooled down", "50")
    assert (fence.state, fence.epoch) == (ACTIVE, 2)


def test_breaker_without_cool_down_is_reset_only_by_a_named_person() -> None:
    stage = risk_stage(Breaker(measure="daily_loss", threshold=D(100)))
    stage.on_slice(NOW_NS, [buy_fill(10, 100.0), bar("AAPL", 1, NOW_NS)])
    stage.on_slice(NOW_NS + 1, [bar("AAPL", 2, NOW_NS + 1, 80.0)])
    assert stage.on_slice(NOW_NS + 1000 * MINUTE_NS, [bar("AAPL", 3, NOW_NS + 1000 * MINUTE_NS, 100.0)]) == []
    [event, fence] = stage.on_slice(NOW_NS + 1001 * MINUTE_NS, [set_breaker(ACTIVE, "daily_loss")])
    assert isinstance(event, RiskEvent) and isinstance(fence, RiskFence)
    assert (event.state, event.actor, event.reason, event.cause_id) == (ACTIVE, "ann", "by hand", "c-1")
    assert fence.state == ACTIVE
    assert stage.on_slice(NOW_NS + 1002 * MINUTE_NS, [set_breaker(ACTIVE, "daily_loss")]) == []


def test_manually_tripped_breaker_does_not_reset_automatically() -> None:
    stage = risk_stage(Breaker(measure="drawdown", threshold=D("0.5"), cool_down_s=0))
    [event, fence] = stage.on_slice(NOW_NS, [set_breaker(HALTED, "drawdown")])
    assert isinstance(event, RiskEvent) and (event.state, event.found, event.actor) == (HALTED, "manual", "ann")
    assert isinstance(fence, RiskFence) and fence.state == HALTED
    assert stage.on_slice(NOW_NS + MINUTE_NS, [bar("AAPL", 1, NOW_NS + MINUTE_NS)]) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"measure": "mood"},
        {"measure": "drawdown", "state": "OFF"},
        {"measure": "drawdown", "scope": "SYMBOL", "state": HALTED},
    ],
)
def test_command_for_an_unknown_breaker_changes_nothing(arguments: dict[str, str]) -> None:
    stage = risk_stage(Breaker(measure="drawdown", threshold=D("0.5")))
    assert stage.on_slice(NOW_NS, [Command("c-1", NOW_NS, SET_BREAKER, "ann", "", arguments)]) == []


def test_strictest_of_kill_switch_and_breaker_applies() -> None:
    stage = risk_stage(Breaker(measure="drawdown", threshold=D("0.5")))
    output = stage.on_slice(NOW_NS, [set_breaker(REDUCING, "drawdown")])
    output += stage.on_slice(NOW_NS + 1, [command("k-1", NOW_NS, KILL_SWITCH)])
    output += stage.on_slice(NOW_NS + 2, [command("k-2", NOW_NS, RELEASE)])
    output += stage.on_slice(NOW_NS + 3, [set_breaker(ACTIVE, "drawdown")])
    fences = of_type(RiskFence, output)
    assert [fence.state for fence in fences] == [REDUCING, HALTED, REDUCING, ACTIVE]
    assert [fence.epoch for fence in fences] == [1, 2, 3, 4]


def test_loss_streak_halts_its_strategy_and_cancels_its_orders() -> None:
    stage = risk_stage(Breaker(measure="loss_streak", scope="STRATEGY", threshold=D(1), trips_to="HALTED"))
    orders = stage.on_slice(
        NOW_NS,
        [bar("AAPL", 1, NOW_NS), *[proposal(BUY, "10", seq=n) for n in (1, 2)], proposal(seq=3, strategy="other")],
    )
    first = orders[0]
    assert isinstance(first, Order)
    fill = buy_fill(10, 100.0)._replace(order_id=first.order_id, leaves_quantity=D(0))
    [exit_1, exit_2] = stage.on_slice(NOW_NS + 1, [fill, *[proposal(SELL, "5", seq=n) for n in (4, 5)]])
    assert isinstance(exit_1, Order) and isinstance(exit_2, Order)
    first_loss, second_loss = (
        sell_fill(5, 99.0, seq=n)._replace(order_id=o.order_id) for n, o in ((2, exit_1), (3, exit_2))
    )
    assert stage.on_slice(NOW_NS + 2, [first_loss]) == []
    [event, cancel, refusal, order] = stage.on_slice(NOW_NS + 3, [second_loss, BUY_1, BUY_1._replace(strategy="other")])
    assert isinstance(event, RiskEvent) and (event.scope, event.scope_key, event.found) == ("STRATEGY", "test", "2")
    assert isinstance(cancel, OrderCancel) and cancel.order_id == "ord-2"
    assert isinstance(refusal, OrderRefusal)
    assert refusal.message == "circuit_breaker: AAPL orders are not allowed while the strategy test is HALTED"
    assert isinstance(order, Order)


def test_a_gain_ends_the_streak() -> None:
    stage = risk_stage(Breaker(measure="loss_streak", threshold=D(1)))
    trades = [buy_fill(9, 100.0), sell_fill(3, 99.0), sell_fill(3, 101.0, 3), sell_fill(3, 99.0, 4)]
    for number, trade in enumerate(trades):
        assert stage.on_slice(NOW_NS + number, [trade, bar("AAPL", 1, NOW_NS + number)]) == []


def test_too_many_rejects_trip_once_there_are_enough_reports() -> None:
    stage = risk_stage(Breaker(measure="reject_rate", threshold=D("0.5"), window=4))
    exec_types = [REJECTED, REJECTED, "NEW", "NEW", REJECTED, REJECTED, REJECTED]
    tripped = []
    for number, kind in enumerate(exec_types):
        report = buy_fill(1, 1.0, seq=number + 1)._replace(exec_type=kind, quantity=D(0))
        tripped.append(bool(of_type(RiskFence, stage.on_slice(NOW_NS + number, [report]))))
    assert tripped == [False, False, False, False, False, False, True]


def test_volatility_jump_stops_new_positions_in_its_symbol_only() -> None:
    stage = risk_stage(Breaker(measure="volatility_jump", scope="SYMBOL", threshold=D(5), window=10))
    price = 100.0
    for number in range(12):
        price *= 1.001 if number % 2 else 1 / 1.001
        assert (
            stage.on_slice(NOW_NS + number, [bar(s, number + 1, NOW_NS + number, price) for s in ("AAPL", "MSFT")])
            == []
        )
    later = NOW_NS + 20
    bars: list[Record] = [bar("AAPL", 20, later, price * 1.02), bar("MSFT", 20, later, price)]
    [event, refusal, order] = stage.on_slice(later, [*bars, BUY_1, BUY_1._replace(symbol="MSFT")])
    assert isinstance(event, RiskEvent) and event.scope_key == "AAPL" and 19 < D(event.found) < 22
    assert isinstance(refusal, OrderRefusal)
    assert (
        refusal.message == "circuit_breaker: AAPL order would open 1 units while the symbol AAPL is REDUCING, limit 0"
    )
    assert isinstance(order, Order)


def test_stale_feed_of_a_held_symbol_trips() -> None:
    stage = risk_stage(Breaker(measure="staleness", scope="SYMBOL", threshold=D(90), cool_down_s=0))
    stage.on_slice(NOW_NS, [buy_fill(1, 100.0), bar("AAPL", 1, NOW_NS), bar("MSFT", 1, NOW_NS)])
    assert stage.on_slice(NOW_NS + 90 * SECOND_NS, []) == []
    [event] = stage.on_slice(NOW_NS + 91 * SECOND_NS, [])
    assert isinstance(event, RiskEvent) and (event.scope_key, event.found) == ("AAPL", "91")
    [recovery] = stage.on_slice(NOW_NS + 92 * SECOND_NS, [bar("AAPL", 2, NOW_NS + 92 * SECOND_NS)])
    assert isinstance(recovery, RiskEvent) and recovery.state == ACTIVE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measure": "mood"}, "measure must be one of"),
        ({"measure": "daily_loss", "scope": "SYMBOL"}, "scope must be PORTFOLIO"),
        ({"threshold": D(-1)}, "threshold must be at least 0"),
        ({"trips_to": "ACTIVE"}, "trips_to must be"),
        ({"window": 0}, "window must be at least 1"),
    ],
)
def test_invalid_breaker_is_rejected(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Breaker(**{"measure": "drawdown", "threshold": D(1), **changes})


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
    return Command(f"cmd-{name}", 1, SUBMIT_ORDER, "ann", "", {**terms, **arguments})


def amend(name: str, **arguments: str) -> Command:
    return Command(f"cmd-{name}", 1, AMEND_ORDER, "ann", "", arguments)


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
        "max_position: AAPL position would be 13 units, limit 12",
    ]
    second = of_type(Order, output)[1]
    assert (second.order_id, second.replaces, second.quantity) == ("ord-cmd-3", "ord-cmd-1", D(12))
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
    [order] = stage.on_slice(NOW_NS, [bar("AAPL", 1, NOW_NS), proposal(limit="90")])
    assert isinstance(order, Order)
    amendments = [
        amend(str(n), order_id=order.order_id, **a) for n, a in enumerate(({}, {"side": "SELL"}, {"quantity": "x"}))
    ]
    messages = [
        r.message
        for r in of_type(
            OrderRefusal, stage.on_slice(NOW_NS + 1, [*amendments, amend("9", order_id="ord-77", quantity="1")])
        )
    ]
    amendable = "quantity, limit_price, stop_price, trail_amount, trail_percent"
    assert messages == [
        f"order_terms: AAPL amendment changes nothing, expected any of {amendable}",
        f"order_terms: AAPL side cannot be amended, expected any of {amendable}",
        "order_terms: AAPL quantity must be a number, found 'x'",
    ]


def test_reduce_only_orders_count_toward_no_limit() -> None:
    stage = RiskStage(RiskSettings.unlimited(initial_capital=D(1000), max_position=D(10), buying_power_multiple=D(1)))
    exits: list[OrderProposal] = [
        proposal(SELL, "10", limit="110", reduce_only=True, group_id="x", seq=2),
        proposal(SELL, "10", order_type="STOP", stop_price=D(95), reduce_only=True, group_id="x", seq=3),
    ]
    output = stage.on_slice(NOW_NS, [bar("AAPL", 1, NOW_NS), proposal(BUY, "10"), *exits, proposal(SELL, "10", seq=4)])
    assert [type(record) for record in output] == [Order, Order, Order, OrderRefusal]
    stop = output[2]
    assert isinstance(stop, Order) and (stop.stop_price, stop.group_id, stop.reduce_only) == (D(95), "x", True)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"order_type": "STOP"}, "stop_price is unset, must be above 0 on a stop order"),
        (
            {"order_type": "STOP_LIMIT", "stop_price": D(1)},
            "limit_price is unset, must be above 0 on a stop-limit order",
        ),
        ({"order_type": "TRAILING_STOP"}, "trail is not set, must be either trail_amount or trail_percent"),
        ({"order_type": "TRAILING_STOP", "trail_percent": D(100)}, "trail_percent is 100, must be below 100"),
        ({"order_type": "MARKET", "stop_price": D(1)}, "stop_price is 1, must be unset on a market order"),
        ({"time_in_force": "GTD"}, "expires_ns is unset, must be set with time_in_force GTD"),
        ({"expires_ns": 5}, "expires_ns is 5, must be unset with time_in_force DAY"),
        (
            {"order_type": "STOP", "stop_price": D(1), "time_in_force": "IOC"},
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
    output = stage.on_slice(NOW_NS, [bar("AAPL", 1, NOW_NS), proposal(order_type="STOP", stop_price=D(101))])
    assert isinstance(output[0], OrderRefusal)
    assert output[0].message == "max_order_notional: AAPL order is worth 1,010.00 USD, limit 1,000.00"
