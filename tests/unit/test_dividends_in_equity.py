"""A dividend is in the equity from its ex-date on. Its payment only moves it to cash.

The share falls from 100 to 90 at the ex-date of a dividend of 10: nobody has gained or lost anything.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schemas.records import Attribution, CashFlow, RiskFence
from tests.unit.action_backtest import CAPITAL, ActionBacktest, hourly, run_actions

EX_HOUR = 24
SOON, LATER = "2024-06-05", "2024-06-20"  # the bars end on 2024-06-05


def run_dividend(folder: Path, pay_date: str, quantity: int = 1000, **options: Any) -> ActionBacktest:
    dividend = {"kind": "CASH_DIVIDEND", "symbol": "X", "amount": 10, "ex_date": "2024-06-04", "pay_date": pay_date}
    bars = hourly("X", [100.0] * EX_HOUR + [90.0] * 48)
    return run_actions(folder, bars, [dividend], quantity=quantity, **options)


@pytest.mark.parametrize("pay_date", [SOON, LATER, "2024-06-04"])
@pytest.mark.parametrize("direction", [1, -1])
def test_equity_is_unchanged_whatever_the_pay_date(tmp_path: Path, pay_date: str, direction: int) -> None:
    run = run_dividend(tmp_path, pay_date, strategy={"direction": direction})
    assert {valuation.equity for valuation in run.valuations} == {CAPITAL}
    assert run.performance.max_drawdown == 0
    due = 10_000 * direction
    assert sum((flow.amount for flow in run.of_type(CashFlow)), Decimal(0)) == (0 if pay_date == LATER else due)
    assert run.valuations[-1].accrued_dividends == (due if pay_date == LATER else 0)


def test_bought_on_the_ex_date_there_is_no_dividend(tmp_path: Path) -> None:
    run = run_dividend(tmp_path, SOON, strategy={"enter": EX_HOUR + 1})
    assert run.fills[0].price == 90
    assert not run.of_type(CashFlow)
    assert run.valuations[-1].equity == CAPITAL


def test_sold_on_the_ex_date_the_dividend_is_still_paid(tmp_path: Path) -> None:
    run = run_dividend(tmp_path, SOON, strategy={"leave": EX_HOUR})
    assert [fill.price for fill in run.fills] == [100, 90]
    assert (run.valuations[-1].equity, run.valuations[-1].cash) == (CAPITAL, CAPITAL)


@pytest.mark.parametrize("pay_date", [SOON, LATER])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_special_dividend_trips_no_breaker_and_the_exit_is_filled(
    tmp_path: Path, pay_date: str, direction: int
) -> None:
    limits = {"circuit_breaker_threshold": 0.05, "max_daily_loss": 50_000}
    settings = {"risk_manager": {"max_order_notional": "unlimited", "max_position": "unlimited"} | limits}
    settings["risk_manager"] |= dict.fromkeys(("max_position_size", "max_portfolio_leverage"), "unlimited")
    run = run_dividend(
        tmp_path, pay_date, quantity=10_000, settings=settings, strategy={"direction": direction, "leave": 60}
    )
    assert not run.of_type(RiskFence)
    assert [fill.price for fill in run.fills] == [100, 90]
    assert {fill.quantity for fill in run.fills} == {Decimal(10_000)}
    assert run.performance.max_drawdown == 0


def test_the_strategy_has_the_dividend_from_the_ex_date_on(tmp_path: Path) -> None:
    settings = {"feedback": {"attribution_interval_s": 3600}}
    run = run_dividend(tmp_path, SOON, settings=settings)
    rows: list[Attribution] = run.of_type(Attribution)
    assert {row.strategy for row in rows} == {"scheduled"}
    assert {row.realized_pnl + row.unrealized_pnl + row.cash_flows - row.fees for row in rows} == {Decimal(0)}
    assert {row.cash_flows for row in rows} == {Decimal(0), Decimal(10_000)}
