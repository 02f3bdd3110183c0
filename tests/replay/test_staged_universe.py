"""A universe that changes and the user's data give the same decisions in services, backtest and replay."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, time
from decimal import Decimal

import pytest

from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from dataflows.sources.session_announcements import SessionAnnouncements
from dataflows.sources.trading_calendar import session_table
from operators.risk.breakers import Breaker
from operators.risk.commands import SET_BREAKER
from operators.stage import TimeSlice
from schemas.records import TRADE, Bar, DataRow, Execution, Record, StrategyAction
from tests import rotating_strategy
from tests.builders import command
from tests.replay.market import FRIDAY, MONDAY, write_market
from tests.replay.runs import (
    check_staged_services,
    pinned_settings,
    read_time_slices,
    replay,
    run_restored_in_every_slice,
)

DAYS = (FRIDAY, MONDAY, date.fromordinal(MONDAY.toordinal() + 1), date.fromordinal(MONDAY.toordinal() + 2))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = pinned_settings().for_backtest()
    universe = tmp_path_factory.mktemp("universe") / "universe.csv"
    universe.write_text(f"symbol,from,to\nA,,{FRIDAY}\nB,{MONDAY},\nE,,\n")
    strategies = (
        StrategyEntry(name=f"{rotating_strategy.__file__}:Rotating"),
        StrategyEntry(name=f"{rotating_strategy.__file__}:Listed", universe=str(universe)),
    )
    risk_manager = replace(settings.risk_manager, breakers=(Breaker(measure="daily_loss", threshold=Decimal(10**9)),))
    signals = settings.signals.model_copy(update={"strategies": strategies})
    return settings.model_copy(update={"signals": signals, "risk_manager": risk_manager})


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    """Four days of twelve minutes at the open, with trading hours and rows of data."""
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C", "D", "E"), days=DAYS, open_time=time(9, 30), minutes=12)
    time_slices = [
        one for one in read_time_slices(files) if any(type(record) is Bar and record.traded for record in one.records)
    ]
    for number, close in ((3, 15.0), (20, 25.0), (31, 18.0)):
        ts_ns, records = time_slices[number]
        row = DataRow(f"data-vix-{number}", ts_ns, "vix", "", {"close": close}, "test")
        # Published one time slice ahead.
        time_slices[number - 1] = TimeSlice(time_slices[number - 1].ts_ns, [row, *time_slices[number - 1].records])
        assert records
    for number, state in ((25, "HALTED"), (28, "ACTIVE")):
        ts_ns, records = time_slices[number]
        arguments = {"measure": "daily_loss", "scope": "PORTFOLIO", "key": "", "state": state}
        change = command(f"breaker-{number}", ts_ns, SET_BREAKER, arguments)
        time_slices[number] = TimeSlice(ts_ns, [*records, change])
    return SessionAnnouncements("XNYS", session_table("XNYS")).add(time_slices, -1)


@pytest.fixture(scope="module")
def replayed(settings: Settings, time_slices: list[TimeSlice]) -> list[list[Record]]:
    """The records of each time slice."""
    return replay(settings, time_slices)


def test_the_universe_changes_and_the_strategy_trades(replayed: list[list[Record]]) -> None:
    """Otherwise the equalities below would prove little."""
    records = [record for out in replayed for record in out]
    kinds = Counter(record.kind for record in records if type(record) is StrategyAction)
    assert min(kinds["UNIVERSE_ADDED"], kinds["UNIVERSE_REMOVED"]) >= 2, kinds
    listed = [
        (record.kind, record.symbol)
        for record in records
        if type(record) is StrategyAction and record.strategy == "listed" and record.kind.startswith("UNIVERSE_")
    ]
    assert listed == [
        ("UNIVERSE_ADDED", "A"),
        ("UNIVERSE_ADDED", "E"),
        ("UNIVERSE_REMOVED", "A"),
        ("UNIVERSE_ADDED", "B"),
    ]
    assert "SUSPENDED" not in kinds, kinds
    assert any(
        record.cause_ids == ["data-vix-20"] and record.arguments == {"weight": "0.01"}
        for record in records
        if type(record) is StrategyAction
    )
    notes = [record.arguments["text"] for record in records if type(record) is StrategyAction and record.kind == "NOTE"]
    assert notes == ["DAILY_LOSS HALTED", "DAILY_LOSS ACTIVE"]
    assert any(type(record) is Execution and record.exec_type == TRADE for record in records)


@pytest.mark.parametrize(("partitions", "crash_rate"), [(1, 0.0), (3, 0.02)])
def test_staged_services_write_the_records_of_the_replay(
    settings: Settings,
    time_slices: list[TimeSlice],
    replayed: list[list[Record]],
    partitions: int,
    crash_rate: float,
) -> None:
    check_staged_services(settings, time_slices, replayed, partitions=partitions, crash_rate=crash_rate)


def test_a_run_restored_after_any_slice_writes_the_same_records(
    settings: Settings, time_slices: list[TimeSlice], replayed: list[list[Record]]
) -> None:
    assert run_restored_in_every_slice(settings, time_slices) == replayed
