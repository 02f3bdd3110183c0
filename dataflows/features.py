"""market-bars -> technical indicators -> features."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Items of the source: (shard, ticks of Bars). To the sinks: (shard, ticks of FeatureRows)."""
    return build_stage_flow("features", stages.features(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.features`."""
    endpoints = live_endpoints.connect("features")
    return build(endpoints.settings, live_endpoints.topics_source("features", endpoints), endpoints.sinks)
