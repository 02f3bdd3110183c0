"""The result of a walk-forward: the stitched returns out of sample, and how stable the chosen parameters are."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from dataflows.research.figures import equity_figure
from dataflows.research.overfitting import estimate_sharpe, probabilistic_sharpe_ratio
from dataflows.research.report import equity_curve_svg
from dataflows.research.sweeps.objectives import SearchObjective
from dataflows.research.sweeps.parameter_sets import Parameters
from dataflows.research.sweeps.trial_pass import TrialOutcome
from dataflows.research.sweeps.walk_forward_windows import WalkForwardWindow
from operators.performance import ANNUALIZED_FROM_DAYS, ANNUALIZED_METRICS
from operators.performance_metrics import largest_drawdown, return_metrics
from schemas.errors import BadInput

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class TestedWindow(NamedTuple):
    """One window: the set that was best in training, with its outcomes in training and in the test."""

    window: WalkForwardWindow
    parameters: Parameters
    trained: TrialOutcome
    tested: TrialOutcome


@dataclass(frozen=True, eq=False, kw_only=True)
class WalkForwardResult:
    """The result of a walk-forward.

    name         name of the search, under which its trials are in the ledger
    objective    metric or formula that chose the parameters in training
    parameters   names of the parameters that vary
    trials       number of sets that each training period compared
    windows      frame with one row per window: periods, chosen parameters, objective and total return in and out of
                 sample, fills, decision hash and error of the test; a period without a start or end has all bars there
    returns      daily returns of all tests, one after the other
    equity       growth of 1 by these returns
    metrics      metrics of these returns; annualized ones are None before 20 days
    efficiency   mean daily return out of sample / in sample, of the chosen sets; None if the latter is not above 0
    stability    frame with one row per parameter: number of distinct values chosen, the most frequent one and its share
                 of the windows
    """

    name: str
    objective: str
    parameters: tuple[str, ...]
    trials: int
    windows: pd.DataFrame = field(repr=False)
    returns: pd.Series[float] = field(repr=False)
    equity: pd.Series[float] = field(repr=False)
    metrics: dict[str, float | None]
    efficiency: float | None
    stability: pd.DataFrame = field(repr=False)

    def equity_figure(self) -> Figure:
        """Return a plotly figure of the growth of 1 out of sample, and of its drawdown from close to close.

        Raises BadInput if plotly is not installed.
        """
        drawdown = 1 - self.equity / self.equity.cummax().clip(lower=1.0)
        title = f"Walk-forward {self.name}, out of sample"
        return equity_figure(title, {"growth of 1": self.equity}, drawdown, "growth of 1")

    @property
    def probabilistic_sharpe(self) -> float | None:
        """Probability that the true Sharpe ratio out of sample is above 0; None if the returns do not vary."""
        try:
            return probabilistic_sharpe_ratio(estimate_sharpe(self.returns.to_numpy()))
        except BadInput:
            return None

    def sentences(self) -> list[str]:
        """Return what a reader must know, one sentence each."""
        days, windows = len(self.returns), len(self.windows)
        texts = [f"{windows} windows, each with the best of {self.trials} trials; {days} days out of sample."]
        total, sharpe = self.metrics["total_return"], self.metrics["sharpe"]
        shown = "not defined before 20 days" if sharpe is None else f"{sharpe:.3g}"
        texts.append(f"Out of sample: total return {total or 0.0:.4g}, Sharpe ratio {shown}.")
        if (probability := self.probabilistic_sharpe) is not None:
            texts.append(f"Probability that the true Sharpe ratio out of sample is above 0: {probability:.3f}.")
        if self.efficiency is None:
            texts.append("No efficiency: the mean daily return in sample is not above 0.")
        else:
            texts.append(
                f"Efficiency: {self.efficiency:.2f} (mean daily return out of sample as a share of that in sample)."
            )
        texts += [
            f"{row['parameter']}: {row['distinct']} value{'s' * (row['distinct'] != 1)} chosen, "
            f"most often {row['most_frequent']} "
            f"({row['share']:.0%} of the windows)."
            for row in self.stability.to_dict("records")
        ]
        if failed := [error for error in self.windows["error"] if error]:
            texts.append(f"{len(failed)} tests have no valid result, the first: {failed[0]}.")
        return texts

    def __str__(self) -> str:
        return "\n".join([f"walk-forward {self.name} by {self.objective}", *self.sentences()])

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the curve out of sample, the windows and the sentences."""
        points = [(int(day.value), float(value)) for day, value in zip(self.equity.index, self.equity, strict=True)]
        sentences = "".join(f"<li>{html.escape(text)}</li>" for text in self.sentences())
        title = html.escape(f"Walk-forward {self.name}")
        rows = self.windows.drop(columns=["decision_hash", "error"]).to_html()
        return f"<div><h4>{title}</h4>{equity_curve_svg(points)}<ul>{sentences}</ul>{rows}</div>"


def walk_forward_result(
    name: str,
    objective: SearchObjective,
    names: Sequence[str],
    trials: int,
    tested: Sequence[TestedWindow],
    days_a_year: int,
) -> WalkForwardResult:
    """Return the result of tested windows, in order of time."""
    by_day = {day: value for one in tested for day, value in one.tested.returns.items()}
    index = pd.DatetimeIndex(pd.to_datetime([str(day) for day in by_day], format="%Y%m%d"), name="day")
    returns = pd.Series([*by_day.values()], index=index, name="return", dtype="float64")
    in_sample = [value for one in tested for value in one.trained.returns.values()]
    windows = pd.DataFrame([_row(one, objective) for one in tested])
    return WalkForwardResult(
        name=name,
        objective=objective.text,
        parameters=tuple(names),
        trials=trials,
        windows=windows,
        returns=returns,
        equity=(1 + returns).cumprod().rename("equity"),
        metrics=_metrics([*by_day.values()], days_a_year),
        efficiency=_efficiency(in_sample, [*by_day.values()]),
        stability=_stability(windows, names),
    )


def _row(one: TestedWindow, objective: SearchObjective) -> dict[str, object]:
    periods = {
        f"{name}_{side}": None if instant is None else instant[:10]
        for name, period in (("train", one.window.train), ("test", one.window.test))
        for side, instant in (("start", period.start), ("end", period.end))
    }
    return {
        **periods,
        **one.parameters,
        "objective_in_sample": objective.value(one.trained),
        "objective_out_of_sample": objective.value(one.tested),
        "return_in_sample": one.trained.metrics.get("total_return"),
        "return_out_of_sample": one.tested.metrics.get("total_return"),
        "fills_out_of_sample": one.tested.metrics.get("fills"),
        "decision_hash": one.tested.decision_hash,
        "error": one.tested.error,
    }


def _metrics(returns: list[float], days_a_year: int) -> dict[str, float | None]:
    """Return the metrics of daily returns, and their largest drawdown from close to close."""
    metrics: dict[str, float | None] = return_metrics(returns, days_a_year)._asdict()
    if len(returns) < ANNUALIZED_FROM_DAYS:
        metrics |= dict.fromkeys(ANNUALIZED_METRICS)
    return metrics | {"max_drawdown": largest_drawdown(returns)}


def _efficiency(in_sample: Sequence[float], out_of_sample: Sequence[float]) -> float | None:
    """
    >>> round(_efficiency([0.02, 0.04], [0.01, 0.02]), 9), _efficiency([-0.01], [0.01])
    (0.5, None)
    """
    if not in_sample or not out_of_sample or sum(in_sample) <= 0:
        return None
    return sum(out_of_sample) / len(out_of_sample) / (sum(in_sample) / len(in_sample))


def _stability(windows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    rows = []
    for name in names:
        value, count = Counter(windows[name].tolist()).most_common(1)[0]
        rows.append((name, windows[name].nunique(), value, count / len(windows)))
    return pd.DataFrame(rows, columns=["parameter", "distinct", "most_frequent", "share"])
