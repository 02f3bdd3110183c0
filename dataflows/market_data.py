"""Feeds -> validation, gap filling, the clock -> market-bars. The one writer of the clock for every topic an edge
writes.
"""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live, stopping
from dataflows.runtime.wiring import TickSink, TickSource, unstaged
from dataflows.sources.from_settings import platform_feed


def build(settings: Settings, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """Items of the source and to the sinks: (shard, ticks of Bars, traded or filled)."""
    return unstaged("market_data", source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.market_data`."""
    at = live.ends("market_data")
    source = platform_feed(at.settings, stopping=stopping.asked, stats=at.stats)
    return build(at.settings, source, at.sinks)
