"""Quotes, headlines, scores, filings and halts lead to the same decisions in services, backtest and replay."""

from __future__ import annotations

from collections import Counter
from datetime import time
from itertools import count

import pytest

from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from operators.stage import TimeSlice
from schemas.records import HALTED, TRADE, TRADING, Execution, OrderRefusal, Record, StrategyAction, SymbolState
from tests import informed_strategy
from tests.builders import fundamentals, news_item, quote, trading_status
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import (
    check_staged_services,
    pinned_settings,
    read_time_slices,
    replay,
    run_restored_in_every_slice,
)

SYMBOLS = ("A", "B", "C")
HALT_SLICE, RESUME_SLICE = 8, 20


@pytest.fixture(scope="module")
def settings() -> Settings:
    settings = pinned_settings().for_backtest()
    strategies = (StrategyEntry(name=f"{informed_strategy.__file__}:Informed"),)
    return settings.model_copy(update={"signals": settings.signals.model_copy(update={"strategies": strategies})})


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    """Thirty minutes with quotes inside each minute, duplicate headlines, filings, and a halt of one symbol."""
    files = write_market(
        tmp_path_factory.mktemp("market"), symbols=SYMBOLS, days=[MONDAY], open_time=time(9, 30), minutes=30
    )
    time_slices: list[TimeSlice] = []
    for number, (ts_ns, bars) in zip(count(), read_time_slices(files), strict=False):
        symbol = SYMBOLS[number % 3]
        records: list[Record] = [
            quote(one, number + 1, ts_ns - offset * 10**9, 5 + number / 100, 500 - number / 100)
            for offset, one in ((40, "A"), (20, "B"), (0, "C"))
        ]
        if number % 2:
            text = "strong growth beats" if number % 4 == 1 else "terrible loss, weak"
            headline = news_item(f"news-{number}", ts_ns, (symbol,), headline=text)
            records += [headline, headline]
        if number % 7 == 3:
            records.append(fundamentals(f"fund-{number}", ts_ns, symbol))
        if number in (HALT_SLICE, RESUME_SLICE):
            state: SymbolState = HALTED if number == HALT_SLICE else TRADING
            halt = trading_status("A", state, ts_ns - 30 * 10**9)
            records += [halt, halt]
        time_slices.append(TimeSlice(ts_ns, [*records, *bars]))
    return time_slices


@pytest.fixture(scope="module")
def replayed(settings: Settings, time_slices: list[TimeSlice]) -> list[list[Record]]:
    """The records of each time slice."""
    return replay(settings, time_slices)


def test_the_strategy_trades_on_each_kind_of_event(replayed: list[list[Record]]) -> None:
    """Otherwise the equalities below would prove little."""
    records = [record for out in replayed for record in out]
    actions = [record for record in records if type(record) is StrategyAction]
    kinds = Counter(record.kind for record in actions)
    assert "SUSPENDED" not in kinds, actions
    assert kinds["NOTE"] == 15 + 2 and kinds["TARGET_WEIGHT"] == 4 and kinds["SUBMIT_ORDER"] >= 8, kinds
    assert {cause.partition("-")[0] for one in actions for cause in one.cause_ids} == {"news", "sent", "fund", "status"}
    refusals = [record for record in records if type(record) is OrderRefusal and record.check == "exchange_halt"]
    assert refusals and {record.symbol for record in refusals} == {"A"}
    assert any(type(record) is Execution and record.exec_type == TRADE for record in records)
    last_note = next(one for one in reversed(actions) if one.kind == "NOTE")
    # One symbol has its first bar late: before it, the symbol is not in the universe.
    assert last_note.arguments["text"] == "news-29 after 85 quotes"


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
