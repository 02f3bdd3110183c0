"""The fused backtest: one result, whatever the batches, workers and shards; wrong input is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main

from dataflows import backtest
from dataflows.research.report import ReportSink, as_html, write_json
from dataflows.runtime.topology import FEED
from operators.performance import Performance
from operators.stage import Tick
from schemas.errors import BadInput
from tests.replay.market import write_market
from tests.replay.runs import backtest_summary, feed_ticks, fused_hash, settings

KEYS = {
    *("bars", "orders", "fills", "refusals", "initial_equity", "final_equity", "realized_pnl", "unrealized_pnl"),
    *("fees", "max_drawdown", "sharpe", "decision_hash", "elapsed_s", "bars_per_s"),
}


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two trading days with the weekend of a clock change in between, pre- and post-market, missing minutes."""
    return write_market(tmp_path_factory.mktemp("bars"), symbols=("A", "B", "C", "D"))


@pytest.fixture(scope="module")
def expected(bars: list[Path]) -> dict[str, Any]:
    summary = backtest_summary(bars)
    assert summary["fills"] > 100, "a run without fills would be equal to anything"
    assert summary["refusals"] > 10
    return summary


@pytest.mark.parametrize("batch", [1, 7, 1000])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_and_workers_do_not_matter(
    batch: int, workers: int, bars: list[Path], expected: dict[str, Any]
) -> None:
    assert backtest_summary(bars, batch_ticks=batch, workers=workers) == expected


@pytest.mark.parametrize("shards", [2, 3, 4, 7])
def test_shards_do_not_matter(shards: int, bars: list[Path], expected: dict[str, Any]) -> None:
    assert fused_hash(feed_ticks(bars), shards=shards) == expected["decision_hash"]


def test_the_order_in_which_files_are_named_does_not_matter(bars: list[Path], expected: dict[str, Any]) -> None:
    assert backtest_summary(bars[::-1]) == expected


def test_another_market_decides_otherwise(tmp_path: Path, expected: dict[str, Any]) -> None:
    other = write_market(tmp_path, symbols=("A", "B", "C", "D"), seed=2)
    assert backtest_summary(other)["decision_hash"] != expected["decision_hash"]


def test_a_run_that_is_cut_off_and_resumed_by_the_engine_decides_the_same(
    bars: list[Path], expected: dict[str, Any], tmp_path: Path
) -> None:
    ticks = feed_ticks(bars)[:300]
    whole = fused_hash(ticks)
    init_db_dir(tmp_path, 1)
    recovery, decided = RecoveryConfig(str(tmp_path), None), settings()
    pieces: list[Any] = []
    for start in range(0, len(ticks), 30):
        pieces += [(FEED, ticks[start : start + 30]), TestingSource.ABORT(), TestingSource.EOF()]
    source, found = TestingSource(pieces, batch_size=1), None
    for _ in range(len(pieces)):
        sink = ReportSink(decided.portfolio_manager.initial_capital)
        run_main(backtest.build(decided, source, sink, shards=2), epoch_interval=None, recovery_config=recovery)
        found = sink.performance.decisions.hexdigest()
        if found == whole:
            break
    assert found == whole


def test_a_run_says_at_least_this(bars: list[Path]) -> None:
    _, summary = backtest.run(settings(), bars)
    assert set(summary) >= KEYS
    assert summary["bars_per_s"] > 0
    json.dumps(summary)


def test_progress_is_told_of_every_batch(bars: list[Path]) -> None:
    seen: list[tuple[int, float]] = []
    backtest.run(
        settings(), bars, batch_ticks=100, progress=lambda so_far, share: seen.append((so_far.counts["bars"], share))
    )
    assert len(seen) >= 19
    assert seen == sorted(seen)
    assert seen[-1][1] == 1.0


@pytest.mark.parametrize("workers", [1, 2])
def test_wrong_files_are_one_sentence(workers: int, tmp_path: Path) -> None:
    (tmp_path / "closed.csv").write_text("time,symbol,open,high,low,close,volume\n2024-03-09T15:00:00Z,A,1,1,1,1,1\n")
    for paths, said in (
        ([tmp_path / "nowhere.csv"], "nowhere.csv"),
        ([tmp_path / "closed.csv"], "outside the sessions"),
        ([], "no bar files"),
    ):
        with pytest.raises(BadInput, match=said):
            backtest.run(settings(), paths, workers=workers)


def test_the_summary_is_written_as_json_and_as_a_page_that_needs_nothing_else(
    bars: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    performance, summary = backtest.run(settings(), bars)
    write_json(summary, str(tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text()) == summary
    write_json(summary, "-")
    assert json.loads(capsys.readouterr().out) == summary
    page = as_html(performance, summary, "<Run>")
    assert "&lt;Run&gt;" in page
    assert summary["decision_hash"] in page
    assert page.count("<tr><td>") == 200, "the last fills"
    assert "src=" not in page
    assert "http" not in page


def test_a_page_of_an_empty_run_says_so() -> None:
    performance = Performance(settings().portfolio_manager.initial_capital)
    performance.on_tick(Tick(1, []))
    assert "fewer than two valuations" in as_html(performance, performance.summary(), "empty")
