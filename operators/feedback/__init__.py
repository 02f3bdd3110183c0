"""From what was decided to how it turned out."""

from operators.feedback.settings import FeedbackSettings
from operators.feedback.stage import FeedbackStage

__all__ = ["FeedbackSettings", "FeedbackStage"]
