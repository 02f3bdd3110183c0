"""Sizes from estimates: worked cases with their arithmetic, and rules for any estimate."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from operators.money import ONE, ZERO
from operators.sizing import (
    AtrStopSettings,
    KellySettings,
    RiskParitySettings,
    SizingInput,
    SizingSettings,
    TradeRecord,
    VolatilitySettings,
    adjust_partly,
    apply_no_trade_band,
    size_position,
)
from schemas.errors import BadInput

KELLY = SizingSettings(method="kelly")
TARGET = SizingSettings(method="volatility_target", volatility=VolatilitySettings(target=Decimal("0.02")))
PARITY = SizingSettings(method="risk_parity")
STOP = SizingSettings(method="atr_stop")
BASE_INPUT = SizingInput(
    direction=1, strength=ONE, price=Decimal(50), equity=Decimal(1_000_000), current_quantity=ZERO, lot_size=ONE
)

# method | estimates | units | arithmetic
TABLE = """
kelly | 29 0 0 0         | 100   | kelly 0.005 (29 of 30 trades closed)
kelly | 30 15 0.20 0.10  | 1000  | kelly 0.05 (0.5 x 30/50 x won 15/30 x (1 - lost 0.1 / won 0.2), in [0, 0.05])
kelly | 30 15 0.20 0.16  | 600   | kelly 0.03 (0.5 x 30/50 x won 15/30 x (1 - lost 0.16 / won 0.2), in [0, 0.05])
kelly | 30 15 0.20 0.20  | 0     | kelly 0 (0.5 x 30/50 x won 15/30 x (1 - lost 0.2 / won 0.2), in [0, 0.05])
kelly | 30 15 0.20 0.30  | 0     | kelly 0 (0.5 x 30/50 x won 15/30 x (1 - lost 0.3 / won 0.2), in [0, 0.05])
kelly | 30 0 0 0.30      | 0     | kelly 0 (0.5 x 30/50 x won 0/30 x (1 - lost 0.3 / won 0), in [0, 0.05])
target | 0.25            | 1600  | volatility_target 0.08 (0.02 / volatility 0.25, at most 1)
target | 0.01            | 20000 | volatility_target 1 (0.02 / volatility 0.01, at most 1)
target | none            | 0     | volatility_target: no volatility yet, target 0
target | 0               | 0     | volatility_target: the volatility is 0, target 0
parity | 0.25 4          | 10000 | risk_parity 0.5 (0.5 x 1/volatility 4 of 4 in all, at most 1)
parity | 0.25 20         | 2000  | risk_parity 0.1 (0.5 x 1/volatility 4 of 20 in all, at most 1)
parity | none 20         | 0     | risk_parity: no volatility yet, target 0
stop | 0.01              | 1000  | atr_stop 0.05 (risk 0.001 / (2 x range 0.01 of the price), at most 1)
stop | 0.0001            | 20000 | atr_stop 1 (risk 0.001 / (2 x range 0.0001 of the price), at most 1)
stop | none              | 0     | atr_stop: no average range yet, target 0
stop | 0                 | 0     | atr_stop: the price range is 0, target 0
"""


def estimate_fields(method: str, text: str) -> dict[str, Any]:
    words = [None if word == "none" else float(word) for word in text.split()]
    if method == "kelly":
        trades, wins, won, lost = words
        return {"trade_record": TradeRecord(int(trades or 0), int(wins or 0), won or 0.0, lost or 0.0)}
    if method == "stop":
        return {"average_range": words[0]}
    return {"volatility": words[0], "inverse_volatilities": words[1] if len(words) > 1 else 0.0}


@pytest.mark.parametrize("row", TABLE.strip().splitlines())
def test_sizes_from_estimates_by_hand(row: str) -> None:
    method, estimates, units, text = (word.strip() for word in row.split(" | "))
    settings = {"kelly": KELLY, "target": TARGET, "parity": PARITY, "stop": STOP}[method]
    result = size_position(settings, BASE_INPUT._replace(**estimate_fields(method, estimates)))
    assert result.quantity == Decimal(units)
    assert result.text.startswith(text)
    if ":" not in text:
        assert result.text == f"{text} x equity 1000000 x strength 1 / 50 = {units}"


def test_a_strategy_without_an_edge_keeps_the_floor() -> None:
    settings = replace(KELLY, kelly=KellySettings(floor=Decimal("0.001")))
    result = size_position(settings, BASE_INPUT._replace(trade_record=TradeRecord(40, 10, 0.1, 0.3)))
    assert result.quantity == 20


@pytest.mark.parametrize("settings", [KELLY, STOP])
def test_entry_size_is_constant_while_the_direction_is_unchanged(settings: SizingSettings) -> None:
    sizing_input = BASE_INPUT._replace(current_quantity=Decimal(77), average_range=0.01)
    assert size_position(settings, sizing_input).quantity == 77
    assert size_position(settings, sizing_input._replace(direction=-1)).quantity < 0


@pytest.mark.parametrize("settings", [TARGET, PARITY])
def test_without_an_estimate_positions_are_unchanged_and_none_opened_or_reversed(settings: SizingSettings) -> None:
    for position, direction, expected in ((77, 1, 77), (-77, 1, 0), (77, -1, 0), (0, -1, 0), (77, 0, 0)):
        sizing_input = BASE_INPUT._replace(current_quantity=Decimal(position), direction=direction, volatility=None)
        assert size_position(settings, sizing_input).quantity == expected


@pytest.mark.parametrize("settings", [TARGET, PARITY])
def test_no_trade_band_ignores_small_differences(settings: SizingSettings) -> None:
    sizing_input = BASE_INPUT._replace(volatility=0.25, inverse_volatilities=25.0)  # target 1,600
    for position, expected in ((1521, 1521), (1520, 1600), (1679, 1679), (1680, 1600)):
        assert size_position(settings, sizing_input._replace(current_quantity=Decimal(position))).quantity == expected


# -- for any estimate --------------------------------------------------------------------------------------------------

amounts = st.floats(min_value=0, max_value=1e6, allow_subnormal=False)
ratios = st.one_of(st.none(), st.just(0.0), st.floats(min_value=1e-9, max_value=1e6))


@st.composite
def records(draw: st.DrawFn) -> TradeRecord:
    trades = draw(st.integers(0, 200))
    wins = draw(st.integers(0, trades))
    won = draw(st.floats(min_value=1e-6, max_value=100)) if wins else 0.0
    losses = st.one_of(st.just(0.0), st.floats(min_value=1e-6, max_value=100))
    return TradeRecord(trades, wins, won, draw(losses) if wins < trades else 0.0)


sizing_inputs = st.builds(
    SizingInput,
    st.sampled_from([-1, 0, 1]),
    st.decimals(min_value=0, max_value=1, places=6),
    st.decimals(min_value=Decimal("0.0001"), max_value=10**5, places=4),
    st.decimals(min_value=-1000, max_value=10**8, places=2),
    st.just(ZERO),
    st.sampled_from([ONE, Decimal(100), Decimal("0.0001")]),
    ratios,
    amounts,
    ratios,
    records(),
)
methods = st.sampled_from(
    [
        KELLY,
        TARGET,
        PARITY,
        STOP,
        replace(KELLY, kelly=KellySettings(fraction=ONE, cap=Decimal("0.3"), trades_min=1, shrinkage_trades=0)),
        replace(TARGET, share_max=Decimal("0.1"), risk_parity=RiskParitySettings(exposure=Decimal(3))),
    ]
)


def equity_share_max(settings: SizingSettings) -> Decimal:
    """Return the share of equity that the method can never exceed."""
    if settings.method == "kelly":
        return settings.kelly.cap
    return min(settings.share_max, settings.risk_parity.exposure) if settings.method == "risk_parity" else ONE


@given(sizing_inputs, methods)
def test_no_estimate_breaks_the_cap_or_the_lot(sizing_input: SizingInput, settings: SizingSettings) -> None:
    quantity = size_position(settings, sizing_input).quantity
    assert quantity % sizing_input.lot_size == 0
    assert quantity * sizing_input.direction >= 0
    budget = (
        max(Fraction(sizing_input.equity), Fraction(0))
        * Fraction(equity_share_max(settings))
        * Fraction(sizing_input.strength)
    )
    assert abs(Fraction(quantity)) * Fraction(sizing_input.price) <= budget + Fraction(1, 10**8)


@given(
    sizing_inputs,
    methods,
    st.sampled_from(["equity", "strength", "price", "volatility", "range", "won", "lost"]),
    st.data(),
)
def test_sizes_are_monotone(
    sizing_input: SizingInput, settings: SizingSettings, field: str, data: st.DataObject
) -> None:
    factor = data.draw(st.floats(min_value=1, max_value=100))
    exact = Decimal(repr(round(factor, 3)))
    record = sizing_input.trade_record
    if field == "volatility":
        assume(sizing_input.volatility)
        # The estimates of the other positions stay the same. Only this position's part of the sum changes.
        other_estimates = sizing_input.inverse_volatilities
        volatility = sizing_input.volatility or 1.0
        small = sizing_input._replace(
            volatility=volatility * factor, inverse_volatilities=other_estimates + 1 / (volatility * factor)
        )
        large = sizing_input._replace(inverse_volatilities=other_estimates + 1 / volatility)
    elif field == "range":
        assume(sizing_input.average_range)
        small, large = sizing_input._replace(average_range=(sizing_input.average_range or 1.0) * factor), sizing_input
    elif field == "won":
        small, large = sizing_input, sizing_input._replace(trade_record=record._replace(won=record.won * factor))
    elif field == "lost":
        small, large = sizing_input._replace(trade_record=record._replace(lost=record.lost * factor)), sizing_input
    elif field == "price":
        small, large = sizing_input._replace(price=sizing_input.price * exact), sizing_input
    elif field == "strength":
        small, large = sizing_input._replace(strength=sizing_input.strength / 3), sizing_input
    else:
        small, large = sizing_input, sizing_input._replace(equity=max(sizing_input.equity, ZERO) * exact)
    assert abs(size_position(settings, small).quantity) <= abs(size_position(settings, large).quantity)


@given(st.lists(st.floats(min_value=1e-6, max_value=1e3), min_size=1, max_size=8))
def test_risk_parity_spends_its_exposure_and_gives_each_the_same_risk(volatilities: list[float]) -> None:
    settings = SizingSettings(method="risk_parity", lot_size=Decimal("0.000001"))
    total = sum(1 / volatility for volatility in volatilities)
    sizing_input = BASE_INPUT._replace(price=ONE, lot_size=Decimal("0.000001"), inverse_volatilities=total)
    values = [float(size_position(settings, sizing_input._replace(volatility=one)).quantity) for one in volatilities]
    assert sum(values) <= 500_000.001
    assert sum(values) == pytest.approx(500_000, abs=len(values) * 1.001)  # one millionth of equity each
    for value, volatility in zip(values, volatilities, strict=True):
        assert value == pytest.approx(500_000 / volatility / total, abs=1.001)


@given(records(), st.integers(0, 50))
def test_kelly_is_win_rate_less_loss_rate_over_payoff(record: TradeRecord, shrinkage: int) -> None:
    kelly_fraction = record.kelly_share(shrinkage)
    assert kelly_fraction <= 1
    if 0 < record.wins < record.trades and record.lost > 0:
        n, k = record.trades, shrinkage
        payoff = (record.won / record.wins) / (record.lost / (n - record.wins))
        no_edge = 1 / (1 + payoff)
        rate = (record.wins + k * no_edge) / (n + k)
        assert kelly_fraction == pytest.approx(rate - (1 - rate) / payoff, rel=1e-6, abs=1e-9)


quantities = st.integers(-300, 300).map(Decimal)


@given(quantities, quantities, st.integers(0, 1000), st.integers(1, 1000), st.sampled_from([1, 7, 100]))
def test_partial_move_never_exceeds_its_share(
    position: Decimal, target: Decimal, allowed: int, required: int, lot: int
) -> None:
    reached = adjust_partly(position, target, Decimal(allowed), Decimal(required), Decimal(lot))
    assert min(position, target) <= reached <= max(position, target)
    assert (reached - position) % lot == 0
    assert Fraction(abs(reached - position)) <= Fraction(abs(target - position)) * allowed / required + Fraction(
        1, 10**8
    )
    assert apply_no_trade_band(position, target, ZERO) == target


@pytest.mark.parametrize(
    ("cls", "field", "value"),
    [
        (KellySettings, "kelly fraction", Decimal("1.1")),
        (KellySettings, "kelly cap", Decimal(0)),
        (KellySettings, "kelly warm_up_fraction", Decimal("0.06")),
        (KellySettings, "kelly floor", Decimal(-1)),
        (KellySettings, "kelly trades_min", 0),
        (KellySettings, "kelly shrinkage_trades", -1),
        (VolatilitySettings, "volatility target", Decimal(0)),
        (VolatilitySettings, "volatility half_life_bars", 0),
        (VolatilitySettings, "volatility bars_min", 1),
        (VolatilitySettings, "volatility bars_per_year", float("nan")),
        (RiskParitySettings, "risk_parity exposure", Decimal(0)),
        (AtrStopSettings, "atr_stop risk", Decimal(2)),
        (AtrStopSettings, "atr_stop multiple", Decimal(0)),
        (AtrStopSettings, "atr_stop period", 1),
        (SizingSettings, "turnover_max", Decimal(0)),
        (SizingSettings, "share_max", Decimal(11)),
    ],
)
def test_invalid_setting_is_reported(cls: Any, field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"sizing {field}"):
        cls(**{field.split()[-1]: value})
