"""Instrument definitions: price steps, values, and rejected definitions."""

from decimal import Decimal
from typing import Any

import pytest

from operators.instruments import FUTURE, Instrument, Instruments
from schemas.errors import BadInput


def test_listed_symbol_has_its_definition_and_others_the_default() -> None:
    apple = Instrument(symbol="AAPL")
    instruments = Instruments(listed=(apple,))
    assert instruments["AAPL"] is apple
    assert instruments["MSFT"] is instruments.unlisted
    without_default = Instruments(listed=(apple,), unlisted=None)
    assert without_default.get("MSFT") is None
    with pytest.raises(KeyError, match="MSFT"):
        without_default["MSFT"]


def test_a_future_is_worth_its_multiplier() -> None:
    mini = Instrument(symbol="ES", asset_class=FUTURE, tick_size=Decimal("0.25"), multiplier=Decimal(50))
    assert mini.notional(Decimal(2), Decimal("5000.25")) == Decimal("500025")
    assert mini.tick_value == Decimal("12.5")


@pytest.mark.parametrize(("price", "tick"), [("1", "0.01"), ("0.9999", "0.0001"), ("250", "0.01")])
def test_us_shares_below_a_dollar_trade_in_finer_steps(price: str, tick: str) -> None:
    assert Instrument(symbol="F").tick_size_at(Decimal(price)) == Decimal(tick)


def test_sectors_and_groups_are_listed_in_the_order_of_definition() -> None:
    instruments = Instruments(listed=tuple(Instrument(symbol=s, sector="tech", group=s[0]) for s in ("B", "A", "C")))
    assert list(instruments.in_group("sector", "tech")) == ["B", "A", "C"]
    assert list(instruments.in_group("group", "A")) == ["A"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("symbol", " AAPL"),
        ("symbol", ""),
        ("asset_class", "BOND"),
        ("tick_size", Decimal(0)),
        ("lot_size", Decimal("NaN")),
        ("multiplier", Decimal(-1)),
        ("min_quantity", Decimal(-1)),
        ("borrowable", Decimal("Infinity")),
    ],
)
def test_invalid_definition_is_rejected(field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"{field} must be"):
        Instrument(**{"symbol": "AAPL", field: value})


def test_duplicate_symbol_is_rejected() -> None:
    with pytest.raises(BadInput, match="AAPL is defined twice"):
        Instruments(listed=(Instrument(symbol="AAPL"), Instrument(symbol="AAPL")))
