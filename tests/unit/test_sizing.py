"""Sizes worked by hand, and rules for any input: never above the budget, never above a cap, always whole lots."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.sizing import SizingInput, SizingSettings, cap_quantity, size_position
from schemas.errors import BadInput

FRACTION = SizingSettings(method="fixed_fraction", fraction=Decimal("0.02"))
PERCENT = SizingSettings(method="target_percent", fraction=Decimal("0.1"), no_trade_band=Decimal("0.05"))
SHARES = SizingSettings(method="fixed_quantity", quantity=Decimal(100))

TABLE = """
# method direction strength price  equity  held | quantity
F        1         1        49.18  1000000 0    | 406
F       -1         0.5      49.18  1000000 0    | -203
F        1         1        49.18  1000000 77   | 77
F        1         1        49.18  1000000 -77  | 406
F        0         1        49.18  1000000 77   | 0
F        1         0        49.18  1000000 0    | 0
F        1         1        49.18  -5      0    | 0
F        1         1        30000  1000000 0    | 0
P        1         1        50     1000000 0    | 2000
P        1         1        50     1000000 1901 | 1901
P        1         1        50     1000000 1900 | 2000
P        1         1        50     1000000 2100 | 2000
P        1         0.5      50     1000000 2000 | 1000
P       -1         1        50     1000000 0    | -2000
S        1         0.1      50     1000000 0    | 100
S       -1         1        50     1000000 0    | -100
S        0         1        50     1000000 100  | 0
"""


@pytest.mark.parametrize("row", [line for line in TABLE.strip().splitlines() if not line.startswith("#")])
def test_sizes_by_hand(row: str) -> None:
    input_text, expected = row.split("|")
    method, direction, strength, price, equity, position = input_text.split()
    settings = {"F": FRACTION, "P": PERCENT, "S": SHARES}[method]
    result = size_position(
        settings,
        SizingInput(
            direction=int(direction),
            strength=Decimal(strength),
            price=Decimal(price),
            equity=Decimal(equity),
            current_quantity=Decimal(position),
            lot_size=Decimal(1),
        ),
    )
    assert result.quantity == Decimal(expected)
    assert result.text


sizing_inputs = st.builds(
    SizingInput,
    st.sampled_from([-1, 0, 1]),
    st.decimals(min_value=0, max_value=1, places=6),
    st.decimals(min_value=Decimal("0.0001"), max_value=10**5, places=4),
    st.decimals(min_value=-1000, max_value=10**8, places=2),
    st.just(Decimal(0)),
    st.sampled_from([Decimal(1), Decimal(100), Decimal("0.0001")]),
)


@given(sizing_inputs, st.sampled_from([FRACTION, PERCENT]))
def test_rounding_to_lots_never_spends_more_than_the_fraction(
    sizing_input: SizingInput, settings: SizingSettings
) -> None:
    quantity = size_position(settings, sizing_input).quantity
    assert quantity % sizing_input.lot_size == 0
    assert quantity * sizing_input.direction >= 0
    budget = max(
        Fraction(sizing_input.equity) * Fraction(settings.fraction) * Fraction(sizing_input.strength), Fraction(0)
    )
    assert abs(Fraction(quantity)) * Fraction(sizing_input.price) <= budget + Fraction(1, 10**8)


@given(*[st.integers(-300, 300).map(Decimal)] * 2, st.integers(0, 200).map(Decimal))
def test_cap_limits_additions_and_never_reduces_positions(target: Decimal, position: Decimal, limit: Decimal) -> None:
    capped = cap_quantity(target, position, limit)
    assert capped * target >= 0 and abs(capped) <= abs(target)
    assert abs(capped) <= (max(limit, abs(position)) if position * target > 0 else limit)
    if position * target > 0 and abs(position) <= abs(target):
        assert abs(capped) >= abs(position)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", "martingale"),
        ("fraction", Decimal(0)),
        ("fraction", Decimal(11)),
        ("quantity", Decimal(-1)),
        ("lot_size", Decimal(0)),
        ("lot_size", Decimal("1e-10")),
        ("no_trade_band", Decimal(1)),
    ],
)
def test_invalid_setting_is_reported(field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"sizing {field}"):
        SizingSettings(**{field: value})
