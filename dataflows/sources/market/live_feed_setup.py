"""Build the live feed from the settings."""

from __future__ import annotations

from collections.abc import Callable

from configs.settings import Settings
from dataflows.sources.market.clock_recovery import feed_topic_reader
from dataflows.sources.market.live_feed import LiveFeed, LiveFeedOptions
from dataflows.sources.market.provider import SECOND_NS, Provider
from dataflows.sources.market.simulated_provider import SimulatedProvider


def live_feed_opener(settings: Settings) -> Callable[[], LiveFeed]:
    """Return a function that opens the feed with its providers. Raises BadInput for inconsistent settings."""
    live = settings.market_data.live
    options = LiveFeedOptions(
        symbols=live.symbols,
        calendar=live.calendar,
        session=live.session,
        bar_interval_s=live.bar_interval_s,
        clock_ms=live.clock_ms,
        wait_s=live.wait_s,
        backfill_minutes_max=live.backfill_minutes_max,
    )
    provider_makers = [_provider_maker(settings, name) for name in settings.market_data.live_providers()]

    def open_feed() -> LiveFeed:
        return LiveFeed(options, [make() for make in provider_makers], feed_topic_reader(settings.kafka))

    return open_feed


def _provider_maker(settings: Settings, name: str) -> Callable[[], Provider]:
    """Return a function that builds the named provider. Raises BadInput if its keys are missing."""
    retry_interval_s = settings.market_data.update_frequency
    if name.startswith("polygon"):
        return _polygon_maker(settings, name, retry_interval_s)
    if name.startswith("alpaca"):
        return _alpaca_maker(settings, name, retry_interval_s)
    live, seed = settings.market_data.live, settings.market_data.simulator.seed
    return lambda: SimulatedProvider(live.symbols, seed, live.bar_interval_s * SECOND_NS)


def _polygon_maker(settings: Settings, name: str, retry_interval_s: float) -> Callable[[], Provider]:
    # Each provider is imported on use, because the clients are slow to import.
    from dataflows.sources.market.polygon import (
        REST_URL,
        STREAM_URL,
        PolygonOptions,
        PolygonRestProvider,
        PolygonSocketProvider,
    )

    live = settings.market_data.live
    options = PolygonOptions(
        key=settings.polygon.key(),
        symbols=live.symbols,
        stream_url=settings.polygon.stream_url or STREAM_URL,
        rest_url=settings.polygon.rest_url or REST_URL,
        bar_interval_s=live.bar_interval_s,
        quotes=live.quotes,
        trades=live.trades,
        stale_s=live.stale_s,
    )
    return lambda: (
        PolygonSocketProvider(options) if name == "polygon" else PolygonRestProvider(options, retry_interval_s)
    )


def _alpaca_maker(settings: Settings, name: str, retry_interval_s: float) -> Callable[[], Provider]:
    from dataflows.sources.market.alpaca import AlpacaOptions, AlpacaRestProvider, AlpacaSocketProvider

    live, alpaca = settings.market_data.live, settings.market_data.alpaca
    key, secret = settings.alpaca.keys()
    options = AlpacaOptions(
        key=key,
        secret=secret,
        symbols=live.symbols,
        crypto=alpaca.asset_class == "crypto",
        feed=alpaca.data_feed,
        url=settings.alpaca.url,
        quotes=live.quotes,
        trades=live.trades,
        stale_s=live.stale_s,
        bar_interval_s=live.bar_interval_s,
    )
    return lambda: AlpacaSocketProvider(options) if name == "alpaca" else AlpacaRestProvider(options, retry_interval_s)
