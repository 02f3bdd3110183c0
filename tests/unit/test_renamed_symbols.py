"""FB becomes META; later another company trades as FB. Nothing of the old share stays under the name FB.

Ten shares at 300 are held over the change. The strategy begins without state for the other company and buys ten of its
shares at 10.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from operators.features import FeatureStage
from operators.time_text import iso
from schemas.records import Attribution, Bar, CorporateAction, FeatureRow, HistoryBar, Lot, Position
from tests.unit.action_backtest import CAPITAL, ActionBacktest, hourly, open_actions_feed, run_actions

CHANGE = {"kind": "SYMBOL_CHANGE", "symbol": "FB", "new_symbol": "META", "ex_date": "2024-06-04"}


def run_rename(folder: Path, **strategy: Any) -> ActionBacktest:
    bars = [
        *hourly("FB", [300.0] * 24),
        *hourly("META", [300.0] * 48, first_hour=24),
        *hourly("FB", [10.0] * 24, first_hour=48),
    ]
    settings = {"feedback": {"attribution_interval_s": 3600}}
    return run_actions(folder, bars, [CHANGE], quantity=10, strategy=strategy, settings=settings)


def latest(run: ActionBacktest, kind: type, key: str) -> dict[str, Any]:
    """The rows of a table that holds the last record of each key."""
    return {getattr(record, key): record for record in run.of_type(kind)}


def test_no_table_has_a_position_under_the_old_name(tmp_path: Path) -> None:
    run = run_rename(tmp_path)
    positions: dict[str, Position] = latest(run, Position, "symbol")
    held = {symbol: (int(one.quantity), int(one.cost_basis)) for symbol, one in positions.items()}
    assert held == {"FB": (10, 100), "META": (10, 3000)}
    assert positions["FB"].realized_pnl == 0
    renamed = [one for one in run.of_type(Position) if one.symbol == "FB"][1]
    assert (renamed.quantity, renamed.cost_basis) == (0, 0), "the position under FB ends with the change"
    lots: list[Lot] = [lot for lot in latest(run, Lot, "lot_id").values() if lot.quantity]
    assert [(lot.symbol, int(lot.price)) for lot in lots] == [("META", 300), ("FB", 10)]
    assert {valuation.equity for valuation in run.valuations} == {CAPITAL}
    rows: list[Attribution] = run.of_type(Attribution)
    assert {row.strategy for row in rows if row.trades} == {"scheduled"}
    assert not any(row.realized_pnl or row.unrealized_pnl or row.cash_flows for row in rows)


@pytest.mark.parametrize("ensemble", [False, True])
def test_a_strategy_exits_a_renamed_share_after_its_number_of_bars(tmp_path: Path, ensemble: bool) -> None:
    """It leaves after 40 bars of the share: 24 of FB and 16 of META. It declares no indicator."""
    bars = [*hourly("FB", [300.0] * 24), *hourly("META", [300.0] * 48, first_hour=24)]
    settings = {"signals": {"ensemble": {"enabled": ensemble}}}
    run = run_actions(tmp_path, bars, [CHANGE], quantity=10, strategy={"leave": 40}, settings=settings)
    fills = [(one.symbol, one.side, one.quantity, iso(one.filled_at_ns)) for one in run.fills]
    assert fills == [
        ("FB", "BUY", Decimal(10), "2024-06-03T01:00:00Z"),
        ("META", "SELL", Decimal(10), "2024-06-04T16:00:00Z"),
    ]


def test_the_old_name_has_no_bars_until_another_company_trades_under_it(tmp_path: Path) -> None:
    run = run_rename(tmp_path)
    bars: list[Bar] = [bar for bar in run.of_type(Bar) if bar.symbol == "FB"]
    assert [bar.close for bar in bars] == [300.0] * 24 + [10.0] * 24
    assert [bar.seq for bar in bars] == list(range(1, 49))


def test_indicators_of_a_reused_name_begin_afresh(tmp_path: Path) -> None:
    run, stage = run_rename(tmp_path), FeatureStage(["sma_20"])
    rows: list[FeatureRow] = []
    for time_slice in run.slices:
        market = [record for record in time_slice.records if type(record) in (Bar, CorporateAction)]
        rows += [row for row in stage.on_slice(time_slice.ts_ns, market) if type(row) is FeatureRow]
    means = [row.values.get("sma_20") for row in rows if row.symbol == "FB"]
    assert means == [None] * 19 + [300.0] * 5 + [None] * 19 + [10.0] * 5
    assert [row.seq for row in rows if row.symbol == "FB"] == list(range(1, 49))


def test_a_renamed_symbol_has_the_history_of_its_old_name(tmp_path: Path) -> None:
    """The indicators of META are warm at its first bar, also after a restart of the feed. Nothing is given twice."""
    bars = [*hourly("FB", [300.0 + hour % 7 for hour in range(24)]), *hourly("META", [310.0] * 24, first_hour=24)]
    feed = open_actions_feed(tmp_path, bars, [CHANGE], history_bars=20)
    time_slices = feed.take(1000)
    history = [record for t in time_slices for record in t.records if type(record) is HistoryBar]
    assert [(one.symbol, one.close) for one in history] == [("META", 300.0 + hour % 7) for hour in range(4, 24)]
    stage = FeatureStage(["sma_20"])
    rows = [row for t in time_slices for row in stage.on_slice(t.ts_ns, t.records) if type(row) is FeatureRow]
    first = next(row for row in rows if row.symbol == "META")
    last_of_old = [row for row in rows if row.symbol == "FB"][-1]
    expected = last_of_old.values["sma_20"] + (310.0 - (300.0 + 4 % 7)) / 20
    assert abs(first.values["sma_20"] - expected) < 1e-9
    for stop in range(20, 30):
        stopped = open_actions_feed(tmp_path, bars, [CHANGE], history_bars=20)
        resumed = open_actions_feed(tmp_path, bars, [CHANGE], history_bars=20)
        stopped.take(stop)
        assert resumed.resume(stopped.state()).take(1000) == time_slices[stop:]
