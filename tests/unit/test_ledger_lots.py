"""Which lot a trade closes: worked cases as text, and random tapes against a unit-by-unit reference."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.ledger import METHODS, Ledger, TaxBook, TaxTrade, to_tax_trade
from operators.ledger.lots import LotMethod
from schemas.errors import BadInput, InvalidField
from schemas.records import CANCELED, LotMatch
from tests.builders.trades import decimals, fees, parse_trades, prices, trade, trades, units
from tests.unit.naive_lots import naive_units

SCALE = "+1000@1.07 +1000@1.08 -1500@1.09 -500@1.10"
CASES = f"""
fifo    | {SCALE}                     | 1000 20, 500 5, 500 10
lifo    | {SCALE}                     | 1000 10, 500 10, 500 15
hifo    | {SCALE}                     | 1000 10, 500 10, 500 15
average | {SCALE}                     | 1000 15, 500 7.5, 500 12.5
hifo    | +10@5 +10@9 +10@9 +10@7 -25@8          | 10 -10, 10 -10, 5 5
lifo    | +10@5 +10@9 -15@8 +10@6 -15@10         | 10 -10, 5 15, 10 40, 5 25
fifo    | -10@5 -10@9 +15@4                      | 10 10, 5 25
lifo    | -10@5 -10@9 +15@4                      | 10 50, 5 5
hifo    | -10@5 -10@9 +15@4                      | 10 50, 5 5
average | -10@5 -10@9 +15@4                      | 10 30, 5 15
average | +10@5 +10@9 -10@8 +10@10 -20@9         | 10 10, 10 5, 10 5
lifo    | +10@5 +10@6 -30@7 +10@6                | 10 10, 10 20, 10 10
"""


@pytest.mark.parametrize("line", CASES.strip().splitlines())
def test_worked_cases(line: str) -> None:
    method, fills, expected = (part.strip() for part in line.split("|"))
    ledger = Ledger(Decimal(0), method=cast("LotMethod", method))
    matches = [r for execution in parse_trades(fills) for r in ledger.apply(execution) if type(r) is LotMatch]
    assert [(m.quantity, m.pnl) for m in matches] == [decimals(match) for match in expected.split(",")]


@given(trades, st.sampled_from(["fifo", "lifo", "hifo"]))
def test_any_tape_closes_the_units_that_the_naive_book_closes(
    inputs: list[tuple[int, Decimal, Decimal]], method: LotMethod
) -> None:
    book = TaxBook(method)
    actual = []
    for seq, (quantity, price, _) in enumerate(inputs):
        for match in book.apply_trade(
            TaxTrade(trade_id=str(seq), ts_ns=seq, symbol="X", quantity=Decimal(quantity), price=price)
        ):
            per_unit = Fraction(match.pnl) / Fraction(match.quantity)
            actual += [(int(match.open_id), seq, per_unit)] * int(match.quantity)
    naive = naive_units([(0, quantity, Fraction(price)) for quantity, price, _ in inputs], method)
    assert sorted(actual) == sorted(
        (u.trade_index, u.exit_trade_index, u.pnl) for u in naive if u.exit_trade_index is not None
    )
    open_units = [int(lot.lot_id) for _, _, lot in book.open_lots() for _ in range(abs(int(lot.quantity)))]
    assert open_units == [u.trade_index for u in naive if u.exit_trade_index is None]


@given(trades)
def test_average_cost_equals_a_pool_in_fractions(inputs: list[tuple[int, Decimal, Decimal]]) -> None:
    ledger = Ledger(Decimal(0), method="average")
    pool_quantity, cost, realized = Fraction(0), Fraction(0), Fraction(0)
    for seq, (quantity, price_decimal, fee) in enumerate(inputs, start=1):
        ledger.apply(trade(seq, quantity, str(price_decimal), str(fee)))
        price, remaining = Fraction(price_decimal), Fraction(quantity)
        if pool_quantity * remaining < 0:
            closed_quantity = -remaining if abs(remaining) <= abs(pool_quantity) else pool_quantity
            realized += closed_quantity * price - cost * closed_quantity / pool_quantity
            cost -= cost * closed_quantity / pool_quantity
            pool_quantity, remaining = pool_quantity - closed_quantity, remaining + closed_quantity
        pool_quantity, cost = pool_quantity + remaining, cost + remaining * price
        assert ledger.quantity("X") == pool_quantity
        assert abs(Fraction(ledger.realized_pnl) - realized) < Fraction(seq, 10**8)
        position = ledger.position("X")
        assert position is not None
        assert sum((lot.cost for lot in position.lots), Decimal(0)) == position.cost == ledger.cost
        for lot in position.lots:
            assert abs(lot.price - position.cost / position.quantity) < Decimal("1e-6")


@given(st.lists(st.tuples(st.sampled_from("XY"), units, prices, fees), max_size=20))
def test_all_lot_methods_end_with_the_same_cash(inputs: list[tuple[str, int, Decimal, Decimal]]) -> None:
    books = {method: TaxBook(method) for method in METHODS}
    ledgers = {method: Ledger(Decimal(0), method=method) for method in METHODS}
    gains = dict.fromkeys(METHODS, Decimal(0))
    for seq, (symbol, quantity, price, fee) in enumerate(inputs, start=1):
        execution = trade(seq, quantity, str(price), str(fee), symbol=symbol)
        fill = to_tax_trade(execution)
        assert fill is not None
        for method in METHODS:
            ledgers[method].apply(execution)
            gains[method] += sum((match.gain for match in books[method].apply_trade(fill)), Decimal(0))
    for method in METHODS:
        unsold = sum((lot.cost + lot.fees for _, _, lot in books[method].open_lots()), Decimal(0))
        assert gains[method] - unsold == ledgers["fifo"].cash == ledgers[method].cash
        assert ledgers[method].quantity("X") == ledgers["fifo"].quantity("X")


def test_named_lots_are_closed_first_then_the_oldest() -> None:
    ledger = Ledger(Decimal(0), method="specific")
    for execution in parse_trades("+10@1 +10@2 +10@3"):
        ledger.apply(execution)
    records = ledger.apply(trade(4, -25, "5"), lot_ids=["lot-3", "lot-2"])
    matches = [r for r in records if type(r) is LotMatch]
    assert [(m.lot_id, m.quantity, m.pnl) for m in matches] == [
        ("lot-3", *decimals("10 20")),
        ("lot-2", *decimals("10 30")),
        ("lot-1", *decimals("5 20")),
    ]


def test_a_report_without_a_trade_is_no_tax_trade() -> None:
    assert to_tax_trade(trade(1, 5, "1")._replace(exec_type=CANCELED)) is None


@pytest.mark.parametrize(
    "tax_trade",
    [
        TaxTrade(trade_id="t", ts_ns=0, symbol="X", quantity=Decimal(0), price=Decimal(1)),
        TaxTrade(trade_id="t", ts_ns=0, symbol="X", quantity=Decimal("NaN"), price=Decimal(1)),
        TaxTrade(trade_id="t", ts_ns=0, symbol="X", quantity=Decimal(1), price=Decimal(1), fee=Decimal("Infinity")),
        TaxTrade(trade_id="t", ts_ns=0, symbol="X", quantity=Decimal(1), price=Decimal(-1)),
        TaxTrade(trade_id="t", ts_ns=0, symbol="X", quantity=Decimal(1), price=Decimal(1), multiplier=Decimal(0)),
        TaxTrade(trade_id="t", ts_ns=-(10**15), symbol="X", quantity=Decimal(1), price=Decimal(1)),
        TaxTrade(trade_id="t", ts_ns=0, symbol="X", quantity=Decimal(1), price=Decimal(1), multiplier=Decimal(2)),
    ],
)
def test_invalid_trade_is_reported(tax_trade: TaxTrade) -> None:
    book = TaxBook()
    book.apply_trade(TaxTrade(trade_id="first", ts_ns=0, symbol="X", quantity=Decimal(1), price=Decimal(1)))
    with pytest.raises(InvalidField, match=r"^t: "):
        book.apply_trade(tax_trade)


def test_unknown_method_is_reported() -> None:
    with pytest.raises(BadInput, match="found 'filo'"):
        Ledger(Decimal(0), method=cast("LotMethod", "filo"))
