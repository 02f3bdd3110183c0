"""Statistics that show whether a result is luck. Sharpe ratios are per period; no function annualizes.

Functions that use randomness take a `numpy.random.Generator`. The bootstraps and the reality check need the package
arch (extra `research` in pyproject.toml).
"""

from dataflows.research.overfitting.backtest_overfitting import BacktestOverfitting, probability_of_overfitting
from dataflows.research.overfitting.block_bootstrap import (
    EquitySimulation,
    SharpeInterval,
    optimal_block_length,
    resample_returns,
    sharpe_interval,
    simulate_equity,
)
from dataflows.research.overfitting.deflated_sharpe import (
    DeflatedSharpe,
    count_independent_trials,
    deflate_best_trial,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
)
from dataflows.research.overfitting.parameter_plateaus import neighbourhoods, plateau_table
from dataflows.research.overfitting.random_entry import RandomEntries, compare_random_entries
from dataflows.research.overfitting.reality_check import SuperiorAbility, reality_check, superior_predictive_ability
from dataflows.research.overfitting.sharpe import (
    SharpeEstimate,
    estimate_sharpe,
    minimum_track_record_length,
    probabilistic_sharpe_ratio,
)
from dataflows.research.overfitting.trade_shuffling import TradeShuffling, shuffle_trades

__all__ = [
    "BacktestOverfitting",
    "DeflatedSharpe",
    "EquitySimulation",
    "RandomEntries",
    "SharpeEstimate",
    "SharpeInterval",
    "SuperiorAbility",
    "TradeShuffling",
    "compare_random_entries",
    "count_independent_trials",
    "deflate_best_trial",
    "deflated_sharpe_ratio",
    "estimate_sharpe",
    "expected_maximum_sharpe",
    "minimum_track_record_length",
    "neighbourhoods",
    "optimal_block_length",
    "plateau_table",
    "probabilistic_sharpe_ratio",
    "probability_of_overfitting",
    "reality_check",
    "resample_returns",
    "sharpe_interval",
    "shuffle_trades",
    "simulate_equity",
    "superior_predictive_ability",
]
