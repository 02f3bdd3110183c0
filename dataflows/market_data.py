"""Feeds -> validation, gap filling, the clock -> market-bars. The one writer of the clock for every topic an edge
writes.
"""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, shutdown
from dataflows.runtime.wiring import SliceSink, SliceSource, build_feed_flow
from dataflows.sources.feed_selection import platform_feed


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Items of the source and to the sinks: (shard, ticks of Bars, traded or filled)."""
    return build_feed_flow("market_data", source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.market_data`."""
    endpoints = live_endpoints.connect("market_data")
    source = platform_feed(endpoints.settings, stop_requested=shutdown.stop_requested, stats=endpoints.stats)
    return build(endpoints.settings, source, endpoints.sinks)
