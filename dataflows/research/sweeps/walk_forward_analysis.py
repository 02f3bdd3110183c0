"""Walk forward: choose parameters on a training period, test them on the bars after it, and move on in time.

Source: R. Pardo (2008), The Evaluation and Optimization of Trading Strategies, chapters 11 to 13.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

from configs.recorded_settings import canonical_json
from dataflows.research.loaded_bars import BarsArgument
from dataflows.research.strategy_backtest import BacktestInputs, SettingsInput
from dataflows.research.sweeps.objectives import SearchObjective
from dataflows.research.sweeps.parameter_sets import Constraint, Parameters, checked_grid, constraint_list
from dataflows.research.sweeps.search_plan import SearchPlan, claim_name
from dataflows.research.sweeps.trial_pass import TrialOutcome
from dataflows.research.sweeps.trial_search import Progress, SearchInputs, TrialRequest, TrialSearch, open_search
from dataflows.research.sweeps.walk_forward_result import TestedWindow, WalkForwardResult, walk_forward_result
from dataflows.research.sweeps.walk_forward_windows import WalkForwardWindow, walk_forward_windows, window_lengths


def walk_forward(
    strategy: object,
    bars: BarsArgument,
    *,
    grid: Mapping[str, Iterable[Any]],
    train: str,
    test: str,
    anchored: bool = False,
    purge: str | None = None,
    embargo: str | None = None,
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
) -> WalkForwardResult:
    """Choose the best parameters of each training period, run them over the test period after it, and stitch the tests.

    train, test  lengths of the periods in calendar days or weeks, such as "60d" and "20d"; they start at midnight of
                 the exchange. The last test ends with the bars
    anchored     each training period starts with the bars, instead of moving along
    purge        days between training and test in which positions of the training can still be open: the longest
                 holding time
    embargo      further days between training and test

    The other arguments are those of `sweep`. A training period without a value of the objective is an error. A test
    starts without positions, with the initial capital and with warm indicators; a position that is open at its end is
    valued at the last close. A walk-forward that was interrupted continues when it is called again. Raises BadInput
    with one sentence for invalid input, and Unavailable if the state folder cannot be used.

        from dataflows.research import walk_forward
        result = walk_forward("ema_cross", "bars/", grid={"fast": [5, 10]}, train="60d", test="20d")
        result.windows, result.equity, result.efficiency
    """
    lengths = window_lengths(train, test, purge, embargo, anchored=anchored)
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
        parts = {"windows": canonical_json([*lengths]), "objective": plan.objective.text}
        search.run = claim_name(search, name, search.read_sources(sets[0]) | plan.definition() | parts)
        of_files = search.settings.for_backtest()
        windows = walk_forward_windows(
            *search.first_and_last_ns(), of_files.trading_calendar(), lengths, period=search.period
        )
        trained = _train(search, plan.objective, sets, windows)
        tests = [TrialRequest(sets[best], window.test) for (best, _), window in zip(trained, windows, strict=True)]
        outcomes = search.outcomes(tests)
    tested = [
        TestedWindow(window=window, parameters=sets[best], trained=of_training, tested=outcome)
        for window, (best, of_training), outcome in zip(windows, trained, outcomes, strict=True)
    ]
    return walk_forward_result(search.run, plan.objective, tuple(plan.grid), len(sets), tested, of_files.days_a_year())


def _train(
    search: TrialSearch, objective: SearchObjective, sets: Sequence[Parameters], windows: Sequence[WalkForwardWindow]
) -> list[tuple[int, TrialOutcome]]:
    """Return the index of the best set of each training period, with its outcome. Raises BadInput if there is none."""
    outcomes = search.outcomes([TrialRequest(one, window.train) for window in windows for one in sets])
    chosen = []
    for number, window in enumerate(windows):
        found = outcomes[number * len(sets) : (number + 1) * len(sets)]
        values = [objective.value(outcome) for outcome in found]
        days = max(len(outcome.returns) for outcome in found)
        objective.require_value(values, days, f" from {window.train.start or 'the first bar'} to {window.train.end}")
        best = max(range(len(sets)), key=lambda index: (values[index] is not None, values[index] or 0.0))
        chosen.append((best, found[best]))
    return chosen
