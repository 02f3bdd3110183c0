"""FB becomes META; later another company trades as FB. Nothing of the old share stays under the name FB.

Ten shares at 300 are held over the change. The strategy begins without state for the other company and buys ten of its
shares at 10.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from operators.features import FeatureStage
from schemas.records import Attribution, Bar, CorporateAction, FeatureRow, Lot, Position
from tests.unit.action_backtest import CAPITAL, ActionBacktest, hourly, run_actions

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
