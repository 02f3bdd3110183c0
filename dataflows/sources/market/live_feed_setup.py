"""Build the live feed, and the providers of historical bars, from the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from configs.command_signing import command_signer
from configs.declared_trade_bars import declared_trade_bars
from configs.required_history import history_bars_needed
from configs.settings import Settings
from configs.strategies import configured_strategies
from configs.universe_files import universe_members
from dataflows.sources.market.bar_history import HistoricalBars
from dataflows.sources.market.clock_recovery import Store, feed_topic_reader
from dataflows.sources.market.followed_topics import FollowedTopics
from dataflows.sources.market.live_feed import LiveFeed
from dataflows.sources.market.provider import Provider
from dataflows.sources.market.simulated_provider import SimulatedProvider
from dataflows.sources.market.waiting_records import WaitingRecords
from operators.bar_completion import Calendar
from operators.strategies import TradingStrategy
from schemas.log_names import LogName
from sinks.signing_keys import FEED

if TYPE_CHECKING:
    from dataflows.sources.market.alpaca import AlpacaOptions
    from dataflows.sources.market.polygon import PolygonOptions


def live_feed_opener(
    settings: Settings,
    waiting: WaitingRecords | None = None,
    delivered_offsets: Callable[[], Mapping[LogName, int]] = dict,
    store: Store = lambda records: None,
) -> Callable[[], LiveFeed]:
    """Return a function that opens the feed with its providers, for the symbols of the strategies too.

    The records that wait in the followed topics are reported to `waiting`. `delivered_offsets` is as in `LiveFeed`.
    `store` receives the records that an earlier process has published after its last snapshot.
    Raises BadInput for inconsistent settings.
    """
    settings = _with_trades_of_strategies(_with_symbols_of_strategies(settings))
    live = settings.market_data.live
    waiting = waiting or waiting_records(settings)
    provider_factories = [_provider_factory(settings, name) for name in settings.market_data.live_providers()]

    history_bars = history_bars_needed(settings)

    def open_feed() -> LiveFeed:
        return LiveFeed(
            live,
            [make() for make in provider_factories],
            feed_topic_reader(settings.kafka, store),
            delivered_offsets=delivered_offsets,
            sign=command_signer(FEED).sign_if_possible,
            history_bars=history_bars,
            waiting=waiting,
            follower=FollowedTopics(settings.kafka, waiting),
        )

    return open_feed


def waiting_records(settings: Settings) -> WaitingRecords:
    """Return the waiting records of a new feed, without any."""
    return WaitingRecords(settings.market_data.live.clock_ms * 1_000_000)


def _with_trades_of_strategies(settings: Settings) -> Settings:
    """Return the settings. If a strategy declares bars of trades, the subscription to trades is enabled."""
    market, live = settings.market_data, settings.market_data.live
    if live.trades or not declared_trade_bars(settings):
        return settings
    return settings.model_copy(update={"market_data": market.model_copy(update={"live": replace(live, trades=True)})})


def _with_symbols_of_strategies(settings: Settings) -> Settings:
    """Return the settings with the symbols that the trading strategies declare, after those of the feed.

    These include the second symbols of their correlations and betas.
    """
    market, live = settings.market_data, settings.market_data.live
    strategies = configured_strategies(settings).trading
    if not strategies:
        return settings
    # Imported here because it imports NumPy, which a platform without trading strategies does not need.
    from operators.trading.declarations import benchmarks_of

    declared = {symbol for one in strategies for symbol in (*(one.symbols or ()), *benchmarks_of(one))}
    declared |= _members_from_today(strategies)
    if declared <= set(live.symbols):
        return settings
    symbols = (*live.symbols, *sorted(declared.difference(live.symbols)))
    return settings.model_copy(
        update={"market_data": market.model_copy(update={"live": replace(live, symbols=symbols)})}
    )


def _members_from_today(strategies: Sequence[TradingStrategy]) -> set[str]:
    """Return the present and future members of the universe files of strategies that declare no symbols.

    Former members have no bars any more, and the feed would wait for them in each minute.
    """
    today = int(f"{datetime.now(UTC):%Y%m%d}")
    members = universe_members([one for one in strategies if one.symbols is None])
    return {member.symbol for rows in members.values() for member in rows if member.to_day >= today}


def _provider_factory(settings: Settings, name: str) -> Callable[[], Provider]:
    """Return a function that builds the named provider. Raises BadInput if its keys are missing."""
    retry_interval_s = settings.market_data.update_frequency
    if name.startswith("polygon"):
        return _polygon_factory(settings, name, retry_interval_s)
    if name.startswith("alpaca"):
        return _alpaca_factory(settings, name, retry_interval_s)
    live, seed = settings.market_data.live, settings.market_data.simulator.seed
    return lambda: SimulatedProvider(live.symbols, seed, live.interval_ns)


class HistorySource(NamedTuple):
    """A provider of historical bars, the name of its data in the catalogue, and their calendar."""

    history: HistoricalBars
    name: str
    calendar: Calendar


def history_source(settings: Settings, provider: str) -> HistorySource:
    """Return the historical bars of `alpaca` or `polygon`. Raises BadInput if the keys are missing."""
    if provider == "polygon":
        from dataflows.sources.market.polygon import PolygonHistory

        return HistorySource(PolygonHistory(_polygon_options(settings)), "polygon", "XNYS")
    from dataflows.sources.market.alpaca import AlpacaHistory

    options = _alpaca_options(settings)
    history = AlpacaHistory(options)
    if options.crypto:
        return HistorySource(history, "alpaca crypto", "24/7")
    return HistorySource(history, f"alpaca {options.feed}", "XNYS")


def _polygon_options(settings: Settings) -> PolygonOptions:
    # Each provider is imported on use, because the clients are slow to import.
    from dataflows.sources.market.polygon import REST_URL, STREAM_URL, PolygonOptions

    return PolygonOptions(
        key=settings.polygon.key(),
        live=settings.market_data.live,
        stream_url=settings.polygon.stream_url or STREAM_URL,
        rest_url=settings.polygon.rest_url or REST_URL,
    )


def _alpaca_options(settings: Settings) -> AlpacaOptions:
    from dataflows.sources.market.alpaca import AlpacaOptions

    alpaca = settings.market_data.alpaca
    key, secret = settings.alpaca.keys()
    return AlpacaOptions(
        key=key,
        secret=secret,
        live=settings.market_data.live,
        crypto=alpaca.asset_class == "crypto",
        feed=alpaca.data_feed,
        url=settings.alpaca.url,
    )


def _polygon_factory(settings: Settings, name: str, retry_interval_s: float) -> Callable[[], Provider]:
    from dataflows.sources.market.polygon import PolygonRestProvider, PolygonSocketProvider

    options = _polygon_options(settings)
    return lambda: (
        PolygonSocketProvider(options) if name == "polygon" else PolygonRestProvider(options, retry_interval_s)
    )


def _alpaca_factory(settings: Settings, name: str, retry_interval_s: float) -> Callable[[], Provider]:
    from dataflows.sources.market.alpaca import AlpacaRestProvider, AlpacaSocketProvider

    options = _alpaca_options(settings)
    return lambda: AlpacaSocketProvider(options) if name == "alpaca" else AlpacaRestProvider(options, retry_interval_s)
