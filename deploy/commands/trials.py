"""`trials`: list the ledger of trials, show one trial, and judge the best one by the number of trials behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.name_arguments import unknown_name
from deploy.time_arguments import format_ns
from schemas.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from dataflows.research.trial_ledger import BestOfTrials, RecordedTrial, TrialLedger

StrategyFilter = Annotated[str | None, typer.Option(help="List only trials of this strategy.")]
RunFilter = Annotated[str | None, typer.Option(help="List only trials of this run or sweep.")]
Data = Annotated[str | None, typer.Option(help="Hash of the data, or its first digits.")]
Limit = Annotated[int, typer.Option(min=1, help="Maximum number of trials.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HASH_DIGITS = 8


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="List and judge the trials of backtests.", no_args_is_help=True)
    group.command("list", help="List trials, newest first.")(list_trials)
    group.command("show", help="Print one trial, and its rank among the trials of its strategy on its data.")(show)
    group.command("best", help="Print the best trial of a strategy, and how likely it is more than luck.")(best)
    group.command("verify", help="Check that no recorded trial was changed or removed.")(verify)
    app.add_typer(group, name="trials")


def list_trials(
    strategy: StrategyFilter = None,
    data: Data = None,
    run: RunFilter = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    with _open_ledger() as ledger:
        recorded = ledger.trials()
    strategies = dict.fromkeys(one.trial.strategy for one in recorded)
    runs = dict.fromkeys(one.trial.run for one in recorded if one.trial.run)
    for kind, name, known in (("strategy", strategy, strategies), ("run", run, runs)):
        if name is not None and name not in known:
            raise BadInput(unknown_name(kind, name, known))
    selected = [
        one
        for one in recorded
        if strategy in (None, one.trial.strategy)
        and run in (None, one.trial.run)
        and one.trial.data_hash.startswith(data or "")
    ]
    selected = selected[: -limit - 1 : -1]
    if as_json:
        print(json.dumps([_tree(one) for one in selected], indent=2))
        return
    if not selected:
        print("no trials")
        return
    table = Table(box=None)
    for title in ("trial", "time", "user", "run", "strategy", "data", "parameters", "objectives", "decisions"):
        table.add_column(title, no_wrap=title not in ("parameters", "objectives"))
    for number, _, trial in selected:
        table.add_row(
            *(str(number), format_ns(trial.recorded_ns), trial.user, trial.run, trial.strategy),
            *(trial.data_hash[:HASH_DIGITS], _pairs(trial.parameters), _pairs(trial.objectives)),
            trial.decision_hash[:HASH_DIGITS],
        )
    Console(width=160, highlight=False, markup=False).print(table)


def show(
    trial: Annotated[str, typer.Argument(help="Number of the trial, or the first digits of its id.")],
    as_json: AsJson = False,
) -> None:
    with _open_ledger() as ledger:
        recorded = ledger.trials()
    found = _find(recorded, trial)
    peers = [
        one.trial
        for one in recorded
        if (one.trial.strategy, one.trial.data_hash) == (found.trial.strategy, found.trial.data_hash)
    ]
    ranks = {
        name: 1 + sum(other > value for one in peers if (other := one.objectives.get(name)) is not None)
        for name, value in found.trial.objectives.items()
        if value is not None
    }
    tree = _tree(found) | {"trials_of_strategy_and_data": len(peers), "ranks": ranks}
    if as_json:
        print(json.dumps(tree, indent=2))
        return
    for name, value in tree.items():
        print(f"{name.replace('_', ' '):28} {_pairs(value) if isinstance(value, dict) else value}")


def best(
    strategy: Annotated[str, typer.Argument(help="Name of the strategy.")],
    data: Data = None,
    objective: Annotated[str, typer.Option(help="Figure of the result; the trial with the largest one is best.")] = (
        "sharpe"
    ),
    as_json: AsJson = False,
) -> None:
    with _open_ledger() as ledger:
        recorded = ledger.trials()
        strategies = dict.fromkeys(one.trial.strategy for one in recorded)
        if strategy not in strategies:
            raise BadInput(unknown_name("strategy", strategy, strategies))
        found = ledger.best(strategy, _data_hash(recorded, strategy, data), objective)
    tree = _best_tree(found)
    if as_json:
        print(json.dumps(tree, indent=2))
        return
    if found.best is None:
        print(f"none of {found.trials} trials of {strategy} has a value of {objective}")
        return
    number, _, trial = found.best
    print(f"best of {found.trials} trials: trial {number}, {objective} {trial.objectives[objective]:.4g}")
    print(f"parameters: {_pairs(trial.parameters) or 'none'}")
    if found.deflated is None:
        print("no deflated Sharpe ratio: the returns of this trial do not vary")
    else:
        print(
            f"deflated Sharpe ratio: {found.deflated.probability:.3f} (probability that the Sharpe ratio is above what"
            f" the best of {found.trials} trials has by luck)"
        )


def verify(as_json: AsJson = False) -> None:
    with _open_ledger() as ledger:
        count = ledger.verify()
    print(json.dumps({"trials": count}) if as_json else f"{count:,} trials are as they were recorded")


@contextmanager
def _open_ledger() -> Iterator[TrialLedger]:
    """Yield the ledger of the state folder. Raises DeployError if it cannot be used."""
    from dataflows.research.trial_ledger import TrialLedger

    try:
        yield TrialLedger(home_from_environment().trial_ledger)
    except Unavailable as error:
        raise DeployError(str(error)) from error


def _find(recorded: list[RecordedTrial], text: str) -> RecordedTrial:
    """Return the trial with this number or start of an id. Raises BadInput."""
    for one in recorded:
        if text == str(one.number):
            return one
    found = [one for one in recorded if text and one.trial_id.startswith(text)]
    if len(found) > 1:
        raise BadInput(f"{len(found)} trials have an id that starts with {text!r}; add more digits")
    if not found:
        known = f"the ledger has the trials 1 to {len(recorded)}" if recorded else "the ledger has no trials"
        raise BadInput(f"unknown trial {text!r}; {known}")
    return found[0]


def _data_hash(recorded: list[RecordedTrial], strategy: str, start: str | None) -> str:
    """Return the one data hash of the strategy that starts with these digits. Raises BadInput if there is not one."""
    hashes = list(dict.fromkeys(one.trial.data_hash for one in recorded if one.trial.strategy == strategy))
    found = [one for one in hashes if one.startswith(start or "")]
    known = ", ".join(one[:HASH_DIGITS] for one in hashes)
    if not found:
        raise BadInput(f"{strategy} has no trial on data {start}; its data: {known}")
    if len(found) > 1:
        raise BadInput(f"{strategy} has trials on {len(found)} sets of data; choose one with --data: {known}")
    return found[0]


def _tree(recorded: RecordedTrial) -> dict[str, Any]:
    trial, estimate = recorded.trial, recorded.trial.sharpe
    return {
        "number": recorded.number,
        "trial_id": recorded.trial_id,
        "time": format_ns(trial.recorded_ns),
        "user": trial.user,
        "run": trial.run,
        "strategy": trial.strategy,
        "parameters": dict(trial.parameters),
        "seed": trial.seed,
        "objectives": dict(trial.objectives),
        "sharpe_per_period": None if estimate is None else estimate.sharpe,
        "observations": None if estimate is None else estimate.observations,
        "skewness": None if estimate is None else estimate.skewness,
        "kurtosis": None if estimate is None else estimate.kurtosis,
        "code_hash": trial.code_hash,
        "data_hash": trial.data_hash,
        "settings_hash": trial.settings_hash,
        "decision_hash": trial.decision_hash,
    }


def _best_tree(found: BestOfTrials) -> dict[str, Any]:
    deflated = found.deflated
    return {
        "objective": found.objective,
        "trials": found.trials,
        "best": None if found.best is None else _tree(found.best),
        "expected_maximum_sharpe": None if deflated is None else deflated.expected_maximum_sharpe,
        "deflated_sharpe": None if deflated is None else deflated.probability,
    }


def _pairs(values: Any) -> str:
    return ", ".join(
        f"{name}={f'{value:.4g}' if isinstance(value, float) else value}" for name, value in values.items()
    )
