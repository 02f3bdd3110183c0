"""Signals, executions and the books -> what became of them -> weights and attribution."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live, stages
from dataflows.runtime.wiring import TickSink, TickSource, staged


def build(settings: Settings, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """Items of the source: (shard, ticks of all that was decided). To the sinks: (shard, ticks of StrategyWeights,
    SignalOutcomes, Attribution and ModelScores).
    """
    return staged("feedback", stages.feedback(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.feedback`."""
    at = live.ends("feedback")
    return build(at.settings, live.topics_source("feedback", at), at.sinks)
