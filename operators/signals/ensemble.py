"""One view out of many: what the strategies hold of a symbol, weighed.

With the weight w, confidence c, direction d and strength s of each strategy that has spoken of a symbol,

    contribution_i = w_i c_i d_i s_i / sum_j(w_j c_j)        score = sum_i contribution_i, in [-1, 1]

The sign of the score is the direction and its size the strength. A linear opinion pool: M. Stone, "The opinion pool"
(1961); that a plain average is hard to beat, and weights should lean towards it: A. Timmermann, "Forecast combinations"
(2006), section 7. A strategy that has never spoken of the symbol abstains; one that says "be out of it" has spoken,
and pulls towards nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from schemas.errors import BadInput

ENSEMBLE = "ensemble"
"""What stands for the strategy in the ensemble's signals."""
LEARNED = "learned"


@dataclass(frozen=True, kw_only=True)
class EnsembleSettings:
    """Whether the strategies are traded together, and how much each counts.

    * `weights`: "equal"; numbers by strategy, of which only the ratios matter (a strategy that is not named has none);
      or "learned": equal until `feedback` says otherwise in the topic `weights`.
    * `threshold`: a score of at most this size is no view (direction 0).
    * `change_min`: in an unchanged direction the strength is given anew when it moved by at least this much.
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
                    "signals.ensemble.weights must be numbers >= 0, not all 0, equal or learned, "
                    f"found {dict(self.weights)}"
                )

    def initial_weights(self, names: Sequence[str]) -> list[float]:
        """The weight of each strategy at the start. Raises BadInput where a weight is of a strategy that does not run,
        or none that runs has one.
        """
        if not isinstance(self.weights, Mapping):
            return [1.0 / len(names)] * len(names)
        unknown = sorted(set(self.weights) - set(names))
        numbers = [float(self.weights.get(name, 0.0)) for name in names]
        if unknown or not sum(numbers):
            raise BadInput(
                f"signals.ensemble.weights must be of strategies that run ({', '.join(names)}), "
                f"found {dict(self.weights)}"
            )
        return [weight / sum(numbers) for weight in numbers]


class LastView(NamedTuple):
    """A strategy's last view of a symbol. `seq` is that of its Signal, 0 while it has never spoken."""

    direction: int = 0
    strength: float = 0.0
    confidence: float = 0.0
    seq: int = 0


class EnsembleView(NamedTuple):
    """The weighed view. `contributions` by strategy, in their order, without zeros; they sum to the score."""

    direction: int
    strength: float
    confidence: float
    contributions: dict[str, float]


def combine_views(
    names: Sequence[str], weights: Sequence[float], views: Sequence[LastView], threshold: float
) -> EnsembleView | None:
    """The view of all strategies together; None where nobody who counts has spoken.

    `confidence` is the share of the weight of those who spoke that stands behind the direction, each with its own
    confidence.

    >>> views = [LastView(1, 1.0, 1.0, 1), LastView(-1, 0.5, 1.0, 2), LastView()]
    >>> combine_views(["trend", "news", "model"], [0.5, 0.25, 0.25], views, 0.1)
    Opinion(direction=1, strength=0.5, confidence=0.6666666666666666, contributions={'trend': 0.6666666666666666, \
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
