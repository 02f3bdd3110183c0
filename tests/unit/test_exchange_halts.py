"""A halt of the exchange: no fill in it, no new order, and strategies, feeds and files that report it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflows.sources.tape import Tape, TapeFiles
from operators.bar_completion import FeedSettings
from operators.exchange_halts import EXCHANGE_HALT, ExchangeHalts
from operators.reference_data import ReferenceData
from operators.risk import RiskSettings, RiskStage
from operators.strategies import TradingStrategy
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    ACTIVE,
    HALTED,
    SYMBOL,
    TRADE,
    TRADING,
    Execution,
    Order,
    OrderRefusal,
    Record,
    RiskEvent,
    TradingStatus,
)
from tests.builders import corporate_action, order, proposal, quote, trading_status
from tests.builders.market import MINUTE_NS
from tests.unit.trading_harness import bars, feed, minute, notes, stage_of
from tests.unit.venue_runs import FREE, NO_FEE, minute_bar, run, run_slices

SECOND_NS = 10**9


def status(state: Any, seconds: float, symbol: str = "AAPL") -> TradingStatus:
    return trading_status(symbol, state, round(seconds * SECOND_NS))


def fills(executions: list[Execution]) -> list[int]:
    """Return the minute of each fill."""
    return [one.ts_ns // MINUTE_NS for one in executions if one.exec_type == TRADE]


@pytest.mark.parametrize("restart", [False, True])
def test_no_order_fills_in_bars_that_open_in_a_halt(restart: bool) -> None:
    """Halted 30 s into the first minute and resumed 30 s into the third one: the bars 2 and 3 open in the halt."""
    slices: list[list[Record]] = [
        [order(1), status(HALTED, 30), minute_bar(1)],  # the bar opened before the halt
        [order(2), minute_bar(2)],
        [status(TRADING, 150), minute_bar(3)],
        [minute_bar(4)],
    ]
    assert fills(run(FREE, *slices, restart=restart)) == [1, 4]


def test_a_second_halt_in_the_time_slice_of_the_end_of_the_first_is_a_halt() -> None:
    found = run_slices(
        VenueStage(FREE),
        [order(1), status(HALTED, 0)],
        [status(TRADING, 100), status(HALTED, 110), minute_bar(2)],
        [minute_bar(3)],
    )
    assert fills(found) == []


def test_other_symbols_trade_on() -> None:
    found = run_slices(VenueStage(FREE), [order(1), status(HALTED, 0, "MSFT"), minute_bar(1)])
    assert fills(found) == [1]


def test_no_order_fills_from_a_quote_in_a_halt() -> None:
    slices: list[list[Record]] = [
        [order(1), quote("AAPL", 1, 40 * SECOND_NS, 99, 101), status(HALTED, 30)],
        [status(TRADING, 90), quote("AAPL", 2, 100 * SECOND_NS, 99, 101)],
    ]
    assert fills(run(VenueSettings(fills_from="quotes", **NO_FEE), *slices)) == [2]


def test_risk_rejects_orders_in_a_halt_and_reports_it() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    prices = [minute_bar(1), minute_bar(1)._replace(symbol="MSFT")]
    event, refused, other = stage.on_slice(
        MINUTE_NS, [status(HALTED, 50), *prices, proposal(), proposal(symbol="MSFT", seq=2)]
    )
    assert event == RiskEvent(
        seq=1,
        ts_ns=MINUTE_NS,
        breaker=EXCHANGE_HALT,
        scope=SYMBOL,
        scope_key="AAPL",
        state=HALTED,
        found="T1",
        limit="",
        actor="test",
        reason="news pending",
        cause_id=status(HALTED, 50).status_id,
    )
    assert isinstance(refused, OrderRefusal) and refused.check == EXCHANGE_HALT
    assert refused.message == "exchange_halt: the exchange has halted trading in AAPL: news pending (T1)"
    assert isinstance(other, Order) and EXCHANGE_HALT not in [one.check for one in other.checks]

    restored = RiskStage(RiskSettings.unlimited())
    restored.restore(stage.snapshot())
    assert restored.on_slice(2 * MINUTE_NS, [status(HALTED, 50)]) == []  # a repeat
    resumed, accepted = restored.on_slice(3 * MINUTE_NS, [status(TRADING, 170), proposal(seq=3)])
    assert isinstance(resumed, RiskEvent) and (resumed.seq, resumed.state) == (2, ACTIVE)
    assert isinstance(accepted, Order)


class Watching(TradingStrategy):
    symbols = ("KO",)

    def on_event(self, ctx: Any, event: Any) -> None:
        ctx.note(f"{event.kind} {event.symbol} {event.code} halted {ctx.is_halted(event.symbol)}")

    def on_slice(self, ctx: Any) -> None:
        ctx.note(f"halted {ctx.is_halted('KO')}")


@pytest.mark.parametrize("crash", [False, True])
def test_a_strategy_receives_the_halts_of_its_universe(crash: bool) -> None:
    halt, end = trading_status("KO", HALTED, minute(1)), trading_status("KO", TRADING, minute(2))
    stage = stage_of(Watching())
    actions = feed(stage, [[halt, trading_status("PEP", HALTED, minute(1)), *bars(1, "KO")]])
    assert notes(actions) == ["TRADING_HALT KO T1 halted True", "halted True"]
    assert actions[0].cause_ids == [halt.status_id]
    if crash:
        restored = stage_of(Watching())
        restored.restore(stage.snapshot())
        stage = restored
    assert notes(feed(stage, [[halt, *bars(2, "KO")], [end, *bars(3, "KO")]], 2)) == [
        "halted True",
        "TRADING_RESUMED KO T1 halted False",
        "halted False",
    ]


def test_the_event_of_risk_about_a_halt_is_not_a_second_event() -> None:
    risk = RiskStage(RiskSettings.unlimited())
    (event,) = risk.on_slice(minute(1), [trading_status("KO", HALTED, minute(1))])
    assert notes(feed(stage_of(Watching()), [[event, *bars(1, "KO")]])) == ["halted False"]


def test_late_and_repeated_records_change_nothing() -> None:
    halts = ExchangeHalts()
    assert halts.apply(status(TRADING, 5)) is False
    assert halts.apply(status(HALTED, 10)) is True
    assert halts.apply(status(HALTED, 20)) is False
    assert halts.apply(status(TRADING, 9)) is False
    assert halts.apply(status(TRADING, 30)) is True
    assert halts.apply(status(HALTED, 29)) is False
    seconds = [second for second in range(40) if halts.contains("AAPL", second * SECOND_NS)]
    assert (seconds[0], seconds[-1], len(seconds)) == (10, 29, 20)
    assert halts.current("AAPL") is None


def test_two_halts_on_different_days_are_not_one() -> None:
    """A daily bar between them, or that opened before the second one, is not in a halt."""
    halts, day = ExchangeHalts(), 24 * 3600
    for state, second in ((HALTED, 10), (TRADING, 20), (HALTED, 4 * day), (TRADING, 4 * day + 60)):
        assert halts.apply(status(state, second)) is True
    assert not halts.contains("AAPL", 2 * day * SECOND_NS) and not halts.contains("AAPL", (4 * day - 1) * SECOND_NS)
    assert halts.contains("AAPL", (4 * day + 59) * SECOND_NS)


def test_the_old_halt_of_a_renamed_symbol_does_not_end_the_halt_of_its_new_name() -> None:
    halts = ExchangeHalts()
    for one in (status(HALTED, 1), status(TRADING, 9), status(HALTED, 5, "APPL")):
        assert halts.apply(one) is True
    halts.rename("AAPL", "APPL")
    assert halts.current("APPL") is not None


def test_a_renamed_symbol_stays_halted_and_a_delisted_one_is_forgotten() -> None:
    reference = ReferenceData()
    rename = corporate_action("a-1", "SYMBOL_CHANGE", "AAPL", new_symbol="APPL")
    reference.pop_due([status(HALTED, 1), status(HALTED, 1, "GONE"), rename])
    assert reference.halts.current("AAPL") is None and reference.halts.current("APPL") is not None
    reference.pop_due([corporate_action("a-2", "DELISTING", "GONE")])
    assert reference.halts.current("GONE") is None


def test_a_snapshot_of_an_earlier_release_has_no_halts() -> None:
    reference = ReferenceData()
    reference.pop_due([status(HALTED, 1)])
    version, *parts, halts, _ended = reference.snapshot()
    assert version == 3
    first, second = ReferenceData(), ReferenceData()
    first.restore((1, *parts))
    assert not first.halts
    second.restore((2, *parts, halts))
    assert second.halts and not second.ended


def read(folder: Path, *rows: str, **settings: Any) -> list[Record]:
    (folder / "reference.csv").write_text("\n".join(("time,kind,symbol,code,reason", *rows)) + "\n")
    tape = Tape(TapeFiles(reference_data=[folder / "reference.csv"]), FeedSettings(**settings))
    records, dead_letters = tape.pop_until(minute(10), minute(9), minute(8))
    return [*records, *dead_letters]


def test_a_file_of_reference_data_contains_halts(tmp_path: Path) -> None:
    halt, end = read(
        tmp_path,
        "2024-01-02T14:31:00Z,TRADING_HALT,KO,LUDP,Volatility pause",
        "2024-01-02T14:36:00Z,TRADING_RESUMED,KO,,",
    )
    assert isinstance(halt, TradingStatus) and isinstance(end, TradingStatus)
    assert (halt.ts_ns, halt.symbol, halt.state) == (minute(1), "KO", HALTED)
    assert (halt.code, halt.reason, halt.source) == ("LUDP", "Volatility pause", "file:reference.csv")
    assert (end.ts_ns, end.state, end.code) == (minute(6), TRADING, "")
    assert halt.status_id != end.status_id


def test_a_halt_of_a_file_needs_a_time(tmp_path: Path) -> None:
    good = "2024-01-02T14:31:00Z,TRADING_HALT,KO,,"
    *_, letter = read(tmp_path, good, ",TRADING_HALT,KO,,")
    assert getattr(letter, "reason", "").startswith("field time must be an ISO time")
