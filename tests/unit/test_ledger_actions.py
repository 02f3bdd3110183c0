"""Positions stay consistent through splits with remainders, stock dividends, symbol changes, delistings, currencies."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.ledger import (
    CashDividend,
    Delisting,
    Ledger,
    LedgerAction,
    SpinOff,
    Split,
    StockDividend,
    SymbolChange,
    TaxBook,
    TaxTrade,
)
from operators.ledger.events import apply_to_quantities
from operators.ledger.lots import METHODS, LotMethod
from operators.ledger.split_ratio import ROUNDING_REMAINDER
from operators.valuation import Marks
from schemas.errors import InvalidField
from schemas.records import Lot, LotMatch, Position
from tests.builders import corporate_action
from tests.builders.trades import decimals, fees, parse_trades, prices, trade, units


def lots_text(ledger: Ledger, symbol: str = "X") -> str:
    """Format each open lot as `"units@price=cost"`."""
    position = ledger.position(symbol)
    lots = position.lots if position is not None else []
    return " ".join(f"{lot.quantity.normalize():f}@{lot.price.normalize():f}={lot.cost.normalize():f}" for lot in lots)


def split(ratio: str, cash_in_lieu: str | None = None, seq: int = 1) -> Split:
    return Split(
        action_id=f"split-{seq}",
        ts_ns=seq,
        symbol="X",
        ratio=Decimal(ratio),
        cash_in_lieu=None if cash_in_lieu is None else Decimal(cash_in_lieu),
    )


SPLITS = """
# held               ratio            in lieu  held afterwards                       cash that came
+100@10              2                -        200@5=1000                            0
+100@10              0.1              -        10@100=1000                           0
-100@10              2                -        -200@5=-1000                          0
+100@10 +50@20       2                -        200@5=1000 100@10=1000                0
+10@9 +10@9 +10@9    0.333333333333   -        3.33333333@27.000000000=90 3.33333333@27=90 3.33333334@27=90  0
+1000@3              0.333333333      -        333.333333333@9=3000                  0
+300@3               0.333333333333   -        100@9=900                             0
+25@10               0.1              100      2@100=200                             50
+25@10               0.1              -        2.5@100=250                           0
"""


@pytest.mark.parametrize("line", [line for line in SPLITS.strip().splitlines() if not line.startswith("#")])
def test_splits(line: str) -> None:
    words = line.split()
    fills = [word for word in words if word[0] in "+-" and "@" in word and "=" not in word]
    ratio, in_lieu = words[len(fills)], words[len(fills) + 1]
    expected, cash = words[len(fills) + 2 : -1], Decimal(words[-1])
    ledger = Ledger(Decimal(0))
    for execution in parse_trades(" ".join(fills)):
        ledger.apply(execution)
    before = ledger.cash
    ledger.apply_action(split(ratio, None if in_lieu == "-" else in_lieu))
    expected_lots = [tuple(Decimal(n) for n in lot.replace("@", " ").replace("=", " ").split()) for lot in expected]
    actual_lots = [
        tuple(Decimal(n) for n in lot.replace("@", " ").replace("=", " ").split()) for lot in lots_text(ledger).split()
    ]
    for actual, expected_values in zip(actual_lots, expected_lots, strict=True):
        assert all(abs(a - b) < Decimal("1e-7") for a, b in zip(actual, expected_values, strict=True)), (
            f"{actual_lots} is not {expected_lots}"
        )
    assert ledger.cash - before == cash


def test_after_a_split_by_a_third_the_last_sale_leaves_no_remainder() -> None:
    ledger = Ledger(Decimal(0))
    for execution in parse_trades("+100@9 +200@9"):
        ledger.apply(execution)
    ledger.apply_action(split("0.3333333"))
    assert ledger.quantity("X") == Decimal("99.99999")
    ledger.apply(trade(3, -60, "30"))
    *_, position = ledger.apply(trade(4, "-39.9999905", "30"))
    assert isinstance(position, Position)
    assert (position.quantity, ledger.cost) == decimals("0 0")


def test_overselling_by_a_remainder_opens_no_short() -> None:
    ledger = Ledger(Decimal(0))
    ledger.apply(trade(1, 300, "3"))
    ledger.apply_action(split("0.33333333"))
    matches = [r for r in ledger.apply(trade(2, "-99.9999995", "10")) if type(r) is LotMatch]
    assert ledger.quantity("X") == 0
    assert [match.pnl for match in matches] == [Decimal("99.999995")]


def test_without_a_split_the_smallest_unit_counts() -> None:
    ledger = Ledger(Decimal(0))
    ledger.apply(trade(1, "1", "3"))
    ledger.apply(trade(2, "-0.999999999", "3"))
    assert ledger.quantity("X") == Decimal("0.000000001")


def test_a_stock_dividend_spreads_the_basis() -> None:
    ledger = Ledger(Decimal(0))
    ledger.apply(trade(1, 100, "21"))
    records = ledger.apply_action(StockDividend("sd-1", 2, "X", Decimal("0.05")))
    assert lots_text(ledger) == "105@20=2100"
    assert [type(record) for record in records] == [Lot, Position]


def test_symbol_change_keeps_lots_and_history() -> None:
    ledger = Ledger(Decimal(0))
    for execution in parse_trades("+100@10 -50@12"):
        ledger.apply(execution)
    ledger.apply(trade(3, 10, "11", symbol="NEW"))
    *_, position = ledger.apply_action(SymbolChange("sc-1", 4, "X", "NEW"))
    assert isinstance(position, Position)
    assert (position.symbol, position.realized_pnl) == ("NEW", Decimal(100))
    assert (lots_text(ledger), lots_text(ledger, "NEW")) == ("", "50@10=500 10@11=110")


@pytest.mark.parametrize(("price", "pnl"), [("0", "-1000"), ("2.5", "-750")])
def test_a_delisting_closes_everything(price: str, pnl: str) -> None:
    ledger, book = Ledger(Decimal(0)), TaxBook()
    ledger.apply(trade(1, 100, "10"))
    book.apply_trade(TaxTrade(trade_id="t", ts_ns=0, symbol="X", quantity=Decimal(100), price=Decimal(10)))
    delisting = Delisting("dl-1", 2, "X", Decimal(price))
    match = ledger.apply_action(delisting)[0]
    assert isinstance(match, LotMatch)
    assert (match.pnl, match.match_id, match.close_execution_id) == (Decimal(pnl), "match-dl-1-1", "dl-1")
    assert [m.gain for m in book.apply_action(delisting)] == [Decimal(pnl)]
    assert ledger.quantity("X") == 0


def test_a_dividend_is_paid_to_longs_and_owed_by_shorts() -> None:
    dividend = CashDividend(action_id="d-1", ex_day=1, pay_day=2, symbol="X", per_share=Decimal("0.25"))
    assert (dividend.amount_for(Decimal(100)), dividend.amount_for(Decimal(-40))) == decimals("25 -10")
    ledger = Ledger(Decimal(1000))
    ledger.credit(dividend.amount_for(Decimal(-40)))
    assert (ledger.cash, ledger.income) == decimals("990 -10")


@pytest.mark.parametrize(
    ("action", "field"),
    [
        (split("0"), "ratio"),
        (split("2", "-1"), "cash_in_lieu"),
        (StockDividend("a", 1, "X", Decimal(-1)), "ratio"),
        (Delisting("a", 1, "X", Decimal(-1)), "price"),
        (SymbolChange("a", 1, "X", "X"), "new_symbol"),
        (split("0.000000001"), "split ratio"),
    ],
)
def test_invalid_action_is_reported_and_changes_nothing(action: LedgerAction, field: str) -> None:
    ledger, book = Ledger(Decimal(0)), TaxBook()
    ledger.apply(trade(1, 100, "10"))
    book.apply_trade(TaxTrade(trade_id="t", ts_ns=0, symbol="X", quantity=Decimal(100), price=Decimal(10)))
    before = ledger.snapshot()
    for apply_action in (ledger.apply_action, book.apply_action):
        with pytest.raises(InvalidField, match=field):
            apply_action(action)
    assert ledger.snapshot() == before


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("other", "quantity", "cost", "realized"),
    [
        ("-10", "20", "2200", "400"),  # under average cost; other methods close lots of 900 or 1,200
        ("-30", "0", "0", "1200"),
        ("-50", "-20", "-3000", "1200"),
    ],
    ids=["long", "flat", "short"],
)
def test_opposite_positions_of_a_symbol_change_close_each_other(
    method: LotMethod, other: str, quantity: str, cost: str, realized: str
) -> None:
    """10 at 90 and 20 at 120, 3,300 together, against shorts at 150. No money moves."""
    ledger = Ledger(Decimal(0), method=method)
    trades = [("10", "90", "X"), ("20", "120", "X"), (other, "150", "Y")]
    for seq, (traded, price, symbol) in enumerate(trades, start=1):
        ledger.apply(trade(seq, traded, price, symbol=symbol))
    cash = ledger.cash
    records = ledger.apply_action(SymbolChange("sc", 4, "X", "Y"))
    (position,) = ledger.positions()
    assert (ledger.cash, position.symbol, position.quantity) == (cash, "Y", Decimal(quantity))
    assert position.realized_pnl - position.cost == Decimal(realized) - Decimal(cost), "the sum needs no lot method"
    if other != "-10" or method == "average":
        assert (position.cost, position.realized_pnl) == (Decimal(cost), Decimal(realized))
    matches = [one for one in records if isinstance(one, LotMatch)]
    assert len({one.match_id for one in matches}) == len(matches) >= 2
    assert sum((one.pnl for one in matches), Decimal(0)) == position.realized_pnl
    closed = {direction: Decimal(0) for direction in ("LONG", "SHORT")}
    for one in matches:
        closed[one.direction] += one.quantity
    assert closed["LONG"] == closed["SHORT"] == min(Decimal(30), -Decimal(other))
    former, renamed = [one for one in records if isinstance(one, Position)]
    assert (former.symbol, former.quantity, renamed.symbol) == ("X", Decimal(0), "Y")
    assert (renamed.quantity, renamed.cost_basis) == (position.quantity, position.cost)
    restored = Ledger(Decimal(0), method=method)
    restored.restore(ledger.snapshot())
    assert restored.snapshot() == ledger.snapshot()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("other", "quantity", "cost", "realized"),
    [(-10, 20, 800, 200), (-30, 0, 0, 600), (-50, -20, -1200, 600)],
    ids=["same side", "flat", "other side"],
)
def test_distributed_shares_close_opposite_ones(
    method: LotMethod, sign: int, other: int, quantity: int, cost: int, realized: int
) -> None:
    """30 of Y with a basis of 40 each are distributed for 100 of X bought at 50. Y was sold at 60. No money moves."""
    ledger = Ledger(Decimal(0), method=method)
    ledger.apply(trade(1, sign * 100, "50", symbol="X"))
    ledger.apply(trade(2, sign * other, "60", symbol="Y"))
    cash = ledger.cash
    records = ledger.apply_action(SpinOff("s", 3, "X", "Y", Decimal("0.3"), Decimal("0.24")))
    x, y = ledger.positions()
    assert (ledger.cash, x.quantity, x.cost) == (cash, Decimal(sign * 100), Decimal(sign * 3800))
    expected = [Decimal(sign * amount) for amount in (quantity, cost, realized)]
    assert [y.quantity, y.cost, y.realized_pnl] == expected
    assert sum(lot.quantity for lot in y.lots) == y.quantity and sum(lot.cost for lot in y.lots) == y.cost
    matches = [one for one in records if isinstance(one, LotMatch)]
    assert sum(one.pnl for one in matches) == ledger.realized_pnl == sign * realized
    assert [one.symbol for one in records if isinstance(one, Position)] == ["X", "Y"]
    restored = Ledger(Decimal(0), method=method)
    restored.restore(ledger.snapshot())
    assert restored.snapshot() == ledger.snapshot()


def test_the_matches_of_distributed_shares_and_of_a_sold_fraction_have_different_ids() -> None:
    """30.5 of Y close 10 that were sold short, and half a share is sold for 40."""
    ledger = Ledger(Decimal(0))
    ledger.apply(trade(1, 100, "50", symbol="X"))
    ledger.apply(trade(2, -10, "60", symbol="Y"))
    cash = ledger.cash
    action = SpinOff("s", 3, "X", "Y", Decimal("0.305"), Decimal("0.24"), Decimal(40))
    matches = [one for one in ledger.apply_action(action) if isinstance(one, LotMatch)]
    assert (ledger.quantity("Y"), ledger.cash - cash) == decimals("20 20")
    assert len({one.match_id for one in matches}) == len(matches) == 3


@pytest.mark.parametrize("method", ["fifo", "lifo", "hifo", "average"])
def test_distributed_shares_keep_their_age_among_other_lots(method: LotMethod) -> None:
    """The shares of X are older than a purchase of Y at the price of the distributed shares."""
    ledger = Ledger(Decimal(0), method=method)
    ledger.apply(trade(1, 10, "50", symbol="X"))
    ledger.apply(trade(2, 10, "10", symbol="Y"))
    ledger.apply_action(SpinOff("s", 3, "X", "Y", Decimal(1), Decimal("0.2")))
    (match,) = (one for one in ledger.apply(trade(4, -10, "12", symbol="Y")) if isinstance(one, LotMatch))
    assert match.lot_id == ("lot-2" if method == "lifo" else "lot-1/s")


@pytest.mark.parametrize(("other", "after"), [(-10, {"Y": 20}), (-30, {"Y": 0}), (-50, {"Y": -20})])
def test_quantities_without_lots_sum_as_in_the_ledger(other: int, after: dict[str, int]) -> None:
    action = corporate_action("sc", "SYMBOL_CHANGE", "X", new_symbol="Y")
    assert apply_to_quantities({"X": Decimal(30), "Y": Decimal(other)}, {}, action, 1) == after


events = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), units, prices, fees),
        st.tuples(
            st.just("split"), st.sampled_from(["2", "0.5", "0.333333333", "1.5", "0.1"]), st.just(""), st.just("")
        ),
        st.tuples(st.just("dividend"), st.just("0.05"), st.just(""), st.just("")),
        st.tuples(st.just("credit"), st.sampled_from(["1.25", "-3"]), st.just(""), st.just("")),
    ),
    max_size=15,
)


@given(events, st.sampled_from(["fifo", "lifo", "hifo", "average"]), st.sampled_from([None, Decimal(7)]))
def test_lots_always_sum_to_the_position(inputs: list[Any], method: LotMethod, in_lieu: Decimal | None) -> None:
    ledger, cash_change = Ledger(Decimal(500), method=method), Decimal(0)
    for seq, (kind, a, price, fee) in enumerate(inputs, start=1):
        if kind == "trade":
            ledger.apply(trade(seq, a, str(price), str(fee)))
            cash_change -= a * price + fee
        elif kind == "credit":
            ledger.credit(Decimal(a))
            cash_change += Decimal(a)
        else:
            action = Split if kind == "split" else StockDividend
            before = ledger.cash
            ledger.apply_action(action(f"a-{seq}", seq, "X", Decimal(a), in_lieu))
            cash_change += ledger.cash - before
        restored = Ledger(Decimal(0), method=method)
        restored.restore(pickle.loads(pickle.dumps(ledger.snapshot())))  # noqa: S301 our own bytes
        assert restored.snapshot() == ledger.snapshot()
        ledger = restored
        position = ledger.position("X")
        if position is None:
            continue
        lots = position.lots
        assert sum((lot.quantity for lot in lots), Decimal(0)) == position.quantity
        assert sum((lot.cost for lot in lots), Decimal(0)) == position.cost
        assert all(lot.quantity * position.quantity > 0 for lot in lots)
        if position.quantity and position.book.rounding_remainder:
            assert abs(position.quantity) > ROUNDING_REMAINDER
        assert ledger.cash == Decimal(500) + cash_change


def test_other_currencies_are_booked_at_the_recorded_rate() -> None:
    ledger, marks = Ledger(Decimal(0), currencies={"SAP": "EUR"}), Marks()
    with pytest.raises(InvalidField, match="SAP trades in EUR"):
        ledger.apply(trade(1, 10, "100", symbol="SAP"))
    ledger.set_rate("EUR", Decimal("1.10"))
    ledger.apply(trade(1, 10, "100", symbol="SAP"))
    assert (ledger.cash, ledger.cost) == decimals("-1100 1100")
    marks.prices["SAP"] = 100.0
    for symbol in ledger.set_rate("EUR", Decimal("1.20")):
        marks.revalue(ledger, [symbol])
    assert marks.to_valuation(ledger, 1, 1).unrealized_pnl == 100, "the price stood still, the euro rose"
    match = ledger.apply(trade(2, -10, "100", symbol="SAP"))[0]
    assert isinstance(match, LotMatch)
    assert (match.pnl, match.entry_price, match.exit_price) == decimals("100 100 100")


@pytest.mark.parametrize("rate", ["0", "-1", "NaN"])
def test_invalid_rate_is_rejected(rate: str) -> None:
    with pytest.raises(InvalidField, match="rate of EUR"):
        Ledger(Decimal(0)).set_rate("EUR", Decimal(rate))
