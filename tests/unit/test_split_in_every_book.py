"""After an uneven split, every book holds what the broker holds: the exact ratio, and the fraction paid out or kept.

The broker's rule is whole shares with cash in lieu of the fraction, or exact fractions without it.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from operators.gateway.positions import GatewayPositions
from operators.ledger import Ledger, Split, TaxBook, to_tax_trade
from operators.ledger.split_ratio import exact_ratio, split_price, split_quantity
from operators.money import quantize
from operators.portfolio.targets import Target, Targets, net_target
from schemas.records import SPLIT, CorporateAction, Lot, Position
from tests.builders.external import corporate_action
from tests.builders.market import bar
from tests.builders.trades import trade
from tests.builders.trading import execution
from tests.unit.action_backtest import ActionBacktest, hourly, run_actions
from tests.unit.trading_loop_harness import DAYS, TradingLoopHarness

SPLITS = """
# held   ratio  in lieu  expected
  300    1:3    -        100
  300    1:3    50       100
  301    1:3    50       100
  301    1:3    -        100.333333333
  600    1:6    -        100
  600    1:6    50       100
  700    1:7    50       100
 1500    1:15   50       100
  101    3:2    50       151
  101    3:2    -        151.5
 -300    1:3    50      -100
 -301    1:3    50      -100
3000000  1:3    -        1000000
3000000  1:7    50       428571
"""
ROWS = [line.split() for line in SPLITS.strip().splitlines()[1:]]


@pytest.mark.parametrize(("held", "ratio", "in_lieu", "expected"), ROWS, ids=[" ".join(row) for row in ROWS])
def test_every_book_holds_what_the_broker_holds(held: str, ratio: str, in_lieu: str, expected: str) -> None:
    new, old = (Decimal(part) for part in ratio.split(":"))
    price, amount = Decimal(50), None if in_lieu == "-" else in_lieu
    split = corporate_action("s", SPLIT, "A", ex_date=DAYS[0], ratio=quantize(new / old), amount=amount)
    desk = TradingLoopHarness()
    fill = trade(1, int(held), str(price), symbol="A")
    desk.portfolio.on_slice(1, [fill])
    desk.risk.on_slice(1, [fill])
    desk.naive.book_execution(fill)
    desk.venue._fills.positions["A"] = quantize(Decimal(held))  # the venue counts only its own fills
    gateway = GatewayPositions()
    gateway.add("A", Decimal(held))
    tax_book = TaxBook()
    tax_trade = to_tax_trade(fill)
    assert tax_trade is not None
    tax_book.apply_trade(tax_trade)
    new_price = float(price * old / new)
    desk.step({"A": new_price}, split)
    gateway.apply_corporate_actions([split, bar("A", 1, 60_000_000_000, new_price, volume=1e6, day=DAYS[0])])
    event = Split("s", 2, "A", quantize(new / old), None if amount is None else Decimal(amount))
    tax_book.apply_action(event)
    quantities = {
        "ledger": desk.portfolio.ledger.quantity("A"),
        "risk": desk.risk.book.quantity("A"),
        "venue": desk.venue.positions["A"],
        "gateway": gateway.quantity_of("A"),
        "tax": quantize(sum((lot.quantity for _, _, lot in tax_book.open_lots()), Decimal(0))),
    }
    assert quantities == dict.fromkeys(quantities, Decimal(expected))


@pytest.mark.parametrize(("in_lieu", "first", "second"), [("98", "9.7", "10.3"), (None, "10", "10.3")])
def test_every_open_lot_is_recorded_after_a_split(in_lieu: str | None, first: str, second: str) -> None:
    ledger = Ledger(Decimal(100_000))
    records = [*ledger.apply(trade(1, 100, "10")), *ledger.apply(trade(2, 103, "12"))]
    cash_in_lieu = None if in_lieu is None else Decimal(in_lieu)
    records += ledger.apply_action(Split("s", 3, "X", Decimal("0.1"), cash_in_lieu))
    lots = {record.lot_id: (record.quantity, record.price) for record in records if type(record) is Lot}
    assert lots == {"lot-1": (Decimal(first), Decimal(100)), "lot-2": (Decimal(second), Decimal(120))}
    assert ledger.cash == 100_000 - 1000 - 1236 + (0 if in_lieu is None else Decimal("0.3") * 98)


def test_a_trade_in_thirds_of_shares_changes_the_position_by_its_exact_quantity() -> None:
    """The first lot has 2.999999999 units, almost as many as the sale."""
    ledger = Ledger(Decimal(100_000))
    for seq, quantity in enumerate((Decimal("8.999999997"), Decimal(41)), 1):
        ledger.apply(execution(seq, seq, "KO", quantity, 100))
    ledger.apply_action(Split("spl", 3, "KO", Decimal("0.333333333"), None))
    before = ledger.quantity("KO")
    ledger.apply(execution(3, 4, "KO", -3, 300))
    assert ledger.quantity("KO") == before - 3
    ledger.apply(execution(4, 5, "KO", 3 - before + Decimal("0.0000005"), 300))
    assert ledger.quantity("KO") == 0, "what is too small to trade is closed with the position"


def test_a_lot_that_ends_in_a_split_is_recorded_as_closed() -> None:
    ledger = Ledger(Decimal(0))
    records = [*ledger.apply(trade(1, "0.000000001", "10")), *ledger.apply(trade(2, 100, "10"))]
    records += ledger.apply_action(Split("s", 3, "X", Decimal("0.1"), None))
    lots = {record.lot_id: record.quantity for record in records if type(record) is Lot}
    assert lots == {"lot-1": Decimal(0), "lot-2": Decimal(10)}


@given(st.integers(1, 200), st.integers(1, 200), st.integers(-(10**9), 10**9))
@example(1, 3, 300_000_000)
def test_a_ratio_of_whole_numbers_is_exact(new: int, old: int, held: int) -> None:
    ratio = quantize(Decimal(new) / Decimal(old))
    assert exact_ratio(ratio) == Fraction(new, old)
    expected = Fraction(held * new, old)
    assert abs(Fraction(split_quantity(Decimal(held), ratio)) - expected) <= Fraction(1, 2 * 10**9)
    assert abs(Fraction(split_price(Decimal(held), ratio)) - Fraction(held * old, new)) <= Fraction(1, 2 * 10**9)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=4), st.sampled_from(["1:3", "2:7", "3:2", "1:15"]))
def test_targets_that_sum_to_the_position_do_so_after_a_split(quantities: list[int], text: str) -> None:
    new, old = (Decimal(part) for part in text.split(":"))
    ratio = quantize(new / old)
    targets = Targets({"X": {f"s{n}": Target(1, 1.0, 10.0, "", Decimal(q)) for n, q in enumerate(quantities)}})
    position = split_quantity(Decimal(sum(quantities)), ratio)
    targets.split("X", ratio, whole_units=True)
    assert net_target(targets["X"]) == int(position)


@pytest.mark.parametrize("in_lieu", ["", 300])
def test_a_ratio_written_as_a_text_reaches_the_tables(tmp_path: Path, in_lieu: object) -> None:
    run = _reverse_split(tmp_path, in_lieu)
    (action,) = set(run.of_type(CorporateAction))
    assert action.ratio == Decimal("0.333333333")
    positions: list[Position] = run.of_type(Position)
    assert [position.quantity for position in positions] == [300, 100, 0]
    assert run.valuations[-1].equity == run.valuations[0].equity
    assert [fill.quantity for fill in run.fills] == [300, 100]


def _reverse_split(folder: Path, in_lieu: object) -> ActionBacktest:
    action = {"kind": "SPLIT", "symbol": "X", "ratio": "1:3", "ex_date": "2024-06-04", "amount": in_lieu}
    bars = hourly("X", [100.0] * 24 + [300.0] * 24)
    return run_actions(folder, bars, [action], quantity=300, strategy={"leave": 30})
