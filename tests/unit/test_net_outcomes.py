"""Outcomes of signals are net of costs and of the market's move, and learned weights follow them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.feedback import FeedbackSettings, FeedbackStage
from schemas.errors import BadInput
from schemas.records import DELISTING, SPLIT, SYMBOL_CHANGE, SignalOutcome, StrategyWeights
from tests.builders import bar, corporate_action, signal
from tests.builders.trades import trade

MINUTE_NS = 60_000_000_000
SETTINGS = FeedbackSettings(horizon_bars=2, attribution_interval_s=0, weights_interval_s=0, models_interval_s=0)


def run(
    stage: FeedbackStage, prices: list[dict[str, float]], records: dict[int, list[Any]] | None = None, first: int = 1
) -> list[Any]:
    """Run one time slice per item of `prices`, with further `records` by number of the slice. Return the output."""
    out: list[Any] = []
    for number, row in enumerate(prices, start=first):
        ts_ns = number * MINUTE_NS
        bars = [bar(symbol, number, ts_ns, price) for symbol, price in sorted(row.items())]
        further = (records or {}).get(number, [])
        actions = [one for one in further if type(one).__name__ == "CorporateAction"]
        out += stage.on_slice(ts_ns, [*actions, *bars, *(one for one in further if one not in actions)])
    return out


def entry(symbol: str, number: int, price: float, direction: int = 1, strategy: str = "s") -> Any:
    return signal(symbol, number, number * MINUTE_NS, direction=direction, price=price, strategy=strategy)


def test_the_market_is_the_geometric_mean_of_the_other_symbols() -> None:
    prices: list[dict[str, float]] = [
        {"A": 100.0, "B": 50.0, "C": 10.0},
        {"A": 104.0, "B": 51.0, "C": 9.9},
        {"A": 110.0, "B": 55.0, "C": 10.4},
    ]
    for direction in (1, -1):
        [outcome] = run(FeedbackStage(SETTINGS), prices, {1: [entry("A", 1, 100.0, direction)]})
        expected = math.sqrt(55 / 50 * 10.4 / 10) - 1
        assert outcome.market_return == pytest.approx(expected, abs=1e-12)
        assert outcome.gained == pytest.approx(0.1 * direction)
        assert outcome.net == pytest.approx((0.1 - expected) * direction, abs=1e-12)


def test_without_another_symbol_there_is_no_market() -> None:
    [outcome] = run(FeedbackStage(SETTINGS), [{"A": 100.0}, {"A": 90.0}, {"A": 110.0}], {1: [entry("A", 1, 100.0)]})
    assert (outcome.market_return, outcome.cost) == (0.0, 0.0)
    assert outcome.net == outcome.gained == pytest.approx(0.1)


def test_a_benchmark_replaces_the_mean_and_does_not_move_against_itself() -> None:
    stage = FeedbackStage(FeedbackSettings(horizon_bars=2, weights_interval_s=0, benchmark="B"))
    prices = [{"A": 100.0, "B": 50.0, "C": 1.0}, {"A": 1.0, "B": 40.0, "C": 9.0}, {"A": 110.0, "B": 55.0, "C": 5.0}]
    by_symbol = {
        outcome.symbol: outcome
        for outcome in run(stage, prices, {1: [entry("A", 1, 100.0), entry("B", 1, 50.0)]})
        if type(outcome) is SignalOutcome
    }
    assert by_symbol["A"].net == pytest.approx(0.0, abs=1e-12), "A rose by 10 %, and so did the benchmark"
    assert by_symbol["B"].market_return == 0.0
    assert by_symbol["B"].net == pytest.approx(0.1)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({name: st.floats(1.0, 1000.0) for name in "ABCD"}), min_size=3, max_size=12, unique_by=str
    ),
    st.integers(1, 11),
)
def test_the_market_move_equals_its_definition_with_a_restart_in_any_slice(
    prices: list[dict[str, float]], cut: int
) -> None:
    stage = FeedbackStage(SETTINGS)
    signals = {number: [entry("A", number, prices[number - 1]["A"])] for number in range(1, len(prices) + 1)}
    out = run(stage, prices[:cut], signals)
    restored = FeedbackStage(SETTINGS)
    restored.restore(stage.snapshot())
    out += run(restored, prices[cut:], signals, first=cut + 1)
    for number, outcome in enumerate(out, start=1):
        ratios = [prices[number + 1][name] / prices[number - 1][name] for name in "BCD"]
        assert outcome.market_return == pytest.approx(math.prod(ratios) ** (1 / 3) - 1, rel=1e-9, abs=1e-9)
    assert len(out) == len(prices) - 2


def test_the_cost_is_twice_fees_and_slippage() -> None:
    """Fees of 2 for 1000 are 20 basis points a trade; with 5 of slippage, a round trip costs 50."""
    stage = FeedbackStage(SETTINGS, slippage_bps=5.0)
    records = {
        1: [trade(1, 10, "100", symbol="A", fee="2")],
        2: [entry("A", 2, 100.0), entry("B", 2, 50.0)],
        3: [trade(2, 100, "50", symbol="B", fee="0")],
    }
    out = run(stage, [{"A": 100.0, "B": 50.0}] * 4, records)
    assert {one.symbol: one.cost for one in out} == {"A": pytest.approx(0.005), "B": pytest.approx(0.001)}
    assert {one.symbol: one.net for one in out} == {"A": pytest.approx(-0.005), "B": pytest.approx(-0.001)}


def test_a_symbol_without_fills_has_the_fee_rate_of_the_account_and_a_setting_replaces_the_slippage() -> None:
    stage = FeedbackStage(FeedbackSettings(horizon_bars=2, weights_interval_s=0, slippage_bps=10.0), slippage_bps=5.0)
    records = {1: [trade(1, 10, "100", symbol="A", fee="1"), entry("B", 1, 50.0)]}
    [outcome] = [one for one in run(stage, [{"A": 100.0, "B": 50.0}] * 3, records) if type(one) is SignalOutcome]
    assert outcome.cost == pytest.approx(2 * (0.001 + 0.001))


def test_a_split_is_no_move_of_the_market() -> None:
    prices = [{"A": 100.0, "B": 50.0}, {"A": 100.0, "B": 12.5}, {"A": 100.0, "B": 12.5}]
    split = corporate_action("s", SPLIT, "B", ratio=4)
    [outcome] = run(FeedbackStage(SETTINGS), prices, {1: [entry("A", 1, 100.0)], 2: [split]})
    assert outcome.market_return == 0.0


def test_a_renamed_symbol_keeps_the_market_move_of_its_open_signals() -> None:
    prices = [{"A": 100.0, "B": 50.0}, {"Z": 110.0, "B": 55.0}, {"Z": 121.0, "B": 60.5}]
    change = corporate_action("c", SYMBOL_CHANGE, "A", new_symbol="Z")
    [outcome] = run(FeedbackStage(SETTINGS), prices, {1: [entry("A", 1, 100.0)], 2: [change]})
    assert (outcome.symbol, outcome.gained) == ("Z", pytest.approx(0.21))
    assert outcome.market_return == pytest.approx(0.21, abs=1e-12)


@pytest.mark.parametrize("kind", [SYMBOL_CHANGE, DELISTING])
def test_the_first_price_of_another_company_under_a_reused_symbol_is_no_move_of_the_market(kind: Any) -> None:
    """B ends at 50. Another company trades as B at 1: the market has not fallen by 98 %."""
    end = corporate_action("c", kind, "B", new_symbol="Z" if kind == SYMBOL_CHANGE else "")
    stage = FeedbackStage(SETTINGS)
    run(stage, [{"A": 100.0, "B": 50.0}, {"A": 100.0}], {2: [end]})
    restored = FeedbackStage(SETTINGS)
    restored.restore(stage.snapshot())
    prices = [{"A": 100.0}, {"A": 100.0, "B": 1.0}, {"A": 100.0, "B": 1.1}]
    [outcome] = run(restored, prices, {3: [entry("A", 3, 100.0)]}, first=3)
    assert outcome.market_return == pytest.approx(0.1)


def test_a_strategy_that_only_follows_a_rising_market_earns_no_weight() -> None:
    """All symbols rise by about 1 % a bar. `market` is always long; `picker` is long of the symbol that rises more."""
    stage = FeedbackStage(
        FeedbackSettings(horizon_bars=1, attribution_interval_s=0, weights_interval_s=60, weight_change_min=0.0),
        ("market", "picker"),
    )
    prices, level = list[dict[str, float]](), {"A": 100.0, "B": 100.0, "C": 100.0}
    records: dict[int, list[Any]] = {}
    for number in range(1, 60):
        level = {
            "A": level["A"] * (1.014 if number % 2 else 1.012),
            "B": level["B"] * (1.009 if number % 3 else 1.011),
            "C": level["C"] * 1.01,
        }
        prices.append(level)
        records[number] = [
            entry("A", number, level["A"], strategy="picker"),
            *(entry(name, number, level[name], strategy="market") for name in "ABC"),
        ]
    last = [one for one in run(stage, prices, records) if type(one) is StrategyWeights][-1]
    assert last.scores["picker"] > 10 * abs(last.scores["market"])
    assert last.weights["picker"] > 0.85


def test_settings_out_of_range_are_rejected() -> None:
    cases: list[dict[str, Any]] = [{"slippage_bps": -1.0}, {"benchmark": ""}]
    for fields in cases:
        with pytest.raises(BadInput, match=f"feedback.{next(iter(fields))} must be"):
            FeedbackSettings(**fields)
