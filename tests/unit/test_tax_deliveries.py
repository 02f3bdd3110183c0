"""Tax books in which a merger or spin-off brings long and short lots of one share together: the longs close the shorts.

The reference (`tests/unit/naive_lots.py`) pairs single units.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.ledger import Ledger, LedgerAction, SpinOff, SymbolChange, TaxBook, TaxMatch, TaxTrade
from operators.ledger.form_8949 import disposals, form_rows
from operators.ledger.lots import METHODS, LotMethod
from operators.ledger.wash_sales import DAY_NS
from schemas.records import LotMatch
from tests.builders.trades import fees, prices, trade, units
from tests.unit.naive_lots import Unit, deliver_units, trade_units

COST_SHARE = Fraction(1, 4)
EPOCH_DAY = date(1970, 1, 1).toordinal()
Key = tuple[str, int, int, Fraction]
fills = st.lists(st.tuples(st.sampled_from("XY"), units, st.integers(1, 9)), max_size=8)


def fill(number: int, symbol: str, quantity: int, price: int | Decimal, fee: Decimal = Decimal(0)) -> TaxTrade:
    return TaxTrade(str(number), number, symbol, Decimal(quantity), Decimal(price), fee)


def closed_units(matches: list[TaxMatch]) -> list[tuple[str, int, Fraction]]:
    """Return opening trade, closing event and gain of each unit. Distributed units keep the "/s" of their lot."""
    return sorted(
        (one.open_id, int(one.close_id), Fraction(one.gain) / Fraction(one.quantity))
        for one in matches
        for _ in range(int(one.quantity))
    )


def naive_closed_units(*books: tuple[str, list[Unit]]) -> list[tuple[str, int, Fraction]]:
    return sorted(
        (f"{one.trade_index}{suffix}", one.exit_trade_index, one.pnl)
        for suffix, book in books
        for one in book
        if one.exit_trade_index is not None and not one.is_delivered
    )


@settings(max_examples=200)
@given(fills, fills, st.sampled_from(["fifo", "lifo", "hifo"]))
def test_a_symbol_change_closes_the_units_that_the_naive_book_closes(
    before: list[tuple[str, int, int]], after: list[tuple[str, int, int]], method: LotMethod
) -> None:
    book, matches, ranks = TaxBook(method), list[TaxMatch](), count(1)
    naive: dict[str, list[Unit]] = {"X": [], "Y": []}
    for number, (symbol, quantity, price) in enumerate(before):
        matches += book.apply_trade(fill(number, symbol, quantity, price))
        trade_units(naive[symbol], number, 0, quantity, Fraction(price), method, ranks)
    matches += book.apply_action(SymbolChange(str(len(before)), len(before), "X", "Y"))
    deliver_units(naive["X"], naive["Y"], len(before), method)
    merged = sorted([*naive["X"], *naive["Y"]], key=lambda unit: unit.trade_index)
    for number, (_, quantity, price) in enumerate(after, start=len(before) + 1):
        matches += book.apply_trade(fill(number, "Y", quantity, price))
        trade_units(merged, number, 0, quantity, Fraction(price), method, ranks)
    assert closed_units(matches) == naive_closed_units(("", merged))
    held = [int(lot.lot_id) for _, _, lot in book.open_lots() for _ in range(abs(int(lot.quantity)))]
    assert held == [one.trade_index for one in merged if one.exit_trade_index is None]


@settings(max_examples=200)
@given(fills, fills, st.sampled_from(["fifo", "lifo", "hifo"]))
def test_a_spin_off_closes_the_units_that_the_naive_book_closes(
    before: list[tuple[str, int, int]], after: list[tuple[str, int, int]], method: LotMethod
) -> None:
    """Each X gives one Y, with a quarter of its cost."""
    book, matches, ranks = TaxBook(method), list[TaxMatch](), count(1)
    naive: dict[str, list[Unit]] = {"X": [], "Y": []}
    for number, (symbol, quantity, price) in enumerate(before):
        matches += book.apply_trade(fill(number, symbol, quantity, price))
        trade_units(naive[symbol], number, 0, quantity, Fraction(price), method, ranks)
    action = SpinOff(str(len(before)), len(before), "X", "Y", Decimal(1), Decimal("0.25"))
    matches += book.apply_action(action)
    distributed = list[Unit]()
    for one in [unit for unit in naive["X"] if unit.exit_trade_index is None]:
        distributed.append(Unit(one.trade_index, 0, one.price * COST_SHARE, one.sign))
        one.price -= one.price * COST_SHARE
    deliver_units(distributed, naive["Y"], len(before), method)
    children = sorted([*distributed, *naive["Y"]], key=lambda unit: unit.trade_index)
    suffixes = {id(one): "/s" for one in distributed}
    for number, (symbol, quantity, price) in enumerate(after, start=len(before) + 1):
        matches += book.apply_trade(fill(number, symbol, quantity, price))
        target = naive["X"] if symbol == "X" else children
        trade_units(target, number, 0, quantity, Fraction(price), method, ranks)
    own = [one for one in children if id(one) not in suffixes]
    assert closed_units(matches) == naive_closed_units(("", naive["X"]), ("", own), ("/s", distributed))


@given(
    st.lists(st.tuples(st.sampled_from("XY"), units, prices, fees), max_size=12),
    st.sampled_from(METHODS),
    st.booleans(),
    st.booleans(),
)
def test_gains_minus_the_basis_of_open_lots_are_the_cash_flow(
    inputs: list[tuple[str, int, Decimal, Decimal]], method: LotMethod, is_spin_off: bool, wash_sales: bool
) -> None:
    """A delivery moves no money. Without fees, the gains are also those of the account's ledger."""
    book, ledger, paid = TaxBook(method, wash_sales=wash_sales), Ledger(Decimal(0), method=method), Decimal(0)
    matches = list[TaxMatch]()
    action: LedgerAction = SymbolChange("a", 99, "X", "Y")
    if is_spin_off:
        action = SpinOff("a", 99, "X", "Y", Decimal(1), Decimal("0.25"))
    for seq, (symbol, quantity, price, fee) in enumerate(inputs, start=1):
        matches += book.apply_trade(fill(seq, symbol, quantity, price, fee))
        ledger.apply(trade(seq, quantity, str(price), symbol=symbol))
        paid += quantity * price + fee
    matches += book.apply_action(action)
    ledger.apply_action(action)
    basis = sum((lot.cost + lot.fees + lot.carried_loss for _, _, lot in book.open_lots()), Decimal(0))
    assert sum((match.gain for match in matches), Decimal(0)) - basis == -paid
    for symbol in "XY":
        held = sum((lot.quantity for name, _, lot in book.open_lots() if name == symbol), Decimal(0))
        assert held == ledger.quantity(symbol)


@pytest.mark.parametrize("method", METHODS)
def test_the_gain_of_a_delivery_is_that_of_the_ledger(method: LotMethod) -> None:
    """10 at 90 and 20 at 120 against 30 short at 150: 1,200 in both books, on the short side in the tax book."""
    book, ledger = TaxBook(method), Ledger(Decimal(0), method=method)
    for seq, (symbol, quantity, price) in enumerate([("X", 10, 90), ("X", 20, 120), ("Y", -30, 150)], start=1):
        book.apply_trade(fill(seq, symbol, quantity, price))
        ledger.apply(trade(seq, quantity, str(price), symbol=symbol))
    change = SymbolChange("4", 4, "X", "Y")
    matches = book.apply_action(change)
    records = [one for one in ledger.apply_action(change) if isinstance(one, LotMatch)]
    assert sum(one.gain for one in matches) == sum(one.pnl for one in records) == 1200
    assert {(one.symbol, one.direction) for one in matches} == {("Y", "SHORT")}
    assert book.open_lots() == []


def day_ns(text: str) -> int:
    return (date.fromisoformat(text).toordinal() - EPOCH_DAY) * DAY_NS


def test_form_8949_has_one_row_with_the_purchase_of_the_delivered_units() -> None:
    """A company of which 100 were bought in 2022 is acquired by one of which 100 were sold short."""
    book = TaxBook()
    rows = [("2022-03-01", "OLD", 100, "40", "5"), ("2024-05-02", "NEW", -100, "55", "7")]
    for number, (day, symbol, quantity, price, fee) in enumerate(rows):
        book.apply_trade(
            TaxTrade(str(number), day_ns(day), symbol, Decimal(quantity), Decimal(price), fee=Decimal(fee))
        )
    matches = book.apply_action(SymbolChange("m", day_ns("2024-06-03"), "OLD", "NEW"))
    (row,) = form_rows(disposals(matches))
    assert (row.part, row.description, row.acquired, row.sold) == (
        *("II", "100 sh. NEW"),
        *(date(2022, 3, 1), date(2024, 6, 3)),
    )
    assert (row.proceeds, row.basis, row.gain) == (Decimal("5493.00"), Decimal("4005.00"), Decimal("1488.00"))


def test_delivered_units_bring_the_loss_of_an_earlier_wash_sale() -> None:
    """100 bought at 10 are sold at 7.5 and replaced at 8: the basis of the replacement is 1,050."""
    book = TaxBook(wash_sales=True)
    rows = [
        ("2024-01-02", "X", 100, "10"),
        ("2024-03-01", "X", -100, "7.5"),
        ("2024-03-15", "X", 100, "8"),
        ("2024-04-02", "Y", -100, "12"),
    ]
    for number, (day, symbol, quantity, price) in enumerate(rows):
        book.apply_trade(TaxTrade(str(number), day_ns(day), symbol, Decimal(quantity), Decimal(price)))
    (match,) = book.apply_action(SymbolChange("m", day_ns("2024-06-03"), "X", "Y"))
    assert (match.gain, match.exit_price) == (Decimal(150), Decimal("10.5"))
    (sale,) = disposals([match])
    assert (sale.acquired, sale.holding_from) == (date(2024, 3, 15), date(2024, 1, 16))


def test_the_loss_of_a_delivery_is_disallowed_if_the_short_sale_is_made_again() -> None:
    book = TaxBook(wash_sales=True)
    for number, (day, symbol, quantity, price) in enumerate(
        [("2024-04-01", "X", 100, "15"), ("2024-04-02", "Y", -100, "12")]
    ):
        book.apply_trade(TaxTrade(str(number), day_ns(day), symbol, Decimal(quantity), Decimal(price)))
    (match,) = book.apply_action(SymbolChange("m", day_ns("2024-06-03"), "X", "Y"))
    assert (match.gain, match.disallowed_loss) == (Decimal(-300), Decimal(0))
    book.apply_trade(TaxTrade("9", day_ns("2024-06-20"), "Y", Decimal(-40), Decimal(11)))
    assert (match.gain, match.disallowed_loss) == (Decimal(-180), Decimal(120))
