"""Sizes from estimates: worked cases with their arithmetic, and what holds for any estimate."""

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
    SizingSettings,
    TradeRecord,
    View,
    VolatilitySettings,
    beyond_band,
    part_of_the_way,
    size,
)
from schemas.errors import BadInput

KELLY = SizingSettings(method="kelly")
TARGET = SizingSettings(method="volatility_target", volatility=VolatilitySettings(target=Decimal("0.02")))
PARITY = SizingSettings(method="risk_parity")
STOP = SizingSettings(method="atr_stop")
PLAIN = View(1, ONE, Decimal(50), Decimal(1_000_000), ZERO, ONE)

# method | what is known | units | the arithmetic
TABLE = """
kelly | 29 0 0 0         | 100   | kelly 0.005 (29 of 30 trades closed)
kelly | 30 15 0.20 0.10  | 1000  | kelly 0.05 (0.5 x 30/50 x won 15/30 x (1 - lost 0.1 / won 0.2), in [0, 0.05])
kelly | 30 15 0.20 0.16  | 600   | kelly 0.03 (0.5 x 30/50 x won 15/30 x (1 - lost 0.16 / won 0.2), in [0, 0.05])
kelly | 30 15 0.20 0.20  | 0     | kelly 0 (0.5 x 30/50 x won 15/30 x (1 - lost 0.2 / won 0.2), in [0, 0.05])
kelly | 30 15 0.20 0.30  | 0     | kelly 0 (0.5 x 30/50 x won 15/30 x (1 - lost 0.3 / won 0.2), in [0, 0.05])
kelly | 30 0 0 0.30      | 0     | kelly 0 (0.5 x 30/50 x won 0/30 x (1 - lost 0.3 / won 0), in [0, 0.05])
target | 0.25            | 1600  | volatility_target 0.08 (0.02 / volatility 0.25, at most 1)
target | 0.01            | 20000 | volatility_target 1 (0.02 / volatility 0.01, at most 1)
target | none            | 0     | volatility_target: no volatility yet, so 0
target | 0               | 0     | volatility_target: the price does not move, so 0
parity | 0.25 4          | 10000 | risk_parity 0.5 (0.5 x 1/volatility 4 of 4 in all, at most 1)
parity | 0.25 20         | 2000  | risk_parity 0.1 (0.5 x 1/volatility 4 of 20 in all, at most 1)
parity | none 20         | 0     | risk_parity: no volatility yet, so 0
stop | 0.01              | 1000  | atr_stop 0.05 (risk 0.001 / (2 x range 0.01 of the price), at most 1)
stop | 0.0001            | 20000 | atr_stop 1 (risk 0.001 / (2 x range 0.0001 of the price), at most 1)
stop | none              | 0     | atr_stop: no average range yet, so 0
stop | 0                 | 0     | atr_stop: the price has no range, so 0
"""


def known(method: str, text: str) -> dict[str, Any]:
    words = [None if word == "none" else float(word) for word in text.split()]
    if method == "kelly":
        trades, wins, won, lost = words
        return {"record": TradeRecord(int(trades or 0), int(wins or 0), won or 0.0, lost or 0.0)}
    if method == "stop":
        return {"average_range": words[0]}
    return {"volatility": words[0], "inverse_volatilities": words[1] if len(words) > 1 else 0.0}


@pytest.mark.parametrize("row", TABLE.strip().splitlines())
def test_sizes_from_estimates_by_hand(row: str) -> None:
    method, given_, units, text = (word.strip() for word in row.split(" | "))
    settings = {"kelly": KELLY, "target": TARGET, "parity": PARITY, "stop": STOP}[method]
    sized = size(settings, PLAIN._replace(**known(method, given_)))
    assert sized.quantity == Decimal(units)
    assert sized.text.startswith(text)
    if ":" not in text:
        assert sized.text == f"{text} x equity 1000000 x strength 1 / 50 = {units}"


def test_a_strategy_without_an_edge_keeps_the_floor() -> None:
    settings = replace(KELLY, kelly=KellySettings(floor=Decimal("0.001")))
    sized = size(settings, PLAIN._replace(record=TradeRecord(40, 10, 0.1, 0.3)))
    assert sized.quantity == 20


@pytest.mark.parametrize("settings", [KELLY, STOP])
def test_what_is_sized_on_entry_stays_while_the_direction_does(settings: SizingSettings) -> None:
    view = PLAIN._replace(held=Decimal(77), average_range=0.01)
    assert size(settings, view).quantity == 77
    assert size(settings, view._replace(direction=-1)).quantity < 0


@pytest.mark.parametrize("settings", [TARGET, PARITY])
def test_without_an_estimate_what_is_held_is_kept_and_nothing_is_entered_or_turned(settings: SizingSettings) -> None:
    for held, direction, expected in ((77, 1, 77), (-77, 1, 0), (77, -1, 0), (0, -1, 0), (77, 0, 0)):
        view = PLAIN._replace(held=Decimal(held), direction=direction, volatility=None)
        assert size(settings, view).quantity == expected


@pytest.mark.parametrize("settings", [TARGET, PARITY])
def test_the_band_leaves_small_differences_alone(settings: SizingSettings) -> None:
    view = PLAIN._replace(volatility=0.25, inverse_volatilities=25.0)  # 1,600 either way
    for held, expected in ((1521, 1521), (1520, 1600), (1679, 1679), (1680, 1600)):
        assert size(settings, view._replace(held=Decimal(held))).quantity == expected


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


views = st.builds(
    View,
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


def most(settings: SizingSettings) -> Decimal:
    """The share of equity that the method can never exceed."""
    if settings.method == "kelly":
        return settings.kelly.cap
    return min(settings.share_max, settings.risk_parity.exposure) if settings.method == "risk_parity" else ONE


@given(views, methods)
def test_no_estimate_breaks_the_cap_or_the_lot(view: View, settings: SizingSettings) -> None:
    quantity = size(settings, view).quantity
    assert quantity % view.lot_size == 0
    assert quantity * view.direction >= 0
    budget = max(Fraction(view.equity), Fraction(0)) * Fraction(most(settings)) * Fraction(view.strength)
    assert abs(Fraction(quantity)) * Fraction(view.price) <= budget + Fraction(1, 10**8)


@given(
    views, methods, st.sampled_from(["equity", "strength", "price", "volatility", "range", "won", "lost"]), st.data()
)
def test_sizes_are_monotone(view: View, settings: SizingSettings, field: str, data: st.DataObject) -> None:
    factor = data.draw(st.floats(min_value=1, max_value=100))
    exact = Decimal(repr(round(factor, 3)))
    record = view.record
    if field == "volatility":
        assume(view.volatility)
        # The others' estimates stay: what this one adds to the sum changes with it.
        others = view.inverse_volatilities
        volatility = view.volatility or 1.0
        small = view._replace(volatility=volatility * factor, inverse_volatilities=others + 1 / (volatility * factor))
        large = view._replace(inverse_volatilities=others + 1 / volatility)
    elif field == "range":
        assume(view.average_range)
        small, large = view._replace(average_range=(view.average_range or 1.0) * factor), view
    elif field == "won":
        small, large = view, view._replace(record=record._replace(won=record.won * factor))
    elif field == "lost":
        small, large = view._replace(record=record._replace(lost=record.lost * factor)), view
    elif field == "price":
        small, large = view._replace(price=view.price * exact), view
    elif field == "strength":
        small, large = view._replace(strength=view.strength / 3), view
    else:
        small, large = view, view._replace(equity=max(view.equity, ZERO) * exact)
    assert abs(size(settings, small).quantity) <= abs(size(settings, large).quantity)


@given(st.lists(st.floats(min_value=1e-6, max_value=1e3), min_size=1, max_size=8))
def test_risk_parity_spends_its_exposure_and_gives_each_the_same_risk(volatilities: list[float]) -> None:
    settings = SizingSettings(method="risk_parity", lot_size=Decimal("0.000001"))
    total = sum(1 / volatility for volatility in volatilities)
    view = PLAIN._replace(price=ONE, lot_size=Decimal("0.000001"), inverse_volatilities=total)
    values = [float(size(settings, view._replace(volatility=one)).quantity) for one in volatilities]
    assert sum(values) <= 500_000.001
    assert sum(values) == pytest.approx(500_000, abs=len(values) * 1.001)  # a millionth of equity each
    for value, volatility in zip(values, volatilities, strict=True):
        assert value == pytest.approx(500_000 / volatility / total, abs=1.001)


@given(records(), st.integers(0, 50))
def test_kelly_is_win_rate_less_loss_rate_over_payoff(record: TradeRecord, shrinkage: int) -> None:
    found = record.kelly(shrinkage)
    assert found <= 1
    if 0 < record.wins < record.trades and record.lost > 0:
        n, k = record.trades, shrinkage
        payoff = (record.won / record.wins) / (record.lost / (n - record.wins))
        no_edge = 1 / (1 + payoff)
        rate = (record.wins + k * no_edge) / (n + k)
        assert found == pytest.approx(rate - (1 - rate) / payoff, rel=1e-6, abs=1e-9)


quantities = st.integers(-300, 300).map(Decimal)


@given(quantities, quantities, st.integers(0, 1000), st.integers(1, 1000), st.sampled_from([1, 7, 100]))
def test_a_part_of_the_way_is_never_further(held: Decimal, wanted: Decimal, allowed: int, asked: int, lot: int) -> None:
    reached = part_of_the_way(held, wanted, Decimal(allowed), Decimal(asked), Decimal(lot))
    assert min(held, wanted) <= reached <= max(held, wanted)
    assert (reached - held) % lot == 0
    assert Fraction(abs(reached - held)) <= Fraction(abs(wanted - held)) * allowed / asked + Fraction(1, 10**8)
    assert beyond_band(held, wanted, ZERO) == wanted


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
def test_a_wrong_setting_is_named(cls: Any, field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"sizing {field}"):
        cls(**{field.split()[-1]: value})
