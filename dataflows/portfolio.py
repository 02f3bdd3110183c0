"""Portfolio service: signals, executions, market-bars, commands, order-refusals -> ledger, valuation, sizing ->
order-proposals, positions, valuations.
"""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Build the flow.

    Source items: (shard, time slices of all inputs). Sink items: (shard, time slices of Positions, Lots, LotMatches,
    Valuations and OrderProposals).
    """
    return build_stage_flow("portfolio", StageFactory(stages.portfolio, settings), source, sinks)


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.portfolio`."""
    endpoints = live_endpoints.connect("portfolio")
    return build(endpoints.settings, live_endpoints.topics_source("portfolio", endpoints), endpoints.sinks)
