"""Corporate actions, dividends, rates and nightly charges: the books of portfolio, risk and venue stay equal."""

from __future__ import annotations

import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.features import FeatureStage
from operators.instruments import Instrument, Instruments
from operators.ledger.split_ratio import exact_ratio
from operators.reference_data import ACTION_KINDS, IDS_MAX, ReferenceData, validate_corporate_action
from schemas.errors import InvalidField
from schemas.records import (
    CASH_DIVIDEND,
    DELISTING,
    SPLIT,
    SYMBOL_CHANGE,
    TRADE,
    CashFlow,
    CorporateAction,
    Execution,
    FeatureRow,
    Order,
    OrderRefusal,
    Position,
    Record,
    Valuation,
)
from schemas.records.constants import CorporateActionKind
from tests.builders import bar, corporate_action, exchange_rate
from tests.unit.trading_loop_harness import CAPITAL, DAYS, TradingLoopHarness, desk_with_position


def split(ratio: int) -> CorporateAction:
    return corporate_action("s", SPLIT, "A", ex_date=DAYS[1], ratio=ratio)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("restart", [False, True])
def test_a_split_counts_from_its_first_bar_and_moves_no_money(direction: int, restart: bool) -> None:
    desk = TradingLoopHarness()
    desk.step({"A": 100.0}, split(4), directions={"A": direction})
    for _ in range(3):
        desk.step({"A": 100.0})
        if restart:
            desk.restart()
    equity = desk.of_type(Valuation)[0].equity
    desk.step({"A": 25.0})
    assert desk.portfolio.ledger.quantity("A") == 400 * direction
    night = sum((flow.amount for flow in desk.of_type(CashFlow)), Decimal(0))
    assert desk.of_type(Valuation)[0].equity == equity + night
    assert desk.of_type(Position)[-1].avg_price == 25
    # The strategy's target equals its position, so the portfolio sends no order.
    assert not desk.of_type(Order)
    desk.step({"A": 25.0}, directions={"A": 0})
    desk.step({"A": 25.0})
    assert desk.portfolio.ledger.quantity("A") == 0


def test_an_open_market_order_trades_in_new_shares() -> None:
    desk = TradingLoopHarness()
    for _ in range(3):
        desk.step({"A": 100.0})
    desk.step({"A": 100.0}, split(2), directions={"A": 1})
    desk.step({"A": 50.0})
    (fill,) = [report for report in desk.of_type(Execution) if report.exec_type == TRADE]
    assert (fill.quantity, fill.price, fill.leaves_quantity) == (200, 50, 0)
    assert desk.portfolio.ledger.quantity("A") == 200
    assert not desk.risk.book.symbol_of and not desk.risk.book.reserved


def test_fractional_share_is_paid_out_in_cash() -> None:
    desk = desk_with_position()
    before = desk.portfolio.ledger.cash
    desk.step({"A": 300.0, "B": 50.0}, corporate_action("s", SPLIT, "A", ex_date=DAYS[1], ratio="0.333", amount=300))
    assert desk.portfolio.ledger.quantity("A") == 33
    assert desk.portfolio.ledger.cash == before + Decimal("0.3") * 300


@pytest.mark.parametrize("direction", [1, -1])
def test_dividend_goes_to_overnight_holders_and_is_paid_on_the_pay_date(direction: int) -> None:
    desk = desk_with_position(direction)
    dividend = corporate_action("d", CASH_DIVIDEND, "A", ex_date=DAYS[1], pay_date=DAYS[2], amount="0.50")
    flows = []
    for _ in range(8):
        desk.step({"A": 99.5, "B": 50.0}, dividend, dividend)  # a service that cannot confirm a write repeats it
        flows += [(DAYS[(desk.slice_count - 1) // 4], flow) for flow in desk.of_type(CashFlow)]
    (ex_day, accrual), (pay_day, paid) = [(day, flow) for day, flow in flows if "DIVIDEND" in flow.kind]
    due = Decimal(50) * direction
    assert (ex_day, accrual.amount, accrual.accrued, accrual.cause_id) == (DAYS[1], 0, due, "d")
    assert (pay_day, paid.amount, paid.accrued, paid.cause_id) == (DAYS[2], due, -due, "d")


def test_a_dividend_in_another_currency_waits_for_its_rate() -> None:
    desk = desk_with_position()
    desk.step(
        {"A": 100.0, "B": 50.0}, corporate_action("d", CASH_DIVIDEND, "A", ex_date=DAYS[1], amount=1, currency="EUR")
    )
    assert not desk.of_type(CashFlow)
    desk.step(
        {"A": 100.0, "B": 50.0},
        exchange_rate("r", "1.1"),
    )
    (paid,) = desk.of_type(CashFlow)
    assert paid.amount == 110


def test_symbol_change_keeps_position_target_and_price() -> None:
    desk = desk_with_position()
    desk.step({"B": 50.0, "NEW": 100.0}, corporate_action("c", SYMBOL_CHANGE, "A", ex_date=DAYS[1], new_symbol="NEW"))
    assert (desk.portfolio.ledger.quantity("A"), desk.portfolio.ledger.quantity("NEW")) == (Decimal(0), Decimal(100))
    desk.step({"B": 50.0, "NEW": 100.0}, directions={"NEW": 0})
    desk.step({"B": 50.0, "NEW": 100.0})
    assert desk.portfolio.ledger.quantity("NEW") == 0


def test_a_delisting_closes_at_its_price_and_nothing_buys_it_back() -> None:
    desk = desk_with_position()
    desk.step({"B": 50.0}, corporate_action("x", DELISTING, "A", ex_date=DAYS[1], amount=7))
    assert desk.portfolio.ledger.quantity("A") == 0
    assert desk.portfolio.ledger.cash == CAPITAL - 10_000 + 700
    desk.step({"B": 50.0})
    assert not desk.of_type(Order)


def test_a_foreign_instrument_is_traded_after_its_first_rate_and_valued_at_it() -> None:
    listed = Instruments(listed=(Instrument(symbol="SAP", currency="EUR"),))
    desk = TradingLoopHarness(listed)
    desk.step({"SAP": 100.0}, directions={"SAP": 1})
    desk.step({"SAP": 100.0})
    assert not desk.portfolio.ledger.quantity("SAP")
    assert not desk.of_type(OrderRefusal)
    desk.step(
        {"SAP": 100.0},
        exchange_rate("r1", "1.25"),
        directions={"SAP": 1},
    )
    desk.step({"SAP": 100.0})
    assert desk.portfolio.ledger.quantity("SAP") == 80  # 10 % of 100,000 USD at 125 USD per share
    assert desk.portfolio.ledger.cash == CAPITAL - 10_000
    desk.step(
        {"SAP": 100.0},
        exchange_rate("r2", "1.30"),
    )
    assert desk.of_type(Valuation)[0].unrealized_pnl == 80 * 100 * Decimal("0.05")


def test_a_rate_to_another_currency_than_that_of_the_account_changes_no_book() -> None:
    """A file of rates can have EUR to GBP besides EUR to USD."""
    desk = TradingLoopHarness(Instruments(listed=(Instrument(symbol="SAP", currency="EUR"),)))
    to_pounds = exchange_rate("r2", "0.85")._replace(quote="GBP")
    desk.step({"SAP": 100.0}, exchange_rate("r1", "1.25"), directions={"SAP": 1})
    desk.step({"SAP": 100.0})
    desk.step({"SAP": 100.0}, to_pounds)
    assert desk.of_type(Valuation)[0].equity == CAPITAL
    assert desk.risk.book.rates == {"EUR": Decimal("1.25")}


def test_short_position_pays_a_borrow_fee_per_night_at_the_end_of_the_month() -> None:
    desk = TradingLoopHarness(days=(20240130, 20240131, 20240201, 20240202))
    desk.step({"A": 100.0}, directions={"A": -1})
    flows = []
    for _ in range(15):
        desk.step({"A": 100.0})
        flows += desk.of_type(CashFlow)
    # Two nights on 100 shares: collateral of 102 USD each, 10 % per year of 360 days
    night = -Decimal(100) * 102 / 10 / 360 // Decimal("1e-9") * Decimal("1e-9")
    assert [(flow.kind, flow.symbol, flow.amount) for flow in flows] == [("BORROW_FEE", "A", 2 * night)]


KINDS = st.sampled_from(ACTION_KINDS)
ACTIONS = st.builds(
    lambda number, kind, symbol, day, ratio, amount: corporate_action(
        f"a{number}",
        kind,
        symbol,
        ex_date=day,
        ratio=ratio,
        amount=amount,
        new_symbol="C" if symbol == "A" else "A",
        cost_share="0.24",
    ),
    st.integers(0, 10**6),
    KINDS,
    st.sampled_from("AB"),
    st.sampled_from((0, *DAYS)),
    st.sampled_from(["2", "0.1", "0.333333333", "1.05", "3.7", "0.0000000001"]),
    st.sampled_from([Decimal(0), Decimal("1.25")]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(ACTIONS, max_size=2), st.sampled_from([-1, 0, 1, None])), min_size=8, max_size=16))
def test_all_positions_agree_after_any_corporate_actions_and_restarts(
    script: list[tuple[list[Any], int | None]],
) -> None:
    desk = TradingLoopHarness()
    for number, (actions, direction) in enumerate(script):
        price = 100.0 + number
        directions = None if direction is None else {"A": direction, "B": -direction}
        desk.step({"A": price, "B": price / 2, "C": price}, *actions, directions=directions)
        if number % 5 == 4:
            desk.restart()


def test_shares_that_a_tiny_ratio_ends_are_paid_at_a_price_of_nine_places() -> None:
    """Of 1.25 per new share, an old one gets 0.000000000125: nothing in the books, and in the naive ledger too."""
    desk = TradingLoopHarness()
    desk.step({"A": 10.0}, directions={"A": 1})
    desk.step({"A": 10.0})
    assert desk.portfolio.ledger.quantity("A") >= 500
    desk.step({"A": 10.0}, corporate_action("s", SPLIT, "A", ratio="0.0000000001", amount="1.25"))
    assert desk.portfolio.ledger.quantity("A") == 0


def test_indicators_continue_in_new_shares_after_a_split() -> None:
    stage = FeatureStage(["sma_2"])
    bars = [bar("A", n, n, 10.0, day=DAYS[(n - 1) // 3]) for n in range(1, 7)]
    rows: list[Any] = []
    for number, current_bar in enumerate(bars):
        records: list[Record] = [split(2), current_bar] if number == 1 else [current_bar]
        rows += stage.on_slice(current_bar.ts_ns, records)
        restored = FeatureStage(["sma_2"])
        restored.restore(pickle.loads(pickle.dumps(stage.snapshot())))  # noqa: S301 - our own, made here
        stage = restored
    assert all(type(row) is FeatureRow for row in rows)
    assert [row.values.get("sma_2") for row in rows] == [None, 10.0, 10.0, 7.5, 10.0, 10.0]
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "MERGER"}, "a: field kind must be one of SPLIT, STOCK_DIVIDEND, CASH_DIVIDEND"),
        ({"kind": "SPLIT"}, "a: field ratio must be > 0 and at most 1000000 for SPLIT, found None"),
        ({"kind": "SPLIT", "ratio": 0}, "a: field ratio must be > 0"),
        ({"kind": "SPLIT", "ratio": "NaN"}, "a: field ratio must be > 0"),
        ({"kind": "CASH_DIVIDEND"}, "a: field amount must be a number for CASH_DIVIDEND, found none"),
        ({"kind": "DELISTING", "amount": -1}, "a: field amount must be >= 0, found -1"),
        ({"kind": "SYMBOL_CHANGE", "new_symbol": "A"}, "a: field new_symbol must be another symbol, found 'A'"),
        ({"kind": "SPLIT", "ratio": 2, "ex_date": 20240230}, "a: field ex_date must be a day as yyyymmdd"),
        ({"kind": "CASH_DIVIDEND", "amount": 1, "pay_date": 20240101}, "a: field pay_date must not be before"),
    ],
)
def test_invalid_action_gives_a_one_line_error_and_is_ignored(fields: dict[str, Any], message: str) -> None:
    all_fields: dict[str, Any] = {"symbol": "A", "ex_date": DAYS[1]} | fields
    invalid = corporate_action("a", **all_fields)
    with pytest.raises(InvalidField) as error:
        validate_corporate_action(invalid)
    assert str(error.value).startswith(message)
    desk = desk_with_position()
    desk.step({"A": 100.0, "B": 50.0}, invalid)
    assert desk.portfolio.ledger.quantity("A") == 100


def test_duplicate_actions_are_ignored_with_bounded_memory() -> None:
    data = ReferenceData()
    for number in range(IDS_MAX + 10):
        assert data.pop_due([corporate_action(f"n{number}", SPLIT, "A", ratio=2)])
    assert not data.pop_due([corporate_action(f"n{IDS_MAX + 9}", SPLIT, "A", ratio=2)])
    assert len(data.snapshot()[1]) == IDS_MAX


RATIOS = [Decimal("0.333333333"), Decimal(4), Decimal("0.1"), Decimal("1.5"), Decimal("1.4")]
CONTINUOUS_KINDS: list[CorporateActionKind] = ["SPLIT", "STOCK_DIVIDEND", "CASH_DIVIDEND", "SYMBOL_CHANGE"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(CONTINUOUS_KINDS), st.integers(0, 4)), min_size=1, max_size=4),
    st.sampled_from([-1, 1]),
    st.booleans(),
)
def test_equity_is_continuous_across_every_corporate_action(
    kinds: list[tuple[CorporateActionKind, int]], direction: int, trades_at_once: bool
) -> None:
    """The price moves by the action alone. Without a trade, the feed repeats the price from before the action."""
    desk, symbol, price = TradingLoopHarness(days=[DAYS[0]] * 50), "A", Fraction(100)
    for number in range(3):
        desk.step({symbol: float(price)}, directions=None if number else {symbol: direction})
    equity = desk.of_type(Valuation)[-1].equity
    for number, (kind, choice) in enumerate(kinds):
        before, fields = price, dict[str, Any]()
        if kind == "CASH_DIVIDEND":
            fields = {"amount": min(Decimal(choice), Decimal(int(price)) / 2), "pay_date": (0, DAYS[2])[choice % 2]}
            price -= Fraction(fields["amount"])
        elif kind == "SYMBOL_CHANGE":
            fields["new_symbol"] = f"A{number}"
        else:
            fields["ratio"] = RATIOS[choice]
            price /= exact_ratio(RATIOS[choice]) + (kind == "STOCK_DIVIDEND")
        action = corporate_action(f"a{number}", kind, symbol, **fields)
        symbol = fields.get("new_symbol", symbol)
        if not trades_at_once:
            desk.step({symbol: float(before)}, action, traded=False)
            check_continuous(desk, equity, before)
        desk.step({symbol: float(price)}, action)
        check_continuous(desk, equity, price)


def check_continuous(desk: TradingLoopHarness, equity: Decimal, price: Fraction) -> None:
    """Quantities and prices have nine places, so the value of a position is off by less than 1e-8 of both."""
    largest = max(abs(one.quantity) for one in desk.portfolio.ledger.positions())
    valuation = desk.of_type(Valuation)[-1]
    assert abs(valuation.equity - equity) <= (largest + round(price) + 1) * Decimal("1e-8")
    assert desk.risk.book.equity() == valuation.equity
