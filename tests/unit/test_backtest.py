"""The fused backtest: batches, workers and shards do not change the result. Invalid input gives a one-line error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main

from configs.settings import load_settings
from dataflows import backtest
from dataflows.research.report import ReportSink, json_text
from dataflows.runtime.topology import FEED_SHARD
from schemas.errors import BadInput
from schemas.records import Attribution, Order, Record, SignalOutcome
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE, backtest_summary, fused_hash, pinned_settings, read_time_slices

DECIDED = ("decision_hash", "orders", "fills", "refusals", "signals", "final_equity", "max_drawdown")
SUMMARY_KEYS = {
    *("bars", "orders", "fills", "refusals", "initial_equity", "final_equity", "realized_pnl", "unrealized_pnl"),
    *("fees", "max_drawdown", "sharpe", "decision_hash", "elapsed_s", "bars_per_s"),
}


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write two trading days around the weekend of a clock change, with pre- and post-market and missing minutes."""
    return write_market(tmp_path_factory.mktemp("bars"), symbols=("A", "B", "C", "D"))


@pytest.fixture(scope="module")
def expected(bars: list[Path]) -> dict[str, Any]:
    summary = backtest_summary(bars)
    assert summary["fills"] > 100, "a run without fills would be equal to anything"
    assert summary["refusals"] > 10
    return summary


@pytest.mark.parametrize("batch", [1, 7, 1000])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_result_does_not_depend_on_batches_or_workers(
    batch: int, workers: int, bars: list[Path], expected: dict[str, Any]
) -> None:
    assert backtest_summary(bars, batch_slices=batch, workers=workers) == expected


@pytest.mark.parametrize("shards", [2, 3, 4, 7])
def test_result_does_not_depend_on_shards(shards: int, bars: list[Path], expected: dict[str, Any]) -> None:
    assert fused_hash(read_time_slices(bars), shards=shards) == expected["decision_hash"]


def test_result_does_not_depend_on_file_order(bars: list[Path], expected: dict[str, Any]) -> None:
    assert backtest_summary(bars[::-1]) == expected


def test_another_market_gives_other_decisions(tmp_path: Path, expected: dict[str, Any]) -> None:
    other_bars = write_market(tmp_path, symbols=("A", "B", "C", "D"), seed=2)
    assert backtest_summary(other_bars)["decision_hash"] != expected["decision_hash"]


def test_interrupted_and_resumed_run_makes_the_same_decisions(
    bars: list[Path], expected: dict[str, Any], tmp_path: Path
) -> None:
    time_slices = read_time_slices(bars)[:300]
    expected_hash = fused_hash(time_slices)
    init_db_dir(tmp_path, 1)
    recovery, run_settings = RecoveryConfig(str(tmp_path), None), pinned_settings()
    source_items: list[Any] = []
    for start in range(0, len(time_slices), 30):
        source_items += [(FEED_SHARD, time_slices[start : start + 30]), TestingSource.ABORT(), TestingSource.EOF()]
    source, actual_hash = TestingSource(source_items, batch_size=1), None
    for _ in range(len(source_items)):
        sink = ReportSink(run_settings.portfolio_manager.initial_capital)
        run_main(backtest.build(run_settings, source, sink, shards=2), epoch_interval=None, recovery_config=recovery)
        actual_hash = sink.performance.decisions.hexdigest()
        if actual_hash == expected_hash:
            break
    assert actual_hash == expected_hash


@pytest.mark.parametrize("weights", ["equal", "learned"])
def test_a_run_that_nobody_reads_makes_the_same_decisions(weights: str, tmp_path: Path) -> None:
    files, bars = tmp_path / "settings.yaml", write_market(tmp_path / "bars", symbols=("A", "B"), seed=3)
    ensemble = f"ensemble: {{enabled: true, weights: {weights}}}"
    pinned = SETTINGS_FILE.read_text().replace("signals:\n", f"signals:\n  {ensemble}\n")
    files.write_text(f"{pinned}feedback: {{weights_interval_s: 3600, horizon_bars: 5}}\n")
    settings, records = load_settings(files, environment={}), list[Record]()
    _, observed = backtest.run(settings, bars, make_observers=lambda: [records.extend])
    _, unobserved = backtest.run(settings, bars)
    assert {name: observed[name] for name in DECIDED} == {name: unobserved[name] for name in DECIDED}
    assert observed["fills"] > 0
    kinds = {type(record) for record in records}
    assert kinds >= {SignalOutcome, Attribution, Order}, "an observer receives the records of feedback"
    assert all(record.checks for record in records if type(record) is Order)


def test_summary_has_the_required_keys(bars: list[Path]) -> None:
    _, summary = backtest.run(pinned_settings(), bars)
    assert set(summary) >= SUMMARY_KEYS
    assert summary["bars_per_s"] > 0
    json.dumps(summary)


def test_progress_is_reported_for_every_batch(bars: list[Path]) -> None:
    reports: list[tuple[int, float]] = []
    backtest.run(
        pinned_settings(),
        bars,
        batch_slices=100,
        progress=lambda so_far, share: reports.append((so_far.counts["bars"], share)),
    )
    assert len(reports) >= 19
    assert reports == sorted(reports)
    assert reports[-1][1] == 1.0


@pytest.mark.parametrize("workers", [1, 2])
def test_invalid_bar_files_give_one_line_errors(workers: int, tmp_path: Path) -> None:
    (tmp_path / "closed.csv").write_text("time,symbol,open,high,low,close,volume\n2024-03-09T15:00:00Z,A,1,1,1,1,1\n")
    for paths, message in (
        ([tmp_path / "nowhere.csv"], "nowhere.csv"),
        ([tmp_path / "closed.csv"], "outside the sessions"),
        ([], "no bar files"),
    ):
        with pytest.raises(BadInput, match=message):
            backtest.run(pinned_settings(), paths, workers=workers)


def test_summary_is_written_as_json(bars: list[Path]) -> None:
    _, summary = backtest.run(pinned_settings(), bars)
    assert json.loads(json_text(summary)) == summary
