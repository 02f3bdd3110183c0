"""Learn strategy weights from the outcomes of their signals, net of costs and of the market's move.

The score of a strategy is the t-value of its mean outcome (Student, 1908, Biometrika 6(1)): mean / (standard deviation
/ sqrt(n)), all with exponential decay, shrunk towards 0 by n / (n + prior). It grows with the evidence; the information
ratio of a single signal does not. The weights follow the Hedge algorithm (Y. Freund, R. Schapire, 1997): proportional
to exp(learning rate * score), mixed with an equal share, so that no weight becomes 0 and a strategy can recover (fixed
share: M. Herbster, M. Warmuth, 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, sqrt
from typing import Any

from operators.feedback.settings import FeedbackSettings
from schemas.records import SignalOutcome, StrategyWeights

_SECOND_NS = 1_000_000_000
_DIGITS = 6


class StrategyRecord:
    """One strategy's outcomes with exponential decay: count, sum and sum of squares as of `ts_ns`."""

    __slots__ = ("count", "square_sum", "total", "ts_ns")

    def __init__(self, ts_ns: int = 0, count: float = 0.0, total: float = 0.0, square_sum: float = 0.0) -> None:
        self.ts_ns = ts_ns
        self.count = count
        self.total = total
        self.square_sum = square_sum

    def fade(self, ts_ns: int, half_life_ns: float) -> None:
        factor = 0.5 ** ((ts_ns - self.ts_ns) / half_life_ns)
        self.ts_ns = ts_ns
        self.count *= factor
        self.total *= factor
        self.square_sum *= factor

    def score(self, prior: float) -> float:
        """The shrunk t-value of the mean; 0 if the decayed count is below 2."""
        if self.count < 2.0:
            return 0.0
        mean = self.total / self.count
        spread = sqrt(max(self.square_sum / self.count - mean * mean, 0.0))
        if not spread:
            return 0.0
        return mean / spread * sqrt(self.count) * self.count / (self.count + prior)


class StrategyWeighting:
    """The weights of the running strategies, learned from their outcomes."""

    def __init__(self, strategies: Sequence[str], settings: FeedbackSettings) -> None:
        self._settings = settings
        self._half_life_ns = float(settings.half_life_s * _SECOND_NS)
        self._records = {name: StrategyRecord() for name in sorted(strategies)}
        self._published = {name: 1.0 / len(self._records) for name in self._records}
        self._seq = 0

    def learn(self, outcome: SignalOutcome) -> None:
        record = self._records.get(outcome.strategy)
        if record is not None:
            record.fade(outcome.ts_ns, self._half_life_ns)
            record.count += 1.0
            net = outcome.net
            record.total += net
            record.square_sum += net * net

    def weights(self, ts_ns: int) -> StrategyWeights | None:
        """Return the weights at `ts_ns`.

        Return None if no weight has changed by `weight_change_min`, or if fewer than two strategies run.
        """
        settings, records = self._settings, self._records
        if len(records) < 2:
            return None
        for record in records.values():
            record.fade(ts_ns, self._half_life_ns)
        scores = {name: record.score(settings.prior_outcomes) for name, record in records.items()}
        best = max(scores.values())
        raw = {name: exp(settings.learning_rate * (score - best)) for name, score in scores.items()}
        total, count = sum(raw.values()), len(raw)
        floor = settings.weight_min
        new_weights = _rounded_shares(
            {name: floor / count + (1.0 - floor) * raw_weight / total for name, raw_weight in raw.items()}
        )
        if max(abs(new_weights[name] - self._published[name]) for name in new_weights) < max(
            settings.weight_change_min, 1e-9
        ):
            return None
        self._published = new_weights
        self._seq += 1
        counts_text = ", ".join(f"{name} {records[name].count:.1f}" for name in new_weights)
        return StrategyWeights(
            seq=self._seq,
            ts_ns=ts_ns,
            weights=dict(new_weights),
            scores={name: round(score, _DIGITS) for name, score in scores.items()},
            reason=f"shrunk t-values; decayed outcome counts: {counts_text}",
        )

    def snapshot(self) -> Any:
        records = {name: (r.ts_ns, r.count, r.total, r.square_sum) for name, r in self._records.items()}
        return (self._seq, dict(self._published), records)

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. A new strategy starts without outcomes; one that no longer runs is dropped."""
        self._seq, published, records = snapshot
        self._records = {name: StrategyRecord(*records.get(name, ())) for name in self._records}
        equal_weight = 1.0 / max(len(self._records), 1)
        self._published = {name: published.get(name, equal_weight) for name in self._records}


def _rounded_shares(shares: dict[str, float]) -> dict[str, float]:
    """Round shares that sum to 1 so that they still do: the largest one takes the remainder.

    >>> _rounded_shares({"a": 0.5999998, "b": 0.2000001, "c": 0.2000001})
    {'a': 0.6, 'b': 0.2, 'c': 0.2}
    >>> _rounded_shares({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})
    {'a': 0.333334, 'b': 0.333333, 'c': 0.333333}
    """
    rounded = {name: round(share, _DIGITS) for name, share in shares.items()}
    largest = max(rounded, key=rounded.__getitem__)
    others = sum(share for name, share in rounded.items() if name != largest)
    rounded[largest] = round(1.0 - others, _DIGITS)
    return rounded
