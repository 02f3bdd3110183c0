"""End a trial before the end of its bars if its interim objective is poor, as Optuna's median pruner decides.

At fixed times of the period, a trial is compared with the trials of earlier batches that ran to their end. It is ended
if its best interim objective so far is below the median of theirs at this time. The trials of its own batch do not
count, so that the decision does not depend on the number of processes, and is the same after an interruption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from configs.recorded_settings import canonical_json
from dataflows.research.overfitting.packages import require_package
from dataflows.research.sweeps.objectives import SearchObjective
from dataflows.research.sweeps.trial_pass import InterimValues, TrialOutcome

PRUNING_PERCENT = (25, 50, 75)
"""Times of the comparisons, in percent of the period from the first to the last bar."""


class PruningRule(NamedTuple):
    """What decides whether a trial is ended.

    objective  metric or formula
    times_ns   times of the comparisons
    ended      interim objectives at these times of the trials that ran to their end, in order
    """

    objective: str
    times_ns: tuple[int, ...]
    ended: tuple[InterimValues, ...] = ()

    @property
    def digest(self) -> str:
        """Hash of the rule: trials with the same causes and the same rule have the same outcome."""
        return hashlib.sha256(canonical_json(self).encode()).hexdigest()[:16]


def pruning_times(first_ns: int, last_ns: int) -> tuple[int, ...]:
    """
    >>> pruning_times(1000, 2000)
    (1250, 1500, 1750)
    """
    return tuple(first_ns + (last_ns - first_ns) * percent // 100 for percent in PRUNING_PERCENT)


class TrialPruner:
    """Applies a rule to the trials of one pass. Raises BadInput without Optuna."""

    def __init__(self, rule: PruningRule) -> None:
        optuna = require_package("optuna")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._objective = SearchObjective(rule.objective)
        self._study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner())
        for values in rule.ended:
            defined = {step: value for step, value in enumerate(values) if value is not None}
            self._study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=defined))
        self.times_ns: tuple[int, ...] = rule.times_ns
        self.percent: tuple[int, ...] = PRUNING_PERCENT

    def value(self, outcome: TrialOutcome) -> float | None:
        """Return the interim objective; None if it is not defined yet."""
        return self._objective.value(outcome)

    def ends(self, values: Sequence[float | None]) -> bool:
        """Whether a trial with these interim objectives is ended. It is not, if the last one is not defined."""
        if values[-1] is None:
            return False
        trial = self._study.ask()
        for step, value in enumerate(values):
            if value is not None:
                trial.report(value, step)
        return bool(trial.should_prune())
