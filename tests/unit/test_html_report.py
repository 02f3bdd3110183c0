"""The HTML report: it needs no network, its figures are those of plain loops, and it stays small for a long run."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from typer.testing import CliRunner

from dataflows.research import Result, backtest, sweep
from dataflows.research.html_report.axes import scale_of, thinned
from dataflows.research.html_report.run_figures import (
    drawdown_periods,
    entry_reasons,
    entry_values,
    holding_classes,
    monthly_returns,
    profit_parts,
    rolling_figures,
    trade_groups,
)
from dataflows.research.market_tables import HORIZONS, PRICE_POINTS_MAX, price_table, signal_quality
from dataflows.research.run_store import RunSources
from dataflows.research.trial_ledger import Trial, TrialLedger
from dataflows.research.trial_notes import trial_notes
from deploy.commands import backtest as backtest_command
from deploy.commands import runs as runs_command
from operators.excursions import SymbolBars
from tests.builders import bar
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE

SECTIONS = (
    *("summary", "equity", "months", "drawdowns", "rolling", "distribution", "exposure", "attribution", "groups"),
    *("excursions", "trades", "costs", "rejections", "signals", "settings", "sources"),
)
PAGE_BYTES_MAX = 1_500_000
DAYS = [date(2024, 3, day) for day in (4, 5, 6, 7, 8, 11)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_market(folder, symbols=("A", "B"), days=DAYS, minutes=600)
    return folder


@pytest.fixture(scope="module")
def result(files: Path) -> Result:
    return backtest("ema_cross", files, settings=SETTINGS_FILE, benchmark="A")


@pytest.fixture(scope="module")
def page(result: Result) -> str:
    return result.report()


def long_run(slices: int = 20_000, lots: int = 7_000, symbols: int = 20) -> Result:
    """Return a result with the tables of a tape of `symbols` × `slices` minute bars. Its figures mean nothing."""
    rng = np.random.default_rng(1)
    times = pd.date_range("2023-01-02 14:30", periods=slices, freq="min", tz="UTC")
    equity = 1e5 * np.exp(np.cumsum(rng.normal(0, 2e-4, slices)))
    zeros = np.zeros(slices)
    drawdown = 1 - equity / np.maximum.accumulate(equity)
    names = np.array([f"S{number:02d}" for number in range(symbols)])
    entries = np.sort(rng.integers(0, slices - 100, lots))
    pnl = rng.normal(1, 50, lots)
    trades = pd.DataFrame(
        {"symbol": names[rng.integers(0, symbols, lots)], "side": "LONG", "quantity": 10.0}
        | {"entry_time": times[entries], "entry_price": 100.0, "exit_time": times[entries + 60], "exit_price": 101.0}
        | {"pnl": pnl, "fees": 1.0, "strategy": "s", "tag": "", "mae": -np.abs(pnl), "mfe": np.abs(pnl), "bars": 60}
    )
    fills = pd.DataFrame(
        {"time": times[entries], "order_id": "o", "id": "", "symbol": trades["symbol"], "side": "BUY"}
        | {
            "type": "MARKET",
            "event": "TRADE",
            "quantity": 10.0,
            "price": 100.0,
            "fee": 0.5,
            "leaves": 0.0,
            "reason": "",
        }
    )
    signals = pd.DataFrame(
        {"time": times[entries], "symbol": trades["symbol"], "strategy": "s", "direction": 1, "strength": 1.0}
        | {"confidence": 1.0, "price": 100.0, "reason": "ema_12 101.25, ema_26 100.75"}
    )
    bars = dict.fromkeys(names, SymbolBars())  # all symbols have the same prices
    for seq in range(slices):
        bars[names[0]].add(bar(names[0], seq, int(times[seq].value), 100 + seq % 7))
    days = sorted({int(time.strftime("%Y%m%d")) for time in times})
    frames: dict[str, Any] = {
        "equity": {"time": times, "equity": equity, "cash": equity, "gross": zeros, "net": zeros, "drawdown": drawdown},
        "trades": trades,
        "executions": fills,
        "orders": {"time": times[:0]},
        "signals": signals,
        "returns": {"day": days, "return": rng.normal(0, 0.01, len(days))},
    }
    tables = {name: pa.Table.from_pandas(pd.DataFrame(frame), preserve_index=False) for name, frame in frames.items()}
    summary = {"initial_equity": "100000", "final_equity": "100000", "fills": lots, "decision_hash": "0" * 64}
    return Result(
        name="long",
        summary=summary,
        settings={},
        strategies=("s",),
        warnings=[],
        sources=RunSources(("bars.csv",), "d" * 64, "c" * 64, {}),
        tables=tables | {"prices": price_table(bars), "signal_quality": signal_quality(signals, bars)},
    )


def test_a_report_has_every_section_and_needs_no_network(page: str, result: Result) -> None:
    assert tuple(re.findall(r'<section id="(\w+)">', page)) == SECTIONS
    without_settings = re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL)
    for text in ("http", "src=", "<script", "<link", "@import", "url("):
        assert text not in without_settings
    for text in (result.decision_hash, result.sources.data_sha256, result.sources.code_sha256):
        assert text in page
    assert page.count("<figure") >= 8


def test_every_number_in_a_chart_is_finite(page: str) -> None:
    assert not re.search(r'd="[^"]*(nan|inf)', page)


def test_names_and_warnings_are_escaped(result: Result) -> None:
    page = replace(result, name="<Run>", warnings=["a < b"]).report()
    assert "<h1>&lt;Run&gt;</h1>" in page
    assert "a &lt; b" in page


def test_a_report_of_400_000_bars_and_7_000_lots_stays_small() -> None:
    run = long_run()
    assert max(run.tables["prices"].to_pandas().groupby("symbol").size()) <= PRICE_POINTS_MAX
    assert len(run.report().encode()) < PAGE_BYTES_MAX


def test_months_compound_daily_returns() -> None:
    days = pd.bdate_range("2023-11-20", "2024-02-09")
    returns = pd.Series(np.random.default_rng(2).normal(0, 0.01, len(days)), index=days)
    table = monthly_returns(returns)
    growth: dict[tuple[int, Any], float] = {}
    for day, value in zip(days, returns, strict=True):
        for key in ((day.year, day.month), (day.year, "year")):
            growth[key] = growth.get(key, 1.0) * (1 + value)
    for (year, column), value in growth.items():
        assert table.loc[year, column] == pytest.approx(value - 1, rel=1e-12)
    assert int(table.notna().sum().sum()) == len(growth)


def test_rolling_figures_are_those_of_numpy() -> None:
    days = pd.bdate_range("2023-01-02", periods=150)
    rng = np.random.default_rng(3)
    benchmark = pd.Series(rng.normal(0, 0.01, 150), index=days)
    returns = 0.5 * benchmark + pd.Series(rng.normal(0.0003, 0.005, 150), index=days)
    rolling = rolling_figures(returns, benchmark, 252)
    assert rolling is not None
    assert rolling.window == 63
    for number, end in enumerate(range(63, 151)):
        r, b = returns.to_numpy()[end - 63 : end], benchmark.to_numpy()[end - 63 : end]
        row = rolling.frame.iloc[number]
        assert row["sharpe"] == pytest.approx(r.mean() / r.std(ddof=1) * 252**0.5, rel=1e-9)
        assert row["volatility"] == pytest.approx(r.std(ddof=1) * 252**0.5, rel=1e-9)
        assert row["beta"] == pytest.approx(np.cov(r, b)[0, 1] / b.var(ddof=1), rel=1e-9)
    assert rolling_figures(returns.iloc[:41], benchmark, 252) is None


@given(st.lists(st.integers(1, 20), min_size=1, max_size=40))
def test_drawdowns_are_those_of_a_plain_loop(equity: list[int]) -> None:
    peak, depths = equity[0], []
    for value in equity:
        peak = max(peak, value)
        depths.append(1 - value / peak)
    expected: list[list[int]] = []
    for index, depth in enumerate(depths):
        if depth > 0 and (index == 0 or depths[index - 1] == 0):
            expected.append([])
        if depth > 0:
            expected[-1].append(index)
    periods = drawdown_periods(list(range(len(equity))), depths)
    assert sorted((one.start_ns + 1, one.depth) for one in periods) == [
        (run[0], max(depths[index] for index in run)) for run in expected
    ]
    assert all(depths[one.trough_ns] == one.depth for one in periods)
    recovered = {one.start_ns + 1: one.recovered_ns for one in periods}
    assert recovered == {run[0]: run[-1] + 1 if run[-1] + 1 < len(equity) else None for run in expected}
    assert all(one.depth >= other.depth for one, other in pairwise(periods))


def test_the_parts_of_the_profit_sum_to_the_change_of_the_equity(result: Result) -> None:
    parts = profit_parts(result.trades, result.summary)
    total = float(result.summary["final_equity"]) - float(result.summary["initial_equity"])
    assert parts[-1].amount == pytest.approx(total, abs=1e-6)
    assert sum(part.amount for part in parts[:-1]) == pytest.approx(total, abs=0.006)
    assert not any(part.name.startswith("dividends") for part in parts), "a run without other amounts"


def test_groups_of_trades_sum_to_all_trades(result: Result) -> None:
    trades = result.trades
    net = (trades["pnl"] - trades["fees"]).sum()
    values = entry_values(trades, result.settings)
    for keys in (trades["symbol"], trades["strategy"], holding_classes(trades)):
        groups = trade_groups(trades, keys, values)
        assert groups["net"].sum() == pytest.approx(net, abs=1e-6)
        assert groups["lots"].sum() == len(trades)
    future = trade_groups(trades, trades["side"], 50 * values)
    assert future["return"].iloc[0] == pytest.approx(net / (50 * values).sum())


def test_the_entry_reason_is_the_view_before_the_entry_or_the_tag_of_the_order(result: Result) -> None:
    trades, signals = result.trades, result.signals
    reasons = entry_reasons(trades, signals)
    entry = trades.iloc[0]
    views = signals[(signals["symbol"] == entry["symbol"]) & (signals["time"] <= entry["entry_time"])]
    view = views[views["direction"] != 0].iloc[-1]
    assert reasons[0] == f"ema_cross: long, strength {view['strength']:.2f} ({view['reason']})"
    assert re.search(r"ema_\d+ \d", reasons[0])
    assert entry_reasons(trades.assign(tag="breakout"), signals)[0] == "ema_cross: breakout"


def test_the_information_coefficient_is_the_rank_correlation_with_later_returns() -> None:
    rng = np.random.default_rng(5)
    bars, rows = {"A": SymbolBars(), "B": SymbolBars()}, []
    closes = {name: 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 200))) for name in bars}
    for name, one in bars.items():
        for seq in range(200):
            one.add(bar(name, seq, 60 * 10**9 * (seq + 1), float(closes[name][seq])))
            strength = float(rng.random())
            side = 1 if seq + 1 < 200 and closes[name][seq + 1] > closes[name][seq] else -1
            time = pd.Timestamp(60 * 10**9 * (seq + 1), unit="ns", tz="UTC")
            rows.append((time, name, "seer", side, strength, 1.0))
    signals = pd.DataFrame(rows, columns=["time", "symbol", "strategy", "direction", "strength", "confidence"])
    quality = signal_quality(signals, bars).to_pandas().set_index("horizon")
    assert list(quality.index) == list(HORIZONS)
    for horizon in HORIZONS:
        views = [row[3] * row[4] for row in rows if row[0].value // (60 * 10**9) - 1 + horizon < 200]
        returns = [close[at + horizon] / close[at] - 1 for close in closes.values() for at in range(200 - horizon)]
        assert quality.loc[horizon, "signals"] == len(views)
        assert quality.loc[horizon, "ic"] == pytest.approx(spearmanr(views, returns).statistic, rel=1e-9)
    assert quality.loc[1, "ic"] > 0.5 > quality.loc[60, "ic"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(4, 50))
def test_a_thinned_line_has_the_extremes_and_both_ends(values: list[float], points: int) -> None:
    chosen = thinned(np.array(values), points)
    kept = [values[index] for index in chosen]
    assert (min(kept), max(kept)) == (min(values), max(values))
    assert (chosen[0], chosen[-1]) == (0, len(values) - 1)
    assert len(chosen) <= points + 2 or len(values) <= points


@given(st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=20), st.booleans())
def test_every_value_and_tick_lies_within_the_axis(values: list[float], is_log: bool) -> None:
    scale = scale_of([np.array(values)], is_log=is_log)
    places = scale.positions(np.array(values))
    assert (places >= 0).all() and (places <= 1).all()
    assert all(scale.low <= tick <= scale.high + 1e-9 * abs(scale.high) for tick in scale.ticks())


def test_a_run_without_trades_has_a_report(files: Path) -> None:
    settings = {"signals.strategies": [], "market_data.files.session": "regular"}
    page = backtest(None, files, settings=settings).report()
    assert "No closed lots." in page
    assert "No fills, so no costs." in page
    assert "No benchmark." in page


def test_a_run_without_valuations_has_a_report(result: Result) -> None:
    empty = {name: table.slice(0, 0) for name, table in result.tables.items()}
    page = replace(result, tables=empty).report()
    assert "fewer than two valuations" in page
    assert "No closed lots." in page


def test_a_report_says_how_many_trials_stand_behind_the_result(result: Result, tmp_path: Path) -> None:
    ledger = TrialLedger(tmp_path / "trials.sqlite")
    assert trial_notes(result, ledger) == []
    for fast in range(2, 9):
        ledger.record([trial(result.sources.data_sha256, fast)])
    ledger.record([trial("other data", 2)])
    (note,) = trial_notes(result, ledger)
    assert (note.strategy, note.trials) == ("ema_cross", 7)
    assert "best of 7 trials" in result.report(trials=[note])


def test_trials_of_a_sweep_count_for_a_run_on_the_same_period(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    options: dict[str, Any] = {"settings": SETTINGS_FILE, "end": "2024-03-06"}
    sweep("ema_cross", files, grid={"fast": [5, 8, 10]}, objective="total_return", processes=1, **options)
    ledger = TrialLedger(tmp_path / "trials.sqlite")
    (note,) = trial_notes(backtest("ema_cross", files, **options), ledger)
    assert note.trials == 3
    assert trial_notes(backtest("ema_cross", files, settings=SETTINGS_FILE, end="2024-03-07"), ledger) == []


def trial(data: str, fast: int) -> Trial:
    return Trial(
        strategy="ema_cross",
        code_hash="c",
        data_hash=data,
        settings_hash="s",
        parameters={"fast": fast},
        seed=None,
        objectives={"sharpe": float(fast)},
        sharpe=None,
        decision_hash="d",
        user="u",
        run="",
        recorded_ns=fast,
    )


def test_the_commands_write_the_report_of_a_run(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    app = typer.Typer()
    backtest_command.register(app)
    runs_command.register(app)
    target, again = tmp_path / "run.html", tmp_path / "again.html"
    run = ["backtest", "--bars", str(files), "--settings", str(SETTINGS_FILE), "--report", str(target), "--name", "one"]
    assert CliRunner().invoke(app, run).exit_code == 0
    written = CliRunner().invoke(app, ["runs", "report", "one", "-o", str(again)])
    assert written.exit_code == 0, written.output
    assert again.read_text().count("<figure") == target.read_text().count("<figure") >= 8
    missing = CliRunner().invoke(app, ["runs", "report", "none"])
    assert "unknown run 'none'" in str(missing.exception)


def test_the_metrics_of_a_result_are_the_formulas_of_its_returns(tmp_path: Path) -> None:
    """The formulas are those that empyrical documents, written with NumPy; `daily` are the returns of the result."""
    days = [day.date() for day in pd.bdate_range("2024-04-01", "2024-05-24")]
    write_market(tmp_path, symbols=("A", "B"), days=days, open_time=time(9, 30), minutes=60)
    run = backtest("ema_cross", tmp_path, settings=SETTINGS_FILE, benchmark="A")
    daily = run.returns.to_numpy()
    closes = run.tables["benchmark"].to_pandas().set_index("day")["close"]
    market = closes.pct_change().dropna()
    paired = run.returns[[int(f"{day:%Y%m%d}") in market.index for day in run.returns.index]].to_numpy()
    index = market[[int(f"{day:%Y%m%d}") for day in run.returns.index[-len(paired) :]]].to_numpy()
    annual = np.prod(1 + daily) ** (252 / len(daily)) - 1
    equity = run.equity["equity"].to_numpy()
    peaks = np.maximum.accumulate(np.concatenate(([float(run.summary["initial_equity"])], equity)))[1:]
    drawdown = (1 - equity / peaks).max()
    beta = np.cov(paired, index)[0, 1] / np.var(index, ddof=1)
    expected = {
        "total_return": np.prod(1 + daily) - 1,
        "cagr": annual,
        "volatility": np.std(daily, ddof=1) * np.sqrt(252),
        "sharpe": np.mean(daily) / np.std(daily, ddof=1) * np.sqrt(252),
        "sortino": np.mean(daily) * 252 / np.sqrt(np.mean(np.minimum(daily, 0) ** 2) * 252),
        "calmar": annual / drawdown,
        "max_drawdown": drawdown,
        "tail_ratio": abs(np.percentile(daily, 95)) / abs(np.percentile(daily, 5)),
        "value_at_risk": np.percentile(daily, 5),
        "expected_shortfall": np.mean(np.sort(daily)[: int((len(daily) - 1) * 0.05) + 1]),
        "beta": beta,
        "alpha": (1 + np.mean(paired - beta * index)) ** 252 - 1,
        "information_ratio": np.mean(paired - index) / np.std(paired - index, ddof=1),
    }
    assert len(daily) == 40
    for name, value in expected.items():
        assert run.metrics[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
