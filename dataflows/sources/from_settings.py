"""From the settings to the source of bars: which feed, how fast, and what happens at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from configs.settings import FileFeed as FileFeedSettings
from configs.settings import MarketData, Settings
from dataflows.runtime.stats import Stats
from dataflows.sources.feed import FeedSource
from dataflows.sources.files import FileFeed
from dataflows.sources.heartbeat import Heartbeat
from dataflows.sources.simulator import Simulator
from dataflows.sources.tape import Tape, TapeFiles
from operators.news import SymbolTagger
from schemas.errors import BadInput

Stopping = Callable[[], bool]
Tagger = Callable[[str], list[str]]


def never() -> bool:
    return False


def untagged(text: str) -> list[str]:
    return []


def tagger(settings: Settings) -> Tagger:
    """Finds the symbols that a headline names, by the companies in the settings."""
    return SymbolTagger(settings.news.companies).tag


def platform_feed(settings: Settings, *, stopping: Stopping = never, stats: Stats | None = None) -> FeedSource:
    """The feed of a running platform."""
    if not settings.market_data.live_providers():
        return feed_source(settings.market_data, tag=tagger(settings), stopping=stopping, stats=stats)
    # Slow to import, and of no use to the other feeds.
    from dataflows.sources.market.from_settings import live_feed

    heartbeat_s = settings.market_data.heartbeat_s
    return FeedSource(
        live_feed(settings),
        at_end="idle",
        stopping=stopping,
        stats=stats,
        heartbeat=Heartbeat(heartbeat_s) if heartbeat_s else None,
    )


def feed_source(
    market_data: MarketData, *, tag: Tagger = untagged, stopping: Stopping = never, stats: Stats | None = None
) -> FeedSource:
    """A feed that needs nobody outside: it stays when a file ends, so that the services behind it stay too."""
    if market_data.feed == "simulator":
        simulator = market_data.simulator
        return FeedSource(
            lambda: Simulator(simulator.symbols, simulator.seed, interval_s=simulator.interval_s),
            at_end="idle",
            stopping=stopping,
            stats=stats,
            heartbeat=Heartbeat(market_data.heartbeat_s) if market_data.heartbeat_s else None,
        )
    speed = None if market_data.files.speed == "max" else market_data.files.speed
    return FeedSource(
        _opening(market_data.files, market_data.files.paths, tag),
        speed=speed,
        at_end="idle",
        stopping=stopping,
        # A pace, not a time: a wall clock that is set while the files play must not hold or rush them.
        now_ns=time.monotonic_ns,
        stats=stats,
    )


def files_source(
    files: FileFeedSettings,
    paths: Sequence[Path] | None = None,
    *,
    batch_ticks: int = 256,
    stopping: Stopping = never,
    opened: Callable[[FileFeed], None] = lambda _: None,
    tag: Tagger = untagged,
) -> FeedSource:
    """The feed of a backtest: as fast as it is taken, ending with the files. `paths` go before those in the settings.

    `opened` is given the feed when it starts, to watch how far it is. `tag` finds the symbols of a headline that names
    none by itself.
    """
    opening = _opening(files, paths or files.paths, tag, opened)
    return FeedSource(opening, batch_ticks=batch_ticks, at_end="stop", stopping=stopping)


def _opening(
    files: FileFeedSettings,
    paths: Sequence[Path],
    tag: Tagger,
    opened: Callable[[FileFeed], None] = lambda _: None,
) -> Callable[[], FileFeed]:
    if not paths:
        raise BadInput("no bar files: name them with --bars PATH or in setting market_data.files.paths")
    reading = files.reading()
    others = TapeFiles(files.quotes, files.reference_data, files.news, files.fundamentals)

    def open_files() -> FileFeed:
        return FileFeed(paths, reading, Tape(others, reading, tag) if any(others) else None)

    # Opened once here, so that a wrong path or column is said before anything runs.
    open_files()

    def opening() -> FileFeed:
        feed = open_files()
        opened(feed)
        return feed

    return opening
