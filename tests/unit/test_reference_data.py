"""Corporate actions, dividends, rates and nightly charges through portfolio, risk and venue: their books stay equal."""

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
from operators.reference_data import REMEMBERED, ReferenceData, check
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
    given: dict[str, Any] = {"ex_date": DAYS[1], "pay_date": 0, "ratio": None, "amount": None}
    given |= {"currency": "USD", "new_symbol": "", "source": "test"} | fields
    return CorporateAction(name, 0, kind, symbol, **given)


class Desk:
    """Venue, portfolio and risk closed, a tick a minute, four ticks a day; no slippage and no fees."""

    def __init__(self, instruments: Instruments | None = None) -> None:
        listed = instruments or Instruments()
        venue = VenueSettings(fee_model="none", slippage_bps=Decimal(0), instruments=listed)
        sizing = SizingSettings(fraction=Decimal("0.1"))
        books = PortfolioSettings(
            initial_capital=CAPITAL,
            max_position_percentage=Decimal(1),
            sizing=sizing,
            allow_short=True,
            accruals=RATES,
        )
        risk = RiskSettings.unlimited(initial_capital=CAPITAL, instruments=listed, accruals=RATES)
        self.venue, self.portfolio, self.risk = VenueStage(venue), PortfolioStage(books, listed), RiskStage(risk)
        self.loop = TradingLoop(self.venue, self.portfolio, self.risk)
        self.ticks = 0
        self.seqs: dict[str, int] = {}
        self.out: list[Record] = []

    def tick(self, prices: dict[str, float], *given: Record, views: dict[str, int] | None = None) -> list[Any]:
        self.ticks += 1
        ts_ns, day = self.ticks * 60_000_000_000, DAYS[(self.ticks - 1) // 4]
        bars = []
        for symbol in sorted(prices):
            seq, price = self.ticks, prices[symbol]
            bars.append(Bar(symbol, seq, ts_ns, ts_ns - 60, price, price, price, price, 1e6, REGULAR, day, traded=True))
        signals = []
        for symbol, direction in (views or {}).items():
            self.seqs[symbol] = seq = self.seqs.get(symbol, 0) + 1
            signals.append(Signal(symbol, seq, ts_ns, "s", direction, 1.0, 1.0, prices[symbol], "f", {}))
        self.out = self.loop.on_tick(ts_ns, [*given, *bars, *signals])
        self.check()
        return self.out

    def check(self) -> None:
        """What each of the three holds by itself is the same, and the valuation adds up."""
        book, ledger = self.risk._book, self.portfolio.ledger
        assert book.cash == ledger.cash
        held = {one.symbol: one.quantity for one in ledger.holdings() if one.quantity}
        assert {symbol: one.quantity for symbol, one in book.holdings.items() if one.quantity} == held
        assert self.venue._position == held
        for record in self.out:
            if type(record) is Valuation:
                assert record.equity == CAPITAL + record.realized_pnl + record.unrealized_pnl - record.fees

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.out if type(record) is kind]

    def restart(self) -> None:
        state = pickle.loads(pickle.dumps(self.loop.snapshot()))  # noqa: S301 - our own, made here
        fresh = Desk()
        fresh.loop.restore(state)
        self.venue, self.portfolio, self.risk, self.loop = fresh.venue, fresh.portfolio, fresh.risk, fresh.loop


def holder(direction: int = 1) -> Desk:
    """100 units of A at 100, or short of them, on the evening of the first day."""
    desk = Desk()
    desk.tick({"A": 100.0, "B": 50.0}, views={"A": direction})
    for _ in range(3):
        desk.tick({"A": 100.0, "B": 50.0})
    assert desk.portfolio.ledger.quantity("A") == 100 * direction
    return desk


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("restart", [False, True])
def test_a_split_counts_from_its_first_bar_and_moves_no_money(direction: int, restart: bool) -> None:
    desk = holder(direction)
    desk = Desk()
    desk.tick({"A": 100.0}, action("s", "SPLIT", ratio=Decimal(4)), views={"A": direction})
    for _ in range(3):
        desk.tick({"A": 100.0})
        if restart:
            desk.restart()
    equity = desk.of(Valuation)[0].equity
    desk.tick({"A": 25.0})
    assert desk.portfolio.ledger.quantity("A") == 400 * direction
    night = sum((flow.amount for flow in desk.of(CashFlow)), Decimal(0))
    assert desk.of(Valuation)[0].equity == equity + night
    assert desk.of(Position)[-1].avg_price == 25
    # The strategy's view is of as many shares as it holds: nothing is traded for it.
    assert not desk.of(Order)
    desk.tick({"A": 25.0}, views={"A": 0})
    desk.tick({"A": 25.0})
    assert desk.portfolio.ledger.quantity("A") == 0


def test_an_order_of_the_old_shares_is_cancelled_before_it_meets_the_new_price() -> None:
    desk = Desk()
    for _ in range(3):
        desk.tick({"A": 100.0})
    desk.tick({"A": 100.0}, action("s", "SPLIT", ratio=Decimal(2)), views={"A": 1})
    desk.tick({"A": 50.0})
    (gone,) = [report for report in desk.of(Execution) if report.exec_type == CANCELED]
    assert gone.text == "SPLIT of A: s"
    assert desk.portfolio.ledger.quantity("A") == 0


def test_a_fraction_goes_for_cash_where_cash_comes_in_its_place() -> None:
    desk = holder()
    before = desk.portfolio.ledger.cash
    desk.tick({"A": 300.0, "B": 50.0}, action("s", "SPLIT", ratio=Decimal("0.333"), amount=Decimal(300)))
    assert desk.portfolio.ledger.quantity("A") == 33
    assert desk.portfolio.ledger.cash == before + Decimal("0.3") * 300


@pytest.mark.parametrize("direction", [1, -1])
def test_a_dividend_goes_to_who_held_in_the_evening_and_is_paid_on_its_day(direction: int) -> None:
    desk = holder(direction)
    dividend = action("d", "CASH_DIVIDEND", amount=Decimal("0.50"), pay_date=DAYS[2])
    flows = []
    for _ in range(8):
        desk.tick({"A": 99.5, "B": 50.0}, dividend, dividend)  # an edge that is unsure writes it again
        flows += [(DAYS[(desk.ticks - 1) // 4], flow) for flow in desk.of(CashFlow)]
    ((day, paid),) = [(day, flow) for day, flow in flows if "DIVIDEND" in flow.kind]
    assert (day, paid.amount, paid.cause_id) == (DAYS[2], Decimal(50) * direction, "d")


def test_a_dividend_in_another_currency_waits_for_its_rate() -> None:
    desk = holder()
    desk.tick({"A": 100.0, "B": 50.0}, action("d", "CASH_DIVIDEND", amount=Decimal(1), currency="EUR"))
    assert not desk.of(CashFlow)
    desk.tick({"A": 100.0, "B": 50.0}, ExchangeRate("r", 0, "EUR", "USD", Decimal("1.1"), "test"))
    (paid,) = desk.of(CashFlow)
    assert paid.amount == 110


def test_a_symbol_that_changes_takes_position_view_and_price_along() -> None:
    desk = holder()
    desk.tick({"B": 50.0, "NEW": 100.0}, action("c", "SYMBOL_CHANGE", new_symbol="NEW"))
    assert (desk.portfolio.ledger.quantity("A"), desk.portfolio.ledger.quantity("NEW")) == (Decimal(0), Decimal(100))
    desk.tick({"B": 50.0, "NEW": 100.0}, views={"NEW": 0})
    desk.tick({"B": 50.0, "NEW": 100.0})
    assert desk.portfolio.ledger.quantity("NEW") == 0


def test_a_delisting_closes_at_its_price_and_nothing_buys_it_back() -> None:
    desk = holder()
    desk.tick({"B": 50.0}, action("x", "DELISTING", amount=Decimal(7)))
    assert desk.portfolio.ledger.quantity("A") == 0
    assert desk.portfolio.ledger.cash == CAPITAL - 10_000 + 700
    desk.tick({"B": 50.0})
    assert not desk.of(Order)


def test_a_foreign_instrument_is_traded_once_its_rate_is_known_and_valued_at_it() -> None:
    listed = Instruments(listed=(Instrument(symbol="SAP", currency="EUR"),))
    desk = Desk(listed)
    desk.tick({"SAP": 100.0}, views={"SAP": 1})
    desk.tick({"SAP": 100.0})
    assert not desk.portfolio.ledger.quantity("SAP")
    assert not desk.of(OrderRefusal)
    desk.tick({"SAP": 100.0}, ExchangeRate("r1", 0, "EUR", "USD", Decimal("1.25"), "test"), views={"SAP": 1})
    desk.tick({"SAP": 100.0})
    assert desk.portfolio.ledger.quantity("SAP") == 80  # 10 % of 100,000 USD at 125 USD
    assert desk.portfolio.ledger.cash == CAPITAL - 10_000
    desk.tick({"SAP": 100.0}, ExchangeRate("r2", 0, "EUR", "USD", Decimal("1.30"), "test"))
    assert desk.of(Valuation)[0].unrealized_pnl == 80 * 100 * Decimal("0.05")


def test_who_is_short_pays_for_the_loan_at_the_end_of_the_month() -> None:
    desk = holder(-1)
    state = desk.portfolio._entitlements.snapshot()
    nightly = state[2][1][2]
    for _ in range(4):
        desk.tick({"A": 100.0, "B": 50.0})
    charged = desk.portfolio._entitlements.snapshot()[2][1][2]
    assert not nightly
    assert [(kind, symbol) for kind, symbol, _ in charged] == [("BORROW_FEE", "A")]
    # 100 shares, 102 USD of collateral each, 10 % a year of 360 days
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
def test_whatever_companies_do_all_books_agree_also_across_restarts(script: list[tuple[list[Any], int | None]]) -> None:
    desk = Desk()
    for number, (actions, view) in enumerate(script):
        price = 100.0 + number
        views = None if view is None else {"A": view, "B": -view}
        desk.tick({"A": price, "B": price / 2, "C": price}, *actions, views=views)
        if number % 5 == 4:
            desk.restart()


def test_indicators_warm_up_again_after_a_split() -> None:
    stage = FeatureStage(["sma_2"])
    bars = [
        Bar("A", n, n, n - 1, 10.0, 10.0, 10.0, 10.0, 1.0, REGULAR, DAYS[(n - 1) // 3], traded=True)
        for n in range(1, 7)
    ]
    rows: list[Any] = []
    for number, one in enumerate(bars):
        given: list[Record] = [action("s", "SPLIT", ratio=Decimal(2)), one] if number == 1 else [one]
        rows += stage.on_tick(one.ts_ns, given)
        again = FeatureStage(["sma_2"])
        again.restore(pickle.loads(pickle.dumps(stage.snapshot())))  # noqa: S301 - our own, made here
        stage = again
    assert all(type(row) is FeatureRow for row in rows)
    assert [bool(row.values) for row in rows] == [False, True, True, False, True, True]
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("fields", "said"),
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
def test_what_is_no_action_is_said_in_one_sentence_and_stops_nobody(fields: dict[str, Any], said: str) -> None:
    bad = action("a", **fields)
    with pytest.raises(InvalidField) as error:
        check(bad)
    assert str(error.value).startswith(said)
    desk = holder()
    desk.tick({"A": 100.0, "B": 50.0}, bad)
    assert desk.portfolio.ledger.quantity("A") == 100


def test_repeats_are_known_and_their_memory_is_bounded() -> None:
    data = ReferenceData()
    for number in range(REMEMBERED + 10):
        assert data.due([action(f"n{number}", "SPLIT", ratio=Decimal(2), ex_date=0)])
    assert not data.due([action(f"n{REMEMBERED + 9}", "SPLIT", ratio=Decimal(2), ex_date=0)])
    assert len(data.snapshot()[1]) == REMEMBERED
