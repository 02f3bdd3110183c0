"""Bars of trades lead to the same decisions in services, backtest, replay and files."""

from __future__ import annotations

import csv
import random
from collections import Counter
from datetime import time
from itertools import count
from pathlib import Path

import pytest

from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from dataflows.replay.recorded_feed import RecordedFeed, RecordedPeriod
from dataflows.sources.feed_selection import file_history_bars, files_source, needs_earlier_trades
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.tape import Tape, TapeFiles
from operators.stage import TimeSlice
from operators.time_text import iso
from schemas.records import TRADE, Bar, Execution, HistoryTrade, Record, StrategyAction, Trade
from tests import trade_bar_strategy
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import (
    check_staged_services,
    fused_hash,
    pinned_settings,
    read_time_slices,
    replay,
    run_restored_in_every_slice,
)

SYMBOLS = ("A", "B")
SECOND_NS = 10**9


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("market")
    return write_market(folder, symbols=SYMBOLS, days=[MONDAY], open_time=time(9, 30), minutes=10)


@pytest.fixture(scope="module")
def trades(files: list[Path]) -> list[Trade]:
    """Trades within each bar, at its prices. Their times are within the minute."""
    rng, seqs, trades = random.Random(5), count(1), list[Trade]()
    for _, bars in read_time_slices(files):
        for bar in bars:
            if type(bar) is Bar and bar.traded:
                times = sorted(rng.randrange(1, 60 * SECOND_NS) for _ in range(rng.randrange(4, 16)))
                prices = [bar.open, *(round(rng.uniform(bar.low, bar.high), 2) for _ in times[1:])]
                trades += [
                    Trade(bar.symbol, next(seqs), bar.open_ns + at_ns, price, float(rng.randrange(1, 800)))
                    for at_ns, price in zip(times, prices, strict=True)
                ]
    return sorted(trades, key=lambda one: one.ts_ns)


@pytest.fixture(scope="module")
def trade_file(trades: list[Trade], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("trades") / "trades.csv"
    with file.open("w") as out:
        writer = csv.writer(out)
        writer.writerow(["time", "symbol", "price", "size"])
        writer.writerows((one.ts_ns, one.symbol, one.price, one.size) for one in trades)
    return file


@pytest.fixture(scope="module")
def settings(trade_file: Path) -> Settings:
    settings = pinned_settings().for_backtest().with_files({"trades": [trade_file]})
    strategies = (StrategyEntry(name=f"{trade_bar_strategy.__file__}:TradeBarStrategy"),)
    return settings.model_copy(update={"signals": settings.signals.model_copy(update={"strategies": strategies})})


@pytest.fixture(scope="module")
def time_slices(files: list[Path], trade_file: Path, settings: Settings) -> list[TimeSlice]:
    """The time slices of the files, one for each minute."""
    feed = settings.market_data.files
    return list(FileFeed(files, feed, Tape(TapeFiles(trades=[trade_file]), feed)))


@pytest.fixture(scope="module")
def live_slices(time_slices: list[TimeSlice]) -> list[TimeSlice]:
    """The same records as of a live feed: time slices within each minute, and trades that arrive late."""
    rng, out, waiting = random.Random(6), list[TimeSlice](), list[Record]()
    for ts_ns, records in time_slices:
        arriving = [*waiting, *(one for one in records if type(one) is Trade)]
        cuts = sorted(rng.randrange(len(arriving) + 1) for _ in range(2))
        for number, (first, last) in enumerate(zip([0, *cuts], cuts, strict=False), 1):
            out.append(TimeSlice(ts_ns - (40 - 15 * number) * SECOND_NS, arriving[first:last]))
        waiting = arriving[cuts[-1] :]
        out.append(TimeSlice(ts_ns, [one for one in records if type(one) is not Trade]))
    return out


@pytest.fixture(scope="module")
def replayed(settings: Settings, live_slices: list[TimeSlice]) -> list[list[Record]]:
    """The records of each time slice."""
    return replay(settings, live_slices)


def test_the_strategy_trades_within_the_minutes(replayed: list[list[Record]], live_slices: list[TimeSlice]) -> None:
    """Otherwise the equalities below would prove little."""
    records = [record for out in replayed for record in out]
    kinds = Counter(record.kind for record in records if type(record) is StrategyAction)
    assert "SUSPENDED" not in kinds, records
    assert kinds["NOTE"] >= 10 and kinds["TARGET_WEIGHT"] >= 5 and kinds["SUBMIT_ORDER"] >= 5, kinds
    within = [
        out for out, one in zip(replayed, live_slices, strict=True) if not any(type(r) is Bar for r in one.records)
    ]
    assert any(type(record) is StrategyAction for out in within for record in out)
    assert any(type(record) is Execution and record.exec_type == TRADE for record in records)


@pytest.mark.parametrize(("partitions", "crash_rate"), [(1, 0.0), (3, 0.03)])
def test_staged_services_write_the_records_of_the_replay(
    settings: Settings,
    live_slices: list[TimeSlice],
    replayed: list[list[Record]],
    partitions: int,
    crash_rate: float,
) -> None:
    check_staged_services(settings, live_slices, replayed, partitions=partitions, crash_rate=crash_rate)


def test_a_run_restored_after_any_slice_writes_the_same_records(
    settings: Settings, live_slices: list[TimeSlice], replayed: list[list[Record]]
) -> None:
    assert run_restored_in_every_slice(settings, live_slices) == replayed


def test_a_feed_of_files_that_is_resumed_in_every_slice_gives_the_same_trades(
    files: list[Path], trade_file: Path, settings: Settings, time_slices: list[TimeSlice]
) -> None:
    feed, state, found = settings.market_data.files, None, list[TimeSlice]()
    while True:
        resumed = FileFeed(files, feed, Tape(TapeFiles(trades=[trade_file]), feed)).resume(state)
        taken = resumed.take(7)
        if not taken:
            break
        found += taken
        state = resumed.state()
    assert found == time_slices
    assert next(one.seq for one in time_slices[3].records if type(one) is Trade and one.symbol == "A") > 1


def test_a_recording_of_the_files_gives_the_decisions_of_the_files(
    settings: Settings, time_slices: list[TimeSlice]
) -> None:
    def recorded() -> list[TimeSlice]:
        feed = RecordedFeed(lambda: (one for one in time_slices), RecordedPeriod(with_trades=True), 60 * SECOND_NS)
        return feed.take(1000)

    assert fused_hash(recorded(), settings=settings) == fused_hash(time_slices, settings=settings, shards=3)
    start_ns = time_slices[5].ts_ns
    feed = RecordedFeed(
        lambda: (one for one in time_slices), RecordedPeriod(("A",), start_ns, with_trades=True), 60 * SECOND_NS
    )
    first = next(one for time_slice in feed.take(1000) for one in time_slice.records if type(one) is Trade)
    assert (first.symbol, first.seq) == ("A", 1)
    assert first.ts_ns >= start_ns


def test_a_start_gives_files_and_a_recording_the_same_bars_and_trades_from_before(
    files: list[Path], settings: Settings, time_slices: list[TimeSlice]
) -> None:
    start_ns = time_slices[6].ts_ns
    started = settings.with_file_feed({"start": iso(start_ns)})
    source = files_source(
        started.market_data.files,
        files,
        history_bars=file_history_bars(started),
        with_trades=needs_earlier_trades(started),
    )
    of_files = list(source.open_feed())  # type: ignore[call-overload]  # a feed of files can be iterated
    recorded = RecordedFeed(
        lambda: (one for one in time_slices),
        RecordedPeriod(None, start_ns, with_trades=True),
        60 * SECOND_NS,
        file_history_bars(started),
    ).take(1000)
    earlier = [one for one in of_files[0].records if type(one) is HistoryTrade]
    expected = [
        (one.symbol, one.ts_ns, one.price, one.size)
        for time_slice in time_slices
        for one in time_slice.records
        if type(one) is Trade and one.ts_ns < start_ns
    ]
    assert sorted((one.symbol, one.traded_ns, one.price, one.size) for one in earlier) == sorted(expected)
    assert [one for one in recorded[0].records if type(one) is HistoryTrade] == earlier
    assert fused_hash(recorded, settings=started) == fused_hash(of_files, settings=started, shards=3)
    without = [one._replace(records=[r for r in one.records if type(r) is not HistoryTrade]) for one in of_files]
    assert fused_hash(without, settings=started) != fused_hash(of_files, settings=started)
    check_staged_services(started, of_files, replay(started, of_files), partitions=3, crash_rate=0.03)
