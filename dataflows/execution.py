"""orders, market data -> simulated venue, or gateway to a broker -> executions, order-intents."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live, stages
from dataflows.runtime.wiring import TickSink, TickSource, staged


def build(settings: Settings, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """Items of the source: (shard, ticks of all inputs). To the sinks: (shard, ticks of Executions, GatewayStatuses and
    OrderIntents); one of them asks the broker.
    """
    return staged("execution", stages.execution(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.execution`."""
    at = live.ends("execution")
    if at.settings.execution.broker == "alpaca":
        from dataflows.broker.from_settings import asking_sink  # slow to import, and of no use to the simulated venue

        at.sinks["broker"] = asking_sink(at.settings)
    return build(at.settings, live.topics_source("execution", at), at.sinks)
