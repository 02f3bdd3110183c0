"""Sweep: run a strategy with many parameter sets, and judge the best one by the number of trials behind it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from configs.recorded_settings import canonical_json
from dataflows.research.loaded_bars import BarsArgument
from dataflows.research.strategy_backtest import BacktestInputs, SettingsInput
from dataflows.research.sweeps.objectives import SearchObjective
from dataflows.research.sweeps.optuna_sampler import BATCH_SETS, OptunaSampler
from dataflows.research.sweeps.parameter_sets import (
    Constraint,
    Parameters,
    allows,
    checked_constraints,
    checked_grid,
    constraint_list,
)
from dataflows.research.sweeps.search_plan import SearchPlan, claim_name
from dataflows.research.sweeps.sweep_result import SweepResult, sweep_result
from dataflows.research.sweeps.trial_pass import TrialOutcome
from dataflows.research.sweeps.trial_search import Progress, SearchInputs, TrialRequest, TrialSearch, open_search


def sweep(
    strategy: object,
    bars: BarsArgument,
    *,
    grid: Mapping[str, Iterable[Any]],
    random: int | None = None,
    optuna: int | None = None,
    objective: str = "sharpe",
    constraints: Iterable[Constraint] = (),
    settings: SettingsInput = None,
    parameters: Mapping[str, Any] | None = None,
    patience: int | None = None,
    seed: int = 0,
    processes: int | None = None,
    name: str | None = None,
    progress: Progress = lambda ended, requested: None,
    **inputs: Unpack[BacktestInputs],
) -> SweepResult:
    """Run a strategy with many parameter sets over the same bars, and return all trials and the best one.

    strategy     a class, the name of a strategy of the platform, or `FILE.py:Class`
    bars         files, folders or a frame, as for `backtest`
    grid         the values of each parameter, such as `{"fast": [5, 10, 20], "slow": [30, 60]}`; all sets are run
    random       run this many different sets of the grid, drawn with `seed`
    optuna       run this many sets that Optuna's TPE sampler chooses from the grid with `seed`, to raise the objective
    objective    a metric, or a formula such as "sharpe - 2 * max_drawdown"; the largest value is the best
    constraints  formulas such as "fast < slow", or functions of the parameters; other sets are left out
    settings     as for `backtest`
    parameters   arguments of the strategy that do not vary
    patience     with optuna, stop after this many sets without a better one
    processes    number of processes; by default one for each core. In a script, more than one needs
                 `if __name__ == "__main__":`
    name         name of the sweep; by default the strategy and a hash of what the sweep computes
    progress     is called with the numbers of ended and of all trials

    The other arguments are those of `backtest`: start, end, symbols, symbol, calendar, session, interval, timezone,
    files, allow_in_sample. Each trial makes the same decisions as its single backtest. It is recorded in the ledger of
    trials when it ends. A sweep that was interrupted continues when it is called again: trials that ended do not run
    again. Raises BadInput with one sentence for invalid input, and Unavailable if the state folder cannot be used.

        from dataflows.research import sweep
        result = sweep("ema_cross", "bars/", grid={"fast": [5, 10], "slow": [30, 60]})
        result.best, result.trials, result.overfitting
    """
    plan = SearchPlan(
        grid=checked_grid(grid),
        constraints=constraint_list(constraints),
        random=random,
        optuna=optuna,
        patience=patience,
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
        if optuna is not None:
            sets = [search.first_accepted(sets)]
        search.check_sets(sets)
        search.run = claim_name(search, name, search.read_sources(sets[0]) | plan.definition())
        sets, outcomes = _chosen_outcomes(search, plan) if optuna is not None else _run(search, sets)
        recorded = search.ledger.trials(strategy=search.label, data_hash=search.data_hash(search.period))
    return sweep_result(search.run, plan.objective, plan.grid, sets, outcomes, recorded)


def _run(search: TrialSearch, sets: list[Parameters]) -> tuple[list[Parameters], list[TrialOutcome]]:
    return sets, search.outcomes([TrialRequest(one) for one in sets])


def _chosen_outcomes(search: TrialSearch, plan: SearchPlan) -> tuple[list[Parameters], list[TrialOutcome]]:
    """Run the sets that Optuna chooses, until there are enough or `patience` sets bring no better one.

    A set that is chosen again counts once in the result.
    """
    assert plan.optuna is not None, "the plan is one of Optuna"
    rules = checked_constraints(plan.constraints, plan.grid)
    sampler = OptunaSampler(plan.grid, lambda one: allows(rules, one) and not search.rejection(one), plan.seed)
    found: dict[str, tuple[Parameters, TrialOutcome]] = {}
    best, since_best, chosen = -math.inf, 0, 0
    while chosen < plan.optuna and (plan.patience is None or since_best < plan.patience):
        batch = sampler.choose(min(BATCH_SETS, plan.optuna - chosen))
        _, outcomes = _run(search, batch)
        values = [plan.objective.value(outcome) for outcome in outcomes]
        sampler.learn(values)
        chosen += len(batch)
        for parameters, outcome, value in zip(batch, outcomes, values, strict=True):
            found[canonical_json(parameters)] = (parameters, outcome)
            is_better = value is not None and value > best
            best, since_best = (value, 0) if is_better and value is not None else (best, since_best + 1)
    return [parameters for parameters, _ in found.values()], [outcome for _, outcome in found.values()]
