"""Circuit breakers: their thresholds, the orders they allow, how they reset, and the recorded actor."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from operators.risk import RiskSettings, RiskStage
from operators.risk.breakers import Breaker
from operators.risk.commands import SET_BREAKER
from schemas.errors import BadInput
from schemas.records import (
    ACTIVE,
    BUY,
    HALTED,
    KILL_SWITCH,
    NEW,
    REDUCING,
    REJECTED,
    RELEASE,
    SELL,
    Command,
    Order,
    OrderCancel,
    OrderRefusal,
    Record,
    RiskEvent,
    RiskFence,
)
from schemas.records.constants import ExecType
from tests.builders import bar, command, execution, order, proposal, report
from tests.unit.risk_check_cases import MINUTE_NS, NOW_NS, SECOND_NS

D = Decimal
BUY_1, SELL_1 = proposal(BUY, 1), proposal(SELL, 1)


def risk_stage(*breakers: Breaker, **limits: Any) -> RiskStage:
    return RiskStage(RiskSettings.unlimited(**{"initial_capital": D(10_000), "breakers": breakers, **limits}))


def of_type(kind: type, output: list[Record]) -> list[Any]:
    return [record for record in output if type(record) is kind]


def set_breaker(state: str, measure: str) -> Command:
    arguments = {"measure": measure, "scope": "PORTFOLIO", "key": "", "state": state}
    return command("c-1", NOW_NS, SET_BREAKER, arguments, actor="ann", reason="by hand")


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
    assert stage.on_slice(NOW_NS, [execution(1, NOW_NS, "AAPL", 10, 100.0), bar("AAPL", 1, NOW_NS)]) == []
    [approved] = stage.on_slice(NOW_NS + 1, [bar("AAPL", 2, NOW_NS + 1, normal_close), BUY_1])
    assert isinstance(approved, Order)
    [event, fence, refusal, reducing] = stage.on_slice(
        NOW_NS + 2, [bar("AAPL", 3, NOW_NS + 2, tripping_close), BUY_1, SELL_1]
    )
    limit = D(threshold).normalize()
    reason = f"{measure} is {value}, limit {limit:f}"
    cause = f"tick-{NOW_NS + 2}"
    assert event == RiskEvent(
        seq=1,
        ts_ns=NOW_NS + 2,
        breaker=measure,
        scope="PORTFOLIO",
        scope_key="",
        state=REDUCING,
        found=value,
        limit=f"{limit:f}",
        actor="automatic",
        reason=reason,
        cause_id=cause,
    )
    assert fence == RiskFence(seq=2, ts_ns=NOW_NS + 2, epoch=1, state=REDUCING, reason=reason, cause_id=cause)
    assert isinstance(refusal, OrderRefusal)
    assert refusal.message == "circuit_breaker: AAPL order would open 1 units while the portfolio is REDUCING, limit 0"
    assert isinstance(reducing, Order) and reducing.risk_epoch == 1


def test_circuit_breaker_threshold_halts_all_orders() -> None:
    stage = RiskStage(RiskSettings.unlimited(initial_capital=D(10_000), circuit_breaker_threshold=D("0.05")))
    stage.on_slice(NOW_NS, [execution(1, NOW_NS, "AAPL", 10, 100.0), bar("AAPL", 1, NOW_NS)])
    [event, fence, refusal] = stage.on_slice(NOW_NS + 1, [bar("AAPL", 2, NOW_NS + 1, 40.0), SELL_1])
    assert isinstance(event, RiskEvent) and event.breaker == "day_fall"
    assert isinstance(fence, RiskFence) and fence.state == HALTED
    assert isinstance(refusal, OrderRefusal) and refusal.check == "circuit_breaker"


def test_tripped_breaker_resets_after_cool_down_when_the_measure_is_normal() -> None:
    stage = risk_stage(Breaker(measure="daily_loss", threshold=D(100), trips_to="HALTED", cool_down_s=60))
    stage.on_slice(NOW_NS, [execution(1, NOW_NS, "AAPL", 10, 100.0), bar("AAPL", 1, NOW_NS)])
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
    stage.on_slice(NOW_NS, [execution(1, NOW_NS, "AAPL", 10, 100.0), bar("AAPL", 1, NOW_NS)])
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
    assert stage.on_slice(NOW_NS, [command("c-1", NOW_NS, SET_BREAKER, arguments)]) == []


def test_strictest_of_kill_switch_and_breaker_applies() -> None:
    stage = risk_stage(Breaker(measure="drawdown", threshold=D("0.5")))
    output = stage.on_slice(NOW_NS, [set_breaker(REDUCING, "drawdown")])
    output += stage.on_slice(NOW_NS + 1, [command("k-1", NOW_NS, KILL_SWITCH)])
    output += stage.on_slice(NOW_NS + 2, [command("k-2", NOW_NS, RELEASE)])
    output += stage.on_slice(NOW_NS + 3, [set_breaker(ACTIVE, "drawdown")])
    fences = of_type(RiskFence, output)
    assert [one.state for one in fences] == [REDUCING, HALTED, REDUCING, ACTIVE]
    assert [one.epoch for one in fences] == [1, 2, 3, 4]


def test_loss_streak_halts_its_strategy_and_cancels_its_orders() -> None:
    stage = risk_stage(Breaker(measure="loss_streak", scope="STRATEGY", threshold=D(1), trips_to="HALTED"))
    orders = stage.on_slice(
        NOW_NS,
        [bar("AAPL", 1, NOW_NS), *[proposal(BUY, 10, seq=n) for n in (1, 2)], proposal(seq=3, strategy="other")],
    )
    first = orders[0]
    assert isinstance(first, Order)
    fill = execution(1, NOW_NS, "AAPL", 10, 100.0, order_id=first.order_id)
    [exit_1, exit_2] = stage.on_slice(NOW_NS + 1, [fill, *[proposal(SELL, 5, seq=n) for n in (4, 5)]])
    assert isinstance(exit_1, Order) and isinstance(exit_2, Order)
    first_loss, second_loss = (
        execution(n, NOW_NS, "AAPL", -5, 99.0, order_id=o.order_id) for n, o in ((2, exit_1), (3, exit_2))
    )
    assert stage.on_slice(NOW_NS + 2, [first_loss]) == []
    [event, cancel, refusal, approved] = stage.on_slice(
        NOW_NS + 3, [second_loss, BUY_1, proposal(BUY, 1, strategy="other")]
    )
    assert isinstance(event, RiskEvent) and (event.scope, event.scope_key, event.found) == ("STRATEGY", "test", "2")
    assert isinstance(cancel, OrderCancel) and cancel.order_id == "ord-2"
    assert isinstance(refusal, OrderRefusal)
    assert refusal.message == "circuit_breaker: AAPL orders are not allowed while the strategy test is HALTED"
    assert isinstance(approved, Order)


def test_a_gain_ends_the_streak() -> None:
    stage = risk_stage(Breaker(measure="loss_streak", threshold=D(1)))
    trades = [
        execution(1, NOW_NS, "AAPL", 9, 100.0),
        execution(2, NOW_NS, "AAPL", -3, 99.0),
        execution(3, NOW_NS, "AAPL", -3, 101.0),
        execution(4, NOW_NS, "AAPL", -3, 99.0),
    ]
    for number, trade in enumerate(trades):
        assert stage.on_slice(NOW_NS + number, [trade, bar("AAPL", 1, NOW_NS + number)]) == []


def test_too_many_rejects_trip_after_enough_reports() -> None:
    stage = risk_stage(Breaker(measure="reject_rate", threshold=D("0.5"), window=4))
    exec_types: list[ExecType] = [REJECTED, REJECTED, NEW, NEW, REJECTED, REJECTED, REJECTED]
    tripped = []
    for number, kind in enumerate(exec_types):
        one_report = report(number + 1, order(number + 1), kind)
        tripped.append(bool(of_type(RiskFence, stage.on_slice(NOW_NS + number, [one_report]))))
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
    [event, refusal, approved] = stage.on_slice(later, [*bars, BUY_1, proposal(BUY, 1, "MSFT")])
    assert isinstance(event, RiskEvent) and event.scope_key == "AAPL" and 19 < D(event.found) < 22
    assert isinstance(refusal, OrderRefusal)
    assert (
        refusal.message == "circuit_breaker: AAPL order would open 1 units while the symbol AAPL is REDUCING, limit 0"
    )
    assert isinstance(approved, Order)


def test_stale_feed_of_an_open_position_trips() -> None:
    stage = risk_stage(Breaker(measure="staleness", scope="SYMBOL", threshold=D(90), cool_down_s=0))
    stage.on_slice(NOW_NS, [execution(1, NOW_NS, "AAPL", 1, 100.0), bar("AAPL", 1, NOW_NS), bar("MSFT", 1, NOW_NS)])
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
