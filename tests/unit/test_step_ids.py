"""Flow and step ids are keys of the recovery stores. A step with a new id starts without state and without an error."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource
from bytewax.visualize import to_rendered

from configs.settings import load_settings
from dataflows import backtest
from dataflows.runtime import topology
from dataflows.runtime.live_endpoints import REDIS_SERVICES
from tests.replay.memory_connectors import MemorySink

PINNED: dict[str, Any] = json.loads((Path(__file__).parent / "step_ids.json").read_text())


def build(service: str) -> Dataflow:
    """Build a service with in-memory sinks under the names that `dataflows/runtime/live_endpoints.py` uses."""
    settings = load_settings(environment={})
    redis = ["redis"] if service in (*REDIS_SERVICES, topology.COMPACT) else []
    sinks = {name: MemorySink(["0"]) for name in ("kafka", "postgres", *redis)}
    if service == "backtest":
        return backtest.build(settings, TestingSource([]), sinks["kafka"])
    flow: Dataflow = importlib.import_module(f"dataflows.{service}").build(settings, TestingSource([]), sinks)
    return flow


def ids(flow: Dataflow) -> dict[str, Any]:
    """Return the flow id and the ids of all steps with recovery state: inputs, stateful steps and outputs."""
    steps = to_rendered(flow).substeps
    stateful = [s.step_id for s in steps if s.op_type in ("input", "stateful_batch", "output")]
    return {"flow_id": flow.flow_id, "steps": sorted(stateful)}


@pytest.mark.parametrize("service", [*topology.SERVICES, topology.COMPACT, "backtest"])
def test_flow_and_step_ids_are_as_pinned(service: str) -> None:
    assert ids(build(service)) == PINNED[service]


def test_no_dataflow_is_left_unpinned() -> None:
    folder = Path(backtest.__file__).parent
    runnable = {path.stem for path in folder.glob("*.py") if "\ndef flow()" in path.read_text()}
    assert runnable == set(PINNED)


def test_recovery_states_use_the_pinned_shards() -> None:
    """Besides step ids, recovery stores use two other keys: source partitions and stage keys."""
    shards = {service: topology.shards(service, 4) for service in topology.SERVICES}
    by_shard, books = ["0", "1", "2", "3"], ["books"]
    assert shards == {
        "market_data": ["feed"],
        "news": ["feed"],
        "fundamentals": ["feed"],
        "features": by_shard,
        "sentiment": books,
        "predictions": by_shard,
        "signals": by_shard,
        "strategies": books,
        "portfolio": books,
        "risk": books,
        "execution": books,
        "feedback": books,
    }
