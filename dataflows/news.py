"""Sources of headlines -> news. Their topic's clock is market_data's, so that a slow source stops nobody."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, shutdown
from dataflows.runtime.wiring import SliceSink, SliceSource, build_feed_flow
from dataflows.sources.news import news_source
from dataflows.sources.polled_source import PolledSource
from dataflows.sources.topic_tail import stored_ids_reader


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Items of the source and to the sinks: (shard, ticks of NewsItems)."""
    return build_feed_flow("news", source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.news`."""
    endpoints = live_endpoints.connect("news")
    read_stored_ids = stored_ids_reader(endpoints.settings.kafka, "news", live_endpoints.table_store(endpoints, "news"))
    source = news_source(endpoints.settings, read_stored_ids)
    return build(
        endpoints.settings,
        PolledSource("news", source, stop_requested=shutdown.stop_requested, stats=endpoints.stats),
        endpoints.sinks,
    )
