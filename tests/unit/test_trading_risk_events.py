"""Margin calls and changes of circuit breakers reach the strategies that they concern."""

from __future__ import annotations

from typing import Any

import pytest

from operators.risk.margin_call import MARGIN_CALL
from operators.strategies import TradingStrategy
from schemas.records import ACTIVE, HALTED, PORTFOLIO, REDUCING, STRATEGY, SYMBOL, BreakerScope, RiskEvent, TradingState
from tests.unit.trading_harness import bars, feed, minute, notes, stage_of


class Receiving(TradingStrategy):
    symbols = ("KO",)

    def on_event(self, ctx: Any, event: Any) -> None:
        ctx.note(f"{event.kind} {event.symbol} {event.state}")


def risk_event(
    seq: int, state: TradingState, *, breaker: str = "day_fall", scope: BreakerScope = PORTFOLIO, key: str = ""
) -> RiskEvent:
    return RiskEvent(
        seq=seq,
        ts_ns=minute(0),
        breaker=breaker,
        scope=scope,
        scope_key=key,
        state=state,
        found="1",
        limit="2",
        actor="automatic",
        reason="test",
        cause_id=f"tick-{seq}",
    )


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (risk_event(1, REDUCING, breaker=MARGIN_CALL), ["MARGIN_CALL REDUCING"]),
        (risk_event(1, HALTED), ["DAY_FALL HALTED"]),
        (risk_event(1, HALTED, breaker="staleness", scope=SYMBOL, key="KO"), ["STALENESS KO HALTED"]),
        (risk_event(1, HALTED, breaker="staleness", scope=SYMBOL, key="PEP"), []),
        (risk_event(1, HALTED, breaker="daily_loss", scope=STRATEGY, key="receiving"), ["DAILY_LOSS HALTED"]),
        (risk_event(1, HALTED, breaker="daily_loss", scope=STRATEGY, key="other"), []),
    ],
)
def test_an_event_reaches_the_strategies_that_it_concerns(event: RiskEvent, expected: list[str]) -> None:
    actions = feed(stage_of(Receiving()), [[event, *bars(1, "KO")]])
    assert notes(actions) == expected
    assert all(action.cause_ids == ["tick-1"] for action in actions)


def test_a_repeated_event_is_delivered_once_also_after_a_crash() -> None:
    halted, resumed = risk_event(1, HALTED), risk_event(2, ACTIVE)
    stage = stage_of(Receiving())
    assert notes(feed(stage, [[halted, *bars(1, "KO")]])) == ["DAY_FALL HALTED"]
    restored = stage_of(Receiving())
    restored.restore(stage.snapshot())
    assert notes(feed(restored, [[halted, resumed, *bars(2, "KO")]], 2)) == ["DAY_FALL ACTIVE"]
