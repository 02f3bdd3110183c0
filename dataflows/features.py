"""Features service: market-bars, market-quotes, reference-data -> technical indicators -> features."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Build the flow. Source items: (shard, time slices of all inputs). Sink items: (shard, slices of FeatureRows)."""
    return build_stage_flow("features", StageFactory(stages.features, settings), source, sinks)


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.features`."""
    endpoints = live_endpoints.connect("features")
    return build(endpoints.settings, live_endpoints.topics_source("features", endpoints), endpoints.sinks)
