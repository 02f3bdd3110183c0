"""From feature rows to forecasts by a registered model."""

from operators.predictions.drift import Reference
from operators.predictions.stage import Model, PredictionStage

__all__ = ["Model", "PredictionStage", "Reference"]
