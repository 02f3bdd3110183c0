"""The settings, the feed, the runs and their comparisons that the replay, chaos and end-to-end tests share."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bytewax.testing import TestingSource, run_main

from configs.settings import Settings, load_settings
from dataflows import backtest
from dataflows.replay.comparison import Pipeline
from dataflows.replay.recording import DERIVED_TOPICS
from dataflows.research.report import ReportSink
from dataflows.runtime.topology import FEED_SHARD
from dataflows.sources.file_feed import FileFeed
from operators.decision_hash import decision_hash
from operators.stage import TimeSlice
from schemas.records import BY_SYMBOL, TOPIC_OF, Record
from tests.replay import recorded
from tests.replay.in_memory_platform import InMemoryPlatform, Logs

SETTINGS_FILE = Path(__file__).parent / "settings.yaml"
DECISIONS = ("orders", "executions", "positions", "valuations", "strategy-actions", "strategy-suspensions")
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


def by_topic(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return the records of each derived topic as text, in the order of `in_order`."""
    out: dict[str, list[Any]] = {topic: [] for topic in DERIVED_TOPICS}
    for record in records:
        out[TOPIC_OF[type(record)]].append(record)
    return {topic: in_order(content) for topic, content in out.items()}


def logged_by_topic(logs: Logs) -> dict[str, list[str]]:
    """Return the records of each derived topic in the logs, as `by_topic` does."""
    return {topic: in_order(logs.records(topic)) for topic in DERIVED_TOPICS}


def in_order(records: list[Any]) -> list[str]:
    """Return the records of a topic as text. Those of a symbol topic are sorted by symbol and `seq`."""
    if records and type(records[0]) in BY_SYMBOL:
        records = sorted(records, key=lambda record: (record.symbol, record.seq))
    return [repr(record) for record in records]


def replay(settings: Settings, time_slices: Sequence[TimeSlice]) -> list[list[Record]]:
    """Return the records of each time slice that the fused stages write."""
    pipeline = Pipeline(settings)
    return [pipeline.on_slice(time_slice.ts_ns, time_slice.records) for time_slice in time_slices]


def check_staged_services(
    settings: Settings,
    time_slices: Sequence[TimeSlice],
    replayed: Sequence[Sequence[Record]],
    *,
    partitions: int,
    crash_rate: float,
) -> None:
    """Assert that services over logs in memory write the records of a replay, and decide what the backtest decides."""
    platform = InMemoryPlatform(settings, time_slices, partitions=partitions, seed=partitions, crash_rate=crash_rate)
    logs = platform.run()
    expected = by_topic([record for records in replayed for record in records])
    assert logged_by_topic(logs) == expected
    assert staged_hash(logs) == fused_hash(time_slices, settings=settings)
    assert bool(platform.crash_count) == bool(crash_rate)


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
