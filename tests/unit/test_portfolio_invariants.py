"""The invariants of the portfolio for any market, and whatever risk and the venue do with its proposals."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.sizing import SizingSettings
from tests.builders.market import MINUTE_NS
from tests.unit.portfolio_harness import PortfolioHarness, advance_order, check_cap

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
            assert proposal.terms.symbol not in working, "proposed while an order is open"
            assert proposal.terms.quantity > 0 and proposal.terms.quantity % 1 == 0
            working.add(proposal.terms.symbol)
            check_cap(desk, proposal, prices)
        assert desk.stage.ledger.cash >= 0 or portfolio.allow_short
        if not portfolio.allow_short:
            assert all(position.quantity >= 0 for position in desk.stage.ledger.positions())
