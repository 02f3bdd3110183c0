"""A reduce-only order of a strategy never closes more units than the strategy has, whatever has closed the others."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from operators.trading.accounts import REMAINDER
from operators.venue import VenueSettings
from schemas.records import InternalCross, Order, OrderCancel, Record
from tests.builders import command, corporate_action
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import Recording

D = Decimal
Script = Mapping[int, Any]


class Scripted(Recording):
    """Call the function of the minute."""

    def __init__(self, name: str, script: Script) -> None:
        super().__init__(lambda ctx, number: script[number](ctx) if number in script else None)
        self.name = name


def target(units: float) -> Any:
    return lambda ctx: ctx.target_quantity("KO", units)


def stop(units: float, **terms: Any) -> Any:
    """A reduce-only stop, at 90 by default."""
    prices = {"stop_price": 90.0} if not terms.keys() & {"trail_amount", "limit_price"} else {}
    return lambda ctx: ctx.submit("KO", "SELL", units, **prices, time_in_force="GTC", reduce_only=True, **terms)


def desk_of(first: Script, second: Script, **options: Any) -> TradingDesk:
    return TradingDesk(Scripted("first", first), Scripted("second", second), **options)


def positions(desk: TradingDesk) -> dict[str, Decimal]:
    rows = desk.strategies.accounts()
    return {row.strategy: row.quantities["KO"] for row in rows if "KO" in row.quantities}


def working(desk: TradingDesk, strategy: str = "first") -> list[tuple[float, str]]:
    """Return quantity and parent of the working orders as the strategy sees them."""
    orders = desk.strategies._running[strategy].orders.orders()
    return [(one.remaining, one.parent_id) for one in orders]


def fall(desk: TradingDesk, *records: Record) -> None:
    """Let the price fall through every stop."""
    desk.step(1, *records, KO=(95.0, 95.0, 80.0, 80.0))
    desk.step(2, KO=80.0)


@pytest.mark.parametrize(
    "terms", [{}, {"trail_amount": 10.0}, {"limit_price": 85.0, "stop_price": 90.0}], ids=["stop", "trailing", "limit"]
)
def test_a_stop_is_cancelled_when_a_cross_has_sold_its_units(terms: dict[str, Any]) -> None:
    """The account still has 60 units: those of the other strategy."""
    desk = desk_of({1: target(60), 4: stop(60, **terms), 6: target(0)}, {6: target(60)})
    desk.step(6, KO=100.0)
    (cross,) = desk.of(InternalCross)
    (cancel,) = desk.of(OrderCancel)
    assert (cancel.cause_id, cancel.ts_ns) == (cross.cross_id, cross.ts_ns), "in the time slice of the cross"
    fall(desk)
    assert positions(desk) == {"second": 60}
    assert working(desk) == []
    assert "cancelled submit ord-act-first-3" in [note.partition(" at ")[0] for note in desk.notes()]
    desk.check()


def test_a_stop_is_reduced_to_the_units_that_a_cross_has_left() -> None:
    desk = desk_of({1: target(60), 4: stop(60), 6: target(25)}, {6: target(35)})
    desk.step(7, KO=100.0)
    (_, reduced) = [one for one in desk.of(Order) if one.terms.reduce_only]
    assert (reduced.replaces, reduced.terms.quantity, reduced.cause_id) == ("ord-act-first-3", 25, "cross-2")
    assert reduced.order_id.startswith("ord-act-first-3~own-")
    assert working(desk) == [(25, "")]
    fall(desk)
    assert positions(desk) == {"second": 35}
    desk.check()


def test_the_exits_of_a_bracket_are_reduced_as_a_group() -> None:
    def enter(ctx: Any) -> None:
        ctx.submit("KO", "BUY", 60, take_profit=120.0, stop_loss=90.0)

    desk = desk_of({1: enter, 6: lambda ctx: ctx.target_quantity("KO", 25)}, {6: target(35)})
    desk.step(7, KO=100.0)
    assert sorted(quantity for quantity, _ in working(desk)) == [25, 25]
    desk.step(1, KO=(119.0, 125.0, 119.0, 119.0))
    desk.step(1, KO=119.0)
    assert positions(desk) == {"second": 35} and working(desk) == []
    desk.check()


def test_a_manual_sale_of_the_units_of_a_strategy_reduces_its_stop_too() -> None:
    desk = desk_of({1: target(60), 4: stop(60)}, {1: target(50)})
    desk.step(5, KO=100.0)
    sale = command("cmd-s", 1, "SUBMIT_ORDER", {"symbol": "KO", "side": "SELL", "quantity": "40"})
    desk.step(3, sale, KO=100.0)
    assert positions(desk) == {"first": 20, "second": 50} and working(desk) == [(20, "")]
    fall(desk)
    assert positions(desk) == {"second": 50}


def test_an_own_sale_reduces_the_stop_as_soon_as_another_strategy_holds_units() -> None:
    """While the account has only the units of the strategy, the venue itself limits the order."""
    desk = desk_of({1: target(60), 4: stop(60), 6: target(20)}, {10: target(50)})
    desk.step(9, KO=100.0)
    assert working(desk) == [(60, "")]
    desk.step(3, KO=100.0)
    assert working(desk) == [(20, "")]
    fall(desk)
    assert positions(desk) == {"second": 50}


def test_a_stop_that_risk_approves_in_the_time_slice_of_the_cross_is_cancelled() -> None:
    desk = desk_of({1: target(60), 6: lambda ctx: (stop(60)(ctx), target(0)(ctx))}, {6: target(60)})
    desk.step(8, KO=100.0)
    assert len(desk.of(InternalCross)) == 1 and working(desk) == []
    fall(desk)
    assert positions(desk) == {"second": 60}


def test_a_split_between_order_and_cross_changes_nothing() -> None:
    split = corporate_action("act", "SPLIT", "KO", ts_ns=0, ratio=2)
    desk = desk_of({1: target(60), 4: stop(60), 8: target(50)}, {8: target(70)})
    desk.step(6, KO=100.0)
    desk.step(1, split._replace(ts_ns=1), KO=50.0)
    desk.step(3, KO=50.0)
    assert working(desk) == [(50, "")]
    desk.step(1, KO=(46.0, 46.0, 40.0, 40.0))
    desk.step(1, KO=40.0)
    assert positions(desk) == {"second": 70}
    desk.check()


def test_an_order_that_was_larger_than_the_position_from_the_start_stays() -> None:
    """A strategy can close units of others on purpose, within its limits."""
    desk = desk_of({5: stop(60)}, {1: target(60)})
    desk.step(8, KO=100.0)
    assert working(desk) == [(60, "")] and not desk.of(OrderCancel)


def test_a_restart_between_order_and_cross_changes_nothing() -> None:
    scripts: tuple[Script, Script] = ({1: target(60), 4: stop(60), 6: target(25)}, {6: target(35)})
    desk, restarted = desk_of(*scripts), desk_of(*scripts)
    desk.step(5, KO=100.0)
    restarted.restore(desk.snapshot())
    restarted.minute, count = desk.minute, len(desk.records)
    for one in (desk, restarted):
        one.step(3, KO=100.0)
    assert restarted.records == desk.records[count:]


def test_a_snapshot_without_the_orders_continues_from_the_book() -> None:
    desk = desk_of({1: target(60), 4: stop(60), 6: target(25)}, {6: target(35)})
    desk.step(5, KO=100.0)
    orders = desk._loop._risk._strategy_orders  # type: ignore[attr-defined]
    orders.restore(orders.snapshot()[:4])
    desk.step(3, KO=100.0)
    assert working(desk) == [(25, "")]
    assert REMAINDER not in positions(desk)


def test_the_rest_of_a_part_filled_stop_is_reduced() -> None:
    """The venue fills at most 30 units of each bar."""
    venue = VenueSettings(fee_model="none", slippage_bps=D(0), max_volume_share=D("0.03"))
    desk = desk_of({1: target(60), 6: stop(60), 8: target(10)}, {8: target(20)}, venue=venue)
    desk.step(6, KO=100.0)
    desk.step(1, KO=(89.0, 89.0, 89.0, 89.0))
    desk.step(5, KO=89.0)
    assert all(units >= 0 for units in positions(desk).values()), positions(desk)
