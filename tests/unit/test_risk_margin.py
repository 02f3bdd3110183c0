"""Margin rules: worked numbers, and the forced reduction against a walk by single lots."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.instruments import FUTURE, Instrument
from operators.risk.margin import Held, MarginClass, MarginSettings, forced_reduction, requirement
from schemas.errors import BadInput

RULES = MarginSettings()
FUTURES = Instrument(symbol="ES", asset_class=FUTURE, multiplier=Decimal(50), margin_initial=Decimal(12_000))


@pytest.mark.parametrize(
    ("instrument", "quantity", "price", "initial", "maintenance"),
    [
        (Instrument(symbol="AAPL"), 100, 200, 10_000, 5_000),
        (Instrument(symbol="AAPL"), -100, 200, 10_000, 6_000),
        (Instrument(symbol="BTCUSD", margin_class="crypto"), 1, 200, 200, 200),
        (FUTURES, -2, 5_000, 24_000, 24_000),
        (FUTURES, 0, 5_000, 0, 0),
    ],
)
def test_what_a_position_requires(
    instrument: Instrument, quantity: int, price: int, initial: int, maintenance: int
) -> None:
    found = requirement(RULES, instrument, Decimal(quantity), Decimal(price))
    assert found == (Decimal(initial), Decimal(maintenance))


def test_a_margin_call_closes_the_dearest_position_first_and_no_more_than_needed() -> None:
    big = Held(Instrument(symbol="BIG"), Decimal(100), Decimal(100))  # needs 2,500
    small = Held(Instrument(symbol="SML"), Decimal(-50), Decimal(100))  # needs 1,500
    assert forced_reduction(RULES, Decimal(4_000), [small, big]) == []
    assert forced_reduction(RULES, Decimal(3_976), [small, big]) == [("BIG", Decimal(-1))]
    assert forced_reduction(RULES, Decimal(3_974), [small, big]) == [("BIG", Decimal(-2))]
    assert forced_reduction(RULES, Decimal(1_471), [small, big]) == [("BIG", Decimal(-100)), ("SML", Decimal(1))]
    assert forced_reduction(RULES, Decimal(-5), [small, big]) == [("BIG", Decimal(-100)), ("SML", Decimal(50))]


POSITIONS = st.lists(st.tuples(st.integers(-30, 30), st.integers(1, 50)), max_size=5)


@given(POSITIONS, st.integers(0, 3_000))
def test_after_the_reduction_the_margin_is_covered_and_one_lot_less_would_not_do(
    positions: list[tuple[int, int]], equity: int
) -> None:
    held = [
        Held(Instrument(symbol=f"S{n}"), Decimal(quantity), Decimal(price))
        for n, (quantity, price) in enumerate(positions)
    ]
    cuts = dict(forced_reduction(RULES, Decimal(equity), held))

    def needed(less: str | None = None) -> Decimal:
        total = Decimal(0)
        for one in held:
            cut = cuts.get(one.instrument.symbol, Decimal(0))
            if one.instrument.symbol == less:
                cut -= Decimal(1).copy_sign(cut)
            assert cut * one.quantity <= 0 and abs(cut) <= abs(one.quantity), "a reduction never adds or reverses"
            total += requirement(RULES, one.instrument, one.quantity + cut, one.price).maintenance
        return total

    assert needed() <= equity
    if cuts:
        assert needed(list(cuts)[-1]) > equity


@pytest.mark.parametrize("changes", [{"initial_long": Decimal(-1)}, {"maintenance_short": Decimal("0.6")}])
def test_margin_fractions_make_sense(changes: dict[str, Decimal]) -> None:
    with pytest.raises(BadInput, match="margin class equity"):
        MarginClass(**changes)  # type: ignore[arg-type]
