"""The result of a sweep: its trials as a frame, the best one, and how likely it is luck."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dataflows.research.figures import trials_figure
from dataflows.research.html_report.page import write_page
from dataflows.research.html_report.sweep_report import sweep_report
from dataflows.research.overfitting import (
    BacktestOverfitting,
    DeflatedSharpe,
    deflated_sharpe_ratio,
    probability_of_overfitting,
)
from dataflows.research.overfitting.parameter_plateaus import (
    NEIGHBOURHOOD_COLUMNS,
    OBJECTIVE,
    Plateau,
    PlateauTable,
    plateau_table,
)
from dataflows.research.sweeps.objectives import TRIAL_METRICS, SearchObjective
from dataflows.research.sweeps.parameter_sets import ParameterGrid, Parameters, describe_set
from dataflows.research.sweeps.trial_pass import TrialOutcome
from dataflows.research.sweeps.trial_search import sharpe_of
from dataflows.research.trial_ledger import RecordedTrial

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLOCKS_MAX = 16
"""Most blocks of the cross-validation. Fewer days have fewer."""
_DAYS_PER_BLOCK = 2
_ROWS_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class SweepOverfitting:
    """How likely the best trial of a sweep is luck.

    trials              number of trials of the sweep
    pruned              number of those that were ended before the end of their bars
    trials_in_ledger    number of recorded trials of this strategy on this data, those of other sweeps among them
    deflated_sharpe     deflated Sharpe ratio of the best trial among those; None if its returns do not vary
    pbo                 probability of backtest overfitting of the sweep by cross-validation (CSCV); None for fewer than
                        two trials or four days
    plateau             the best trial with its neighbours on the grid; None if no parameter varies
    """

    trials: int
    pruned: int
    trials_in_ledger: int
    deflated_sharpe: DeflatedSharpe | None
    pbo: BacktestOverfitting | None
    plateau: Plateau | None

    def sentences(self, *, with_plateau: bool = True) -> list[str]:
        """Return what a reader must know, one sentence each."""
        pruned = f", {self.pruned} of them pruned" if self.pruned else ""
        known = f"the ledger has {self.trials_in_ledger} of this strategy on this data"
        texts = [f"Best of {self.trials} trials{pruned}; {known}."]
        if self.deflated_sharpe is None:
            texts.append("No deflated Sharpe ratio: the daily returns of the best trial do not vary.")
        else:
            texts.append(
                f"Deflated Sharpe ratio: {self.deflated_sharpe.probability:.3f} (probability that the Sharpe ratio is "
                f"above what the best of {self.deflated_sharpe.trials} trials has by luck)."
            )
        if self.pbo is None:
            texts.append("No probability of overfitting: it needs two trials and four days.")
        else:
            texts.append(
                f"Probability of backtest overfitting: {self.pbo.probability:.2f} (share of {len(self.pbo.logits):,} "
                "splits of the days in which the best trial of one half is below the median in the other)."
            )
        if self.plateau is not None and with_plateau:
            texts += self.plateau.sentences()
        return texts


@dataclass(frozen=True, eq=False, kw_only=True)
class SweepResult:
    """The result of a sweep.

    name         name of the sweep, under which its trials are in the ledger
    objective    metric or formula of which the best trial has the largest value
    parameters   names of the parameters that vary
    trials       frame with one row per trial, the best first: parameters, `objective`, the number of `neighbours` on
                 the grid with `neighbourhood_mean` and `neighbourhood_min` of the objective (the trial included),
                 metrics, `decision_hash` and `error`, which is why a trial has no valid result. A metric with the name
                 of a parameter has the suffix `_metric`
    best         parameters of the best trial
    returns      frame of daily returns: one row per day, one column per trial, by its row in `trials`
    overfitting  how likely the best trial is luck
    """

    name: str
    objective: str
    parameters: tuple[str, ...]
    trials: pd.DataFrame = field(repr=False)
    best: Parameters
    returns: pd.DataFrame = field(repr=False)
    overfitting: SweepOverfitting

    def report(self, path: str | Path | None = None) -> str:
        """Return the report as one HTML page, and write it to a file if `path` is set. Raises BadInput."""
        page = sweep_report(self)
        if path is not None:
            write_page(page, path)
        return page

    def plateaus(self) -> PlateauTable:
        """Return the trials that have the objective with their neighbourhoods, and the best one."""
        columns = [*self.parameters, OBJECTIVE, *NEIGHBOURHOOD_COLUMNS]
        defined = self.trials[columns].dropna(subset=[OBJECTIVE])
        return PlateauTable(
            trials=defined,
            parameters=self.parameters,
            objective=OBJECTIVE,
            chosen=self.best,
            plateau=self.overfitting.plateau,
            label=self.objective,
        )

    def column_of(self, metric: str) -> str:
        """Return the column of a metric in `trials`."""
        return metric_column(metric, self.parameters)

    def trials_figure(self) -> Figure:
        """Return a plotly figure of the objective of all trials by their parameters.

        One parameter gives points, two a map with a cell for each pair of values, more give parallel axes. Raises
        BadInput if plotly is not installed.
        """
        return trials_figure(str(self).splitlines()[0], self.trials, self.parameters, self.objective)

    def __str__(self) -> str:
        value = self.trials["objective"].iloc[0]
        lines = [
            f"sweep {self.name}: best {self.objective} {value:.4g} with {describe_set(self.best)}",
            *self.overfitting.sentences(),
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the best trials, and how likely the best one is luck."""
        sentences = "".join(f"<li>{html.escape(text)}</li>" for text in self.overfitting.sentences())
        metrics = [self.column_of(name) for name in ("total_return", "max_drawdown", "fills")]
        shown = [*self.parameters, "objective", *NEIGHBOURHOOD_COLUMNS[1:], *metrics]
        title = f"Sweep {self.name}: {self.objective}"
        rows = self.trials[shown].head(_ROWS_SHOWN).to_html()
        return f"<div><h4>{html.escape(title)}</h4><ul>{sentences}</ul>{rows}</div>"


def sweep_result(
    name: str,
    objective: SearchObjective,
    grid: ParameterGrid,
    sets: Sequence[Parameters],
    outcomes: Sequence[TrialOutcome],
    recorded: Sequence[RecordedTrial],
) -> SweepResult:
    """Return the result of trials. `recorded` are the trials of the strategy on this data in the ledger.

    Raises BadInput if no trial has a value of the objective.
    """
    values = [objective.value(outcome) for outcome in outcomes]
    objective.require_value(values, max((len(outcome.returns) for outcome in outcomes), default=0))
    names = tuple(grid)
    ranked = sorted(range(len(sets)), key=lambda index: (values[index] is None, -(values[index] or 0.0)))
    rows = [
        {
            **sets[index],
            OBJECTIVE: values[index],
            **{metric_column(metric, names): outcomes[index].metrics.get(metric) for metric in TRIAL_METRICS},
            "decision_hash": outcomes[index].decision_hash,
            "error": outcomes[index].error,
        }
        for index in ranked
    ]
    trials = pd.DataFrame(rows)
    best = dict(sets[ranked[0]])
    plateaus = plateau_table(trials, names, OBJECTIVE, best, grid=grid)
    trials = _with_plateaus(trials, plateaus)
    returns = returns_frame([outcomes[index] for index in ranked])
    valid = returns.loc[:, [not outcomes[index].error for index in ranked]]
    return SweepResult(
        name=name,
        objective=objective.text,
        parameters=names,
        trials=trials,
        best=best,
        returns=returns,
        overfitting=SweepOverfitting(
            trials=len(sets),
            pruned=sum(outcome.pruned_percent is not None for outcome in outcomes),
            trials_in_ledger=len(recorded),
            deflated_sharpe=_deflated(outcomes[ranked[0]], recorded),
            pbo=_overfitting_of(valid),
            plateau=plateaus.plateau,
        ),
    )


def metric_column(metric: str, parameters: Sequence[str]) -> str:
    """Return the column of a metric in the frame of trials.

    >>> metric_column("bars", ["bars"]), metric_column("fills", ["bars"])
    ('bars_metric', 'fills')
    """
    return f"{metric}_metric" if metric in parameters else metric


def returns_frame(outcomes: Sequence[TrialOutcome]) -> pd.DataFrame:
    """Return the daily returns: one row per day, one column per trial. A day without a return of a trial has 0."""
    days = sorted({day for outcome in outcomes for day in outcome.returns})
    index = pd.DatetimeIndex(pd.to_datetime([str(day) for day in days], format="%Y%m%d"), name="day")
    columns = [[outcome.returns.get(day, 0.0) for day in days] for outcome in outcomes]
    return pd.DataFrame(np.array(columns, dtype=np.float64).T.reshape(len(days), len(outcomes)), index=index)


def _deflated(best: TrialOutcome, recorded: Sequence[RecordedTrial]) -> DeflatedSharpe | None:
    estimate = sharpe_of(best)
    if estimate is None:
        return None
    return deflated_sharpe_ratio(
        estimate, [0.0 if one.trial.sharpe is None else one.trial.sharpe.sharpe for one in recorded]
    )


def _overfitting_of(returns: pd.DataFrame) -> BacktestOverfitting | None:
    days, trials = returns.shape
    blocks = min(BLOCKS_MAX, days // _DAYS_PER_BLOCK) // 2 * 2
    return probability_of_overfitting(returns.to_numpy(), blocks=blocks) if blocks and trials > 1 else None


def _with_plateaus(trials: pd.DataFrame, plateaus: PlateauTable) -> pd.DataFrame:
    """Insert the neighbourhood of each trial after its objective. A trial without the objective has none."""
    found = plateaus.trials.reindex(trials.index)
    for name in reversed(NEIGHBOURHOOD_COLUMNS):
        position = list(trials.columns).index(OBJECTIVE) + 1
        trials.insert(position, name, found[name] if name in found else float("nan"))
    return trials.astype({"neighbours": "Int64"})
