"""Wash sales: examples of IRS Pub. 550, boundaries, and random tapes against a reference that knows the future."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.ledger import Split, TaxBook, TaxMatch, TaxTrade
from operators.ledger.lots import LotMethod
from operators.ledger.wash_sales import DAY_NS
from tests.builders.trades import fees, prices, units
from tests.unit.naive_lots import Unit, apply_wash_sales, naive_units

EPOCH = date(1970, 1, 1).toordinal()

# Columns: fills (day, units @ price / fee); disallowed losses of the matches; open lots (units, basis, holding start).
# Days are in 2024, except for December 2023.
CASES = """
1-02 +100@10, 3-01 -100@7.5, 3-15 +100@8      | 250      | 100 1050 1-16   | Pub. 550: bought for 1000, sold for 750
1-02 +100@10, 3-01 -100@7.5, 3-31 +100@8      | 250      | 100 1050 2-01   | the 30th day after counts
1-02 +100@10, 3-01 -100@7.5, 4-01 +100@8      | 0        | 100 800 4-01    | the 31st does not
1-02 +100@10, 2-10 +100@8, 3-11 -100@7.5      | 250      | 100 1050 12-03  | bought 30 days before
1-02 +100@10, 2-09 +100@8, 3-11 -100@7.5      | 0        | 100 800 2-09    | 31 days before
1-02 +100@10, 3-01 -100@7.5, 3-15 +40@8       | 100      | 40 420 1-16     | partly replaced: 40 of 100
1-02 +100@10, 3-01 -100@7.5, 3-15 +300@8      | 250      | 100 1050 1-16, 200 1600 3-15 | more bought than sold
1-02 +100@10, 3-01 -100@7.5, 3-10 +60@8, 3-15 +60@9 | 250 | 60 630 1-11, 40 460 1-16, 20 180 3-15 | first bought first
1-02 +100@10, 3-01 -100@11, 3-15 +100@8       | 0        | 100 800 3-15    | a gain is no wash sale
1-02 +100@10/5, 3-01 -100@10/5, 3-15 +100@8/1 | 10       | 100 811 1-16    | fees make the loss
1-02 +100@10, 3-01 -40@7.5                    | 0        | 60 600 1-02     | the rest of one purchase replaces nothing
1-02 +100@10, 1-10 +100@9, 1-20 -200@8        | 0 0      |                 | nor what the same sale sold
1-02 +100@10, 3-01 -100@7.5, 3-15 +100@8, 3-20 -100@7, 4-10 +100@6 | 250 350 | 100 950 2-06 | a chain carries it all
1-02 -100@10, 3-01 +100@12, 3-15 -100@11      | 200      | -100 900 1-16   | a short sale, closed and made again
"""


def day(text: str) -> int:
    month, day_of_month = map(int, text.split("-"))
    year = 2023 if month == 12 else 2024
    return date(year, month, day_of_month).toordinal() - EPOCH


def apply_fills(book: TaxBook, fills: str) -> list[TaxMatch]:
    matches = []
    for number, fill in enumerate(fills.split(","), start=1):
        day_text, terms = fill.split()
        quantity, _, rest = terms.partition("@")
        price, _, fee = rest.partition("/")
        amounts = (Decimal(quantity), Decimal(price), Decimal(fee or 0))
        matches += book.apply_trade(TaxTrade(f"t{number}", day(day_text) * DAY_NS, "X", *amounts))
    return matches


@pytest.mark.parametrize("line", CASES.strip().splitlines())
def test_worked_cases(line: str) -> None:
    fills, disallowed, lots, _ = (part.strip() for part in line.split("|"))
    book = TaxBook(wash_sales=True)
    matches = apply_fills(book, fills)
    assert [match.disallowed_loss for match in matches] == [Decimal(amount) for amount in disallowed.split()]
    actual = [
        (lot.quantity, abs(lot.cost + lot.fees + lot.carried_loss), lot.term_start_ns // DAY_NS)
        for _, _, lot in book.open_lots()
    ]
    expected = [lot.split() for lot in lots.split(",") if lot]
    assert actual == [(Decimal(q), Decimal(basis), day(since)) for q, basis, since in expected]


def test_without_wash_sales_nothing_is_disallowed() -> None:
    (match,) = apply_fills(TaxBook(), "1-02 +100@10, 3-01 -100@7.5, 3-15 +100@8")
    assert (match.gain, match.disallowed_loss) == (Decimal(-250), Decimal(0))


def test_fills_of_one_order_are_one_purchase() -> None:
    book = TaxBook(wash_sales=True)
    for number in (1, 2):
        book.apply_trade(
            TaxTrade(
                trade_id=f"t{number}",
                ts_ns=0,
                symbol="X",
                quantity=Decimal(50),
                price=Decimal(10),
                order_id="order-1",
            )
        )
    (match,) = book.apply_trade(
        TaxTrade(trade_id="t3", ts_ns=DAY_NS, symbol="X", quantity=Decimal(-50), price=Decimal(9))
    )
    assert match.disallowed_loss == 0


def test_selling_the_replacement_releases_the_disallowed_loss() -> None:
    matches = apply_fills(TaxBook(wash_sales=True), "1-02 +100@10, 3-01 -100@7.5, 3-15 +100@8, 6-03 -100@12")
    assert [match.gain for match in matches] == [Decimal(0), Decimal(150)]
    assert matches[1].pnl == 400


def test_a_split_between_sale_and_replacement_counts_in_new_units() -> None:
    book = TaxBook(wash_sales=True)
    (sale,) = apply_fills(book, "1-02 +100@10, 3-01 -100@7.5")
    book.apply_action(Split("s", day("3-02") * DAY_NS, "X", Decimal(2)))
    book.apply_trade(
        TaxTrade(trade_id="t3", ts_ns=day("3-15") * DAY_NS, symbol="X", quantity=Decimal(100), price=Decimal(4))
    )
    assert sale.disallowed_loss == 125


def test_a_reverse_split_that_leaves_nothing_to_replace_ends_the_search() -> None:
    book = TaxBook(wash_sales=True)
    (sale,) = apply_fills(book, "1-02 +1@10, 3-01 -1@7.5")
    book.apply_action(Split("s", day("3-02") * DAY_NS, "X", Decimal("1e-20")))
    book.apply_trade(
        TaxTrade(trade_id="t3", ts_ns=day("3-15") * DAY_NS, symbol="X", quantity=Decimal(100), price=Decimal(4))
    )
    assert sale.disallowed_loss == 0


def require_same_disallowed(matches: Sequence[TaxMatch], naive: Sequence[Unit]) -> None:
    """Compare the disallowed losses by opening and closing trade."""
    disallowed: dict[tuple[int, int], Fraction] = {}
    for match in matches:
        key = (int(match.open_id), int(match.close_id))
        disallowed[key] = disallowed.get(key, Fraction(0)) + Fraction(match.disallowed_loss)
    expected: dict[tuple[int, int], Fraction] = {}
    for unit in naive:
        if unit.exit_trade_index is not None:
            key = (unit.trade_index, unit.exit_trade_index)
            expected[key] = expected.get(key, Fraction(0)) + unit.disallowed_loss
    assert disallowed == expected


days = st.lists(st.tuples(st.integers(0, 20), units, st.integers(1, 20)), max_size=14)


@settings(max_examples=300)
@given(days, st.sampled_from(["fifo", "lifo"]))
def test_any_tape_matches_the_naive_wash_sale_reference(inputs: list[tuple[int, int, int]], method: LotMethod) -> None:
    book, matches, now = TaxBook(method, wash_sales=True), [], 0
    tape = []
    for number, (gap, quantity, price) in enumerate(inputs):
        now += gap
        tape.append((now, quantity, Fraction(price)))
        matches += book.apply_trade(
            TaxTrade(
                trade_id=str(number), ts_ns=now * DAY_NS, symbol="X", quantity=Decimal(quantity), price=Decimal(price)
            )
        )
    naive = naive_units(tape, method)
    apply_wash_sales(naive, range(len(tape)))

    require_same_disallowed(matches, naive)

    actual = []
    for _, _, lot in book.open_lots():
        term_days_before = (lot.opened_ns - lot.term_start_ns) // DAY_NS
        size = abs(int(lot.quantity))
        actual += [(int(lot.lot_id), Fraction(lot.carried_loss) / size, term_days_before)] * size
    open_units = [
        (unit.trade_index, unit.carried_loss, unit.term_days_before) for unit in naive if unit.exit_trade_index is None
    ]
    assert sorted(actual) == sorted(open_units)


interleaved = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 2), units, st.integers(1, 20)).map(
        lambda step: step if step[0] > 6 else (0, *step[1:])
    ),
    max_size=14,
)


@settings(max_examples=400)
@given(interleaved, st.sampled_from(["fifo", "lifo"]))
def test_orders_of_several_fills_match_the_naive_wash_sale_reference(
    inputs: list[tuple[int, int, int, int]], method: LotMethod
) -> None:
    """Up to three orders of each side are filled in turns on one day."""
    tape, trades, orders, order_numbers, now = [], [], [], dict[tuple[int, int, bool], int](), 0
    for number, (gap, order, quantity, price) in enumerate(inputs):
        now += gap
        tape.append((now, quantity, Fraction(price)))
        orders.append(order_numbers.setdefault((now, order, quantity > 0), len(order_numbers)))
        trades.append(
            TaxTrade(
                trade_id=str(number),
                ts_ns=now * DAY_NS + number,
                symbol="X",
                quantity=Decimal(quantity),
                price=Decimal(price),
                order_id=f"order {order} {'buy' if quantity > 0 else 'sell'}",
            )
        )
    matches = TaxBook(method, wash_sales=True).apply_events(trades)
    naive = naive_units(tape, method)
    apply_wash_sales(naive, orders)
    require_same_disallowed(matches, naive)


def basis(book: TaxBook) -> Decimal:
    return sum((lot.cost + lot.fees + lot.carried_loss for _, _, lot in book.open_lots()), Decimal(0))


steps = st.lists(st.tuples(st.integers(0, 20), units, prices, fees), max_size=14)


@given(steps, st.sampled_from(["fifo", "lifo", "hifo", "average"]))
def test_disallowed_loss_is_deferred_never_lost(
    inputs: list[tuple[int, int, Decimal, Decimal]], method: LotMethod
) -> None:
    with_wash_sales, without_wash_sales, now = TaxBook(method, wash_sales=True), TaxBook(method), 0
    matches: list[TaxMatch] = []
    gains = Decimal(0)
    for number, (gap, quantity, price, fee) in enumerate(inputs):
        now += gap
        trade = TaxTrade(
            trade_id=str(number), ts_ns=now * DAY_NS, symbol="X", quantity=Decimal(quantity), price=price, fee=fee
        )
        matches += with_wash_sales.apply_trade(trade)
        gains += sum((match.gain for match in without_wash_sales.apply_trade(trade)), Decimal(0))
    disallowed = sum((match.disallowed_loss for match in matches), Decimal(0))
    carried_by_matches = sum((match.closed_lot.carried_loss for match in matches), Decimal(0))
    carried_by_open_lots = sum((lot.carried_loss for _, _, lot in with_wash_sales.open_lots()), Decimal(0))
    assert disallowed == carried_by_matches + carried_by_open_lots
    assert sum((match.gain for match in matches), Decimal(0)) - basis(with_wash_sales) == gains - basis(
        without_wash_sales
    )


def test_a_rounded_ratio_converts_a_loss_sale_exactly() -> None:
    """30 old shares are 10 new ones, not 9.99999999: ten new shares replace them all."""
    book = TaxBook(wash_sales=True)
    (sale,) = apply_fills(book, "1-02 +30@10, 3-01 -30@7.5")
    book.apply_action(Split("s", day("3-02") * DAY_NS, "X", Decimal("0.333333333")))
    book.apply_trade(
        TaxTrade(trade_id="t3", ts_ns=day("3-15") * DAY_NS, symbol="X", quantity=Decimal(11), price=Decimal(20))
    )
    assert sale.disallowed_loss == 75
    assert [lot.quantity for _, _, lot in book.open_lots()] == [10, 1]
