"""The ledger matches worked cases and a naive ledger, and satisfies its accounting identities."""

from __future__ import annotations

import pickle
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given

from operators.ledger import Ledger, LedgerRecord
from schemas.records import CANCELED, EXPIRED, NEW, REJECTED, ExecType, Execution, Lot, LotMatch, Position
from tests.builders.trades import decimals, parse_trades, trade, trades
from tests.unit.naive_ledger import naive_book

CASES = """
# what is traded                                      matches: quantity pnl fees                  left open
+1000@1.07 +1000@1.08 -1500@1.09 -500@1.10          | 1000 20 0, 500 5 0, 500 10 0              |
+100@10 +100@12 -50@13                              | 50 150 0                                  | 50@10 100@12
+100@10/1 -40@11/2 -60@12/3                         | 40 40 2.4, 60 120 3.6                     |
-100@10 -100@12 +150@11                             | 100 -100 0, 50 50 0                       | -50@12
+100@10 -150@11                                     | 100 100 0                                 | -50@11
-10@5 +30@4                                         | 10 10 0                                   | 20@4
+100@10/1 -300@11/3                                 | 100 100 2                                 | -200@11
+3@10/0.01 -1@10/0 -1@10/0 -1@10/0                  | 1 0 0.003333333, 1 0 0.003333334, 1 0 0.003333333 |
+0.5@10 -0.2@20                                     | 0.2 2 0                                   | 0.3@10
"""


def cases() -> list[tuple[str, str, str]]:
    lines = [line for line in CASES.strip().splitlines() if not line.startswith("#")]
    return [(a.strip(), b.strip(), c.strip()) for a, b, c in (line.split("|") for line in lines)]


@pytest.mark.parametrize(("fills", "matches", "open_lots"), cases())
def test_fifo_cases(fills: str, matches: str, open_lots: str) -> None:
    ledger = Ledger(Decimal(1_000_000))
    actual = [r for execution in parse_trades(fills) for r in ledger.apply(execution) if type(r) is LotMatch]
    expected = [tuple(Decimal(n) for n in match.split()) for match in matches.split(",") if match.strip()]
    assert [(m.quantity, m.pnl, m.fees) for m in actual] == expected
    position = ledger.position("X")
    assert position is not None
    lots = [tuple(Decimal(n) for n in lot.split("@")) for lot in open_lots.split()]
    assert [(lot.quantity, lot.price) for lot in position.lots] == lots


def check_identities(ledger: Ledger, executions: list[Execution]) -> None:
    sign = {"BUY": 1, "SELL": -1}
    spent = sum((sign[e.side] * e.quantity * e.price for e in executions), Decimal(0))
    fees = sum((e.fee for e in executions), Decimal(0))
    assert ledger.cash == ledger.initial_cash - spent - fees
    assert ledger.fees == fees == sum((h.fees for h in ledger.positions()), Decimal(0))
    assert ledger.cost == sum((lot.cost for h in ledger.positions() for lot in h.lots), Decimal(0))
    for position in ledger.positions():
        assert position.quantity == sum((lot.quantity for lot in position.lots), Decimal(0))
        assert len({lot.quantity > 0 for lot in position.lots}) <= 1, "long and short lots at once"


@given(trades)
def test_any_tape_gives_the_naive_book_and_keeps_the_identities(inputs: list[tuple[int, Decimal, Decimal]]) -> None:
    ledger, executions = Ledger(Decimal(10_000)), []
    for seq, (units, price, fee) in enumerate(inputs, start=1):
        executions.append(trade(seq, units, str(price), str(fee)))
        ledger.apply(executions[-1])
        check_identities(ledger, executions)
    naive = naive_book(inputs, Decimal(10_000))
    assert Fraction(ledger.cash) == naive["cash"]
    assert Fraction(ledger.realized_pnl) == naive["realized"]
    assert Fraction(ledger.cost) == naive["cost"]
    assert Fraction(ledger.quantity("X")) == naive["quantity"]


@given(trades)
def test_every_fee_ends_in_one_match_or_in_an_open_lot(inputs: list[tuple[int, Decimal, Decimal]]) -> None:
    ledger, matched_fees, pnl = Ledger(Decimal(0)), Decimal(0), Decimal(0)
    for seq, (units, price, fee) in enumerate(inputs, start=1):
        for record in ledger.apply(trade(seq, units, str(price), str(fee))):
            if type(record) is LotMatch:
                matched_fees += record.fees
                pnl += record.pnl
    open_fees = sum((lot.fees for h in ledger.positions() for lot in h.lots), Decimal(0))
    assert matched_fees + open_fees == ledger.fees
    assert pnl == ledger.realized_pnl


@given(trades)
def test_a_crash_after_any_event_does_not_change_the_book(inputs: list[tuple[int, Decimal, Decimal]]) -> None:
    uninterrupted, restarted = Ledger(Decimal(0)), Ledger(Decimal(0))
    for seq, (units, price, fee) in enumerate(inputs, start=1):
        execution = trade(seq, units, str(price), str(fee))
        stored = pickle.dumps(restarted.snapshot())
        first = restarted.apply(execution)
        restarted = Ledger(Decimal(5))
        restarted.restore(pickle.loads(stored))  # noqa: S301 our own bytes
        repeated = restarted.apply(execution)
        assert repeated == first == uninterrupted.apply(execution)
        assert restarted.snapshot() == uninterrupted.snapshot()


def test_a_snapshot_is_not_changed_by_later_executions() -> None:
    ledger = Ledger(Decimal(0))
    ledger.apply(trade(1, 100, "10"))
    snapshot = ledger.snapshot()
    before = pickle.dumps(snapshot)
    ledger.apply(trade(2, -50, "11"))
    ledger.apply(trade(3, 50, "12", symbol="Y"))
    assert pickle.dumps(snapshot) == before


def test_one_counter_numbers_all_records_and_the_position_comes_last() -> None:
    ledger = Ledger(Decimal(0))
    all_records: list[LedgerRecord] = []
    for execution in parse_trades("+100@10 +100@12 -150@13 -100@14 +1@1"):
        records = ledger.apply(execution)
        assert type(records[-1]) is Position
        all_records += records
    assert [record.seq for record in all_records] == list(range(1, len(all_records) + 1))


def test_records_name_their_causes() -> None:
    ledger = Ledger(Decimal(0))
    ledger.apply(trade(7, 100, "10"))
    match, closed, opened, position = ledger.apply(trade(9, -150, "11"))
    assert isinstance(match, LotMatch) and isinstance(closed, Lot)
    assert isinstance(opened, Lot) and isinstance(position, Position)
    assert (match.match_id, match.lot_id, match.direction) == ("match-9-1", "lot-7", "LONG")
    assert (match.open_execution_id, match.close_execution_id) == ("exe-7", "exe-9")
    assert (match.opened_ns, match.closed_ns) == (7, 9)
    assert (closed.lot_id, closed.execution_id, closed.quantity) == ("lot-7", "exe-7", Decimal(0))
    assert (opened.lot_id, opened.execution_id) == ("lot-9", "exe-9")
    assert (opened.quantity, opened.price) == decimals("-50 11")
    assert (position.quantity, position.avg_price) == decimals("-50 11")
    assert (position.cost_basis, position.realized_pnl) == decimals("-550 100")


def test_duplicate_execution_changes_nothing() -> None:
    ledger = Ledger(Decimal(0))
    ledger.apply(trade(1, 100, "10"))
    before = ledger.snapshot()
    assert ledger.apply(trade(1, 100, "10")) == []
    assert ledger.snapshot() == before


@pytest.mark.parametrize("exec_type", [NEW, CANCELED, EXPIRED, REJECTED])
def test_only_trades_change_the_ledger(exec_type: ExecType) -> None:
    ledger = Ledger(Decimal(7))
    assert ledger.apply(trade(1, 100, "10", "1")._replace(exec_type=exec_type)) == []
    assert (ledger.cash, ledger.fees) == decimals("7 0")
    assert ledger.position("X") is None


def test_a_future_is_booked_with_its_multiplier() -> None:
    ledger = Ledger(Decimal(0), multipliers={"ES": Decimal(50)})
    ledger.apply(trade(1, 2, "4000.25", "5", symbol="ES"))
    *_, position = ledger.apply(trade(2, -1, "4010.25", "2.5", symbol="ES"))
    assert isinstance(position, Position)
    assert (position.realized_pnl, position.avg_price, position.cost_basis) == decimals("500 4000.25 200012.5")


def test_flat_position_stores_no_lots_whatever_its_history() -> None:
    ledger = Ledger(Decimal(0))
    size = 0
    for seq in range(1, 2001, 2):
        ledger.apply(trade(seq, 100, "10"))
        ledger.apply(trade(seq + 1, -100, "11"))
        if seq == 101:
            size = len(pickle.dumps(ledger.snapshot()))
    assert len(pickle.dumps(ledger.snapshot())) <= size + 16
