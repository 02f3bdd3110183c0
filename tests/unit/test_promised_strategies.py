"""The strategies and examples that users were promised, in the words of the promise, exist and are tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from operators.strategies import STRATEGIES
from tests.unit.strategy_examples import EXAMPLES
from tests.unit.test_shipped_strategies import CASES

STRATEGIES_PROMISED = {
    "MACD trend": "macd_trend",
    "moving-average ribbon": "moving_average_ribbon",
    "Donchian turtle with ATR stops and pyramiding": "donchian_turtle",
    "Bollinger/RSI mean reversion": "bollinger_reversion",
    "opening-range breakout with a bracket": "opening_range_breakout",
    "pairs by cointegration with half-life": "pairs_reversion",
    "cross-sectional momentum with monthly rebalance": "cross_sectional_momentum",
    "dual momentum": "dual_momentum",
    "volatility-targeted risk parity": "risk_parity",
    "overnight/intraday split": "overnight_intraday",
    "grid": "grid",
}
EXAMPLES_PROMISED = {
    "stop-loss on an order event": "stop_loss",
    "rebalancing with several targets": "rebalance",
    "consolidators": "consolidator",
    "scheduled events": "scheduled_exit",
    "trailing stops": "trailing_stop",
    "brackets": "bracket",
    "pairs": "pairs",
    "universe rotation": "universe_rotation",
    "warm-up from history": "warm_up",
    "time in force": "time_in_force",
    "MOO/MOC": "open_and_close",
    "delisting": "delisting",
    "stop, trailing stop with offset and return-on-investment table of freqtrade": "exit_rules",
}


@pytest.mark.parametrize("promise", STRATEGIES_PROMISED)
def test_a_promised_strategy_exists_and_finds_its_effect_in_a_test(promise: str) -> None:
    name = STRATEGIES_PROMISED[promise]
    assert name in STRATEGIES and name in CASES


@pytest.mark.parametrize("promise", EXAMPLES_PROMISED)
def test_a_promised_example_exists(promise: str) -> None:
    assert (EXAMPLES / f"{EXAMPLES_PROMISED[promise]}.py").is_file()


def test_each_of_at_least_thirty_examples_is_run_by_a_test() -> None:
    loaded: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        loaded |= set(re.findall(r'load\("(\w+)", "\w+"', path.read_text()))
    examples = {path.stem for path in EXAMPLES.glob("*.py")}
    assert len(examples) >= 30 and examples <= loaded, sorted(examples - loaded)
