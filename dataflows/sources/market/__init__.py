"""Live market data: `LiveFeed` builds time slices from providers in order of preference and fails over between them.

Providers: `polygon` and `alpaca` (socket and REST, on `socket_provider` and `rest_provider`) and `simulated_provider`.
`live_feed_setup` builds the feed from the settings; `clock_recovery` reads the feed's topics after a restart.
"""

from dataflows.sources.market.live_feed import LiveFeed
from dataflows.sources.market.provider import Provider

__all__ = ["LiveFeed", "Provider"]
