"""Follow a model's forecasts where they promise more than a round trip costs."""

from __future__ import annotations

from typing import Any

from operators.strategies.strategy import View
from schemas.errors import BadInput
from schemas.records import Prediction


class ModelForecast:
    """Long while the forecast return pays the costs, short where it pays them the other way, else as it was until the
    forecast turns.

    In when |expected return| is above `cost_bps` (one round trip: fees, spread, slippage) and the probability of that
    direction is at least `probability_min`; out when the expected return or the probability no longer points there.
    So costs are asked for at the entry only: what is held has paid them already (a no-trade region; Constantinides,
    "Capital market equilibrium with transaction costs", 1986). Out, and not in again, while `drift` is above
    `drift_max`. Confidence is how far the probability is from 1/2, times 2. The state is the direction held.
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
        """Raises BadInput for a cost below 0, a probability outside [0.5, 1) or a drift outside [0, 1]."""
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

    def decide(self, record: Prediction, state: Any) -> tuple[Any, View | None]:
        held = state or 0
        gain, up = record.expected_return, record.probability_up
        if record.drift > self.drift_max:
            wanted = 0
        elif gain > self.cost and up >= self.probability_min:
            wanted = 1
        elif gain < -self.cost and 1.0 - up >= self.probability_min:
            wanted = -1
        else:
            wanted = held if held * gain > 0 and held * (up - 0.5) > 0 else 0
        if wanted == held:
            return held, None
        parts = {"expected_return": gain, "probability_up": up, "drift": record.drift}
        sure = min(1.0, 2.0 * abs(up - 0.5)) if wanted else 1.0
        return wanted, View(wanted, float(abs(wanted)), sure, parts)
