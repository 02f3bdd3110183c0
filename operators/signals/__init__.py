"""Strategies: feature rows, predictions, fundamentals and sentiment in, signals out."""

from operators.signals.stage import SignalStage

__all__ = ["SignalStage"]
