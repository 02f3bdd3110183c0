"""Strategies service: market data, analysis, executions and decisions on orders -> trading strategies ->
strategy-actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.limited_handlers import limited_stage
from dataflows.runtime.stage_timers import with_timers
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow
from operators.stage import Stage


def build(
    settings: Settings,
    source: SliceSource,
    sinks: Mapping[str, SliceSink],
    make_stage: Callable[[], Stage] | None = None,
) -> Dataflow:
    """Build the flow. `make_stage` makes a stage with time limits; the default has none.

    Source items: (shard, time slices of all inputs). Sink items: (shard, time slices of StrategyActions).
    """
    return build_stage_flow("strategies", make_stage or StageFactory(stages.strategies, settings), source, sinks)


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.strategies`."""
    endpoints = live_endpoints.connect("strategies")
    unread = stages.unread_topics(endpoints.settings)
    make_stage = with_timers("strategies", limited_stage(stages.strategies, endpoints), endpoints.settings)
    source = live_endpoints.topics_source("strategies", endpoints, unread)
    return build(endpoints.settings, source, endpoints.sinks, make_stage)
