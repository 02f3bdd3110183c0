"""A small broker on this machine that speaks Alpaca's protocol: for the demo, for tests, for paper trading without a
key. Its prices are the seeded simulator's, or set by whoever plays the market.

Sources: Alpaca's API reference (trading v2, market data v2, the streams' wire format) and its rules: an order may not
cross zero, only limit day orders outside regular hours, 200 requests a minute, one trade-updates socket per key.
"""

from deploy.alpaca_server.server import AlpacaServer, ServerSettings

__all__ = ["AlpacaServer", "ServerSettings"]
