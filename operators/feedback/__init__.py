"""Feedback: evaluate signals and forecasts, attribute P&L to strategies, and learn strategy weights."""

from operators.feedback.settings import FeedbackSettings
from operators.feedback.stage import FeedbackStage

__all__ = ["FeedbackSettings", "FeedbackStage"]
