"""A risk check that raises rejects the order and names the exception; risk goes on."""

from __future__ import annotations

from typing import Any

import pytest

from operators.risk import RiskSettings, RiskStage
from operators.risk.checks import CheckEntry, max_order_notional
from schemas.records import CheckResult, Order, OrderRefusal, OrderTerms
from tests.builders import bar, proposal

MINUTE_NS = 60_000_000_000


def broken(terms: OrderTerms, context: Any, limits: Any) -> CheckResult:
    if terms.symbol == "AAPL":
        raise KeyError("limit")
    return CheckResult("max_order_notional", "1", "2")


broken.__module__ = max_order_notional.__name__


def test_a_check_that_raises_rejects_the_order_and_risk_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.risk.checks.CHECKS", (CheckEntry(broken),))
    stage = RiskStage(RiskSettings())
    stage.on_slice(MINUTE_NS, [bar("AAPL", 1, MINUTE_NS), bar("MSFT", 1, MINUTE_NS)])
    (refusal,) = stage.on_slice(2 * MINUTE_NS, [proposal(seq=1, ts_ns=2 * MINUTE_NS)])
    assert isinstance(refusal, OrderRefusal)
    assert (refusal.check, refusal.found, refusal.limit) == ("max_order_notional", "KeyError", "no exception")
    assert "the check raised KeyError: 'limit' at " in refusal.message
    assert refusal.message.partition(" at ")[2].partition(":")[0].endswith(".py")

    (decision,) = stage.on_slice(3 * MINUTE_NS, [proposal(symbol="MSFT", seq=2, ts_ns=3 * MINUTE_NS)])
    assert isinstance(decision, Order), "the next order is decided as always"
    assert decision.checks == [CheckResult("max_order_notional", "1", "2")]
