"""The portfolio: which orders it proposes and when, with at most one open order per symbol."""

from __future__ import annotations

import pickle
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.instruments import CRYPTO, FUTURE, NO_INSTRUMENTS, Instrument, Instruments
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.sizing import SizingSettings
from schemas.errors import BadInput
from schemas.records import (
    BUY,
    CANCELED,
    EXPIRED,
    NEW,
    REJECTED,
    SELL,
    TRADE,
    Execution,
    OrderProposal,
    OrderRefusal,
    Record,
    Signal,
    Valuation,
)
from tests.unit.builders import bar
from tests.unit.trades import trade

MINUTE_NS = 60 * 10**9
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
        self.open_orders: dict[str, tuple[OrderProposal, str, Decimal]] = {}

    def signal(self, direction: int, symbol: str = "X", strategy: str = "s", strength: float = 1.0) -> None:
        self.signal_seq += 1
        ts_ns = (self.minute + 1) * MINUTE_NS
        self.queued.append(Signal(symbol, self.signal_seq, ts_ns, strategy, direction, strength, 1.0, 100.0, "f", {}))

    def report(self, exec_type: str, quantity: int = 0, price: float = 100.0, symbol: str = "X") -> None:
        """Queue an execution report on the symbol's last proposal. A TRADE of 0 units fills the rest of the order."""
        proposal, order_id, filled = self.open_orders[symbol]
        traded = Decimal(0)
        if exec_type == TRADE:
            traded = Decimal(quantity) or proposal.quantity - filled
            filled += traded
        leaves = proposal.quantity - filled if exec_type in (NEW, TRADE) else Decimal(0)
        self.open_orders[symbol] = (proposal, order_id, filled)
        self.execution_seq += 1
        seq, ts_ns = self.execution_seq, (self.minute + 1) * MINUTE_NS
        amounts = (traded, Decimal(repr(price)), Decimal(0), leaves, filled)
        ids = (f"exe-{seq}", order_id, symbol, proposal.side, exec_type)
        self.queued.append(Execution(seq, ts_ns, *ids, *amounts, ts_ns - MINUTE_NS, 0, "", proposal.proposal_id))

    def refuse(self, symbol: str = "X") -> None:
        proposal = self.open_orders[symbol][0]
        self.refusal_seq += 1
        ts_ns = (self.minute + 1) * MINUTE_NS
        check_fields = ("cash", "1", "0", "refused")
        cause_id = proposal.proposal_id
        self.queued.append(
            OrderRefusal(self.refusal_seq, ts_ns, cause_id, symbol, proposal.side, proposal.quantity, *check_fields)
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
            self.open_orders[proposal.symbol] = (proposal, f"ord-{proposal.seq}", Decimal(0))
        self.proposals += proposals
        return proposals


def signed_quantities(proposals: list[OrderProposal]) -> list[int]:
    return [int(p.quantity) if p.side == BUY else -int(p.quantity) for p in proposals]


# A script has one word per time slice. Signals: + long, - short, 0 flat. Reports: N accepted, F filled, Pn partly
# filled, C canceled, E expired, J rejected; R refused by risk. The second column lists the proposals ("." for none).
SCRIPTS = """
+ F 0 F . | 100 . -100 . .              in and out
+ 0 . F . | 100 . . -100 .              an exit seen while the entry is under way waits for it
+ F + + . | 100 . . . .                 the same view again trades nothing
+ R . . . | 100 . . . .                 a refused entry is not tried again
+ R+ F 0 F| 100 100 . -100 .            a new view after the refusal is
+ E . 0 . | 100 . . . .                 an expired entry is given up, its exit has nothing to sell
+ J . + F | 100 . . 100 .               rejected likewise
+ P30 C 0 F| 100 . . -30 .              what was filled before the cancel is sold, no more
+ P30 P70 0 F| 100 . . -100 .           partial fills add up
+ F 0 R . | 100 . -100 . -100           a refused exit is proposed again
+ F 0 P40 C . F| 100 . -100 . . -60 .   so is the rest of a partly filled one
+ N F 0 F | 100 . . -100 .              accepted first, filled later
+ F 0 + F | 100 . -100 . 100            an entry seen while the exit is under way
- . . . . | . . . . .                   no short sales unless allowed
"""


def scripts() -> list[Any]:
    rows = []
    for line in SCRIPTS.strip().splitlines():
        events, expectation = line.split("|")
        steps = events.split()
        words = expectation.split()
        rows.append(pytest.param(steps, words[: len(steps)], id=" ".join(words[len(steps) :])))
    return rows


@pytest.mark.parametrize(("steps", "expected"), scripts())
def test_one_order_at_a_time(steps: list[str], expected: list[str]) -> None:
    desk = PortfolioHarness(replace(SHARES, exit_retry_s=60))
    actual = []
    for step in steps:
        apply_step(desk, step)
        actual.append(" ".join(map(str, signed_quantities(desk.step()))) or ".")
    assert actual == expected


def apply_step(desk: PortfolioHarness, step: str) -> None:
    reports = {"N": NEW, "F": TRADE, "C": CANCELED, "E": EXPIRED, "J": REJECTED}
    for i, letter in enumerate(step):
        if letter in "+-0" and not step.startswith("P"):
            desk.signal({"+": 1, "-": -1, "0": 0}[letter])
        elif letter == "R":
            desk.refuse()
        elif letter == "P":
            desk.report(TRADE, int(step[i + 1 :]))
        elif letter in reports:
            desk.report(reports[letter])


def test_a_reversal_is_one_order_through_zero() -> None:
    desk = PortfolioHarness(replace(SHARES, allow_short=True))
    desk.signal(1)
    desk.step()
    desk.report(TRADE)
    desk.signal(-1)
    assert signed_quantities(desk.step()) == [-200]


def test_strategies_on_one_symbol_are_netted() -> None:
    desk = PortfolioHarness(replace(SHARES, allow_short=True))
    desk.signal(1, strategy="a")
    desk.signal(1, strategy="b")
    (netted,) = desk.step()
    assert (signed_quantities([netted]), netted.strategy, netted.signal_ids) == ([200], "a+b", ["sig-X-1", "sig-X-2"])
    desk.report(TRADE)
    desk.signal(-1, strategy="b")
    assert signed_quantities(desk.step()) == [-200]
    desk.report(TRADE)
    desk.signal(0, strategy="a")
    assert signed_quantities(desk.step()) == [-100]


def test_reports_of_other_orders_release_nothing() -> None:
    desk = PortfolioHarness()
    desk.signal(1)
    (proposal,) = desk.step()
    manual_fill = trade(1, 7, "100")._replace(order_id="ord-hand")
    desk.execution_seq = 1
    desk.queued.append(manual_fill)
    desk.signal(0)
    assert desk.step() == []
    desk.report(TRADE)
    assert signed_quantities(desk.step()) == [-107]
    assert proposal.proposal_id == "prop-1"


def test_proposals_of_one_slice_share_the_cash_in_symbol_order() -> None:
    desk = PortfolioHarness(replace(SHARES, initial_capital=Decimal(25_000), cash_buffer=Decimal(0)))
    for symbol in ("C", "A", "B"):
        desk.signal(1, symbol)
    proposals = desk.step({"A": 100.0, "B": 100.0, "C": 100.0})
    assert [(p.symbol, int(p.quantity)) for p in proposals] == [("A", 100), ("B", 100), ("C", 50)]
    assert proposals[2].sizing == "fixed_quantity 100; increase limited to 50 by free cash 5000"


def test_a_cash_account_buys_with_what_has_settled() -> None:
    desk = PortfolioHarness(
        replace(SHARES, initial_capital=Decimal(10_000), cash_buffer=Decimal(0), settled_cash_only=True)
    )
    desk.signal(1)
    assert signed_quantities(desk.step()) == [100]
    desk.report(TRADE)
    desk.signal(0)
    assert signed_quantities(desk.step()) == [-100]
    desk.report(TRADE)
    desk.signal(1)
    assert desk.step() == [], "the 10,000 of the sale settle on the next trading day"
    desk.day += 1
    desk.signal(1)
    assert signed_quantities(desk.step()) == [100]


def test_a_symbol_is_never_proposed_beyond_its_share_of_equity() -> None:
    desk = PortfolioHarness(replace(SHARES, max_position_percentage=Decimal("0.005")))
    desk.signal(1)
    (proposal,) = desk.step({"X": 60.0})
    assert int(proposal.quantity) == 83
    assert proposal.sizing == "fixed_quantity 100; capped at 83 by 0.005 of equity 1000000"
    desk.report(TRADE, price=60.0)
    desk.signal(1)
    assert desk.step({"X": 80.0}) == [], "a position that grew beyond the cap by its price is not cut by a signal"


def test_a_rebalance_trades_back_to_target_outside_the_band() -> None:
    sizing = SizingSettings(method="target_percent", fraction=Decimal("0.1"), no_trade_band=Decimal("0.05"))
    desk = PortfolioHarness(
        PortfolioSettings(sizing=sizing, max_position_percentage=Decimal(1), rebalance_interval_s=300)
    )
    desk.signal(1)
    assert signed_quantities(desk.step({"X": 100.0})) == [1000]
    desk.report(TRADE)
    traded = [signed_quantities(desk.step({"X": price})) for price in (100.0, 120.0, 120.0, 120.0, 120.0)]
    assert traded == [[], [], [], [-150], []], "at minute 5: 0.1 of 1,020,000 at 120 is 850"


@pytest.mark.parametrize(("direction", "limit"), [(1, "100.1"), (0, "99.9")])
def test_a_limit_order_is_priced_beyond_the_reference(direction: int, limit: str) -> None:
    desk = PortfolioHarness(replace(SHARES, order_type="LIMIT"))
    desk.signal(1)
    (proposal,) = desk.step()
    if direction == 0:
        desk.report(TRADE)
        desk.signal(0)
        (proposal,) = desk.step()
    assert (proposal.order_type, proposal.limit_price) == ("LIMIT", Decimal(limit))


def test_a_listed_instrument_brings_its_multiplier_lot_and_tick() -> None:
    future = Instrument(symbol="ES", asset_class=FUTURE, multiplier=Decimal(50), tick_size=Decimal("0.25"))
    coin = Instrument(symbol="BTC", asset_class=CRYPTO, lot_size=Decimal("0.0001"))
    desk = PortfolioHarness(
        PortfolioSettings(
            sizing=SizingSettings(fraction=Decimal("0.5")), max_position_percentage=Decimal(1), order_type="LIMIT"
        ),
        Instruments(listed=(future, coin)),
    )
    prices = {"ES": 4000.0, "BTC": 30_000.0}
    desk.signal(1, "ES")
    desk.signal(1, "BTC", strength=0.5)
    coins, contracts = desk.step(prices)
    assert (contracts.quantity, contracts.limit_price) == (Decimal(2), Decimal(4004)), "500,000 / (4000 x 50)"
    assert (coins.quantity, coins.limit_price) == (Decimal("8.3333"), Decimal(30_030))
    desk.report(TRADE, price=4000.0, symbol="ES")
    desk.step(prices | {"ES": 4010.0})
    (valuation,) = [r for r in desk.output if type(r) is Valuation]
    assert (valuation.net_exposure, valuation.unrealized_pnl) == (Decimal(401_000), Decimal(1_000))


def test_the_ledger_comes_first_then_the_valuation_then_the_proposals() -> None:
    desk = PortfolioHarness()
    desk.signal(1, "X")
    desk.step()
    desk.report(TRADE)
    desk.signal(1, "Y")
    desk.step({"X": 101.0, "Y": 50.0})
    assert [type(r).__name__ for r in desk.output] == ["Lot", "Position", "Valuation", "OrderProposal"]
    valuation = desk.output[2]
    assert isinstance(valuation, Valuation)
    assert (valuation.equity, valuation.unrealized_pnl) == (Decimal(1_000_100), Decimal(100))
    assert desk.stage.on_slice(10 * MINUTE_NS, []) == []


# -- any market, risk and venue ----------------------------------------------------------------------------------------

actions = st.sampled_from(["fill", "part", "cancel", "expire", "reject", "refuse", "wait", "accept"])
slice_inputs = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.sampled_from("XYZ"), st.sampled_from("ab"), st.sampled_from([-1, 0, 1]), st.floats(0, 1)),
            max_size=3,
        ),
        st.fixed_dictionaries(dict.fromkeys("XYZ", actions)),
        st.fixed_dictionaries({symbol: st.integers(9_000, 11_000) for symbol in "XYZ"}),
    ),
    max_size=12,
)
portfolios = st.builds(
    PortfolioSettings,
    initial_capital=st.sampled_from([Decimal(20_000), Decimal(1_000_000)]),
    max_position_percentage=st.sampled_from([Decimal("0.05"), Decimal(1)]),
    allow_short=st.booleans(),
    rebalance_interval_s=st.sampled_from([None, 180]),
    settled_cash_only=st.booleans(),
    cash_buffer=st.just(Decimal("0.5")),  # prices move by less than this while an order is open
    sizing=st.builds(
        SizingSettings,
        method=st.sampled_from(["fixed_fraction", "target_percent", "fixed_quantity"]),
        fraction=st.just(Decimal("0.3")),
    ),
)


def advance_order(desk: PortfolioHarness, symbol: str, action: str, price: float) -> bool:
    """Apply an action of risk or the venue to the symbol's open proposal. Return True when the order ends."""
    proposal, _, filled = desk.open_orders[symbol]
    if action == "refuse" and not filled and symbol not in desk.accepted:
        desk.refuse(symbol)
        return True
    kinds = {"cancel": CANCELED, "expire": EXPIRED, "reject": REJECTED}
    if action in kinds:
        desk.report(kinds[action], symbol=symbol)
        return True
    if action == "accept" and symbol not in desk.accepted:
        desk.accepted.add(symbol)
        desk.report(NEW, symbol=symbol)
    if action == "part" and proposal.quantity - filled > 1:
        desk.accepted.add(symbol)
        desk.report(TRADE, int((proposal.quantity - filled) // 2), price, symbol)
    if action == "fill":
        desk.report(TRADE, 0, price, symbol)
        return True
    return False


@settings(max_examples=200, deadline=None)
@given(portfolios, slice_inputs)
def test_invariants_hold_whatever_risk_and_the_venue_do(portfolio: PortfolioSettings, minutes: list[Any]) -> None:
    desk = PortfolioHarness(portfolio)
    working: set[str] = set()
    for number, (signals, actions_by_symbol, cents) in enumerate(minutes):
        desk.day += number % 3 == 2
        prices = {symbol: c / 100 for symbol, c in cents.items()}
        for symbol in sorted(working):
            if advance_order(desk, symbol, actions_by_symbol[symbol], prices[symbol]):
                working.discard(symbol)
                desk.accepted.discard(symbol)
        for symbol, strategy, direction, strength in signals:
            desk.signal(direction, symbol, strategy, strength)

        stored = pickle.dumps(desk.stage.snapshot())
        proposals = desk.step(prices)
        crashed = PortfolioStage(portfolio)
        crashed.restore(pickle.loads(stored))  # noqa: S301 our own bytes
        repeated = crashed.on_slice(desk.minute * MINUTE_NS, desk.last_input)
        assert repeated == desk.output
        assert crashed.snapshot() == desk.stage.snapshot()

        for proposal in proposals:
            assert proposal.symbol not in working, "ordered twice"
            assert proposal.quantity > 0 and proposal.quantity % 1 == 0
            working.add(proposal.symbol)
            check_cap(desk, proposal, prices)
        assert desk.stage.ledger.cash >= 0 or portfolio.allow_short
        if not portfolio.allow_short:
            assert all(holding.quantity >= 0 for holding in desk.stage.ledger.holdings())


def check_cap(desk: PortfolioHarness, proposal: OrderProposal, prices: dict[str, float]) -> None:
    ledger = desk.stage.ledger
    equity = next(r for r in desk.output if type(r) is Valuation).equity
    position = ledger.quantity(proposal.symbol)
    after = position + (proposal.quantity if proposal.side == BUY else -proposal.quantity)
    if abs(after) > abs(position) or after * position < 0:
        value = abs(after) * Decimal(repr(prices[proposal.symbol]))
        assert value <= equity * desk.settings.max_position_percentage
    assert proposal.side in (BUY, SELL)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("initial_capital", Decimal(0)),
        ("max_position_percentage", Decimal(0)),
        ("order_type", "STOP"),
        ("time_in_force", "IOC"),
        ("tick_size", Decimal(0)),
        ("cash_buffer", Decimal(-1)),
        ("rebalance_interval_s", 0),
        ("exit_retry_s", -1),
        ("settlement_days", -1),
    ],
)
def test_invalid_setting_is_reported(field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=field):
        PortfolioSettings(**{field: value})
