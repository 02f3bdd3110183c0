"""Excursions of closed lots, against prices by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest

from operators.excursions import Excursion, SymbolBars, excursion, is_market_order, is_measurable
from schemas.records import CLS, DAY, LIMIT, MARKET, SHORT, LotMatch
from tests.builders import bar, execution, lot_match

MINUTE_NS = 60 * 10**9
# Minutes from 0: open, high, low, close. Minutes 4 and 5 have no bar.
PRICES = {
    0: (100, 109, 90, 101),
    1: (101, 104, 98, 103),
    2: (103, 106, 102, 105),
    3: (105, 111, 95, 110),
    6: (80, 120, 70, 100),
}


def bars() -> SymbolBars:
    found = SymbolBars()
    for seq, (minute, (open_price, high, low, close)) in enumerate(PRICES.items(), 1):
        found.add(bar("AAPL", seq, (minute + 1) * MINUTE_NS, close, open=open_price, high=high, low=low))
    return found


def lot(opened: float, closed: float, entry_price: float, exit_price: float) -> LotMatch:
    """Build a long lot; times are minutes."""
    closed_ns = int(closed * MINUTE_NS)
    return lot_match(
        *(1, closed_ns),
        entry_price=entry_price,
        exit_price=exit_price,
        opened_ns=int(opened * MINUTE_NS),
        closed_ns=closed_ns,
    )


def measured(match: LotMatch, *, is_market: bool = False) -> tuple[int, int, int]:
    low, high, count = excursion(match, bars().holding_period(match), is_market=is_market)
    return int(low), int(high), count


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (lot(0, 2, 100, 103), (90, 109, 2)),  # at the price of the open, so the first bar counts whole
        (lot(0, 2, 99, 103), (98, 104, 2)),  # inside the first bar, of which the close counts
        (lot(0.5, 2, 100, 103), (98, 104, 2)),
        (lot(0, 0.5, 100, 107), (100, 107, 0)),  # exit in the same bar
        (lot(1.5, 3.5, 102, 104), (102, 106, 2)),  # of the exit's bar, the open at 105 counts
        (lot(3.5, 4.5, 100, 101), (100, 110, 0)),  # exit without a bar: the close of the entry's bar counts
        (lot(2.5, 5, 104, 104), (95, 111, 1)),  # the last bar ends before the exit, so it counts whole
        (lot(4.5, 7, 100, 100), (70, 120, 1)),  # entry without a bar: the next bar counts whole, no earlier one does
        (lot(4.2, 4.8, 100, 101), (100, 101, 0)),
    ],
)
def test_only_prices_that_lie_between_entry_and_exit_count(match: LotMatch, expected: tuple[int, int, int]) -> None:
    assert measured(match) == expected


def test_a_market_order_enters_at_the_open_whatever_its_price_is() -> None:
    slipped = lot(0, 2, 99, 103)
    assert measured(slipped, is_market=True) == (90, 109, 2)
    assert measured(lot(0.5, 2, 99, 103), is_market=True) == (98, 104, 2)
    assert is_market_order(MARKET, DAY)
    assert not is_market_order(MARKET, CLS) and not is_market_order(LIMIT, DAY)


def test_the_excursions_of_a_short_lot_are_those_of_a_long_one_mirrored() -> None:
    found = Excursion(Decimal(90), Decimal(125), 3)
    long = lot(0, 3, 100, 110)
    assert found.fractions(long) == (-0.1, 0.25)
    assert found.fractions(long._replace(direction=SHORT)) == (-0.25, 0.1)
    assert found.fractions(long._replace(entry_price=Decimal(0))) is None


def test_a_lot_is_measurable_only_with_the_price_and_the_symbol_of_its_execution() -> None:
    match = lot(0, 2, 100, 103)
    assert is_measurable(match, execution(1, 0, "AAPL", 10, 100))
    assert not is_measurable(match, execution(1, 0, "AAPL", 10, 400)), "a 4:1 split"
    assert not is_measurable(match, execution(1, 0, "FB", 10, 100)), "a new symbol"
