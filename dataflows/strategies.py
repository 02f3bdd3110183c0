"""Strategies service: market data, analysis, executions and decisions on orders -> trading strategies ->
strategy-actions.
"""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Build the flow.

    Source items: (shard, time slices of all inputs). Sink items: (shard, time slices of StrategyActions).
    """
    return build_stage_flow("strategies", stages.strategies(settings), source, sinks)


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.strategies`."""
    endpoints = live_endpoints.connect("strategies")
    unread = stages.unread_topics(endpoints.settings)
    return build(endpoints.settings, live_endpoints.topics_source("strategies", endpoints, unread), endpoints.sinks)
