"""Refuse a backtest in which a model forecasts the bars that it was trained on, or earlier ones.

Such a backtest flatters: the model has seen the outcome.
"""

from __future__ import annotations

from collections.abc import Callable

from configs.model_registry import serving_model
from configs.settings import Settings
from configs.strategies import configured_strategies
from dataflows.sources.row_times import iso
from operators.stage import TimeSlice
from operators.strategies import reads_of
from schemas.errors import BadInput
from schemas.records import Bar, Prediction


def first_slice_check(settings: Settings) -> Callable[[TimeSlice], None] | None:
    """Return a function that raises BadInput if the first time slice starts before the end of the training data.

    None if no strategy reads forecasts, no model serves, or the settings allow it.
    """
    if settings.backtest.allow_in_sample:
        return None
    strategies = configured_strategies(settings)
    # A trading strategy declares no forecasts: any may read them.
    if not strategies.trading and not any(Prediction in reads_of(strategy) for strategy in strategies.views):
        return None
    serving = serving_model(settings.predictions.registry, settings.predictions.model)
    if serving is None:
        return None
    _, card = serving

    def check(time_slice: TimeSlice) -> None:
        start_ns = min(
            (record.open_ns for record in time_slice.records if type(record) is Bar), default=time_slice.ts_ns
        )
        if start_ns < card.trained_until_ns:
            raise BadInput(
                f"model {card.sha256[:12]} was trained on bars until {iso(card.trained_until_ns)}, and the backtest "
                f"starts at {iso(start_ns)}: start it later (--start), select another model (predictions.model), or "
                "pass --allow-in-sample"
            )

    return check
