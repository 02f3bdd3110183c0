"""The performance metrics against their definitions, written with numpy as empyrical writes them."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from configs.settings import load_settings
from deploy.commands import backtest
from operators.performance import Performance
from operators.performance_metrics import (
    ClosedLots,
    DrawdownTracker,
    benchmark_metrics,
    largest_drawdown,
    return_metrics,
)
from operators.stage import TimeSlice
from schemas.records import Record
from tests.builders import bar, valuation

EXACT = pytest.approx


def series(seed: int, length: int = 250) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(0.0005, 0.012) for _ in range(length)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("periods", [252, 365, 98_280])
def test_metrics_of_returns_are_those_of_their_definitions(seed: int, periods: int) -> None:
    returns = series(seed)
    r = np.array(returns)
    curve = np.concatenate(([1.0], np.cumprod(1 + r)))
    cagr = curve[-1] ** (periods / len(r)) - 1
    drawdown = float((1 - curve / np.maximum.accumulate(curve)).max())
    lowest = np.sort(r)[: int((len(r) - 1) * 0.05) + 1]
    expected = {
        "total_return": curve[-1] - 1,
        "cagr": cagr,
        "volatility": r.std(ddof=1) * math.sqrt(periods),
        "sharpe": r.mean() / r.std(ddof=1) * math.sqrt(periods),
        "sortino": r.mean() * periods / (math.sqrt((np.clip(r, None, 0) ** 2).mean()) * math.sqrt(periods)),
        "calmar": cagr / drawdown,
        "tail_ratio": abs(np.percentile(r, 95)) / abs(np.percentile(r, 5)),
        "value_at_risk": np.percentile(r, 5),
        "expected_shortfall": lowest.mean(),
    }
    assert return_metrics(returns, periods)._asdict() == EXACT(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_metrics_against_a_benchmark_are_those_of_their_definitions(seed: int) -> None:
    benchmark, noise = series(seed), series(seed + 100)
    returns = [0.0002 + 0.7 * one + 0.3 * other for one, other in zip(benchmark, noise, strict=True)]
    r, b = np.array(returns), np.array(benchmark)
    beta = float(np.cov(r, b)[0, 1] / b.var(ddof=1))
    active = r - b
    metrics = benchmark_metrics(returns, benchmark, 252)
    assert metrics.beta == EXACT(beta, rel=1e-9)
    assert metrics.alpha == EXACT((1 + float((r - beta * b).mean())) ** 252 - 1, rel=1e-9)
    assert metrics.information_ratio == EXACT(active.mean() / active.std(ddof=1), rel=1e-9)


def test_without_variation_there_is_no_ratio() -> None:
    metrics = return_metrics([0.01] * 30, 252)
    assert (metrics.sharpe, metrics.sortino, metrics.calmar, metrics.volatility) == (None, None, None, 0.0)
    assert metrics.cagr == EXACT(1.01**252 - 1)
    assert benchmark_metrics([0.01, 0.02], [0.01, 0.01], 252).beta is None
    assert benchmark_metrics([0.01, 0.02], [0.01, 0.02], 252).information_ratio is None


def test_no_returns_and_a_single_one_have_no_ratio() -> None:
    assert set(return_metrics([], 252)) == {None}
    assert return_metrics([0.01], 252).sharpe is None
    assert benchmark_metrics([0.01], [0.01], 252) == (None, None, None)


def test_a_total_loss_is_a_growth_of_minus_one() -> None:
    assert return_metrics([0.1, -1.0], 252).cagr == -1
    assert return_metrics([0.1, -1.5, -3.0], 252).cagr == -1
    assert largest_drawdown([0.1, -1.5]) == EXACT(1.5)


def run(equities: Sequence[float], days_a_year: int = 252) -> Performance:
    """Return the performance of a run with one day and one time slice per equity value."""
    performance = Performance(Decimal(1000), days_a_year=days_a_year)
    for seq, equity in enumerate(equities, 1):
        records: list[Record] = [bar("A", seq, seq, day=20240100 + seq), valuation(seq, seq, equity)]
        performance.on_slice(TimeSlice(seq, records))
    return performance


def test_equity_below_zero_has_no_return_and_counts_as_a_total_loss() -> None:
    performance = run([1100, -200, -300, 500, 600] + [600] * 20)
    assert list(performance.daily_returns.values()) == EXACT([0.1, -200 / 1100 - 1, 600 / 500 - 1] + [0] * 20)
    summary = performance.summary()
    json.dumps(summary, allow_nan=False)
    assert summary["cagr"] == -1
    assert summary["max_drawdown"] == EXACT(1 + 300 / 1100)
    assert run([0, 0]).summary()["total_return"] == -1


def test_the_largest_drawdown_has_its_dates() -> None:
    tracker = DrawdownTracker(100.0)
    for ts_ns, value in enumerate([100.0, 90.0, 100.0, 110.0, 110.0, 77.0, 88.0, 110.0, 99.0], 1):
        tracker.add(ts_ns, value)
    assert tracker.largest == EXACT(0.3)
    assert (tracker.start_ns, tracker.trough_ns, tracker.recovered_ns) == (5, 6, 8)
    assert tracker.duration_ns(end_ns=9) == 3
    tracker.add(10, 55.0)
    assert (tracker.start_ns, tracker.trough_ns, tracker.recovered_ns) == (8, 10, 0)
    assert tracker.duration_ns(end_ns=12) == 4


def test_a_drawdown_from_the_initial_capital_starts_with_the_curve() -> None:
    tracker = DrawdownTracker(100.0)
    for ts_ns, value in ((5, 90.0), (6, 80.0)):
        tracker.add(ts_ns, value)
    assert (tracker.start_ns, tracker.trough_ns) == (5, 6)


def test_closed_lots_count_profits_and_losses_net_of_fees() -> None:
    lots = ClosedLots()
    assert (lots.win_rate, lots.profit_factor, lots.expectancy) == (None, None, None)
    for net in (30, -10, 0, 20):
        lots = lots.with_lot(Decimal(net))
    assert (lots.trades, lots.wins, lots.win_rate, lots.profit_factor, lots.expectancy) == (4, 2, 0.5, 5.0, 10.0)


def test_a_year_of_a_market_without_weekends_has_365_days() -> None:
    assert load_settings(environment={}).days_a_year() == 252
    continuous = {"MARKET_DATA__FEED": "files", "MARKET_DATA__FILES__CALENDAR": "24/7"}
    assert load_settings(environment=continuous).days_a_year() == 365
    returns = [0.01 if day % 3 else -0.012 for day in range(40)]
    equities = [float(equity) for equity in np.cumprod(1 + np.array(returns)) * 1000]
    expected = statistics.mean(returns) / statistics.stdev(returns) * math.sqrt(365)
    assert run(equities, days_a_year=365).sharpe() == EXACT(expected, rel=1e-6)


LONG_FROM_THE_SECOND_BAR = """
from operators.strategies import TargetView
class Long:
    features = ()
    name = "long"
    def decide(self, row, state):
        return True, (None if state else TargetView(1, 1.0, 1.0, {"close": row.close}))
"""
SETTINGS = """
instruments: {listed: [{symbol: X, asset_class: CRYPTO, lot_size: 0.00000001, tick_size: 0.01, calendar: 24/7}]}
portfolio_manager:
  {max_position_percentage: 10, cash_buffer: 0, sizing: {method: fixed_quantity, quantity: 10}}
risk_manager: {max_order_notional: unlimited, max_position: unlimited, max_position_size: unlimited,
  max_daily_loss: unlimited, max_portfolio_leverage: unlimited, circuit_breaker_threshold: 0.99}
execution: {venue: {fee_per_share: 0, fee_min: 0, slippage_bps: 0}}
"""


def test_the_sharpe_ratio_of_a_24_7_market_is_annualized_by_365_days(tmp_path: Path) -> None:
    """30 days of hourly bars; 10 X bought at 40,000, whose price moves at each midnight only."""
    closes, rows = [40_000.0], []
    for day in range(1, 30):
        closes.append(round(closes[-1] * (1.02 if day % 3 else 0.985), 2))
    for day, close in enumerate(closes):
        rows += [f"2024-06-{day + 1:02}T{hour:02}:00:00Z,{close},{close},{close},{close},100" for hour in range(24)]
    (tmp_path / "X.csv").write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]) + "\n")
    (tmp_path / "long.py").write_text(LONG_FROM_THE_SECOND_BAR)
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    app = typer.Typer()
    backtest.register(app)
    app.command("other")(lambda: None)  # typer drops the name of a single command
    options = ["--calendar", "24/7", "--interval", "1h", "--strategy", f"{tmp_path / 'long.py'}:Long"]
    files = ["--bars", str(tmp_path / "X.csv"), "--settings", str(tmp_path / "settings.yaml")]
    result = CliRunner().invoke(app, ["backtest", *files, *options, "--benchmark", "X", "--json", "-"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    equities = [1_000_000.0, *(1_000_000 + 10 * (close - 40_000) for close in closes)]
    returns = [after / before - 1 for before, after in pairwise(equities)]
    ratio = statistics.mean(returns) / statistics.stdev(returns)
    assert summary["sharpe"] == EXACT(ratio * math.sqrt(365), abs=1e-9)
    assert summary["volatility"] == EXACT(statistics.stdev(returns) * math.sqrt(365), abs=1e-9)
    assert summary["cagr"] == EXACT((equities[-1] / 1_000_000) ** (365 / 30) - 1, abs=1e-9)
    moves = [after / before - 1 for before, after in pairwise(closes)]
    assert summary["beta"] == EXACT(statistics.covariance(returns[1:], moves) / statistics.variance(moves), rel=1e-9)
    assert summary["exposure"] == EXACT(719 / 720, abs=1e-3)
    assert summary["turnover"] == EXACT(400_000 / statistics.mean(equities[1:]), rel=1e-3)
