"""order-proposals, executions, market-bars, commands -> pre-trade checks, kill switch -> orders, order-refusals."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live, stages
from dataflows.runtime.wiring import TickSink, TickSource, staged


def build(settings: Settings, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """Items of the source: (shard, ticks of all inputs). To the sinks: Orders, RiskFences, OrderRefusals, and the
    Commands.
    """
    return staged("risk", stages.risk(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.risk`."""
    at = live.ends("risk")
    return build(at.settings, live.topics_source("risk", at), at.sinks)
