"""The objective of a search: a metric, or a formula of metrics. The largest value is the best."""

from __future__ import annotations

from dataflows.research.result import METRIC_UNITS
from dataflows.research.sweeps.formulas import Formula
from dataflows.research.sweeps.trial_pass import TrialOutcome
from schemas.errors import BadInput

_NOT_IN_TRIALS = ("mae_mean", "mae_worst", "mfe_mean", "mfe_best", "alpha", "beta", "information_ratio")
"""Metrics of single backtests only: of all bars of a trade, and against a benchmark."""
TRIAL_METRICS = tuple(name for name in METRIC_UNITS if name not in _NOT_IN_TRIALS)


class SearchObjective:
    """A metric such as "sharpe", or a formula such as "sharpe - 2 * max_drawdown". Raises BadInput for another text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._formula = Formula("objective", text, TRIAL_METRICS)

    def value(self, outcome: TrialOutcome) -> float | None:
        """Return the value for a trial; None if a metric of it is not defined, or if the trial has no valid result."""
        if outcome.error:
            return None
        value = self._formula.value(outcome.metrics)
        if isinstance(value, str):
            raise BadInput(f"objective {self.text!r} must be a number, found {value!r}")
        return None if value is None else float(value)

    def require_value(self, values: list[float | None], days: int, period: str = "") -> None:
        """Raise BadInput if no trial has a value. `period` says which days, if they are not all."""
        if all(value is None for value in values):
            hint = "; annualized metrics need 20 days" if days < 20 else ""
            raise BadInput(
                f"no trial has a value of the objective {self.text!r} over {days} days{period}{hint}. Use another "
                "objective, such as total_return: the trials are stored and do not run again"
            )
