"""order-proposals, executions, market-bars, commands -> pre-trade checks, kill switch -> orders, order-refusals."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Items of the source: (shard, ticks of all inputs). To the sinks: Orders, RiskFences, OrderRefusals, and the
    Commands.
    """
    return build_stage_flow("risk", stages.risk(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.risk`."""
    endpoints = live_endpoints.connect("risk")
    return build(endpoints.settings, live_endpoints.topics_source("risk", endpoints), endpoints.sinks)
