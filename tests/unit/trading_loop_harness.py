"""Venue, portfolio and risk in a closed loop for tests, whose books are compared after every time slice."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from deploy.verification.naive_ledger import NaiveLedger, first_difference
from operators.instruments import Instruments
from operators.ledger.cash import AccrualSettings
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.reference_data import split_merger
from operators.risk import RiskSettings, RiskStage
from operators.sizing import SizingSettings
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    CashFlow,
    CorporateAction,
    ExchangeRate,
    Execution,
    Record,
    Valuation,
)
from tests.builders import bar, signal

CAPITAL = Decimal(100_000)
DAYS = (20240102, 20240103, 20240104, 20240105)
RATES = AccrualSettings(borrow_rate=Decimal("0.10"), margin_rate=Decimal("0.10"))


class TradingLoopHarness:
    """Venue, portfolio and risk in a closed loop: one time slice per minute, four per day, no slippage and no fees."""

    def __init__(self, instruments: Instruments | None = None, days: Sequence[int] = DAYS) -> None:
        self.days = days
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
        self.actions: dict[str, CorporateAction] = {}
        self.rates: dict[str, Decimal] = {}
        self.naive = NaiveLedger(
            CAPITAL,
            lambda symbol: self.portfolio.ledger.unit_value(symbol),
            lambda currency, ts_ns: self.rates.get(currency, Decimal(1)),
        )

    def step(
        self,
        prices: dict[str, float],
        *records: Record,
        directions: dict[str, int] | None = None,
        traded: bool = True,
    ) -> list[Any]:
        self.slice_count += 1
        ts_ns, day = self.slice_count * 60_000_000_000, self.days[(self.slice_count - 1) // 4]
        bars = [
            bar(symbol, self.slice_count, ts_ns, prices[symbol], volume=1e6, day=day, traded=traded)
            for symbol in sorted(prices)
        ]
        signals = []
        for symbol, direction in (directions or {}).items():
            self.seqs[symbol] = seq = self.seqs.get(symbol, 0) + 1
            signals.append(signal(symbol, seq, ts_ns, direction=direction, strategy="s", price=prices[symbol]))
        for one in records:
            if isinstance(one, CorporateAction):
                parts = [part for part in split_merger(one) if isinstance(part, CorporateAction)]
                self.actions = {part.action_id: part for part in parts} | self.actions
            elif isinstance(one, ExchangeRate):
                self.rates[one.base] = one.rate
        self.output = self.loop.on_slice(ts_ns, [*records, *bars, *signals])
        self.check_agreement()
        return self.output

    def check_agreement(self) -> None:
        """Check that all three hold the same positions and cash, that a naive ledger does too, and that the valuation
        adds up.
        """
        book, ledger = self.risk.book, self.portfolio.ledger
        assert (book.cash, book.accrued) == (ledger.cash, ledger.accrued)
        positions = {position.symbol: position.quantity for position in ledger.positions() if position.quantity}
        risk_positions = {symbol: position.quantity for symbol, position in book.positions.items()}
        assert {symbol: quantity for symbol, quantity in risk_positions.items() if quantity} == positions
        assert self.venue.positions == positions
        for flow in self.of_type(CashFlow):
            self.naive.book_cash_flow(flow, self.actions.get(flow.cause_id))
        for report in self.of_type(Execution):
            self.naive.book_execution(report)
        costs = {one.symbol: (one.quantity, one.cost) for one in ledger.positions()}
        totals = {"cash": ledger.cash, "accrued_dividends": ledger.accrued, "fees": ledger.fees}
        totals["realized_pnl"] = ledger.realized_pnl + ledger.income
        assert first_difference(self.naive, costs, totals) is None
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
