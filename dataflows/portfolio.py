"""Portfolio service: signals, executions, market-bars, commands, order-refusals -> ledger, valuation, sizing ->
order-proposals, positions, valuations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.stage_timers import with_timers
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow
from operators.stage import Stage


def build(
    settings: Settings,
    source: SliceSource,
    sinks: Mapping[str, SliceSink],
    make_stage: Callable[[], Stage] | None = None,
) -> Dataflow:
    """Build the flow. `make_stage` makes a stage that publishes its timers; the default publishes none.

    Source items: (shard, time slices of all inputs). Sink items: (shard, time slices of Positions, Lots, LotMatches,
    Valuations and OrderProposals).
    """
    return build_stage_flow("portfolio", make_stage or StageFactory(stages.portfolio, settings), source, sinks)


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.portfolio`."""
    endpoints = live_endpoints.connect("portfolio")
    make_stage = with_timers("portfolio", StageFactory(stages.portfolio, endpoints.settings), endpoints.settings)
    return build(endpoints.settings, live_endpoints.topics_source("portfolio", endpoints), endpoints.sinks, make_stage)
