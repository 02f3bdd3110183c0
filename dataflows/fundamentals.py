"""Sources of companies' figures -> fundamentals. Their topic's clock is market_data's: a slow source stops nobody."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live, stopping
from dataflows.runtime.wiring import TickSink, TickSource, unstaged
from dataflows.sources.fundamentals import fundamentals_source
from dataflows.sources.polling import PolledSource
from dataflows.sources.topic_tail import ids_once_stored


def build(settings: Settings, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """Items of the source and to the sinks: (shard, ticks of Fundamentals)."""
    return unstaged("fundamentals", source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.fundamentals`."""
    at = live.ends("fundamentals")
    written = ids_once_stored(at.settings.kafka, "fundamentals", live.store(at, "fundamentals"))
    outside = fundamentals_source(at.settings, written)
    return build(at.settings, PolledSource("fundamentals", outside, stopping=stopping.asked, stats=at.stats), at.sinks)
