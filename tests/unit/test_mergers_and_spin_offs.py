"""Spin-offs, rights and mergers through the whole pipeline, long and short, with their cost basis.

X trades at 100. In the spin-off, 3 shares of Y are distributed for 10 of X, and 24 % of the basis moves to them: X
opens at 76, Y at 80. Nobody has gained or lost anything.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.ledger import Ledger, SpinOff, TaxBook, to_tax_trade
from schemas.errors import InvalidField
from schemas.records import Attribution, CashFlow, Lot, Position
from tests.builders import corporate_action
from tests.builders.trades import trade
from tests.unit.action_backtest import CAPITAL, ActionBacktest, hourly, run_actions
from tests.unit.test_reference_data import DAYS, TradingLoopHarness, desk_with_position

SPIN_OFF = {"kind": "SPIN_OFF", "symbol": "X", "new_symbol": "Y", "ratio": 0.3, "cost_share": 0.24}
EX = {"ex_date": "2024-06-04"}


def run_spin_off(folder: Path, direction: int, first_hour_of_y: int, **action: Any) -> ActionBacktest:
    bars = hourly("X", [100.0] * 24 + [76.0] * 24) + hourly("Y", [80.0] * 20, first_hour=first_hour_of_y)
    return run_actions(
        folder,
        bars,
        [SPIN_OFF | EX | action],
        strategy={"direction": direction, "only": "X"},
        settings={"feedback": {"attribution_interval_s": 3600}},
    )


@pytest.mark.parametrize("kind", ["SPIN_OFF", "RIGHTS"])
@pytest.mark.parametrize("first_hour_of_y", [24, 28])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_distribution_moves_shares_and_basis_but_no_money(
    tmp_path: Path, direction: int, first_hour_of_y: int, kind: str
) -> None:
    run = run_spin_off(tmp_path, direction, first_hour_of_y, kind=kind)
    until_y_trades = [one for one in run.valuations if one.open_positions == 2]
    assert {valuation.equity for valuation in run.valuations[: first_hour_of_y + 1]} == {CAPITAL}
    assert until_y_trades
    positions = {record.symbol: record for record in run.of_type(Position)}
    x, y = positions["X"], positions["Y"]
    assert (x.quantity, x.cost_basis, x.avg_price) == (1000 * direction, 76_000 * direction, 76)
    assert (y.quantity, y.cost_basis, y.avg_price) == (300 * direction, 24_000 * direction, 80)
    assert len(run.fills) >= 1 and run.fills[0].symbol == "X"
    rows: list[Attribution] = run.of_type(Attribution)
    assert {row.strategy for row in rows if row.realized_pnl or row.unrealized_pnl} <= {"scheduled"}


def test_a_fraction_of_a_distributed_share_is_paid_out(tmp_path: Path) -> None:
    run = run_spin_off(tmp_path, 1, 24, ratio="1:3", amount=70)
    positions = {record.symbol: record for record in run.of_type(Position)}
    assert positions["Y"].quantity == 333
    assert [flow.amount for flow in run.of_type(CashFlow)] == [0]
    lots = {lot.lot_id: lot for lot in run.of_type(Lot) if lot.symbol == "Y"}
    assert [lot.quantity for lot in lots.values()] == [333]


@pytest.mark.parametrize("direction", [1, -1])
def test_a_merger_for_cash_pays_out_every_share(tmp_path: Path, direction: int) -> None:
    merger = {"kind": "CASH_MERGER", "symbol": "X", "amount": 110} | EX
    bars = hourly("X", [100.0] * 24) + hourly("Z", [5.0] * 48)
    run = run_actions(tmp_path, bars, [merger], strategy={"direction": direction, "only": "X"})
    positions = {record.symbol: record.quantity for record in run.of_type(Position)}
    assert positions["X"] == 0
    assert run.valuations[-1].equity == CAPITAL + 10_000 * direction


@pytest.mark.parametrize("direction", [1, -1])
def test_a_merger_for_stock_exchanges_every_share(tmp_path: Path, direction: int) -> None:
    merger = {"kind": "STOCK_MERGER", "symbol": "X", "new_symbol": "M", "ratio": "1:4", "amount": 400} | EX
    bars = hourly("X", [100.0] * 24) + hourly("M", [400.0] * 48)
    run = run_actions(tmp_path, bars, [merger], quantity=1002, strategy={"direction": direction, "only": "X"})
    positions = {record.symbol: record for record in run.of_type(Position)}
    assert positions["X"].quantity == 0
    assert positions["M"].quantity == 250 * direction
    assert {valuation.equity for valuation in run.valuations} == {CAPITAL}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=5),
    st.sampled_from([1, -1]),
    st.sampled_from(["0.3", "0.333333333", "2", "0.05"]),
    st.decimals(0, 1, places=4).filter(lambda share: share < 1),
    st.sampled_from([None, Decimal(70)]),
    st.sampled_from(["fifo", "average", "hifo"]),
)
def test_the_basis_is_allocated_completely(
    units: list[int], sign: int, ratio: str, share: Decimal, in_lieu: Decimal | None, method: Any
) -> None:
    ledger, tax = Ledger(Decimal(0), method=method), TaxBook(method)
    for number, quantity in enumerate(units, start=1):
        fill = trade(number, sign * quantity, str(10 + number), symbol="X")
        ledger.apply(fill)
        tax_trade = to_tax_trade(fill)
        assert tax_trade is not None
        tax.apply_trade(tax_trade)
    cost = ledger.cost
    event = SpinOff("s", 10, "X", "Y", Decimal(ratio), share, in_lieu)
    tax.apply_action(event)
    ledger.apply_action(event)
    parent, child = ledger.position("X"), ledger.position("Y")
    assert parent is not None and child is not None
    assert parent.quantity == sign * sum(units)
    assert parent.cost + child.cost == ledger.cost
    assert abs(parent.cost - cost * (1 - share)) < Decimal("1e-7")
    if in_lieu is None:
        assert ledger.cost == cost
    assert sum(lot.cost for lot in child.lots) == child.cost
    of_tax = {name: sum(lot.quantity for symbol, _, lot in tax.open_lots() if symbol == name) for name in "XY"}
    assert abs(of_tax["X"] - parent.quantity) + abs(of_tax["Y"] - child.quantity) < Decimal("1e-5")


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("kind", ["SPIN_OFF", "RIGHTS", "STOCK_MERGER", "CASH_MERGER"])
def test_venue_portfolio_risk_and_a_naive_ledger_agree(direction: int, kind: Any) -> None:
    desk: TradingLoopHarness = desk_with_position(direction)
    share = "0.24" if kind in ("SPIN_OFF", "RIGHTS") else None
    action = corporate_action(
        "s", kind, "A", ex_date=DAYS[1], ratio="0.333333333", cost_share=share, new_symbol="C", amount=70
    )
    for _ in range(8):
        desk.step({"A": 100.0, "B": 50.0}, action)


def test_a_distribution_without_the_share_of_the_basis_is_rejected() -> None:
    from operators.reference_data import validate_corporate_action

    with pytest.raises(InvalidField, match="s: field cost_share must be a number from 0 to below 1 for SPIN_OFF"):
        validate_corporate_action(corporate_action("s", "SPIN_OFF", "A", ratio=1, new_symbol="B"))
