"""Limits of view strategies: risk rejects their orders, and a loss stop suspends them, as for trading strategies."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

import pytest

from configs.configuration_changes import with_overrides
from configs.settings import load_settings
from configs.strategies import configured_strategies, portfolio_settings
from dataflows.runtime import stages
from operators.strategy_limits import StrategyLimits
from operators.trading.stage import TradingStrategyStage
from schemas.errors import BadInput
from schemas.records import RESUME_STRATEGY, Order, OrderProposal, OrderRefusal, Record, StrategyAction
from tests.builders import command, signal
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import Recording, minute

D = Decimal


def desk_of(flatten: Collection[str] = (), **limits: str) -> TradingDesk:
    """Return a desk with the view strategy `trend`, which holds 100 units while it is long, and an idle one."""
    own = {"trend": StrategyLimits(**{name: D(value) for name, value in limits.items()})}
    idle = Recording(lambda ctx, number: None, name="idle")
    return TradingDesk(idle, limits=own, flatten_on_error=flatten)


def view(seq: int, direction: int, strategy: str = "trend") -> Record:
    return signal("KO", seq, minute(seq), 1.0, direction, strategy=strategy)


def kinds(desk: TradingDesk) -> list[str]:
    return [action.kind for action in desk.of(StrategyAction) if action.strategy == "trend"]


@pytest.mark.parametrize(
    ("limits", "check"),
    [
        ({"max_order_notional": "9999"}, "strategy_max_order_notional"),
        ({"max_position_size": "9999"}, "strategy_max_position_size"),
        ({"max_gross_exposure": "9999"}, "strategy_max_gross_exposure"),
        ({"max_orders_per_day": "0"}, "strategy_max_orders_per_day"),
    ],
)
def test_an_order_above_a_limit_is_rejected(limits: dict[str, str], check: str) -> None:
    desk = desk_of(**limits)
    desk.step(1, view(1, 1), view(2, 1, "other"), KO=100.0)
    desk.step(4, KO=100.0)
    assert [one.check for one in desk.of(OrderRefusal)] == [check]
    assert [one.strategy for one in desk.of(OrderProposal)] == ["other", "trend"], "the other view has its own order"
    assert desk.position("KO") == 100


def test_an_order_within_the_limits_is_approved() -> None:
    desk = desk_of(max_position_size="10000", max_orders_per_day="1")
    desk.step(1, view(1, 1), KO=100.0)
    desk.step(2, KO=100.0)
    assert len(desk.of(Order)) == 1 and desk.position("KO") == 100
    assert [row.quantities for row in desk.strategies.accounts() if row.strategy == "trend"] == [{"KO": 100}]


def test_losses_above_the_limit_suspend_the_view_and_a_resume_applies_its_last_signal() -> None:
    desk = desk_of(max_daily_loss="500")
    desk.step(1, view(1, 1), KO=100.0)
    desk.step(1, KO=100.0)
    desk.step(1, KO=95.0)
    assert kinds(desk) == []
    desk.step(1, KO=94.0)
    assert kinds(desk) == ["SUSPENDED"] and desk.strategies.suspended == ["trend"]
    desk.step(1, view(5, 0), KO=94.0)
    desk.step(1, KO=94.0)
    assert desk.position("KO") == 100, "its signals are ignored, and its position stays"
    desk.step(1, command("cmd-1", 1, RESUME_STRATEGY, {"strategy": "trend"}), KO=94.0)
    desk.step(2, KO=94.0)
    assert kinds(desk) == ["SUSPENDED", "RESUMED"] and desk.position("KO") == 0


def test_the_positions_of_a_suspended_view_are_closed_if_the_settings_say_so() -> None:
    desk = desk_of({"trend"}, max_drawdown="0.005")
    desk.step(1, view(1, 1), KO=100.0)
    desk.step(1, KO=100.0)
    desk.step(3, KO=94.0)
    assert kinds(desk) == ["SUSPENDED", "TARGET_QUANTITY"] and desk.position("KO") == 0


@pytest.mark.parametrize("restart", range(1, 8))
def test_a_restart_in_any_time_slice_changes_nothing(restart: int) -> None:
    script: dict[int, Record] = {
        1: view(1, 1),
        5: view(5, 0),
        7: command("cmd-1", 1, RESUME_STRATEGY, {"strategy": "trend"}),
    }
    first, second, expected = (desk_of(max_daily_loss="500") for _ in range(3))

    def step(desk: TradingDesk, number: int) -> None:
        desk.step(1, *[script[number]] if number in script else [], KO=100.0 if number < 4 else 94.0)

    for number in range(1, 10):
        step(expected, number)
    for number in range(1, restart + 1):
        step(first, number)
    second.restore(first.snapshot())
    second.minute = first.minute
    for number in range(restart + 1, 10):
        step(second, number)
    assert [*first.records, *second.records] == expected.records
    assert kinds(expected) == ["SUSPENDED", "RESUMED"]


def test_the_settings_give_a_view_with_limits_a_sub_account() -> None:
    entry = "{name: ema_cross, limits: {max_position_size: 1000, max_daily_loss: 100}}"
    settings = load_settings(environment={"SIGNALS__STRATEGIES": f"[{entry}]", "SIGNALS__ENSEMBLE__ENABLED": "false"})
    assert configured_strategies(settings).limited_views == ("ema_cross",)
    assert portfolio_settings(settings).order_limited == {"ema_cross"}
    create = stages.trading_strategies(settings)
    assert create is not None
    stage = create()
    assert isinstance(stage, TradingStrategyStage)
    assert [row.strategy for row in stage.accounts()] == ["ema_cross", "remainder"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ("limits: {max_daily_loss: 100}", "limits apply"),
        ("capital: 0.5", "capital applies"),
        ("limits: {max_daily_loss: 100}, capital: 0.5", "limits and capital apply"),
    ],
)
def test_limits_and_capital_of_a_view_in_the_ensemble_are_an_error(fields: str, names: str) -> None:
    """The portfolio trades the signals of the ensemble. Before, the capital of a part had no effect."""
    entry = f"{{name: ema_cross, {fields}}}"
    settings = load_settings(environment={"SIGNALS__STRATEGIES": f"[{entry}]", "SIGNALS__ENSEMBLE__ENABLED": "true"})
    sentence = f"'ema_cross': {names} only to strategies that trade separately.*set signals.ensemble.enabled to false"
    with pytest.raises(BadInput, match=sentence):
        configured_strategies(settings)


def test_a_change_at_run_time_to_capital_in_the_ensemble_is_an_error() -> None:
    values = {"signals.ensemble.enabled": "true", "signals.strategies.ema_cross.capital": "0.5"}
    with pytest.raises(BadInput, match="'ema_cross': capital applies only to strategies that trade separately"):
        configured_strategies(with_overrides(load_settings(environment={}), values))
