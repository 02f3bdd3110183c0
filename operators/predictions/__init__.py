"""From feature rows to forecasts by a registered model."""

from operators.predictions.drift import DriftReference
from operators.predictions.stage import Model, PredictionStage

__all__ = ["DriftReference", "Model", "PredictionStage"]
