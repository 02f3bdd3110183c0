"""Follow the tone of recent news."""

from __future__ import annotations

from typing import Any

from operators.strategies.strategy import TargetView, id_of
from schemas.errors import BadInput
from schemas.records import FeatureRow, SentimentScore

CAUSES_MAX = 3


class Sentiment:
    """Long if the tone of a symbol's news reaches `enter`, short if it reaches -`enter`, closed if it is below `exit`.

    The tone is the sum of score times confidence over all headlines. Each headline loses half of its weight every
    `half_life_s` seconds of event time. Confidence is the absolute tone, at most 1. The state is (time, tone at that
    time, current direction, ids of the last scores) and does not grow.
    """

    reads = (FeatureRow, SentimentScore)
    features: tuple[str, ...] = ()

    def __init__(
        self, *, half_life_s: float = 3600.0, enter: float = 0.5, exit: float = 0.2, name: str = "sentiment"
    ) -> None:
        """Raises BadInput if the half-life is not above 0, or unless 0 < exit < enter."""
        if type(half_life_s) not in (int, float) or not 0 < half_life_s < float("inf"):
            raise BadInput(f"strategy {name}: half_life_s must be > 0, found {half_life_s!r}")
        if not all(type(value) in (int, float) for value in (enter, exit)) or not 0 < exit < enter < float("inf"):
            raise BadInput(
                f"strategy {name}: exit and enter must satisfy 0 < exit < enter, found {exit!r} and {enter!r}"
            )
        self.name = name
        self.half_life_ns = half_life_s * 1e9
        self.enter, self.exit = enter, exit

    def decide(self, record: Any, state: Any) -> tuple[Any, TargetView | None]:
        if type(record) is FeatureRow:
            if state is None or not state[2]:
                return state, None  # no position: time alone does not change the view
            at_ns, tone, current, causes = state
            tone *= 0.5 ** ((record.ts_ns - at_ns) / self.half_life_ns)
            if current * tone >= self.exit:
                return state, None
            return (record.ts_ns, tone, 0, causes), TargetView(
                direction=0, strength=0.0, confidence=1.0, parts={"tone": tone}, causes=causes
            )
        at_ns, tone, current, causes = state or (record.ts_ns, 0.0, 0, ())
        tone = tone * 0.5 ** ((record.ts_ns - at_ns) / self.half_life_ns) + record.score * record.confidence
        causes = (*causes, id_of(record))[-CAUSES_MAX:]
        target = (
            1 if tone >= self.enter else -1 if tone <= -self.enter else current if current * tone >= self.exit else 0
        )
        state = (record.ts_ns, tone, target, causes)
        if target == current:
            return state, None
        parts = {"tone": tone, "score": record.score}
        return state, TargetView(
            direction=target,
            strength=float(abs(target)),
            confidence=min(1.0, abs(tone)) if target else 1.0,
            parts=parts,
            causes=causes,
        )
