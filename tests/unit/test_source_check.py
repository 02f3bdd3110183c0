"""A simulator or a file feed that would repeat other bars under recorded numbers must not start."""

from __future__ import annotations

import json
from datetime import time
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings, load_settings
from dataflows.sources.feed_selection import platform_feed
from deploy.recovery.store_positions import StorePositions
from deploy.supervisor.source_check import changed_setting, source_problem
from tests.builders import configuration
from tests.replay.market import MONDAY, write_market

SIMULATOR = {"MARKET_DATA__FEED": "simulator"}
CLOCK_NS = 900


def store(feed: str = "Simulator", last_slice_ns: int = CLOCK_NS, state: Any = None) -> StorePositions:
    return StorePositions("market_data", Path("market_data"), 3, {}, last_slice_ns, feed, state)


def problem(before: Settings, now: Settings, of_store: StorePositions, last_clock_ns: int = CLOCK_NS) -> str:
    return source_problem(now, of_store, configuration(1, before), lambda: last_clock_ns)


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("INTERVAL_S", "5", "market_data.simulator.interval_s has changed from 1 to 5"),
        ("SEED", "8", "market_data.simulator.seed has changed from 7 to 8"),
        ("MARKET", "choppy", 'market_data.simulator.market has changed from "trending" to "choppy"'),
        ("SYMBOLS", '["AAPL"]', 'market_data.simulator.symbols has changed from ["AAPL","MSFT",'),
    ],
)
def test_a_killed_simulator_must_continue_with_its_settings(variable: str, value: str, text: str) -> None:
    before = load_settings(environment=SIMULATOR)
    now = load_settings(environment={**SIMULATOR, f"MARKET_DATA__SIMULATOR__{variable}": value})
    sentence = problem(before, now, store(last_slice_ns=CLOCK_NS - 1))
    assert text in sentence and "start once with the previous value" in sentence and "rebuild market_data" in sentence
    assert problem(before, before, store(last_slice_ns=CLOCK_NS - 1)) == ""
    assert problem(before, now, store()) == "", "stopped: it repeats nothing"


def test_a_simulator_without_a_state_must_not_number_its_bars_again() -> None:
    current = load_settings(environment=SIMULATOR)
    assert "restore the store with `python cli.py rebuild market_data`" in problem(current, current, store(feed=""))


def file_settings(folder: Path, **files: Any) -> Settings:
    paths = json.dumps([str(folder / "market.csv")])
    variables = {f"MARKET_DATA__FILES__{name.upper()}": str(value) for name, value in files.items()}
    return load_settings(environment={"MARKET_DATA__FEED": "files", "MARKET_DATA__FILES__PATHS": paths, **variables})


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with a file of the same name."""
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
        [file] = write_market(folder, symbols=("A",), days=[MONDAY], open_time=time(9, 30), minutes=10)
        file.rename(folder / "market.csv")
    return folders


@pytest.mark.parametrize(
    "changed",
    [{"calendar": "24/7"}, {"timezone": "Europe/Berlin"}, {"start": "2024-01-01"}, {"symbols": '["A"]'}],
    ids=lambda one: next(iter(one)),
)
def test_a_killed_file_feed_must_continue_with_its_settings(
    folders: tuple[Path, Path], changed: dict[str, str]
) -> None:
    before, now = file_settings(folders[0]), file_settings(folders[0], **changed)
    [name] = changed
    assert f"market_data.files.{name} has changed" in problem(before, now, store("FileFeed", CLOCK_NS - 1))


def test_speed_and_folder_of_the_files_may_change(folders: tuple[Path, Path]) -> None:
    one, other = file_settings(folders[0]), file_settings(folders[1], speed=60)
    assert changed_setting(configuration(1, one), other) is None
    assert problem(one, other, store("FileFeed", CLOCK_NS - 1)) == ""


def test_other_files_are_refused_by_name(folders: tuple[Path, Path]) -> None:
    before = file_settings(folders[0])
    feed = platform_feed(before).open_feed()
    feed.take(3)
    (folders[1] / "market.csv").rename(folders[1] / "other.csv")
    paths = {"paths": json.dumps([str(folders[1] / "other.csv")])}
    sentence = problem(before, file_settings(folders[0], **paths), store("FileFeed", CLOCK_NS, feed.state()))
    assert "was stopped with files ['market.csv'] and cannot continue with ['other.csv']" in sentence
    assert sentence.endswith("start it with the previous files, or use another PLATFORM_HOME for a new platform")


def test_a_setting_that_another_release_lacks_is_not_compared() -> None:
    current = load_settings(environment=SIMULATOR)
    tree = json.loads(configuration(1, current).settings)
    del tree["market_data"]["simulator"]["market"]
    recorded = configuration(1, text=json.dumps(tree))
    changed = load_settings(environment={**SIMULATOR, "MARKET_DATA__SIMULATOR__MARKET": "choppy"})
    assert changed_setting(recorded, changed) is None and changed_setting(None, changed) is None
