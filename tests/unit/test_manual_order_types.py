"""Manual order types, brackets and amendments from command to venue; fills from quotes; the lag breaker."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from api.routers.order_entry import OrderChange, OrderTicket
from dataflows.sources.heartbeat import Heartbeat
from operators.manual_orders import order_id_of
from operators.portfolio import PortfolioStage
from operators.risk import RiskSettings, RiskStage
from operators.risk.breakers import Breaker
from operators.stage import TimeSlice
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    AMEND_ORDER,
    CANCELED,
    HALTED,
    HEARTBEAT,
    SUBMIT_ORDER,
    TRADE,
    Command,
    Execution,
    Order,
    OrderRefusal,
    Record,
    RiskEvent,
    RiskFence,
)
from schemas.records.constants import ExecType
from tests.builders import bar, command, quote

MINUTE_NS = 60_000_000_000


class OrderTypeHarness:
    """Venue, portfolio and risk in one loop: one time slice per minute with one bar of X."""

    def __init__(self, venue: VenueSettings | None = None, **limits: Any) -> None:
        plain_venue = VenueSettings(fee_model="none", slippage_bps=Decimal(0))
        self.risk = RiskStage(RiskSettings.unlimited(**limits))
        self.loop = TradingLoop(VenueStage(venue or plain_venue), PortfolioStage(), self.risk)
        self.minute = 0
        self.output: list[Record] = []

    def step(self, low: float, high: float, *records: Record) -> list[Any]:
        """Process a bar that opens at its low and closes at its high."""
        self.minute += 1
        ts_ns = self.minute * MINUTE_NS
        minute_bar = bar("X", self.minute, ts_ns, high, open=low, volume=1e6)
        self.output = self.loop.on_slice(ts_ns, [*records, minute_bar])
        return self.output

    def reports(self, exec_type: ExecType) -> list[Execution]:
        return [report for report in self.output if type(report) is Execution and report.exec_type == exec_type]

    def of_type(self, kind: type) -> list[Any]:
        return [record for record in self.output if type(record) is kind]


def submit(name: str, **terms: Any) -> Command:
    """Return the command that the API creates from an order ticket."""
    ticket = OrderTicket.model_validate({"symbol": "X", "side": "BUY", "quantity": 100} | terms)
    return command(f"cmd-{name}", kind=SUBMIT_ORDER, arguments=ticket.arguments())


ORDER_TYPES = [
    ({"order_type": "LIMIT", "limit_price": "99"}, [(100.0, 101.0), (98.0, 99.0)], Decimal(98)),
    ({"order_type": "STOP", "stop_price": "105"}, [(100.0, 101.0), (104.0, 106.0)], Decimal(105)),
    (
        {"order_type": "STOP_LIMIT", "stop_price": "105", "limit_price": "106"},
        [(100.0, 101.0), (105.5, 107.0)],
        Decimal("105.5"),
    ),
    ({"order_type": "TRAILING_STOP", "trail_amount": "2"}, [(100.0, 101.0), (101.0, 103.0)], Decimal(102)),
    ({"order_type": "TRAILING_STOP", "trail_percent": "1"}, [(100.0, 100.5), (100.0, 103.0)], Decimal(101)),
    ({"time_in_force": "IOC"}, [(100.0, 101.0)], Decimal(100)),
    (
        {"time_in_force": "GTD", "expires_at": "2100-01-01T00:00:00Z", "order_type": "LIMIT", "limit_price": 90},
        [(100.0, 101.0), (89.0, 90.0)],
        Decimal(89),
    ),
]


@pytest.mark.parametrize(("terms", "bars", "price"), ORDER_TYPES, ids=lambda value: str(value)[:40])
def test_each_order_type_fills_from_its_ticket(
    terms: dict[str, Any], bars: list[tuple[float, float]], price: Decimal
) -> None:
    floor = OrderTypeHarness()
    floor.step(100.0, 100.0, submit("a", **terms))
    assert len(floor.of_type(Order)) == 1
    for low, high in bars[:-1]:
        floor.step(low, high)
        assert not floor.reports(TRADE)
    floor.step(*bars[-1])
    (fill,) = floor.reports(TRADE)
    assert (fill.order_id, fill.price) == (order_id_of("cmd-a"), price)


def test_a_bracket_is_active_after_its_fill_and_one_exit_cancels_the_other() -> None:
    floor = OrderTypeHarness()
    floor.step(100.0, 100.0, submit("b", take_profit_price=110, stop_loss_price=95))
    entry, profit, loss = floor.of_type(Order)
    assert (profit.terms.parent_id, loss.terms.parent_id) == (entry.cause_id, entry.cause_id)
    assert profit.terms.group_id == loss.terms.group_id
    assert profit.terms.reduce_only and loss.terms.reduce_only
    floor.step(100.0, 101.0)
    assert [fill.order_id for fill in floor.reports(TRADE)] == [entry.order_id]
    floor.step(109.0, 111.0)
    (fill,) = floor.reports(TRADE)
    (cancelled,) = floor.reports(CANCELED)
    assert (fill.order_id, fill.price, cancelled.order_id) == (profit.order_id, Decimal(110), loss.order_id)


def test_rejected_entry_creates_no_exits() -> None:
    floor = OrderTypeHarness(max_position=Decimal(50))
    floor.step(100.0, 100.0, submit("b", take_profit_price=110, stop_loss_price=95))
    assert not floor.of_type(Order)
    assert [refusal.check for refusal in floor.of_type(OrderRefusal)] == ["max_position"]


def test_partly_filled_exit_reduces_the_other() -> None:
    venue = VenueSettings(fee_model="none", slippage_bps=Decimal(0), max_volume_share=Decimal("0.00006"))
    floor = OrderTypeHarness(venue)  # at most 60 units per bar
    floor.step(100.0, 100.0, submit("b", take_profit_price=110, stop_loss_price=95))
    _, profit, loss = floor.of_type(Order)
    for _ in range(2):
        floor.step(100.0, 101.0)
    floor.step(111.0, 112.0)
    (partial_fill,) = floor.reports(TRADE)
    assert (partial_fill.order_id, partial_fill.leaves_quantity) == (profit.order_id, Decimal(40))
    floor.step(94.0, 95.0)
    (last_fill,) = floor.reports(TRADE)
    assert (last_fill.order_id, last_fill.quantity) == (loss.order_id, Decimal(40))
    assert last_fill.leaves_quantity == 0
    assert [report.order_id for report in floor.reports(CANCELED)] == [profit.order_id]


def test_amendments_are_checked_and_rate_limited() -> None:
    floor = OrderTypeHarness(max_amends_in_window=Decimal(1), order_window_s=Decimal(300))
    floor.step(100.0, 100.0, submit("c", order_type="LIMIT", limit_price=90, time_in_force="GTC"))
    change = OrderChange(limit_price=Decimal(101)).arguments()
    old = order_id_of("cmd-c")
    floor.step(100.0, 100.0, command("cmd-d", 2, AMEND_ORDER, {"order_id": old, **change}))
    (new,) = floor.of_type(Order)
    assert (new.replaces, new.terms.limit_price) == (old, Decimal(101))
    second_change = {"order_id": new.order_id, "limit_price": "99"}
    floor.step(105.0, 106.0, command("cmd-e", 3, AMEND_ORDER, second_change))
    (refusal,) = floor.of_type(OrderRefusal)
    assert refusal.message == "amend_rate: X amendment would be number 2 within 300 s, limit 1"


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"order_type": "STOP"}, "stop_price is required for STOP and STOP_LIMIT orders"),
        ({"limit_price": 5}, "limit_price is allowed only for LIMIT and STOP_LIMIT orders"),
        (
            {"order_type": "TRAILING_STOP"},
            "require either trail_amount or trail_percent; other orders do not allow them; found neither",
        ),
        (
            {"order_type": "TRAILING_STOP", "trail_amount": 1, "trail_percent": 1},
            "found trail_amount and trail_percent in a TRAILING_STOP order",
        ),
        ({"trail_percent": 1}, "found trail_percent in a MARKET order"),
        ({"time_in_force": "GTD"}, "expires_at is required for GTD orders"),
        ({"stop_loss_limit_price": 5}, "stop_loss_limit_price requires stop_loss_price, found none"),
    ],
)
def test_invalid_ticket_gives_a_one_line_error(terms: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        OrderTicket.model_validate({"symbol": "X", "side": "BUY", "quantity": 1} | terms)
    assert message in str(error.value)


def test_empty_change_is_rejected() -> None:
    with pytest.raises(ValidationError, match="no change: set a quantity"):
        OrderChange()


def test_with_quotes_a_buy_fills_at_the_ask_up_to_its_size() -> None:
    venue = VenueSettings(fills_from="quotes", fee_model="none", slippage_bps=Decimal(0))
    floor = OrderTypeHarness(venue)
    floor.step(100.0, 100.0, submit("q"))
    floor.step(
        200.0, 200.0, quote("X", 1, MINUTE_NS + 1, 99.9, 100.1, 70.0), quote("X", 2, MINUTE_NS + 2, 99.8, 100.2, 70.0)
    )
    assert [(fill.quantity, fill.price, fill.filled_at_ns) for fill in floor.reports(TRADE)] == [
        (Decimal(70), Decimal("100.1"), MINUTE_NS + 1),
        (Decimal(30), Decimal("100.2"), MINUTE_NS + 2),
    ]


def test_with_quotes_bars_fill_nothing_and_a_resting_limit_gets_its_own_price() -> None:
    floor = OrderTypeHarness(VenueSettings(fills_from="quotes", fee_model="none", slippage_bps=Decimal(0)))
    floor.step(100.0, 100.0, submit("q", order_type="LIMIT", limit_price=99, time_in_force="GTC"))
    floor.step(50.0, 100.0, quote("X", 1, MINUTE_NS + 1, 99.5, 99.6))
    assert not floor.reports(TRADE)
    floor.step(50.0, 100.0, quote("X", 2, MINUTE_NS + 2, 98.0, 98.5))
    (fill,) = floor.reports(TRADE)
    assert fill.price == 99


def test_lagging_log_halts_trading_until_it_catches_up() -> None:
    lag = Breaker(measure="lag", threshold=Decimal(5), trips_to="HALTED", cool_down_s=60)
    floor = OrderTypeHarness(breakers=(lag,))

    def heartbeat(behind_s: float) -> Command:
        ts_ns = (floor.minute + 1) * MINUTE_NS
        (time_slice,) = Heartbeat(1.0, now_ns=lambda: ts_ns + round(behind_s * 1e9)).add([TimeSlice(ts_ns, [])])
        assert type(time_slice.records[-1]) is Command and time_slice.records[-1].kind == HEARTBEAT
        return time_slice.records[-1]

    floor.step(100.0, 100.0, heartbeat(4.9))
    assert not floor.of_type(RiskEvent)
    floor.step(100.0, 100.0, heartbeat(7.5), submit("l"))
    (event,) = floor.of_type(RiskEvent)
    assert (event.breaker, event.state, event.found) == ("lag", HALTED, "7.5")
    assert floor.of_type(RiskFence) and [refusal.check for refusal in floor.of_type(OrderRefusal)] == [
        "circuit_breaker"
    ]
    floor.step(100.0, 100.0, heartbeat(0.1))
    floor.step(100.0, 100.0)
    assert floor.risk.book.epoch == 2


def test_heartbeat_is_sent_per_interval_not_per_slice() -> None:
    now = [0]
    heartbeat = Heartbeat(10.0, now_ns=lambda: now[0])
    counts = []
    for second in range(25):
        now[0] = second * 1_000_000_000
        counts.append(len(heartbeat.add([TimeSlice(second, [])])[0].records))
    assert [index for index, count in enumerate(counts) if count] == [0, 10, 20]
    assert heartbeat.add([]) == []
