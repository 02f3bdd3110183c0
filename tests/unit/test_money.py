"""Money is exact to nine decimal places, equal amounts print the same text, and rounding never exceeds a cap."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.money import divide, floor_to, multiply, plain, portion, quantize, round_to, to_decimal, units_for
from schemas.errors import InvalidField

amounts = st.decimals(min_value=0, max_value=10**12, places=9)
steps = st.sampled_from([Decimal(1), Decimal(100), Decimal("0.0001"), Decimal("0.000000001")])


@pytest.mark.parametrize(
    ("text", "rounded"),
    [("1", "1.000000000"), ("0.0000000005", "0E-9"), ("0.0000000015", "2E-9"), ("-2.0000000025", "-2.000000002")],
)
def test_amounts_round_half_to_even_at_the_ninth_place(text: str, rounded: str) -> None:
    assert str(quantize(Decimal(text))) == str(Decimal(rounded))


@given(st.floats(min_value=0.0001, max_value=1e6))
def test_a_price_becomes_the_decimal_it_prints_as(x: float) -> None:
    assert to_decimal(x) == quantize(Decimal(repr(x)))


def test_zero_keeps_its_sign_whatever_was_converted_before() -> None:
    assert [str(to_decimal(x)) for x in (0.0, -0.0, 0.0, -0.0)] == ["0E-9", "-0E-9", "0E-9", "-0E-9"]


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_plain_number_has_no_exponent_and_no_trailing_zeros(amount: Decimal) -> None:
    text = plain(amount)
    rounded = Context(prec=38, rounding=ROUND_HALF_EVEN).plus(amount)
    assert "E" not in text and Decimal(text) == rounded
    assert text == "0" or "." not in text or text[-1] not in "0."


@pytest.mark.parametrize("x", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_price_is_rejected(x: float) -> None:
    with pytest.raises(InvalidField, match="finite"):
        to_decimal(x)


@given(amounts, amounts)
def test_products_are_rounded_once(a: Decimal, b: Decimal) -> None:
    assert abs(Fraction(multiply(a, b)) - Fraction(a) * Fraction(b)) <= Fraction(1, 2 * 10**9)


@given(amounts, st.lists(amounts.filter(bool), min_size=1, max_size=6))
def test_portions_with_the_remainder_in_the_last_sum_to_the_total(total: Decimal, parts: list[Decimal]) -> None:
    parts_total = sum(parts, Decimal(0))
    shares = [portion(total, part, parts_total) for part in parts[:-1]]
    last = total - sum(shares, Decimal(0))
    assert abs(Fraction(last) - Fraction(total) * Fraction(parts[-1]) / Fraction(parts_total)) <= Fraction(
        len(parts), 10**9
    )


@given(amounts, st.decimals(min_value=Decimal("0.01"), max_value=10**5, places=4), steps)
def test_units_for_an_amount_cost_no_more_and_one_more_step_would(
    amount: Decimal, price: Decimal, step: Decimal
) -> None:
    units = units_for(amount, price, step)
    assert Fraction(units) * Fraction(price) <= Fraction(amount)
    assert amount == 0 or (Fraction(units) + Fraction(step)) * Fraction(price) > Fraction(amount)


def test_negative_amount_or_zero_price_buys_nothing() -> None:
    assert units_for(Decimal(-1), Decimal(1), Decimal(1)) == units_for(Decimal(1), Decimal(0), Decimal(1)) == 0


@given(amounts, steps)
def test_floor_to_a_step(amount: Decimal, step: Decimal) -> None:
    floored = floor_to(amount, step)
    assert floored <= amount < floored + step
    assert floored % step == 0 if step >= Decimal("0.0001") else floored == amount


def test_a_quotient_is_rounded_once() -> None:
    assert divide(Decimal(2), Decimal(3)) == Decimal("0.666666667")


@pytest.mark.parametrize(("price", "tick", "expected"), [("10.004", "0.01", "10"), ("10.13", "0.25", "10.25")])
def test_round_to_the_tick(price: str, tick: str, expected: str) -> None:
    assert round_to(Decimal(price), Decimal(tick)) == Decimal(expected)


@pytest.mark.parametrize("text", ["100", "0.5", "-3.25", "0", "1234567890123456789012.000000001"])
def test_the_same_amount_prints_alike_in_any_form(text: str) -> None:
    assert plain(Decimal(text)) == plain(quantize(Decimal(text))) == text
