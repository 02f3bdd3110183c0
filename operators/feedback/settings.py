"""How signals are judged once their time has passed, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class FeedbackSettings:
    """A signal is judged `horizon_bars` bars of its symbol after it was given.

    * `attribution_interval_s`, `weights_interval_s`, `models_interval_s`: how often in event time the P&L by strategy,
      the weights and the models' scores are written, where they changed; 0: never.
    * `half_life_s`: after so long an outcome counts half. `prior_outcomes`: so many a score needs to count half.
    * `learning_rate`: how fast weights follow scores. `weight_min`: no strategy counts less, as a share of the average.
    * `weight_change_min`: new weights are given where one moved by at least this much.
    """

    horizon_bars: int = 30
    attribution_interval_s: int = 300
    weights_interval_s: int = 3600
    models_interval_s: int = 3600
    half_life_s: int = 5 * 86_400
    prior_outcomes: float = 20.0
    learning_rate: float = 2.0
    weight_min: float = 0.2
    weight_change_min: float = 0.01

    def __post_init__(self) -> None:
        for name in ("horizon_bars", "half_life_s"):
            if getattr(self, name) < 1:
                raise BadInput(f"feedback.{name} must be >= 1, found {getattr(self, name)}")
        for name in ("attribution_interval_s", "weights_interval_s", "models_interval_s", "learning_rate"):
            if getattr(self, name) < 0:
                raise BadInput(f"feedback.{name} must be >= 0, found {getattr(self, name)}")
        if self.prior_outcomes <= 0:
            raise BadInput(f"feedback.prior_outcomes must be > 0, found {self.prior_outcomes}")
        for name in ("weight_min", "weight_change_min"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"feedback.{name} must be in [0, 1], found {getattr(self, name)}")
