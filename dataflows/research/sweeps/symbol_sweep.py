"""Sweep each symbol on its own, and run the strategy with the best set of each symbol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Unpack

import pandas as pd

from configs.recorded_settings import canonical_json
from dataflows.research.loaded_bars import BarsArgument
from dataflows.research.overfitting.deflated_sharpe import DeflatedSharpe, deflated_sharpe_ratio
from dataflows.research.result import Result
from dataflows.research.strategy_backtest import BacktestInputs, SettingsInput, backtest
from dataflows.research.sweeps.objectives import SearchObjective
from dataflows.research.sweeps.parameter_sets import (
    Constraint,
    Parameters,
    checked_grid,
    constraint_list,
    describe_set,
)
from dataflows.research.sweeps.search_plan import SearchPlan, claim_name
from dataflows.research.sweeps.sweep_result import SweepResult, sweep_result
from dataflows.research.sweeps.trial_pass import TrialOutcome
from dataflows.research.sweeps.trial_search import (
    Progress,
    SearchInputs,
    TrialRequest,
    TrialSearch,
    open_search,
    sharpe_of,
)
from schemas.errors import BadInput


@dataclass(frozen=True, eq=False, kw_only=True)
class SymbolSweepResult:
    """The result of a sweep of each symbol.

    name             name of the search in the ledger of trials
    sweeps           the sweep of each symbol, over its bars only
    best             the best set of each symbol, as the setting `parameters_by_symbol` of a strategy
    result           the backtest of all symbols together, each with its best set
    trials           number of trials: those of all symbols, and the backtest
    deflated_sharpe  deflated Sharpe ratio of the backtest among all these trials; None if its returns do not vary
    """

    name: str
    sweeps: Mapping[str, SweepResult] = field(repr=False)
    best: Mapping[str, Parameters]
    result: Result
    trials: int
    deflated_sharpe: DeflatedSharpe | None

    def sentences(self) -> list[str]:
        """Return what a reader must know about the backtest with the chosen sets, one sentence each."""
        total = self.result.metrics["total_return"]
        texts = [
            f"All symbols with their best sets: total return {total or 0.0:.4g}, {self.result.summary['fills']} fills.",
            f"Chosen from {self.trials - 1} trials of {len(self.sweeps)} symbols; the ledger counts all of them.",
        ]
        if self.deflated_sharpe is None:
            return [*texts, "No deflated Sharpe ratio: the daily returns do not vary."]
        return [*texts, f"Deflated Sharpe ratio among all of these trials: {self.deflated_sharpe.probability:.3f}."]

    def __str__(self) -> str:
        lines = [
            f"{symbol}: best {one.objective} {one.trials['objective'].iloc[0]:.4g} with {describe_set(one.best)}"
            for symbol, one in self.sweeps.items()
        ]
        return "\n".join([f"sweep {self.name} by symbol", *lines, *self.sentences()])


def sweep_symbols(
    strategy: object,
    bars: BarsArgument,
    *,
    grid: Mapping[str, Iterable[Any]],
    random: int | None = None,
    objective: str = "sharpe",
    constraints: Constraint | Iterable[Constraint] = (),
    settings: SettingsInput = None,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    processes: int | None = None,
    name: str | None = None,
    progress: Progress = lambda ended, requested: None,
    **inputs: Unpack[BacktestInputs],
) -> SymbolSweepResult:
    """Run all sets of a grid for each symbol on its own, and then all symbols together, each with its best set.

    Only a view strategy can have parameters by symbol. The arguments are those of `sweep`. A trial of a symbol trades
    with the whole capital; in the final backtest, all symbols share it. A sweep that was interrupted continues when it
    is called again. Raises BadInput with one sentence for invalid input, and Unavailable if the state folder cannot be
    used.

        from dataflows.research import sweep_symbols
        result = sweep_symbols("ema_cross", "bars/", grid={"fast": [5, 10], "slow": [30, 60]})
        result.best, result.result.metrics["sharpe"], result.trials
    """
    plan = SearchPlan(
        grid=checked_grid(grid),
        constraints=constraint_list(constraints),
        random=random,
        optuna=None,
        seed=seed,
        objective=SearchObjective(objective),
    )
    common = SearchInputs(
        strategy=strategy,
        bars=bars,
        settings=settings,
        parameters=parameters,
        run_inputs=inputs,
        processes=processes,
        progress=progress,
    )
    with open_search(common) as search:
        sets = plan.sets()
        search.check_sets(sets)
        search.settings_by_symbol({"": sets[0]})
        symbols = search.symbols()
        if len(symbols) < 2:
            found = ", ".join(symbols) or "none"
            raise BadInput(f"parameters by symbol need bars of at least two symbols, found {found}; run a plain sweep")
        parts = {"symbols": canonical_json(symbols), "objective": plan.objective.text}
        search.run = claim_name(search, name, search.read_sources(sets[0]) | plan.definition() | parts)
        sweeps = _sweeps(search, plan, sets, symbols)
        best = {symbol: one.best for symbol, one in sweeps.items()}
        result = backtest(None, list(search.bars), settings=search.settings_by_symbol(best))
        outcome = _outcome_of(result)
        search.record_run(best, outcome)
        recorded = search.ledger.trials(strategy=search.label, run=search.run)
    estimate = sharpe_of(outcome)
    sharpes = [0.0 if one.trial.sharpe is None else one.trial.sharpe.sharpe for one in recorded]
    return SymbolSweepResult(
        name=search.run,
        sweeps=sweeps,
        best=best,
        result=result,
        trials=len(sets) * len(symbols) + 1,
        deflated_sharpe=None if estimate is None or not sharpes else deflated_sharpe_ratio(estimate, sharpes),
    )


def _sweeps(
    search: TrialSearch, plan: SearchPlan, sets: Sequence[Parameters], symbols: Sequence[str]
) -> dict[str, SweepResult]:
    """Return the sweep of each symbol. Raises BadInput with the symbol of which no trial has the objective."""
    outcomes = search.outcomes([TrialRequest(one, symbol=symbol) for symbol in symbols for one in sets])
    sweeps = {}
    for number, symbol in enumerate(symbols):
        found = outcomes[number * len(sets) : (number + 1) * len(sets)]
        recorded = search.ledger.trials(strategy=search.label, data_hash=search.data_hash(search.period, symbol))
        try:
            sweeps[symbol] = sweep_result(search.run, plan.objective, plan.grid, sets, found, recorded)
        except BadInput as error:
            raise BadInput(f"{symbol}: {error}") from error
    return sweeps


def _outcome_of(result: Result) -> TrialOutcome:
    days = pd.DatetimeIndex(result.returns.index).strftime("%Y%m%d")
    returns = {int(day): float(value) for day, value in zip(days, result.returns, strict=True)}
    return TrialOutcome(decision_hash=result.decision_hash, metrics=dict(result.metrics), returns=returns, error="")
