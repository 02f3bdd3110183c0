"""orders, market data -> simulated venue, or gateway to a broker -> executions, order-intents."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Items of the source: (shard, ticks of all inputs). To the sinks: (shard, ticks of Executions, GatewayStatuses and
    OrderIntents); one of them asks the broker.
    """
    return build_stage_flow("execution", stages.execution(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.execution`."""
    endpoints = live_endpoints.connect("execution")
    if endpoints.settings.execution.broker == "alpaca":
        from dataflows.broker.broker_setup import (
            build_broker_sink,  # slow to import, and of no use to the simulated venue
        )

        endpoints.sinks["broker"] = build_broker_sink(endpoints.settings)
    return build(endpoints.settings, live_endpoints.topics_source("execution", endpoints), endpoints.sinks)
