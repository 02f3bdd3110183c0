"""A target that the portfolio reduces: its strategy receives what reduced it, with limit and value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from operators.strategies import TradingStrategy
from schemas.records import StrategyAction, TargetReduction
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import Recording, notes

D = Decimal


class Targets(Recording):
    """Set one target in the first time slice, and note each update in full."""

    def __init__(self, symbol: str = "KO", **target: float) -> None:
        super().__init__(lambda ctx, number: self._set(ctx, symbol, **target) if number == 1 else None)
        self.name = "targets"

    @staticmethod
    def _set(ctx: Any, symbol: str, quantity: float | None = None, weight: float | None = None) -> None:
        if quantity is not None:
            ctx.target_quantity(symbol, quantity)
        else:
            ctx.target_weight(symbol, weight)

    def on_order(self, ctx: Any, update: Any) -> None:
        ctx.note(f"{update.status} {update.request} {update.symbol}: {update.check} {update.value} of {update.limit}")


def run(strategy: TradingStrategy, portfolio: dict[str, Any], minutes: int = 4) -> TradingDesk:
    desk = TradingDesk(strategy, portfolio=portfolio)
    desk.step(minutes, KO=100.0)
    return desk


@pytest.mark.parametrize(
    ("target", "portfolio", "note", "position"),
    [
        (
            {"quantity": 100},
            {"max_position_percentage": D("0.05")},
            "reduced target KO: max_position_percentage 0.1 of 0.05",
            50,
        ),
        (
            {"weight": 0.1},
            {"max_position_percentage": D("0.0005")},
            "reduced target KO: max_position_percentage 0.1 of 0.0005",
            0,
        ),
        ({"weight": -0.1}, {"allow_short": False}, "reduced target KO: allow_short -100 of 0", 0),
        ({"quantity": 1500}, {"max_position_percentage": D(5)}, "reduced target KO: free_cash 150000 of 100000", 1000),
        ({"symbol": "PEP", "quantity": 5}, {}, "reduced target PEP: known_price no price of a price", 0),
    ],
    ids=["capped", "capped to nothing", "no short positions", "free cash", "no price"],
)
def test_a_strategy_receives_what_reduced_its_target(
    target: dict[str, Any], portfolio: dict[str, Any], note: str, position: int
) -> None:
    desk = run(Targets(**target), portfolio)
    received = [text for text in notes(desk.of(StrategyAction)) if not text.startswith("fill")]
    assert received == [note], "once"
    assert desk.position("KO") == position
    (reduction,) = desk.of(TargetReduction)
    assert (reduction.strategy, reduction.action_id, reduction.quantity) == ("targets", "act-targets-1", position)


def test_the_message_has_the_target_before_and_after() -> None:
    desk = run(Targets(quantity=100), {"max_position_percentage": D("0.05")})
    (reduction,) = desk.of(TargetReduction)
    assert reduction.message == "max_position_percentage: KO target of 100 reduced to 50, found 0.1, limit 0.05"


def test_a_target_within_the_limits_is_not_reported() -> None:
    desk = run(Targets(quantity=50), {"max_position_percentage": D("0.05")})
    assert not desk.of(TargetReduction) and desk.position("KO") == 50


def test_a_reduction_arrives_once_after_a_restart_at_any_time_slice() -> None:
    expected = notes(run(Targets(quantity=100), {"max_position_percentage": D("0.05")}).of(StrategyAction))
    for restart in (1, 2, 3):
        portfolio = {"max_position_percentage": D("0.05")}
        first, second = (TradingDesk(Targets(quantity=100), portfolio=portfolio) for _ in range(2))
        first.step(restart, KO=100.0)
        second.restore(first.snapshot())
        second.minute = first.minute
        second.step(4 - restart, KO=100.0)
        assert notes([*first.of(StrategyAction), *second.of(StrategyAction)]) == expected
