"""A cash transfer moves risk's cash and buying power, and is no loss for its breakers and checks."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.rebase import rebase
from operators.risk import RiskSettings, RiskStage
from operators.risk.breakers import Breaker
from schemas.records import BUY, DEPOSIT, FEE, WITHDRAWAL, CashTransferKind, Order, OrderRefusal, Record, RiskEvent
from tests.builders import bar, cash_transfer, execution, proposal
from tests.unit.risk_check_cases import MINUTE_NS, NOW_NS

D = Decimal


def risk_stage(**limits: Any) -> RiskStage:
    """A portfolio of 10 units bought at 100 with a capital of 1,000."""
    stage = RiskStage(RiskSettings.unlimited(**{"initial_capital": D(1_000), **limits}))
    stage.on_slice(NOW_NS, [execution(1, NOW_NS, "AAPL", 10, 100), bar("AAPL", 1, NOW_NS, close=100.0)])
    return stage


def step(stage: RiskStage, minute: int, close: float, *records: Record) -> list[Record]:
    ts_ns = NOW_NS + minute * MINUTE_NS
    return stage.on_slice(ts_ns, [*records, bar("AAPL", 1 + minute, ts_ns, close=close)])


def transfer(seq: int, kind: CashTransferKind, amount: str) -> Record:
    return cash_transfer(seq, kind, amount)


def events(out: list[Record]) -> list[tuple[str, str]]:
    return [(record.state, record.found) for record in out if type(record) is RiskEvent]


@pytest.mark.parametrize(("measure", "threshold"), [("daily_loss", "200"), ("day_fall", "0.2"), ("drawdown", "0.2")])
@pytest.mark.parametrize("amount", ["-850", "5000"])
def test_a_transfer_in_a_drawdown_neither_trips_nor_hides_a_breaker(measure: Any, threshold: str, amount: str) -> None:
    """Equity falls by 10 %. The transfer leaves every measure as it is; the next loss counts on the new capital."""
    stage = risk_stage(breakers=(Breaker(measure=measure, threshold=D(threshold)),))
    kind: CashTransferKind = WITHDRAWAL if amount.startswith("-") else DEPOSIT
    assert events(step(stage, 1, 90.0)) == []
    assert events(step(stage, 2, 90.0, transfer(2, kind, amount))) == []
    if measure == "daily_loss":
        tripping, found = 79.9, "201"
    else:
        # The fund is down by 10 %, and by 20 % after a further fall of 1/9 of the equity.
        equity = 900 + float(amount)
        tripping = 90.0 - (equity / 9 + 1) / 10
        found = None
    [(state, value)] = events(step(stage, 3, tripping))
    assert state == "REDUCING" and found in (None, value)


@pytest.mark.parametrize("limits", [{"max_daily_loss": D(200)}, {"max_drawdown": D("0.2")}])
def test_the_checks_of_an_order_ignore_a_transfer(limits: dict[str, Any]) -> None:
    stage = risk_stage(**limits)
    step(stage, 1, 90.0)
    [decision] = step(stage, 2, 90.0, transfer(2, WITHDRAWAL, "-850"), proposal(BUY, 1))
    assert type(decision) is Order
    [decision] = step(stage, 3, 69.0, proposal(BUY, 1))
    assert type(decision) is OrderRefusal


def test_a_deposit_is_buying_power_in_its_time_slice_and_a_fee_is_a_loss() -> None:
    stage = risk_stage(buying_power_multiple=D(1))
    [decision] = step(stage, 1, 100.0, proposal(BUY, 1))
    assert type(decision) is OrderRefusal and decision.check == "cash"
    [decision] = step(stage, 2, 100.0, transfer(2, DEPOSIT, "500"), proposal(BUY, 1))
    assert type(decision) is Order
    fees = risk_stage(breakers=(Breaker(measure="daily_loss", threshold=D(5)),))
    assert events(step(fees, 1, 100.0, transfer(2, FEE, "-6"))) == [("REDUCING", "6")]


def test_a_snapshot_restores_the_bases_and_a_flow_that_waits_for_a_price() -> None:
    stage = risk_stage(breakers=(Breaker(measure="drawdown", threshold=D("0.5")),))
    unpriced = [execution(2, NOW_NS, "MSFT", 1, 1), transfer(3, DEPOSIT, "100")]
    stage.on_slice(NOW_NS + MINUTE_NS, unpriced)
    assert stage.book.pending_flow == 100, "MSFT has no price, so the equity is unknown"
    restored = RiskStage(stage.settings)
    restored.restore(stage.snapshot())
    priced = bar("MSFT", 1, NOW_NS + 2 * MINUTE_NS, close=1.0)
    for one in (stage, restored):
        one.on_slice(NOW_NS + 2 * MINUTE_NS, [priced])
    assert stage.book.pending_flow == 0 and stage.snapshot() == restored.snapshot()


@given(
    base=st.decimals(1, 1_000_000, places=2),
    before=st.decimals(1, 1_000_000, places=2),
    after=st.decimals(1, 1_000_000, places=2),
)
def test_scaling_keeps_the_fraction_lost(base: Decimal, before: Decimal, after: Decimal) -> None:
    base = max(base, before)  # a peak is not below the equity
    scaled = rebase(base, before, after)
    assert abs(after / scaled - before / base) < Decimal("1e-6") * (before / base)


def test_without_capital_the_base_starts_again() -> None:
    assert rebase(D(100), D(90), D(0)) == 0, "everything was withdrawn"
    assert rebase(D(0), D(0), D(500)) == 500, "the next deposit is the new base"
