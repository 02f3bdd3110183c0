"""Sweep: run a strategy with many parameter sets, and judge the best one by the number of trials behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from dataflows.research.loaded_bars import BarsArgument
from dataflows.research.strategy_backtest import BacktestInputs, SettingsInput
from dataflows.research.sweeps.batched_search import run_batches
from dataflows.research.sweeps.objectives import SearchObjective
from dataflows.research.sweeps.parameter_sets import Constraint, checked_grid, constraint_list
from dataflows.research.sweeps.search_plan import SearchPlan, claim_name
from dataflows.research.sweeps.sweep_result import SweepResult, sweep_result
from dataflows.research.sweeps.trial_search import Progress, SearchInputs, TrialRequest, open_search


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
    stop_after: int | None = None,
    prune: bool = False,
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
    stop_after   stop after this many sets without a better one; a grid and a random sample then run in an order that
                 `seed` decides
    prune        with optuna, end a trial before the end of its bars if its interim objective is below the median of
                 those of earlier trials (Optuna's median pruner, at 25, 50 and 75 % of the period)
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
        seed=seed,
        objective=SearchObjective(objective),
        stop_after=stop_after,
        prune=prune,
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
        if optuna is None and stop_after is None:
            outcomes = search.outcomes([TrialRequest(one) for one in sets])
        else:
            sets, outcomes = run_batches(search, plan, sets)
        recorded = search.ledger.trials(strategy=search.label, data_hash=search.data_hash(search.period))
    return sweep_result(search.run, plan.objective, plan.grid, sets, outcomes, recorded)
