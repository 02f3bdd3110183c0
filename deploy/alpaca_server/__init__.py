"""A local broker with Alpaca's protocol, for demos, tests and paper trading without a key.

Its prices come from the seeded simulator, or are set from outside through `/control`. Sources: Alpaca's API reference
(trading v2, market data v2, wire format of the streams) and its documentation of orders, crypto orders, fractional
trading and user protection. `docs/howto/alpaca.md` lists the rules that it obeys, and what it does not have of Alpaca.
"""

from deploy.alpaca_server.server import AlpacaServer, ServerSettings

__all__ = ["AlpacaServer", "ServerSettings"]
