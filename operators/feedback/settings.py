"""Settings of the evaluation of signals and of the learned weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from schemas.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class FeedbackSettings:
    """Settings of the feedback service. Raises BadInput for a value out of range.

    horizon_bars            [bars] a signal is evaluated this many bars of its symbol later
    attribution_interval_s  [seconds of event time] interval at which P&L by strategy is published; 0: never
    weights_interval_s      [seconds of event time] interval at which changed weights are published; 0: never
    models_interval_s       [seconds of event time] interval at which the scores of models are published; 0: never
    benchmark               symbol whose return is subtracted from the outcome of a signal; None: the equal-weighted
                            mean of the other symbols
    slippage_bps            expected slippage of one trade in an outcome; None: `slippage_bps` of the simulated venue if
                            its slippage is fixed, else 0
    half_life_s             [seconds of event time] age at which an outcome has half of its weight
    prior_outcomes          [outcomes] number of outcomes at which a score counts half; with fewer, it counts less
    learning_rate           how strongly weights react to scores; a t-value that is higher by 1 multiplies a weight by
                            e to the power of this
    weight_min              [fraction] minimum weight of a strategy, as a share of the average weight
    weight_change_min       minimum change of a weight that publishes new weights
    """

    horizon_bars: int = 30
    attribution_interval_s: int = 300
    weights_interval_s: int = 3600
    models_interval_s: int = 3600
    benchmark: str | None = None
    slippage_bps: float | None = None
    half_life_s: int = 5 * 86_400
    prior_outcomes: float = 20.0
    learning_rate: float = 0.5
    weight_min: float = 0.2
    weight_change_min: float = 0.01

    def __post_init__(self) -> None:
        for name in ("horizon_bars", "half_life_s"):
            if getattr(self, name) < 1:
                raise BadInput(f"feedback.{name} must be >= 1, found {getattr(self, name)}")
        for name in ("attribution_interval_s", "weights_interval_s", "models_interval_s", "learning_rate"):
            if getattr(self, name) < 0:
                raise BadInput(f"feedback.{name} must be >= 0, found {getattr(self, name)}")
        if self.slippage_bps is not None and not 0 <= self.slippage_bps < 10_000:
            raise BadInput(f"feedback.slippage_bps must be in [0, 10000), found {self.slippage_bps}")
        if self.benchmark == "":
            raise BadInput("feedback.benchmark must be a symbol or null, found an empty text")
        if not 0 < self.prior_outcomes < inf:
            raise BadInput(f"feedback.prior_outcomes must be a number > 0, found {self.prior_outcomes}")
        if not self.learning_rate < inf:
            raise BadInput(f"feedback.learning_rate must be a number >= 0, found {self.learning_rate}")
        for name in ("weight_min", "weight_change_min"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"feedback.{name} must be in [0, 1], found {getattr(self, name)}")
