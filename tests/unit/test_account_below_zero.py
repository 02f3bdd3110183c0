"""A cash account cannot spend more than its cash, and an account below zero is liquidated, as a broker does."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dataflows.research.frames import COLUMNS, EXECUTIONS, RunFrames
from operators.money import ZERO, multiply
from schemas.records import CANCELED, REJECTED, Execution, Order
from tests.unit.action_backtest import CAPITAL, ActionBacktest, hourly, run_actions

UNLIMITED = dict.fromkeys(
    ("max_order_notional", "max_position", "max_position_size", "max_daily_loss", "max_portfolio_leverage"), "unlimited"
)


def run_cash_account(folder: Path, opens_at: float, **venue: Any) -> ActionBacktest:
    """Put all cash into X at 100; the next bar opens at `opens_at`."""
    settings: dict[str, dict[str, Any]] = {
        "portfolio_manager": {
            "max_position_percentage": 1,
            "allow_short": False,
            "settled_cash_only": True,
            "sizing": {"method": "fixed_fraction", "fraction": 1},
        },
        "execution": {"venue": {"fee_per_share": 0, "fee_min": 0, "slippage_bps": 0, **venue}},
    }
    bars = hourly("X", [100.0] * 4 + [opens_at] * 8)
    return run_actions(folder, bars, [], strategy={"enter": 4}, settings=settings)


@pytest.mark.parametrize("fees", [{}, {"fee_per_share": 0.01, "fee_min": 1}, {"slippage_bps": 25}])
@pytest.mark.parametrize("opens_at", [100.0, 120.0, 150.0])
def test_a_purchase_is_cut_to_the_cash_of_a_cash_account(tmp_path: Path, opens_at: float, fees: dict[str, Any]) -> None:
    run = run_cash_account(tmp_path, opens_at, **fees)
    spent = sum((multiply(fill.quantity, fill.price) + fill.fee for fill in run.fills), ZERO)
    (fill,) = run.fills
    assert all(valuation.cash >= 0 for valuation in run.valuations)
    assert run.valuations[-1].cash == CAPITAL - spent
    assert run.valuations[-1].cash < fill.price + Decimal("0.02"), "it buys as much as the cash pays"
    if opens_at > 100:
        (cancelled,) = [report for report in run.of_type(Execution) if report.exec_type == CANCELED]
        assert "insufficient cash" in cancelled.text


def test_margin_accounts_show_what_they_borrow(tmp_path: Path) -> None:
    settings = {
        "portfolio_manager": {"max_position_percentage": 1, "sizing": {"method": "fixed_fraction", "fraction": 1}}
    }
    bars = hourly("X", [100.0] * 4 + [120.0] * 8)
    run = run_actions(tmp_path, bars, [], strategy={"enter": 4}, settings=settings)
    (fill,) = run.fills
    assert run.valuations[-1].cash == CAPITAL - fill.quantity * fill.price < 0


def run_short_squeeze(folder: Path, direction: int = -1) -> ActionBacktest:
    """Sell short 10,000 X at 100 with a capital of 1,000,000; the price rises to 250."""
    bars = hourly("X", [100.0] * 5 + [250.0] * 5 + [20.0] * 20)
    settings = {"risk_manager": {**UNLIMITED, "circuit_breaker_threshold": "unlimited"}}
    return run_actions(folder, bars, [], quantity=10_000, strategy={"direction": direction}, settings=settings)


def test_equity_below_zero_ends_the_run_with_a_liquidation(tmp_path: Path) -> None:
    run = run_short_squeeze(tmp_path)
    assert [(fill.side, int(fill.price), fill.order_id) for fill in run.fills] == [
        ("SELL", 100, "ord-1"),
        ("BUY", 250, "liquidation-1"),
    ]
    assert {valuation.equity for valuation in run.valuations[7:]} == {Decimal(-500_000)}
    summary = run.performance.summary()
    assert summary["final_equity"] == "-500000"
    assert summary["liquidation"] == "2024-06-03T07:00:00Z liquidation: equity is -500000"
    assert summary["bars"] == 7, "the run ends with the liquidation"
    frames = RunFrames([EXECUTIONS], Decimal(1_000_000))
    for time_slice in run.slices:
        frames.add_all(time_slice.records)
    columns = [COLUMNS[EXECUTIONS].index(name) for name in ("id", "type", "event", "quantity", "reason")]
    rows = [tuple(row[column] for column in columns) for row in frames.frame(EXECUTIONS).rows]
    assert rows[-2:] == [
        ("liquidation-1", "MARKET", "NEW", 0, "liquidation: equity is -500000"),
        ("liquidation-1", "MARKET", "TRADE", 10_000, ""),
    ]


def test_after_a_liquidation_no_order_is_accepted(tmp_path: Path) -> None:
    bars = hourly("X", [100.0] * 5 + [250.0] * 5 + [20.0] * 20) + hourly("Y", [50.0] * 12, first_hour=15)
    settings = {"risk_manager": {**UNLIMITED, "circuit_breaker_threshold": "unlimited"}}
    run = run_actions(tmp_path, bars, [], quantity=10_000, strategy={"direction": -1}, settings=settings)
    rejected = [report for report in run.of_type(Execution) if report.exec_type == REJECTED]
    assert len(rejected) == len(run.of_type(Order)) - 1
    assert all(report.text.startswith("liquidation: equity is -500000") for report in rejected)
    assert [fill.symbol for fill in run.fills] == ["X", "X"]
