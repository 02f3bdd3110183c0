"""Trading strategies act the same in the staged services, the fused backtest and a replay, after any crash."""

from __future__ import annotations

from collections import Counter
from datetime import time
from decimal import Decimal

import pytest

from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from dataflows.sources.session_announcements import SessionAnnouncements
from dataflows.sources.trading_calendar import session_table
from operators.manual_orders import trading_strategy_of
from operators.stage import TimeSlice
from operators.strategy_limits import StrategyLimits
from schemas.records import (
    AMEND_ORDER,
    CANCEL_ORDER,
    NOTE,
    SUBMIT_ORDER,
    SUSPENDED,
    TARGET_QUANTITY,
    TARGET_VIEW,
    TARGET_WEIGHT,
    TOPIC_OF,
    TRADE,
    Execution,
    OrderRefusal,
    Record,
    StrategyAction,
)
from tests import every_action
from tests.replay.market import MONDAY, write_market
from tests.replay.record import with_commands
from tests.replay.runs import (
    check_staged_services,
    fused_hash,
    pinned_settings,
    read_time_slices,
    replay,
    run_restored_in_every_slice,
)

NAMES = ("every_action", "second")


def settings_with_strategies() -> Settings:
    """Three trading strategies beside the view strategy of the pinned settings, on bars of a minute.

    The last one exceeds its limits: risk rejects orders, and its loss stop suspends it.
    """
    settings = pinned_settings().for_backtest()
    file = f"{every_action.__file__}:EveryAction"
    limits = StrategyLimits(max_orders_per_day=Decimal(2), max_daily_loss=Decimal(30))
    entries = (
        StrategyEntry(name=file),
        StrategyEntry(name=file, parameters={"name": "second", "offset": 4}, capital=Decimal("0.5")),
        StrategyEntry(name=file, parameters={"name": "limited", "offset": 4}, limits=limits),
    )
    strategies = (*settings.signals.strategies, *entries)
    return settings.model_copy(update={"signals": settings.signals.model_copy(update={"strategies": strategies})})


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_with_strategies()


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    """An hour of the regular session, with a use and a release of the kill switch, and announced trading hours."""
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C", "D", "E"), days=[MONDAY], open_time=time(9, 30), minutes=60)
    time_slices = with_commands(read_time_slices(files))
    return SessionAnnouncements("XNYS", session_table("XNYS")).add(time_slices, -1)


@pytest.fixture(scope="module")
def replayed(settings: Settings, time_slices: list[TimeSlice]) -> list[list[Record]]:
    """The records of each time slice."""
    return replay(settings, time_slices)


def test_the_strategies_use_every_kind_of_action_and_trade(replayed: list[list[Record]]) -> None:
    """Otherwise the equalities below would prove little."""
    records = [record for out in replayed for record in out]
    kinds = Counter(record.kind for record in records if type(record) is StrategyAction)
    expected = {SUBMIT_ORDER, AMEND_ORDER, CANCEL_ORDER, TARGET_QUANTITY, TARGET_WEIGHT, TARGET_VIEW, NOTE, SUSPENDED}
    assert set(kinds) == expected, kinds
    owners = Counter(
        trading_strategy_of(record.order_id)
        for record in records
        if type(record) is Execution and record.exec_type == TRADE
    )
    assert set(owners) >= {*NAMES, None}, "orders of both strategies and of the portfolio are filled"
    refused = [record.cause_id for record in records if type(record) is OrderRefusal]
    assert any(cause.startswith("act-") for cause in refused)
    assert "strategy_max_orders_per_day" in {record.check for record in records if type(record) is OrderRefusal}


@pytest.mark.parametrize(("partitions", "crash_rate"), [(1, 0.0), (3, 0.01)])
def test_staged_services_write_the_records_of_the_replay(
    settings: Settings,
    time_slices: list[TimeSlice],
    replayed: list[list[Record]],
    partitions: int,
    crash_rate: float,
) -> None:
    check_staged_services(settings, time_slices, replayed, partitions=partitions, crash_rate=crash_rate)


def test_the_number_of_shards_changes_nothing(settings: Settings, time_slices: list[TimeSlice]) -> None:
    assert fused_hash(time_slices, settings=settings, shards=3) == fused_hash(time_slices, settings=settings)


def test_a_run_restored_after_any_slice_writes_the_same_records(
    settings: Settings, time_slices: list[TimeSlice], replayed: list[list[Record]]
) -> None:
    """The run is restored in every slice, so that each state is read back by a stage that has seen nothing else."""
    assert run_restored_in_every_slice(settings, time_slices) == replayed


def test_without_trading_strategies_no_action_is_written(time_slices: list[TimeSlice]) -> None:
    records = [record for output in replay(pinned_settings(), time_slices) for record in output]
    assert not [record for record in records if TOPIC_OF[type(record)] == "strategy-actions"]
