"""From headlines to scores for each symbol they name."""

from operators.sentiment.settings import LlmSettings, SentimentSettings
from operators.sentiment.stage import SentimentStage

__all__ = ["LlmSettings", "SentimentSettings", "SentimentStage"]
