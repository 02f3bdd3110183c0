"""orders, market-bars -> simulated venue -> executions."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows import live, stages
from dataflows.wiring import TickSink, TickSource, staged


def build(settings: Settings, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """Items of the source: (shard, ticks of Orders and Bars). To the sinks: (shard, ticks of Executions)."""
    return staged("execution", stages.execution(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.execution`."""
    at = live.ends("execution")
    return build(at.settings, live.topics_source("execution", at), at.sinks)
