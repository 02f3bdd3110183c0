"""Every strategy of the platform decides the same in backtest, services and replay, after a crash in any slice."""

from __future__ import annotations

import pytest

from configs.settings import Settings
from dataflows import backtest
from dataflows.sources import trading_calendar
from dataflows.sources.trading_calendar import session_table
from operators.decision_hash import decision_hash
from operators.stage import TimeSlice
from operators.strategies import STRATEGIES
from operators.trading.sessions import SessionTimes
from schemas.records import SUSPENDED, DeadLetter, Record, StrategyAction, StrategySuspension
from tests.replay.runs import check_staged_services, fused_hash, replay, run_restored_in_every_slice
from tests.replay.shipped_strategies import ShippedStrategiesTape, read_time_slices, trade_counts, write_tape


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> ShippedStrategiesTape:
    return write_tape(tmp_path_factory.mktemp("tape"))


@pytest.fixture(scope="module")
def settings(tape: ShippedStrategiesTape) -> Settings:
    return tape.settings()


@pytest.fixture(scope="module")
def time_slices(settings: Settings) -> list[TimeSlice]:
    return read_time_slices(settings)


@pytest.fixture(scope="module")
def replayed(settings: Settings, time_slices: list[TimeSlice]) -> list[list[Record]]:
    """The records of each time slice."""
    return replay(settings, time_slices)


def test_every_shipped_strategy_trades(replayed: list[list[Record]]) -> None:
    """Otherwise the equalities below would prove nothing about it."""
    records = [record for out in replayed for record in out]
    trades = trade_counts(records)
    assert not [name for name in STRATEGIES if not trades.get(name)], trades
    assert not [record for record in records if type(record) is StrategySuspension or type(record) is DeadLetter]
    assert not [record for record in records if type(record) is StrategyAction and record.kind == SUSPENDED]


def test_a_backtest_of_the_files_decides_what_a_replay_decides(
    tape: ShippedStrategiesTape, settings: Settings, time_slices: list[TimeSlice], replayed: list[list[Record]]
) -> None:
    _, summary = backtest.run(settings, tape.bars)
    assert summary["decision_hash"] == decision_hash(record for out in replayed for record in out)
    assert fused_hash(time_slices, settings=settings, shards=2) == summary["decision_hash"]


@pytest.mark.parametrize(("partitions", "crash_rate"), [(1, 0.0), (2, 0.002)])
def test_staged_services_write_the_records_of_the_replay(
    settings: Settings,
    time_slices: list[TimeSlice],
    replayed: list[list[Record]],
    partitions: int,
    crash_rate: float,
) -> None:
    check_staged_services(settings, time_slices, replayed, partitions=partitions, crash_rate=crash_rate)


def test_a_run_restored_after_any_slice_writes_the_same_records(
    settings: Settings, time_slices: list[TimeSlice], replayed: list[list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty years of trading hours would be read at each restart, so these runs have those of a month."""

    def one_month(name: str) -> dict[int, SessionTimes]:
        return {day: times for day, times in session_table(name).items() if day // 100 == 202403}

    monkeypatch.setattr(trading_calendar, "session_table", one_month)
    assert run_restored_in_every_slice(settings, time_slices) == replayed
