"""Combine the strategies' views of a symbol into one weighted view.

With the weight w, confidence c, direction d and strength s of each strategy that has a view of the symbol,

    contribution_i = w_i c_i d_i s_i / sum_j(w_j c_j)        score = sum_i contribution_i, in [-1, 1]

The sign of the score is the direction, and its absolute value is the strength. A strategy without a view of the symbol
is ignored. A strategy with direction 0 counts and moves the score towards 0.

This is a linear opinion pool: M. Stone, "The opinion pool" (1961). An equal-weighted average is hard to beat, so
weights should be shrunk towards it: A. Timmermann, "Forecast combinations" (2006), section 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from schemas.errors import BadInput

ENSEMBLE = "ensemble"
"""Strategy name in the ensemble's signals."""
LEARNED = "learned"


@dataclass(frozen=True, kw_only=True)
class EnsembleSettings:
    """Settings of the ensemble. Raises BadInput for a value out of range.

    enabled     whether the platform trades the combined view of all strategies
    weights     `equal`; numbers by strategy, of which only the ratios matter (a missing strategy has weight 0); or
                `learned`: equal until `feedback` publishes weights in the topic `weights`
    threshold   [score] a score with at most this absolute value gives direction 0
    change_min  [strength] minimum change of the strength that publishes a new signal in an unchanged direction
    """

    enabled: bool = False
    weights: Literal["equal", "learned"] | dict[str, float] = "equal"
    threshold: float = 0.1
    change_min: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise BadInput(f"signals.ensemble.threshold must be in [0, 1), found {self.threshold}")
        if not 0 <= self.change_min <= 1:
            raise BadInput(f"signals.ensemble.change_min must be in [0, 1], found {self.change_min}")
        if isinstance(self.weights, Mapping):
            numbers = list(self.weights.values())
            if not numbers or min(numbers) < 0 or not 0 < sum(numbers) < float("inf"):
                raise BadInput(
                    "signals.ensemble.weights must be equal, learned or numbers >= 0 that are not all 0, "
                    f"found {dict(self.weights)}"
                )

    def initial_weights(self, names: Sequence[str]) -> list[float]:
        """Return the initial weight of each strategy; the weights sum to 1.

        Raises BadInput if a weight belongs to a strategy that does not run, or if no running strategy has a weight.
        """
        if not isinstance(self.weights, Mapping):
            return [1.0 / len(names)] * len(names)
        unknown = sorted(set(self.weights) - set(names))
        numbers = [float(self.weights.get(name, 0.0)) for name in names]
        if unknown or not sum(numbers):
            raise BadInput(
                f"signals.ensemble.weights must contain only running strategies ({', '.join(names)}) and a weight > 0, "
                f"found {dict(self.weights)}"
            )
        return [weight / sum(numbers) for weight in numbers]


class LastView(NamedTuple):
    """A strategy's last view of a symbol. `seq` is the `seq` of its Signal, 0 before the first one."""

    direction: int = 0
    strength: float = 0.0
    confidence: float = 0.0
    seq: int = 0


class EnsembleView(NamedTuple):
    """The combined view. `contributions` by strategy, in strategy order and without zeros, sum to the score."""

    direction: int
    strength: float
    confidence: float
    contributions: dict[str, float]


def combine_views(
    names: Sequence[str], weights: Sequence[float], views: Sequence[LastView], threshold: float
) -> EnsembleView | None:
    """Return the combined view of all strategies; None if no strategy with a weight has a view.

    `confidence` is the confidence-weighted share of the strategies that agree with the direction, relative to the total
    weight of the strategies with a view.

    >>> views = [LastView(1, 1.0, 1.0, 1), LastView(-1, 0.5, 1.0, 2), LastView()]
    >>> combine_views(["trend", "news", "model"], [0.5, 0.25, 0.25], views, 0.1)
    EnsembleView(direction=1, strength=0.5, confidence=0.6666666666666666, contributions={'trend': 0.6666666666666666, \
'news': -0.16666666666666666})
    """
    active_weight = weighted_total = 0.0
    for weight, view in zip(weights, views, strict=True):
        if view.seq:
            active_weight += weight
            weighted_total += weight * view.confidence
    if not weighted_total:
        return None
    contributions: dict[str, float] = {}
    score = 0.0
    for name, weight, view in zip(names, weights, views, strict=True):
        if view.seq and view.direction and weight:
            contribution = contributions[name] = (
                weight * view.confidence * view.direction * view.strength / weighted_total
            )
            score += contribution
    direction = 0 if abs(score) <= threshold else (1 if score > 0 else -1)
    agreeing_weight = 0.0
    for weight, view in zip(weights, views, strict=True):
        if view.seq and view.direction == direction:
            agreeing_weight += weight * view.confidence
    strength = min(abs(score), 1.0) if direction else 0.0
    return EnsembleView(direction, strength, min(agreeing_weight / active_weight, 1.0), contributions)
