"""From the settings to the live feed."""

from __future__ import annotations

from collections.abc import Callable

from configs.settings import Settings
from dataflows.sources.market.alpaca import AlpacaRequests, AlpacaSocket, AlpacaSource
from dataflows.sources.market.feed import LiveFeed, LiveFeedSettings
from dataflows.sources.market.own_topics import own_topics
from dataflows.sources.market.provider import Provider
from dataflows.sources.market.simulated import SimulatedProvider


def live_feed(settings: Settings) -> Callable[[], LiveFeed]:
    """Opens the feed with its providers. Raises BadInput for settings that do not fit together."""
    given = settings.market_data.alpaca
    key, secret = settings.alpaca.keys()
    source = AlpacaSource(
        key=key,
        secret=secret,
        symbols=given.symbols,
        crypto=given.asset_class == "crypto",
        feed=given.data_feed,
        url=settings.alpaca.url,
        quotes=given.quotes,
        trades=given.trades,
        stale_s=given.stale_s,
    )
    feed = LiveFeedSettings(
        symbols=given.symbols,
        calendar=given.calendar,
        session=given.session,
        bar_interval_s=given.bar_interval_s,
        clock_ms=given.clock_ms,
        wait_s=given.wait_s,
        backfill_minutes_max=given.backfill_minutes_max,
    )
    interval_ns = given.bar_interval_s * 1_000_000_000
    seed = settings.market_data.simulator.seed

    def opening() -> LiveFeed:
        known: dict[str, Callable[[], Provider]] = {
            "alpaca": lambda: AlpacaSocket(source),
            "alpaca_rest": lambda: AlpacaRequests(source),
            "simulator": lambda: SimulatedProvider(given.symbols, seed, interval_ns),
        }
        providers = [known[name]() for name in settings.market_data.providers]
        return LiveFeed(feed, providers, own_topics(settings.kafka))

    return opening
