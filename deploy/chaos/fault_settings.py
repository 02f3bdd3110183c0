"""Add to the settings of a run what its faults need: strategies that raise, a registered model, the broker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from configs.model_registry import ModelRegistry
from configs.settings import Settings
from dataflows.research import training
from dataflows.runtime import stages
from deploy.chaos import raising_strategy
from deploy.chaos.fault import PlannedFault, RaisingPlan
from operators.stage import TimeSlice
from schemas.records import FeatureRow

_MODEL_HORIZON_BARS, _MODEL_FOLDS, _MODEL_TREES = 3, 2, 10
_RAISING = {
    "signals": raising_strategy.RaisingStrategy,
    "strategies": raising_strategy.RaisingTradingStrategy,
}
_MODEL_STRATEGY = {"name": "model", "parameters": {"cost_bps": 0.5, "probability_min": 0.5, "drift_max": 1.0}}


def raising_plans(faults: Sequence[PlannedFault], clocks: Sequence[int]) -> dict[PlannedFault, RaisingPlan]:
    """Return for each fault `strategy` a strategy of its own, which raises at the place of the fault."""
    planned = [fault for fault in faults if fault.kind == "strategy"]
    return {
        fault: RaisingPlan(f"fragile_{number}", clocks[int(fault.share * len(clocks))], fault.target)
        for number, fault in enumerate(planned, 1)
    }


def register_model(settings: Settings, tape: Sequence[TimeSlice], registry: Path) -> str:
    """Train a small model on the tape, make it the active one of the registry, and return its sha256.

    Its forecasts need not be good: the run must not depend on them. Raises BadInput if the tape is too short.
    """
    analysis, rows = stages.analysis(settings)(), list[FeatureRow]()
    for time_slice in tape:
        rows += [r for r in analysis.on_slice(time_slice.ts_ns, time_slice.records) if type(r) is FeatureRow]
    trained = training.train(
        rows,
        settings.features.indicators,
        horizon_bars=_MODEL_HORIZON_BARS,
        folds=_MODEL_FOLDS,
        trees=_MODEL_TREES,
    )
    models = ModelRegistry(registry)
    card = models.register(trained.model_bytes, trained.card)
    models.activate(card.sha256)
    return card.sha256


def extend_settings(path: Path, plans: Sequence[RaisingPlan], *, registry: Path | None) -> None:
    """Add the strategies that raise and, with a registry, its model and a strategy that follows it."""
    tree: dict[str, Any] = yaml.safe_load(path.read_text())
    strategies = tree["signals"]["strategies"]
    for plan in plans:
        name = f"{raising_strategy.__file__}:{_RAISING[plan.service].__name__}"
        strategies.append({"name": name, "parameters": {"name": plan.name, "raises_ns": plan.raises_ns}})
    if registry is not None:
        tree["predictions"] = {"registry": str(registry)}
        strategies.append(_MODEL_STRATEGY)
    path.write_text(yaml.safe_dump(tree))
