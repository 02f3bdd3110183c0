"""Live market data: providers in an order of preference, and the feed that makes ticks of what they say."""

from dataflows.sources.market.feed import LiveFeed, LiveFeedSettings
from dataflows.sources.market.provider import Provider

__all__ = ["LiveFeed", "LiveFeedSettings", "Provider"]
