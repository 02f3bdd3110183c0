"""The compact process writes the records of the services, and has their states, after any crash."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest

from configs.settings import Settings
from dataflows.runtime import topology
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.tape import Tape
from operators.sentiment import LlmSettings, SentimentSettings
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import DeadLetter
from tests.replay.compact_runs import compact_stages, feed_from, run_compact, run_compact_with_edges
from tests.replay.in_memory_platform import InMemoryPlatform, Logs
from tests.replay.market import MONDAY, write_market
from tests.replay.record import with_commands
from tests.replay.runs import pinned_settings, read_time_slices, staged_hash
from tests.replay.test_staged_tape import SYMBOLS, with_answers, write_tape
from tests.replay.test_staged_trading_strategies import settings_with_strategies

PARTITIONS = 2


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_with_strategies()


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C"), days=[MONDAY], open_time=time(9, 30), minutes=60)
    return with_commands(read_time_slices(files))


@pytest.fixture(scope="module")
def staged(settings: Settings, time_slices: list[TimeSlice]) -> Logs:
    return InMemoryPlatform(settings, time_slices, partitions=PARTITIONS, seed=1).run()


def test_compact_writes_the_messages_of_the_services(
    settings: Settings, time_slices: list[TimeSlice], staged: Logs
) -> None:
    logs = run_compact(settings, time_slices, PARTITIONS)
    assert logs.messages == staged.messages
    assert staged_hash(logs) == staged_hash(staged)


@pytest.mark.parametrize("crash_every", [1, 7])
def test_a_crash_after_any_time_slice_changes_no_record(
    settings: Settings, time_slices: list[TimeSlice], staged: Logs, crash_every: int
) -> None:
    logs = run_compact(settings, time_slices, PARTITIONS, crash_every=crash_every)
    assert logs.contents() == staged.contents()


@pytest.mark.parametrize("beside", [("execution",), ("sentiment",), ("sentiment", "execution")])
def test_services_beside_the_process_change_no_record_also_after_crashes(
    settings: Settings, time_slices: list[TimeSlice], staged: Logs, beside: tuple[str, ...]
) -> None:
    logs = run_compact_with_edges(settings, time_slices, PARTITIONS, beside, crash_every=7)
    assert logs.contents() == staged.contents()


def test_a_store_of_other_services_is_rejected(settings: Settings) -> None:
    snapshot = compact_stages(settings, PARTITIONS).snapshot()
    with pytest.raises(BadInput, match="must have the states of features, sentiment, predictions, signals, strategies"):
        compact_stages(settings, PARTITIONS, snapshot, beside=("execution",))


def test_quotes_headlines_and_answers_of_the_model_are_processed_as_by_the_services(tmp_path: Path) -> None:
    llm = LlmSettings(enabled=True, base_url="http://127.0.0.1:9/v1", model="m", timeout_s=300.0)
    settings = pinned_settings().model_copy(update={"sentiment": SentimentSettings(llm=llm)})
    bars = write_market(tmp_path / "bars", symbols=SYMBOLS, days=[MONDAY], open_time=time(9), minutes=60)
    options = settings.market_data.files
    time_slices = list(FileFeed(bars, options, Tape(write_tape(tmp_path, 5), options)))
    time_slices = with_answers(time_slices, settings)
    staged = InMemoryPlatform(settings, time_slices, partitions=PARTITIONS, seed=2).run()
    assert all(staged.records(topic) for topic in ("market-quotes", "sentiment", "llm-requests"))
    assert run_compact(settings, time_slices, PARTITIONS, crash_every=11).contents() == staged.contents()


def test_a_malformed_message_is_a_dead_letter_of_each_service_that_reads_it(settings: Settings) -> None:
    stages, logs = compact_stages(settings, PARTITIONS), Logs(PARTITIONS)
    logs.write("market_data", topology.FEED_SHARD, [TimeSlice(60, [])])
    malformed = DeadLetter("market-bars", 0, 0, topology.COMPACT, 0, "malformed", None, b"x")
    for reader in stages.external_readers():
        if ("market-bars", 0) in reader.next_offsets():
            reader.feed("market-bars", 0, [(0, malformed)])
    feed_from(stages, logs)
    [compact_slice] = stages.take_slices()
    letters = {
        (service, letter.stage)
        for service, _, time_slice in compact_slice.outputs
        for letter in time_slice.records
        if isinstance(letter, DeadLetter)
    }
    readers = {name for name in topology.COMPACT_SERVICES if reads_bars(name)}
    assert letters == {(name, name) for name in readers}


def reads_bars(service: str) -> bool:
    return any(item.topic == "market-bars" for item in topology.SERVICES[service].inputs)
