"""A split of a symbol that trades in regular hours only, in a feed with extended hours.

From 04:00 to 09:30 on the ex-date, the feed's bars repeat the close of the day before. Nothing else than the number of
shares and the prices per share may differ from a run without the split.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from operators.features import FeatureStage
from schemas.records import Bar, CorporateAction, FeatureRow, Order, RiskEvent, RiskFence
from tests.unit.action_backtest import ActionBacktest, BarRow, run_actions

RATIO = 4
DAYS = (datetime(2024, 6, 3, 13, 30, tzinfo=UTC), datetime(2024, 6, 4, 13, 30, tzinfo=UTC))
EX_NS = int(DAYS[1].timestamp()) * 10**9
SPECS = ["rsi_14", "atr_14", "bollinger_20_2", "sma_20", "obv"]
MINUTES = 390


def price(day: int, minute: int) -> float:
    """A wave around 400, in steps that a division by 4 leaves exact."""
    return 400.0 + 4 * round(5 * math.sin((day * MINUTES + minute) / 17))


def run_split(folder: Path, ratio: int, **options: Any) -> ActionBacktest:
    """Run two days, with a split before the second one, or without one for the ratio 1."""
    folder.mkdir()
    bars = [
        BarRow(start + timedelta(minutes=minute), "X", price(day, minute) / (ratio if day else 1))
        for day, start in enumerate(DAYS)
        for minute in range(MINUTES)
    ]
    action = {"kind": "SPLIT", "symbol": "X", "ratio": f"{ratio}:1", "ex_date": "2024-06-04"}
    limits = {"max_order_notional": "unlimited", "max_position": "unlimited", "max_position_size": "unlimited"}
    settings: dict[str, dict[str, Any]] = {
        "market_data": {"files": {"calendar": "XNYS", "session": "extended", "bar_interval_s": 60}},
        "features": {"indicators": SPECS},
        "risk_manager": {**limits, "max_portfolio_leverage": "unlimited", "circuit_breaker_threshold": 0.05},
    }
    settings["risk_manager"]["max_daily_loss"] = 50_000
    return run_actions(
        folder, bars, [action] if ratio > 1 else [], quantity=1000, bar_interval_s=60, settings=settings, **options
    )


@pytest.mark.parametrize("direction", [1, -1])
def test_equity_is_that_of_a_run_without_the_split(tmp_path: Path, direction: int) -> None:
    strategy = {"direction": direction, "enter": 100, "leave": 1100}
    split = run_split(tmp_path / "split", RATIO, strategy=strategy)
    without = run_split(tmp_path / "without", 1, strategy=strategy)
    pairs = zip(split.valuations, without.valuations, strict=True)
    assert [(a.ts_ns, a.equity, a.cash) for a, _ in pairs] == [(b.ts_ns, b.equity, b.cash) for b in without.valuations]
    assert not split.of_type(RiskFence) + split.of_type(RiskEvent)
    assert [order.terms.quantity for order in split.of_type(Order)] == [1000, 1000 * RATIO]


def test_indicators_continue_through_the_night(tmp_path: Path) -> None:
    rows, expected_rows = (_feature_rows(run_split(tmp_path / str(ratio), ratio)) for ratio in (RATIO, 1))
    assert len(rows) == len(expected_rows)
    first_of_ex_date = next(index for index, row in enumerate(rows) if row.ts_ns > EX_NS - 6 * 3600 * 10**9)
    for row, expected in list(zip(rows, expected_rows, strict=True))[first_of_ex_date:]:
        assert row.close == expected.close / RATIO
        values = {**expected.values}
        for name in values:
            if not name.startswith(("rsi", "obv")):
                values[name] /= RATIO
        assert row.values.keys() == values.keys()
        comparable = {name: value for name, value in row.values.items() if name != "obv"}
        assert comparable == pytest.approx({name: values[name] for name in comparable}, rel=1e-9, abs=1e-9)


def _feature_rows(run: ActionBacktest) -> list[FeatureRow]:
    stage = FeatureStage(SPECS)
    return [
        row
        for time_slice in run.slices
        for row in stage.on_slice(
            time_slice.ts_ns, [r for r in time_slice.records if type(r) in (Bar, CorporateAction)]
        )
        if type(row) is FeatureRow
    ]


def test_a_live_feed_that_repeats_the_old_close_changes_nothing(tmp_path: Path) -> None:
    """A live feed does not know of the split: its bars without a trade have the old close until the first trade."""
    run = run_split(tmp_path / "split", RATIO)
    old_close = price(0, MINUTES - 1)
    slices = [
        one._replace(records=[_repeat(record, old_close, one.ts_ns) for record in one.records]) for one in run.slices
    ]
    assert _feature_rows(run) == _feature_rows(run._replace(slices=slices))


def _repeat(record: Any, close: float, ts_ns: int) -> Any:
    if type(record) is not Bar or record.traded or ts_ns > EX_NS:
        return record
    return record._replace(open=close, high=close, low=close, close=close)


def test_the_feed_repeats_no_price_from_before_the_split(tmp_path: Path) -> None:
    run = run_split(tmp_path / "split", RATIO)
    before_open: list[Bar] = [bar for bar in run.of_type(Bar) if EX_NS - 5 * 3600 * 10**9 < bar.ts_ns <= EX_NS]
    assert before_open
    assert {bar.close for bar in before_open} == {price(0, MINUTES - 1) / RATIO}
