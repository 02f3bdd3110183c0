"""Circuit breakers: what trips them and at which value, what they let through, how they come back, and who did it."""

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
from tests.unit.risk_rows import MINUTE, NOW, SECOND, proposal

D = Decimal
BUY_1, SELL_1 = proposal(BUY, "1"), proposal(SELL, "1")


def stage_with(*breakers: Breaker, **limits: Any) -> RiskStage:
    return RiskStage(RiskSettings.unlimited(**{"initial_capital": D(10_000), "breakers": breakers, **limits}))


def bought(quantity: int, price: float, seq: int = 1, symbol: str = "AAPL") -> Execution:
    return execution(seq, NOW, symbol, quantity, price)


def sold(quantity: int, price: float, seq: int = 2, symbol: str = "AAPL") -> Execution:
    return execution(seq, NOW, symbol, quantity, price)._replace(side=SELL)


def of(kind: type, out: list[Record]) -> list[Any]:
    return [record for record in out if type(record) is kind]


def set_breaker(state: str, measure: str, scope: str = "PORTFOLIO", key: str = "") -> Command:
    return Command(
        "c-1", NOW, SET_BREAKER, "ann", "by hand", {"measure": measure, "scope": scope, "key": key, "state": state}
    )


@pytest.mark.parametrize(
    ("measure", "threshold", "calm", "stormy", "found"),
    [
        # 10 held at 100 out of 10,000
        ("daily_loss", "100", 90.0, 89.99, "100.1"),
        ("day_fall", "0.05", 50.0, 49.9, "0.0501"),
        ("drawdown", "0.05", 50.0, 49.9, "0.0501"),
    ],
)
def test_a_fall_of_the_equity_trips_beyond_the_threshold(
    measure: Any, threshold: str, calm: float, stormy: float, found: str
) -> None:
    stage = stage_with(Breaker(measure=measure, threshold=D(threshold)))
    assert stage.on_tick(NOW, [bought(10, 100.0), bar("AAPL", 1, NOW)]) == []
    [order] = stage.on_tick(NOW + 1, [bar("AAPL", 2, NOW + 1, calm), BUY_1])
    assert isinstance(order, Order)
    [event, fence, refusal, reducing] = stage.on_tick(NOW + 2, [bar("AAPL", 3, NOW + 2, stormy), BUY_1, SELL_1])
    limit = D(threshold).normalize()
    reason = f"{measure} is {found}, limit {limit:f}"
    cause = f"tick-{NOW + 2}"
    assert event == RiskEvent(
        1, NOW + 2, measure, "PORTFOLIO", "", REDUCING, found, f"{limit:f}", "automatic", reason, cause
    )
    assert fence == RiskFence(2, NOW + 2, 1, REDUCING, reason, cause)
    assert isinstance(refusal, OrderRefusal)
    assert refusal.message == "circuit_breaker: the portfolio is reducing, AAPL is refused"
    assert isinstance(reducing, Order) and reducing.risk_epoch == 1


def test_the_briefs_threshold_halts_everything() -> None:
    stage = RiskStage(RiskSettings.unlimited(initial_capital=D(10_000), circuit_breaker_threshold=D("0.05")))
    stage.on_tick(NOW, [bought(10, 100.0), bar("AAPL", 1, NOW)])
    [event, fence, refusal] = stage.on_tick(NOW + 1, [bar("AAPL", 2, NOW + 1, 40.0), SELL_1])
    assert isinstance(event, RiskEvent) and event.breaker == "day_fall"
    assert isinstance(fence, RiskFence) and fence.state == HALTED
    assert isinstance(refusal, OrderRefusal) and refusal.check == "circuit_breaker"


def test_a_tripped_breaker_comes_back_after_its_cool_down_when_the_measure_is_well_again() -> None:
    stage = stage_with(Breaker(measure="daily_loss", threshold=D(100), trips_to="HALTED", cool_down_s=60))
    stage.on_tick(NOW, [bought(10, 100.0), bar("AAPL", 1, NOW)])
    assert len(stage.on_tick(NOW + 1, [bar("AAPL", 2, NOW + 1, 80.0)])) == 2
    # Well again, but not yet cool; then cool, but ill again; then both.
    assert stage.on_tick(NOW + MINUTE, [bar("AAPL", 3, NOW + MINUTE, 95.0)]) == []
    assert stage.on_tick(NOW + MINUTE + 1, [bar("AAPL", 4, NOW + MINUTE + 1, 80.0)]) == []
    [event, fence] = stage.on_tick(NOW + MINUTE + 2, [bar("AAPL", 5, NOW + MINUTE + 2, 95.0)])
    assert isinstance(event, RiskEvent) and isinstance(fence, RiskFence)
    assert (event.state, event.actor, event.reason, event.found) == (ACTIVE, "automatic", "cooled down", "50")
    assert (fence.state, fence.epoch) == (ACTIVE, 2)


def test_without_a_cool_down_only_a_person_releases_it_and_is_named() -> None:
    stage = stage_with(Breaker(measure="daily_loss", threshold=D(100)))
    stage.on_tick(NOW, [bought(10, 100.0), bar("AAPL", 1, NOW)])
    stage.on_tick(NOW + 1, [bar("AAPL", 2, NOW + 1, 80.0)])
    assert stage.on_tick(NOW + 1000 * MINUTE, [bar("AAPL", 3, NOW + 1000 * MINUTE, 100.0)]) == []
    [event, fence] = stage.on_tick(NOW + 1001 * MINUTE, [set_breaker(ACTIVE, "daily_loss")])
    assert isinstance(event, RiskEvent) and isinstance(fence, RiskFence)
    assert (event.state, event.actor, event.reason, event.cause_id) == (ACTIVE, "ann", "by hand", "c-1")
    assert fence.state == ACTIVE
    assert stage.on_tick(NOW + 1002 * MINUTE, [set_breaker(ACTIVE, "daily_loss")]) == []


def test_one_tripped_by_hand_does_not_come_back_by_itself() -> None:
    stage = stage_with(Breaker(measure="drawdown", threshold=D("0.5"), cool_down_s=0))
    [event, fence] = stage.on_tick(NOW, [set_breaker(HALTED, "drawdown")])
    assert isinstance(event, RiskEvent) and (event.state, event.found, event.actor) == (HALTED, "by hand", "ann")
    assert isinstance(fence, RiskFence) and fence.state == HALTED
    assert stage.on_tick(NOW + MINUTE, [bar("AAPL", 1, NOW + MINUTE)]) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"measure": "mood"},
        {"measure": "drawdown", "state": "OFF"},
        {"measure": "drawdown", "scope": "SYMBOL", "state": HALTED},
    ],
)
def test_a_breaker_that_there_is_not_changes_nothing(arguments: dict[str, str]) -> None:
    stage = stage_with(Breaker(measure="drawdown", threshold=D("0.5")))
    assert stage.on_tick(NOW, [Command("c-1", NOW, SET_BREAKER, "ann", "", arguments)]) == []


def test_kill_switch_and_breaker_together_the_worse_of_them_holds() -> None:
    stage = stage_with(Breaker(measure="drawdown", threshold=D("0.5")))
    out = stage.on_tick(NOW, [set_breaker(REDUCING, "drawdown")])
    out += stage.on_tick(NOW + 1, [command("k-1", NOW, KILL_SWITCH)])
    out += stage.on_tick(NOW + 2, [command("k-2", NOW, RELEASE)])
    out += stage.on_tick(NOW + 3, [set_breaker(ACTIVE, "drawdown")])
    fences = of(RiskFence, out)
    assert [fence.state for fence in fences] == [REDUCING, HALTED, REDUCING, ACTIVE]
    assert [fence.epoch for fence in fences] == [1, 2, 3, 4]


def test_a_streak_of_losses_stops_the_strategy_that_had_them_and_cancels_its_orders() -> None:
    stage = stage_with(Breaker(measure="loss_streak", scope="STRATEGY", threshold=D(1), trips_to="HALTED"))
    orders = stage.on_tick(
        NOW, [bar("AAPL", 1, NOW), *[proposal(BUY, "10", seq=n) for n in (1, 2)], proposal(seq=3, strategy="other")]
    )
    first = orders[0]
    assert isinstance(first, Order)
    fill = bought(10, 100.0)._replace(order_id=first.order_id, leaves_quantity=D(0))
    [out_1, out_2] = stage.on_tick(NOW + 1, [fill, *[proposal(SELL, "5", seq=n) for n in (4, 5)]])
    assert isinstance(out_1, Order) and isinstance(out_2, Order)
    one, two = (sold(5, 99.0, seq=n)._replace(order_id=o.order_id) for n, o in ((2, out_1), (3, out_2)))
    assert stage.on_tick(NOW + 2, [one]) == []
    [event, cancel, refusal, order] = stage.on_tick(NOW + 3, [two, BUY_1, BUY_1._replace(strategy="other")])
    assert isinstance(event, RiskEvent) and (event.scope, event.scope_key, event.found) == ("STRATEGY", "test", "2")
    assert isinstance(cancel, OrderCancel) and cancel.order_id == "ord-2"
    assert isinstance(refusal, OrderRefusal)
    assert refusal.message == "circuit_breaker: the strategy test is halted, AAPL is refused"
    assert isinstance(order, Order)


def test_a_gain_ends_the_streak() -> None:
    stage = stage_with(Breaker(measure="loss_streak", threshold=D(1)))
    trades = [bought(9, 100.0), sold(3, 99.0), sold(3, 101.0, 3), sold(3, 99.0, 4)]
    for number, trade in enumerate(trades):
        assert stage.on_tick(NOW + number, [trade, bar("AAPL", 1, NOW + number)]) == []


def test_too_many_rejects_trip_once_there_are_enough_answers() -> None:
    stage = stage_with(Breaker(measure="reject_rate", threshold=D("0.5"), window=4))
    answers = [REJECTED, REJECTED, "NEW", "NEW", REJECTED, REJECTED, REJECTED]
    tripped = []
    for number, kind in enumerate(answers):
        answer = bought(1, 1.0, seq=number + 1)._replace(exec_type=kind, quantity=D(0))
        tripped.append(bool(of(RiskFence, stage.on_tick(NOW + number, [answer]))))
    assert tripped == [False, False, False, False, False, False, True]


def test_a_jump_of_one_symbol_stops_opening_in_it_and_nothing_else() -> None:
    stage = stage_with(Breaker(measure="volatility_jump", scope="SYMBOL", threshold=D(5), window=10))
    price = 100.0
    for number in range(12):
        price *= 1.001 if number % 2 else 1 / 1.001
        assert stage.on_tick(NOW + number, [bar(s, number + 1, NOW + number, price) for s in ("AAPL", "MSFT")]) == []
    later = NOW + 20
    bars: list[Record] = [bar("AAPL", 20, later, price * 1.02), bar("MSFT", 20, later, price)]
    [event, refusal, order] = stage.on_tick(later, [*bars, BUY_1, BUY_1._replace(symbol="MSFT")])
    assert isinstance(event, RiskEvent) and event.scope_key == "AAPL" and 19 < D(event.found) < 22
    assert isinstance(refusal, OrderRefusal)
    assert refusal.message == "circuit_breaker: the symbol AAPL is reducing, AAPL is refused"
    assert isinstance(order, Order)


def test_a_held_symbol_whose_feed_is_silent_trips() -> None:
    stage = stage_with(Breaker(measure="staleness", scope="SYMBOL", threshold=D(90), cool_down_s=0))
    stage.on_tick(NOW, [bought(1, 100.0), bar("AAPL", 1, NOW), bar("MSFT", 1, NOW)])
    assert stage.on_tick(NOW + 90 * SECOND, []) == []
    [event] = stage.on_tick(NOW + 91 * SECOND, [])
    assert isinstance(event, RiskEvent) and (event.scope_key, event.found) == ("AAPL", "91")
    [back] = stage.on_tick(NOW + 92 * SECOND, [bar("AAPL", 2, NOW + 92 * SECOND)])
    assert isinstance(back, RiskEvent) and back.state == ACTIVE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measure": "mood"}, "measure must be one of"),
        ({"measure": "daily_loss", "scope": "SYMBOL"}, "scope must be PORTFOLIO"),
        ({"threshold": D(-1)}, "threshold must be at least 0"),
        ({"trips_to": "ACTIVE"}, "trips_to must be"),
        ({"window": 0}, "window must be at least 1"),
    ],
)
def test_a_breaker_that_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Breaker(**{"measure": "drawdown", "threshold": D(1), **changes})


class Silent:
    """A portfolio that wants nothing."""

    def on_tick(self, ts_ns: int, records: Any) -> list[Record]:
        return []

    def snapshot(self) -> Any:
        return None

    def restore(self, snapshot: Any) -> None:
        """Nothing to restore."""


def floor(**limits: Any) -> TradingLoop:
    venue = VenueSettings(fee_model="none", slippage_bps=D(0), max_volume_share=D("0.005"))
    return TradingLoop(VenueStage(venue), Silent(), RiskStage(RiskSettings.unlimited(**limits)))


def submit(name: str, **arguments: str) -> Command:
    terms = {"symbol": "AAPL", "side": "BUY", "quantity": "10", "order_type": "LIMIT", "limit_price": "90"}
    return Command(f"cmd-{name}", 1, SUBMIT_ORDER, "ann", "", {**terms, **arguments})


def amend(name: str, **arguments: str) -> Command:
    return Command(f"cmd-{name}", 1, AMEND_ORDER, "ann", "", arguments)


def test_an_amended_order_is_judged_without_the_old_one_and_takes_its_place() -> None:
    loop = floor(max_position=D(12))
    out: list[Record] = []
    ticks: list[list[Record]] = [
        [submit("1")],
        [amend("2", order_id="ord-cmd-1", quantity="13")],
        [amend("3", order_id="ord-cmd-1", quantity="12", limit_price="100")],
        [],
        [],
        [],
        [amend("4", order_id="ord-cmd-3", quantity="20")],
        [submit("5", quantity="1")],
    ]
    for number, records in enumerate(ticks):
        at = (number + 1) * MINUTE
        out += loop.on_tick(at, [*records, bar("AAPL", number + 1, at)])
        loop_2 = floor(max_position=D(12))
        loop_2.restore(pickle.loads(pickle.dumps(loop.snapshot())))  # noqa: S301 - our own snapshot
        loop = loop_2
    refusals = of(OrderRefusal, out)
    assert [r.message for r in refusals] == [
        "max_position: AAPL would be 13 shares, limit 12",
        "max_position: AAPL would be 13 shares, limit 12",
    ]
    second = of(Order, out)[1]
    assert (second.order_id, second.replaces, second.quantity) == ("ord-cmd-3", "ord-cmd-1", D(12))
    assert [(e.order_id, e.exec_type, int(e.quantity)) for e in of(Execution, out)] == [
        ("ord-cmd-1", "NEW", 0),
        ("ord-cmd-1", "REPLACED", 0),
        ("ord-cmd-3", "NEW", 0),
        ("ord-cmd-3", TRADE, 5),
        ("ord-cmd-3", TRADE, 5),
        ("ord-cmd-3", TRADE, 2),
    ]


def test_an_amendment_that_cannot_be_read_is_refused_with_the_reason() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    [order] = stage.on_tick(NOW, [bar("AAPL", 1, NOW), proposal(limit="90")])
    assert isinstance(order, Order)
    asked = [
        amend(str(n), order_id=order.order_id, **a) for n, a in enumerate(({}, {"side": "SELL"}, {"quantity": "x"}))
    ]
    said = [
        r.message
        for r in of(OrderRefusal, stage.on_tick(NOW + 1, [*asked, amend("9", order_id="ord-77", quantity="1")]))
    ]
    assert said == [
        "order_terms: AAPL nothing to amend",
        "order_terms: AAPL argument side cannot be amended",
        "order_terms: AAPL quantity must be a number, found 'x'",
    ]


def test_an_order_that_only_reduces_counts_in_no_limit() -> None:
    stage = RiskStage(RiskSettings.unlimited(initial_capital=D(1000), max_position=D(10), buying_power_multiple=D(1)))
    exits: list[OrderProposal] = [
        proposal(SELL, "10", limit="110", reduce_only=True, group_id="x", seq=2),
        proposal(SELL, "10", order_type="STOP", stop_price=D(95), reduce_only=True, group_id="x", seq=3),
    ]
    out = stage.on_tick(NOW, [bar("AAPL", 1, NOW), proposal(BUY, "10"), *exits, proposal(SELL, "10", seq=4)])
    assert [type(record) for record in out] == [Order, Order, Order, OrderRefusal]
    stop = out[2]
    assert isinstance(stop, Order) and (stop.stop_price, stop.group_id, stop.reduce_only) == (D(95), "x", True)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"order_type": "STOP"}, "stop_price is None, must be above 0 on a stop order"),
        (
            {"order_type": "STOP_LIMIT", "stop_price": D(1)},
            "limit_price is None, must be above 0 on a stop-limit order",
        ),
        ({"order_type": "TRAILING_STOP"}, "trail is both or none, must be an amount or a percent"),
        ({"order_type": "TRAILING_STOP", "trail_percent": D(100)}, "trail_percent is 100, must be below 100"),
        ({"order_type": "MARKET", "stop_price": D(1)}, "stop_price is 1, must be none on a market order"),
        ({"time_in_force": "GTD"}, "expires_ns is None, must be given with GTD and only with it"),
        ({"expires_ns": 5}, "expires_ns is 5, must be given with GTD and only with it"),
        (
            {"order_type": "STOP", "stop_price": D(1), "time_in_force": "IOC"},
            "time_in_force is IOC, must be DAY, GTC or GTD on STOP",
        ),
    ],
)
def test_terms_that_do_not_belong_together_are_refused(terms: dict[str, Any], words: str) -> None:
    stage = RiskStage(RiskSettings.unlimited())
    [refusal] = stage.on_tick(NOW, [bar("AAPL", 1, NOW), proposal(**terms)])
    assert isinstance(refusal, OrderRefusal) and refusal.message == f"order_terms: AAPL {words}"


def test_a_buy_stop_is_judged_at_its_stop() -> None:
    stage = RiskStage(RiskSettings.unlimited(max_order_notional=D(1_000)))
    out = stage.on_tick(NOW, [bar("AAPL", 1, NOW), proposal(order_type="STOP", stop_price=D(101))])
    assert isinstance(out[0], OrderRefusal)
    assert out[0].message == "max_order_notional: AAPL order is worth 1,010.00, limit 1,000.00"
