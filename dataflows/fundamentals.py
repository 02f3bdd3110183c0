"""Fundamentals service: sources of company figures -> fundamentals.

`market_data` writes the clock of the topic, so a slow source does not delay any other service.
"""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, shutdown
from dataflows.runtime.wiring import SliceSink, SliceSource, build_feed_flow
from dataflows.sources.fundamentals import fundamentals_source
from dataflows.sources.polled_source import PolledSource
from dataflows.sources.topic_tail import stored_ids_reader


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Build the flow. Source and sink items: (shard, time slices of Fundamentals)."""
    return build_feed_flow("fundamentals", source, sinks)


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.fundamentals`."""
    endpoints = live_endpoints.connect("fundamentals")
    read_stored_ids = stored_ids_reader(
        endpoints.settings.kafka, "fundamentals", live_endpoints.table_store(endpoints, "fundamentals")
    )
    source = fundamentals_source(endpoints.settings, read_stored_ids)
    return build(
        endpoints.settings,
        PolledSource("fundamentals", source, stop_requested=shutdown.stop_requested, stats=endpoints.stats),
        endpoints.sinks,
    )
