"""From headlines to scores for each symbol they name."""

from operators.sentiment.settings import SentimentSettings
from operators.sentiment.stage import SentimentStage

__all__ = ["SentimentSettings", "SentimentStage"]
