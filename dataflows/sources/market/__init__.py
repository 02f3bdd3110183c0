"""Live market data: providers in an order of preference, and the feed that makes ticks of what they say."""

from dataflows.sources.market.live_feed import LiveFeed, LiveFeedOptions
from dataflows.sources.market.provider import Provider

__all__ = ["LiveFeed", "LiveFeedOptions", "Provider"]
