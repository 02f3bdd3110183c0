"""Build the source of bars from the settings: which feed, at which speed, and what happens at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from configs.command_signing import command_signer
from configs.declared_trade_bars import cold_start_sentence, declared_trade_bars
from configs.required_history import history_bars_needed, renamed_bars_needed
from configs.settings import FileFeedSection, MarketDataSection, Settings
from configs.settings.feeds import EXTRA_FILE_KINDS
from dataflows.runtime.stats import Stats
from dataflows.sources.catalog.catalog_paths import with_catalog_interval
from dataflows.sources.feed_scan import FeedScan
from dataflows.sources.feed_source import FeedSource
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.file_history import file_history
from dataflows.sources.heartbeat import Heartbeat
from dataflows.sources.session_announcements import SessionAnnouncements
from dataflows.sources.simulator import WAVES, Simulator
from dataflows.sources.tape import Tape, TapeFiles
from dataflows.sources.trading_calendar import session_table
from operators.bar_completion import FeedSettings
from operators.news import SymbolTagger, Tagger
from schemas.errors import BadInput
from schemas.records import Record
from sinks.signing_keys import FEED

log = structlog.get_logger(__name__)

StopRequested = Callable[[], bool]
REPEATED_SNAPSHOTS = 10
"""A snapshot can be as many intervals late: it waits until Kafka has confirmed every record."""


def never_stop() -> bool:
    return False


def no_symbols(text: str) -> list[str]:
    return []


def symbol_tagger(settings: Settings) -> Tagger:
    """Return a function that finds the symbols in a headline, by the companies in the settings."""
    return SymbolTagger(settings.news.companies).tag


def platform_feed(
    settings: Settings,
    *,
    stop_requested: StopRequested = never_stop,
    stats: Stats | None = None,
    delivered_offsets: Callable[[], Mapping[tuple[str, int], int]] = dict,
    store: Callable[[Sequence[Record]], None] = lambda records: None,
    on_resume: Callable[[int], None] = lambda last_slice_ns: None,
) -> FeedSource:
    """Return the feed of a running platform. It publishes the trading hours of the sessions.

    `delivered_offsets` returns, for each (topic, partition), the offset after the last record in Kafka. `store` stores
    records that an earlier process of a live feed has published, in whose tables they may be missing. `on_resume`
    receives the time slice after which a feed repeats its records; a live feed repeats none.
    """
    if sentence := cold_start_sentence(settings):
        log.info(sentence)
    calendar = settings.trading_calendar()
    sessions = SessionAnnouncements(calendar, session_table(calendar))
    if not settings.market_data.live_providers():
        return feed_source(
            settings.market_data,
            tag=symbol_tagger(settings),
            stop_requested=stop_requested,
            stats=stats,
            sessions=sessions,
            history_bars=file_history_bars(settings),
            renamed_bars=renamed_file_bars(settings),
            with_trades=needs_earlier_trades(settings)
            or (settings.market_data.feed == "simulator" and bool(declared_trade_bars(settings))),
            repeated_s=REPEATED_SNAPSHOTS * settings.platform.snapshot_interval_s,
            on_resume=on_resume,
        )
    # Imported here because it is slow to import and other feeds do not use it.
    from dataflows.sources.market.live_feed_setup import live_feed_opener, waiting_records

    heartbeat_s = settings.market_data.heartbeat_s
    waiting = waiting_records(settings)
    return FeedSource(
        live_feed_opener(settings, waiting, delivered_offsets, store),
        at_end="idle",
        stop_requested=stop_requested,
        stats=stats,
        heartbeat=_heartbeat(heartbeat_s),
        sessions=sessions,
        sleep=waiting.wait,
    )


def file_history_bars(settings: Settings) -> int:
    """Return how many bars of each symbol a file feed loads before its start; 0 if it loads none.

    The strategies, which declare what they need, are loaded only if the feed has a start.
    """
    market_data = settings.market_data
    has_history = market_data.feed == "files" and market_data.files.start is not None
    return history_bars_needed(settings) if has_history else 0


def needs_earlier_trades(settings: Settings) -> bool:
    """Whether a file feed loads trades from before its start, or of the old symbol of a renamed one.

    The strategies, which declare bars of trades, are loaded only if the feed has trades and a start or reference data.
    """
    files = settings.market_data.files
    has_earlier = settings.market_data.feed == "files" and (files.start is not None or bool(files.reference_data))
    return has_earlier and bool(files.trades) and bool(declared_trade_bars(settings))


def renamed_file_bars(settings: Settings) -> int:
    """Return how many bars of its old symbol a file feed loads for a renamed symbol; 0 if it loads none.

    The strategies, which declare what they need, are loaded only if the feed has reference data.
    """
    market_data = settings.market_data
    has_actions = market_data.feed == "files" and bool(market_data.files.reference_data)
    return renamed_bars_needed(settings) if has_actions else 0


def feed_source(
    market_data: MarketDataSection,
    *,
    tag: Tagger = no_symbols,
    stop_requested: StopRequested = never_stop,
    stats: Stats | None = None,
    sessions: SessionAnnouncements | None = None,
    history_bars: int = 0,
    renamed_bars: int | None = None,
    with_trades: bool = False,
    repeated_s: int = 0,
    on_resume: Callable[[int], None] = lambda last_slice_ns: None,
) -> FeedSource:
    """Return a feed without live providers. It idles when a file ends, so that downstream services keep running.

    `with_trades`: whether the simulator publishes trades, and files supply the trades of their history. `repeated_s`:
    how long after its snapshot a simulator may have published bars before a crash.
    """
    if market_data.feed == "simulator":
        simulator = market_data.simulator
        return FeedSource(
            lambda: Simulator(
                simulator.symbols,
                simulator.seed,
                interval_s=simulator.interval_s,
                waves=WAVES[simulator.market],
                with_trades=with_trades,
                repeated_s=repeated_s,
            ),
            at_end="idle",
            stop_requested=stop_requested,
            stats=stats,
            heartbeat=_heartbeat(market_data.heartbeat_s),
            sessions=sessions,
            on_resume=on_resume,
        )
    files = market_data.files
    speed = None if files.speed == "max" else files.speed
    return FeedSource(
        _file_feed_opener(
            files,
            files.paths,
            tag,
            require_interval_s=files.interval_s or 60,
            history_bars=history_bars,
            renamed_bars=renamed_bars,
            with_trades=with_trades,
        ),
        speed=speed,
        at_end="idle",
        stop_requested=stop_requested,
        # Monotonic: setting the wall clock must not pause or speed up the replay.
        now_ns=time.monotonic_ns,
        stats=stats,
        sessions=sessions,
        on_resume=on_resume,
    )


def _heartbeat(interval_s: float | None) -> Heartbeat | None:
    return Heartbeat(interval_s, sign=command_signer(FEED).sign_if_possible) if interval_s else None


def files_source(
    files: FileFeedSection,
    paths: Sequence[Path] | None = None,
    *,
    batch_slices: int = 256,
    stop_requested: StopRequested = never_stop,
    on_open: Callable[[FileFeed], None] = lambda _: None,
    tag: Tagger = no_symbols,
    scan: FeedScan | None = None,
    history_bars: int = 0,
    renamed_bars: int | None = None,
    with_trades: bool = False,
) -> FeedSource:
    """Return the feed of a backtest: as fast as it is consumed, ending with the files. `paths` override the settings.

    `on_open` receives the feed when it starts, to track progress. `tag` finds the symbols of a headline without any.
    `scan` is the scan of the files, if they were scanned before. `history_bars` is the number of bars of each symbol
    before the start that warm up indicators and strategies, `renamed_bars` that of the old symbol for a renamed one
    (default: as many). `with_trades`: the history contains trades.
    """
    open_feed = _file_feed_opener(
        files,
        paths or files.paths,
        tag,
        on_open,
        scan=scan,
        history_bars=history_bars,
        renamed_bars=renamed_bars,
        with_trades=with_trades,
    )
    return FeedSource(open_feed, batch_slices=batch_slices, at_end="stop", stop_requested=stop_requested)


def recognize_bars(files: FileFeedSection, paths: Sequence[Path]) -> tuple[FileFeedSection, FeedScan]:
    """Return the settings with the interval and session of the files, and the scan of the files. Raises BadInput."""
    _require_paths(paths)
    files = with_catalog_interval(files, paths)
    scan = FileFeed(paths, files).scan
    return scan.resolve(files), scan


def _require_paths(paths: Sequence[Path]) -> None:
    if not paths:
        raise BadInput("no bar files: pass --bars PATH or set market_data.files.paths")


def _file_feed_opener(
    files: FileFeedSection,
    paths: Sequence[Path],
    tag: Tagger,
    on_open: Callable[[FileFeed], None] = lambda _: None,
    *,
    scan: FeedScan | None = None,
    require_interval_s: int | None = None,
    history_bars: int = 0,
    renamed_bars: int | None = None,
    with_trades: bool = False,
) -> Callable[[], FileFeed]:
    _require_paths(paths)
    tape_files = TapeFiles(*(getattr(files, kind) for kind in EXTRA_FILE_KINDS))

    def open_files(scan: FeedScan | None) -> FileFeed:
        tape = Tape(tape_files, files, tag) if any(tape_files) else None
        return FileFeed(paths, files, tape, scan, history, renamed_history)

    def open_earlier(settings: FeedSettings) -> FileFeed:
        earlier = TapeFiles(reference_data=files.reference_data, trades=files.trades if with_trades else ())
        return FileFeed(paths, settings, Tape(earlier, settings) if any(earlier) else None, first_feed.scan)

    renamed_bars = history_bars if renamed_bars is None else renamed_bars
    history = file_history(open_earlier, history_bars, with_trades=with_trades) if history_bars else None
    renamed_history = file_history(open_earlier, renamed_bars, with_trades=with_trades) if renamed_bars else None

    # Open once now, so that a wrong path or column is reported before anything runs.
    first_feed = open_files(scan)
    interval_s = first_feed.settings.interval_s
    if require_interval_s not in (None, interval_s):
        # The other services know only the settings.
        found = first_feed.settings.bar_interval
        raise BadInput(f"the files have bars of {found}: set market_data.files.bar_interval to {found}")

    def open_and_notify() -> FileFeed:
        feed = open_files(first_feed.scan)
        on_open(feed)
        return feed

    return open_and_notify
