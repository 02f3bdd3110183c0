"""Choose parameter sets of a grid with Optuna's sampler TPE, which learns from the trials that have ended.

Sets are chosen in batches of a fixed size, so that the same seed gives the same sets whatever the number of processes.
An interrupted search therefore repeats its choices, and finds the outcomes of its first trials in the store.

Source: J. Bergstra, R. Bardenet, Y. Bengio, B. Kégl (2011), Algorithms for Hyper-Parameter Optimization, NeurIPS 24.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dataflows.research.overfitting.packages import require_package
from dataflows.research.sweeps.parameter_sets import ParameterGrid, Parameters
from dataflows.research.sweeps.trial_pass import TrialOutcome
from schemas.errors import BadInput

_ATTEMPTS_MAX = 1000
"""Choices that may break a constraint before the search gives up."""


class OptunaSampler:
    """Chooses sets that `allowed` accepts. A set that breaks a constraint is pruned: it does not run."""

    def __init__(self, grid: ParameterGrid, allowed: Callable[[Parameters], bool], seed: int) -> None:
        self._optuna = require_package("optuna")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        sampler = self._optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self._study = self._optuna.create_study(direction="maximize", sampler=sampler)
        self._values = {name: _in_order(values) for name, values in grid.items()}
        self._distributions = {name: self._distribution(values) for name, values in self._values.items()}
        self._allowed = allowed
        self._running: list[Any] = []

    def choose(self, count: int) -> list[Parameters]:
        """Return the next sets. Raises BadInput if hardly any set is allowed."""
        sets: list[Parameters] = []
        for _ in range(_ATTEMPTS_MAX):
            if len(sets) == count:
                return sets
            trial = self._study.ask(self._distributions)
            parameters = {name: values[trial.params[name]] for name, values in self._values.items()}
            if self._allowed(parameters):
                self._running.append(trial)
                sets.append(parameters)
            else:
                self._study.tell(trial, state=self._optuna.trial.TrialState.PRUNED)
        raise BadInput(f"{_ATTEMPTS_MAX:,} choices gave {len(sets)} sets that the constraints allow; narrow the grid")

    def learn(self, outcomes: Sequence[TrialOutcome], values: Sequence[float | None]) -> None:
        """Receive the outcomes of the chosen sets and their objectives, in their order. None: not defined."""
        states = self._optuna.trial.TrialState
        for trial, outcome, value in zip(self._running, outcomes, values, strict=True):
            for step, interim in enumerate(outcome.interim):
                if interim is not None:
                    trial.report(interim, step)
            if value is None:
                self._study.tell(trial, state=states.FAIL if outcome.pruned_percent is None else states.PRUNED)
            else:
                self._study.tell(trial, value)
        self._running = []

    def _distribution(self, values: tuple[Any, ...]) -> Any:
        """Return the distribution of the position of a value. Positions of numbers have an order."""
        distributions = self._optuna.distributions
        if _are_numbers(values):
            return distributions.IntDistribution(0, len(values) - 1)
        return distributions.CategoricalDistribution(list(range(len(values))))


def _in_order(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted(values)) if _are_numbers(values) else values


def _are_numbers(values: tuple[Any, ...]) -> bool:
    return all(type(value) in (int, float) for value in values)
