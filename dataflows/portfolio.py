"""signals, executions, market-bars, commands, order-refusals -> ledger, valuation, sizing -> order-proposals,
positions, valuations.
"""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live, stages
from dataflows.runtime.wiring import TickSink, TickSource, staged


def build(settings: Settings, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """Items of the source: (shard, ticks of all inputs). To the sinks: Positions, Lots, LotMatches, Valuations,
    Proposals.
    """
    return staged("portfolio", stages.portfolio(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.portfolio`."""
    at = live.ends("portfolio")
    return build(at.settings, live.topics_source("portfolio", at), at.sinks)
