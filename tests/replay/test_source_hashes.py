"""The hash of the user's source files is on every signal and action that they led to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import time
from pathlib import Path

import pytest

from configs.configuration_changes import next_configuration, with_overrides
from configs.settings import Settings
from dataflows.replay.comparison import compare
from dataflows.replay.differences import derived_records
from dataflows.replay.recording import Recording
from dataflows.runtime.repeated_records import decision_fields
from operators.decision_hash import decision_hash
from operators.stage import TimeSlice
from schemas.records import Record, Signal, StrategyAction
from tests.replay.market import MONDAY, write_market
from tests.replay.own_files import INDICATOR, TRADING, VIEW
from tests.replay.runs import pinned_settings, read_time_slices, replay

pytestmark = pytest.mark.usefixtures("restored_indicators")
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, source: str) -> Path:
        file = tmp_path / name
        file.write_text(source)
        return file

    return write_file


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    files = write_market(
        tmp_path_factory.mktemp("market"), symbols=("A", "B"), days=[MONDAY], open_time=time(10), minutes=40
    )
    return list(read_time_slices(files))


def settings_of(strategies: list[dict[str, object]], **others: str) -> Settings:
    return with_overrides(pinned_settings(), {"signals.strategies": json.dumps(strategies), **others})


def run(settings: Settings, time_slices: list[TimeSlice]) -> list[Record]:
    return [record for records in replay(settings, time_slices) for record in records]


def hashes(records: list[Record]) -> dict[str, set[tuple[str, ...]]]:
    """Return the hashes on the signals and actions, by strategy."""
    out: dict[str, set[tuple[str, ...]]] = {}
    for record in records:
        if type(record) is Signal or type(record) is StrategyAction:
            out.setdefault(record.strategy, set()).add(tuple(record.source_sha256))
    return out


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_changed_file_changes_the_hash_on_its_signals_and_no_decision(
    time_slices: list[TimeSlice], write: Write
) -> None:
    file, edited = write("mine.py", VIEW), VIEW + "\n# edited\n"
    settings = settings_of([{"name": f"{file}:Mine"}, {"name": "ema_cross", "parameters": {"fast": 3, "slow": 8}}])
    first = run(settings, time_slices)
    assert hashes(first) == {"mine": {(sha256(VIEW),)}, "ema_cross": {()}}
    file.write_text(edited)
    second = run(settings, time_slices)
    assert hashes(second) == {"mine": {(sha256(edited),)}, "ema_cross": {()}}
    assert decision_hash(first) == decision_hash(second)
    assert list(map(decision_fields, first)) == list(map(decision_fields, second)), "a restart after an edit continues"


def test_the_actions_of_a_trading_strategy_have_the_hash(time_slices: list[TimeSlice], write: Write) -> None:
    file = write("trader.py", TRADING)
    records = run(settings_of([{"name": f"{file}:Trader"}, {"name": "buy_and_hold"}]), time_slices)
    assert hashes(records) == {"trader": {(sha256(TRADING),)}, "buy_and_hold": {()}}


def test_indicator_files_are_behind_the_signals_of_every_strategy(time_slices: list[TimeSlice], write: Write) -> None:
    """A strategy receives the values of all indicators, also those that it does not declare."""
    file, indicator = write("mine.py", VIEW), write("spread.py", INDICATOR)
    settings = settings_of(
        [{"name": f"{file}:Mine"}, {"name": "buy_and_hold"}],
        **{"features.indicator_files": json.dumps([str(indicator)]), "features.indicators": '["own_spread"]'},
    )
    found = hashes(run(settings, time_slices))
    assert found == {"mine": {(sha256(VIEW), sha256(INDICATOR))}, "buy_and_hold": {(sha256(INDICATOR),)}}


def test_the_signals_of_the_ensemble_have_the_hashes_of_the_strategies_with_a_view(
    time_slices: list[TimeSlice], write: Write
) -> None:
    one, other = write("mine.py", VIEW), write("late.py", VIEW.replace("mine", "late").replace("sma_5", "sma_30"))
    settings = settings_of(
        [{"name": f"{one}:Mine"}, {"name": f"{other}:Mine"}, {"name": "buy_and_hold"}],
        **{"signals.ensemble": '{"enabled": true}'},
    )
    both = (sha256(one.read_text()), sha256(other.read_text()))
    assert hashes(run(settings, time_slices))["ensemble"] == {both[:1], both} | {()}


def test_the_hash_does_not_depend_on_the_line_ends(time_slices: list[TimeSlice], write: Write) -> None:
    """The recorded configuration contains the text as Python reads it."""
    file = write("mine.py", "")
    file.write_bytes(VIEW.replace("\n", "\r\n").encode())
    settings = settings_of([{"name": f"{file}:Mine"}])
    recorded = next_configuration(None, settings, overrides={}, actor="ann", reason="start", release="1")
    assert hashes(run(settings, time_slices)) == {"mine": {(recorded.source_sha256[str(file)],)}}


def test_a_replay_of_records_without_hashes_equals_the_recording(time_slices: list[TimeSlice], write: Write) -> None:
    """Earlier releases recorded none."""
    settings = settings_of([{"name": f"{write('mine.py', VIEW)}:Mine"}])
    recorded = [
        TimeSlice(time_slice.ts_ns, derived_records(without_hashes(records)))
        for time_slice, records in zip(time_slices, replay(settings, time_slices), strict=True)
    ]
    assert compare(settings, Recording(iter(time_slices), iter(recorded))).difference is None


def without_hashes(records: list[Record]) -> list[Record]:
    return [
        record._replace(source_sha256=[]) if type(record) is Signal or type(record) is StrategyAction else record
        for record in records
    ]
