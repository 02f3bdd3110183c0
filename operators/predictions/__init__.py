"""Forecasts of a registered model from feature rows."""

from operators.predictions.drift import DriftReference
from operators.predictions.stage import Model, PredictionStage

__all__ = ["DriftReference", "Model", "PredictionStage"]
