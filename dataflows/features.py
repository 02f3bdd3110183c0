"""Features service: market-bars, market-quotes, reference-data -> technical indicators -> features."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.limited_handlers import limited_stage
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow
from operators.stage import Stage


def build(
    settings: Settings,
    source: SliceSource,
    sinks: Mapping[str, SliceSink],
    make_stage: Callable[[], Stage] | None = None,
) -> Dataflow:
    """Build the flow. `make_stage` makes a stage with time limits; the default has none.

    Source items: (shard, time slices of all inputs). Sink items: (shard, time slices of FeatureRows).
    """
    return build_stage_flow("features", make_stage or StageFactory(stages.features, settings), source, sinks)


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.features`."""
    endpoints = live_endpoints.connect("features")
    make_stage = limited_stage(stages.features, endpoints)
    source = live_endpoints.topics_source("features", endpoints)
    return build(endpoints.settings, source, endpoints.sinks, make_stage)
