"""Circuit breakers: their states, when they trip and when they reset.

A breaker monitors one measure in one scope. When the measure exceeds the threshold, the breaker changes from ACTIVE to
REDUCING (only orders that reduce a position are allowed) or HALTED (no orders are allowed). It resets automatically
after its cool-down, once the measure is within the threshold again. Without a cool-down, it is reset manually. A
breaker that was tripped manually is reset only manually.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from operators.exchange_halts import ExchangeHalts
from operators.money import plain
from schemas.errors import BadInput
from schemas.records import ACTIVE, HALTED, PORTFOLIO, REDUCING, STRATEGY, SYMBOL, BreakerScope, TradingState

DAILY_LOSS, DAY_FALL, DRAWDOWN = "daily_loss", "day_fall", "drawdown"
LOSS_STREAK, REJECT_RATE = "loss_streak", "reject_rate"
VOLATILITY_JUMP, STALENESS, LAG = "volatility_jump", "staleness", "lag"
SCOPES_OF_MEASURE: Mapping[str, tuple[BreakerScope, ...]] = {
    DAILY_LOSS: (PORTFOLIO,),
    DAY_FALL: (PORTFOLIO,),
    DRAWDOWN: (PORTFOLIO,),
    LOSS_STREAK: (PORTFOLIO, STRATEGY, SYMBOL),
    REJECT_RATE: (PORTFOLIO, STRATEGY, SYMBOL),
    VOLATILITY_JUMP: (SYMBOL,),
    STALENESS: (SYMBOL,),
    LAG: (PORTFOLIO,),
}
SEVERITY: Mapping[TradingState, int] = {ACTIVE: 0, REDUCING: 1, HALTED: 2}
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """One circuit breaker. Raises BadInput for an unknown measure, scope or state, and for a number out of range.

    measure      what is measured. `daily_loss`: money lost since the start of the trading day, including open
                 positions. `day_fall`: the daily loss as a fraction of the equity at the start of the day. `drawdown`:
                 fall from the highest equity, as a fraction of the highest equity. `loss_streak`: number of consecutive
                 closing trades at a loss. `reject_rate`: fraction of the last `window` orders that the venue rejected;
                 unknown before `window` orders. `volatility_jump`: |return| of a bar in standard deviations,
                 exponentially weighted over `window` bars. `staleness`: seconds since the last bar of a symbol with a
                 position. `lag`: seconds that event time was behind the wall clock at the last heartbeat of market_data
                 (`market_data.heartbeat_s`)
    threshold    [that of the measure] the breaker trips when the measure is above it; an equal value does not trip it
    scope        one state for the portfolio, or one for each strategy or each symbol
    trips_to     state after the trip: only orders that reduce a position pass (REDUCING), or none (HALTED)
    cool_down_s  [seconds of event time] time before an automatic reset; None: manual reset only
    window       [orders or bars] orders of `reject_rate`, bars of `volatility_jump`
    """

    measure: Literal[
        "daily_loss", "day_fall", "drawdown", "loss_streak", "reject_rate", "volatility_jump", "staleness", "lag"
    ]
    threshold: Decimal
    scope: BreakerScope = PORTFOLIO
    trips_to: Literal["REDUCING", "HALTED"] = REDUCING
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
            found = f"found {self.window} and {self.cool_down_s}"
            raise BadInput(f"breaker {self.measure}: window must be at least 1 and cool_down_s at least 0, {found}")


class TrippedBreaker(NamedTuple):
    """A breaker that is not ACTIVE. If `manual`, only a manual reset makes it ACTIVE again."""

    state: TradingState
    since_ns: int
    manual: bool


class BreakerChange(NamedTuple):
    """A state change of a breaker. `key` is the strategy or symbol, "" for the portfolio."""

    breaker: Breaker
    key: str
    state: TradingState
    value: str
    actor: str
    reason: str


Measurements = Mapping[tuple[str, str], Mapping[str, Decimal]]
"""{(measure, scope): {key: value}}. Unknown values are absent. The key of the portfolio is ""."""


class Breakers:
    """The states of all breakers of one portfolio. Only tripped breakers are stored.

    `exchange_halts` are the symbols that an exchange has halted. The snapshot does not contain them.
    """

    def __init__(self, breakers: Iterable[Breaker], exchange_halts: ExchangeHalts | None = None) -> None:
        self._breakers = tuple(breakers)
        self.exchange_halts = ExchangeHalts() if exchange_halts is None else exchange_halts
        self._tripped: dict[tuple[int, str], TrippedBreaker] = {}  # by (index of the breaker, key)

    @property
    def is_tripped(self) -> bool:
        """Whether any breaker is tripped."""
        return bool(self._tripped)

    def state(self, scope: BreakerScope, key: str) -> TradingState:
        """Return the most severe state of the breakers of one scope and key."""
        if not self._tripped:
            return ACTIVE
        states: list[TradingState] = [
            tripped.state
            for (index, tripped_key), tripped in self._tripped.items()
            if tripped_key == key and self._breakers[index].scope == scope
        ]
        return max(states, key=SEVERITY.__getitem__, default=ACTIVE)

    def update(self, ts_ns: int, measured: Measurements) -> list[BreakerChange]:
        """Trip breakers above their thresholds and reset cooled-down ones. Return the changes in settings order."""
        changes: list[BreakerChange] = []
        for index, breaker in enumerate(self._breakers):
            values = measured.get((breaker.measure, breaker.scope), {})
            for key, value in values.items():
                if value > breaker.threshold and (index, key) not in self._tripped:
                    self._tripped[index, key] = TrippedBreaker(breaker.trips_to, ts_ns, manual=False)
                    reason = f"{breaker.measure} is {plain(value)}, limit {plain(breaker.threshold)}"
                    changes.append(
                        BreakerChange(
                            breaker=breaker,
                            key=key,
                            state=breaker.trips_to,
                            value=plain(value),
                            actor="automatic",
                            reason=reason,
                        )
                    )
            for number, key in [pair for pair in self._tripped if pair[0] == index]:
                current = values.get(key)
                if self._has_cooled_down(breaker, self._tripped[number, key], ts_ns) and (
                    current is None or current <= breaker.threshold
                ):
                    del self._tripped[number, key]
                    value_text = "unknown" if current is None else plain(current)
                    changes.append(
                        BreakerChange(
                            breaker=breaker,
                            key=key,
                            state=ACTIVE,
                            value=value_text,
                            actor="automatic",
                            reason="cooled down",
                        )
                    )
        return changes

    @staticmethod
    def _has_cooled_down(breaker: Breaker, tripped: TrippedBreaker, ts_ns: int) -> bool:
        if tripped.manual or breaker.cool_down_s is None:
            return False
        return ts_ns - tripped.since_ns >= breaker.cool_down_s * _SECOND_NS

    def set_manually(
        self,
        ts_ns: int,
        measure: str,
        scope: BreakerScope,
        key: str,
        state: TradingState,
        actor: str,
        reason: str,
    ) -> list[BreakerChange]:
        """Set the breakers of one measure, scope and key to `state`. Breakers already in that state do not change."""
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
            changes.append(
                BreakerChange(breaker=breaker, key=key, state=state, value="manual", actor=actor, reason=reason)
            )
        return changes

    def snapshot(self) -> list[Any]:
        return [(index, key, *tripped) for (index, key), tripped in self._tripped.items()]

    def restore(self, snapshot: list[Any]) -> None:
        self._tripped = {(index, key): TrippedBreaker(*rest) for index, key, *rest in snapshot}
