"""Predictions service: features -> a registered model -> predictions."""

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

    Source items: (shard, time slices of FeatureRows). Sink items: (shard, time slices of Predictions).
    """
    return build_stage_flow("predictions", make_stage or StageFactory(stages.predictions, settings), source, sinks)


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.predictions`."""
    endpoints = live_endpoints.connect("predictions")
    make_stage = limited_stage(stages.predictions, endpoints)
    source = live_endpoints.topics_source("predictions", endpoints)
    return build(endpoints.settings, source, endpoints.sinks, make_stage)
