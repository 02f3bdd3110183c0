"""Sources of headlines -> news. Their topic's clock is market_data's, so that a slow source stops nobody."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live, stopping
from dataflows.runtime.wiring import TickSink, TickSource, unstaged
from dataflows.sources.news import news_source
from dataflows.sources.polling import PolledSource
from dataflows.sources.topic_tail import ids_once_stored


def build(settings: Settings, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """Items of the source and to the sinks: (shard, ticks of NewsItems)."""
    return unstaged("news", source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.news`."""
    at = live.ends("news")
    written = ids_once_stored(at.settings.kafka, "news", live.store(at, "news"))
    outside = news_source(at.settings, written)
    return build(at.settings, PolledSource("news", outside, stopping=stopping.asked, stats=at.stats), at.sinks)
