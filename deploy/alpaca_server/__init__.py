"""A local broker with Alpaca's protocol, for demos, tests and paper trading without a key.

Its prices come from the seeded simulator, or are set from outside through `/control`. Sources: Alpaca's API reference
(trading v2, market data v2, wire format of the streams) and its rules: an order may not cross zero, only limit day
orders outside regular hours, 200 requests per minute, one trade-updates socket per key.
"""

from deploy.alpaca_server.server import AlpacaServer, ServerSettings

__all__ = ["AlpacaServer", "ServerSettings"]
