"""features -> strategies -> signals."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live, stages
from dataflows.runtime.wiring import TickSink, TickSource, staged


def build(settings: Settings, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """Items of the source: (shard, ticks of FeatureRows). To the sinks: (shard, ticks of Signals)."""
    return staged("signals", stages.signals(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.signals`."""
    at = live.ends("signals")
    return build(at.settings, live.topics_source("signals", at), at.sinks)
