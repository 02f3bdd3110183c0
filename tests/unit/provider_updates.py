"""Updates that a market data socket has received, for tests of the providers."""

from __future__ import annotations

from dataflows.sources.market.provider import QuoteUpdate, TradePrint
from dataflows.sources.market.socket_provider import SocketProvider
from tests.unit.alpaca_broker import wait_for


def updates_until_trade(provider: SocketProvider) -> tuple[list[QuoteUpdate], list[TradePrint]]:
    """Wait for the first trade. Return the quotes and trades up to it."""
    quotes: list[QuoteUpdate] = []
    trades: list[TradePrint] = []

    def has_trade() -> bool:
        new_quotes, new_trades = provider.drain_updates()
        quotes.extend(new_quotes)
        trades.extend(new_trades)
        return bool(trades)

    wait_for(has_trade, "a trade")
    return quotes, trades
