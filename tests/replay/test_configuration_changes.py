"""A session with changes of the configuration: staged services, crashes, restarts and replays decide the same."""

from __future__ import annotations

import pickle
from datetime import time
from decimal import Decimal
from typing import Any

import pytest

from configs.configuration_changes import with_overrides
from configs.settings import Settings
from dataflows.replay.comparison import compare, configured_pipeline
from dataflows.replay.differences import derived_records
from dataflows.replay.recording import Recording
from dataflows.runtime.configured_stage import StageFactory, read_state
from operators.stage import TimeSlice
from schemas.records import Configuration, Order, OrderRefusal, Record, Signal, StrategyAction
from tests.builders import configuration
from tests.replay.in_memory_platform import InMemoryPlatform
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import by_topic, logged_by_topic, pinned_settings, read_time_slices, replay

CHANGES: list[dict[str, str]] = [
    {"risk_manager.max_order_notional": "1000"},
    {"portfolio_manager.sizing.fraction": '"0.01"'},
    {"signals.strategies": '[{"name": "ema_cross"}, {"name": "grid", "capital": "0.5"}]'},
    {
        "signals.strategies": '[{"name": "grid", "parameters": {"weight": 0.3}}, {"name": "buy_and_hold"}]',
        "portfolio_manager.sizing.fraction": '"0.04"',
    },
    {"signals.strategies": '[{"name": "ema_cross"}, {"name": "buy_and_hold", "capital": "0.1"}]'},
    {"execution.venue.slippage_bps": '"4"', "features.indicators": '["sma_7", "rsi_14"]'},
]
EVERY = 6


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    """Time slices of two and a half hours with twenty changes of the configuration, one of them twice."""
    files = write_market(
        tmp_path_factory.mktemp("market"), symbols=("A", "B", "C"), days=[MONDAY], open_time=time(9), minutes=150
    )
    out = []
    for index, time_slice in enumerate(read_time_slices(files)):
        number = index // EVERY
        records: list[Record] = list(time_slice.records)
        if index % EVERY == 0 and 0 < number <= 20:
            changed = with_overrides(pinned_settings(), CHANGES[number % len(CHANGES)])
            records[:0] = [configuration(number, changed)] * (1 + (number == 7))
        out.append(TimeSlice(time_slice.ts_ns, records))
    return out


def outputs_of(settings: Settings, time_slices: list[TimeSlice]) -> list[TimeSlice]:
    pipeline = configured_pipeline(settings)
    return [TimeSlice(ts_ns, derived_records(pipeline.on_slice(ts_ns, records))) for ts_ns, records in time_slices]


@pytest.fixture(scope="module")
def outputs(time_slices: list[TimeSlice]) -> list[TimeSlice]:
    return outputs_of(pinned_settings(), time_slices)


def test_a_replay_with_other_settings_equals_the_recording(
    time_slices: list[TimeSlice], outputs: list[TimeSlice]
) -> None:
    """The settings file of the replay counts only before the first configuration."""
    result = compare(pinned_settings(), Recording(iter(time_slices), iter(outputs)))
    assert result.difference is None and result.given["Configuration"] == 21
    later = with_overrides(pinned_settings(), {"risk_manager.max_order_notional": "1"})
    first_ns = next(one.ts_ns for one in time_slices if type(one.records[0]) is Configuration)
    before = sum(type(r) is Order for one in outputs for r in one.records if one.ts_ns < first_ns)
    other = compare(later, Recording(iter(time_slices), iter(outputs)))
    assert (other.difference is None) == (before == 0)


def test_the_changes_change_the_decisions(time_slices: list[TimeSlice], outputs: list[TimeSlice]) -> None:
    """Otherwise the equalities of this file would prove nothing."""
    unchanged = replay(pinned_settings(), time_slices)
    records = [record for time_slice in outputs for record in time_slice.records]
    assert by_topic(records)["orders"] != by_topic(derived_records([r for one in unchanged for r in one]))["orders"]
    assert {record.strategy for record in records if type(record) is Signal} == {"ema_cross", "buy_and_hold"}
    assert {record.strategy for record in records if type(record) is StrategyAction} == {"grid"}
    refused = {record.check for record in records if type(record) is OrderRefusal}
    assert "max_order_notional" in refused


@pytest.mark.parametrize(("partitions", "crash_rate"), [(1, 0.0), (1, 0.004)])
def test_staged_services_write_the_records_of_the_replay(
    time_slices: list[TimeSlice], outputs: list[TimeSlice], partitions: int, crash_rate: float
) -> None:
    platform = InMemoryPlatform(
        pinned_settings(), time_slices, partitions=partitions, seed=partitions, crash_rate=crash_rate
    )
    logs = platform.run()
    expected = by_topic([record for time_slice in outputs for record in time_slice.records])
    assert logged_by_topic(logs) == expected
    assert bool(platform.crash_count) == bool(crash_rate)
    states = [read_state(shard.logic.stage.snapshot()) for shard in platform.shards]
    assert {state.configuration and state.configuration.configuration_id for state in states} == {"config-20"}


def test_a_restart_continues_with_the_configuration_in_force(
    time_slices: list[TimeSlice], outputs: list[TimeSlice]
) -> None:
    """The settings file of the restarted process is another one."""
    other = with_overrides(pinned_settings(), {"risk_manager.max_order_notional": "1"})
    pipeline: Any = configured_pipeline(pinned_settings())
    for index, (ts_ns, records) in enumerate(time_slices):
        assert derived_records(pipeline.on_slice(ts_ns, records)) == outputs[index].records
        if index >= EVERY and index % 7 == 0:
            snapshot = pickle.dumps(pipeline.snapshot())
            pipeline = configured_pipeline(other)
            pipeline.restore(pickle.loads(snapshot))  # noqa: S301  (written above)


def test_an_invalid_configuration_and_a_repeated_number_change_nothing(time_slices: list[TimeSlice]) -> None:
    made: list[Settings] = []
    received: list[str] = []

    class Recorder:
        def on_slice(self, ts_ns: int, records: Any) -> list[Record]:
            received.extend(record.configuration_id for record in records)
            return []

        def snapshot(self) -> Any:
            return (1,)

        def restore(self, snapshot: Any) -> None: ...

    def make(settings: Settings) -> Any:
        made.append(settings)
        return Recorder

    applied: list[tuple[str, int]] = []
    first = with_overrides(pinned_settings(), {"risk_manager.max_order_notional": "1"})
    second = with_overrides(pinned_settings(), {"risk_manager.max_order_notional": "2"})
    stage = StageFactory(
        make, pinned_settings(), on_applied=lambda one, ts_ns, _: applied.append((one.configuration_id, ts_ns))
    )()
    stage.on_slice(1, [])
    stage.on_slice(2, [configuration(2, first)])
    stage.on_slice(3, [configuration(2, second), configuration(1, second)])
    stage.on_slice(4, [configuration(3, text='{"risk_manager": {"max_order_notional": "much"}}')])
    stage.on_slice(5, [configuration(4, text="no JSON"), configuration(5, first)])
    assert applied == [("config-2", 2), ("config-5", 5)] and received == ["config-2", "config-5"]
    assert [one.risk_manager.max_order_notional for one in made[1:]] == [Decimal(1)], "equal settings keep the stage"


def test_keys_of_another_release_are_ignored() -> None:
    text = '{"risk_manager":{"max_order_notional":"7","max_moonshots":3},"removed_section":{}}'
    stage = StageFactory(lambda settings: lambda: seen.append(settings) or _Nothing(), pinned_settings())  # type: ignore[func-returns-value]
    seen: list[Settings] = []
    stage().on_slice(1, [configuration(1, text=text)])
    assert seen[0].risk_manager.max_order_notional == 7


class _Nothing:
    def on_slice(self, ts_ns: int, records: Any) -> list[Record]:
        return []

    def snapshot(self) -> Any:
        return (1,)

    def restore(self, snapshot: Any) -> None: ...
