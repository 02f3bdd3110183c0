"""Market data service: feeds -> validation, gap filling, clock -> market data topics and reference-data.

It is the only writer of the clock of every topic that a feed, a broker, a language model or a user writes.
"""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, shutdown
from dataflows.runtime.topology import FEED_SHARD
from dataflows.runtime.wiring import SliceSink, SliceSource, build_feed_flow
from dataflows.sources.feed_selection import platform_feed


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Build the flow. Source and sink items: (shard, time slices of the feed's records and dead letters)."""
    return build_feed_flow("market_data", source, sinks)


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.market_data`."""
    endpoints = live_endpoints.connect("market_data")
    source = platform_feed(
        endpoints.settings,
        stop_requested=shutdown.stop_requested,
        stats=endpoints.stats,
        delivered_offsets=lambda: endpoints.delivered,
        store=live_endpoints.table_store(endpoints, "market_data"),
        on_resume=lambda last_slice_ns: endpoints.resumed_ns.update({FEED_SHARD: last_slice_ns}),
    )
    return build(endpoints.settings, source, endpoints.sinks)
