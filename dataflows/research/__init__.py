"""Research on bars and recorded data: the Python API, backtest reports, model training and target weights.

    from dataflows.research import Result, backtest, load_bars, sql, topics

    bars = load_bars("bars/", symbols=["SPY"])
    result = backtest("ema_cross", bars, calendar="24/7")
    result.metrics, result.equity, result.trades
    topics.read("features", symbols=["SPY"])
    sql("SELECT * FROM topics.executions")

docs/research.md is the reference. The names are imported when they are first used, because pandas is slow to import and
a running platform does not need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflows.research.invented_bars import sample_bars
    from dataflows.research.loaded_bars import load_bars
    from dataflows.research.result import Result
    from dataflows.research.robustness.capacity import capacity
    from dataflows.research.robustness.costs import cost_sensitivity
    from dataflows.research.robustness.noise import bar_noise
    from dataflows.research.run_comparison import compare
    from dataflows.research.sql_query import sql
    from dataflows.research.stored_results import load_run
    from dataflows.research.strategy_backtest import backtest
    from dataflows.research.sweeps.parameter_sweep import sweep
    from dataflows.research.sweeps.sweep_result import SweepResult
    from dataflows.research.sweeps.symbol_sweep import SymbolSweepResult, sweep_symbols
    from dataflows.research.sweeps.walk_forward_analysis import walk_forward
    from dataflows.research.sweeps.walk_forward_result import WalkForwardResult

__all__ = [
    "Result",
    "SweepResult",
    "SymbolSweepResult",
    "WalkForwardResult",
    "backtest",
    "bar_noise",
    "capacity",
    "compare",
    "cost_sensitivity",
    "load_bars",
    "load_run",
    "sample_bars",
    "sql",
    "sweep",
    "sweep_symbols",
    "walk_forward",
]
_MODULES = {
    "Result": "result",
    "SweepResult": "sweeps.sweep_result",
    "SymbolSweepResult": "sweeps.symbol_sweep",
    "WalkForwardResult": "sweeps.walk_forward_result",
    "backtest": "strategy_backtest",
    "bar_noise": "robustness.noise",
    "capacity": "robustness.capacity",
    "compare": "run_comparison",
    "cost_sensitivity": "robustness.costs",
    "load_bars": "loaded_bars",
    "load_run": "stored_results",
    "sample_bars": "invented_bars",
    "sql": "sql_query",
    "sweep": "sweeps.parameter_sweep",
    "sweep_symbols": "sweeps.symbol_sweep",
    "walk_forward": "sweeps.walk_forward_analysis",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
