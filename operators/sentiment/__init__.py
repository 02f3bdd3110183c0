"""Score the sentiment of headlines for each symbol that they mention."""

from operators.sentiment.settings import LlmSettings, SentimentSettings
from operators.sentiment.stage import SentimentStage

__all__ = ["LlmSettings", "SentimentSettings", "SentimentStage"]
