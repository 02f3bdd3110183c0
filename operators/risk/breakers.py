"""Circuit breakers: what trips them, what they then allow, and how they come back.

A breaker measures one thing in one scope. Beyond its threshold it goes from ACTIVE to REDUCING (only orders that reduce
a position) or HALTED (none). It comes back by itself once its cool-down is over and the measure is within the threshold
again, or by hand; without a cool-down only by hand. By hand it can also be tripped, and then only a hand releases it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from operators.money import plain
from schemas.errors import BadInput
from schemas.records import ACTIVE, HALTED, REDUCING

PORTFOLIO, STRATEGY, SYMBOL = "PORTFOLIO", "STRATEGY", "SYMBOL"
DAILY_LOSS, DAY_FALL, DRAWDOWN = "daily_loss", "day_fall", "drawdown"
LOSS_STREAK, REJECT_RATE = "loss_streak", "reject_rate"
VOLATILITY_JUMP, STALENESS, LAG = "volatility_jump", "staleness", "lag"
SCOPES_OF_MEASURE: Mapping[str, tuple[str, ...]] = {
    DAILY_LOSS: (PORTFOLIO,),
    DAY_FALL: (PORTFOLIO,),
    DRAWDOWN: (PORTFOLIO,),
    LOSS_STREAK: (PORTFOLIO, STRATEGY, SYMBOL),
    REJECT_RATE: (PORTFOLIO, STRATEGY, SYMBOL),
    VOLATILITY_JUMP: (SYMBOL,),
    STALENESS: (SYMBOL,),
    LAG: (PORTFOLIO,),
}
SEVERITY = {ACTIVE: 0, REDUCING: 1, HALTED: 2}
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """One circuit breaker.

    measure      daily_loss       money lost since the start of the trading day, open positions included
                 day_fall         the same as a fraction of the equity at its start
                 drawdown         fall from the highest equity, as a fraction of it
                 loss_streak      closing trades at a loss in a row
                 reject_rate      part of the last `window` orders that the venue rejected, once there are so many
                 volatility_jump  |return| of a bar in standard deviations of the `window` bars before (exponential)
                 staleness        seconds without a bar of a symbol that is held
                 lag              seconds by which the log's time was behind the wall clock at the last heartbeat of
                                  market_data (`market_data.heartbeat_s`)
    threshold    trips beyond it; at it, it does not
    scope        PORTFOLIO, or each STRATEGY or SYMBOL by itself
    trips_to     REDUCING or HALTED
    cool_down_s  seconds of event time after which it may come back by itself, None: only by hand
    window       see measure
    """

    measure: Literal[
        "daily_loss", "day_fall", "drawdown", "loss_streak", "reject_rate", "volatility_jump", "staleness", "lag"
    ]
    threshold: Decimal
    scope: Literal["PORTFOLIO", "STRATEGY", "SYMBOL"] = "PORTFOLIO"
    trips_to: Literal["REDUCING", "HALTED"] = "REDUCING"
    cool_down_s: int | None = None
    window: int = 20

    def __post_init__(self) -> None:
        if self.measure not in SCOPES_OF_MEASURE:
            raise BadInput(f"breaker measure must be one of {', '.join(SCOPES_OF_MEASURE)}, found {self.measure!r}")
        if self.scope not in SCOPES_OF_MEASURE[self.measure]:
            allowed = " or ".join(SCOPES_OF_MEASURE[self.measure])
            raise BadInput(f"breaker {self.measure}: scope must be {allowed}, found {self.scope!r}")
        if self.trips_to not in (REDUCING, HALTED):
            raise BadInput(f"breaker {self.measure}: trips_to must be REDUCING or HALTED, found {self.trips_to!r}")
        if not (self.threshold.is_finite() and self.threshold >= 0):
            raise BadInput(f"breaker {self.measure}: threshold must be at least 0, found {self.threshold}")
        if self.window < 1 or (self.cool_down_s is not None and self.cool_down_s < 0):
            raise BadInput(f"breaker {self.measure}: window must be at least 1 and cool_down_s at least 0")


class TrippedBreaker(NamedTuple):
    """A breaker that is not ACTIVE. `by_hand` ones do not come back by themselves."""

    state: str
    since_ns: int
    manual: bool


class BreakerChange(NamedTuple):
    """A breaker of one scope key changed its state."""

    breaker: Breaker
    key: str
    state: str
    value: str
    actor: str
    reason: str


Measurements = Mapping[tuple[str, str], Mapping[str, Decimal]]
"""{(measure, scope): {key: value}}; what is not known is absent. The key of the portfolio is ""."""


class Breakers:
    """The state of all breakers of one portfolio. Keeps only what is tripped."""

    def __init__(self, breakers: Iterable[Breaker]) -> None:
        self._breakers = tuple(breakers)
        self._tripped: dict[tuple[int, str], TrippedBreaker] = {}  # by (number of the breaker, key)

    def state(self, scope: str, key: str) -> str:
        """The worst state of the breakers of one scope and key."""
        if not self._tripped:
            return ACTIVE
        states = [
            tripped.state
            for (index, tripped_key), tripped in self._tripped.items()
            if tripped_key == key and self._breakers[index].scope == scope
        ]
        return max(states, key=SEVERITY.__getitem__, default=ACTIVE)

    def update(self, ts_ns: int, measured: Measurements) -> list[BreakerChange]:
        """Trip what is beyond its threshold, bring back what has cooled down, in the order of the settings."""
        changes: list[BreakerChange] = []
        for index, breaker in enumerate(self._breakers):
            values = measured.get((breaker.measure, breaker.scope), {})
            for key, value in values.items():
                if value > breaker.threshold and (index, key) not in self._tripped:
                    self._tripped[index, key] = TrippedBreaker(breaker.trips_to, ts_ns, manual=False)
                    reason = f"{breaker.measure} is {plain(value)}, limit {plain(breaker.threshold)}"
                    changes.append(BreakerChange(breaker, key, breaker.trips_to, plain(value), "automatic", reason))
            for number, key in [pair for pair in self._tripped if pair[0] == index]:
                current = values.get(key)
                if self._has_cooled_down(breaker, self._tripped[number, key], ts_ns) and (
                    current is None or current <= breaker.threshold
                ):
                    del self._tripped[number, key]
                    value_text = "unknown" if current is None else plain(current)
                    changes.append(BreakerChange(breaker, key, ACTIVE, value_text, "automatic", "cooled down"))
        return changes

    @staticmethod
    def _has_cooled_down(breaker: Breaker, tripped: TrippedBreaker, ts_ns: int) -> bool:
        if tripped.manual or breaker.cool_down_s is None:
            return False
        return ts_ns - tripped.since_ns >= breaker.cool_down_s * _SECOND_NS

    def set_manually(
        self, ts_ns: int, measure: str, scope: str, key: str, state: str, actor: str, reason: str
    ) -> list[BreakerChange]:
        """Set the breakers of one measure, scope and key to a state. No change where they are in it already."""
        changes: list[BreakerChange] = []
        for index, breaker in enumerate(self._breakers):
            if (breaker.measure, breaker.scope) != (measure, scope):
                continue
            previous = self._tripped.get((index, key))
            if (ACTIVE if previous is None else previous.state) == state:
                continue
            if state == ACTIVE:
                del self._tripped[index, key]
            else:
                self._tripped[index, key] = TrippedBreaker(state, ts_ns, manual=True)
            changes.append(BreakerChange(breaker, key, state, "by hand", actor, reason))
        return changes

    def snapshot(self) -> list[Any]:
        return [(index, key, *tripped) for (index, key), tripped in self._tripped.items()]

    def restore(self, snapshot: list[Any]) -> None:
        self._tripped = {(index, key): TrippedBreaker(*rest) for index, key, *rest in snapshot}
