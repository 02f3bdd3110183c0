"""Build the source of bars from the settings: which feed, at which speed, and what happens at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from configs.settings import FileFeedSection, MarketDataSection, Settings
from dataflows.runtime.stats import Stats
from dataflows.sources.feed_source import FeedSource
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.heartbeat import Heartbeat
from dataflows.sources.simulator import Simulator
from dataflows.sources.tape import Tape, TapeFiles
from operators.news import SymbolTagger
from schemas.errors import BadInput

StopRequested = Callable[[], bool]
Tagger = Callable[[str], list[str]]


def never_stop() -> bool:
    return False


def no_symbols(text: str) -> list[str]:
    return []


def symbol_tagger(settings: Settings) -> Tagger:
    """Return a function that finds the symbols in a headline, by the companies in the settings."""
    return SymbolTagger(settings.news.companies).tag


def platform_feed(
    settings: Settings, *, stop_requested: StopRequested = never_stop, stats: Stats | None = None
) -> FeedSource:
    """Return the feed of a running platform."""
    if not settings.market_data.live_providers():
        return feed_source(
            settings.market_data, tag=symbol_tagger(settings), stop_requested=stop_requested, stats=stats
        )
    # Imported here because it is slow to import and other feeds do not use it.
    from dataflows.sources.market.live_feed_setup import live_feed_opener

    heartbeat_s = settings.market_data.heartbeat_s
    return FeedSource(
        live_feed_opener(settings),
        at_end="idle",
        stop_requested=stop_requested,
        stats=stats,
        heartbeat=Heartbeat(heartbeat_s) if heartbeat_s else None,
    )


def feed_source(
    market_data: MarketDataSection,
    *,
    tag: Tagger = no_symbols,
    stop_requested: StopRequested = never_stop,
    stats: Stats | None = None,
) -> FeedSource:
    """Return a feed without live providers. It idles when a file ends, so that downstream services keep running."""
    if market_data.feed == "simulator":
        simulator = market_data.simulator
        return FeedSource(
            lambda: Simulator(simulator.symbols, simulator.seed, interval_s=simulator.interval_s),
            at_end="idle",
            stop_requested=stop_requested,
            stats=stats,
            heartbeat=Heartbeat(market_data.heartbeat_s) if market_data.heartbeat_s else None,
        )
    speed = None if market_data.files.speed == "max" else market_data.files.speed
    return FeedSource(
        _file_feed_opener(market_data.files, market_data.files.paths, tag),
        speed=speed,
        at_end="idle",
        stop_requested=stop_requested,
        # Monotonic: setting the wall clock must not pause or speed up the replay.
        now_ns=time.monotonic_ns,
        stats=stats,
    )


def files_source(
    files: FileFeedSection,
    paths: Sequence[Path] | None = None,
    *,
    batch_slices: int = 256,
    stop_requested: StopRequested = never_stop,
    on_open: Callable[[FileFeed], None] = lambda _: None,
    tag: Tagger = no_symbols,
) -> FeedSource:
    """Return the feed of a backtest: as fast as it is consumed, ending with the files. `paths` override the settings.

    `on_open` receives the feed when it starts, to track progress. `tag` finds the symbols of a headline without any.
    """
    open_feed = _file_feed_opener(files, paths or files.paths, tag, on_open)
    return FeedSource(open_feed, batch_slices=batch_slices, at_end="stop", stop_requested=stop_requested)


def _file_feed_opener(
    files: FileFeedSection,
    paths: Sequence[Path],
    tag: Tagger,
    on_open: Callable[[FileFeed], None] = lambda _: None,
) -> Callable[[], FileFeed]:
    if not paths:
        raise BadInput("no bar files: pass --bars PATH or set market_data.files.paths")
    feed_settings = files.feed_settings()
    tape_files = TapeFiles(files.quotes, files.reference_data, files.news, files.fundamentals)

    def open_files() -> FileFeed:
        return FileFeed(paths, feed_settings, Tape(tape_files, feed_settings, tag) if any(tape_files) else None)

    # Open once now, so that a wrong path or column is reported before anything runs.
    open_files()

    def open_and_notify() -> FileFeed:
        feed = open_files()
        on_open(feed)
        return feed

    return open_and_notify
