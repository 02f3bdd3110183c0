"""Sizes by hand, and for any input: never beyond the money asked for, never beyond a cap, always whole lots."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.sizing import SizingSettings, View, cap, size
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
    given_, expected = row.split("|")
    method, direction, strength, price, equity, held = given_.split()
    settings = {"F": FRACTION, "P": PERCENT, "S": SHARES}[method]
    sized = size(
        settings, View(int(direction), Decimal(strength), Decimal(price), Decimal(equity), Decimal(held), Decimal(1))
    )
    assert sized.quantity == Decimal(expected)
    assert sized.text


views = st.builds(
    View,
    st.sampled_from([-1, 0, 1]),
    st.decimals(min_value=0, max_value=1, places=6),
    st.decimals(min_value=Decimal("0.0001"), max_value=10**5, places=4),
    st.decimals(min_value=-1000, max_value=10**8, places=2),
    st.just(Decimal(0)),
    st.sampled_from([Decimal(1), Decimal(100), Decimal("0.0001")]),
)


@given(views, st.sampled_from([FRACTION, PERCENT]))
def test_rounding_to_lots_never_spends_more_than_the_fraction(view: View, settings: SizingSettings) -> None:
    quantity = size(settings, view).quantity
    assert quantity % view.lot_size == 0
    assert quantity * view.direction >= 0
    budget = max(Fraction(view.equity) * Fraction(settings.fraction) * Fraction(view.strength), Fraction(0))
    assert abs(Fraction(quantity)) * Fraction(view.price) <= budget + Fraction(1, 10**8)


@given(*[st.integers(-300, 300).map(Decimal)] * 2, st.integers(0, 200).map(Decimal))
def test_a_cap_holds_for_what_is_added_and_takes_nothing_away(wanted: Decimal, held: Decimal, limit: Decimal) -> None:
    capped = cap(wanted, held, limit)
    assert capped * wanted >= 0 and abs(capped) <= abs(wanted)
    assert abs(capped) <= (max(limit, abs(held)) if held * wanted > 0 else limit)
    if held * wanted > 0 and abs(held) <= abs(wanted):
        assert abs(capped) >= abs(held)


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
def test_a_wrong_setting_is_named(field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"sizing {field}"):
        SizingSettings(**{field: value})
