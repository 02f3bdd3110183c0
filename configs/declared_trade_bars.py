"""Whether the trading strategies of the settings declare bars that are built from trades."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from configs.settings import Settings
from configs.strategies import configured_strategies
from operators.strategies import TradingStrategy
from operators.trading.intervals import SECOND_NS, interval_text, parse_interval, time_interval_ns
from schemas.errors import BadInput


class TradeBars(NamedTuple):
    """An interval whose bars a strategy builds from trades: always if `required`, else only if the feed has trades."""

    strategy: str
    interval: str
    required: bool


def declared_trade_bars(settings: Settings) -> list[TradeBars]:
    """Return the bars of trades that the trading strategies declare. Raises BadInput like `configured_strategies`."""
    bar_interval = interval_text(settings.market_data.bar_interval_s() * SECOND_NS)
    return [
        one for strategy in configured_strategies(settings).trading for one in trade_bars_of(strategy, bar_interval)
    ]


def cold_start_sentence(settings: Settings) -> str:
    """Return which bars of trades warm up with the first trades, because the feed has no earlier ones; "" if none do.

    Files and recorded topics can have earlier trades. Raises BadInput like `configured_strategies`.
    """
    market = settings.market_data
    declared = declared_trade_bars(settings) if market.feed != "files" and market.has_trades() else []
    if not declared:
        return ""
    source = "the simulator" if market.feed == "simulator" else "a live feed"
    return f"{source} has no trades from before the start: {trade_bar_names(declared)} warm up with the first trades"


def trade_bar_names(declared: Iterable[TradeBars]) -> str:
    """
    >>> trade_bar_names([TradeBars("flow", "100t", True), TradeBars("flow", "10000v", False)])
    'bars of 100t of flow and 10000v of flow'
    """
    names = [f"{one.interval} of {one.strategy}" for one in declared]
    return f"bars of {' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))}"


def trade_bars_of(strategy: TradingStrategy, bar_interval: str) -> Iterator[TradeBars]:
    """Yield the bars of trades that a strategy declares. `bar_interval` is that of the feed's bars."""
    # Imported here because it imports NumPy, which a platform without trading strategies does not need.
    from operators.trading.declarations import features_by_interval
    from operators.trading.market_needs import needs_trades

    source = strategy.bar_source
    for text in dict.fromkeys([*features_by_interval(strategy, bar_interval), *strategy.history]):
        try:
            interval = parse_interval(text)
        except BadInput:
            continue  # the stage reports it
        required = needs_trades(interval, source)
        if required or (source == "trades_or_bars" and time_interval_ns(interval) is None):
            yield TradeBars(strategy.name, text, required)
