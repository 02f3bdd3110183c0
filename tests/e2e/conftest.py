"""One market and one uninterrupted run that all end-to-end tests of this folder compare with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.process_platform import ProcessPlatform, Servers, TableRows
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import fused_hash, read_time_slices

MakePlatform = Callable[..., ProcessPlatform]


class RunResult(NamedTuple):
    """What a run left behind. `counts`: messages of each topic partition, repeats too."""

    tables: TableRows
    topics: dict[str, list[str]]
    decision_hash: str
    counts: dict[tuple[str, int], int]


def read_result(platform: ProcessPlatform) -> RunResult:
    logs = platform.logs()
    counts = {name: len(messages) for name, messages in logs.messages.items()}
    return RunResult(platform.tables(), logs.contents(), platform.decision_hash(), counts)


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A Monday from nine, four and a half hours, five symbols."""
    folder = tmp_path_factory.mktemp("bars")
    return write_market(folder, symbols=("A", "B", "C", "D", "E"), days=[MONDAY], open_time=time(9), minutes=270)


@pytest.fixture(scope="session")
def fused_decision_hash(bars: list[Path]) -> str:
    """The decision hash of the fused backtest on the same files."""
    return fused_hash(read_time_slices(bars))


@pytest.fixture(scope="session")
def make_platform(
    kafka: str,
    redis_url: str,
    make_database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
    bars: list[Path],
) -> MakePlatform:
    """Call it, with options of `Platform`, for a platform with topics, tables and recovery stores of its own."""

    def make(files: list[Path] | None = None, **options: object) -> ProcessPlatform:
        # A Redis database of its own: the latest values of these runs are nobody else's.
        servers = Servers(kafka, make_database(), redis_url.rsplit("/", 1)[0] + "/9")
        return ProcessPlatform(tmp_path_factory.mktemp("platform"), servers, files or bars, **options)  # type: ignore[arg-type]

    return make


def assert_same(actual: RunResult, expected: RunResult) -> None:
    """Topics first, then tables: a failure names the first that differs, and rows of it."""
    for topic, records in expected.topics.items():
        assert actual.topics[topic] == records, topic
    assert_same_tables(actual.tables, expected.tables)
    assert actual.decision_hash == expected.decision_hash


def assert_same_tables(actual: TableRows, expected: TableRows, *ignored_tables: str) -> None:
    """The difference both ways is empty in every table but those named."""
    for table in expected.keys() - set(ignored_tables):
        missing, extra = (
            Counter(expected[table]) - Counter(actual[table]),
            Counter(actual[table]) - Counter(expected[table]),
        )
        assert not missing and not extra, f"{table}: missing {list(missing)[:3]}, too many {list(extra)[:3]}"


@pytest.fixture(scope="session")
def uninterrupted(make_platform: MakePlatform) -> RunResult:
    with make_platform() as platform:
        platform.start()
        platform.run_to_end()
        return read_result(platform)
