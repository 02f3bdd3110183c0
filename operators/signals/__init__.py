"""Run the strategies on feature rows, predictions, fundamentals and sentiment, and publish their signals."""

from operators.signals.stage import SignalStage

__all__ = ["SignalStage"]
