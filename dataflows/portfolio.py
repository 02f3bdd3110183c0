"""signals, executions, market-bars, commands, order-refusals -> ledger, valuation, sizing -> order-proposals,
positions, valuations.
"""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Items of the source: (shard, ticks of all inputs). To the sinks: Positions, Lots, LotMatches, Valuations,
    Proposals.
    """
    return build_stage_flow("portfolio", stages.portfolio(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.portfolio`."""
    endpoints = live_endpoints.connect("portfolio")
    return build(endpoints.settings, live_endpoints.topics_source("portfolio", endpoints), endpoints.sinks)
