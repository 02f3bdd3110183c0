"""A portfolio stage for tests, with the reports of risk and the venue that a test chooses."""

from __future__ import annotations

from decimal import Decimal

from operators.instruments import NO_INSTRUMENTS, Instruments
from operators.money import ZERO
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.sizing import SizingSettings
from schemas.records import (
    BUY,
    CANCELED,
    EXPIRED,
    NEW,
    REJECTED,
    SELL,
    TRADE,
    Execution,
    Order,
    OrderProposal,
    OrderRefusal,
    Record,
    Signal,
    Valuation,
)
from schemas.records.constants import ExecType
from tests.builders import approved, bar, refusal, report, signal
from tests.builders.market import MINUTE_NS

SHARES = PortfolioSettings(
    sizing=SizingSettings(method="fixed_quantity", quantity=Decimal(100)), max_position_percentage=Decimal(1)
)


class PortfolioHarness:
    """A portfolio with a market, risk and venue that the test controls. Quantities are plain integers."""

    def __init__(self, portfolio: PortfolioSettings = SHARES, instruments: Instruments = NO_INSTRUMENTS) -> None:
        self.settings = portfolio
        self.stage = PortfolioStage(portfolio, instruments)
        self.minute = 0
        self.day = 20240102
        self.execution_seq = 0
        self.refusal_seq = 0
        self.signal_seq = 0
        self.queued: list[Record] = []
        self.proposals: list[OrderProposal] = []
        self.last_input: list[Record] = []  # input of the last time slice
        self.output: list[Record] = []  # output of the last time slice
        self.accepted: set[str] = set()
        self.open_orders: dict[str, tuple[Order, Decimal]] = {}  # with the filled quantity

    def signal(self, direction: int, symbol: str = "X", strategy: str = "s", strength: float = 1.0) -> None:
        self.signal_seq += 1
        ts_ns = (self.minute + 1) * MINUTE_NS
        self.queued.append(signal(symbol, self.signal_seq, ts_ns, strength, direction, strategy=strategy))

    def report(self, exec_type: ExecType, quantity: int = 0, price: float = 100.0, symbol: str = "X") -> None:
        """Queue an execution report on the symbol's last proposal. A TRADE of 0 units fills the rest of the order."""
        order, filled = self.open_orders[symbol]
        traded = ZERO
        if exec_type == TRADE:
            traded = Decimal(quantity) or order.terms.quantity - filled
            filled += traded
        remaining = order.terms.quantity - filled if exec_type in (NEW, TRADE) else ZERO
        self.open_orders[symbol] = (order, filled)
        self.execution_seq += 1
        ts_ns = (self.minute + 1) * MINUTE_NS
        self.queued.append(
            report(self.execution_seq, order, exec_type, traded, price, remaining=remaining, filled=filled, ts_ns=ts_ns)
        )

    def refuse(self, symbol: str = "X") -> None:
        order, _ = self.open_orders[symbol]
        self.refusal_seq += 1
        ts_ns = (self.minute + 1) * MINUTE_NS
        self.queued.append(
            refusal(
                self.refusal_seq,
                ts_ns,
                symbol,
                cause_id=order.cause_id,
                side=order.terms.side,
                quantity=order.terms.quantity,
            )
        )

    def step(self, prices: dict[str, float] | None = None) -> list[OrderProposal]:
        self.minute += 1
        ts_ns = self.minute * MINUTE_NS
        rank = {OrderRefusal: 0, Execution: 1, Signal: 3}
        bars = [
            bar(symbol, self.minute, ts_ns, price, day=self.day) for symbol, price in (prices or {"X": 100.0}).items()
        ]
        self.last_input = sorted([*self.queued, *bars], key=lambda r: rank.get(type(r), 2))
        self.queued = []
        self.output = self.stage.on_slice(ts_ns, self.last_input)
        proposals = [r for r in self.output if type(r) is OrderProposal]
        for proposal in proposals:
            self.open_orders[proposal.terms.symbol] = (approved(proposal), ZERO)
        self.proposals += proposals
        return proposals


def signed_quantities(proposals: list[OrderProposal]) -> list[int]:
    return [int(p.terms.quantity) if p.terms.side == BUY else -int(p.terms.quantity) for p in proposals]


def advance_order(desk: PortfolioHarness, symbol: str, action: str, price: float) -> bool:
    """Apply an action of risk or the venue to the symbol's open proposal. Return True when the order ends."""
    order, filled = desk.open_orders[symbol]
    rest = order.terms.quantity - filled
    if action == "refuse" and not filled and symbol not in desk.accepted:
        desk.refuse(symbol)
        return True
    kinds: dict[str, ExecType] = {"cancel": CANCELED, "expire": EXPIRED, "reject": REJECTED}
    if action in kinds:
        desk.report(kinds[action], symbol=symbol)
        return True
    if action == "accept" and symbol not in desk.accepted:
        desk.accepted.add(symbol)
        desk.report(NEW, symbol=symbol)
    if action == "part" and rest > 1:
        desk.accepted.add(symbol)
        desk.report(TRADE, int(rest // 2), price, symbol)
    if action == "fill":
        desk.report(TRADE, 0, price, symbol)
        return True
    return False


def check_cap(desk: PortfolioHarness, proposal: OrderProposal, prices: dict[str, float]) -> None:
    ledger = desk.stage.ledger
    equity = next(r for r in desk.output if type(r) is Valuation).equity
    position = ledger.quantity(proposal.terms.symbol)
    after = position + (proposal.terms.quantity if proposal.terms.side == BUY else -proposal.terms.quantity)
    if abs(after) > abs(position) or after * position < 0:
        value = abs(after) * Decimal(repr(prices[proposal.terms.symbol]))
        assert value <= equity * desk.settings.max_position_percentage
    assert proposal.terms.side in (BUY, SELL)
