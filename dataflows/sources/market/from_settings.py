"""From the settings to the live feed."""

from __future__ import annotations

from collections.abc import Callable

from configs.settings import Settings
from dataflows.sources.market.clock_recovery import own_topics
from dataflows.sources.market.feed import LiveFeed, LiveFeedSettings
from dataflows.sources.market.provider import SECOND_NS, Provider
from dataflows.sources.market.simulator_provider import SimulatedProvider


def live_feed(settings: Settings) -> Callable[[], LiveFeed]:
    """Opens the feed with its providers. Raises BadInput for settings that do not fit together."""
    given = settings.market_data.live
    feed = LiveFeedSettings(
        symbols=given.symbols,
        calendar=given.calendar,
        session=given.session,
        bar_interval_s=given.bar_interval_s,
        clock_ms=given.clock_ms,
        wait_s=given.wait_s,
        backfill_minutes_max=given.backfill_minutes_max,
    )
    made = [_makers(settings, name) for name in settings.market_data.live_providers()]

    def opening() -> LiveFeed:
        return LiveFeed(feed, [make() for make in made], own_topics(settings.kafka))

    return opening


def _makers(settings: Settings, name: str) -> Callable[[], Provider]:
    """How to make the provider of that name. Raises BadInput where its keys are missing."""
    every_s = settings.market_data.update_frequency
    if name.startswith("polygon"):
        return _polygon(settings, name, every_s)
    if name.startswith("alpaca"):
        return _alpaca(settings, name, every_s)
    live, seed = settings.market_data.live, settings.market_data.simulator.seed
    return lambda: SimulatedProvider(live.symbols, seed, live.bar_interval_s * SECOND_NS)


def _polygon(settings: Settings, name: str, every_s: float) -> Callable[[], Provider]:
    # Imported where it is asked for, and Alpaca below: the one's client is slow to import for who uses the other.
    from dataflows.sources.market.polygon import REST_URL, STREAM_URL, PolygonRequests, PolygonSocket, PolygonSource

    live = settings.market_data.live
    source = PolygonSource(
        key=settings.polygon.key(),
        symbols=live.symbols,
        stream_url=settings.polygon.stream_url or STREAM_URL,
        rest_url=settings.polygon.rest_url or REST_URL,
        bar_interval_s=live.bar_interval_s,
        quotes=live.quotes,
        trades=live.trades,
        stale_s=live.stale_s,
    )
    return lambda: PolygonSocket(source) if name == "polygon" else PolygonRequests(source, every_s)


def _alpaca(settings: Settings, name: str, every_s: float) -> Callable[[], Provider]:
    from dataflows.sources.market.alpaca import AlpacaRequests, AlpacaSocket, AlpacaSource

    live, given = settings.market_data.live, settings.market_data.alpaca
    key, secret = settings.alpaca.keys()
    source = AlpacaSource(
        key=key,
        secret=secret,
        symbols=live.symbols,
        crypto=given.asset_class == "crypto",
        feed=given.data_feed,
        url=settings.alpaca.url,
        quotes=live.quotes,
        trades=live.trades,
        stale_s=live.stale_s,
        bar_interval_s=live.bar_interval_s,
    )
    return lambda: AlpacaSocket(source) if name == "alpaca" else AlpacaRequests(source, every_s)
