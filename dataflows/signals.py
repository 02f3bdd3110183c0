"""features -> strategies -> signals."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Items of the source: (shard, ticks of FeatureRows). To the sinks: (shard, ticks of Signals)."""
    return build_stage_flow("signals", stages.signals(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.signals`."""
    endpoints = live_endpoints.connect("signals")
    return build(endpoints.settings, live_endpoints.topics_source("signals", endpoints), endpoints.sinks)
