"""The settings, the feed and the fused run that the replay, chaos and end-to-end tests share."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bytewax.testing import TestingSource, run_main

from configs.settings import Settings, load_settings
from dataflows import backtest
from dataflows.replay.comparison import Pipeline
from dataflows.research.report import ReportSink
from dataflows.runtime.topology import FEED_SHARD
from dataflows.sources.file_feed import FileFeed
from operators.decision_hash import decision_hash
from operators.stage import TimeSlice
from schemas.records import Record
from tests.replay import recorded
from tests.replay.in_memory_platform import Logs

SETTINGS_FILE = Path(__file__).parent / "settings.yaml"
DECISIONS = ("orders", "executions", "positions", "valuations")
_UNRECORDED_FIELDS = {"elapsed_s", "bars_per_s", "bar_interval", "session", "warnings", "doubtful_data"}
"""Of the summary: the speed, and what is about the files instead of the decisions."""


def pinned_settings() -> Settings:
    """Return pinned settings that do not depend on the environment."""
    return load_settings(SETTINGS_FILE, environment={})


def read_time_slices(files: Sequence[Path]) -> list[TimeSlice]:
    return list(FileFeed(files, pinned_settings().market_data.files))


def backtest_summary(files: Sequence[Path] = (recorded.BARS,), **options: Any) -> dict[str, Any]:
    """Return the summary of `dataflows/backtest.run` for the files, without the speed and what is about the files."""
    _, summary = backtest.run(pinned_settings(), files, **options)
    return {name: value for name, value in summary.items() if name not in _UNRECORDED_FIELDS}


def fused_hash(
    time_slices: Sequence[TimeSlice], *, shards: int = 1, batch: int = 64, settings: Settings | None = None
) -> str:
    """Return the decision hash of the fused backtest over time slices in memory."""
    settings = settings or pinned_settings()
    sink = ReportSink(settings.portfolio_manager.initial_capital)
    batches = [(FEED_SHARD, list(time_slices[i : i + batch])) for i in range(0, len(time_slices), batch)]
    run_main(backtest.build(settings, TestingSource(batches), sink, shards=shards))
    return sink.performance.decisions.hexdigest()


def staged_hash(logs: Logs) -> str:
    return decision_hash(record for topic in DECISIONS for record in logs.records(topic))


def run_restored_in_every_slice(settings: Settings, time_slices: Sequence[TimeSlice]) -> list[list[Record]]:
    """Return the records of each time slice of a run that starts from a snapshot in each of them."""
    outputs: list[list[Record]] = []
    snapshot: bytes | None = None
    for time_slice in time_slices:
        pipeline = Pipeline(settings)
        if snapshot is not None:
            pipeline.restore(pickle.loads(snapshot))  # noqa: S301  (written below)
        outputs.append(pipeline.on_slice(time_slice.ts_ns, time_slice.records))
        snapshot = pickle.dumps(pipeline.snapshot())
    return outputs
