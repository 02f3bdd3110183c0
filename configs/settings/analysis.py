"""Settings of the analysis: features, predictions and signals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from configs.settings.sections import Section
from operators.signals.ensemble import EnsembleSettings


class FeaturesSection(Section):
    indicators: tuple[str, ...] = ()


class PredictionsSection(Section):
    """`model` is the sha256 of a registered model or its first digits, or "none"; the default is the active model.
    `registry` is the folder of models; the default is `models/` in the state folder.
    """

    model: str | None = None
    registry: Path | None = None


class StrategyEntry(Section):
    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class SignalsSection(Section):
    strategies: tuple[StrategyEntry, ...] = (StrategyEntry(name="ema_cross"),)
    ensemble: EnsembleSettings = EnsembleSettings()
