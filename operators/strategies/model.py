"""Follow a model's forecasts if the expected return exceeds the cost of a round trip."""

from __future__ import annotations

from typing import Any

from operators.strategies.strategy import TargetView
from schemas.errors import BadInput
from schemas.records import Prediction


class ModelForecast:
    """Long or short in the direction of the forecast, if the expected return is above the costs.

    Entry: |expected return| is above `cost_bps` (one round trip: fees, spread, slippage) and the probability of the
    direction is at least `probability_min`. Exit: the expected return or the probability no longer points in that
    direction. Costs count only at entry, because an open position has already paid them (a no-trade region;
    Constantinides, "Capital market equilibrium with transaction costs", 1986). While `drift` is above `drift_max`,
    positions are closed and not opened. Confidence is twice the distance of the probability from 1/2. The state is the
    current direction.
    """

    reads = (Prediction,)
    features: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        cost_bps: float = 10.0,
        probability_min: float = 0.52,
        drift_max: float = 0.9,
        name: str = "model",
    ) -> None:
        """Raises BadInput unless cost_bps is in [0, 10000], probability_min in [0.5, 0.999] and drift_max in [0, 1]."""
        for label, value, low, high in (
            ("cost_bps", cost_bps, 0.0, 1e4),
            ("probability_min", probability_min, 0.5, 0.999),
            ("drift_max", drift_max, 0.0, 1.0),
        ):
            if type(value) not in (int, float) or not low <= value <= high:
                raise BadInput(f"strategy {name}: {label} must be from {low} to {high}, found {value!r}")
        self.name = name
        self.cost = cost_bps / 1e4
        self.probability_min = probability_min
        self.drift_max = drift_max

    def decide(self, record: Prediction, state: Any) -> tuple[Any, TargetView | None]:
        current = state or 0
        expected_return, probability_up = record.expected_return, record.probability_up
        if record.drift > self.drift_max:
            target = 0
        elif expected_return > self.cost and probability_up >= self.probability_min:
            target = 1
        elif expected_return < -self.cost and 1.0 - probability_up >= self.probability_min:
            target = -1
        else:
            target = current if current * expected_return > 0 and current * (probability_up - 0.5) > 0 else 0
        if target == current:
            return current, None
        parts = {"expected_return": expected_return, "probability_up": probability_up, "drift": record.drift}
        confidence = min(1.0, 2.0 * abs(probability_up - 0.5)) if target else 1.0
        return target, TargetView(target, float(abs(target)), confidence, parts)
