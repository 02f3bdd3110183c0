"""Spin-offs, rights and mergers through the whole pipeline, long and short, with their cost basis.

X trades at 100. In the spin-off, 3 shares of Y are distributed for 10 of X, and 24 % of the basis moves to them: X
opens at 76, Y at 80. Nobody has gained or lost anything.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.trade_files.actions import read_actions
from operators.ledger import Ledger, MergerCash, SpinOff, TaxBook, to_tax_trade
from schemas.errors import BadInput, InvalidField
from schemas.records import Attribution, CashFlow, Lot, LotMatch, Position
from tests.builders import corporate_action
from tests.builders.trades import trade
from tests.unit.action_backtest import CAPITAL, ActionBacktest, hourly, run_actions
from tests.unit.trading_loop_harness import DAYS, TradingLoopHarness, desk_with_position

SPIN_OFF = {"kind": "SPIN_OFF", "symbol": "X", "new_symbol": "Y", "ratio": 0.3, "cost_share": 0.24}
EX = {"ex_date": "2024-06-04"}


def run_spin_off(folder: Path, direction: int, first_hour_of_y: int, **action: Any) -> ActionBacktest:
    bars = hourly("X", [100.0] * 24 + [76.0] * 24) + hourly("Y", [80.0] * 20, first_hour=first_hour_of_y)
    return run_actions(
        folder,
        bars,
        [SPIN_OFF | EX | action],
        strategy={"direction": direction, "only": "X"},
        settings={"feedback": {"attribution_interval_s": 3600}},
    )


@pytest.mark.parametrize("kind", ["SPIN_OFF", "RIGHTS"])
@pytest.mark.parametrize("first_hour_of_y", [24, 28])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_distribution_moves_shares_and_basis_but_no_money(
    tmp_path: Path, direction: int, first_hour_of_y: int, kind: str
) -> None:
    run = run_spin_off(tmp_path, direction, first_hour_of_y, kind=kind)
    until_y_trades = [one for one in run.valuations if one.open_positions == 2]
    assert {valuation.equity for valuation in run.valuations[: first_hour_of_y + 1]} == {CAPITAL}
    assert until_y_trades
    positions = {record.symbol: record for record in run.of_type(Position)}
    x, y = positions["X"], positions["Y"]
    assert (x.quantity, x.cost_basis, x.avg_price) == (1000 * direction, 76_000 * direction, 76)
    assert (y.quantity, y.cost_basis, y.avg_price) == (300 * direction, 24_000 * direction, 80)
    assert len(run.fills) >= 1 and run.fills[0].symbol == "X"
    rows: list[Attribution] = run.of_type(Attribution)
    assert {row.strategy for row in rows if row.realized_pnl or row.unrealized_pnl} <= {"scheduled"}


def test_a_fraction_of_a_distributed_share_is_paid_out(tmp_path: Path) -> None:
    run = run_spin_off(tmp_path, 1, 24, ratio="1:3", amount=70)
    positions = {record.symbol: record for record in run.of_type(Position)}
    assert positions["Y"].quantity == 333
    assert [flow.amount for flow in run.of_type(CashFlow)] == [0]
    lots = {lot.lot_id: lot for lot in run.of_type(Lot) if lot.symbol == "Y"}
    assert [lot.quantity for lot in lots.values()] == [333]


@pytest.mark.parametrize("direction", [1, -1])
def test_a_merger_for_cash_pays_out_every_share(tmp_path: Path, direction: int) -> None:
    merger = {"kind": "CASH_MERGER", "symbol": "X", "amount": 110} | EX
    bars = hourly("X", [100.0] * 24) + hourly("Z", [5.0] * 48)
    run = run_actions(tmp_path, bars, [merger], strategy={"direction": direction, "only": "X"})
    positions = {record.symbol: record.quantity for record in run.of_type(Position)}
    assert positions["X"] == 0
    assert run.valuations[-1].equity == CAPITAL + 10_000 * direction


@pytest.mark.parametrize("direction", [1, -1])
def test_a_merger_for_stock_exchanges_every_share(tmp_path: Path, direction: int) -> None:
    merger = {"kind": "STOCK_MERGER", "symbol": "X", "new_symbol": "M", "ratio": "1:4", "amount": 400} | EX
    bars = hourly("X", [100.0] * 24) + hourly("M", [400.0] * 48)
    run = run_actions(tmp_path, bars, [merger], quantity=1002, strategy={"direction": direction, "only": "X"})
    positions = {record.symbol: record for record in run.of_type(Position)}
    assert positions["X"].quantity == 0
    assert positions["M"].quantity == 250 * direction
    assert {valuation.equity for valuation in run.valuations} == {CAPITAL}


@pytest.mark.parametrize("direction", [1, -1])
def test_a_merger_for_stock_and_cash_moves_no_equity(tmp_path: Path, direction: int) -> None:
    """X at 100 becomes 20 in cash and a fifth of a share of M at 400. Bought at 100: no gain, so the basis is 80."""
    merger = {"kind": "STOCK_MERGER", "symbol": "X", "new_symbol": "M", "ratio": "1:5", "amount": 400} | EX
    bars = hourly("X", [100.0] * 24) + hourly("M", [400.0] * 24, first_hour=26) + hourly("Z", [5.0] * 50)
    run = run_actions(
        tmp_path,
        bars,
        [merger | {"cash_per_share": 20}],
        quantity=1002,
        strategy={"direction": direction, "only": "X"},
        settings={"feedback": {"attribution_interval_s": 3600}},
    )
    positions = {record.symbol: record for record in run.of_type(Position)}
    assert positions["X"].quantity == 0
    assert (positions["M"].quantity, positions["M"].avg_price) == (200 * direction, 400)
    assert {valuation.equity for valuation in run.valuations} == {CAPITAL}
    assert run.valuations[-1].cash == CAPITAL - direction * (100_200 - 1002 * 20 - Decimal("0.4") * 400)
    rows: list[Attribution] = run.of_type(Attribution)
    assert {row.strategy for row in rows if row.realized_pnl or row.unrealized_pnl} <= {"scheduled"}


@pytest.mark.parametrize(
    ("bought_at", "gain", "basis"),
    [
        (60, 20, 60),  # 90 received: a gain of 30, taxable up to the cash of 20
        (75, 15, 70),  # a gain of 15, all of it taxable: the basis is the value of the new shares
        (95, 0, 75),  # a loss of 5 is not taxable: the cash returns basis
    ],
)
@pytest.mark.parametrize("method", ["fifo", "hifo", "average"])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_cash_of_a_merger_is_taxable_up_to_the_gain(
    bought_at: int, gain: Any, basis: Any, method: Any, sign: Any
) -> None:
    """Each of 100 shares becomes 20 in cash and half a share worth 140, together 90."""
    ledger, tax = Ledger(Decimal(0), method=method), TaxBook(method)
    fill = trade(1, sign * 100, str(bought_at), symbol="X")
    ledger.apply(fill)
    tax_trade = to_tax_trade(fill)
    assert tax_trade is not None
    tax.apply_trade(tax_trade)
    event = MergerCash("m", 10, "X", Decimal(20), Decimal(140), Decimal("0.5"))
    cash = ledger.cash
    out = ledger.apply_action(event)
    assert ledger.cash - cash == sign * 2000
    position = ledger.position("X")
    assert position is not None
    assert (position.realized_pnl, position.cost) == (sign * 100 * gain, sign * 100 * basis)
    matches = [record for record in out if type(record) is LotMatch]
    assert [(one.quantity, one.pnl, one.exit_price) for one in matches] == [
        (Decimal(100), sign * 100 * gain, Decimal(20))
    ] * bool(gain)
    assert all(one.pnl == sign * one.quantity * (one.exit_price - one.entry_price) for one in matches)
    [lot] = [record for record in out if type(record) is Lot]
    assert (lot.quantity, lot.price) == (sign * 100, basis)
    assert [match.gain for match in tax.apply_action(event)] == [Decimal(sign * 100 * gain)] * bool(gain)
    assert [(lot.quantity, lot.cost) for _, _, lot in tax.open_lots()] == [(sign * 100, sign * 100 * basis)]


def test_a_merger_for_stock_and_cash_is_one_row_of_a_file_of_corporate_actions(tmp_path: Path) -> None:
    """The example of docs/howto/taxes.md: basis 60, 20 in cash and half a unit worth 140."""
    file, tax = tmp_path / "actions.csv", TaxBook("fifo")
    header = "time,symbol,ratio,cash_in_lieu,new_symbol,cash_per_unit"
    file.write_text(f"{header}\n2024-06-04,X,1:2,140,M,20\n")
    tax_trade = to_tax_trade(trade(1, 101, "60", symbol="X"))
    assert tax_trade is not None
    events = [row.event for row in read_actions(file, ZoneInfo("America/New_York"), zoned=False)]
    merger, fraction = tax.apply_events([tax_trade, *events])
    assert (merger.gain, fraction.gain) == (Decimal(101 * 20), Decimal("0.5") * (140 - 120))
    [(symbol, _, lot)] = tax.open_lots()
    assert (symbol, lot.quantity, lot.cost) == ("M", Decimal(50), Decimal(6000))
    for row in ("2024-06-04,X,1:2,,M,20", "2024-06-04,X,1:2,140,,20", "2024-06-04,X,,,M,20"):
        file.write_text(f"{header}\n{row}\n")
        with pytest.raises(BadInput, match="cash_per_unit must be empty without a ratio, a new_symbol and"):
            read_actions(file, ZoneInfo("America/New_York"), zoned=False)


def test_tax_lots_count_purchase_fees_as_basis() -> None:
    """Bought at 60 with a fee of 500: the basis is 65 a share, so 25 of 90 is gain, of which 20 is taxable. At 72 and
    a fee of 500, the basis of 77 leaves a gain of 13."""
    for price, gain in (("60", 20), ("72", 13)):
        tax = TaxBook("fifo")
        tax_trade = to_tax_trade(trade(1, 100, price, symbol="X", fee="500"))
        assert tax_trade is not None
        tax.apply_trade(tax_trade)
        [match] = tax.apply_action(MergerCash("m", 10, "X", Decimal(20), Decimal(140), Decimal("0.5")))
        assert match.gain == 100 * gain
        [(_, _, lot)] = tax.open_lots()
        assert lot.cost + lot.fees == 100 * (int(price) + 5 - 20 + gain)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 200)), min_size=1, max_size=5),
    st.sampled_from([1, -1]),
    st.sampled_from(["0.3", "0.333333333", "2"]),
    st.integers(1, 3000),
    st.sampled_from(["fifo", "lifo", "average", "hifo"]),
)
def test_a_merger_for_stock_and_cash_neither_creates_nor_loses_value(
    lots: list[tuple[int, int]], sign: int, ratio: str, cents: int, method: Any
) -> None:
    """The cash is the realized gain plus the basis that it returns, and no lot's basis rises."""
    ledger = Ledger(Decimal(0), method=method)
    for number, (quantity, price) in enumerate(lots, start=1):
        ledger.apply(trade(number, sign * quantity, str(price), symbol="X"))
    units, cost, cash = sign * sum(quantity for quantity, _ in lots), ledger.cost, ledger.cash
    ledger.apply_action(MergerCash("m", 10, "X", Decimal(cents) / 100, Decimal(70), Decimal(ratio)))
    assert ledger.cash - cash == units * Decimal(cents) / 100 == ledger.realized_pnl + cost - ledger.cost
    position = ledger.position("X")
    assert position is not None
    assert sum(lot.cost for lot in position.book.open_lots()) == ledger.cost
    assert 0 <= ledger.cost * sign <= cost * sign
    ledger.restore(ledger.snapshot())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=5),
    st.sampled_from([1, -1]),
    st.sampled_from(["0.3", "0.333333333", "2", "0.05"]),
    st.decimals(0, 1, places=4).filter(lambda share: share < 1),
    st.sampled_from([None, Decimal(70)]),
    st.sampled_from(["fifo", "average", "hifo"]),
)
def test_the_basis_is_allocated_completely(
    units: list[int], sign: int, ratio: str, share: Decimal, in_lieu: Decimal | None, method: Any
) -> None:
    ledger, tax = Ledger(Decimal(0), method=method), TaxBook(method)
    for number, quantity in enumerate(units, start=1):
        fill = trade(number, sign * quantity, str(10 + number), symbol="X")
        ledger.apply(fill)
        tax_trade = to_tax_trade(fill)
        assert tax_trade is not None
        tax.apply_trade(tax_trade)
    cost = ledger.cost
    event = SpinOff("s", 10, "X", "Y", Decimal(ratio), share, in_lieu)
    tax.apply_action(event)
    ledger.apply_action(event)
    parent, child = ledger.position("X"), ledger.position("Y")
    assert parent is not None and child is not None
    assert parent.quantity == sign * sum(units)
    assert parent.cost + child.cost == ledger.cost
    assert abs(parent.cost - cost * (1 - share)) < Decimal("1e-7")
    if in_lieu is None:
        assert ledger.cost == cost
    assert sum(lot.cost for lot in child.lots) == child.cost
    of_tax = {name: sum(lot.quantity for symbol, _, lot in tax.open_lots() if symbol == name) for name in "XY"}
    assert abs(of_tax["X"] - parent.quantity) + abs(of_tax["Y"] - child.quantity) < Decimal("1e-5")


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("price_moves", [0.6, 1.0, 1.1])
@pytest.mark.parametrize("kind", ["SPIN_OFF", "RIGHTS", "STOCK_MERGER", "CASH_MERGER", "STOCK_AND_CASH"])
def test_venue_portfolio_risk_and_a_naive_ledger_agree(direction: int, kind: Any, price_moves: float) -> None:
    """The shares of A are worth 100 at their purchase, and `price_moves` times as much before the action."""
    desk: TradingLoopHarness = desk_with_position(direction)
    share = "0.24" if kind in ("SPIN_OFF", "RIGHTS") else None
    action = corporate_action(
        "s",
        "STOCK_MERGER" if kind == "STOCK_AND_CASH" else kind,
        "A",
        ex_date=DAYS[1],
        ratio="0.333333333",
        cost_share=share,
        new_symbol="C",
        amount=70 if kind != "STOCK_AND_CASH" else str(round(Decimal(price_moves) * 240, 2)),
        cash_per_share="20.01" if kind == "STOCK_AND_CASH" else None,
    )
    for _ in range(8):
        desk.step({"A": 100.0 * price_moves, "B": 50.0}, action)


@pytest.mark.parametrize(
    ("kind", "amount", "cash", "message"),
    [
        ("STOCK_MERGER", None, 20, "field amount must be the value of one new share, because cash_per_share is set"),
        ("STOCK_MERGER", 400, -1, "field cash_per_share must be >= 0 for STOCK_MERGER and empty for other kinds"),
        ("SPLIT", 400, 20, "field cash_per_share must be >= 0 for STOCK_MERGER and empty for other kinds"),
        ("MERGER_CASH", 400, 20, "field kind must be one of SPLIT,"),
    ],
)
def test_a_cash_part_is_only_valid_in_a_merger_for_stock_with_the_value_of_the_new_shares(
    kind: Any, amount: Any, cash: Any, message: str
) -> None:
    from operators.reference_data import validate_corporate_action

    action = corporate_action("s", kind, "A", ratio=1, new_symbol="B", amount=amount, cash_per_share=cash)
    with pytest.raises(InvalidField, match=f"s: {message}"):
        validate_corporate_action(action)


def test_a_distribution_without_the_share_of_the_basis_is_rejected() -> None:
    from operators.reference_data import validate_corporate_action

    with pytest.raises(InvalidField, match="s: field cost_share must be a number from 0 to below 1 for SPIN_OFF"):
        validate_corporate_action(corporate_action("s", "SPIN_OFF", "A", ratio=1, new_symbol="B"))
