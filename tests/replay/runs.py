"""The settings, the feed and the fused run that the replay, chaos and end-to-end tests share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bytewax.testing import TestingSource, run_main

from configs.settings import Settings, load_settings
from dataflows import backtest
from dataflows.research.report import ReportSink
from dataflows.runtime.topology import FEED
from dataflows.sources.files import FileFeed
from operators.decision_hash import decision_hash
from operators.stage import Tick
from tests.replay import recorded
from tests.replay.staged import Logs

SETTINGS_FILE = Path(__file__).parent / "settings.yaml"
DECISIONS = ("orders", "executions", "positions", "valuations")
_TIMINGS = ("elapsed_s", "bars_per_s")


def settings() -> Settings:
    """Pinned, whatever the environment says."""
    return load_settings(SETTINGS_FILE, environment={})


def feed_ticks(files: Sequence[Path]) -> list[Tick]:
    return list(FileFeed(files, settings().market_data.files.reading()))


def backtest_summary(files: Sequence[Path] = (recorded.BARS,), **how: Any) -> dict[str, Any]:
    """What `dataflows/backtest.run` says of the files, but for how long it took."""
    _, summary = backtest.run(settings(), files, **how)
    return {name: value for name, value in summary.items() if name not in _TIMINGS}


def fused_hash(ticks: Sequence[Tick], *, shards: int = 1, batch: int = 64, decided: Settings | None = None) -> str:
    """The decision hash of the fused backtest over ticks in memory."""
    decided = decided or settings()
    sink = ReportSink(decided.portfolio_manager.initial_capital)
    pieces = [(FEED, list(ticks[i : i + batch])) for i in range(0, len(ticks), batch)]
    run_main(backtest.build(decided, TestingSource(pieces), sink, shards=shards))
    return sink.performance.decisions.hexdigest()


def staged_hash(logs: Logs) -> str:
    return decision_hash(record for topic in DECISIONS for record in logs.records(topic))
