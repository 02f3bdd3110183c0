"""Corporate actions, dividends, rates and nightly charges: the books of portfolio, risk and venue stay equal."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.features import FeatureStage
from operators.instruments import Instrument, Instruments
from operators.ledger.cash import AccrualSettings
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.reference_data import IDS_MAX, ReferenceData, validate_corporate_action
from operators.risk import RiskSettings, RiskStage
from operators.sizing import SizingSettings
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.errors import InvalidField
from schemas.records import (
    CANCELED,
    REGULAR,
    Bar,
    CashFlow,
    CorporateAction,
    ExchangeRate,
    Execution,
    FeatureRow,
    Order,
    OrderRefusal,
    Position,
    Record,
    Signal,
    Valuation,
)

CAPITAL = Decimal(100_000)
DAYS = (20240102, 20240103, 20240104, 20240105)
RATES = AccrualSettings(borrow_rate=Decimal("0.10"), margin_rate=Decimal("0.10"))


def action(name: str, kind: str, symbol: str = "A", **fields: Any) -> CorporateAction:
    values: dict[str, Any] = {"ex_date": DAYS[1], "pay_date": 0, "ratio": None, "amount": None}
    values |= {"currency": "USD", "new_symbol": "", "source": "test"} | fields
    return CorporateAction(name, 0, kind, symbol, **values)


class TradingLoopHarness:
    """Venue, portfolio and risk in a closed loop: one time slice per minute, four per day, no slippage and no fees."""

    def __init__(self, instruments: Instruments | None = None) -> None:
        universe = instruments or Instruments()
        venue = VenueSettings(fee_model="none", slippage_bps=Decimal(0), instruments=universe)
        sizing = SizingSettings(fraction=Decimal("0.1"))
        portfolio_settings = PortfolioSettings(
            initial_capital=CAPITAL,
            max_position_percentage=Decimal(1),
            sizing=sizing,
            allow_short=True,
            accruals=RATES,
        )
        risk = RiskSettings.unlimited(initial_capital=CAPITAL, instruments=universe, accruals=RATES)
        self.venue, self.portfolio, self.risk = (
            VenueStage(venue),
            PortfolioStage(portfolio_settings, universe),
            RiskStage(risk),
        )
        self.loop = TradingLoop(self.venue, self.portfolio, self.risk)
        self.slice_count = 0
        self.seqs: dict[str, int] = {}
        self.output: list[Record] = []

    def step(self, prices: dict[str, float], *records: Record, directions: dict[str, int] | None = None) -> list[Any]:
        self.slice_count += 1
        ts_ns, day = self.slice_count * 60_000_000_000, DAYS[(self.slice_count - 1) // 4]
        bars = []
        for symbol in sorted(prices):
            seq, price = self.slice_count, prices[symbol]
            bars.append(Bar(symbol, seq, ts_ns, ts_ns - 60, price, price, price, price, 1e6, REGULAR, day, traded=True))
        signals = []
        for symbol, direction in (directions or {}).items():
            self.seqs[symbol] = seq = self.seqs.get(symbol, 0) + 1
            signals.append(Signal(symbol, seq, ts_ns, "s", direction, 1.0, 1.0, prices[symbol], "f", {}))
        self.output = self.loop.on_slice(ts_ns, [*records, *bars, *signals])
        self.check_books()
        return self.output

    def check_books(self) -> None:
        """Check that all three hold the same positions, that the cash agrees and that the valuation adds up."""
        book, ledger = self.risk._book, self.portfolio.ledger
        assert book.cash == ledger.cash
        positions = {holding.symbol: holding.quantity for holding in ledger.holdings() if holding.quantity}
        assert {symbol: holding.quantity for symbol, holding in book.positions.items() if holding.quantity} == positions
        assert self.venue._positions == positions
        for record in self.output:
            if type(record) is Valuation:
                assert record.equity == CAPITAL + record.realized_pnl + record.unrealized_pnl - record.fees

    def of_type(self, kind: type) -> list[Any]:
        return [record for record in self.output if type(record) is kind]

    def restart(self) -> None:
        state = pickle.loads(pickle.dumps(self.loop.snapshot()))  # noqa: S301 - our own, made here
        fresh = TradingLoopHarness()
        fresh.loop.restore(state)
        self.venue, self.portfolio, self.risk, self.loop = fresh.venue, fresh.portfolio, fresh.risk, fresh.loop


def desk_with_position(direction: int = 1) -> TradingLoopHarness:
    """Return a loop that is long or short 100 units of A at 100 at the end of the first day."""
    desk = TradingLoopHarness()
    desk.step({"A": 100.0, "B": 50.0}, directions={"A": direction})
    for _ in range(3):
        desk.step({"A": 100.0, "B": 50.0})
    assert desk.portfolio.ledger.quantity("A") == 100 * direction
    return desk


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("restart", [False, True])
def test_a_split_counts_from_its_first_bar_and_moves_no_money(direction: int, restart: bool) -> None:
    desk = desk_with_position(direction)
    desk = TradingLoopHarness()
    desk.step({"A": 100.0}, action("s", "SPLIT", ratio=Decimal(4)), directions={"A": direction})
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


def test_open_order_is_cancelled_before_the_split_price() -> None:
    desk = TradingLoopHarness()
    for _ in range(3):
        desk.step({"A": 100.0})
    desk.step({"A": 100.0}, action("s", "SPLIT", ratio=Decimal(2)), directions={"A": 1})
    desk.step({"A": 50.0})
    (cancel_report,) = [report for report in desk.of_type(Execution) if report.exec_type == CANCELED]
    assert cancel_report.text == "SPLIT of A: s"
    assert desk.portfolio.ledger.quantity("A") == 0


def test_fractional_share_is_paid_out_in_cash() -> None:
    desk = desk_with_position()
    before = desk.portfolio.ledger.cash
    desk.step({"A": 300.0, "B": 50.0}, action("s", "SPLIT", ratio=Decimal("0.333"), amount=Decimal(300)))
    assert desk.portfolio.ledger.quantity("A") == 33
    assert desk.portfolio.ledger.cash == before + Decimal("0.3") * 300


@pytest.mark.parametrize("direction", [1, -1])
def test_dividend_goes_to_overnight_holders_and_is_paid_on_the_pay_date(direction: int) -> None:
    desk = desk_with_position(direction)
    dividend = action("d", "CASH_DIVIDEND", amount=Decimal("0.50"), pay_date=DAYS[2])
    flows = []
    for _ in range(8):
        desk.step({"A": 99.5, "B": 50.0}, dividend, dividend)  # a service that cannot confirm a write repeats it
        flows += [(DAYS[(desk.slice_count - 1) // 4], flow) for flow in desk.of_type(CashFlow)]
    ((day, paid),) = [(day, flow) for day, flow in flows if "DIVIDEND" in flow.kind]
    assert (day, paid.amount, paid.cause_id) == (DAYS[2], Decimal(50) * direction, "d")


def test_a_dividend_in_another_currency_waits_for_its_rate() -> None:
    desk = desk_with_position()
    desk.step({"A": 100.0, "B": 50.0}, action("d", "CASH_DIVIDEND", amount=Decimal(1), currency="EUR"))
    assert not desk.of_type(CashFlow)
    desk.step({"A": 100.0, "B": 50.0}, ExchangeRate("r", 0, "EUR", "USD", Decimal("1.1"), "test"))
    (paid,) = desk.of_type(CashFlow)
    assert paid.amount == 110


def test_symbol_change_keeps_position_target_and_price() -> None:
    desk = desk_with_position()
    desk.step({"B": 50.0, "NEW": 100.0}, action("c", "SYMBOL_CHANGE", new_symbol="NEW"))
    assert (desk.portfolio.ledger.quantity("A"), desk.portfolio.ledger.quantity("NEW")) == (Decimal(0), Decimal(100))
    desk.step({"B": 50.0, "NEW": 100.0}, directions={"NEW": 0})
    desk.step({"B": 50.0, "NEW": 100.0})
    assert desk.portfolio.ledger.quantity("NEW") == 0


def test_a_delisting_closes_at_its_price_and_nothing_buys_it_back() -> None:
    desk = desk_with_position()
    desk.step({"B": 50.0}, action("x", "DELISTING", amount=Decimal(7)))
    assert desk.portfolio.ledger.quantity("A") == 0
    assert desk.portfolio.ledger.cash == CAPITAL - 10_000 + 700
    desk.step({"B": 50.0})
    assert not desk.of_type(Order)


def test_a_foreign_instrument_is_traded_once_its_rate_is_known_and_valued_at_it() -> None:
    listed = Instruments(listed=(Instrument(symbol="SAP", currency="EUR"),))
    desk = TradingLoopHarness(listed)
    desk.step({"SAP": 100.0}, directions={"SAP": 1})
    desk.step({"SAP": 100.0})
    assert not desk.portfolio.ledger.quantity("SAP")
    assert not desk.of_type(OrderRefusal)
    desk.step({"SAP": 100.0}, ExchangeRate("r1", 0, "EUR", "USD", Decimal("1.25"), "test"), directions={"SAP": 1})
    desk.step({"SAP": 100.0})
    assert desk.portfolio.ledger.quantity("SAP") == 80  # 10 % of 100,000 USD at 125 USD per share
    assert desk.portfolio.ledger.cash == CAPITAL - 10_000
    desk.step({"SAP": 100.0}, ExchangeRate("r2", 0, "EUR", "USD", Decimal("1.30"), "test"))
    assert desk.of_type(Valuation)[0].unrealized_pnl == 80 * 100 * Decimal("0.05")


def test_short_position_accrues_a_borrow_fee() -> None:
    desk = desk_with_position(-1)
    state = desk.portfolio._corporate_actions.snapshot()
    nightly = state[2][1][2]
    for _ in range(4):
        desk.step({"A": 100.0, "B": 50.0})
    charged = desk.portfolio._corporate_actions.snapshot()[2][1][2]
    assert not nightly
    assert [(kind, symbol) for kind, symbol, _ in charged] == [("BORROW_FEE", "A")]
    # 100 shares, collateral of 102 USD each, 10 % per year of 360 days
    assert charged[0][2] == -Decimal(100) * 102 / 10 / 360 // Decimal("1e-9") * Decimal("1e-9")


KINDS = st.sampled_from(["SPLIT", "STOCK_DIVIDEND", "CASH_DIVIDEND", "SYMBOL_CHANGE", "DELISTING"])
ACTIONS = st.builds(
    lambda number, kind, symbol, day, ratio, amount: action(
        f"a{number}",
        kind,
        symbol,
        ex_date=day,
        ratio=Decimal(ratio),
        amount=amount,
        new_symbol="C" if symbol == "A" else "A",
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
def test_all_books_agree_after_any_corporate_actions_and_restarts(script: list[tuple[list[Any], int | None]]) -> None:
    desk = TradingLoopHarness()
    for number, (actions, direction) in enumerate(script):
        price = 100.0 + number
        directions = None if direction is None else {"A": direction, "B": -direction}
        desk.step({"A": price, "B": price / 2, "C": price}, *actions, directions=directions)
        if number % 5 == 4:
            desk.restart()


def test_indicators_warm_up_again_after_a_split() -> None:
    stage = FeatureStage(["sma_2"])
    bars = [
        Bar("A", n, n, n - 1, 10.0, 10.0, 10.0, 10.0, 1.0, REGULAR, DAYS[(n - 1) // 3], traded=True)
        for n in range(1, 7)
    ]
    rows: list[Any] = []
    for number, current_bar in enumerate(bars):
        records: list[Record] = [action("s", "SPLIT", ratio=Decimal(2)), current_bar] if number == 1 else [current_bar]
        rows += stage.on_slice(current_bar.ts_ns, records)
        restored = FeatureStage(["sma_2"])
        restored.restore(pickle.loads(pickle.dumps(stage.snapshot())))  # noqa: S301 - our own, made here
        stage = restored
    assert all(type(row) is FeatureRow for row in rows)
    assert [bool(row.values) for row in rows] == [False, True, True, False, True, True]
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "MERGER"}, "a: field kind must be one of SPLIT, STOCK_DIVIDEND, CASH_DIVIDEND"),
        ({"kind": "SPLIT"}, "a: field ratio must be > 0 and at most 1000000 for SPLIT, found None"),
        ({"kind": "SPLIT", "ratio": Decimal(0)}, "a: field ratio must be > 0"),
        ({"kind": "SPLIT", "ratio": Decimal("NaN")}, "a: field ratio must be > 0"),
        ({"kind": "CASH_DIVIDEND"}, "a: field amount must be a number for CASH_DIVIDEND, found none"),
        ({"kind": "DELISTING", "amount": Decimal(-1)}, "a: field amount must be >= 0, found -1"),
        ({"kind": "SYMBOL_CHANGE", "new_symbol": "A"}, "a: field new_symbol must be another symbol, found 'A'"),
        ({"kind": "SPLIT", "ratio": Decimal(2), "ex_date": 20240230}, "a: field ex_date must be a day as yyyymmdd"),
        ({"kind": "CASH_DIVIDEND", "amount": Decimal(1), "pay_date": 20240101}, "a: field pay_date must not be before"),
    ],
)
def test_invalid_action_gives_a_one_line_error_and_is_ignored(fields: dict[str, Any], message: str) -> None:
    invalid = action("a", **fields)
    with pytest.raises(InvalidField) as error:
        validate_corporate_action(invalid)
    assert str(error.value).startswith(message)
    desk = desk_with_position()
    desk.step({"A": 100.0, "B": 50.0}, invalid)
    assert desk.portfolio.ledger.quantity("A") == 100


def test_duplicate_actions_are_ignored_with_bounded_memory() -> None:
    data = ReferenceData()
    for number in range(IDS_MAX + 10):
        assert data.take_due([action(f"n{number}", "SPLIT", ratio=Decimal(2), ex_date=0)])
    assert not data.take_due([action(f"n{IDS_MAX + 9}", "SPLIT", ratio=Decimal(2), ex_date=0)])
    assert len(data.snapshot()[1]) == IDS_MAX
